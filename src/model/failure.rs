//! Why a pipeline does not run.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::cause::Cause;
use crate::model::fault::{Fault, Message, ProfileError};

/// Why a pipeline is not running. Its text is for the log; [`Failure::say`] and
/// [`Failure::details`] are for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Failure {
    /// It ran, but has delivered nothing for this long.
    NoFrames { after: Duration },
    /// Its receiver has acknowledged nothing for this long.
    NothingTaken { after: Duration },
    /// A recognised cause, and the message from which it was recognised, with secrets
    /// masked.
    Known { cause: Cause, message: String },
    /// Another error message of an element, with secrets masked.
    Element { element: String, message: String },
    /// An element is not installed.
    MissingElement { element: String, package: Option<Cow<'static, str>> },
    /// A fault of livebox or of the installed GStreamer.
    Fault(Fault),
    /// No encoder can be used for the stream.
    NoEncoder(NoEncoder),
    /// The stream needs video, and its feed has none.
    NoVideo,
    /// The push has no URL.
    NoUrl,
    /// The bytes contain nothing of this kind.
    NotFound(Content),
    /// The certificates in the file of `ca` cannot be used.
    Authorities { ca: PathBuf, error: AuthoritiesError },
    /// A job was not done within this time.
    Late { after: Duration },
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

/// Why a stream has no encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NoEncoder {
    #[error("no H.264 encoder works here: {0}; install gstreamer1.0-plugins-ugly for x264enc")]
    NoneWorks(String),
    #[error("the encoder {element:?} is asked for, but {why}")]
    NotThisOne { element: String, why: String },
}

/// What is searched for in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    Container,
    Jpeg,
    Picture,
}

