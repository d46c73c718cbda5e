//! Basic and Digest authentication over RTSP (RFC 7617; RFC 2617, which RFC 2326 requires).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::accounts::Scope;
use crate::base::secret::Secret;
use crate::config::settings::Login;

const REALM: &str = "livebox";

/// The challenges of a refusal, the preferred one first: without TLS, Basic
/// sends the password in clear text.
pub(super) fn challenges(nonce: &str) -> [String; 2] {
    [format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\""), format!("Basic realm=\"{REALM}\"")]
}

/// The challenge of a stream with a password of its own. Digest is not possible:
/// only an argon2 hash of that password is known.
pub(super) fn basic_challenge(scope: &Scope) -> String {
    match scope {
        Scope::Stream(name) => format!("Basic realm=\"{REALM} stream {name}\""),
        Scope::Box | Scope::Pages => format!("Basic realm=\"{REALM}\""),
    }
}

/// Whether the `Authorization` header of a request with `method` has the login.
pub(super) fn matches(login: &Login, header: &str, method: &str, nonce: &str) -> bool {
    let Some((scheme, rest)) = header.trim().split_once(' ') else { return false };
    if scheme.eq_ignore_ascii_case("basic") {
        is_basic(login, rest.trim())
    } else {
        scheme.eq_ignore_ascii_case("digest") && is_digest(login, rest, method, nonce)
    }
}

fn is_basic(login: &Login, encoded: &str) -> bool {
    let expected = Secret::new(format!("{}:{}", login.user, login.password.reveal()));
    STANDARD.decode(encoded).is_ok_and(|given| is_same(&given, expected.reveal().as_bytes()))
}

fn is_digest(login: &Login, parameters: &str, method: &str, nonce: &str) -> bool {
    let value = |wanted: &str| {
        let mut all = parameters.split(',').filter_map(|one| one.split_once('='));
        let found = all.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().trim_matches('"'))
    };
    let (Some(user), Some(given), Some(uri), Some(response)) =
        (value("username"), value("nonce"), value("uri"), value("response"))
    else {
        return false;
    };
    if user != login.user || given != nonce {
        return false;
    }
    // HA1 and HA2 of RFC 2617, section 3.2.2.
    let ha1 = hash(&[&login.user, REALM, login.password.reveal()]);
    let ha2 = hash(&[method, uri]);
    is_same(response.to_ascii_lowercase().as_bytes(), hash(&[&ha1, nonce, &ha2]).as_bytes())
}

fn hash(parts: &[&str]) -> String {
    let digest = Md5::digest(parts.join(":"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in constant time.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == expected.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login { user: "anna".to_owned(), password: Secret::new("wood:pecker") }
    }

    fn digest(password: &str, nonce: &str) -> String {
        let uri = "rtsp://box:8554/front";
        let response = hash(&[&hash(&["anna", REALM, password]), nonce, &hash(&["DESCRIBE", uri])]);
        format!(
            "Digest username=\"anna\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\""
        )
    }

    #[test]
    fn the_digest_of_the_rfc_example_is_right() {
        // The example of RFC 2069 as corrected by its erratum: no qop.
        let ha1 = hash(&["Mufasa", "testrealm@host.com", "CircleOfLife"]);
        let ha2 = hash(&["GET", "/dir/index.html"]);
        let response = hash(&[&ha1, "dcd98b7102dd2f0e8b11d0f600bfb0c093", &ha2]);
        assert_eq!(response, "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn basic_and_digest_accept_the_right_password() {
        let basic = format!("Basic {}", STANDARD.encode("anna:wood:pecker"));
        assert!(matches(&login(), &basic, "DESCRIBE", "n1"));
        assert!(matches(&login(), &digest("wood:pecker", "n1"), "DESCRIBE", "n1"));
    }

    #[test]
    fn everything_else_is_refused() {
        let wrong = format!("Basic {}", STANDARD.encode("anna:wood"));
        for header in ["", "Basic", "Basic ?", "Bearer x", "Digest", "Digest username=anna", &wrong]
        {
            assert!(!matches(&login(), header, "DESCRIBE", "n1"), "{header}");
        }
        assert!(!matches(&login(), &digest("wrong", "n1"), "DESCRIBE", "n1"));
        let right = digest("wood:pecker", "n1");
        assert!(!matches(&login(), &right, "SETUP", "n1"), "made for another method");
        assert!(!matches(&login(), &right, "DESCRIBE", "n2"), "made for another connection");
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(header: String) {
            matches(&login(), &header, "PLAY", "n1");
            matches(&login(), &format!("Digest {header}"), "PLAY", "n1");
        }
    }
}
