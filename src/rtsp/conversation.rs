//! The talk with one viewer (RFC 2326), and its packets in between.

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

use super::RtspServer;
use super::answer::Answer;
use super::datagrams::PACE;
use super::play::Next;
use super::session::{Delivery, Session};
use crate::base::slots::Slot;
use crate::base::system;
use crate::engine::registry::Stream;
use crate::hub::Reader;
use crate::media::packager::Init;

/// The longest request in bytes; nothing that belongs here has a long body.
const REQUEST_AT_MOST: usize = 16 << 10;

/// What is read at a time: requests and reports are short.
const READ_AT_A_TIME: usize = 1 << 10;

/// Who does not take so many answers is asked nothing more.
const UNREAD_AT_MOST: usize = 32;

/// Whoever plays nothing has this long to say what it wants.
const SILENCE: Duration = Duration::from_secs(10);

/// So many requests may be made before something is played.
const REQUESTS: u32 = 64;

/// So many wrong passwords end a connection.
const REFUSALS: u32 = 3;

/// Serves one connection until it ends.
pub(super) async fn converse<S>(
    socket: S,
    (peer, local): (SocketAddr, SocketAddr),
    server: Arc<RtspServer>,
    slot: Slot,
) where
    S: AsyncRead + AsyncWrite,
{
    let mut conversation = match Conversation::new((peer, local), server, slot) {
        Ok(conversation) => conversation,
        Err(error) => return debug!("RTSP: {peer}: {error}"),
    };
    if let Err(error) = conversation.hold(socket).await {
        debug!("RTSP: {peer}: {error}");
    }
}

pub(super) struct Conversation {
    pub(super) server: Arc<RtspServer>,
    /// Idle while nothing is played.
    pub(super) slot: Slot,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) nonce: String,
    /// Whether the login was right on this connection already.
    pub(super) is_logged_in: bool,
    pub(super) refusals: u32,
    /// Since something was played.
    pub(super) requests: u32,
    /// When the last whole request came.
    heard: Instant,
    /// The stream that was described last; its reader keeps the feed going.
    pub(super) described: Option<Described>,
    pub(super) session: Option<Session>,
    inbox: BytesMut,
    outbox: VecDeque<Bytes>,
    /// Whether the connection ends once everything is said.
    pub(super) ends: bool,
}

pub(super) struct Described {
    pub(super) stream: Arc<Stream>,
    pub(super) init: Arc<Init>,
    pub(super) reader: Reader,
}

/// What can happen next.
enum Event {
    Written,
    Heard(usize),
    Next(Option<Next>),
    Silence,
}

impl Conversation {
    fn new(
        (peer, local): (SocketAddr, SocketAddr),
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
            heard: Instant::now(),
            described: None,
            session: None,
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            ends: false,
        })
    }

    async fn hold<S: AsyncRead + AsyncWrite>(&mut self, socket: S) -> std::io::Result<()> {
        let (mut from, mut to) = tokio::io::split(socket);
        loop {
            self.answer_all().await;
            if self.outbox.is_empty() && self.ends {
                return to.shutdown().await;
            }
            let silent_at = self.silent_at();
            // Bytes that are no request may come without a pause.
            if silent_at.is_some_and(|at| at <= Instant::now()) {
                return Ok(());
            }
            self.inbox.reserve(READ_AT_A_TIME);
            let event = tokio::select! {
                // What is ready goes out first; nothing new comes in between.
                biased;
                written = write_some(&mut to, &mut self.outbox), if !self.outbox.is_empty() => {
                    written?;
                    Event::Written
                }
                next = next_of(&mut self.session), if self.outbox.is_empty() => Event::Next(next),
                heard = from.read_buf(&mut self.inbox), if self.outbox.len() < UNREAD_AT_MOST => {
                    Event::Heard(heard?)
                }
                () = sleep_until(silent_at) => Event::Silence,
            };
            match event {
                Event::Heard(0) => return Ok(()),
                // A report of the viewer may have put it off.
                Event::Written | Event::Heard(_) | Event::Silence => {}
                Event::Next(Some(next)) => self.deliver(&next).await,
                Event::Next(None) => {
                    info!("RTSP: {}: its stream goes on in another way, or not at all", self.peer);
                    self.ends = true;
                    self.session = None;
                }
            }
        }
    }

    fn silent_at(&self) -> Option<Instant> {
        match &self.session {
            Some(session) => session.ends_at(self.heard),
            None => Some(self.heard + SILENCE),
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
                if next.is_past {
                    tokio::time::sleep(PACE).await;
                }
            }
            // The group is served by itself.
            Delivery::Multicast(_) => {}
        }
    }

    /// Answers every request that has arrived.
    async fn answer_all(&mut self) {
        while !self.ends {
            match Message::<Vec<u8>>::parse(&self.inbox[..]) {
                Ok((message, length)) => {
                    self.inbox.advance(length);
                    if let Message::Request(request) = message {
                        self.heard = Instant::now();
                        self.answer(&request).await;
                    }
                }
                Err(ParseError::Incomplete(_)) if self.inbox.len() < REQUEST_AT_MOST => return,
                Err(ParseError::Incomplete(_) | ParseError::Error) => {
                    self.server.log_malformed(self.peer.ip());
                    self.say(Answer::plain(StatusCode::BadRequest), None);
                    self.ends = true;
                }
            }
        }
    }

    async fn answer(&mut self, request: &Request<Vec<u8>>) {
        self.requests += 1;
        let sequence = request.header(&CSEQ).map(|value| value.as_str().to_owned());
        let is_too_much =
            self.requests > REQUESTS && !self.session.as_ref().is_some_and(Session::is_playing);
        if sequence.is_none() || is_too_much {
            self.say(Answer::plain(StatusCode::BadRequest), sequence.as_deref());
            self.ends = true;
            return;
        }
        let answer = match self.act(request).await {
            Ok(answer) => answer,
            Err(status) => Answer::plain(status),
        };
        self.ends |= self.refusals >= REFUSALS;
        self.say(answer, sequence.as_deref());
        if *request.method() == Method::Teardown {
            self.session = None;
            self.rest();
        }
    }

    /// Nothing is played: the place is there for others.
    pub(super) fn rest(&self) {
        let now = Instant::now().into_std();
        self.slot.mark_idle(now, now);
    }

    fn say(&mut self, answer: Answer, sequence: Option<&str>) {
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
    fn a_request_that_has_arrived_in_part_is_waited_for() {
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
