//! May they? The password of the configuration, and who needs it.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpRequest};
use argon2::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use log::warn;
use tokio::sync::{Semaphore, watch};

use super::error::ApiError;
use super::origin::{Facts, PROXY_HEADERS, Scheme, Verdict, is_untold, judge};
use crate::base::secret::Secret;

/// How many passwords are checked at once. Each costs 19 MiB and tens of
/// milliseconds on purpose; more at once would be an attack on the box.
const CHECKS: usize = 2;

/// The password, and the strength to check it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Access {
    hash: watch::Sender<Option<Secret>>,
    checks: Arc<Semaphore>,
}

impl Access {
    /// `hash` is an argon2 hash in PHC form.
    pub(super) fn new(hash: Option<Secret>) -> Self {
        Self { hash: watch::Sender::new(hash), checks: Arc::new(Semaphore::new(CHECKS)) }
    }

    /// Another password counts from now on.
    pub(super) fn set(&self, hash: Option<Secret>) {
        self.hash.send_replace(hash);
    }

    async fn admits(&self, password: Secret) -> Result<bool, ApiError> {
        let Some(hash) = self.hash.borrow().clone() else { return Ok(false) };
        let Ok(permit) = Arc::clone(&self.checks).try_acquire_owned() else {
            return Err(ApiError::Busy);
        };
        let check = move || {
            let _permit = permit;
            PasswordHash::new(hash.reveal()).is_ok_and(|parsed| {
                argon2::Argon2::default()
                    .verify_password(password.reveal().as_bytes(), &parsed)
                    .is_ok()
            })
        };
        // A panic in there is no admission.
        Ok(tokio::task::spawn_blocking(check).await.unwrap_or(false))
    }
}

/// Whoever sent the request.
#[derive(Debug)]
pub(super) struct Caller {
    verdict: Verdict,
    /// A browser that does not say which site made it ask for a change.
    untold: bool,
    password: Option<Secret>,
    peer: String,
    access: Option<Access>,
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

    /// As [`Caller::require_operator`], for forms that show by a token of
    /// their own that they are this site's.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn require_operator_by_token(&self) -> Result<(), ApiError> {
        match self.verdict {
            Verdict::Box => return Ok(()),
            Verdict::OtherOrigin => return Err(ApiError::OtherOrigin),
            Verdict::Stranger => {}
        }
        let access = self.access.as_ref().ok_or(ApiError::NoPasswordSet)?;
        if access.hash.borrow().is_none() {
            return Err(ApiError::NoPasswordSet);
        }
        let Some(password) = self.password.clone() else {
            return Err(ApiError::PasswordNeeded);
        };
        if access.admits(password).await? {
            return Ok(());
        }
        warn!("{} showed a wrong password", self.peer);
        Err(ApiError::PasswordNeeded)
    }
}

impl FromRequest for Caller {
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let text = |name: header::HeaderName| headers.get(name)?.to_str().ok();
        let peer = request.peer_addr().map(|address| address.ip());
        let facts = Facts {
            peer,
            host: text(header::HOST),
            // An origin that is not even text is another one.
            origin: headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null")),
            fetch_site: text(header::HeaderName::from_static("sec-fetch-site")),
            user_agent: text(header::USER_AGENT),
            changes: !request.method().is_safe(),
            scheme: request.app_data::<Scheme>().copied().unwrap_or_default(),
            proxied: PROXY_HEADERS.iter().any(|name| headers.contains_key(*name)),
        };
        ready(Ok(Self {
            verdict: judge(&facts),
            untold: is_untold(&facts),
            password: basic_password(headers),
            peer: peer.map_or_else(|| "somebody".to_owned(), |ip| ip.to_string()),
            access: request
                .app_data::<actix_web::web::Data<Access>>()
                .map(|data| (***data).clone()),
        }))
    }
}

/// The password of HTTP Basic authentication (RFC 7617); any user name will do.
fn basic_password(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    pair.split_once(':').map(|(_, password)| Secret::new(password))
}
