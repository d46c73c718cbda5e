//! Files as responses: whole, a range, or "not modified" (RFC 9110, sections 13
//! and 14).
//!
//! The disk is accessed by [`DiskFile`] only, never on a worker thread.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_files::HttpRange;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, EntityTag, HttpDate, IfModifiedSince, IfNoneMatch};
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::Stream;
use futures_util::stream::try_unfold;

use crate::base::disk::{CALL_TIMEOUT, DiskFile};

/// Bytes of a file that are read at a time.
const READ_BYTES: u64 = 64 << 10;

/// The metadata of a file that a response needs.
#[derive(Clone, Debug)]
pub(super) struct FileMeta {
    length: u64,
    modified: SystemTime,
    tag: EntityTag,
}

impl FileMeta {
    pub(super) fn from_metadata(file: &Metadata) -> Self {
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let tag = format!("{:x}:{:x}:{seconds:x}:{nanoseconds:x}", file.ino(), file.len());
        Self { length: file.len(), modified: UNIX_EPOCH + since, tag: EntityTag::new_strong(tag) }
    }
}

/// The range of a file to send.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part {
        from: u64,
        length: u64,
    },
    /// It begins after the end.
    Unsatisfiable,
}

/// The response to `request` for `file`.
pub(super) fn answer(
    request: &HttpRequest,
    (file, meta): (DiskFile, FileMeta),
    content_type: &str,
    caching: &'static str,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header(header::ETag(meta.tag.clone()))
        .insert_header(header::LastModified(meta.modified.into()));
    if is_not_modified(request, &meta) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    let (from, length) = match requested_range(request, &meta) {
        Range::Whole => (0, meta.length),
        Range::Part { from, length } => {
            let last = (from + length).saturating_sub(1);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((
                header::CONTENT_RANGE,
                format!("bytes {from}-{last}/{}", meta.length),
            ));
            (from, length)
        }
        Range::Unsatisfiable => {
            return response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .insert_header((header::CONTENT_RANGE, format!("bytes */{}", meta.length)))
                .finish();
        }
    };
    response.content_type(content_type).body(SizedStream::new(length, pieces(file, from, length)))
}

/// Whether the client has the current version of the file (section 13.2.2).
fn is_not_modified(request: &HttpRequest, meta: &FileMeta) -> bool {
    match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&meta.tag)),
        None => request
            .get_header::<IfModifiedSince>()
            .is_some_and(|IfModifiedSince(since)| meta.modified <= SystemTime::from(since)),
    }
}

/// The requested range; the first of several (section 14.2 allows this).
fn requested_range(request: &HttpRequest, meta: &FileMeta) -> Range {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Range::Whole };
    // A file that has changed meanwhile is sent whole.
    let is_same = |condition: &str| {
        condition == meta.tag.to_string() || condition == HttpDate::from(meta.modified).to_string()
    };
    if !text(header::IF_RANGE).is_none_or(is_same) {
        return Range::Whole;
    }
    match HttpRange::parse(range, meta.length) {
        Ok(ranges) => ranges.first().map_or(Range::Unsatisfiable, |range| Range::Part {
            from: range.start,
            length: range.length,
        }),
        Err(_) => Range::Unsatisfiable,
    }
}

/// `length` bytes from the offset `from`; each piece is read when the one before
/// was sent.
fn pieces(
    file: DiskFile,
    from: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Unpin + 'static {
    let end = from + length;
    Box::pin(try_unfold((file, from), move |(file, at)| async move {
        let size = usize::try_from(READ_BYTES.min(end - at)).unwrap_or(0);
        if size == 0 {
            return Ok(None);
        }
        let read = file.run(CALL_TIMEOUT, move |file| {
            let mut piece = vec![0; size];
            let length = file.read_at(&mut piece, at)?;
            piece.truncate(length);
            Ok(piece)
        });
        let piece = read.await?;
        if piece.is_empty() {
            // The file has become shorter than the announced length.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let next = at + piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, next))))
    }))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn meta() -> FileMeta {
        FileMeta {
            length: 1000,
            modified: UNIX_EPOCH + Duration::from_secs(1_000_000),
            tag: EntityTag::new_strong("a".to_owned()),
        }
    }

    fn request(headers: &[(&str, &str)]) -> HttpRequest {
        let request = headers.iter().fold(TestRequest::get(), |request, (name, value)| {
            request.append_header((*name, *value))
        });
        request.to_http_request()
    }

    #[test]
    fn a_range_after_the_end_is_unsatisfiable() {
        let wants = |range| requested_range(&request(&[("range", range)]), &meta());
        assert_eq!(wants("bytes=0-99"), Range::Part { from: 0, length: 100 });
        assert_eq!(wants("bytes=990-"), Range::Part { from: 990, length: 10 });
        assert_eq!(wants("bytes=-5"), Range::Part { from: 995, length: 5 });
        assert_eq!(wants("bytes=1000-"), Range::Unsatisfiable);
        assert_eq!(requested_range(&request(&[]), &meta()), Range::Whole);
    }

    #[test]
    fn a_range_of_another_version_gets_the_whole_file() {
        let wants =
            |tag| requested_range(&request(&[("range", "bytes=0-9"), ("if-range", tag)]), &meta());
        assert_eq!(wants("\"a\""), Range::Part { from: 0, length: 10 });
        assert_eq!(wants("\"b\""), Range::Whole);
    }

    #[test]
    fn a_client_with_the_current_version_gets_not_modified() {
        for (header, value, known) in [
            ("if-none-match", "\"a\"", true),
            ("if-none-match", "\"b\", W/\"a\"", true),
            ("if-none-match", "\"b\"", false),
            ("if-modified-since", "Mon, 12 Jan 1970 13:46:40 GMT", true),
            ("if-modified-since", "Mon, 12 Jan 1970 13:46:39 GMT", false),
        ] {
            assert_eq!(
                is_not_modified(&request(&[(header, value)]), &meta()),
                known,
                "{header}: {value}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_exceeds_the_file(range in "(bytes=)?[0-9,\\- ]{0,30}", length in 0_u64..5) {
            let meta = FileMeta { length, ..meta() };
            if let Range::Part { from, length } = requested_range(&request(&[("range", &range)]), &meta) {
                proptest::prop_assert!(from + length <= meta.length);
            }
        }
    }
}
