//! Who is asking, judged from what a request shows. Pure.
//!
//! The Unix socket is for operators, whom its permissions choose. A direct
//! connection from loopback is told apart from all others: whether it may do
//! more than a stranger is a setting. A page of another site may do nothing.

use std::net::IpAddr;

use crate::base::authority::Authority;

/// What a request shows of where it comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    pub peer: Peer,
    pub host: Option<Authority<'a>>,
    pub origin: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    /// Whether the request asks for more than to see something.
    pub changes: bool,
    /// Whether any header says that a proxy stands between.
    pub proxied: bool,
    pub scheme: Scheme,
}

/// The other end of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Peer {
    /// A program that may open the Unix socket.
    UnixSocket,
    Address(IpAddr),
    #[default]
    Unknown,
}

/// What this port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scheme {
    #[default]
    Http,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Came through the Unix socket.
    Operator,
    /// A direct connection from this machine, or a proxy on it that does not
    /// say that it is one.
    Loopback,
    /// Somebody who must show the password.
    Stranger,
    /// A page of another site had the browser send this.
    OtherOrigin,
}

/// Headers that proxies and content delivery networks add, besides those that
/// begin with `x-forwarded` or `x-original` or end with `client-ip`. One of them
/// is enough: a client that sends it by itself only loses a privilege.
const PROXY_HEADERS: [&str; 17] = [
    "forwarded",
    "forwarded-for",
    "via",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ray",
    "x-amzn-trace-id",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-envoy-external-address",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
];

/// Whether proxies add the header of this name, which is in lower case.
pub(super) fn is_of_proxy(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("x-original")
        || name.ends_with("client-ip")
        || PROXY_HEADERS.contains(&name)
}

pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    if is_other_origin(facts) {
        return Verdict::OtherOrigin;
    }
    // A name that leads here by a rebound DNS entry is not the machine's own.
    let has_own_name = facts.host.is_some_and(|authority| authority.host.is_loopback());
    match facts.peer {
        _ if facts.proxied => Verdict::Stranger,
        Peer::UnixSocket => Verdict::Operator,
        Peer::Address(ip) if ip.to_canonical().is_loopback() && has_own_name => Verdict::Loopback,
        Peer::Address(_) | Peer::Unknown => Verdict::Stranger,
    }
}

/// Whether a browser asks for a change and does not say which site had it do
/// so: those from before 2020 leave that out for forms. Programs are no
/// browsers, and a page cannot make a browser call itself otherwise.
pub(super) fn is_untold(facts: &Facts<'_>) -> bool {
    let is_browser = facts.user_agent.is_some_and(|agent| agent.starts_with("Mozilla/"));
    facts.changes && is_browser && facts.origin.is_none() && facts.fetch_site.is_none()
}

fn is_other_origin(facts: &Facts<'_>) -> bool {
    let by_fetch = facts.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    by_fetch || facts.origin.is_some_and(|origin| !is_own_origin(origin, facts))
}

