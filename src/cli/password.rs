//! `livebox password`: hashes a password for the configuration.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use argon2::PasswordHasher as _;

use crate::base::secret::Secret;

/// Reads a password twice from the terminal, or one line of standard input;
/// returns its argon2 hash in PHC form.
pub(super) fn hash() -> anyhow::Result<String> {
    let password = if std::io::stdin().is_terminal() {
        let first = Secret::new(rpassword::prompt_password("Password: ")?);
        let second = Secret::new(rpassword::prompt_password("Once more: ")?);
        anyhow::ensure!(first == second, "the two passwords differ");
        first
    } else {
        let mut text = String::new();
        std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read a password")?;
        Secret::new(text.lines().next().unwrap_or_default())
    };
    anyhow::ensure!(!password.reveal().is_empty(), "an empty password protects nothing");
    let hash = argon2::Argon2::default()
        .hash_password(password.reveal().as_bytes())
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    Ok(hash.to_string())
}
