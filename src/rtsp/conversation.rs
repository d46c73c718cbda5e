//! One RTSP connection (RFC 2326): requests, responses, and the packets
//! interleaved with them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use log::{debug, info};
use rtsp_types::headers::{CSEQ, RETRY_AFTER, SERVER};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::answer::Answer;
use super::datagrams::BURST_INTERVAL;
use super::play::Next;
use super::server::RtspServer;
use super::session::{Delivery, Session};
use crate::base::slots::Slot;
use crate::base::system;
use crate::base::time;
use crate::engine::registry::Stream;
use crate::hub::Reader;
use crate::media::packager::Init;

/// No request of this protocol has a long body.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Size of one read: requests and reports are short.
const READ_BYTES: usize = 1 << 10;

/// With so many unsent responses, no further request is read.
const MAX_UNSENT: usize = 32;

/// A connection without a session ends this long after its last request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound of the requests without PLAY.
const MAX_REQUESTS: u32 = 64;

/// So many wrong passwords end a connection.
const MAX_REFUSALS: u32 = 3;

/// The addresses of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoints {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Serves one connection until it ends.
pub(super) async fn serve<S>(socket: S, endpoints: Endpoints, server: Arc<RtspServer>, slot: Slot)
where
    S: AsyncRead + AsyncWrite,
{
    let mut conversation = match Conversation::new(endpoints, server, slot) {
        Ok(conversation) => conversation,
        Err(error) => return debug!("RTSP: {}: {error}", endpoints.peer),
    };
    if let Err(error) = conversation.run(socket).await {
        debug!("RTSP: {}: {error}", endpoints.peer);
    }
}

pub(super) struct Conversation {
    pub(super) server: Arc<RtspServer>,
    /// Idle while nothing is played.
    pub(super) slot: Slot,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) nonce: String,
    /// Whether an earlier request of this connection had the right login.
    pub(super) is_logged_in: bool,
    pub(super) refusals: u32,
    /// Since the last PLAY.
    pub(super) requests: u32,
    /// When the last complete request arrived.
    last_request: Instant,
    /// The last stream that was described; its reader keeps the feed running.
    pub(super) described: Option<Described>,
    pub(super) session: Option<Session>,
    inbox: BytesMut,
    outbox: VecDeque<Bytes>,
    /// Whether the connection is closed once the outbox is empty.
    pub(super) is_closing: bool,
}

pub(super) struct Described {
    pub(super) stream: Arc<Stream>,
    pub(super) init: Arc<Init>,
    pub(super) reader: Reader,
}

enum Event {
    Written,
    /// With the number of bytes.
    Received(usize),
    Next(Option<Next>),
    Timeout,
}

impl Conversation {
    fn new(
        Endpoints { peer, local }: Endpoints,
        server: Arc<RtspServer>,
        slot: Slot,
    ) -> std::io::Result<Self> {
        Ok(Self {
            server,
            slot,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
            nonce: system::random_token()?,
            is_logged_in: false,
            refusals: 0,
            requests: 0,
            last_request: Instant::now(),
            described: None,
            session: None,
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            is_closing: false,
        })
    }

    async fn run<S: AsyncRead + AsyncWrite>(&mut self, socket: S) -> std::io::Result<()> {
        let (mut from, mut to) = tokio::io::split(socket);
        loop {
            self.answer_all().await;
            if self.outbox.is_empty() && self.is_closing {
                return to.shutdown().await;
            }
            let ends_at = self.ends_at();
            // Checked here as well: a peer may send incomplete requests without a pause.
            if ends_at.is_some_and(|at| at <= Instant::now()) {
                return Ok(());
            }
            self.inbox.reserve(READ_BYTES);
            let event = tokio::select! {
                // The outbox is sent before anything new is added to it.
                biased;
                written = write_some(&mut to, &mut self.outbox), if !self.outbox.is_empty() => {
                    written?;
                    Event::Written
                }
                next = next_of(&mut self.session), if self.outbox.is_empty() => Event::Next(next),
                received = from.read_buf(&mut self.inbox), if self.outbox.len() < MAX_UNSENT => {
                    Event::Received(received?)
                }
                () = sleep_until(ends_at) => Event::Timeout,
            };
            match event {
                Event::Received(0) => return Ok(()),
                // A report of the viewer may have moved the timeout.
                Event::Written | Event::Received(_) | Event::Timeout => {}
                Event::Next(Some(next)) => self.deliver(&next).await,
                Event::Next(None) => {
                    info!("RTSP: {}: closed, its stream ended or its encoding changed", self.peer);
                    self.is_closing = true;
                    self.session = None;
                }
            }
        }
    }

