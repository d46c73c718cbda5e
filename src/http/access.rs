//! Access control: which requests need a password.
//!
//! Every path of the table is behind [`guard`]; handlers that change something
//! check their [`Caller`]. Passwords are handled nowhere else in this folder.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use super::error::ApiError;
use super::origin::{Facts, Peer, Scheme, Verdict, has_unknown_origin, is_proxy_header, judge};
use crate::accounts::{Authenticator, Scope, basic_password};
use crate::base::authority::Authority;
use crate::base::secret::Secret;
use crate::http::listen::ambiguity::FETCH_SITE;
use crate::http::listen::connection::OverUnixSocket;
use crate::http::listen::head::headers;
use crate::http::state::State;
use crate::model::ids::StreamName;
use crate::model::status::{Closed, Recordings, Snapshot};

/// The scope of a request and the authenticator of the same topology, so that a
/// reload in between grants nothing.
#[derive(Clone, Debug)]
struct Protection(Scope, Authenticator);

/// Stores the scope of a request for [`guard`].
pub(super) fn set_scope(data: &mut Extensions, scope: Scope, authenticator: &Authenticator) {
    data.insert(Protection(scope, authenticator.clone()));
}

/// Middleware: rejects requests without access to their stored scope.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    let protection = request.extensions().get::<Protection>().cloned();
    let access = match protection {
        Some(Protection(scope, authenticator)) => {
            authorize(request.request(), &scope, &authenticator).await
        }
        // Without a scope, access is denied.
        None => Err(ApiError::NoSuchPath(request.path().to_owned())),
    };
    match access {
        Ok(Access::Open) => Ok(next.call(request).await?.map_into_left_body()),
        Ok(Access::Authorized) => {
            let mut response = next.call(request).await?.map_into_left_body();
            set_private(response.headers_mut());
            Ok(response)
        }
        Err(error) => Ok(request.error_response(error).map_into_right_body()),
    }
}

/// Whether the stored scope of a request needs no password.
pub(super) fn is_open(request: &ServiceRequest) -> bool {
    let protection = request.extensions().get::<Protection>().cloned();
    protection
        .is_some_and(|Protection(scope, authenticator)| !authenticator.requires_password(&scope))
}

/// Why access is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// No password is needed.
    Open,
    /// The password is right, or the caller is an operator that needs none.
    Authorized,
}

async fn authorize(
    request: &HttpRequest,
    scope: &Scope,
    authenticator: &Authenticator,
) -> Result<Access, ApiError> {
    if !authenticator.requires_password(scope) {
        return Ok(Access::Open);
    }
    if is_operator(request) {
        return Ok(Access::Authorized);
    }
    let needed = || ApiError::PasswordNeeded { realm: realm(scope) };
    let password = basic_auth_password(request.headers()).ok_or_else(needed)?;
    let from = request.peer_addr().map(|peer| peer.ip());
    if authenticator.verify(scope, &password, from).await? {
        return Ok(Access::Authorized);
    }
    Err(needed())
}

/// Whether the caller has access to `scope`.
pub(super) async fn may_see(request: &HttpRequest, scope: &Scope) -> bool {
    match authenticator_of(request) {
        Some(authenticator) => authorize(request, scope, &authenticator).await.is_ok(),
        None => false,
    }
}

/// Returns if the caller may see the recordings of `stream`: viewers of a stream
/// may see its recordings.
///
/// # Errors
/// The stream's password is missing or wrong.
pub(super) async fn require_viewer(
    request: &HttpRequest,
    stream: &StreamName,
) -> Result<(), ApiError> {
    let authenticator = authenticator_of(request);
    let authenticator =
        authenticator.ok_or_else(|| ApiError::NoSuchPath(request.path().to_owned()))?;
    authorize(request, &recordings_scope(request, stream), &authenticator).await.map(|_| ())
}

/// Whether a list for the caller may contain recordings of `stream`.
pub(super) fn are_recordings_listed(request: &HttpRequest, stream: &StreamName) -> bool {
    is_scope_listed(request, &recordings_scope(request, stream))
}

/// The scope of the recordings of a stream. A stream that is not configured may
/// have had a password: its recordings are for operators.
fn recordings_scope(request: &HttpRequest, stream: &StreamName) -> Scope {
    let state = request.app_data::<web::Data<State>>();
    match state.is_some_and(|state| state.topology().settings.has_stream(stream)) {
        true => Scope::Stream(stream.clone()),
        false => Scope::Box,
    }
}

/// Whether a list for the caller may contain `stream`. No password is hashed for
/// a list: only passwords that were verified before count.
pub(super) fn is_listed(request: &HttpRequest, stream: &StreamName) -> bool {
    is_scope_listed(request, &Scope::Stream(stream.clone()))
}

fn is_scope_listed(request: &HttpRequest, scope: &Scope) -> bool {
    let Some(authenticator) = authenticator_of(request) else { return false };
    let password = basic_auth_password(request.headers());
    let is_verified = |password| authenticator.is_verified(scope, password);
    !authenticator.requires_password(scope)
        || is_operator(request)
        || password.as_ref().is_some_and(is_verified)
}

/// Removes from `snapshot` what the caller may not see, and returns the streams
/// that were removed.
pub(super) fn redact(request: &HttpRequest, snapshot: &mut Snapshot) -> Vec<Closed> {
    redact_recordings(request, &mut snapshot.recordings);
    snapshot.close(|name| is_listed(request, name))
}

/// Removes from the sums of recordings what the caller may not see.
pub(super) fn redact_recordings(request: &HttpRequest, recordings: &mut Recordings) {
    recordings.close(|name| are_recordings_listed(request, name));
}

