//! The ways out of livebox, and what a stream is like when a client comes to it.

use std::path::Path;

use crate::common::livebox::{Launch, Livebox, livebox};

/// What protects the stream in [`Case::Password`].
pub(crate) const USER: &str = "viewer";
pub(crate) const PASSWORD: &str = "let-me-see";

const ENCODED_FEED: &str = "mode: continuous, size: 320x192, fps: 30";
const ENCODED: &str = "  camera: {feed: film, encoder: x264enc, bitrate: 800k}\n";
const PASSED: &str = "  camera: {feed: film}\n";
const BESIDE: &str = "  beside: {feed: film}\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Mp4,
    Hls,
    Ts,
    H264,
    Mjpeg,
    Aac,
    RtspTcp,
    RtspUdp,
}

/// What the stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Encoded, with sound, running before the client comes.
    Running,
    /// Passed through, with sound, on demand: watched before, and at rest when the client comes.
    Resting,
    /// Passed through, with sound, running, behind a password.
    Password,
    /// Encoded, running, without sound.
    Silent,
}

/// A livebox with the stream in that case.
pub(crate) struct Served {
    pub(crate) livebox: Livebox,
    pub(crate) case: Case,
}

impl Way {
    pub(crate) const ALL: [Way; 8] =
        [Way::Mp4, Way::Hls, Way::Ts, Way::H264, Way::Mjpeg, Way::Aac, Way::RtspTcp, Way::RtspUdp];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Way::Mp4 => ".mp4",
            Way::Hls => ".m3u8",
            Way::Ts => ".ts",
            Way::H264 => ".h264",
            Way::Mjpeg => ".mjpeg",
            Way::Aac => ".aac",
            Way::RtspTcp => "rtsp, TCP",
            Way::RtspUdp => "rtsp, UDP",
        }
    }

    /// The name of the transport, for RTSP.
    pub(crate) fn transport(self) -> Option<&'static str> {
        match self {
            Way::RtspTcp => Some("tcp"),
            Way::RtspUdp => Some("udp"),
            Way::Mp4 | Way::Hls | Way::Ts | Way::H264 | Way::Mjpeg | Way::Aac => None,
        }
    }

    pub(crate) fn is_sound(self) -> bool {
        self == Way::Aac
    }
}

impl Case {
    pub(crate) const ALL: [Case; 4] = [Case::Running, Case::Resting, Case::Password, Case::Silent];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Case::Running => "running",
            Case::Resting => "at rest",
            Case::Password => "password",
            Case::Silent => "no sound",
        }
    }

    fn config(self, film: &Path) -> String {
        let file = film.display();
        let (feed, streams) = match self {
            Case::Running => (ENCODED_FEED, ENCODED.to_owned()),
            Case::Silent => (ENCODED_FEED, ENCODED.replace('}', ", audio: none}")),
            Case::Resting => ("mode: on-demand", format!("{PASSED}{BESIDE}")),
            Case::Password => {
                let hash = livebox(&["password"], &format!("{PASSWORD}\n")).stdout;
                let locked = format!(", password: '{}'}}", hash.trim());
                ("mode: continuous", format!("{}{BESIDE}", PASSED.replace('}', &locked)))
            }
        };
        format!("feeds:\n  film: {{file: {file}, {feed}}}\nstreams:\n{streams}")
    }

    pub(crate) fn is_encoded(self) -> bool {
        match self {
            Case::Running | Case::Silent => true,
            Case::Resting | Case::Password => false,
        }
    }

    /// A stream of the same feed that needs no password.
    pub(crate) fn open_stream(self) -> &'static str {
        match self {
            Case::Password => "/beside",
            Case::Running | Case::Resting | Case::Silent => "/camera",
        }
    }
}

impl Served {
    pub(crate) fn start(case: Case, film: &Path, docroot: &Path) -> Self {
        let launch = Launch::with(&case.config(film)).argument("--docroot");
        let livebox = launch.argument(&docroot.display().to_string()).start();
        Self { livebox, case }
    }

    /// Where the stream is found, without the password.
    pub(crate) fn url(&self, way: Way) -> String {
        match way {
            Way::RtspTcp | Way::RtspUdp => self.livebox.rtsp_url("/camera"),
            Way::Mp4 | Way::Hls | Way::Ts | Way::H264 | Way::Mjpeg | Way::Aac => {
                self.livebox.url(&format!("/camera{}", way.title()))
            }
        }
    }

    /// The same with the password in it, where there is one.
    pub(crate) fn whole_url(&self, way: Way) -> String {
        let url = self.url(way);
        match self.case {
            Case::Password => url.replacen("://", &format!("://{USER}:{PASSWORD}@"), 1),
            Case::Running | Case::Resting | Case::Silent => url,
        }
    }
}
