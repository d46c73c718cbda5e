//! Which requests need a password, and what is answered without it.

use rtsp_types::headers::{AUTHORIZATION, WWW_AUTHENTICATE};
use rtsp_types::{Method, Request, StatusCode, Url};

use super::answer::Answer;
use super::conversation::Conversation;
use super::login;
use crate::accounts::{Busy, basic_password};

/// Whether a request is acted on, or what is asked for first.
pub(super) enum Entry {
    Free,
    Refused(Vec<String>),
}

impl Conversation {
    /// A stream with a password of its own asks for that one, and nothing else
    /// opens it; every other one asks for the login, if there is one.
    ///
    /// # Errors
    /// Too many passwords wait to be checked.
    pub(super) async fn authenticate(
        &mut self,
        request: &Request<Vec<u8>>,
    ) -> Result<Entry, StatusCode> {
        if is_for_everybody(request.method()) {
            return Ok(Entry::Free);
        }
        let header = request.header(&AUTHORIZATION).map(|header| header.as_str());
        let path = request.request_uri().map(Url::path).unwrap_or_default();
        let (authenticator, from) =
            (self.server.topology().authenticator.clone(), Some(self.peer.ip()));
        let busy = |Busy| StatusCode::ServiceUnavailable;
        if let Some(place) = self.server.protected(path) {
            let challenge = || Entry::Refused(vec![login::basic_challenge(&place)]);
            let Some(password) = header.and_then(basic_password) else { return Ok(challenge()) };
            let is_right = authenticator.admits(&place, &password, from).await.map_err(busy)?;
            return Ok(if is_right { Entry::Free } else { challenge() });
        }
        let Some(login) = &self.server.login() else { return Ok(Entry::Free) };
        let challenge = || Entry::Refused(login::challenges(&self.nonce).into());
        let Some(header) = header else { return Ok(challenge()) };
        let method: &str = request.method().into();
        let fits = || login::opens(login, header, method, &self.nonce);
        // Digest differs with each request of a session; only the first may have to wait.
        if self.is_logged_in && fits() {
            return Ok(Entry::Free);
        }
        let is_right = authenticator.admits_login(from, fits).await.map_err(busy)?;
        if !is_right {
            return Ok(challenge());
        }
        self.is_logged_in = true;
        Ok(Entry::Free)
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

/// Whether a method shows nothing, so that nobody need be let in for it.
fn is_for_everybody(method: &Method) -> bool {
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
