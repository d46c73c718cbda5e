//! The talk with one viewer (RFC 2326), and its packets in between.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use log::{debug, info};
use rtsp_types::headers::{
    ALLOW, CONTENT_BASE, CONTENT_TYPE, CSEQ, PUBLIC, RANGE, RETRY_AFTER, RTP_INFO, SERVER, SESSION,
    TRANSPORT,
};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Url, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::access::Entry;
use super::answer::Answer;
use super::datagrams::{Datagrams, PACE};
use super::play::{Next, Play};
use super::session::{Channels, Delivery, Flow, Session};
use super::transport::{Wanted, wanted};
use super::{Hall, describe};
use crate::base::queue;
use crate::base::system;
use crate::engine::roster::{PATIENCE, Stream};
use crate::hub::{Client, Reader};
use crate::media::packager::Init;
use crate::model::unit::TrackKind;

/// The longest request in bytes; nothing that belongs here has a long body.
const REQUEST_AT_MOST: usize = 16 << 10;

/// What is read at a time: requests and reports are short.
const READ_AT_A_TIME: usize = 1 << 10;

/// Who does not take so many answers is asked nothing more.
const UNREAD_AT_MOST: usize = 32;

/// Whoever plays nothing has this long to say what it wants.
const SILENCE: Duration = Duration::from_secs(10);

/// The same once a session is set up: as long as the session header says.
const SESSION_LASTS: Duration = Duration::from_secs(60);

/// So many requests may be made before something is played.
const REQUESTS: u32 = 64;

/// So many wrong passwords end a connection.
const REFUSALS: u32 = 3;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// Serves one connection until it ends.
///
/// `waits` is its place among those who play nothing yet.
pub(super) async fn converse<S>(
    socket: S,
    (peer, local): (SocketAddr, SocketAddr),
    hall: Arc<Hall>,
    mut waits: queue::Place,
) where
    S: AsyncRead + AsyncWrite,
{
    let (nothing_played, played) = oneshot::channel();
    let mut conversation = match Conversation::new((peer, local), hall, nothing_played) {
        Ok(conversation) => conversation,
        Err(error) => return debug!("RTSP: {peer}: {error}"),
    };
    let mut held = pin!(conversation.hold(socket));
    let ended = tokio::select! {
        ended = &mut held => ended,
        _ = played => {
            drop(waits);
            held.await
        }
        () = waits.is_needed() => return debug!("RTSP: {peer}: makes room"),
    };
    if let Err(error) = ended {
        debug!("RTSP: {peer}: {error}");
    }
}

pub(super) struct Conversation {
    pub(super) hall: Arc<Hall>,
    /// Dropped once something is played.
    nothing_played: Option<oneshot::Sender<Infallible>>,
    pub(super) peer: SocketAddr,
    local: SocketAddr,
    pub(super) nonce: String,
    /// Whether the login was right on this connection already.
    pub(super) is_logged_in: bool,
    pub(super) refusals: u32,
    requests: u32,
    /// When the last whole message came.
    heard: Instant,
    /// The stream that was described last; its reader keeps the feed going.
    described: Option<Described>,
    session: Option<Session>,
    inbox: BytesMut,
    outbox: VecDeque<Bytes>,
    /// Whether the connection ends once everything is said.
    ends: bool,
}

