//! Where a push goes: an RTMP URL, checked once.
//!
//! The URL may end with a stream key, so it is kept as a secret, and no error
//! ever repeats it. Does not resolve or open anything.

use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::base::secret::Secret;

/// The URL of an RTMP receiver: `rtmp://` or `rtmps://`, a host that can be
/// one, a port from 1 to 65535 if any, nothing unprintable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushUrl(Secret);

/// Why a text is not such a URL. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPushUrl {
    #[error("the URL does not begin with rtmp:// or rtmps://")]
    NoScheme,
    #[error("the scheme of the URL is not one of a push; use rtmp:// or rtmps://")]
    Scheme,
    #[error("the URL is longer than {LONGEST} bytes")]
    Long,
    #[error("the URL has a space or a control character in it")]
    Character,
    #[error("the URL has no host, as in rtmp://HOST/APP")]
    Host,
    #[error("the port in the URL is not one from 1 to 65535")]
    Port,
    #[error("the end of the URL is a placeholder; put the stream key of your channel there")]
    Placeholder,
}

/// The longest text that makes sense as a URL with a key.
const LONGEST: usize = 1024;

impl FromStr for PushUrl {
    type Err = BadPushUrl;

    fn from_str(text: &str) -> Result<Self, BadPushUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadPushUrl::NoScheme)?;
        if !matches!(scheme, "rtmp" | "rtmps") {
            return Err(BadPushUrl::Scheme);
        }
        if text.len() > LONGEST {
            return Err(BadPushUrl::Long);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadPushUrl::Character);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (place, None),
        };
        if !is_host(host) {
            return Err(BadPushUrl::Host);
        }
        if port.is_some_and(|port| !is_port(port)) {
            return Err(BadPushUrl::Port);
        }
        let url = Self(Secret::new(text));
        if url.key().is_some_and(|key| is_placeholder(key.reveal())) {
            return Err(BadPushUrl::Placeholder);
        }
        Ok(url)
    }
}

impl PushUrl {
    /// The text, for whoever sends there.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Whether what goes there is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.reveal().starts_with("rtmps://")
    }

    /// The host, with its port where that is given, and the usual port.
    pub fn place(&self) -> (&str, u16) {
        let (scheme, rest) = self.0.reveal().split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        (place, if scheme == "rtmps" { 443 } else { 1935 })
    }

    /// The port: 1935, or 443 for RTMPS, unless the URL has another.
    pub fn port(&self) -> u16 {
        let (place, usual) = self.place();
        let after_v6 = place.rsplit(']').next().unwrap_or_default();
        after_v6.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
    }

    /// The whole address: the key behind the URL, with one slash between.
    pub fn with_key(&self, key: Option<&Secret>) -> Self {
        let Some(key) = key else { return self.clone() };
        let url = self.0.reveal().trim_end_matches('/');
        Self(Secret::new(format!("{url}/{}", key.reveal())))
    }

    /// The key where it is the end of the URL: what follows the application.
    pub fn key(&self) -> Option<Secret> {
        let (_, rest) = self.0.reveal().split_once("://")?;
        let key = rest.splitn(3, '/').nth(2)?.trim_matches('/');
        (!key.is_empty()).then(|| Secret::new(key))
    }

    /// The URL as it may be shown where the key is `key`, or else its end:
    /// without a password, a query, and what follows the application, unless
    /// the key stands apart: `rtmp://host/live2/••••••`.
    pub fn shown(&self, key: Option<&Secret>) -> String {
        let (scheme, rest) = self.0.reveal().split_once("://").unwrap_or(("rtmp", ""));
        let without_query = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = without_query.split_once('/').unwrap_or((without_query, ""));
        let host = host.rsplit('@').next().unwrap_or_default();
        match path.trim_end_matches('/').split_once('/') {
            Some((application, _)) if key.is_none() => {
                format!("{scheme}://{host}/{application}/••••••")
            }
            _ if path.is_empty() => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}/{path}"),
        }
    }
}