/// Why certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("cannot be read")]
    Unreadable(#[source] Message),
    #[error("contains no certificate; use a PEM file")]
    Empty,
    #[error("cannot be used")]
    Unusable(#[source] Message),
}

impl Failure {
    pub fn no_frames(after: Duration) -> Self {
        Failure::NoFrames { after }
    }

    pub fn nothing_taken(after: Duration) -> Self {
        Failure::NothingTaken { after }
    }

    /// What is wrong and, where it is known, what to do, in whole sentences.
    pub fn say(&self) -> String {
        let text = capitalized(&self.text());
        if text.ends_with(['.', '?', '!', '…']) { text } else { text + "." }
    }

    fn text(&self) -> String {
        match self {
            Failure::NoFrames { after } => format!("nothing came out for {} s", after.as_secs()),
            Failure::NothingTaken { after } => format!(
                "the receiver has taken nothing for {} s. Does it answer, and is the upload fast \
                 enough for the bitrate?",
                after.as_secs()
            ),
            Failure::Known { cause, .. } => cause.to_string(),
            Failure::Element { element, message } => format!("{element}: {message}"),
            Failure::MissingElement { package: Some(package), .. } => format!(
                "the Debian package {package} is not installed. Install it: sudo apt install \
                 {package}"
            ),
            Failure::MissingElement { element, package: None } => {
                format!("the GStreamer element {element:?} is not installed")
            }
            Failure::Fault(fault) => {
                format!("this is a fault of livebox: {fault}. Please report it")
            }
            Failure::NoEncoder(why) => why.to_string(),
            Failure::NoVideo => "its feed has no video".to_owned(),
            Failure::NoUrl => "the push has no address: set its `url`".to_owned(),
            Failure::NotFound(content) => format!("no {content} was found in the bytes"),
            Failure::Authorities { ca, error } => format!("`ca`: {ca:?} {error}"),
            Failure::Late { after } => format!("it was not done within {} s", after.as_secs()),
            Failure::Camera(what)
            | Failure::File(what)
            | Failure::Disk(what)
            | Failure::Command(what)
            | Failure::Crash(what) => what.clone(),
            Failure::Ended => "its input came to an end".to_owned(),
            Failure::CodecChange => "its stream is encoded differently now".to_owned(),
            Failure::Restart => "restarted by an operator".to_owned(),
        }
    }

    /// The message of GStreamer, a driver or the system, with secrets masked, where
    /// [`Failure::say`] replaces it.
    pub fn details(&self) -> Option<String> {
        if let Failure::Known { message, .. } = self {
            return Some(message.clone());
        }
        if let Failure::MissingElement { element, package: Some(_) } = self {
            return Some(format!("needs the GStreamer element {element:?}"));
        }
        self.source().map(ToString::to_string)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        match self.details() {
            Some(details) => write!(f, " ({details})"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Failure::Fault(fault) => fault.source(),
            Failure::Authorities { error, .. } => error.source(),
            Failure::NoEncoder(_)
            | Failure::NoVideo
            | Failure::NoUrl
            | Failure::NotFound(_)
            | Failure::Late { .. }
            | Failure::NoFrames { .. }
            | Failure::NothingTaken { .. }
            | Failure::Known { .. }
            | Failure::Element { .. }
            | Failure::MissingElement { .. }
            | Failure::Camera(_)
            | Failure::File(_)
            | Failure::Disk(_)
            | Failure::Command(_)
            | Failure::Crash(_)
            | Failure::Ended
            | Failure::CodecChange
            | Failure::Restart => None,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Failure::Fault(Fault::Profile(error))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::Container => "supported container",
            Content::Jpeg => "JPEG",
            Content::Picture => "picture",
        })
    }
}

/// The text with a capital at its beginning; names of elements and paths stay as
/// they are.
fn capitalized(text: &str) -> String {
    let first_word = text.split(' ').next().unwrap_or_default();
    let is_plain_word = first_word.chars().all(|c| c.is_ascii_alphabetic());
    let mut chars = text.chars();
    match chars.next().filter(|_| is_plain_word) {
        Some(first) => first.to_uppercase().collect::<String>() + chars.as_str(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_what_to_do_and_the_message_apart_the_log_both() {
        let message = "rtmp2sink: 'publish' cmd failed".to_owned();
        let failure = Failure::Known { cause: Cause::KeyRefused, message: message.clone() };
        let say = "The receiver refused the stream key. Copy it again.".to_owned();
        assert_eq!((failure.say(), failure.details()), (say, Some(message)));
        assert_eq!(
            failure.to_string(),
            "the receiver refused the stream key. Copy it again (rtmp2sink: 'publish' cmd failed)"
        );
    }

    #[test]
    fn a_missing_package_is_said_with_the_command_that_installs_it() {
        let package = Some("gstreamer1.0-alsa".into());
        let failure = Failure::MissingElement { element: "alsasrc".to_owned(), package };
        let (say, details) = (failure.say(), failure.details());
        assert!(say.ends_with("Install it: sudo apt install gstreamer1.0-alsa."), "{say}");
        assert_eq!(details.unwrap(), "needs the GStreamer element \"alsasrc\"");
    }

    #[test]
    fn a_fault_is_said_with_its_cause_in_the_details_and_the_log() {
        let (profile, slot) = ("x264enc".to_owned(), "gop".to_owned());
        let failure = Failure::from(ProfileError::Unfilled { profile, slot });
        let cause = r#"profile "x264enc" needs a value for "gop""#;
        let say = "This is a fault of livebox: its profile cannot be filled in. Please report it.";
        assert_eq!((&*failure.say(), failure.details()), (say, Some(cause.to_owned())));
        assert!(failure.to_string().ends_with(&format!(" ({cause})")), "{failure}");
    }

    #[test]
    fn a_message_that_is_not_recognised_is_shown_as_it_is() {
        let (element, message) = ("rtspsrc".to_owned(), "Could not read".to_owned());
        let failure = Failure::Element { element, message };
        assert_eq!((&*failure.say(), failure.details()), ("rtspsrc: Could not read.", None));
        let device = Failure::Camera("/dev/video0 gives nothing".to_owned());
        assert_eq!(device.say(), "/dev/video0 gives nothing.");
    }

    #[test]
    fn a_question_stays_one() {
        let cause = Cause::NoFile { path: "/a.mp4".into() };
        let failure = Failure::Known { cause, message: String::new() };
        assert_eq!(failure.say(), "There is no file /a.mp4. Is the path right?");
    }
}
