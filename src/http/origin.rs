//! Classifies the origin of a request by its connection and headers. Pure.
//!
//! The Unix socket is for operators, selected by its permissions. Direct
//! connections from loopback are a class of their own: a setting decides whether
//! they are trusted. Requests from pages of other sites may change nothing.

use std::net::IpAddr;

use crate::base::authority::Authority;

/// What is known about the origin of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    pub peer: Peer,
    pub host: Option<Authority<'a>>,
    pub origin: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    /// Whether the method may change something.
    pub changes: bool,
    /// Whether a header shows that the request passed a proxy.
    pub proxied: bool,
    pub scheme: Scheme,
}

/// The peer of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Peer {
    /// A client of the Unix socket.
    UnixSocket,
    Address(IpAddr),
    #[default]
    Unknown,
}

/// The protocol of this port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scheme {
    #[default]
    Http,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A client of the Unix socket.
    Operator,
    /// A direct connection from this machine, or from a proxy on it that adds no
    /// header.
    Loopback,
    /// A client that needs the password.
    Untrusted,
    /// A browser sent this for a page of another site.
    OtherOrigin,
}

/// Headers that proxies and content delivery networks add, besides those that
/// begin with `x-forwarded` or `x-original` or end with `client-ip`. One of them
/// is enough: a client that sends one without a proxy only loses a privilege.
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

/// Whether proxies add the header `name`, in lower case.
pub(super) fn is_proxy_header(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("x-original")
        || name.ends_with("client-ip")
        || PROXY_HEADERS.contains(&name)
}

/// Classifies a request.
pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    if is_other_origin(facts) {
        return Verdict::OtherOrigin;
    }
    // Protects against DNS rebinding: another name may resolve to this machine.
    let has_own_name = facts.host.is_some_and(|authority| authority.host.is_loopback());
    match facts.peer {
        _ if facts.proxied => Verdict::Untrusted,
        Peer::UnixSocket => Verdict::Operator,
        Peer::Address(ip) if ip.to_canonical().is_loopback() && has_own_name => Verdict::Loopback,
        Peer::Address(_) | Peer::Unknown => Verdict::Untrusted,
    }
}

/// Whether a browser requests a change without naming the origin: browsers from
/// before 2020 omit it for forms. Other programs are recognised by `User-Agent`,
/// which a page cannot change.
pub(super) fn has_unknown_origin(facts: &Facts<'_>) -> bool {
    let is_browser = facts.user_agent.is_some_and(|agent| agent.starts_with("Mozilla/"));
    facts.changes && is_browser && facts.origin.is_none() && facts.fetch_site.is_none()
}

fn is_other_origin(facts: &Facts<'_>) -> bool {
    let by_fetch = facts.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    by_fetch || facts.origin.is_some_and(|origin| !is_own_origin(origin, facts))
}

/// Whether `origin` is this server. `null` has no authority and never is.
fn is_own_origin(origin: &str, facts: &Facts<'_>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match (scheme, facts.scheme) {
        ("https", Scheme::Http | Scheme::Https) => 443,
        ("http", Scheme::Http) => 80,
        // An unencrypted page may have been modified on the way and is no own
        // origin of a port with TLS. A port without TLS may be behind a TLS proxy.
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
    fn other_hosts_proxies_and_rebound_names_are_untrusted() {
        for facts in [
            Facts { peer: from("192.168.1.7"), ..local() },
            Facts { peer: Peer::Unknown, ..local() },
            Facts { proxied: true, ..local() },
            Facts { host: host("evil.example:8000"), ..local() },
            Facts { host: None, ..local() },
            Facts { host: host("127.0.0.1.evil.example"), ..local() },
            Facts { proxied: true, peer: Peer::UnixSocket, ..local() },
        ] {
            assert_eq!(judge(&facts), Verdict::Untrusted, "{facts:?}");
        }
    }

    #[test]
    fn only_browsers_that_send_no_origin_with_a_change_have_an_unknown_origin() {
        let old = Facts { user_agent: Some("Mozilla/5.0 (X11)"), changes: true, ..local() };
        assert!(has_unknown_origin(&old));
        for facts in [
            Facts { user_agent: Some("curl/7.88.1"), ..old.clone() },
            Facts { user_agent: None, ..old.clone() },
            Facts { changes: false, ..old.clone() },
            Facts { origin: Some("http://localhost:8000"), ..old.clone() },
            Facts { fetch_site: Some("same-origin"), ..old.clone() },
        ] {
            assert!(!has_unknown_origin(&facts), "{facts:?}");
        }
    }

    #[test]
    fn an_unencrypted_page_is_no_own_origin_of_a_port_with_tls() {
        let from = |origin, scheme| judge(&Facts { origin: Some(origin), scheme, ..local() });
        let (plain, secure) = ("http://localhost:8000", "https://localhost:8000");
        assert_eq!(from(secure, Scheme::Https), Verdict::Loopback);
        assert_eq!(from(plain, Scheme::Https), Verdict::OtherOrigin);
        assert_eq!(from(plain, Scheme::Http), Verdict::Loopback);
        // TLS ends at a proxy in front.
        assert_eq!(from(secure, Scheme::Http), Verdict::Loopback);
    }

    #[test]
    fn pages_of_other_sites_are_recognised_even_from_loopback() {
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
    fn headers_of_proxies_are_recognised() {
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
            assert!(is_proxy_header(name), "{name}");
        }
        for name in ["host", "origin", "accept", "user-agent", "x-requested-with"] {
            assert!(!is_proxy_header(name), "{name}");
        }
    }
}
