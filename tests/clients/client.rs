//! The clients, and which ways out each of them can take.

use crate::player::Player;
use crate::programs::{self, Task};
use crate::way::{Case, Way};
use crate::{browser, install};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Ffmpeg,
    FfmpegNoBuffer,
    GStreamer,
    Playbin,
    Vlc,
    Mpv,
    Ffplay,
    OpenCv,
    PyAv,
    Chromium,
    HlsJs,
    Shaka,
}

/// What starts a client.
pub(crate) type Start<'a> = Box<dyn FnOnce() -> Box<dyn Player> + 'a>;

impl Client {
    pub(crate) const ALL: [Client; 12] = [
        Client::Ffmpeg,
        Client::FfmpegNoBuffer,
        Client::GStreamer,
        Client::Playbin,
        Client::Vlc,
        Client::Mpv,
        Client::Ffplay,
        Client::OpenCv,
        Client::PyAv,
        Client::Chromium,
        Client::HlsJs,
        Client::Shaka,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Client::Ffmpeg => "ffmpeg",
            Client::FfmpegNoBuffer => "ffmpeg -fflags nobuffer",
            Client::GStreamer => "GStreamer, element by element",
            Client::Playbin => "GStreamer, playbin3",
            Client::Vlc => "VLC",
            Client::Mpv => "mpv",
            Client::Ffplay => "ffplay",
            Client::OpenCv => "OpenCV",
            Client::PyAv => "PyAV",
            Client::Chromium => "Chromium's own tags",
            Client::HlsJs => "hls.js in Chromium",
            Client::Shaka => "Shaka in Chromium",
        }
    }

    /// The way that it is used for most.
    pub(crate) fn usual(self) -> Way {
        match self {
            Client::Ffmpeg | Client::PyAv | Client::Ffplay | Client::Chromium => Way::Mp4,
            Client::FfmpegNoBuffer | Client::GStreamer | Client::OpenCv => Way::RtspTcp,
            Client::Vlc => Way::Ts,
            Client::Playbin | Client::Mpv | Client::HlsJs | Client::Shaka => Way::Hls,
        }
    }

    /// Why it cannot show such a stream on this way, by a limit of its own.
    pub(crate) fn limit(self, way: Way, case: Case) -> Option<&'static str> {
        match (self, way, case) {
            (Client::Vlc, Way::RtspTcp | Way::RtspUdp, _) => {
                Some("Debian builds VLC without live555, which is its RTSP")
            }
            (Client::Vlc, Way::Hls, Case::Password) => {
                Some("it sends the password of an address with the first request only")
            }
            (Client::OpenCv, Way::Aac, _) => Some("it reads pictures only"),
            (Client::Chromium, Way::Ts, _) => Some("it has no demuxer for MPEG-TS"),
            (Client::Chromium, Way::H264, _) => Some("it has no demuxer for plain H.264"),
            (Client::Chromium, Way::RtspTcp | Way::RtspUdp, _) => Some("browsers speak no RTSP"),
            (Client::HlsJs | Client::Shaka, Way::Hls, _) => None,
            (Client::HlsJs | Client::Shaka, _, _) => Some("it plays playlists only"),
            _ => None,
        }
    }

    /// Whether the client can show this way out of any stream.
    pub(crate) fn knows(self, way: Way) -> bool {
        Case::ALL.into_iter().any(|case| self.limit(way, case).is_none())
    }

    /// Makes everything ready for the client; what is returned starts it.
    pub(crate) fn prepare<'a>(self, task: &'a Task<'a>) -> Start<'a> {
        match self {
            Client::Ffmpeg => Box::new(|| programs::ffmpeg(task, &[])),
            Client::FfmpegNoBuffer => Box::new(|| programs::ffmpeg(task, &["-fflags", "nobuffer"])),
            Client::GStreamer => Box::new(|| programs::gstreamer(task)),
            Client::Playbin => Box::new(|| programs::playbin(task)),
            Client::Vlc => Box::new(|| programs::vlc(task)),
            Client::Mpv => Box::new(|| programs::mpv(task)),
            Client::Ffplay => Box::new(|| programs::ffplay(task)),
            Client::OpenCv => python(task, "opencv.py"),
            Client::PyAv => python(task, "pyav.py"),
            Client::HlsJs => Box::new(browser::open(task, "hlsjs")),
            Client::Shaka => Box::new(browser::open(task, "shaka")),
            Client::Chromium if task.way == Way::Mjpeg => Box::new(browser::open(task, "image")),
            Client::Chromium if task.way.is_sound() => Box::new(browser::open(task, "sound")),
            Client::Chromium => Box::new(browser::open(task, "tag")),
        }
    }
}

fn python<'a>(task: &'a Task<'a>, script: &'static str) -> Start<'a> {
    let interpreter = install::python();
    Box::new(move || programs::python(task, interpreter, script))
}

/// Whether the stream of a case has this way at all.
pub(crate) fn exists(way: Way, case: Case) -> bool {
    !(way.is_sound() && case == Case::Silent)
}
