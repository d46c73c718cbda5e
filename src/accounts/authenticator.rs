//! Checks passwords for streams, pages and the API.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard};

use argon2::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::Blake2sMac256;
use blake2::digest::{KeyInit as _, Mac as _};
use log::warn;
use tokio::sync::watch;

use super::checks::Checks;
use super::throttle::{Source, Turn};
use crate::accounts::credential_cache::{CredentialCache, Digest, Lookup};
use crate::base::lock::Lock;
use crate::base::secret::Secret;
use crate::base::sockets::network_of;
use crate::base::system;
use crate::base::time::now;
use crate::config::settings::{Access, Local};
use crate::model::ids::StreamName;

/// Longer passwords are refused without a check.
const MAX_PASSWORD_BYTES: usize = 1024;

/// What a password grants access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The control of the box: the API, its settings and actions.
    Box,
    /// The pages about the box: status, statistics, metrics.
    Pages,
    /// One stream, over every protocol.
    Stream(StreamName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box => f.write_str("the box"),
            Self::Pages => f.write_str("the pages"),
            Self::Stream(name) => write!(f, "the stream {name}"),
        }
    }
}

/// Too many password checks are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked; try again")]
pub struct Busy;

/// Checks passwords against the configured hashes and caches the results. Cheap
/// to clone.
#[derive(Clone)]
pub struct Authenticator {
    access: Arc<Access>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Random for each process: cached digests are of no use outside it.
    key: [u8; 32],
    cache: Lock<CredentialCache>,
    checks: Arc<Checks>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    pub fn new(access: Access) -> Self {
        let half = || system::random_token().expect("every Linux has a source of randomness");
        let mut mac = Blake2sMac256::new(&[0; 32].into());
        mac.update(format!("{}{}", half(), half()).as_bytes());
        let key = mac.finalize().into_bytes().into();
        let shared = Shared { key, cache: Lock::default(), checks: Arc::default() };
        Self { access: Arc::new(access), shared: Arc::new(shared) }
    }

    /// An authenticator with these hashes that shares this one's cache and throttle.
    #[must_use]
    pub fn with_access(&self, access: Access) -> Self {
        Self { access: Arc::new(access), shared: Arc::clone(&self.shared) }
    }

    /// Whether `scope` has a password.
    pub fn requires_password(&self, scope: &Scope) -> bool {
        !self.hashes(scope).is_empty()
    }

    /// Whether programs on this machine have full access without a password.
    pub fn trusts_loopback(&self) -> bool {
        self.access.password.is_none() || self.access.local == Local::Trusted
    }

    /// Whether an earlier check, within the last hour, found that `password`
    /// grants `scope`. Runs no check itself.
    pub fn is_verified(&self, scope: &Scope, password: &Secret) -> bool {
        let is_known = |scope| {
            let hashes = self.hashes(scope);
            !hashes.is_empty() && self.cache().is_verified(&self.digest(&hashes, password), now())
        };
        // The password of the box grants every scope that has a password.
        is_known(scope) || (self.requires_password(scope) && is_known(&Scope::Box))
    }

    /// Whether an earlier check found that `password` grants the pages or a stream.
    pub fn is_verified_viewer(&self, password: &Secret) -> bool {
        let streams = self.access.streams.iter().map(|(name, _)| Scope::Stream(name.clone()));
        streams.chain([Scope::Pages]).any(|scope| self.is_verified(&scope, password))
    }