struct Described {
    stream: Arc<Stream>,
    init: Arc<Init>,
    reader: Reader,
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
        hall: Arc<Hall>,
        nothing_played: oneshot::Sender<Infallible>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            hall,
            nothing_played: Some(nothing_played),
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
                Event::Heard(0) | Event::Silence => return Ok(()),
                Event::Written | Event::Heard(_) => {}
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
            Some(session) if session.is_playing() => None,
            Some(_) => Some(self.heard + SESSION_LASTS),
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
            Delivery::Multicast(..) => {}
        }
    }

    /// Answers every request that has arrived.
    async fn answer_all(&mut self) {
        while !self.ends {
            match Message::<Vec<u8>>::parse(&self.inbox[..]) {
                Ok((message, length)) => {
                    self.inbox.advance(length);
                    self.heard = Instant::now();
                    if let Message::Request(request) = message {
                        self.answer(&request).await;
                    }
                }
                Err(ParseError::Incomplete(_)) if self.inbox.len() < REQUEST_AT_MOST => return,
                Err(ParseError::Incomplete(_) | ParseError::Error) => {
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
        }
    }

    async fn act(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        if let Entry::Refused(challenges) = self.authenticate(request).await? {
            return Ok(self.challenge(request, &challenges));
        }
        match request.method() {
            Method::Options => Ok(Answer::ok().with(PUBLIC, METHODS)),
            Method::PlayNotify
            | Method::Redirect
            | Method::Announce
            | Method::Record
            | Method::Extension(_) => {
                Ok(Answer::plain(StatusCode::MethodNotAllowed).with(ALLOW, METHODS))
            }
            Method::Describe => self.describe(request).await,
            Method::Setup => self.set_up(request).await,
            Method::SetParameter if !request.body().is_empty() => {
                Err(StatusCode::ParameterNotUnderstood)
            }
            // Players ask for nothing, to say that they are still there.
            Method::GetParameter | Method::SetParameter => Ok(Answer::ok()),
            Method::Play => self.play(request),
            Method::Pause => self.pause(request),
            Method::Teardown => self.of_session(request).map(|_| Answer::ok()),
        }
    }

    async fn describe(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let url = url_of(request)?;
        let (stream, _) = self.hall.find(url.path()).ok_or(StatusCode::NotFound)?;
        let described = self.warmed(&stream).await?;
        let name = stream.hub().name().to_string();
        let text = describe::description(&name, &described.init, self.local.ip());
        self.described = Some(described);
        let base = format!("{}/", bare(url).as_str().trim_end_matches('/'));
        let answer = Answer::ok().with(CONTENT_BASE, base);
        Ok(Answer { body: text, ..answer.with(CONTENT_TYPE, "application/sdp") })
    }

    /// Joins the stream and waits for a picture, as long as that is worth it.
    async fn warmed(&mut self, stream: &Arc<Stream>) -> Result<Described, StatusCode> {
        self.described = None;
        let (reader, init) =
            stream.join_within(PATIENCE).await.ok_or(StatusCode::ServiceUnavailable)?;
        Ok(Described { stream: Arc::clone(stream), init, reader })
    }

    async fn set_up(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let (stream, rest) = self.hall.find(url_of(request)?.path()).ok_or(StatusCode::NotFound)?;
        let header = request.header(&TRANSPORT).ok_or(StatusCode::BadRequest)?;
        let init = self.init_to_set_up(request, &stream).await?;
        let mut places = describe::kinds(&init.tracks).enumerate();
        let named = places.find(|(place, _)| describe::control(*place) == rest.trim_matches('/'));
        let (_, kind) = named.ok_or(StatusCode::NotFound)?;
        if self.session.as_ref().is_some_and(|session| session.has(kind)) {
            return Err(StatusCode::MethodNotValidInThisState);
        }
        let agreed = wanted(header.as_str()).find_map(|wanted| self.agree(&stream, kind, wanted));
        let transport = agreed.ok_or(StatusCode::UnsupportedTransport)?;
        let id = self.session.as_ref().map(|session| session.id.as_str()).unwrap_or_default();
        let session = format!("{id};timeout={}", SESSION_LASTS.as_secs());
        Ok(Answer::ok().with(TRANSPORT, transport).with(SESSION, session))
    }

    /// How the stream is encoded for which a track is set up.
    async fn init_to_set_up(
        &mut self,
        request: &Request<Vec<u8>>,
        stream: &Arc<Stream>,
    ) -> Result<Arc<Init>, StatusCode> {
        if self.session.is_some() {
            let session = self.of_session(request)?;
            return match is_same(&session.stream, stream) {
                _ if session.is_playing() => Err(StatusCode::MethodNotValidInThisState),
                true => Ok(Arc::clone(&session.init)),
                false => Err(StatusCode::AggregateOperationNotAllowed),
            };
        }
        let is_it = |described: &Described| is_same(&described.stream, stream);
        let described = self.described.take().filter(is_it);
        let described = match described {
            Some(described) => described,
            None => self.warmed(stream).await?,
        };
        let init = Arc::clone(&described.init);
        self.described = Some(described);
        Ok(init)
    }

    /// Sets a track up in this way; nothing if that cannot be had.
    fn agree(&mut self, stream: &Arc<Stream>, kind: TrackKind, wanted: Wanted) -> Option<String> {
        if let Some(session) = &mut self.session {
            return session.delivery.add(kind, wanted, self.peer);
        }
        let mut delivery = self.delivery(stream, wanted)?;
        let transport = delivery.add(kind, wanted, self.peer)?;
        let id = system::random_token().ok()?;
        let Described { stream, init, reader } = self.described.take()?;
        self.session =
            Some(Session { id, stream, init, flow: Flow::Paused { _reader: reader }, delivery });
        Some(transport)
    }

    fn delivery(&self, stream: &Arc<Stream>, wanted: Wanted) -> Option<Delivery> {
        let ip = self.local.ip();
        match wanted {
            Wanted::Interleaved(_) => Some(Delivery::Interleaved(Channels::default())),
            Wanted::Datagrams(..) => {
                Some(Delivery::Datagrams(Datagrams::new(self.hall.network.ports(ip)?)))
            }
            // What is sent to a group, all of the network can read.
            Wanted::Multicast if self.hall.place(stream).is_some() => None,
            Wanted::Multicast if self.hall.allows_multicast() => {
                let group = self.hall.group(stream, ip)?;
                Some(Delivery::Multicast(group, Vec::new()))
            }
            Wanted::Multicast => None,
        }
    }

    /// The session that a request names.
    fn of_session(&self, request: &Request<Vec<u8>>) -> Result<&Session, StatusCode> {
        let named = request.header(&SESSION).map(|value| value.as_str());
        let named = named.map(|value| value.split(';').next().unwrap_or_default().trim());
        let session = self.session.as_ref().filter(|session| named == Some(&session.id));
        session.ok_or(StatusCode::SessionNotFound)
    }

    fn play(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let session = self.of_session(request)?;
        let base = bare(url_of(request)?);
        let answer = Answer::ok().with(SESSION, session.id.clone());
        if session.is_playing() {
            return Ok(answer);
        }
        let hub = session.stream.hub();
        let play = match hub.join_with_past() {
            Some((_, init, _)) if init.generation != session.init.generation => {
                self.ends = true;
                return Err(StatusCode::ServiceUnavailable);
            }
            Some((reader, init, past)) => Play::from_edge(self.listed(reader), init, past),
            None => Play::from_key(self.listed(hub.join())),
        };
        let base = base.as_str().trim_end_matches('/').to_owned();
        let places = describe::kinds(&session.init.tracks).enumerate();
        let begins: Vec<_> = places
            .filter(|(_, track)| session.has(*track))
            .filter_map(|(place, track)| {
                let begin = play.begin(track)?;
                let (sequence, time) = (begin.sequence, begin.time);
                let control = describe::control(place);
                Some(format!("url={base}/{control};seq={sequence};rtptime={time}"))
            })
            .collect();
        let answer = answer.with(RANGE, "npt=now-");
        let answer = match begins.is_empty() || matches!(session.delivery, Delivery::Multicast(..))
        {
            true => answer,
            false => answer.with(RTP_INFO, begins.join(",")),
        };
        info!("{} PLAY {} over RTSP", self.peer.ip(), session.stream.url());
        if let Some(session) = &mut self.session {
            session.flow = Flow::Playing(Box::new(play));
            self.nothing_played = None;
        }
        Ok(answer)
    }

    /// `reader`, listed as this viewer.
    fn listed(&self, reader: Reader) -> Reader {
        let since = Instant::now().into_std();
        reader.of(Client { address: self.peer.ip(), way: "rtsp", since })
    }

    fn pause(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        self.of_session(request)?;
        if let Some(session) = self.session.take() {
            let flow = match session.flow {
                Flow::Playing(play) => Flow::Paused { _reader: play.into_reader() },
                paused @ Flow::Paused { .. } => paused,
            };
            self.session = Some(Session { flow, ..session });
        }
        Ok(Answer::ok())
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

/// Whether viewers of the one are viewers of the other.
fn is_same(one: &Stream, other: &Stream) -> bool {
    Arc::ptr_eq(one.hub(), other.hub())
}

/// The URL of what a request is about.
fn url_of(request: &Request<Vec<u8>>) -> Result<&Url, StatusCode> {
    request.request_uri().ok_or(StatusCode::BadRequest)
}

/// Without what belongs to the asker alone: name, password, query.
fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // These fail for URLs without a host, which have neither.
    bare.set_username("").ok();
    bare.set_password(None).ok();
    bare
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
