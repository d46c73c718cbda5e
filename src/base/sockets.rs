//! Listening sockets, socket options for viewers, and unacknowledged bytes.
//!
//! A socket buffers megabytes that may never leave the machine;
//! [`unacknowledged`] measures them. Linux only (`proc(5)`).

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// `TCP_USER_TIMEOUT`: a peer that acknowledges nothing for this long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(10);

/// `TCP_NOTSENT_LOWAT` in bytes. Without it the kernel buffers seconds of video,
/// and a slow viewer is noticed far too late (measured: 3.3 MB).
const MAX_UNSENT_BYTES: u32 = 128 << 10;

/// Idle time before the first TCP keep-alive probe.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// Connections that wait to be accepted: the kernel's default limit. When the
/// backlog is full, further connections wait for at least a second.
const BACKLOG: i32 = 4096;

/// Binds a non-blocking listener. `[::]` also accepts IPv4.
///
/// # Errors
/// The port is in use, or the address does not belong to this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Why [`listen`] fails, in words. `if_in_use` says what to do about a port in use.
pub fn listen_error(address: SocketAddr, error: &io::Error, if_in_use: &str) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        format!("another program uses that port; {if_in_use}")
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        let ip = address.ip();
        format!("this machine has no address {ip}; `ip address` lists those that it has")
    } else {
        error.to_string()
    }
}

/// The file of a Unix socket on which this process listens.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Another process may have replaced the file.
    identity: Identity,
}

/// Device, inode and modification time of a file: inode numbers are reused.
type Identity = (u64, u64, i64, i64);

fn identity(found: &fs::Metadata) -> Identity {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

/// Listens on a Unix socket that only its user and group may open. Replaces the
/// socket of an ended process. Blocks.
///
/// # Errors
/// Another program listens there, the file is not a socket, or the folder is not
/// writable.
pub fn listen_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before `listen`, so that no client can connect with other permissions.
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    let found = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&found) };
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Removes the socket of an ended process.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

impl SocketFile {
    /// Removes the file unless another process has replaced it. Blocks.
    pub fn remove(self) {
        let is_ours = |found: fs::Metadata| identity(&found) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If this fails, the next start replaces the file.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Sets the socket options of a viewer: no delay, bounded unsent bytes, and
/// timeouts that detect dead peers.
///
/// # Errors
/// The kernel does not support an option.
pub fn set_for_viewer(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(GONE_AFTER))?;
    socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))
}

/// The address by which a client is counted: of IPv6 its /64 network, since one
/// client has 2^64 addresses.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

/// Bytes in TCP connections of this process that the peers have not
/// acknowledged, including unsent bytes.
///
/// # Errors
/// `/proc` is not mounted.
pub fn unacknowledged() -> io::Result<u64> {
    let own = own_sockets()?;
    let of_own = connections()?.into_iter().filter(|one| own.contains(&one.inode));
    Ok(of_own.map(|one| one.queued).sum())
}

/// One established TCP connection of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    /// Identifies the socket while it is open.
    inode: u64,
    queued: u64,
}

/// The established connections of this machine, IPv4 and IPv6.
fn connections() -> io::Result<Vec<Connection>> {
    let v4 = fs::read_to_string("/proc/self/net/tcp")?;
    // A kernel without IPv6 has no such file.
    let v6 = fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(connection).collect())
}

/// The inodes of the sockets that this process holds.
fn own_sockets() -> io::Result<HashSet<u64>> {
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

/// Parses a line: `sl local:port remote:port state tx:rx … … uid timeout inode …`.
fn connection(line: &str) -> Option<Connection> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_ascii_whitespace();
    let state = words.nth(3)?;
    let queues = words.next()?;
    let inode = words.nth(4)?.parse().ok()?;
    if state != ESTABLISHED {
        return None;
    }
    let (queued, _) = queues.split_once(':')?;
    Some(Connection { inode, queued: u64::from_str_radix(queued, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_the_peer_does_not_read_are_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 65_536]).is_ok() {}

        let queued = unacknowledged().unwrap();
        assert!(queued > 100_000, "{queued}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(listen_unix(&path).unwrap());
        let (listener, file) = listen_unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);

        assert_eq!(listen_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        file.remove();
        assert!(!path.exists());
        drop(listener);
    }

    #[test]
    fn other_files_and_sockets_of_other_processes_are_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen_unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();

        let (listener, file) = listen_unix(&path).unwrap();
        drop(listener);
        let (_other, _) = listen_unix(&path).unwrap();
        file.remove();
        assert!(path.exists());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_counted_as_one() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }

    proptest::proptest! {
        #[test]
        fn no_line_causes_a_panic(line in ".{0,120}") {
            connection(&line);
        }
    }
}
