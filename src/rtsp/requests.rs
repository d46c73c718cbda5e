//! What each request of a viewer does (RFC 2326, section 10).

use std::sync::Arc;

use log::{info, warn};
use rtsp_types::headers::{
    ALLOW, CONTENT_BASE, CONTENT_TYPE, PUBLIC, RANGE, RTP_INFO, SESSION, TRANSPORT,
};
use rtsp_types::{Method, Request, StatusCode, Url};
use tokio::time::Instant;

use super::access::Access;
use super::answer::Answer;
use super::conversation::{Conversation, Described};
use super::datagrams::Datagrams;
use super::describe;
use super::play::Play;
use super::session::{Channels, Delivery, Flow, Multicast, SESSION_TIMEOUT, Session};
use super::transport::{Transport, transports};
use crate::base::system;
use crate::base::time;
use crate::engine::first_frame::FIRST_FRAME_TIMEOUT;
use crate::engine::registry::Stream;
use crate::hub::{Client, Reader};
use crate::media::packager::Init;
use crate::model::unit::TrackKind;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

impl Conversation {
    pub(super) async fn handle(
        &mut self,
        request: &Request<Vec<u8>>,
    ) -> Result<Answer, StatusCode> {
        if let Access::Refused(challenges) = self.authenticate(request).await? {
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
            // Players send it without a body as a keep-alive.
            Method::GetParameter | Method::SetParameter => Ok(Answer::ok()),
            Method::Play => self.play(request),
            Method::Pause => self.pause(request),
            Method::Teardown => self.named_session(request).map(|_| Answer::ok()),
        }
    }

    async fn describe(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let url = url_of(request)?;
        let (stream, _) = self.server.find(url.path()).ok_or(StatusCode::NotFound)?;
        let described = self.join(&stream).await?;
        let name = stream.hub().name().to_string();
        let text = describe::description(&name, &described.init, self.local.ip());
        self.described = Some(described);
        let base = format!("{}/", bare(url).as_str().trim_end_matches('/'));
        let answer = Answer::ok().with(CONTENT_BASE, base);
        Ok(Answer { body: text, ..answer.with(CONTENT_TYPE, "application/sdp") })
    }

    /// Joins the stream and waits for its first picture.
    async fn join(&mut self, stream: &Arc<Stream>) -> Result<Described, StatusCode> {
        self.described = None;
        let (reader, init) =
            stream.join_within(FIRST_FRAME_TIMEOUT).await.ok_or(StatusCode::ServiceUnavailable)?;
        Ok(Described { stream: Arc::clone(stream), init, reader })
    }

    async fn set_up(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let (stream, rest) =
            self.server.find(url_of(request)?.path()).ok_or(StatusCode::NotFound)?;
        let header = request.header(&TRANSPORT).ok_or(StatusCode::BadRequest)?;
        let init = self.init_to_set_up(request, &stream).await?;
        let mut tracks = describe::kinds(&init.tracks).enumerate();
        let named = tracks.find(|(index, _)| describe::control(*index) == rest.trim_matches('/'));
        let (_, kind) = named.ok_or(StatusCode::NotFound)?;
        if self.session.as_ref().is_some_and(|session| session.has(kind)) {
            return Err(StatusCode::MethodNotValidInThisState);
        }
        let accepted =
            transports(header.as_str()).find_map(|one| self.add_track(&stream, kind, one));
        let transport = accepted.ok_or(StatusCode::UnsupportedTransport)?;
        let id = self.session.as_ref().map(|session| session.id.as_str()).unwrap_or_default();
        let session = format!("{id};timeout={}", SESSION_TIMEOUT.as_secs());
        Ok(Answer::ok().with(TRANSPORT, transport).with(SESSION, session))
    }

    /// The init of the stream for which a track is set up. A session has one
    /// stream and keeps its init.
    async fn init_to_set_up(
        &mut self,
        request: &Request<Vec<u8>>,
        stream: &Arc<Stream>,
    ) -> Result<Arc<Init>, StatusCode> {
        if self.session.is_some() {
            let session = self.named_session(request)?;
            return match is_same(&session.stream, stream) {
                _ if session.is_playing() => Err(StatusCode::MethodNotValidInThisState),
                true => Ok(Arc::clone(&session.init)),
                false => Err(StatusCode::AggregateOperationNotAllowed),
            };
        }
        let is_described = |described: &Described| is_same(&described.stream, stream);
        let described = self.described.take().filter(is_described);
        let described = match described {
            Some(described) => described,
            None => self.join(stream).await?,
        };
        let init = Arc::clone(&described.init);
        self.described = Some(described);
        Ok(init)
    }