    /// When the connection times out if no further request arrives.
    fn ends_at(&self) -> Option<Instant> {
        match &self.session {
            Some(session) => session.ends_at(self.last_request),
            None => Some(self.last_request + IDLE_TIMEOUT),
        }
    }

    async fn deliver(&mut self, next: &Next) {
        let Some(session) = &self.session else { return };
        let stream = session.stream.hub();
        match &session.delivery {
            Delivery::Interleaved(channels) => {
                self.outbox.extend(channels.frame(next));
                stream.count_bytes_out(self.outbox.iter().map(Bytes::len).sum());
            }
            Delivery::Datagrams(datagrams) => {
                datagrams.deliver(next).await;
                stream.count_bytes_out(next.length());
                if next.is_burst {
                    tokio::time::sleep(BURST_INTERVAL).await;
                }
            }
            // The task of the group sends.
            Delivery::Multicast(_) => {}
        }
    }

    /// Answers every request that has arrived.
    async fn answer_all(&mut self) {
        while !self.is_closing {
            match Message::<Vec<u8>>::parse(&self.inbox[..]) {
                Ok((message, length)) => {
                    self.inbox.advance(length);
                    if let Message::Request(request) = message {
                        self.last_request = Instant::now();
                        self.answer(&request).await;
                    }
                }
                Err(ParseError::Incomplete(_)) if self.inbox.len() < MAX_REQUEST_BYTES => return,
                Err(ParseError::Incomplete(_) | ParseError::Error) => {
                    self.server.log_malformed(self.peer.ip());
                    self.respond(Answer::plain(StatusCode::BadRequest), None);
                    self.is_closing = true;
                }
            }
        }
    }

    async fn answer(&mut self, request: &Request<Vec<u8>>) {
        self.requests += 1;
        let sequence = request.header(&CSEQ).map(|value| value.as_str().to_owned());
        let is_over_limit =
            self.requests > MAX_REQUESTS && !self.session.as_ref().is_some_and(Session::is_playing);
        if sequence.is_none() || is_over_limit {
            self.respond(Answer::plain(StatusCode::BadRequest), sequence.as_deref());
            self.is_closing = true;
            return;
        }
        let answer = match self.handle(request).await {
            Ok(answer) => answer,
            Err(status) => Answer::plain(status),
        };
        self.is_closing |= self.refusals >= MAX_REFUSALS;
        self.respond(answer, sequence.as_deref());
        if *request.method() == Method::Teardown {
            self.session = None;
            self.set_idle();
        }
    }

    /// Marks the slot as idle: it may be evicted for a new connection.
    pub(super) fn set_idle(&self) {
        let now = time::now();
        self.slot.mark_idle(now, now);
    }

    /// Queues a response.
    fn respond(&mut self, answer: Answer, sequence: Option<&str>) {
        let mut response = Response::builder(Version::V1_0, answer.status);
        if let Some(sequence) = sequence {
            response = response.header(CSEQ, sequence);
        }
        if answer.status == StatusCode::ServiceUnavailable {
            response = response.header(RETRY_AFTER, "5");
        }
        response = response.header(SERVER, "livebox");
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        let mut bytes = Vec::new();
        let written = match answer.body.is_empty() {
            true => response.empty().write(&mut bytes),
            false => response.build(answer.body).write(&mut bytes),
        };
        if let Err(error) = written {
            debug!("RTSP: {}: {error}", self.peer);
        }
        self.outbox.push_back(bytes.into());
    }
}

async fn write_some(
    to: &mut (impl AsyncWrite + Unpin),
    outbox: &mut VecDeque<Bytes>,
) -> std::io::Result<()> {
    if let Some(front) = outbox.front_mut() {
        if to.write_buf(front).await? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        if front.is_empty() {
            outbox.pop_front();
        }
    }
    if outbox.is_empty() { to.flush().await } else { Ok(()) }
}

async fn next_of(session: &mut Option<Session>) -> Option<Next> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_request_is_not_malformed() {
        let whole = b"PAUSE rtsp://127.0.0.1:8554/camera RTSP/1.0\r\nCSeq: 7\r\nUser-Agent: GStreamer/1.22.0\r\n\
            Authorization: Digest username=\"anna\", realm=\"livebox\", nonce=\"n\", uri=\"rtsp://127.0.0.1:8554/camera\", response=\"r\"\r\n\
            Date: Sat, 21 Nov 2026 14:58:14 GMT\r\nSession: 1234;timeout=60\r\nContent-Length: 4\r\n\r\nbody";
        for length in 0..whole.len() {
            let part = Message::<Vec<u8>>::parse(&whole[..length]);
            assert!(matches!(part, Err(ParseError::Incomplete(_))), "{length}: {part:?}");
        }
        assert!(Message::<Vec<u8>>::parse(&whole[..]).is_ok());
    }
}
