//! May they? Who needs a password, and for what.
//!
//! Whatever answers at a path of the table stands behind [`guard`], and what
//! changes something asks its [`Caller`]. Nothing else in this folder knows of
//! passwords.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use super::error::ApiError;
use super::origin::{Facts, Peer, Scheme, Verdict, is_of_proxy, is_untold, judge};
use crate::accounts::{Authenticator, Scope, basic_password};
use crate::base::authority::Authority;
use crate::base::secret::Secret;
use crate::http::listen::ambiguity::FETCH_SITE;
use crate::http::listen::connection::OverUnixSocket;
use crate::http::listen::head::headers;
use crate::http::state::State;
use crate::model::ids::StreamName;
use crate::model::status::{Closed, Recordings, Snapshot};

/// What a request was found to ask for, and who knows its password: of the
/// same topology, so that a reload in between opens nothing.
#[derive(Clone, Debug)]
struct Behind(Scope, Authenticator);

/// Notes for [`guard`] what a request asks for.
pub(super) fn note(data: &mut Extensions, place: Scope, authenticator: &Authenticator) {
    data.insert(Behind(place, authenticator.clone()));
}

/// Lets a request pass of somebody who may see what it asks for, as noted.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let behind = request.extensions().get::<Behind>().cloned();
    let entry = match behind {
        Some(Behind(place, authenticator)) => {
            enter(request.request(), &place, &authenticator).await
        }
        // Where nobody has said what it is, it is for nobody.
        None => Err(ApiError::NoSuchPath(request.path().to_owned())),
    };
    match entry {
        Ok(Entry::Open) => Ok(next.call(request).await?.map_into_left_body()),
        Ok(Entry::Shown) => {
            let mut response = next.call(request).await?.map_into_left_body();
            keep_private(response.headers_mut());
            Ok(response)
        }
        Err(error) => Ok(request.error_response(error).map_into_right_body()),
    }
}

/// Whether what a request asks for, as noted, needs no password.
pub(super) fn is_open(request: &ServiceRequest) -> bool {
    let noted = request.extensions().get::<Behind>().cloned();
    noted.is_some_and(|Behind(place, authenticator)| !authenticator.requires_password(&place))
}

/// Why somebody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Everybody is.
    Open,
    /// A password was shown, or an operator needs none.
    Shown,
}

async fn enter(
    request: &HttpRequest,
    place: &Scope,
    authenticator: &Authenticator,
) -> Result<Entry, ApiError> {
    if !authenticator.requires_password(place) {
        return Ok(Entry::Open);
    }
    if is_operator(request) {
        return Ok(Entry::Shown);
    }
    let needed = || ApiError::PasswordNeeded { realm: realm(place) };
    let password = password_of(request.headers()).ok_or_else(needed)?;
    let from = request.peer_addr().map(|peer| peer.ip());
    if authenticator.verify(place, &password, from).await? {
        return Ok(Entry::Shown);
    }
    Err(needed())
}

/// Whether whoever asks may see `place`.
pub(super) async fn may_see(request: &HttpRequest, place: &Scope) -> bool {
    match porter_of(request) {
        Some(authenticator) => enter(request, place, &authenticator).await.is_ok(),
        None => false,
    }
}

/// Returns if whoever asks may see what was recorded of `stream`: who may see the
/// stream may.
///
/// # Errors
/// The stream's password is missing or wrong.
pub(super) async fn require_viewer(
    request: &HttpRequest,
    stream: &StreamName,
) -> Result<(), ApiError> {
    let authenticator = porter_of(request);
    let authenticator =
        authenticator.ok_or_else(|| ApiError::NoSuchPath(request.path().to_owned()))?;
    enter(request, &place_of_recordings(request, stream), &authenticator).await.map(|_| ())
}

/// Whether recordings of `stream` may stand in a list for the caller.
pub(super) fn are_recordings_listed(request: &HttpRequest, stream: &StreamName) -> bool {
    is_listed_at(request, &place_of_recordings(request, stream))
}

