//! Lets in whoever shows the password.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
use crate::accounts::credential_cache::{Answer, CredentialCache, Digest};
use crate::base::secret::Secret;
use crate::base::sockets::network_of;
use crate::base::system;
use crate::config::settings::{Access, Local};
use crate::model::ids::StreamName;

/// No honest password is longer, in bytes.
const LONGEST: usize = 1024;

/// What a password opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The box: reading and changing what steers it.
    Box,
    /// The pages on which it tells about itself.
    Pages,
    /// One stream, whichever way it leaves.
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

/// Too many passwords wait to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked; try again")]
pub struct Busy;

/// Knows the hashes, and what fits them. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    access: Arc<Access>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Of this process, so that what is known tells nothing outside it.
    key: [u8; 32],
    book: Mutex<CredentialCache>,
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
        let shared = Shared { key, book: Mutex::default(), checks: Arc::default() };
        Self { access: Arc::new(access), shared: Arc::new(shared) }
    }

    /// One who goes by these hashes, and remembers what this one knows.
    #[must_use]
    pub fn going_by(&self, access: Access) -> Self {
        Self { access: Arc::new(access), shared: Arc::clone(&self.shared) }
    }

    /// Whether a password is asked for.
    pub fn asks_at(&self, place: &Scope) -> bool {
        !self.hashes(place).is_empty()
    }

    /// Whether programs on this machine may do everything without a password.
    pub fn trusts_loopback(&self) -> bool {
        self.access.password.is_none() || self.access.local == Local::Trusted
    }

    /// Whether `password` opens `place`, as far as that is known without a check.
    pub fn knows(&self, place: &Scope, password: &Secret) -> bool {
        let is_known = |place| {
            let hashes = self.hashes(place);
            !hashes.is_empty() && self.book().knows(&self.digest(&hashes, password), now())
        };
        // The password of the box opens every place that has one.
        is_known(place) || (self.asks_at(place) && is_known(&Scope::Box))
    }

    /// Whether `password` is known to open the pages or a stream.
    pub fn knows_viewer(&self, password: &Secret) -> bool {
        let streams = self.access.streams.iter().map(|(name, _)| Scope::Stream(name.clone()));
        streams.chain([Scope::Pages]).any(|place| self.knows(&place, password))
    }

    /// Whether `password`, which is shown from the address `from`, opens
    /// `place`. Nothing opens a place without a password.
    ///
    /// # Errors
    /// Too many wait to be told the same.
    pub async fn admits(
        &self,
        place: &Scope,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<bool, Busy> {
        let hashes = self.hashes(place);
        if hashes.is_empty() {
            return Ok(false);
        }
        if self.knows(place, password) {
            self.note_operator(password, from.map(network_of));
            return Ok(true);
        }
        let is_short = password.reveal().len() <= LONGEST;
        let is_right = is_short && self.is_right(hashes, password, from.map(network_of)).await?;
        if is_right {
            self.note_operator(password, from.map(network_of));
        } else {
            self.log_refusal(place, from);
        }
        Ok(is_right)
    }

    /// Where the password of the box was shown, for whatever, an operator is.
    fn note_operator(&self, password: &Secret, source: Source) {
        if self.knows(&Scope::Box, password) {
            self.book().add_operator(source, now());
        }
    }

    /// Whether the password of the box was shown from `address` within the last hour.
    pub fn has_operated(&self, address: IpAddr) -> bool {
        self.book().has_operated(Some(network_of(address)), now())
    }

    /// Whether a user name and password that are compared by `fits`, which
    /// costs nothing, open what they are shown for. Guesses are as slow as
    /// those of passwords that have a hash.
    ///
    /// # Errors
    /// Too many wait to be told the same.
    pub async fn admits_login(
        &self,
        from: Option<IpAddr>,
        fits: impl FnOnce() -> bool,
    ) -> Result<bool, Busy> {
        let source = from.map(network_of);
        let turn = self.book().throttle.reserve(source, now()).ok_or(Busy)?;
        let reserved = Reserved { authenticator: self, source };
        tokio::time::sleep_until(turn.begin_at.into()).await;
        let is_right = fits();
        drop(reserved);
        if !is_right {
            self.book().throttle.add_wrong(source, now());
            self.log_refusal(&"RTSP", from);
        }
        Ok(is_right)
    }

    async fn is_right(
        &self,
        hashes: Vec<Secret>,
        password: &Secret,
        source: Source,
    ) -> Result<bool, Busy> {
        let digest = self.digest(&hashes, password);
        let answer = self.book().ask(digest, source, now());
        let mut told = match answer {
            Answer::Known(is_right) => return Ok(is_right),
            Answer::Full => return Err(Busy),
            Answer::Running(told) => told,
            Answer::Check { turn, send, told } => {
                let check = Check { hashes, password: password.clone(), digest, source, turn };
                // Others may wait for it, whether this one goes on waiting or not.
                tokio::spawn(self.clone().check(check, send));
                told
            }
        };
        let found = told.wait_for(Option::is_some).await;
        Ok(found.is_ok_and(|found| *found == Some(true)))
    }

    async fn check(self, check: Check, send: watch::Sender<Option<bool>>) {
        let Check { hashes, password, digest, source, turn } = check;
        tokio::time::sleep_until(turn.begin_at.into()).await;
        let permit = self.shared.checks.permit(turn.rank).await;
        let asks_box = self.access.password.as_ref().is_some_and(|own| hashes.contains(own));
        let shown = password.clone();
        let verify = move || {
            let _permit = permit;
            hashes.into_iter().find(|hash| fits(hash, &shown))
        };
        // A panic in there is no admission.
        let fitting = tokio::task::spawn_blocking(verify).await.unwrap_or(None);
        let is_of_box = fitting.is_some() && fitting == self.access.password;
        if is_of_box || (asks_box && fitting.is_none()) {
            let of_box = self.digest(&self.hashes(&Scope::Box), &password);
            self.book().learn(of_box, is_of_box, now());
        }
        self.book().found(digest, source, fitting.is_some(), now());
        send.send_replace(Some(fitting.is_some()));
    }

    /// One line an incident and at each doubling, as guesses come by the thousand.
    fn log_refusal(&self, what: &dyn fmt::Display, from: Option<IpAddr>) {
        let count = self.book().throttle.refused(from.map(network_of), now());
        let shown = from.map_or_else(|| "a client".to_owned(), |ip| ip.to_canonical().to_string());
        match count {
            Some(1) => warn!("{shown} has shown a wrong password for {what}"),
            Some(count) => warn!("{shown} has shown {count} wrong passwords, the last for {what}"),
            None => {}
        }
    }

    /// What opens `place`. The password of the box opens everything.
    fn hashes(&self, place: &Scope) -> Vec<Secret> {
        let Access { password, pages, .. } = &*self.access;
        let own = match place {
            Scope::Box => return password.iter().cloned().collect(),
            Scope::Pages => pages.as_ref(),
            Scope::Stream(name) => self.access.of_stream(name),
        };
        own.map_or_else(Vec::new, |own| std::iter::once(own).chain(password).cloned().collect())
    }

    fn digest(&self, hashes: &[Secret], password: &Secret) -> Digest {
        let mut mac = Blake2sMac256::new(&self.shared.key.into());
        for text in hashes.iter().chain([password]) {
            // With its length, so that no two lists read the same.
            mac.update(&(text.reveal().len() as u64).to_be_bytes());
            mac.update(text.reveal().as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn book(&self) -> MutexGuard<'_, CredentialCache> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A place among the checks that wait, given back when it is dropped.
struct Reserved<'a> {
    authenticator: &'a Authenticator,
    source: Source,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.authenticator.book().throttle.release(self.source);
    }
}

/// Takes as long whatever differs.
fn fits(hash: &Secret, password: &Secret) -> bool {
    PasswordHash::new(hash.reveal()).is_ok_and(|parsed| {
        argon2::Argon2::default().verify_password(password.reveal().as_bytes(), &parsed).is_ok()
    })
}

/// The password in an `Authorization` header of Basic authentication (RFC
/// 7617); any user name will do.
pub fn basic_password(header: &str) -> Option<Secret> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    pair.split_once(':').map(|(_, password)| Secret::new(password))
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};

    use super::*;

    /// As weak as can be, so that the tests cost nothing.
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

    async fn opens(authenticator: &Authenticator, place: &Scope, password: &str) -> bool {
        authenticator.admits(place, &Secret::new(password), None).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_place_has_its_password_and_the_box_s_opens_all() {
        let authenticator = Authenticator::new(access());
        let open = Scope::Stream("open".parse().unwrap());
        for (place, password, is_right) in [
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
            let found = opens(&authenticator, place, password).await;
            assert_eq!(found, is_right, "{place:?} {password}");
            assert_eq!(authenticator.knows(place, &Secret::new(password)), is_right);
        }
        assert!(authenticator.asks_at(&front()) && !authenticator.asks_at(&open));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_for_a_stream_tells_whether_it_is_the_password_of_the_box() {
        let (authenticator, operator) = (Authenticator::new(access()), [192, 0, 2, 1].into());
        let shown = Secret::new("all");
        assert_eq!(authenticator.admits(&front(), &shown, Some(operator)).await, Ok(true));
        assert!(
            authenticator.knows(&Scope::Box, &shown) && authenticator.knows(&Scope::Pages, &shown)
        );
        assert!(authenticator.has_operated(operator));

        let viewer = Secret::new("one");
        assert_eq!(authenticator.admits(&front(), &viewer, None).await, Ok(true));
        assert!(authenticator.knows_viewer(&viewer) && !authenticator.knows(&Scope::Box, &viewer));
        assert!(!authenticator.knows(&Scope::Pages, &viewer));
        assert!(!authenticator.knows_viewer(&Secret::new("guess")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_right_is_unknown_once_the_hash_is_another() {
        let authenticator = Authenticator::new(access());
        assert!(opens(&authenticator, &front(), "one").await);
        let streams = vec![("front".parse().unwrap(), hash("other"))];
        let authenticator = authenticator.going_by(Access { streams, ..access() });

        assert!(!authenticator.knows(&front(), &Secret::new("one")));
        assert!(!opens(&authenticator, &front(), "one").await);
        assert!(opens(&authenticator, &front(), "other").await);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_come_at_once_are_all_told() {
        let authenticator = Authenticator::new(access());
        let place = front();
        let all = (0..500).map(|_| opens(&authenticator, &place, "one"));
        let told = futures_util::future::join_all(all).await;
        assert_eq!(told, vec![true; 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_is_known_by_its_address_for_an_hour() {
        let authenticator = Authenticator::new(access());
        let (operator, viewer) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let shows = |place: Scope, from, password| {
            let authenticator = authenticator.clone();
            async move { authenticator.admits(&place, &Secret::new(password), Some(from)).await }
        };
        assert_eq!(shows(Scope::Box, operator, "all").await, Ok(true));
        assert_eq!(shows(Scope::Box, viewer, "one").await, Ok(false));
        assert_eq!(shows(front(), viewer, "one").await, Ok(true));
        assert!(authenticator.has_operated(operator) && !authenticator.has_operated(viewer));

        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert!(!authenticator.has_operated(operator));
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_is_refused_whatever_its_length() {
        let authenticator = Authenticator::new(access());
        for password in [String::new(), "x".repeat(LONGEST), "x".repeat(100 * LONGEST)] {
            assert!(!opens(&authenticator, &front(), &password).await);
        }
    }

    #[test]
    fn the_password_of_any_user_is_read_off_the_header() {
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
        fn no_header_makes_it_panic(header: String) {
            basic_password(&header);
            basic_password(&format!("Basic {header}"));
        }
    }
}