    /// Whether `password`, sent from the address `from`, grants `scope`; waits
    /// for a check where the cache has no result. `false` for a scope without a
    /// password.
    ///
    /// # Errors
    /// Too many checks are waiting.
    pub async fn verify(
        &self,
        scope: &Scope,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool, Busy> {
        let hashes = self.hashes(scope);
        if hashes.is_empty() {
            return Ok(false);
        }
        if self.is_verified(scope, password) {
            self.record_operator(password, from.map(network_of));
            return Ok(true);
        }
        let is_short = password.reveal().len() <= MAX_PASSWORD_BYTES;
        let is_right = is_short && self.matches(hashes, password, from.map(network_of)).await?;
        if is_right {
            self.record_operator(password, from.map(network_of));
        } else {
            self.log_refusal(scope, from);
        }
        Ok(is_right)
    }

    /// Records the source of a password of the box, whatever scope it was sent for.
    fn record_operator(&self, password: &Secret, source: Source) {
        if self.is_verified(&Scope::Box, password) {
            self.cache().add_operator(source, now());
        }
    }

    /// Whether the password of the box was sent from the network of `address`
    /// within the last hour.
    pub fn is_operator_address(&self, address: IpAddr) -> bool {
        self.cache().has_operator(Some(network_of(address)), now())
    }

    /// Calls `matches`, a cheap comparison of a user name and password, and
    /// returns its result. Guesses are throttled like those of hashed passwords.
    ///
    /// # Errors
    /// Too many checks are waiting.
    pub async fn verify_login(
        &self,
        from: Option<IpAddr>,
        matches: impl FnOnce() -> bool,
    ) -> Result<bool, Busy> {
        let source = from.map(network_of);
        let turn = self.cache().throttle.reserve(source, now()).ok_or(Busy)?;
        let reserved = Reserved { authenticator: self, source };
        tokio::time::sleep_until(turn.begin_at.into()).await;
        let is_right = matches();
        drop(reserved);
        if !is_right {
            self.cache().throttle.add_wrong(source, now());
            self.log_refusal(&"RTSP", from);
        }
        Ok(is_right)
    }

    async fn matches(
        &self,
        hashes: Vec<Secret>,
        password: &Secret,
        source: Source,
    ) -> Result<bool, Busy> {
        let digest = self.digest(&hashes, password);
        let lookup = self.cache().look_up(digest, source, now());
        let mut result = match lookup {
            Lookup::Known(is_right) => return Ok(is_right),
            Lookup::Full => return Err(Busy),
            Lookup::Running(result) => result,
            Lookup::Check { turn, send, result } => {
                let check = Check { hashes, password: password.clone(), digest, source, turn };
                // A task, because other callers wait for it even if this one is cancelled.
                tokio::spawn(self.clone().check(check, send));
                result
            }
        };
        let is_right = result.wait_for(Option::is_some).await;
        Ok(is_right.is_ok_and(|is_right| *is_right == Some(true)))
    }

    async fn check(self, check: Check, send: watch::Sender<Option<bool>>) {
        let Check { hashes, password, digest, source, turn } = check;
        tokio::time::sleep_until(turn.begin_at.into()).await;
        let permit = self.shared.checks.permit(turn.rank).await;
        let includes_box = self.access.password.as_ref().is_some_and(|own| hashes.contains(own));
        let candidate = password.clone();
        let verify = move || {
            let _permit = permit;
            hashes.into_iter().find(|hash| matches_hash(hash, &candidate))
        };
        // A panic counts as a wrong password.
        let matching = tokio::task::spawn_blocking(verify).await.unwrap_or(None);
        let is_box = matching.is_some() && matching == self.access.password;
        if is_box || (includes_box && matching.is_none()) {
            let box_digest = self.digest(&self.hashes(&Scope::Box), &password);
            self.cache().insert(box_digest, is_box, now());
        }
        self.cache().complete(digest, source, matching.is_some(), now());
        send.send_replace(Some(matching.is_some()));
    }

    /// Logs the first refusal of an incident and each doubling: guesses come by the thousand.
    fn log_refusal(&self, what: &dyn fmt::Display, from: Option<IpAddr>) {
        let count = self.cache().throttle.add_refusal(from.map(network_of), now());
        let from = from.map_or_else(|| "a client".to_owned(), |ip| ip.to_canonical().to_string());
        match count {
            Some(1) => warn!("wrong password for {what} from {from}"),
            Some(count) => warn!("{count} wrong passwords from {from}, the last for {what}"),
            None => {}
        }
    }

    /// The hashes that grant `scope`: its own, and that of the box. Empty if
    /// the scope has no password.
    fn hashes(&self, scope: &Scope) -> Vec<Secret> {
        let Access { password, pages, .. } = &*self.access;
        let own = match scope {
            Scope::Box => return password.iter().cloned().collect(),
            Scope::Pages => pages.as_ref(),
            Scope::Stream(name) => self.access.of_stream(name),
        };
        own.map_or_else(Vec::new, |own| std::iter::once(own).chain(password).cloned().collect())
    }

    fn digest(&self, hashes: &[Secret], password: &Secret) -> Digest {
        let mut mac = Blake2sMac256::new(&self.shared.key.into());
        for text in hashes.iter().chain([password]) {
            // Length-prefixed, so that no two lists give the same bytes.
            mac.update(&(text.reveal().len() as u64).to_be_bytes());
            mac.update(text.reveal().as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn cache(&self) -> MutexGuard<'_, CredentialCache> {
        self.shared.cache.lock()
    }
}

/// A password that has to be checked.
struct Check {
    hashes: Vec<Secret>,
    password: Secret,
    digest: Digest,
    source: Source,
    turn: Turn,
}

/// A reserved check of the throttle, released on drop.
struct Reserved<'a> {
    authenticator: &'a Authenticator,
    source: Source,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.authenticator.cache().throttle.release(self.source);
    }
}

/// Whether `password` has this argon2 hash; compares in constant time.
fn matches_hash(hash: &Secret, password: &Secret) -> bool {
    PasswordHash::new(hash.reveal()).is_ok_and(|parsed| {
        argon2::Argon2::default().verify_password(password.reveal().as_bytes(), &parsed).is_ok()
    })
}

/// The password in an `Authorization` header of Basic authentication (RFC
/// 7617); the user name is ignored.
pub fn basic_password(header: &str) -> Option<Secret> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    pair.split_once(':').map(|(_, password)| Secret::new(password))
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};

    use super::*;

    /// With the cheapest parameters, to keep the tests fast.
    fn hash(password: &str) -> Secret {
        let params = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Secret::new(argon2.hash_password(password.as_bytes()).unwrap().to_string())
    }

    fn access() -> Access {
        let front = ("front".parse().unwrap(), hash("one"));
        let (password, pages) = (Some(hash("all")), Some(hash("two")));
        Access { password, pages, streams: vec![front], ..Access::default() }
    }

    fn front() -> Scope {
        Scope::Stream("front".parse().unwrap())
    }

    async fn verify(authenticator: &Authenticator, scope: &Scope, password: &str) -> bool {
        authenticator.verify(scope, &Secret::new(password), None).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_scope_has_its_password_and_that_of_the_box_grants_all() {
        let authenticator = Authenticator::new(access());
        let open = Scope::Stream("open".parse().unwrap());
        for (scope, password, is_right) in [
            (&front(), "one", true),
            (&front(), "two", false),
            (&Scope::Pages, "two", true),
            (&Scope::Pages, "one", false),
            (&Scope::Box, "one", false),
            (&Scope::Box, "all", true),
            (&front(), "all", true),
            (&Scope::Pages, "all", true),
            (&open, "all", false),
        ] {
            let found = verify(&authenticator, scope, password).await;
            assert_eq!(found, is_right, "{scope:?} {password}");
            assert_eq!(authenticator.is_verified(scope, &Secret::new(password)), is_right);
        }
        assert!(
            authenticator.requires_password(&front()) && !authenticator.requires_password(&open)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_for_a_stream_also_recognises_the_password_of_the_box() {
        let (authenticator, operator) = (Authenticator::new(access()), [192, 0, 2, 1].into());
        let password = Secret::new("all");
        assert_eq!(authenticator.verify(&front(), &password, Some(operator)).await, Ok(true));
        assert!(
            authenticator.is_verified(&Scope::Box, &password)
                && authenticator.is_verified(&Scope::Pages, &password)
        );
        assert!(authenticator.is_operator_address(operator));

        let viewer = Secret::new("one");
        assert_eq!(authenticator.verify(&front(), &viewer, None).await, Ok(true));
        assert!(
            authenticator.is_verified_viewer(&viewer)
                && !authenticator.is_verified(&Scope::Box, &viewer)
        );
        assert!(!authenticator.is_verified(&Scope::Pages, &viewer));
        assert!(!authenticator.is_verified_viewer(&Secret::new("guess")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_hash_invalidates_cached_results() {
        let authenticator = Authenticator::new(access());
        assert!(verify(&authenticator, &front(), "one").await);
        let streams = vec![("front".parse().unwrap(), hash("other"))];
        let authenticator = authenticator.with_access(Access { streams, ..access() });

        assert!(!authenticator.is_verified(&front(), &Secret::new("one")));
        assert!(!verify(&authenticator, &front(), "one").await);
        assert!(verify(&authenticator, &front(), "other").await);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_the_result_of_one_check() {
        let authenticator = Authenticator::new(access());
        let scope = front();
        let all = (0..500).map(|_| verify(&authenticator, &scope, "one"));
        let results = futures_util::future::join_all(all).await;
        assert_eq!(results, vec![true; 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_is_recognised_by_its_address_for_an_hour() {
        let authenticator = Authenticator::new(access());
        let (operator, viewer) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let send = |scope: Scope, from, password| {
            let authenticator = authenticator.clone();
            async move { authenticator.verify(&scope, &Secret::new(password), Some(from)).await }
        };
        assert_eq!(send(Scope::Box, operator, "all").await, Ok(true));
        assert_eq!(send(Scope::Box, viewer, "one").await, Ok(false));
        assert_eq!(send(front(), viewer, "one").await, Ok(true));
        assert!(
            authenticator.is_operator_address(operator)
                && !authenticator.is_operator_address(viewer)
        );

        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert!(!authenticator.is_operator_address(operator));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_of_any_length_are_refused() {
        let authenticator = Authenticator::new(access());
        for password in
            [String::new(), "x".repeat(MAX_PASSWORD_BYTES), "x".repeat(100 * MAX_PASSWORD_BYTES)]
        {
            assert!(!verify(&authenticator, &front(), &password).await);
        }
    }

    #[test]
    fn basic_authentication_accepts_any_user_name() {
        let read = |header: &str| basic_password(header).map(|found| found.reveal().to_owned());
        let encoded = |pair: &str| STANDARD.encode(pair);
        let basic = format!("basic  {}", encoded("anna:wood:pecker"));
        assert_eq!(read(&basic), Some("wood:pecker".to_owned()));
        assert_eq!(read(&format!("Basic {}", encoded(":"))), Some(String::new()));
        for bad in ["", "Basic", "Basic !!!", "Digest x=1", &format!("Basic {}", encoded("anna"))] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(header: String) {
            basic_password(&header);
            basic_password(&format!("Basic {header}"));
        }
    }
}
