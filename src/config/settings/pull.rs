//! A stream that is pulled over RTSP, and its credentials.

use serde::{Deserialize, Serialize};

use crate::base::secret::{self, Secret};

/// The port of RTSP (RFC 7826, 22.14).
const RTSP: u16 = 554;

/// A stream that is pulled from another machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// `rtsp://`, with the password if there is no `login`.
    #[serde(with = "secret::revealed")]
    pub url: Secret,
    pub login: Option<Login>,
    pub transport: Transport,
}

/// The transport of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Interleaved on the RTSP connection.
    Tcp,
    Udp,
}

/// A user name and a plain password, which RTSP's Digest needs on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    #[serde(with = "secret::revealed")]
    pub password: Secret,
}

impl Pull {
    /// The port of its URL; 554 if it has none.
    pub fn port(&self) -> u16 {
        let rest = self.url.reveal().trim_start_matches("rtsp://");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let after_v6 = authority.rsplit([']', '@']).next().unwrap_or_default();
        after_v6.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(RTSP)
    }

    /// The URL without user, password and query, which may be secret.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.url.reveal().split_once("://").unwrap_or_default();
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}/{path}")
    }

    /// The parts of the URL and the login that must be removed from messages.
    pub fn secrets(&self) -> Vec<Secret> {
        let url = self.url.reveal();
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let in_url = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        let query = url.split_once('?').map(|(_, query)| query);
        let mut secrets = vec![self.url.clone()];
        secrets.extend(in_url.map(|(_, password)| Secret::new(password)));
        secrets.extend(query.map(Secret::new));
        secrets.extend(self.login.iter().map(|login| login.password.clone()));
        secrets
    }
}
