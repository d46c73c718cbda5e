//! Text that must not be printed: stream keys, passwords, tokens.
//!
//! A [`Secret`] cannot be printed by accident: `Debug` and `Display` write dots.
//! Code that needs the text calls [`Secret::reveal`].

use std::fmt;

/// A stream key, password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. It must not reach logs, errors or pages.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns `text` with every occurrence of the secret replaced by dots.
    ///
    /// For messages of libraries, which quote their input.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, MASK) }
    }

    /// The secret for display: the last two of at least eight characters, so
    /// that users can distinguish two keys.
    pub fn masked(&self) -> String {
        let count = self.0.chars().count();
        let shown = if count >= 8 { 2 } else { 0 };
        let tail: String = self.0.chars().skip(count - shown).collect();
        format!("{MASK}{tail}")
    }
}

const MASK: &str = "••••••";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(••••••)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Serialises the text itself, for messages to a pipeline host over its socket:
/// `#[serde(with = "secret::revealed")]`. A [`Secret`] cannot be serialised in
/// any other way.
pub mod revealed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        secret.reveal().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }

    /// The same for an `Option<Secret>`: `#[serde(with = "secret::revealed::option")]`.
    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
            secret.as_ref().map(Secret::reveal).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
            Ok(Option::<String>::deserialize(from)?.map(Secret::new))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_dots() {
        let key = Secret::new("djt.zepf-h0qx-1z8d-821q");
        assert_eq!(format!("{key} {key:?} {}", key.masked()), "•••••• Secret(••••••) ••••••1q");
    }

    #[test]
    fn a_short_secret_shows_none_of_itself() {
        assert_eq!(Secret::new("abc").masked(), "••••••");
    }

    #[test]
    fn every_occurrence_of_a_secret_in_a_message_is_replaced() {
        let key = Secret::new("KEY-1");
        assert_eq!(
            key.scrub("no route to rtmp://x/live/KEY-1"),
            "no route to rtmp://x/live/••••••"
        );
        assert_eq!(Secret::new("").scrub("unchanged"), "unchanged");
    }
}
