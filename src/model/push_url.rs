//! The RTMP URL of a push, validated.
//!
//! The URL may end with a stream key. Therefore it is a secret, and no error
//! quotes it. Does not resolve or connect.

use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::base::secret::Secret;

/// The URL of an RTMP server: `rtmp://` or `rtmps://`, a valid host, an optional
/// port from 1 to 65535, no blanks or control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushUrl(Secret);

/// Why a text is not a [`PushUrl`]. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPushUrl {
    #[error("the URL does not begin with rtmp:// or rtmps://")]
    NoScheme,
    #[error("the scheme of the URL is not supported for pushes; use rtmp:// or rtmps://")]
    Scheme,
    #[error("the URL is longer than {MAX_BYTES} bytes")]
    Long,
    #[error("the URL contains a space or a control character")]
    Character,
    #[error("the URL has no valid host, as in rtmp://HOST/APP")]
    Host,
    #[error("the port in the URL is not a number from 1 to 65535")]
    Port,
    #[error("the end of the URL is a placeholder; put the stream key of your channel there")]
    Placeholder,
}

/// Maximum length of a URL with a key.
const MAX_BYTES: usize = 1024;

impl FromStr for PushUrl {
    type Err = BadPushUrl;

    fn from_str(text: &str) -> Result<Self, BadPushUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadPushUrl::NoScheme)?;
        if !matches!(scheme, "rtmp" | "rtmps") {
            return Err(BadPushUrl::Scheme);
        }
        if text.len() > MAX_BYTES {
            return Err(BadPushUrl::Long);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadPushUrl::Character);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (host_and_port, None),
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
    /// The whole URL.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The host, with its port if the URL has one, and the default port of the
    /// scheme.
    pub fn place(&self) -> (&str, u16) {
        let (scheme, rest) = self.0.reveal().split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        (place, if scheme == "rtmps" { 443 } else { 1935 })
    }

    /// The port of the URL; by default 1935, or 443 for RTMPS.
    pub fn port(&self) -> u16 {
        let (place, default) = self.place();
        let after_v6 = place.rsplit(']').next().unwrap_or_default();
        after_v6.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(default)
    }

    /// The URL with the key appended after one slash.
    pub fn with_key(&self, key: Option<&Secret>) -> Self {
        let Some(key) = key else { return self.clone() };
        let url = self.0.reveal().trim_end_matches('/');
        Self(Secret::new(format!("{url}/{}", key.reveal())))
    }

    /// The key at the end of the URL: the path after the application.
    pub fn key(&self) -> Option<Secret> {
        let (_, rest) = self.0.reveal().split_once("://")?;
        let key = rest.splitn(3, '/').nth(2)?.trim_matches('/');
        (!key.is_empty()).then(|| Secret::new(key))
    }

    /// The URL for display: `rtmp://host/live2/••••••`. Without a login and a
    /// query; the path after the application is masked if there is no separate
    /// `key`, since it is the key then.
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

/// Whether a stream key is a placeholder from an example, or a masked key.
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
    fn rtmp_urls_with_a_host_are_accepted() {
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
    fn the_port_is_the_default_unless_the_url_has_one() {
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
    fn an_invalid_push_url_has_its_own_error_which_does_not_quote_it() {
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
    fn the_path_after_the_application_is_shown_only_with_a_separate_key() {
        let whole = url("rtmp://u:p@a.example/live2/KEY-1234?x=KEY-1234");
        assert_eq!(whole.shown(None), "rtmp://a.example/live2/••••••");
        assert_eq!(format!("{whole:?}"), "PushUrl(Secret(••••••))");
        let key = Secret::new("KEY-1234");
        assert_eq!(url("rtmp://a/live2/eu?x=1").shown(Some(&key)), "rtmp://a/live2/eu");
        assert_eq!(url("rtmp://a/live2/").shown(None), "rtmp://a/live2/");
        assert_eq!(url("rtmp://a").shown(None), "rtmp://a");
    }

    #[test]
    fn a_key_is_appended_with_one_slash_and_found_at_the_end_of_a_url() {
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
    fn placeholders_of_examples_are_refused_as_keys() {
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
        fn no_valid_url_causes_a_panic(text in "rtmps?://\\PC{0,60}") {
            if let Ok(url) = text.parse::<PushUrl>() {
                url.shown(None);
                url.key();
                assert!(url.with_key(Some(&Secret::new("k"))).secret().reveal().ends_with("/k"));
            }
        }
    }
}
