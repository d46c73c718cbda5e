//! Why a pipeline does not run.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a pipeline is not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure {
    /// It ran, but has delivered nothing for this long.
    NoFrames { after: Duration },
    /// An error message of an element, with secrets masked.
    Element { element: String, message: String },
    /// An element is not installed.
    MissingElement { element: String, package: Option<Cow<'static, str>> },
    /// The pipeline could not be built.
    Build(String),
    /// The camera does not support the configuration.
    Camera(String),
    /// The file cannot be played.
    File(String),
    /// The recording cannot be written to the disk.
    Disk(String),
    /// The command cannot be started, or has ended.
    Command(String),
    /// The host process of the pipeline has died.
    Crash(String),
    /// Its input has ended.
    Ended,
    /// The encoding of its input has changed.
    CodecChange,
    /// An operator requested a restart.
    Restart,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoFrames { after } => write!(f, "nothing came out for {} s", after.as_secs()),
            Failure::Element { element, message } => write!(f, "{element}: {message}"),
            Failure::MissingElement { element, package: Some(package) } => write!(
                f,
                "needs the GStreamer element {element:?}, which is not installed; it is in the \
                 Debian package {package}"
            ),
            Failure::MissingElement { element, package: None } => {
                write!(f, "needs the GStreamer element {element:?}, which is not installed")
            }
            Failure::Build(what)
            | Failure::Camera(what)
            | Failure::File(what)
            | Failure::Disk(what)
            | Failure::Command(what)
            | Failure::Crash(what) => f.write_str(what),
            Failure::Ended => f.write_str("its input came to an end"),
            Failure::CodecChange => f.write_str("its stream is encoded differently now"),
            Failure::Restart => f.write_str("restarted by an operator"),
        }
    }
}