    /// Sets a track up for this transport. Returns the `Transport` header of the
    /// response, or `None` if the transport is not possible.
    fn add_track(
        &mut self,
        stream: &Arc<Stream>,
        kind: TrackKind,
        requested: Transport,
    ) -> Option<String> {
        if let Some(session) = &mut self.session {
            return session.delivery.add(kind, requested, self.peer);
        }
        let mut delivery = self.delivery(stream, requested)?;
        let transport = delivery.add(kind, requested, self.peer)?;
        let id = system::random_token().ok()?;
        let Described { stream, init, reader } = self.described.take()?;
        let flow = Flow::Paused { _reader: reader, since: Instant::now() };
        self.session = Some(Session { id, stream, init, flow, delivery });
        Some(transport)
    }

    fn delivery(&self, stream: &Arc<Stream>, requested: Transport) -> Option<Delivery> {
        let ip = self.local.ip();
        match requested {
            Transport::Interleaved(_) => Some(Delivery::Interleaved(Channels::default())),
            Transport::Datagrams(..) => {
                Some(Delivery::Datagrams(Datagrams::new(self.server.ports.get(ip)?)))
            }
            // The whole network can read a multicast group.
            Transport::Multicast if self.server.scope(stream).is_some() => None,
            Transport::Multicast if self.server.allows_multicast() => {
                let group = self.server.group(stream, ip)?;
                Some(Delivery::Multicast(Multicast::new(group)))
            }
            Transport::Multicast => None,
        }
    }

    /// The session that a request names.
    fn named_session(&self, request: &Request<Vec<u8>>) -> Result<&Session, StatusCode> {
        let named = request.header(&SESSION).map(|value| value.as_str());
        let named = named.map(|value| value.split(';').next().unwrap_or_default().trim());
        let session = self.session.as_ref().filter(|session| named == Some(&session.id));
        session.ok_or(StatusCode::SessionNotFound)
    }

    fn play(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        let session = self.named_session(request)?;
        let base = bare(url_of(request)?);
        let answer = Answer::ok().with(SESSION, session.id.clone());
        if session.is_playing() {
            return Ok(answer);
        }
        let hub = session.stream.hub();
        let play = match hub.join_with_past() {
            Some((_, init, _)) if init.generation != session.init.generation => {
                self.is_closing = true;
                return Err(StatusCode::ServiceUnavailable);
            }
            Some((reader, init, past)) => Play::from_edge(self.listed(reader), init, past),
            None => Play::from_key(self.listed(hub.join())),
        };
        let base = base.as_str().trim_end_matches('/').to_owned();
        let tracks = describe::kinds(&session.init.tracks).enumerate();
        let begins: Vec<_> = tracks
            .filter(|(_, track)| session.has(*track))
            .filter_map(|(index, track)| {
                let begin = play.begin(track)?;
                let (sequence, time) = (begin.sequence, begin.time);
                let control = describe::control(index);
                Some(format!("url={base}/{control};seq={sequence};rtptime={time}"))
            })
            .collect();
        let answer = answer.with(RANGE, "npt=now-");
        let answer = match begins.is_empty() || matches!(session.delivery, Delivery::Multicast(_)) {
            true => answer,
            false => answer.with(RTP_INFO, begins.join(",")),
        };
        info!("{} PLAY {} over RTSP", self.peer.ip(), session.stream.url());
        if let Some(session) = &mut self.session {
            session.play(play).map_err(|error| {
                warn!("RTSP: cannot send to a multicast group: {error}");
                StatusCode::ServiceUnavailable
            })?;
            self.slot.mark_busy();
            self.requests = 0;
        }
        Ok(answer)
    }

    /// `reader`, listed in the status as this viewer.
    fn listed(&self, reader: Reader) -> Reader {
        let since = time::now();
        reader.with_client(Client { address: self.peer.ip(), way: "rtsp", since })
    }

    fn pause(&mut self, request: &Request<Vec<u8>>) -> Result<Answer, StatusCode> {
        self.named_session(request)?;
        self.session = self.session.take().map(|session| session.paused(Instant::now()));
        self.set_idle();
        Ok(Answer::ok())
    }
}

/// Whether both have the same ring, so that one continues the other.
fn is_same(one: &Stream, other: &Stream) -> bool {
    Arc::ptr_eq(one.hub(), other.hub())
}

/// The URL that a request names.
fn url_of(request: &Request<Vec<u8>>) -> Result<&Url, StatusCode> {
    request.request_uri().ok_or(StatusCode::BadRequest)
}

/// `url` without user name, password, query and fragment.
fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // These fail only for URLs without a host, which have neither.
    bare.set_username("").ok();
    bare.set_password(None).ok();
    bare
}