/// As [`redact`], for a page about the box: with the password of the pages, the caller sees all.
pub(super) fn redact_page(request: &HttpRequest, snapshot: &mut Snapshot) -> Vec<Closed> {
    match authenticator_of(request)
        .is_some_and(|authenticator| authenticator.requires_password(&Scope::Pages))
    {
        true => Vec::new(),
        false => redact(request, snapshot),
    }
}

fn authenticator_of(request: &HttpRequest) -> Option<Authenticator> {
    request.app_data::<web::Data<State>>().map(|state| state.topology().authenticator.clone())
}

/// Whether a connection may take a slot that is reserved for operators, by its
/// first request: it needs no password, or has a verified one, or comes from an
/// address that had one lately. Loopback is no such address, because all requests
/// through a proxy on this machine come from there.
pub(super) fn is_privileged(state: &State, peer: Peer, head: &[u8]) -> bool {
    let authenticator = state.topology().authenticator.clone();
    let value = |wanted: &str| {
        headers(head).find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let facts = Facts {
        peer,
        host: value("host").and_then(Authority::parse),
        proxied: headers(head).any(|(name, _)| is_proxy_header(&name.to_ascii_lowercase())),
        ..Facts::default()
    };
    match judge(&facts) {
        Verdict::Operator => return true,
        Verdict::Loopback if authenticator.trusts_loopback() => return true,
        Verdict::Loopback | Verdict::Untrusted | Verdict::OtherOrigin => {}
    }
    let password = value("authorization").and_then(basic_password);
    let is_known =
        password.is_some_and(|password| authenticator.is_verified(&Scope::Box, &password));
    let is_known_at = |from: IpAddr| {
        !from.to_canonical().is_loopback() && authenticator.is_operator_address(from)
    };
    is_known || matches!(peer, Peer::Address(from) if is_known_at(from))
}

/// The realm for which browsers store a password.
fn realm(scope: &Scope) -> String {
    match scope {
        Scope::Box => "livebox".to_owned(),
        Scope::Pages => "livebox pages".to_owned(),
        Scope::Stream(name) => format!("livebox stream {name}"),
    }
}

/// Forbids shared caches to store the response.
fn set_private(headers: &mut HeaderMap) {
    let cached = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let private = cached.map(|cached| cached.replace("public", "private"));
    if let Some(Ok(value)) = private.map(|text| HeaderValue::from_str(&text)) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// The sender of a request.
#[derive(Debug)]
pub(super) struct Caller {
    verdict: Verdict,
    /// Whether a browser requests a change without naming the origin.
    has_unknown_origin: bool,
    password: Option<Secret>,
    peer: Option<IpAddr>,
    authenticator: Option<Authenticator>,
}

impl Caller {
    /// Returns if the caller may read control data and change things.
    ///
    /// # Errors
    /// The password is missing, wrong or not configured, or a page of another
    /// site sent the request.
    pub(super) async fn require_operator(&self) -> Result<(), ApiError> {
        if self.has_unknown_origin {
            return Err(ApiError::OtherOrigin);
        }
        self.require_operator_by_token().await
    }

    /// Whether the caller is an operator, for a page that shows more to operators.
    /// Browsers send viewers' passwords to it as well: a verified one of these is
    /// not checked for the box, where it would count as a guess.
    pub(super) async fn is_operator(&self) -> bool {
        let Some(authenticator) = &self.authenticator else { return false };
        match self.verdict {
            Verdict::Operator => return true,
            Verdict::OtherOrigin => return false,
            Verdict::Loopback if authenticator.trusts_loopback() => return true,
            Verdict::Loopback | Verdict::Untrusted => {}
        }
        let Some(password) = &self.password else { return false };
        if !authenticator.is_verified(&Scope::Box, password)
            && authenticator.is_verified_viewer(password)
        {
            return false;
        }
        authenticator.verify(&Scope::Box, password, self.peer).await.unwrap_or(false)
    }

    /// As [`Caller::require_operator`], for forms that carry a token of this site.
    ///
    /// # Errors
    /// As [`Caller::require_operator`].
    pub(super) async fn require_operator_by_token(&self) -> Result<(), ApiError> {
        let authenticator = self.authenticator.as_ref().ok_or(ApiError::NoPasswordSet)?;
        match self.verdict {
            Verdict::Operator => return Ok(()),
            Verdict::OtherOrigin => return Err(ApiError::OtherOrigin),
            Verdict::Loopback if authenticator.trusts_loopback() => return Ok(()),
            Verdict::Loopback | Verdict::Untrusted => {}
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
            has_unknown_origin: has_unknown_origin(&facts),
            password: basic_auth_password(request.headers()),
            peer: request.peer_addr().map(|address| address.ip()),
            authenticator: authenticator_of(request),
        }))
    }
}

/// Whether the request came over the Unix socket, which only operators can open.
fn is_operator(request: &HttpRequest) -> bool {
    judge(&facts(request)) == Verdict::Operator
}

/// The facts about the origin of a request. Requests with repeated headers were
/// rejected before (`ambiguity`).
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
        // An origin that is not text is a foreign one.
        origin: headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null")),
        fetch_site: text(FETCH_SITE),
        user_agent: text(header::USER_AGENT),
        changes: !request.method().is_safe(),
        scheme: request.app_data::<Scheme>().copied().unwrap_or_default(),
        proxied: headers.keys().any(|name| is_proxy_header(name.as_str())),
    }
}

fn basic_auth_password(headers: &HeaderMap) -> Option<Secret> {
    basic_password(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}
