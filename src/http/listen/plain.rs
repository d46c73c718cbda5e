//! HTTP where HTTPS is spoken: where to go instead. Pure.
//!
//! Who only wants to see something is sent to the same place over HTTPS. Who
//! asks for more has already sent it readable for all, and is told so.

/// The longest head of a request that is read, in bytes.
pub(in crate::http) const HEAD_AT_MOST: usize = 8 << 10;

const REFUSAL: &str = "This port speaks HTTPS: begin the address with https://\n";

/// Whether the head of a request is complete.
pub(in crate::http) fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

/// The whole answer. Nothing in it may be cached: HTTPS may be switched off.
pub(in crate::http) fn answer(head: &[u8]) -> String {
    match secure_url(head) {
        Some(url) => format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {url}\r\nCache-Control: no-store\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        None => format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Cache-Control: no-store\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{REFUSAL}",
            REFUSAL.len()
        ),
    }
}

/// What was asked for, over HTTPS; nothing unless it is a whole and harmless
/// request to see something.
fn secure_url(head: &[u8]) -> Option<String> {
    if !is_whole(head) {
        return None;
    }
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !matches!(method, "GET" | "HEAD") || !version.starts_with("HTTP/1.") || !is_path {
        return None;
    }
    let headers = lines.take_while(|line| !line.is_empty());
    let mut headers = headers.filter_map(|line| line.split_once(':'));
    let (_, host) = headers.find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
    let host = host.trim();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let is_host = (1..=255).contains(&host.len()) && host.bytes().all(is_part);
    is_host.then(|| format!("https://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_to_see_something_is_sent_to_the_same_place() {
        for method in ["GET", "HEAD"] {
            let asked = format!("{method} /a.mp4?pad=0 HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n");
            let told = answer(asked.as_bytes());
            assert!(told.starts_with("HTTP/1.1 307 "), "{told}");
            assert!(told.contains("\r\nLocation: https://[::1]:8000/a.mp4?pad=0\r\n"), "{told}");
        }
    }

    #[test]
    fn whoever_asks_otherwise_is_told() {
        for asked in [
            "PUT /api/v1/start HTTP/1.1\r\nHost: box\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: box",
            "GET http://other/ HTTP/1.1\r\nHost: box\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: box@evil.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET\r\n\r\n",
            "",
        ] {
            let told = answer(asked.as_bytes());
            assert!(told.starts_with("HTTP/1.1 400 "), "{asked:?}: {told}");
            assert!(told.ends_with(REFUSAL), "{asked:?}: {told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_adds_a_line_to_the_answer(
            method in "(GET|HEAD|X)", path in "/?[ -~\r\n]{0,20}", host in "[ -~\r\n]{0,20}",
        ) {
            let asked = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let told = answer(asked.as_bytes());
            proptest::prop_assert_eq!(told.split("\r\n").count(), 7, "{}", told);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            answer(&bytes);
        }
    }
}