/// What opens the recordings of a stream. One that the configuration has no
/// longer may have had a password: those are for operators.
fn place_of_recordings(request: &HttpRequest, stream: &StreamName) -> Scope {
    let state = request.app_data::<web::Data<State>>();
    match state.is_some_and(|state| state.topology().settings.has_stream(stream)) {
        true => Scope::Stream(stream.clone()),
        false => Scope::Box,
    }
}

/// Whether `stream` may stand in a list for whoever asks. No password is
/// checked for a list: only what is known already opens anything.
pub(super) fn is_listed(request: &HttpRequest, stream: &StreamName) -> bool {
    is_listed_at(request, &Scope::Stream(stream.clone()))
}

fn is_listed_at(request: &HttpRequest, place: &Scope) -> bool {
    let Some(authenticator) = porter_of(request) else { return false };
    let password = password_of(request.headers());
    let is_verified = |password| authenticator.is_verified(place, password);
    !authenticator.requires_password(place)
        || is_operator(request)
        || password.as_ref().is_some_and(is_verified)
}

/// Takes out of `snapshot` what is not for whoever asks, and returns the
/// streams of which it was.
pub(super) fn close(request: &HttpRequest, snapshot: &mut Snapshot) -> Vec<Closed> {
    close_recordings(request, &mut snapshot.recordings);
    snapshot.close(|name| is_listed(request, name))
}

/// Takes out of the sums of recordings what is not for whoever asks.
pub(super) fn close_recordings(request: &HttpRequest, recordings: &mut Recordings) {
    recordings.close(|name| are_recordings_listed(request, name));
}

/// As [`close`], on a page about the box: who has shown its password sees all.
pub(super) fn close_page(request: &HttpRequest, snapshot: &mut Snapshot) -> Vec<Closed> {
    match porter_of(request)
        .is_some_and(|authenticator| authenticator.requires_password(&Scope::Pages))
    {
        true => Vec::new(),
        false => close(request, snapshot),
    }
}

fn porter_of(request: &HttpRequest) -> Option<Authenticator> {
    request.app_data::<web::Data<State>>().map(|state| state.topology().authenticator.clone())
}

