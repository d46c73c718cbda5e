//! The head of a connection's first request, while it arrives. Pure.
//!
//! It is read before the server takes the connection: the server allocates
//! 64 KiB of buffers for each, and a connection without a request needs none.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The longest head that is accepted.
pub(in crate::http) const MAX_HEAD_BYTES: usize = 16 << 10;

/// How much of a request's head has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum HeadState {
    Incomplete,
    /// The whole head, or bytes that are no request: the server answers them.
    Complete,
    TooLong,
}

/// Checks `head`, whose first `checked` bytes were incomplete when checked before.
pub(in crate::http) fn head_state(head: &[u8], checked: usize) -> HeadState {
    let is_request =
        head.first().is_none_or(|first| first.is_ascii_alphabetic() || b"\r\n".contains(first));
    // The end may begin in the bytes that were checked before.
    let new = &head[checked.saturating_sub(3)..];
    let ends =
        new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n");
    match !is_request || ends {
        true => HeadState::Complete,
        false if head.len() >= MAX_HEAD_BYTES => HeadState::TooLong,
        false => HeadState::Incomplete,
    }
}

/// The headers of a head, in their order; lines that are not UTF-8 are skipped.
pub(in crate::http) fn headers(head: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let lines = head.trim_ascii_start().split(|byte| *byte == b'\n').skip(1);
    let lines = lines.map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty());
    let header = |line| std::str::from_utf8(line).ok()?.split_once(':');
    lines.filter_map(header).map(|(name, value)| (name, value.trim()))
}

/// Adds `Content-Length: 0` to a `POST` of HTTP/1.0 without a length, which has
/// no body (RFC 9112, 6.3). The server rejects it otherwise, and reverse proxies
/// such as nginx send it for a `POST` without a body.
pub(in crate::http) fn with_length(head: BytesMut) -> Bytes {
    const LENGTH: &[u8] = b"Content-Length: 0\r\n";
    match missing_length_offset(&head) {
        None => head.freeze(),
        Some(at) => {
            let mut whole = BytesMut::with_capacity(head.len() + LENGTH.len());
            whole.put_slice(&head[..at]);
            whole.put_slice(LENGTH);
            whole.put_slice(&head[at..]);
            whole.freeze()
        }
    }
}

/// The offset behind the request line, if a length is missing.
fn missing_length_offset(head: &[u8]) -> Option<usize> {
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte))?;
    let mut lines = head[begin..].split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    let is_line = first.starts_with(b"POST ") && first.ends_with(b"\n");
    let is_old_post = is_line && first.trim_ascii_end().ends_with(b" HTTP/1.0");
    let name =
        |line: &[u8]| line.split(|byte| *byte == b':').next().map(<[u8]>::to_ascii_lowercase);
    let mut names = lines.take_while(|line| !line.trim_ascii().is_empty()).filter_map(name);
    let gives_length =
        |name: Vec<u8>| matches!(name.trim_ascii(), b"content-length" | b"transfer-encoding");
    (is_old_post && !names.any(gives_length)).then_some(begin + first.len())
}

/// Why a connection is refused before the server gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    TooSlow,
    TooLong,
    Full,
}

impl Refusal {
    /// The whole HTTP response.
    pub(in crate::http) fn answer(self) -> String {
        let (status, more) = match self {
            Refusal::TooSlow => ("408 Request Timeout", ""),
            Refusal::TooLong => ("431 Request Header Fields Too Large", ""),
            Refusal::Full => ("503 Service Unavailable", "Retry-After: 5\r\n"),
        };
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes after which the head is no longer incomplete, when
    /// they arrive one by one.
    fn decided_after(text: &[u8]) -> Option<usize> {
        (1..=text.len())
            .find(|length| head_state(&text[..*length], length - 1) != HeadState::Incomplete)
    }

    #[test]
    fn a_head_is_complete_at_its_empty_line_and_not_before() {
        for text in
            ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\n\n", "GET /\r\nA: b\n\r\n"]
        {
            assert_eq!(decided_after(text.as_bytes()), Some(text.len()), "{text:?}");
            let more = format!("{text}GET");
            assert_eq!(head_state(more.as_bytes(), 0), HeadState::Complete);
        }
        assert_eq!(decided_after(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(head_state(b"", 0), HeadState::Incomplete);
    }

    #[test]
    fn bytes_that_are_no_request_are_left_to_the_server() {
        assert_eq!(decided_after(&[22, 3, 1, 0]), Some(1));
    }

    #[test]
    fn an_endless_head_is_too_long() {
        let endless = vec![b'a'; 2 * MAX_HEAD_BYTES];
        assert_eq!(decided_after(&endless), Some(MAX_HEAD_BYTES));
        assert_eq!(head_state(&endless[..MAX_HEAD_BYTES], MAX_HEAD_BYTES - 1), HeadState::TooLong);
    }

    #[test]
    fn a_post_of_http_1_0_without_a_length_gets_length_0() {
        let read = |text: &str| String::from_utf8(with_length(text.into()).to_vec()).unwrap();
        assert_eq!(
            read("\r\nPOST /a HTTP/1.0\r\nHost: b\r\n\r\nrest"),
            "\r\nPOST /a HTTP/1.0\r\nContent-Length: 0\r\nHost: b\r\n\r\nrest"
        );
        for text in [
            "POST /a HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET /a HTTP/1.0\r\n\r\n",
            "POST /a HTTP/1.0\r\nCONTENT-length: 5\r\n\r\nhello",
            "POST /a HTTP/1.0\r\nA: b\r\nContent-Length : 5\r\n\r\nhello",
            "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /a",
            "\u{16}\u{3}",
        ] {
            assert_eq!(read(text), text);
        }
    }

    #[test]
    fn headers_end_with_the_head() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a:1\r\nA:b\nno header\n\xff: c\r\n\r\nD: e\r\n";
        assert_eq!(headers(head).collect::<Vec<_>>(), [("Host", "a:1"), ("A", "b")]);
        assert_eq!(headers(b"").count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn a_length_is_added_once_and_nothing_else_changes(text in "(POST / HTTP/1.0)?[A:\r\n]{0,40}") {
            let once = with_length(text.as_str().into());
            proptest::prop_assert_eq!(&with_length(once.as_ref().into()), &once);
            let once = String::from_utf8(once.to_vec()).unwrap();
            proptest::prop_assert_eq!(once.replacen("Content-Length: 0\r\n", "", 1), text);
        }

        #[test]
        fn the_result_does_not_depend_on_how_the_bytes_are_cut(text in "[A\r\n]{0,40}", cut in 0_usize..40) {
            let text = format!("A{text}").into_bytes();
            let cut = cut.min(text.len());
            let at_once = head_state(&text, 0);
            let first = head_state(&text[..cut], 0);
            let in_two = if first == HeadState::Incomplete { head_state(&text, cut) } else { first };
            proptest::prop_assert_eq!(at_once, in_two);
        }
    }
}
