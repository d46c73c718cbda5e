//! Files as answers: whole, a range of them, or only the news that the client
//! has them already (RFC 9110, sections 13 and 14).
//!
//! Nothing here touches a disk on a worker's thread; [`DiskFile`] does that.

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

/// A file is read in pieces of this size.
const PIECE: u64 = 64 << 10;

/// What the disk says about a file.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    length: u64,
    modified: SystemTime,
    tag: EntityTag,
}

impl Facts {
    pub(super) fn of(file: &Metadata) -> Self {
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let tag = format!("{:x}:{:x}:{seconds:x}:{nanoseconds:x}", file.ino(), file.len());
        Self { length: file.len(), modified: UNIX_EPOCH + since, tag: EntityTag::new_strong(tag) }
    }
}

/// What of a file is to be sent.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part {
        from: u64,
        length: u64,
    },
    /// It begins behind the end.
    Nothing,
}

/// The answer to `request`, which found `file`.
pub(super) fn answer(
    request: &HttpRequest,
    (file, facts): (DiskFile, Facts),
    content_type: &str,
    caching: &'static str,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, caching))
        .insert_header(header::ETag(facts.tag.clone()))
        .insert_header(header::LastModified(facts.modified.into()));
    if is_known(request, &facts) {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    let (from, length) = match wanted(request, &facts) {
        Wanted::Whole => (0, facts.length),
        Wanted::Part { from, length } => {
            let last = (from + length).saturating_sub(1);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((
                header::CONTENT_RANGE,
                format!("bytes {from}-{last}/{}", facts.length),
            ));
            (from, length)
        }
        Wanted::Nothing => {
            return response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .insert_header((header::CONTENT_RANGE, format!("bytes */{}", facts.length)))
                .finish();
        }
    };
    response.content_type(content_type).body(SizedStream::new(length, pieces(file, from, length)))
}

/// Whether the client has the file as it is (section 13.2.2).
fn is_known(request: &HttpRequest, facts: &Facts) -> bool {
    match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&facts.tag)),
        None => request
            .get_header::<IfModifiedSince>()
            .is_some_and(|IfModifiedSince(since)| facts.modified <= SystemTime::from(since)),
    }
}

/// One range; of several the first (section 14.2 lets a server choose).
fn wanted(request: &HttpRequest, facts: &Facts) -> Wanted {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE) else { return Wanted::Whole };
    // A file that has changed meanwhile is sent whole.
    let is_same = |condition: &str| {
        condition == facts.tag.to_string()
            || condition == HttpDate::from(facts.modified).to_string()
    };
    if !text(header::IF_RANGE).is_none_or(is_same) {
        return Wanted::Whole;
    }
    match HttpRange::parse(range, facts.length) {
        Ok(ranges) => ranges.first().map_or(Wanted::Nothing, |range| Wanted::Part {
            from: range.start,
            length: range.length,
        }),
        Err(_) => Wanted::Nothing,
    }
}

/// The bytes from `from` on, each piece read when the one before has left.
fn pieces(
    file: DiskFile,
    from: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Unpin + 'static {
    let end = from + length;
    Box::pin(try_unfold((file, from), move |(file, at)| async move {
        let size = usize::try_from(PIECE.min(end - at)).unwrap_or(0);
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
            // It has become shorter: the length that was promised cannot be sent.
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

    fn facts() -> Facts {
        Facts {
            length: 1000,
            modified: UNIX_EPOCH + Duration::from_secs(1_000_000),
            tag: EntityTag::new_strong("a".to_owned()),
        }
    }

    fn asked(headers: &[(&str, &str)]) -> HttpRequest {
        let request = headers.iter().fold(TestRequest::get(), |request, (name, value)| {
            request.append_header((*name, *value))
        });
        request.to_http_request()
    }

    #[test]
    fn a_range_is_a_part_and_one_behind_the_end_is_nothing() {
        let wants = |range| wanted(&asked(&[("range", range)]), &facts());
        assert_eq!(wants("bytes=0-99"), Wanted::Part { from: 0, length: 100 });
        assert_eq!(wants("bytes=990-"), Wanted::Part { from: 990, length: 10 });
        assert_eq!(wants("bytes=-5"), Wanted::Part { from: 995, length: 5 });
        assert_eq!(wants("bytes=1000-"), Wanted::Nothing);
        assert_eq!(wanted(&asked(&[]), &facts()), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_state_of_the_file_is_the_whole() {
        let wants = |tag| wanted(&asked(&[("range", "bytes=0-9"), ("if-range", tag)]), &facts());
        assert_eq!(wants("\"a\""), Wanted::Part { from: 0, length: 10 });
        assert_eq!(wants("\"b\""), Wanted::Whole);
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        for (header, value, known) in [
            ("if-none-match", "\"a\"", true),
            ("if-none-match", "\"b\", W/\"a\"", true),
            ("if-none-match", "\"b\"", false),
            ("if-modified-since", "Mon, 12 Jan 1970 13:46:40 GMT", true),
            ("if-modified-since", "Mon, 12 Jan 1970 13:46:39 GMT", false),
        ] {
            assert_eq!(is_known(&asked(&[(header, value)]), &facts()), known, "{header}: {value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_leads_out_of_the_file(range in "(bytes=)?[0-9,\\- ]{0,30}", length in 0_u64..5) {
            let facts = Facts { length, ..facts() };
            if let Wanted::Part { from, length } = wanted(&asked(&[("range", &range)]), &facts) {
                proptest::prop_assert!(from + length <= facts.length);
            }
        }
    }
}
