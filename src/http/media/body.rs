//! A response body whose bytes are shared with other viewers.
//!
//! They are written from the ring to the socket without a copy: while the viewer
//! is at the live edge by the notifier of its stream, otherwise by its own task.
//! Bytes that the socket does not accept at once, and all bytes of encrypted
//! connections, go through the server in small slices.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{Method, Version, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::{Bytes, BytesMut};

use super::framing;
use super::notifier::{LiveBody, Sent, Subscription};
use super::viewer::Continue;
use crate::http::listen::connection::Connection;

/// The longest slice that is given to the server: it copies slices into a buffer
/// that it keeps, and a burst must not enlarge that for the viewer's whole stay.
pub(in crate::http) const MAX_SLICE_BYTES: usize = 16 << 10;

/// The source of a body's bytes.
pub(in crate::http) trait Source: Unpin + 'static {
    /// Appends the next bytes to `out`; `None` if there are none yet. Called only
    /// when all earlier bytes were sent.
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue>;

    /// What it waits for when there are no more bytes yet; `None` if it never waits.
    fn subscription(&self) -> Option<&Subscription>;
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

/// Whether other viewers are sent the same item at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Single,
    Shared,
}

/// A body, which the notifier of its stream writes to as well.
struct Body<S>(Rc<RefCell<Outgoing<S>>>);

struct Outgoing<S> {
    connection: Option<Rc<Connection>>,
    framing: Framing,
    /// Bytes that are not sent yet.
    out: VecDeque<Bytes>,
    /// `None` after its end.
    source: Option<S>,
    /// Whether the server has sent everything and waits for the source: only then
    /// may the socket be written to outside the task of the response.
    is_at_live_edge: bool,
}

impl<S: Source> Body<S> {
    fn new(request: &HttpRequest, framing: Framing, source: S) -> Self {
        let source = Some(source).filter(|_| request.method() != Method::HEAD);
        Self::with(Connection::from_request(request), framing, source)
    }

    fn with(connection: Option<Rc<Connection>>, framing: Framing, source: Option<S>) -> Self {
        let (out, is_at_live_edge) = (VecDeque::new(), false);
        let outgoing = Outgoing { connection, framing, out, source, is_at_live_edge };
        let body = Rc::new(RefCell::new(outgoing));
        body.borrow().allow_notifier(&body);
        Self(body)
    }
}

impl<S: Source> Outgoing<S> {
    /// Lets the notifier write to `body`, unless the connection is encrypted.
    fn allow_notifier(&self, body: &Rc<RefCell<Self>>) {
        let is_plain = self.connection.as_ref().is_some_and(|connection| connection.is_plain());
        if let Some(subscription) = self.source.as_ref().and_then(S::subscription)
            && is_plain
        {
            let body: Weak<RefCell<Self>> = Rc::downgrade(body);
            subscription.write_to(body);
        }
    }

    /// Puts the next bytes of the source into `out`, framed; `None` if there are
    /// none yet.
    fn take_more(&mut self, sharing: Sharing) -> Option<Continue> {
        let Some(source) = &mut self.source else { return Some(Continue::End) };
        let next = source.more(&mut self.out)?;
        if self.framing == Framing::Chunked {
            match (sharing, source.subscription(), self.out.make_contiguous()) {
                (Sharing::Shared, Some(subscription), [single]) => {
                    *single = subscription.frame(single);
                }
                _ => framing::frame(&mut self.out),
            }
        }
        if next == Continue::End {
            self.end();
        }
        Some(next)
    }

    fn end(&mut self) {
        self.source = None;
        if self.framing == Framing::Chunked {
            self.out.push_back(framing::END);
        }
    }

    /// Ready when the source may have more bytes.
    fn poll_notified(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let subscription = self.source.as_ref().and_then(S::subscription);
        let polled = subscription.map_or(Poll::Ready(()), |it| it.poll_notified(cx));
        self.is_at_live_edge = polled.is_pending();
        polled
    }

    fn try_write(&mut self) {
        if let Some(connection) = &self.connection {
            connection.try_write(&mut self.out);
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
        let mut body = self.0.borrow_mut();
        body.is_at_live_edge = false;
        loop {
            body.try_write();
            if let Some(slice) = slice(&mut body.out) {
                return Poll::Ready(Some(Ok(slice)));
            }
            if body.source.is_none() {
                return Poll::Ready(None);
            }
            if body.take_more(Sharing::Single).is_none() {
                ready!(body.poll_notified(cx));
            }
        }
    }
}

impl<S: Source> LiveBody for RefCell<Outgoing<S>> {
    fn send_new(&self) -> Sent {
        let mut body = self.borrow_mut();
        while body.is_at_live_edge {
            match body.take_more(Sharing::Shared) {
                None => return Sent::All,
                Some(next) => {
                    body.try_write();
                    body.is_at_live_edge = next == Continue::On && body.out.is_empty();
                }
            }
        }
        Sent::Part
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
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue> {
        out.extend(std::mem::take(&mut self.0));
        Some(Continue::End)
    }

    fn subscription(&self) -> Option<&Subscription> {
        None
    }
}

#[cfg(test)]
mod tests;