/// Whether a connection may take one of the places that are reserved for
/// operating the service, judged by its first request: it comes in a way that
/// operators need no password for, or shows one that is known, or comes from
/// where one was shown of late. Loopback is no such address, as all that comes
/// through a proxy on the box comes from there.
pub(super) fn is_privileged(state: &State, peer: Peer, head: &[u8]) -> bool {
    let authenticator = state.topology().authenticator.clone();
    let value = |wanted: &str| {
        headers(head).find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let facts = Facts {
        peer,
        host: value("host").and_then(Authority::parse),
        proxied: headers(head).any(|(name, _)| is_of_proxy(&name.to_ascii_lowercase())),
        ..Facts::default()
    };
    match judge(&facts) {
        Verdict::Operator => return true,
        Verdict::Loopback if authenticator.trusts_loopback() => return true,
        Verdict::Loopback | Verdict::Stranger | Verdict::OtherOrigin => {}
    }
    let shown = value("authorization").and_then(basic_password);
    let is_known = shown.is_some_and(|password| authenticator.is_verified(&Scope::Box, &password));
    let is_known_at = |from: IpAddr| {
        !from.to_canonical().is_loopback() && authenticator.is_operator_address(from)
    };
    is_known || matches!(peer, Peer::Address(from) if is_known_at(from))
}

/// What browsers keep a password for.
fn realm(place: &Scope) -> String {
    match place {
        Scope::Box => "livebox".to_owned(),
        Scope::Pages => "livebox pages".to_owned(),
        Scope::Stream(name) => format!("livebox stream {name}"),
    }
}

/// No cache on the way may give to others what was shown to one.
fn keep_private(headers: &mut HeaderMap) {
    let cached = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let private = cached.map(|cached| cached.replace("public", "private"));
    if let Some(Ok(value)) = private.map(|text| HeaderValue::from_str(&text)) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// Whoever sent the request.
#[derive(Debug)]
pub(super) struct Caller {
    verdict: Verdict,
    /// A browser that does not say which site made it ask for a change.
    untold: bool,
    password: Option<Secret>,
    peer: Option<IpAddr>,
    authenticator: Option<Authenticator>,
}

impl Caller {
    /// Returns if the caller may read control data and change things.
    ///
    /// # Errors
    /// Says what is missing: the password, its being set, or being this site's page.
    pub(super) async fn require_operator(&self) -> Result<(), ApiError> {
        if self.untold {
            return Err(ApiError::OtherOrigin);
        }
        self.require_operator_by_token().await
    }

    /// Whether the caller is an operator, for a page that shows more to one.
    /// Browsers send viewers' passwords to it as well: what is known to be one
    /// is not checked against the box, where it would count as a guess.
    pub(super) async fn is_operator(&self) -> bool {
        let Some(authenticator) = &self.authenticator else { return false };
        match self.verdict {
            Verdict::Operator => return true,
            Verdict::OtherOrigin => return false,
            Verdict::Loopback if authenticator.trusts_loopback() => return true,
            Verdict::Loopback | Verdict::Stranger => {}
        }
        let Some(password) = &self.password else { return false };
        if !authenticator.is_verified(&Scope::Box, password)
            && authenticator.is_verified_viewer(password)
        {
            return false;
        }
        authenticator.verify(&Scope::Box, password, self.peer).await.unwrap_or(false)
    }

    /// As [`Caller::require_operator`], for forms that show by a token of
    /// their own that they are this site's.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn require_operator_by_token(&self) -> Result<(), ApiError> {
        let authenticator = self.authenticator.as_ref().ok_or(ApiError::NoPasswordSet)?;
        match self.verdict {
            Verdict::Operator => return Ok(()),
            Verdict::OtherOrigin => return Err(ApiError::OtherOrigin),
            Verdict::Loopback if authenticator.trusts_loopback() => return Ok(()),
            Verdict::Loopback | Verdict::Stranger => {}
        }
        if !authenticator.requires_password(&Scope::Box) {
            return Err(ApiError::NoPasswordSet);
        }
        let needed = || ApiError::PasswordNeeded { realm: realm(&Scope::Box) };
        let password = self.password.as_ref().ok_or_else(needed)?;
        if authenticator.verify(&Scope::Box, password, self.peer).await? {
            return Ok(());
        }
        Err(needed())
    }
}

impl FromRequest for Caller {
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let facts = facts(request);
        ready(Ok(Self {
            verdict: judge(&facts),
            untold: is_untold(&facts),
            password: password_of(request.headers()),
            peer: request.peer_addr().map(|address| address.ip()),
            authenticator: porter_of(request),
        }))
    }
}

/// Whether the request came in a way that only operators have.
fn is_operator(request: &HttpRequest) -> bool {
    judge(&facts(request)) == Verdict::Operator
}

/// What a request shows of where it comes from. No header counts that is there
/// twice: such requests are refused before (`ambiguity`).
fn facts(request: &HttpRequest) -> Facts<'_> {
    let headers = request.headers();
    let text = |name: header::HeaderName| headers.get(name)?.to_str().ok();
    let peer = match request.peer_addr() {
        _ if request.conn_data::<OverUnixSocket>().is_some() => Peer::UnixSocket,
        Some(address) => Peer::Address(address.ip()),
        None => Peer::Unknown,
    };
    Facts {
        peer,
        host: text(header::HOST).and_then(Authority::parse),
        // An origin that is not even text is another one.
        origin: headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null")),
        fetch_site: text(FETCH_SITE),
        user_agent: text(header::USER_AGENT),
        changes: !request.method().is_safe(),
        scheme: request.app_data::<Scheme>().copied().unwrap_or_default(),
        proxied: headers.keys().any(|name| is_of_proxy(name.as_str())),
    }
}

fn password_of(headers: &HeaderMap) -> Option<Secret> {
    basic_password(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}
