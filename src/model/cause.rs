//! Causes of failures that livebox recognises, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A recognised cause. Its text is one or more sentences, without a capital at the
/// beginning and a full stop at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Cause {
    #[error(
        "the host name of the {peer}, {host:?}, is unknown. Is it right, and is this machine \
         connected to the network?"
    )]
    UnknownHost { peer: Peer, host: String },
    /// Nothing listens on the port.
    #[error(
        "the {peer} at {host} refuses connections on port {port}. Is the address right, and is \
         the {peer} ready?"
    )]
    ConnectionRefused { peer: Peer, host: String, port: u16 },
    #[error("the {peer} at {host} does not answer. Is it on, and is the address right?")]
    NoAnswer { peer: Peer, host: String },
    /// The peer does not speak the protocol of the URL.
    #[error("what answers at {host} is not a {peer}. Are the address and the port right?")]
    WrongProtocol { peer: Peer, host: String },
    /// No password is configured.
    #[error("the camera wants a password: set `user` and `password`")]
    PasswordNeeded,
    #[error("the camera refused the user name or the password. Are both right?")]
    PasswordRefused,
    #[error("the camera at {host} has no stream under this path. Is the address right?")]
    NoSuchStream { host: String },
    #[error(
        "the camera at {host} closed the connection. Does it start again, or refuse the password?"
    )]
    CameraClosed { host: String },
    #[error("the receiver refused the stream key. Copy it again")]
    KeyRefused,
    #[error(
        "the receiver refused the stream key, because something else sends with it. Stop that, or \
         use another key"
    )]
    KeyInUse,
    #[error("the receiver at {host} refused the path of the address. Copy the address again")]
    PathRefused { host: String },
    #[error("the receiver's certificate is refused: {why}")]
    CertificateRefused { why: String },
    /// The receiver closed a connection that it had accepted.
    #[error("the receiver closed the connection. Does it still expect this stream?")]
    ReceiverClosed,
    #[error("{device} is not there. Is the {kind} plugged in?")]
    NoDevice { kind: Device, device: String },
    #[error("{device} is in use by another program. Stop that program")]
    DeviceBusy { kind: Device, device: String },
    #[error(
        "{device} may not be opened. Add the user that livebox runs as to the group \"{}\"",
        kind.group()
    )]
    DeviceForbidden { kind: Device, device: String },
    #[error("there is no file {}. Is the path right?", path.display())]
    NoFile { path: PathBuf },
    #[error("the file {} may not be read. Let the user that livebox runs as read it", path.display())]
    FileForbidden { path: PathBuf },
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Camera,
    Receiver,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Camera => "camera",
            Peer::Receiver => "receiver",
        })
    }
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    Camera,
    SoundCard,
}

impl Device {
    /// The group of users that may open it on Debian.
    fn group(self) -> &'static str {
        match self {
            Device::Camera => "video",
            Device::SoundCard => "audio",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Camera => "camera",
            Device::SoundCard => "sound card",
        })
    }
}
