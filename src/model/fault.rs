//! Faults of livebox itself, or of the installed GStreamer. No setting corrects them.

use std::borrow::Cow;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Why a pipeline cannot be built or run although its configuration is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    #[error("its profile cannot be filled in")]
    Profile(#[from] ProfileError),
    #[error("its launch line is not understood")]
    Line(#[source] Message),
    #[error("its pipeline has no element {name:?}")]
    NoElement { name: String },
    #[error("its element {name:?} is no {wanted}")]
    WrongElement { name: String, wanted: Cow<'static, str> },
    #[error("its elements cannot be linked")]
    Link(#[source] Message),
    #[error("its caps are not understood")]
    Caps(#[source] Message),
    #[error("its pipeline does not start and gives no reason")]
    NoReason,
    #[error("its {element} gave no data")]
    NoData { element: Cow<'static, str> },
    /// A run has the job of another kind of pipeline.
    #[error("its job is that of another pipeline")]
    WrongJob,
    #[error("its job cannot be sent to its process")]
    UnsentJob(#[source] Message),
    /// No stream has a plan for the feed.
    #[error("its feed has no plan")]
    NoPlan,
    #[error("its stream gave an empty chunk")]
    EmptyChunk,
    #[error("a task panicked")]
    Panic(#[source] Message),
    #[error("a runtime cannot be started")]
    Runtime(#[source] Message),
}

/// Why no launch line can be made from a profile. Here, and not beside the parser, because
/// hosts send it to the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no profile {profile:?}; the profiles are {known}")]
    Unknown { profile: String, known: String },
    #[error("profile {profile:?} line {line}: {what}")]
    Form { profile: String, line: usize, what: String },
    #[error("profile {profile:?} has no slot {slot:?}")]
    UnknownSlot { profile: String, slot: String },
    #[error("profile {profile:?} needs a value for {slot:?}")]
    Unfilled { profile: String, slot: String },
    #[error("profile {profile:?} cannot take {value:?} for {slot:?}")]
    WrongType { profile: String, slot: String, value: String },
}

/// The message of an error of another crate, which cannot cross the socket of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Message(String);

impl Message {
    pub fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl Fault {
    pub fn line(error: impl Display) -> Self {
        Fault::Line(Message::of(error))
    }

    pub fn link(error: impl Display) -> Self {
        Fault::Link(Message::of(error))
    }

    pub fn caps(error: impl Display) -> Self {
        Fault::Caps(Message::of(error))
    }

    pub fn unsent_job(error: impl Display) -> Self {
        Fault::UnsentJob(Message::of(error))
    }

    pub fn panic(error: impl Display) -> Self {
        Fault::Panic(Message::of(error))
    }

    pub fn runtime(error: impl Display) -> Self {
        Fault::Runtime(Message::of(error))
    }

    /// The element `name` does not have the type `wanted`.
    pub fn wrong_element(name: &str, wanted: &'static str) -> Self {
        Fault::WrongElement { name: name.to_owned(), wanted: wanted.into() }
    }
}
