//! `feeds.NAME.rtsp`: a stream that is fetched from elsewhere.
//!
//! The address may hold a password: it is never repeated in a problem.

use crate::base::secret::Secret;
use crate::config::section::{Field, Report, word};
use crate::config::settings::{Login, Pull, Transport};

/// The maximum length of a URL, name or password, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// Keys that are valid only together with `rtsp`.
const RTSP_KEYS: [&str; 3] = ["transport", "user", "password"];

/// The URL of `rtsp` and the keys that belong to it.
pub(in crate::config) fn pull(field: &Field<'_>, report: &mut Report) -> Option<Pull> {
    if !field.at("rtsp").is_given() {
        for key in RTSP_KEYS.map(|key| field.at(key)).iter().filter(|key| key.is_given()) {
            report.add(key, "only a feed with `rtsp` has this key");
        }
        return None;
    }
    let url = report.read(&field.at("rtsp"), address);
    let transport = report.read(&field.at("transport"), word("a transport", &TRANSPORTS));
    let user = report.read(&field.at("user"), |text| plain(text, "the name"));
    let password = report.read(&field.at("password"), |text| plain(text, "the password"));
    if user.is_some() != password.is_some() {
        report.add(field, "`user` and `password` only make sense together");
    }
    let login =
        user.zip(password).map(|(user, password)| Login { user, password: Secret::new(password) });
    Some(Pull { url: url?, login, transport: transport.unwrap_or(Transport::Tcp) })
}

pub(in crate::config) const TRANSPORTS: [(&str, Transport); 2] =
    [("tcp", Transport::Tcp), ("udp", Transport::Udp)];

fn address(text: &str) -> Result<Secret, String> {
    let is_clean = text.len() <= MAX_TEXT_BYTES && text.chars().all(|c| c.is_ascii_graphic());
    let rest = text.strip_prefix("rtsp://").filter(|_| is_clean);
    let host = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let has_host = !host.is_empty() && !host.starts_with(':');
    has_host.then(|| Secret::new(text)).ok_or_else(|| {
        "the address does not look like rtsp://HOST/PATH (it is not shown, as it may hold a \
         password)"
            .to_owned()
    })
}

fn plain(text: &str, what: &str) -> Result<String, String> {
    let is_plain =
        !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    let wrong = || format!("{what} is empty, too long, or has a control character in it");
    is_plain.then(|| text.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_port() {
        let port = |text| {
            Pull { url: address(text).unwrap(), login: None, transport: Transport::Tcp }.port()
        };
        for usual in ["rtsp://cam/1", "rtsp://u:8000@cam/", "rtsp://[::1]/x:7", "rtsp://cam:no/"] {
            assert_eq!(port(usual), 554, "{usual}");
        }
        for other in ["rtsp://cam:8554", "rtsp://u:p@10.0.0.7:8554/a:1", "rtsp://[::1]:8554?x"] {
            assert_eq!(port(other), 8554, "{other}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_is_not_shown() {
        for good in ["rtsp://cam/1", "rtsp://u:p@10.0.0.7:554/a?b=c", "rtsp://[::1]:8554/x"] {
            assert_eq!(address(good).unwrap().reveal(), good);
        }
        for bad in [
            "",
            "rtsp://",
            "rtsp://:554/x",
            "http://SECRET/",
            "rtsp://u:SECRET@/",
            "rtsp://a SECRET",
        ] {
            let told = address(bad).unwrap_err();
            assert!(!told.contains("SECRET"), "{told}");
        }
    }
}
