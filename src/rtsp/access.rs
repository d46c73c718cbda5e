//! Authentication of requests: which need a password, and the challenges.

use rtsp_types::headers::{AUTHORIZATION, WWW_AUTHENTICATE};
use rtsp_types::{Method, Request, StatusCode, Url};

use super::answer::Answer;
use super::conversation::Conversation;
use super::login;
use crate::accounts::{Busy, basic_password};

/// Whether a request may be handled.
pub(super) enum Access {
    Granted,
    /// With the challenges of the response.
    Refused(Vec<String>),
}

impl Conversation {
    /// Checks the credentials of a request. A stream with a password of its own
    /// requires that password; all others require the login, if configured.
    ///
    /// # Errors
    /// Too many password checks are waiting.
    pub(super) async fn authenticate(
        &mut self,
        request: &Request<Vec<u8>>,
    ) -> Result<Access, StatusCode> {
        if is_public(request.method()) {
            return Ok(Access::Granted);
        }
        let header = request.header(&AUTHORIZATION).map(|header| header.as_str());
        let path = request.request_uri().map(Url::path).unwrap_or_default();
        let (authenticator, from) =
            (self.server.topology().authenticator.clone(), Some(self.peer.ip()));
        let busy = |Busy| StatusCode::ServiceUnavailable;
        if let Some(scope) = self.server.scope_at(path) {
            let challenge = || Access::Refused(vec![login::basic_challenge(&scope)]);
            let Some(password) = header.and_then(basic_password) else { return Ok(challenge()) };
            let is_right = authenticator.verify(&scope, &password, from).await.map_err(busy)?;
            return Ok(if is_right { Access::Granted } else { challenge() });
        }
        let Some(login) = &self.server.login() else { return Ok(Access::Granted) };
        let challenge = || Access::Refused(login::challenges(&self.nonce).into());
        let Some(header) = header else { return Ok(challenge()) };
        let method: &str = request.method().into();
        let matches = || login::matches(login, header, method, &self.nonce);
        // A digest differs with each request, so it is compared each time; only
        // the first comparison is throttled.
        if self.is_logged_in && matches() {
            return Ok(Access::Granted);
        }
        let is_right = authenticator.verify_login(from, matches).await.map_err(busy)?;
        if !is_right {
            return Ok(challenge());
        }
        self.is_logged_in = true;
        Ok(Access::Granted)
    }

    pub(super) fn challenge(
        &mut self,
        request: &Request<Vec<u8>>,
        challenges: &[String],
    ) -> Answer {
        if request.header(&AUTHORIZATION).is_some() {
            self.refusals += 1;
        }
        let refused = Answer::plain(StatusCode::Unauthorized);
        challenges.iter().fold(refused, |answer, one| answer.with(WWW_AUTHENTICATE, one))
    }
}

/// Whether a method reveals nothing about a stream and needs no password.
fn is_public(method: &Method) -> bool {
    matches!(
        method,
        Method::Options
            | Method::PlayNotify
            | Method::Redirect
            | Method::Announce
            | Method::Record
            | Method::Extension(_)
    )
}
