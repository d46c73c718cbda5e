//! The kinds of feeds that livebox understands, and what each one is like.
//!
//! Everything about a kind that is known without running it stands here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pull::Pull;
use crate::model::ids::FeedName;
use crate::wire::job::Foreign;

/// The source of a feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// A test picture with a running clock.
    TestClock,
    /// A V4L2 capture device: `/dev/video0`, `/dev/v4l/by-id/…`.
    V4l2(PathBuf),
    /// A media file, played in a loop: an absolute path.
    File(PathBuf),
    /// A stream pulled over RTSP.
    Rtsp(Pull),
    /// Audio only.
    SoundOnly,
    /// The pictures of another feed.
    Made(FeedName),
    /// The tracks in the bytes of another feed.
    Unpacked(FeedName),
}

/// What a feed needs on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalNeed<'a> {
    Device(&'a Path),
    File(&'a Path),
}

impl Source {
    /// Its key in the file, and the value without secrets; none for audio only.
    pub fn written(&self) -> Option<(&'static str, String)> {
        match self {
            Source::TestClock => Some(("test", "clock".to_owned())),
            Source::V4l2(device) => Some(("v4l2", device.display().to_string())),
            Source::File(path) => Some(("file", path.display().to_string())),
            Source::Rtsp(pull) => Some(("rtsp", pull.shown())),
            Source::SoundOnly => None,
            Source::Made(from) | Source::Unpacked(from) => Some(("feed", from.to_string())),
        }
    }

    /// The device or file that it reads, if any.
    pub fn local_need(&self) -> Option<LocalNeed<'_>> {
        match self {
            Source::V4l2(device) => Some(LocalNeed::Device(device)),
            Source::File(path) => Some(LocalNeed::File(path)),
            Source::TestClock
            | Source::Rtsp(_)
            | Source::SoundOnly
            | Source::Made(_)
            | Source::Unpacked(_) => None,
        }
    }

    /// The source of the foreign bytes that its host parses; `None` if it parses none.
    pub fn foreign(&self) -> Option<Foreign> {
        match self {
            Source::Rtsp(pull) => Some(Foreign::Network { port: pull.port() }),
            Source::File(path) => path.parent().map(Path::to_owned).map(Foreign::Folder),
            Source::Unpacked(_) => Some(Foreign::Service),
            Source::TestClock | Source::V4l2(_) | Source::SoundOnly | Source::Made(_) => None,
        }
    }

    /// What gives the H.264 of a stream that is passed through, in a word.
    pub fn origin(&self) -> &'static str {
        match self {
            Source::File(_) => "file",
            Source::Unpacked(_) => "command",
            Source::TestClock
            | Source::V4l2(_)
            | Source::Rtsp(_)
            | Source::SoundOnly
            | Source::Made(_) => "camera",
        }
    }

    /// Whether its tracks are unknown before it runs.
    pub fn has_unknown_tracks(&self) -> bool {
        match self {
            Source::Rtsp(_) | Source::SoundOnly | Source::Made(_) | Source::Unpacked(_) => true,
            Source::TestClock | Source::V4l2(_) | Source::File(_) => false,
        }
    }

    /// Whether it may have audio of its own.
    pub fn has_own_sound(&self) -> bool {
        match self {
            Source::File(_) | Source::Rtsp(_) | Source::Made(_) => true,
            Source::TestClock | Source::V4l2(_) | Source::SoundOnly | Source::Unpacked(_) => false,
        }
    }

    /// The track feed that it is made from, if any.
    pub fn made_from(&self) -> Option<&FeedName> {
        if let Source::Made(from) = self { Some(from) } else { None }
    }

    /// The byte feed that it is unpacked from, if any.
    pub fn unpacked_from(&self) -> Option<&FeedName> {
        if let Source::Unpacked(from) = self { Some(from) } else { None }
    }
}
