//! Whether the bytes of a push really leave this machine.
//!
//! The sink says how much it has written; the kernel may hold megabytes of
//! that for a receiver that has stopped reading. The sink does not show its
//! socket, so it is found among this process's own by the port it goes to.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::base::secret::Secret;
use crate::base::sockets::{connections, own_sockets};

/// Sockets that a push has found to be its own: two pushes to one receiver
/// must not take the same.
static TAKEN: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

/// The connection of one run of a push.
#[derive(Debug)]
pub(super) struct Wire {
    port: u16,
    /// Sockets from before this run.
    before: HashSet<u64>,
    socket: Option<u64>,
    left: u64,
}

impl Wire {
    /// Call it before the pipeline starts: what is open by then is not its own.
    pub(super) fn new(url: &Secret) -> Self {
        let before = own_sockets().unwrap_or_default();
        Self { port: port_of(url.reveal()), before, socket: None, left: 0 }
    }

    /// Of `written` bytes, how many the receiver's machine has acknowledged.
    /// Where the socket cannot be found, all of them.
    pub(super) fn left(&mut self, written: u64) -> u64 {
        let open = connections().unwrap_or_default();
        if self.socket.is_none() && written > 0 {
            let own = own_sockets().unwrap_or_default();
            self.socket = open
                .iter()
                .filter(|one| one.remote_port == self.port && own.contains(&one.inode))
                .filter(|one| !self.before.contains(&one.inode))
                .map(|one| one.inode)
                .find(|inode| take(*inode));
        }
        let queued =
            open.iter().find(|one| Some(one.inode) == self.socket).map_or(0, |one| one.queued);
        self.left = self.left.max(written.saturating_sub(queued));
        self.left
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(taken), Some(socket)) = (taken.as_mut(), self.socket) {
            taken.remove(&socket);
        }
    }
}

fn take(inode: u64) -> bool {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.get_or_insert_default().insert(inode)
}

/// The port of an RTMP URL: 1935, or 443 for RTMPS, unless it says another.
fn port_of(url: &str) -> u16 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("rtmp", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let after_v6 = host.rsplit(']').next().unwrap_or_default();
    let usual = if scheme == "rtmps" { 443 } else { 1935 };
    after_v6.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_url() {
        for (url, port) in [
            ("rtmp://a.example/live2/x", 1935),
            ("rtmps://a.example/live2/x:7", 443),
            ("rtmp://u:p@a.example:1936/live2", 1936),
            ("rtmp://[::1]:1937/live", 1937),
            ("rtmp://[::1]/live", 1935),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }
}
