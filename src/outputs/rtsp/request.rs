//! The first words of an RTSP connection (RFC 2326): what is asked, of which path.
//!
//! Just enough to know whom to let in; the conversation itself is not held here.

/// The longest head of a request, in bytes.
pub(super) const HEAD_AT_MOST: usize = 8192;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// A request whose head has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// With a leading slash; without host, query and trailing slash.
    pub(super) path: String,
    sequence: String,
    /// Bytes of the head.
    pub(super) length: usize,
}

/// What cannot be a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// An answer without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Options,
    BadRequest,
    NotFound,
    NotAllowed,
    Unavailable,
}

impl Request {
    /// The request at the start of `bytes`; nothing as long as its head is not complete.
    ///
    /// # Errors
    /// No RTSP request begins like this, or its head is too long.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Bad> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() < HEAD_AT_MOST { Ok(None) } else { Err(Bad) };
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Bad)?;
        if end > HEAD_AT_MOST || head.contains('\0') {
            return Err(Bad);
        }
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(url), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Bad);
        };
        if !version.starts_with("RTSP/") {
            return Err(Bad);
        }
        let sequence = lines.filter_map(|line| line.split_once(':'));
        let mut sequence = sequence.filter(|(name, _)| name.eq_ignore_ascii_case("cseq"));
        let sequence = sequence.next().map(|(_, value)| value.trim());
        let is_number = |text: &&str| text.len() < 20 && text.bytes().all(|b| b.is_ascii_digit());
        let sequence = sequence.filter(is_number).ok_or(Bad)?;
        Ok(Some(Self {
            method: method.to_owned(),
            path: path_of(url),
            sequence: sequence.to_owned(),
            length: end + 4,
        }))
    }

    /// `answer` as it goes over the wire.
    pub(super) fn answered(&self, answer: Answer) -> String {
        written(answer, Some(&self.sequence))
    }
}

/// `answer` to what is no request.
pub(super) fn written(answer: Answer, sequence: Option<&str>) -> String {
    let status = match answer {
        Answer::Options => "200 OK",
        Answer::BadRequest => "400 Bad Request",
        Answer::NotFound => "404 Not Found",
        Answer::NotAllowed => "405 Method Not Allowed",
        Answer::Unavailable => "503 Service Unavailable",
    };
    let sequence = sequence.map(|number| format!("CSeq: {number}\r\n")).unwrap_or_default();
    let more = match answer {
        Answer::Options => format!("Public: {METHODS}\r\n"),
        Answer::NotAllowed => format!("Allow: {METHODS}\r\n"),
        Answer::Unavailable => "Retry-After: 5\r\n".to_owned(),
        Answer::BadRequest | Answer::NotFound => String::new(),
    };
    format!("RTSP/1.0 {status}\r\n{sequence}{more}Server: livebox\r\n\r\n")
}

/// Whether viewers may ask this at all.
pub(super) fn is_offered(method: &str) -> bool {
    METHODS.split(", ").any(|offered| offered == method)
}

fn path_of(url: &str) -> String {
    let below_host = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => url,
    };
    let path = below_host.split('?').next().unwrap_or_default();
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, Bad> {
        Request::read(text.as_bytes())
    }

    #[test]
    fn a_description_names_its_path() {
        for (url, path) in [
            ("rtsp://box:8554/front", "/front"),
            ("rtsp://box/cams/a/?x=1", "/cams/a"),
            ("rtsp://[::1]:8554/front/stream=0", "/front/stream=0"),
            ("rtsp://box", ""),
            ("*", "*"),
        ] {
            let text = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 3\r\n\r\nmore");
            let request = read(&text).unwrap().unwrap();
            assert_eq!((request.method.as_str(), request.path.as_str()), ("DESCRIBE", path));
            assert_eq!(request.length, text.len() - 4);
        }
    }

    #[test]
    fn half_a_head_is_waited_for() {
        assert_eq!(read("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n"), Ok(None));
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\nHost: box\r\n\r\n",
            "OPTIONS * RTSP/1.0\r\n\r\n",
            "OPTIONS * RTSP/1.0\r\nCSeq: one\r\n\r\n",
            "OPTIONS  * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: \0\r\n\r\n",
        ] {
            assert_eq!(read(text), Err(Bad), "{text:?}");
        }
        assert_eq!(read(&"x".repeat(HEAD_AT_MOST)), Err(Bad));
    }

    #[test]
    fn an_answer_repeats_the_number_of_its_request() {
        let request = read("DESCRIBE rtsp://box/x RTSP/1.0\r\ncseq: 7\r\n\r\n").unwrap().unwrap();
        assert_eq!(
            request.answered(Answer::NotFound),
            "RTSP/1.0 404 Not Found\r\nCSeq: 7\r\nServer: livebox\r\n\r\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            Request::read(&bytes).ok();
        }

        #[test]
        fn any_words_are_read_without_harm(
            line in "[A-Z]{1,8} [a-z:/?*]{0,20} RTSP/1.0",
            headers in "([A-Za-z]{1,5}: ?[0-9a-z]{0,5}\r\n){0,4}",
        ) {
            if let Ok(Some(request)) = read(&format!("{line}\r\nCSeq: 1\r\n{headers}\r\n")) {
                proptest::prop_assert!(!request.path.contains('?'));
            }
        }
    }
}