/// Whether a stream key is one that an example shows, or a masked one, in the
/// place of somebody's own: sending with it cannot work.
pub fn is_placeholder(key: &str) -> bool {
    let key = key.split(['?', '/']).next().unwrap_or_default();
    let is_masked = key.contains(['…', '•', '<', '>']) || key.contains("...");
    let is_blank = key.len() >= 3 && key.chars().all(|c| matches!(c, 'x' | 'X' | '*' | '-' | '_'));
    let letters: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let word = letters.to_ascii_lowercase();
    let is_named = word.starts_with("your") && word.contains("key");
    let is_word = ["streamkey", "changeme", "placeholder"].contains(&word.as_str());
    is_masked || is_blank || is_named || is_word
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let named = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.starts_with(char::is_alphanumeric) && host.chars().all(named),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PushUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_push_goes_to_an_rtmp_host() {
        for text in [
            "rtmp://a.rtmp.youtube.com/live2",
            "rtmps://x:443/app/key?token=1",
            "rtmp://[::1]:1935/app",
            "rtmp://[fe80::1]",
            "rtmp://user:word@10.0.0.1/app",
        ] {
            assert_eq!(url(text).secret().reveal(), text);
        }
    }

    #[test]
    fn the_place_of_a_url_is_its_host_without_a_login() {
        for (text, place) in [
            ("rtmps://user:word@a.example:8443/app/KEY", ("a.example:8443", 443)),
            ("rtmps://[::1]/app", ("[::1]", 443)),
            ("rtmp://a.example?x=@b", ("a.example", 1935)),
        ] {
            assert_eq!(url(text).place(), place, "{text}");
        }
    }

    #[test]
    fn the_port_is_the_usual_one_unless_the_url_has_another() {
        for (text, port) in [
            ("rtmp://a.example/live2/x", 1935),
            ("rtmps://a.example/live2/x:7", 443),
            ("rtmp://u:p@a.example:1936/live2", 1936),
            ("rtmp://[::1]:1937/live", 1937),
            ("rtmp://[::1]/live", 1935),
        ] {
            assert_eq!(url(text).port(), port, "{text}");
        }
    }

    #[test]
    fn a_wrong_push_url_is_explained_and_never_repeated() {
        for (text, why) in [
            ("KEYKEY", BadPushUrl::NoScheme),
            ("http://host/KEYKEY", BadPushUrl::Scheme),
            ("rtmp:///app/KEYKEY", BadPushUrl::Host),
            ("rtmp://-host/KEYKEY", BadPushUrl::Host),
            ("rtmp://[::zz]/KEYKEY", BadPushUrl::Host),
            ("rtmp://::1/KEYKEY", BadPushUrl::Host),
            ("rtmp://host:0/KEYKEY", BadPushUrl::Port),
            ("rtmp://host:/KEYKEY", BadPushUrl::Port),
            ("rtmp://host:+80/KEYKEY", BadPushUrl::Port),
            ("rtmp://host:65536/KEYKEY", BadPushUrl::Port),
            ("rtmp://ho st/KEYKEY", BadPushUrl::Character),
            (&format!("rtmp://host/{}", "KEYKEY".repeat(200)), BadPushUrl::Long),
        ] {
            let refused = text.parse::<PushUrl>().unwrap_err();
            assert_eq!(refused, why, "{text}");
            assert!(refused.to_string().contains("the URL"), "{refused}");
            assert!(!refused.to_string().contains("KEYKEY"), "{refused}");
        }
    }

    #[test]
    fn a_url_shows_its_path_only_where_the_key_stands_apart() {
        let whole = url("rtmp://u:p@a.example/live2/KEY-1234?x=KEY-1234");
        assert_eq!(whole.shown(None), "rtmp://a.example/live2/••••••");
        assert_eq!(format!("{whole:?}"), "PushUrl(Secret(••••••))");
        let key = Secret::new("KEY-1234");
        assert_eq!(url("rtmp://a/live2/eu?x=1").shown(Some(&key)), "rtmp://a/live2/eu");
        assert_eq!(url("rtmp://a/live2/").shown(None), "rtmp://a/live2/");
        assert_eq!(url("rtmp://a").shown(None), "rtmp://a");
    }

    #[test]
    fn a_key_is_joined_with_one_slash_and_known_at_the_end_of_a_url() {
        let key = Secret::new("KEY-1");
        for text in ["rtmp://a.example/live2", "rtmp://a.example/live2/"] {
            let joined = url(text).with_key(Some(&key));
            assert_eq!(joined.secret().reveal(), "rtmp://a.example/live2/KEY-1");
            assert_eq!(url(text).key(), None);
        }
        assert_eq!(url("rtmp://a.example/live2/KEY-1").key(), Some(key));
        assert_eq!(url("rtmp://a.example").key(), None);
    }

    #[test]
    fn what_examples_show_instead_of_a_key_is_no_key() {
        for text in [
            "…",
            "...",
            "YOUR-KEY",
            "your_stream_key",
            "<key>",
            "xxxx-xxxx-xxxx-xxxx",
            "XXX",
            "********",
            "••••••zz",
            "stream-key",
            "changeme",
            "YOUR-KEY?backup=1",
        ] {
            assert!(is_placeholder(text), "{text}");
            let in_url = format!("rtmp://a.example/live2/{text}").parse::<PushUrl>();
            assert_eq!(in_url.unwrap_err(), BadPushUrl::Placeholder, "{text}");
        }
        for text in
            ["quiet-otter-4711-zz", "live_123_Xxxyour", "x", "KEY-1", "a1b2-xxxx-c3d4", "youth-key"]
        {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_passes_can_be_joined_and_shown(text in "rtmps?://\\PC{0,60}") {
            if let Ok(url) = text.parse::<PushUrl>() {
                url.shown(None);
                url.key();
                assert!(url.with_key(Some(&Secret::new("k"))).secret().reveal().ends_with("/k"));
            }
        }
    }
}