/// `null` has no authority, and is nobody's origin.
fn is_own_origin(origin: &str, facts: &Facts<'_>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match (scheme, facts.scheme) {
        ("https", Scheme::Http | Scheme::Https) => 443,
        ("http", Scheme::Http) => 80,
        // What came unencrypted may have been changed on the way, and does not
        // speak for a port with TLS. One without may stand behind a proxy that has it.
        _ => return false,
    };
    match (Authority::parse(authority), facts.host) {
        (Some(origin), Some(host)) => origin.is_same(&host, default_port),
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Facts<'static> {
        Facts { peer: from("127.0.0.1"), host: host("localhost:8000"), ..Facts::default() }
    }

    fn from(address: &str) -> Peer {
        Peer::Address(address.parse().unwrap())
    }

    fn host(text: &str) -> Option<Authority<'_>> {
        Authority::parse(text)
    }

    #[test]
    fn a_direct_connection_from_loopback_has_its_address_and_a_name_of_it() {
        assert_eq!(judge(&local()), Verdict::Loopback);
        let v6 = Facts {
            peer: from("::1"),
            host: host("[::1]:8000"),
            origin: Some("http://[::1]:8000"),
            fetch_site: Some("same-origin"),
            ..Facts::default()
        };
        assert_eq!(judge(&v6), Verdict::Loopback);
        let mapped = Facts { peer: from("::ffff:127.0.0.1"), ..local() };
        assert_eq!(judge(&mapped), Verdict::Loopback);
    }

    #[test]
    fn another_host_a_proxy_and_a_rebound_name_are_strangers() {
        for facts in [
            Facts { peer: from("192.168.1.7"), ..local() },
            Facts { peer: Peer::Unknown, ..local() },
            Facts { proxied: true, ..local() },
            Facts { host: host("evil.example:8000"), ..local() },
            Facts { host: None, ..local() },
            Facts { host: host("127.0.0.1.evil.example"), ..local() },
            Facts { proxied: true, peer: Peer::UnixSocket, ..local() },
        ] {
            assert_eq!(judge(&facts), Verdict::Stranger, "{facts:?}");
        }
    }

    #[test]
    fn a_browser_that_does_not_say_who_made_it_post_is_noticed_and_a_program_is_not() {
        let old = Facts { user_agent: Some("Mozilla/5.0 (X11)"), changes: true, ..local() };
        assert!(is_untold(&old));
        for facts in [
            Facts { user_agent: Some("curl/7.88.1"), ..old.clone() },
            Facts { user_agent: None, ..old.clone() },
            Facts { changes: false, ..old.clone() },
            Facts { origin: Some("http://localhost:8000"), ..old.clone() },
            Facts { fetch_site: Some("same-origin"), ..old.clone() },
        ] {
            assert!(!is_untold(&facts), "{facts:?}");
        }
    }

    #[test]
    fn a_page_that_came_unencrypted_does_not_speak_for_a_port_with_tls() {
        let from = |origin, scheme| judge(&Facts { origin: Some(origin), scheme, ..local() });
        let (plain, secure) = ("http://localhost:8000", "https://localhost:8000");
        assert_eq!(from(secure, Scheme::Https), Verdict::Loopback);
        assert_eq!(from(plain, Scheme::Https), Verdict::OtherOrigin);
        assert_eq!(from(plain, Scheme::Http), Verdict::Loopback);
        // A proxy in front has the TLS.
        assert_eq!(from(secure, Scheme::Http), Verdict::Loopback);
    }

    #[test]
    fn a_page_of_another_site_is_refused_even_on_the_box() {
        for (origin, fetch_site) in [
            (Some("http://evil.example"), None),
            (Some("null"), None),
            (Some("http://localhost:9000"), None),
            (Some("http://localhost:8000, http://evil.example"), None),
            (Some("http://localhost:8000@evil.example"), None),
            (Some("http://user@localhost:8000"), None),
            (Some("ws://localhost:8000"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (None, Some("same-origin, cross-site")),
        ] {
            for peer in [local().peer, Peer::UnixSocket] {
                let facts = Facts { origin, fetch_site, peer, ..local() };
                assert_eq!(judge(&facts), Verdict::OtherOrigin, "{facts:?}");
            }
        }
    }

    #[test]
    fn the_unix_socket_is_for_operators_whatever_name_they_use() {
        for host in [host("localhost"), host("livebox"), None] {
            let facts = Facts { peer: Peer::UnixSocket, host, ..Facts::default() };
            assert_eq!(judge(&facts), Verdict::Operator, "{facts:?}");
        }
    }

    #[test]
    fn the_default_port_of_an_origin_is_that_of_its_scheme() {
        let judged = |origin, at| judge(&Facts { origin: Some(origin), host: host(at), ..local() });
        assert_eq!(judged("http://localhost", "localhost:80"), Verdict::Loopback);
        assert_eq!(judged("https://localhost", "localhost:443"), Verdict::Loopback);
        assert_eq!(judged("https://localhost", "localhost:80"), Verdict::OtherOrigin);
    }

    #[test]
    fn every_proxy_says_in_some_way_that_it_is_one() {
        for name in [
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-original-forwarded-for",
            "x-original-url",
            "x-client-ip",
            "x-cluster-client-ip",
            "true-client-ip",
            "fastly-client-ip",
            "fly-client-ip",
            "x-real-ip",
            "forwarded",
            "via",
        ] {
            assert!(is_of_proxy(name), "{name}");
        }
        for name in ["host", "origin", "accept", "user-agent", "x-requested-with"] {
            assert!(!is_of_proxy(name), "{name}");
        }
    }
}
