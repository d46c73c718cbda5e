//! Requests and answers on one connection: deadlines for what is sent, and
//! whether the client takes what it is answered.
//!
//! The server itself knows a deadline for the first request only, and none for
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

/// A request's head takes no longer to arrive.
pub(in crate::http) const HEAD_AT_MOST: Duration = Duration::from_secs(5);

/// Nor does its body: forms of some kilobytes.
const BODY_AT_MOST: Duration = Duration::from_secs(10);

/// A client that takes nothing for this long makes room where places run out.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Where so many are connected, a connection ends with its answer.
const CROWDED: usize = 1024;

/// What goes on on one connection.
#[derive(Debug)]
pub(in crate::http) struct Exchange {
    state: Cell<State>,
    is_stalled: Cell<bool>,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Some of a request's head is there.
    Arriving {
        until: Instant,
    },
    /// A request is being answered; its body has a deadline of its own.
    Answering,
}

/// Ends the answer when it is dropped.
struct Answering(Rc<Exchange>);

impl Exchange {
    pub(in crate::http) fn new(slot: Slot) -> Rc<Self> {
        let state = Cell::new(State::Waiting);
        Rc::new(Self { state, is_stalled: Cell::new(false), slot })
    }

    /// Bytes have come from the client.
    pub(in crate::http) fn heard(&self) {
        if self.state.get() == State::Waiting {
            self.state.set(State::Arriving { until: now() + HEAD_AT_MOST });
        }
    }

    /// Whether the client has taken what was written. One that does not is
    /// among the first to make room.
    pub(in crate::http) fn wrote(&self, is_taken: bool) {
        if is_taken && self.is_stalled.replace(false) {
            self.slot.mark_busy();
        } else if !is_taken && !self.is_stalled.replace(true) {
            let now = now();
            self.slot.mark_idle(now + STALLED_AFTER, now);
        }
    }

    /// Whether others should soon have this place.
    fn is_wanted(&self) -> bool {
        let slots = self.slot.slots();
        slots.taken() > CROWDED.min(slots.limits().total / 2)
    }

    /// Is ready once a request's head takes too long. To be polled whenever
    /// the connection is.
    async fn overdue(&self) {
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

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.state.set(State::Waiting);
    }
}

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Ended<T> {
    /// By the server, or by its client.
    Served(T),
    /// A request took too long to arrive.
    Overdue,
    /// Others need its place.
    Evicted,
}

/// Serves a connection until its end, or until it has to end.
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
        // First, so that the deadline is that of what has just come.
        served = served => Ended::Served(served),
        () = exchange.overdue() => Ended::Overdue,
        () = evicted => Ended::Evicted,
    }
}

/// Every request passes here: its body gets a deadline, and its connection ends
/// with its answer where others need the place.
pub(in crate::http) async fn answer(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(exchange) = request.conn_data::<Rc<Exchange>>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    exchange.state.set(State::Answering);
    let answering = Answering(Rc::clone(&exchange));
    let payload = request.take_payload();
    request.set_payload(match payload {
        Payload::None => Payload::None,
        payload @ (Payload::H1 { .. } | Payload::Stream { .. }) => {
            Payload::Stream { payload: Timed::boxed(payload) }
        }
    });
    let is_wanted = exchange.is_wanted();
    let mut response = next.call(request).await?;
    if is_wanted {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| {
        let body = Box::pin(body);
        BoxBody::new(Answer { body, _answering: answering })
    }))
}

/// The body of a request, with a deadline.
struct Timed {
    payload: Payload,
    timer: Pin<Box<Sleep>>,
}

impl Timed {
    fn boxed(payload: Payload) -> BoxedPayloadStream {
        Box::pin(Self { payload, timer: Box::pin(sleep(BODY_AT_MOST)) })
    }
}

impl Stream for Timed {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = Pin::new(&mut self.payload).poll_next(cx) {
            return Poll::Ready(next);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(PayloadError::Io(Error::from(ErrorKind::TimedOut)))))
    }
}

/// Whether a body was cut off by its deadline.
pub(in crate::http) fn is_too_slow(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == ErrorKind::TimedOut)
}

/// The body of an answer; with its end, the next request may come.
struct Answer<B> {
    body: Pin<Box<B>>,
    _answering: Answering,
}

impl<B: MessageBody> MessageBody for Answer<B> {
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
