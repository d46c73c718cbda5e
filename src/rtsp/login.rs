//! Who may watch over RTSP: Basic and Digest (RFC 7617, RFC 2617 as RFC 2326 wants it).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::accounts::Scope;
use crate::base::secret::Secret;
use crate::config::settings::Login;

const REALM: &str = "livebox";

/// The ways in for who is refused, best first: without TLS, Basic shows the
/// password to everybody on the way.
pub(super) fn challenges(nonce: &str) -> [String; 2] {
    [format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\""), format!("Basic realm=\"{REALM}\"")]
}

/// The way in to a stream with a password of its own. Its hash cannot check Digest.
pub(super) fn basic_challenge(place: &Scope) -> String {
    match place {
        Scope::Stream(name) => format!("Basic realm=\"{REALM} stream {name}\""),
        Scope::Box | Scope::Pages => format!("Basic realm=\"{REALM}\""),
    }
}

/// Whether an `Authorization` header of a request with `method` opens.
pub(super) fn opens(login: &Login, header: &str, method: &str, nonce: &str) -> bool {
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
    let who = hash(&[&login.user, REALM, login.password.reveal()]);
    let what = hash(&[method, uri]);
    is_same(response.to_ascii_lowercase().as_bytes(), hash(&[&who, nonce, &what]).as_bytes())
}

fn hash(parts: &[&str]) -> String {
    let digest = Md5::digest(parts.join(":"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes as long whatever differs, so that time tells nothing.
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
    fn the_example_of_the_standard_is_computed_right() {
        // RFC 2069's example as corrected by its erratum: no qop.
        let who = hash(&["Mufasa", "testrealm@host.com", "CircleOfLife"]);
        let what = hash(&["GET", "/dir/index.html"]);
        let response = hash(&[&who, "dcd98b7102dd2f0e8b11d0f600bfb0c093", &what]);
        assert_eq!(response, "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn the_right_password_opens_both_ways() {
        let basic = format!("Basic {}", STANDARD.encode("anna:wood:pecker"));
        assert!(opens(&login(), &basic, "DESCRIBE", "n1"));
        assert!(opens(&login(), &digest("wood:pecker", "n1"), "DESCRIBE", "n1"));
    }

    #[test]
    fn everything_else_does_not() {
        let wrong = format!("Basic {}", STANDARD.encode("anna:wood"));
        for header in ["", "Basic", "Basic ?", "Bearer x", "Digest", "Digest username=anna", &wrong]
        {
            assert!(!opens(&login(), header, "DESCRIBE", "n1"), "{header}");
        }
        assert!(!opens(&login(), &digest("wrong", "n1"), "DESCRIBE", "n1"));
        let right = digest("wood:pecker", "n1");
        assert!(!opens(&login(), &right, "SETUP", "n1"), "made for another method");
        assert!(!opens(&login(), &right, "DESCRIBE", "n2"), "made for another connection");
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_check_panic(header: String) {
            opens(&login(), &header, "PLAY", "n1");
            opens(&login(), &format!("Digest {header}"), "PLAY", "n1");
        }
    }
}
