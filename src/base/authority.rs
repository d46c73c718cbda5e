//! Parses the authority of a URL: a host and an optional port, as in the headers
//! `Host` and `Origin`. Strict, because access control depends on it. Pure.
//!
//! The syntax is that of RFC 3986, 3.2.2, without parts that no browser sends:
//! user information, percent encoding, IPv6 zones, empty ports.

use std::net::IpAddr;

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    pub host: Host<'a>,
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    Address(IpAddr),
    /// A DNS name in its original spelling.
    Name(&'a str),
}

/// Limits of RFC 1035, 2.3.4, in bytes.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl<'a> Authority<'a> {
    /// Returns `None` for any other text.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, after) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                (Host::Address(IpAddr::V6(address.parse().ok()?)), after)
            }
            None => {
                let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(host)?, after)
            }
        };
        let port = match after.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if after.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same server; a missing port is `default`.
    pub fn is_same(&self, other: &Authority<'_>, default: u16) -> bool {
        let port = |authority: &Authority<'_>| authority.port.unwrap_or(default);
        self.host == other.host && port(self) == port(other)
    }
}

impl<'a> Host<'a> {
    /// An IPv4 address or a DNS name; `None` for any other text.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        // A fully qualified name may end with a dot.
        let labels = text.strip_suffix('.').unwrap_or(text);
        let is_name = text.len() <= MAX_NAME && labels.split('.').all(is_label);
        is_name.then_some(Self::Name(text))
    }

    /// Whether it can mean nothing but the machine itself.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => {
                one.to_canonical() == other.to_canonical()
            }
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(_), Self::Name(_)) | (Self::Name(_), Self::Address(_)) => false,
        }
    }
}

impl Eq for Host<'_> {}

/// Allows underscores: RFC 1123 does not, but local networks use them.
fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_allowed)
}

fn port(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host<'_> {
        Authority::parse(text).unwrap_or_else(|| panic!("{text:?} is an authority")).host
    }

    #[test]
    fn a_host_is_an_address_or_a_name_with_a_port_or_without() {
        for (text, port) in [
            ("localhost", None),
            ("box.example.:8000", Some(8000)),
            ("my_box-2:65535", Some(65535)),
            ("192.0.2.1:80", Some(80)),
            ("[2001:db8::1]", None),
            ("[::1]:1", Some(1)),
        ] {
            assert_eq!(Authority::parse(text).map(|found| found.port), Some(port), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_an_authority() {
        for text in [
            "",
            ":80",
            "localhost:",
            "localhost:x@evil",
            "localhost:80@evil",
            "localhost@evil",
            "localhost:0",
            "localhost:080",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "localhost 80",
            "localhost/",
            "local%68ost",
            "a..b",
            ".a",
            ".",
            "[::1]evil",
            "[::1]:80evil",
            "[::1]]",
            "[::1",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "::1",
            "ä.example",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_loopback_addresses_and_localhost_are_loopback() {
        for text in
            ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(host(text).is_loopback(), "{text}");
        }
        for text in
            ["localhost.evil.example", "127.0.0.1.evil.example", "127.1", "192.0.2.1", "[::2]"]
        {
            assert!(!host(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_missing_port_is_the_default() {
        let parse = |text| Authority::parse(text).unwrap();
        assert!(parse("Box.example").is_same(&parse("box.Example:80"), 80));
        assert!(!parse("box.example").is_same(&parse("box.example:80"), 443));
        assert!(parse("[::ffff:192.0.2.1]:80").is_same(&parse("192.0.2.1"), 80));
        assert!(!parse("box.example").is_same(&parse("other.example"), 80));
    }

    proptest::proptest! {
        #[test]
        fn a_parsed_authority_is_equal_to_its_text(text in "\\[?[a-zA-Z0-9:.@%\\[\\]_-]{0,20}") {
            let Some(Authority { host, port }) = Authority::parse(&text) else { return Ok(()) };
            let written = text.strip_suffix(&port.map_or(String::new(), |port| format!(":{port}")));
            let written = written.expect("the port is at the end");
            match host {
                Host::Name(name) => proptest::prop_assert_eq!(name, written),
                Host::Address(IpAddr::V4(v4)) => proptest::prop_assert_eq!(v4.to_string(), written),
                Host::Address(IpAddr::V6(v6)) => {
                    let inside = written.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                    proptest::prop_assert_eq!(inside.and_then(|text| text.parse().ok()), Some(v6));
                }
            }
        }

        #[test]
        fn no_longer_text_is_loopback(text in "(localhost|127\\.0\\.0\\.1|\\[::1\\])[^:]\\PC{0,10}") {
            let found = Authority::parse(&text).filter(|found| found.host.is_loopback());
            // A longer number may be another address of the same block.
            let is_address = found.is_some_and(|found| matches!(found.host, Host::Address(_)));
            proptest::prop_assert!(found.is_none() || is_address, "{}", text);
        }

        #[test]
        fn no_text_causes_a_panic(text: String) {
            Authority::parse(&text);
        }
    }
}
