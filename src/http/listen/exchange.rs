//! Requests and responses on one connection: deadlines for heads and bodies of
//! requests, and whether the client reads its response.
//!
//! The server itself has a deadline for the first request only, and none for
//! bodies; it waits for ever for a client that reads nothing.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{Error, ErrorKind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, ConnectionType, Payload};
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::base::slots::{Eviction, Slot};
use crate::base::time::now;

/// Time for the head of a request to arrive.
pub(in crate::http) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the body of a request to arrive: forms of some kilobytes.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that reads nothing for this long may be evicted when all slots are taken.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// With more connections than this, each ends with its response.
const KEEP_ALIVE_CONNECTIONS: usize = 1024;

/// The state of the requests of one connection.
#[derive(Debug)]
pub(in crate::http) struct Exchange {
    state: Cell<State>,
    is_stalled: Cell<bool>,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// A part of a request's head has arrived.
    Arriving {
        until: Instant,
    },
    /// A request is being answered; its body has its own deadline.
    Responding,
}

/// Ends the state `Responding` when it is dropped.
struct Responding(Rc<Exchange>);

impl Exchange {
    pub(in crate::http) fn new(slot: Slot) -> Rc<Self> {
        let state = Cell::new(State::Waiting);
        Rc::new(Self { state, is_stalled: Cell::new(false), slot })
    }

    /// Reports that bytes have arrived from the client.
    pub(in crate::http) fn bytes_received(&self) {
        if self.state.get() == State::Waiting {
            self.state.set(State::Arriving { until: now() + HEAD_TIMEOUT });
        }
    }

    /// Reports whether the socket accepted a write. A stalled connection is
    /// among the first to be evicted.
    pub(in crate::http) fn record_write(&self, is_accepted: bool) {
        if is_accepted && self.is_stalled.replace(false) {
            self.slot.mark_busy();
        } else if !is_accepted && !self.is_stalled.replace(true) {
            let now = now();
            self.slot.mark_idle(now + STALLED_AFTER, now);
        }
    }

    /// Whether the connection must end with its response, so that its slot is free soon.
    fn must_close(&self) -> bool {
        let slots = self.slot.slots();
        slots.taken() > KEEP_ALIVE_CONNECTIONS.min(slots.limits().total / 2)
    }

    /// Resolves when a request's head takes too long. Must be polled whenever the
    /// connection is.
    async fn head_timed_out(&self) {
        let mut timer = pin!(None::<Sleep>);
        poll_fn(|cx| {
            let State::Arriving { until } = self.state.get() else { return Poll::Pending };
            let until = tokio::time::Instant::from_std(until);
            if timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != until) {
                timer.set(Some(sleep_until(until)));
            }
            timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
        })
        .await;
    }
}

impl Drop for Responding {
    fn drop(&mut self) {
        self.0.state.set(State::Waiting);
    }
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Ended<T> {
    /// By the server, or by its client.
    Served(T),
    /// The head of a request took too long to arrive.
    TimedOut,
    /// Its slot was needed for another connection.
    Evicted,
}

/// Runs `served` until it ends, a request's head times out, or the connection
/// is evicted.
pub(in crate::http) async fn serve<T>(
    exchange: &Exchange,
    eviction: Option<Eviction>,
    served: impl Future<Output = T>,
) -> Ended<T> {
    let evicted = async {
        match eviction {
            Some(eviction) => eviction.await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        // First, because it sets the deadline of a head that has just arrived.
        served = served => Ended::Served(served),
        () = exchange.head_timed_out() => Ended::TimedOut,
        () = evicted => Ended::Evicted,
    }
}

/// Middleware: gives the body of each request a deadline, and closes the
/// connection after the response where many are connected.
pub(in crate::http) async fn limit(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(exchange) = request.conn_data::<Rc<Exchange>>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    exchange.state.set(State::Responding);
    let responding = Responding(Rc::clone(&exchange));
    let payload = request.take_payload();
    request.set_payload(match payload {
        Payload::None => Payload::None,
        payload @ (Payload::H1 { .. } | Payload::Stream { .. }) => {
            Payload::Stream { payload: TimedPayload::boxed(payload) }
        }
    });
    let must_close = exchange.must_close();
    let mut response = next.call(request).await?;
    if must_close {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| {
        let body = Box::pin(body);
        BoxBody::new(ResponseBody { body, _responding: responding })
    }))
}

/// The body of a request, with a deadline.
struct TimedPayload {
    payload: Payload,
    timer: Pin<Box<Sleep>>,
}

impl TimedPayload {
    fn boxed(payload: Payload) -> BoxedPayloadStream {
        Box::pin(Self { payload, timer: Box::pin(sleep(BODY_TIMEOUT)) })
    }
}

impl Stream for TimedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = Pin::new(&mut self.payload).poll_next(cx) {
            return Poll::Ready(next);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(PayloadError::Io(Error::from(ErrorKind::TimedOut)))))
    }
}

/// Whether the body of a request timed out.
pub(in crate::http) fn is_timeout(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == ErrorKind::TimedOut)
}

/// The body of a response; when it ends, the next request may arrive.
struct ResponseBody<B> {
    body: Pin<Box<B>>,
    _responding: Responding,
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        self.body.as_mut().poll_next(cx)
    }
}
