//! What the kernel still holds of what this process has sent.
//!
//! A socket takes megabytes that never leave the machine. Whoever must know
//! whether bytes really go out looks here. Linux only (`proc(5)`).

use std::collections::HashSet;
use std::fs;
use std::io;

/// One established TCP connection of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Names the socket for as long as it is open.
    pub inode: u64,
    pub remote_port: u16,
    /// Bytes that the other side has not acknowledged, unsent ones included.
    pub queued: u64,
}

/// The established connections of this machine, IPv4 and IPv6.
///
/// # Errors
/// `/proc` is not mounted.
pub fn connections() -> io::Result<Vec<Connection>> {
    let v4 = fs::read_to_string("/proc/self/net/tcp")?;
    // A kernel without IPv6 has no such file.
    let v6 = fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(connection).collect())
}

/// The inodes of the sockets that this process holds.
///
/// # Errors
/// `/proc` is not mounted.
pub fn own_sockets() -> io::Result<HashSet<u64>> {
    let links = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links
        .filter_map(|link| {
            let name = link.to_str()?;
            name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect())
}

/// One line: `sl local:port remote:port state tx:rx … … uid timeout inode …`.
fn connection(line: &str) -> Option<Connection> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_ascii_whitespace();
    let remote = words.nth(2)?;
    let state = words.next()?;
    let queues = words.next()?;
    let inode = words.nth(4)?.parse().ok()?;
    if state != ESTABLISHED {
        return None;
    }
    let (_, port) = remote.rsplit_once(':')?;
    let (queued, _) = queues.split_once(':')?;
    Some(Connection {
        inode,
        remote_port: u16::from_str_radix(port, 16).ok()?,
        queued: u64::from_str_radix(queued, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_nobody_reads_stay_in_the_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 65_536]).is_ok() {}

        let own = own_sockets().unwrap();
        let ours: Vec<_> = connections()
            .unwrap()
            .into_iter()
            .filter(|one| one.remote_port == port && own.contains(&one.inode))
            .collect();
        assert_eq!(ours.len(), 1);
        assert!(ours[0].queued > 100_000, "{ours:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in ".{0,120}") {
            connection(&line);
        }
    }
}
