//! A response body whose bytes are shared with other viewers.
//!
//! They are written from the ring to the socket without a copy. Bytes that the
//! socket does not accept at once, and all bytes of encrypted connections, go
//! through the server in small slices.

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

/// The longest slice that is given to the server: it copies slices into a buffer
/// that it keeps, and a burst must not enlarge that for the viewer's whole stay.
pub(in crate::http) const MAX_SLICE_BYTES: usize = 16 << 10;

/// The source of a body's bytes.
pub(in crate::http) trait Source: Unpin + 'static {
    /// Appends the next bytes to `out`. Polled only when all earlier bytes were sent.
    fn poll_more(&mut self, out: &mut VecDeque<Bytes>, cx: &mut Context<'_>) -> Poll<Continue>;
}

/// An endless response from `source`; without a body for `HEAD`.
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

/// As [`endless`], without chunked encoding, for clients that do not decode it:
/// the body ends with the connection.
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
    // The length is removed again: only with `no_chunking` does the server send
    // the bytes unchanged.
    let mut response = response.no_chunking(0).body(Body::new(request, framing, source));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// A response of these bytes, with their length.
pub(in crate::http) fn whole(
    request: &HttpRequest,
    mut response: HttpResponseBuilder,
    pieces: Vec<Bytes>,
) -> HttpResponse {
    let length = pieces.iter().map(Bytes::len).sum::<usize>();
    response.no_chunking(length as u64).body(Body::new(request, Framing::Plain, Whole(pieces)))
}

/// How the end of the body is marked (RFC 9112, 6.3 and 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length, or by the end of the connection.
    Plain,
    Chunked,
}

struct Body<S> {
    connection: Option<Rc<Connection>>,
    framing: Framing,
    /// Bytes that are not sent yet.
    out: VecDeque<Bytes>,
    /// `None` after its end.
    source: Option<S>,
}

impl<S: Source> Body<S> {
    fn new(request: &HttpRequest, framing: Framing, source: S) -> Self {
        let source = Some(source).filter(|_| request.method() != Method::HEAD);
        Self {
            connection: Connection::from_request(request),
            framing,
            out: VecDeque::new(),
            source,
        }
    }

    fn frame(&mut self, next: Continue) {
        if self.framing == Framing::Plain {
            return;
        }
        let length: usize = self.out.iter().map(Bytes::len).sum();
        // An empty chunk would end the body.
        if length > 0 {
            self.out.push_front(format!("{length:X}\r\n").into());
            self.out.push_back(Bytes::from_static(b"\r\n"));
        }
        if next == Continue::End {
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
                connection.try_write(&mut body.out);
            }
            if let Some(slice) = slice(&mut body.out) {
                return Poll::Ready(Some(Ok(slice)));
            }
            let Some(source) = &mut body.source else { return Poll::Ready(None) };
            let next = ready!(source.poll_more(&mut body.out, cx));
            if next == Continue::End {
                body.source = None;
            }
            body.frame(next);
        }
    }
}

/// The first bytes, at most [`MAX_SLICE_BYTES`], without gaps.
fn slice(out: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = out.front_mut()?;
    if first.len() >= MAX_SLICE_BYTES {
        return Some(first.split_to(MAX_SLICE_BYTES));
    }
    if out.len() == 1 {
        return out.pop_front();
    }
    let mut slice = BytesMut::with_capacity(MAX_SLICE_BYTES);
    while let Some(next) = out.front_mut()
        && slice.len() < MAX_SLICE_BYTES
    {
        let part = next.split_to(next.len().min(MAX_SLICE_BYTES - slice.len()));
        slice.extend_from_slice(&part);
        if next.is_empty() {
            out.pop_front();
        }
    }
    Some(slice.freeze())
}

/// A body of known length.
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
    fn the_server_gets_small_slices() {
        let mut out: VecDeque<_> = pieces().into();
        let slices: Vec<_> = std::iter::from_fn(|| slice(&mut out)).collect();
        assert!(slices.iter().all(|slice| slice.len() <= MAX_SLICE_BYTES));
        assert_eq!(slices.concat(), pieces().concat());
    }

    #[actix_web::test]
    async fn a_body_without_a_length_is_chunked_and_marks_its_end() {
        let request = TestRequest::get().to_http_request();
        let pieces = vec![Bytes::from_static(b"0123456789"), Bytes::from_static(b"abcdef")];
        let body = Body::new(&request, Framing::Chunked, Whole(pieces));
        let bytes = to_bytes(body).await.unwrap();
        assert_eq!(bytes, "10\r\n0123456789abcdef\r\n0\r\n\r\n");
    }

    #[actix_web::test]
    async fn a_head_request_gets_no_body() {
        let request = TestRequest::default().method(Method::HEAD).to_http_request();
        let response = whole(&request, HttpResponse::Ok(), pieces());
        let length = response.headers().get(header::CONTENT_LENGTH).cloned();
        assert_eq!(length.unwrap(), pieces().concat().len().to_string().as_str());
        assert!(to_bytes(response.into_body()).await.unwrap().is_empty());
    }
}
