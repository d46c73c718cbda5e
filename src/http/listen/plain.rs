//! The answer to plain HTTP on an HTTPS port. Pure.
//!
//! `GET` and `HEAD` are redirected to the same URL over HTTPS. Other requests
//! were already sent without encryption, and get an error.

/// The longest head of a request that is read.
pub(in crate::http) const MAX_HEAD_BYTES: usize = 8 << 10;

const REFUSAL: &str = "This port speaks HTTPS: begin the address with https://\n";

/// Whether the head of a request is complete.
pub(in crate::http) fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

/// The whole HTTP response. It must not be cached: HTTPS may be switched off.
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

/// The requested URL with `https`; `None` unless the request is a complete and
/// well-formed `GET` or `HEAD`.
fn secure_url(head: &[u8]) -> Option<String> {
    if !is_complete(head) {
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
    fn get_and_head_are_redirected_to_the_same_url() {
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /a.mp4?pad=0 HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n");
            let response = answer(request.as_bytes());
            assert!(response.starts_with("HTTP/1.1 307 "), "{response}");
            assert!(
                response.contains("\r\nLocation: https://[::1]:8000/a.mp4?pad=0\r\n"),
                "{response}"
            );
        }
    }

    #[test]
    fn other_requests_get_an_error_that_names_https() {
        for request in [
            "PUT /api/v1/start HTTP/1.1\r\nHost: box\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: box",
            "GET http://other/ HTTP/1.1\r\nHost: box\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: box@evil.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET\r\n\r\n",
            "",
        ] {
            let response = answer(request.as_bytes());
            assert!(response.starts_with("HTTP/1.1 400 "), "{request:?}: {response}");
            assert!(response.ends_with(REFUSAL), "{request:?}: {response}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_request_adds_a_line_to_the_response(
            method in "(GET|HEAD|X)", path in "/?[ -~\r\n]{0,20}", host in "[ -~\r\n]{0,20}",
        ) {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let response = answer(request.as_bytes());
            proptest::prop_assert_eq!(response.split("\r\n").count(), 7, "{}", response);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
            answer(&bytes);
        }
    }
}
