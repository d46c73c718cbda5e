//! A body whose bytes are shared with other viewers.
//!
//! They go from the ring to the kernel without a copy; what the kernel does not
//! take at once, and everything of an encrypted connection, goes through the
//! server in small pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{Method, Version, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::{Bytes, BytesMut};

use super::viewer::Continue;
use crate::http::listen::connection::Connection;

/// The server copies what it is given into a buffer that it keeps: a burst
/// must not blow that up for as long as the viewer stays.
pub(in crate::http) const SLICE: usize = 16 << 10;

/// Where bytes come from.
pub(in crate::http) trait Source: Unpin + 'static {
    /// Puts what comes next into `out`. Asked only when all before it has left.
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Continue>;
}

/// An answer without an end, from `source`. Without one where only the head is asked for.
pub(in crate::http) fn endless<S: Source>(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    source: S,
) -> HttpResponse {
    match request.version() {
        Version::HTTP_11 => {
            response.insert_header((header::TRANSFER_ENCODING, "chunked"));
            without_length(request, response, Framing::Chunked, source)
        }
        _ => without_length(request, response, Framing::Plain, source),
    }
}

/// As [`endless`], for clients that read the bytes as they come and know no
/// chunks: the end of the connection is the end.
pub(in crate::http) fn until_close<S: Source>(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    source: S,
) -> HttpResponse {
    response.force_close();
    without_length(request, response, Framing::Plain, source)
}

fn without_length<S: Source>(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    framing: Framing,
    source: S,
) -> HttpResponse {
    // The length is taken out again: this is the only way to tell the server
    // that it shall leave the bytes as they are.
    let mut response = response.no_chunking(0).body(Body::new(request, framing, source));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// An answer of these bytes.
pub(in crate::http) fn whole(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    pieces: Vec<Bytes>,
) -> HttpResponse {
    let length = pieces.iter().map(Bytes::len).sum::<usize>();
    response.no_chunking(length as u64).body(Body::new(request, Framing::Plain, Whole(pieces)))
}

/// How an HTTP/1 client tells where the body ends (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length, or by the end of the connection.
    Plain,
    Chunked,
}

struct Body<S> {
    connection: Option<Rc<Connection>>,
    framing: Framing,
    /// What has not left yet.
    out: VecDeque<Bytes>,
    /// Nothing once it has ended.
    source: Option<S>,
}

impl<S: Source> Body<S> {
    fn new(request: &HttpRequest, framing: Framing, source: S) -> Self {
        let source = Some(source).filter(|_| request.method() != Method::HEAD);
        Self { connection: Connection::of(request), framing, out: VecDeque::new(), source }
    }

    fn frame(&mut self, flow: Continue) {
        if self.framing == Framing::Plain {
            return;
        }
        let length: usize = self.out.iter().map(Bytes::len).sum();
        // A chunk of no length would be the end.
        if length > 0 {
            self.out.push_front(format!("{length:X}\r\n").into());
            self.out.push_back(Bytes::from_static(b"\r\n"));
        }
        if flow == Continue::End {
            self.out.push_back(Bytes::from_static(b"0\r\n\r\n"));
        }
    }
}

impl<S: Source> MessageBody for Body<S> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let body = self.get_mut();
        loop {
            if let Some(connection) = &body.connection {
                connection.offer(&mut body.out);
            }
            if let Some(slice) = slice(&mut body.out) {
                return Poll::Ready(Some(Ok(slice)));
            }
            let Some(source) = &mut body.source else { return Poll::Ready(None) };
            let flow = ready!(source.poll_more(&mut body.out, cx));
            if flow == Continue::End {
                body.source = None;
            }
            body.frame(flow);
        }
    }
}

/// The first bytes, at most [`SLICE`], in one piece.
fn slice(out: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = out.front_mut()?;
    if first.len() >= SLICE {
        return Some(first.split_to(SLICE));
    }
    if out.len() == 1 {
        return out.pop_front();
    }
    let mut slice = BytesMut::with_capacity(SLICE);
    while let Some(next) = out.front_mut()
        && slice.len() < SLICE
    {
        let part = next.split_to(next.len().min(SLICE - slice.len()));
        slice.extend_from_slice(&part);
        if next.is_empty() {
            out.pop_front();
        }
    }
    Some(slice.freeze())
}

/// Some bytes and then the end.
struct Whole(Vec<Bytes>);

impl Source for Whole {
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, _: &mut Context<'_>) -> Poll<Continue> {
        out.extend(std::mem::take(&mut self.0));
        Poll::Ready(Continue::End)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    fn pieces() -> Vec<Bytes> {
        let sizes = [3, 100_000, 1, 0, 20_000, 16 << 10, 5];
        sizes.iter().map(|size| Bytes::from(vec![*size as u8; *size])).collect()
    }

    #[test]
    fn what_goes_through_the_server_goes_in_small_slices() {
        let mut out: VecDeque<_> = pieces().into();
        let slices: Vec<_> = std::iter::from_fn(|| slice(&mut out)).collect();
        assert!(slices.iter().all(|slice| slice.len() <= SLICE));
        assert_eq!(slices.concat(), pieces().concat());
    }

    #[actix_web::test]
    async fn a_body_without_a_length_tells_its_chunks_and_its_end() {
        let request = TestRequest::get().to_http_request();
        let pieces = vec![Bytes::from_static(b"0123456789"), Bytes::from_static(b"abcdef")];
        let body = Body::new(&request, Framing::Chunked, Whole(pieces));
        let bytes = to_bytes(body).await.unwrap();
        assert_eq!(bytes, "10\r\n0123456789abcdef\r\n0\r\n\r\n");
    }

    #[actix_web::test]
    async fn who_asks_for_the_head_gets_no_body() {
        let request = TestRequest::default().method(Method::HEAD).to_http_request();
        let response = whole(&request, HttpResponse::Ok(), pieces());
        let length = response.headers().get(header::CONTENT_LENGTH).cloned();
        assert_eq!(length.unwrap(), pieces().concat().len().to_string().as_str());
        assert!(to_bytes(response.into_body()).await.unwrap().is_empty());
    }
}
