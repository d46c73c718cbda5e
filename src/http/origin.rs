//! Who is asking, judged from what a request shows. Pure.
//!
//! Only the box itself may change things without a password: a peer on the
//! loopback interface, that did not come through a proxy, and whose browser
//! was not sent here by another site.

use std::net::IpAddr;

/// What a request shows of where it comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    pub peer: Option<IpAddr>,
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    /// Whether the request asks for more than to see something.
    pub changes: bool,
    /// Whether any header says that a proxy stands between.
    pub proxied: bool,
    pub scheme: Scheme,
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
    /// The box itself.
    Box,
    /// Somebody who must show the password.
    Stranger,
    /// A page of another site had the browser send this.
    OtherOrigin,
}

/// Headers that proxies add. One of them is enough: whoever sends it by
/// itself only loses the privilege.
pub(super) const PROXY_HEADERS: [&str; 9] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-client-ip",
    "cf-connecting-ip",
];

pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    if is_other_origin(facts) {
        return Verdict::OtherOrigin;
    }
    let local_peer = facts.peer.is_some_and(|ip| ip.to_canonical().is_loopback());
    // A name that leads here by a rebound DNS entry is not the box's own.
    let local_name = facts.host.is_some_and(is_loopback_host);
    if local_peer && local_name && !facts.proxied { Verdict::Box } else { Verdict::Stranger }
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
    let by_origin = facts.origin.is_some_and(|origin| {
        // `null` has no authority, and is nobody's origin.
        let Some((scheme, authority)) = origin.split_once("://") else { return true };
        !may_be_ours(scheme, facts.scheme) || !same_authority(Some(authority), facts.host)
    });
    by_fetch || by_origin
}

/// What came unencrypted may have been changed on the way, and does not speak
/// for a port with TLS. One without may stand behind a proxy that has it.
fn may_be_ours(scheme: &str, ours: Scheme) -> bool {
    match ours {
        Scheme::Http => true,
        Scheme::Https => scheme.eq_ignore_ascii_case("https"),
    }
}

fn same_authority(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Facts<'static> {
        Facts {
            peer: Some("127.0.0.1".parse().unwrap()),
            host: Some("localhost:8000"),
            ..Facts::default()
        }
    }

    #[test]
    fn the_box_itself_is_known_by_its_loopback_address_and_name() {
        assert_eq!(judge(&local()), Verdict::Box);
        let v6 = Facts {
            peer: Some("::1".parse().unwrap()),
            host: Some("[::1]:8000"),
            origin: Some("http://[::1]:8000"),
            fetch_site: Some("same-origin"),
            ..Facts::default()
        };
        assert_eq!(judge(&v6), Verdict::Box);
        let mapped = Facts { peer: Some("::ffff:127.0.0.1".parse().unwrap()), ..local() };
        assert_eq!(judge(&mapped), Verdict::Box);
    }

    #[test]
    fn another_host_a_proxy_and_a_rebound_name_are_strangers() {
        for facts in [
            Facts { peer: Some("192.168.1.7".parse().unwrap()), ..local() },
            Facts { peer: None, ..local() },
            Facts { proxied: true, ..local() },
            Facts { host: Some("evil.example:8000"), ..local() },
            Facts { host: None, ..local() },
            Facts { host: Some("127.0.0.1.evil.example"), ..local() },
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
        assert_eq!(from(secure, Scheme::Https), Verdict::Box);
        assert_eq!(from(plain, Scheme::Https), Verdict::OtherOrigin);
        assert_eq!(from(plain, Scheme::Http), Verdict::Box);
        // A proxy in front has the TLS.
        assert_eq!(from(secure, Scheme::Http), Verdict::Box);
    }

    #[test]
    fn a_page_of_another_site_is_refused_even_on_the_box() {
        for (origin, fetch_site) in [
            (Some("http://evil.example"), None),
            (Some("null"), None),
            (Some("http://localhost:9000"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
        ] {
            let facts = Facts { origin, fetch_site, ..local() };
            assert_eq!(judge(&facts), Verdict::OtherOrigin, "{facts:?}");
        }
    }
}
