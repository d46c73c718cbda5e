//! The programs that play, each as its users start it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::hosts;
use crate::common::tools::tool;
use crate::film::{BARS, BARS_FILTER};
use crate::player::{Form, Pictured, Piped, Player};
use crate::way::{Case, PASSWORD, Served, USER, Way};

/// What FFmpeg and what is built on it make of the sound of the film.
const SAMPLES: u32 = 48_000;
const GREY_LINES: usize = 4;

/// What to play, and a folder for what is shown.
pub(crate) struct Task<'a> {
    pub(crate) served: &'a Served,
    pub(crate) way: Way,
    pub(crate) folder: &'a Path,
}

impl Task<'_> {
    pub(crate) fn url(&self) -> String {
        self.served.whole_url(self.way)
    }

    fn form(&self, pictures: Form) -> Form {
        if self.way.is_sound() { Form::Samples { per_second: SAMPLES } } else { pictures }
    }
}

/// `ffmpeg`, with options before its input.
pub(crate) fn ffmpeg(task: &Task<'_>, options: &[&str]) -> Box<dyn Player> {
    let form = task.form(Form::Rows { lines: 1 });
    Box::new(Piped::start("ffmpeg", task.folder, form, |shown| {
        let mut command = tool("ffmpeg");
        command.args(["-nostdin", "-v", "error"]).args(options);
        command.args(task.way.transport().iter().flat_map(|name| ["-rtsp_transport", name]));
        command.args(["-i", &task.url()]);
        if task.way.is_sound() {
            command.args(["-map", "0:a", "-ar", &SAMPLES.to_string(), "-ac", "1", "-f", "s16le"]);
        } else {
            command.args(["-map", "0:v", "-vf", BARS_FILTER, "-f", "rawvideo"]);
        }
        command.args(["-flush_packets", "1", "-y"]).arg(shown);
        command
    }))
}

/// `gst-launch-1.0` with an element for each step.
pub(crate) fn gstreamer(task: &Task<'_>) -> Box<dyn Player> {
    let name = "gst-launch-1.0";
    let form = task.form(Form::Rows { lines: GREY_LINES });
    Box::new(Piped::start(name, task.folder, form, |shown| {
        let mut source = vec!["souphttpsrc".to_owned(), "is-live=true".to_owned()];
        if let Some(transport) = task.way.transport() {
            source = vec!["rtspsrc".to_owned(), format!("protocols={transport}")];
        }
        source.push(format!("location={}", task.served.url(task.way)));
        if task.served.case == Case::Password {
            source.extend([format!("user-id={USER}"), format!("user-pw={PASSWORD}")]);
        }
        let middle = match task.way {
            Way::Mp4 => "qtdemux ! h264parse ! openh264dec",
            Way::Hls => "hlsdemux ! qtdemux ! h264parse ! openh264dec",
            Way::Ts => "tsdemux ! h264parse ! openh264dec",
            Way::H264 => "h264parse ! openh264dec",
            Way::Mjpeg => "multipartdemux ! jpegdec",
            Way::Aac => "aacparse ! faad",
            Way::RtspTcp | Way::RtspUdp => "rtph264depay ! h264parse ! openh264dec",
        };
        let mut command = tool(name);
        command.arg("-q").args(source).args(["!"]).args(middle.split(' ')).arg("!");
        // The element takes the beginning of media time for the beginning of the playlist.
        let sync = if task.way == Way::Hls { "sync=false" } else { "sync=true" };
        command.args(sink(task.way, shown, sync));
        command
    }))
}

/// GStreamer's `playbin3`, which chooses its elements.
pub(crate) fn playbin(task: &Task<'_>) -> Box<dyn Player> {
    let name = "gst-launch-1.0";
    let form = task.form(Form::Rows { lines: GREY_LINES });
    Box::new(Piped::start(name, task.folder, form, |shown| {
        let mut url = task.url();
        if let Some(transport) = task.way.transport() {
            url = url.replacen("rtsp://", &format!("rtsp{}://", &transport[..1]), 1);
        }
        let sink = sink(task.way, shown, "sync=true").join(" ");
        let mut command = tool(name);
        command.args(["-q", "playbin3"]).arg(format!("uri={url}"));
        if task.way.is_sound() {
            command.arg(format!("audio-sink={sink}")).arg("video-sink=fakesink");
        } else {
            command.arg(format!("video-sink={sink}")).arg("audio-sink=fakesink sync=true");
        }
        command
    }))
}

/// What writes decoded pictures or sound into the pipe: when they are due, if it is in sync.
fn sink(way: Way, shown: &Path, sync: &str) -> Vec<String> {
    let convert = if way.is_sound() {
        format!("audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={SAMPLES},channels=1")
    } else {
        format!(
            "videoconvert ! videoscale ! video/x-raw,format=GRAY8,width={BARS},height={GREY_LINES}"
        )
    };
    let location = format!("location={}", shown.display());
    let file = ["filesink", "buffer-mode=unbuffered", sync, &location].map(str::to_owned);
    let convert = convert.split(' ').map(str::to_owned);
    convert.chain(["!".to_owned()]).chain(file).collect()
}

/// VLC without an interface.
pub(crate) fn vlc(task: &Task<'_>) -> Box<dyn Player> {
    let form = task.form(Form::Yuv4Mpeg);
    Box::new(Piped::start("vlc", task.folder, form, |shown| {
        let mut command = as_nobody(task.folder);
        command.arg(tool("vlc").get_program()).args(["-I", "dummy"]);
        if task.way.is_sound() {
            command.args(["--no-video", "--aout", "afile", "--audiofile-format", "s16"]);
            command.args(["--audiofile-channels", "1", "--no-audiofile-wav"]);
            command.arg("--audiofile-file").arg(shown);
        } else {
            command.args(["--aout", "adummy", "--vout", "yuv", "--yuv-yuv4mpeg2"]);
            command.arg("--yuv-file").arg(shown);
        }
        if task.way == Way::H264 {
            command.args(["--demux", "h264"]);
        }
        command.arg(task.url());
        command
    }))
}

/// VLC refuses to run as root; the process stays the same one.
fn as_nobody(home: &Path) -> Command {
    let mut command = if hosts::is_root() {
        let mut command = tool("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        command
    } else {
        Command::new("/usr/bin/env")
    };
    command.env("HOME", home);
    command
}

/// mpv, whose window is a colour terminal.
pub(crate) fn mpv(task: &Task<'_>) -> Box<dyn Player> {
    let form = task.form(Form::Terminal);
    Box::new(Piped::start("mpv", task.folder, form, |shown| {
        let mut command = tool("sh");
        command.args(["-c", "shown=$1; shift; exec \"$@\" > \"$shown\"", "sh"]).arg(shown);
        command.arg(tool("mpv").get_program()).args(["--no-config", "--really-quiet"]);
        if task.way.is_sound() {
            command.args(["--no-video", "--ao=pcm", "--ao-pcm-waveheader=no"]);
            command.args(["--audio-channels=mono", "--audio-format=s16"]);
            command.arg(format!("--ao-pcm-file={}", shown.display()));
        } else {
            command.args(["--ao=null", "--vo=tct", "--vo-tct-algo=plain", "--no-keepaspect"]);
            command.args([&format!("--vo-tct-width={BARS}"), "--vo-tct-height=8"]);
        }
        if let Some(transport) = task.way.transport() {
            command.arg(format!("--rtsp-transport={transport}"));
        }
        command.arg(task.url());
        command
    }))
}

/// ffplay, whose window and loudspeaker are files.
pub(crate) fn ffplay(task: &Task<'_>) -> Box<dyn Player> {
    let common = |task: &Task<'_>| {
        let mut command = tool("ffplay");
        command.args(["-v", "error", "-autoexit"]);
        command.args(task.way.transport().iter().flat_map(|name| ["-rtsp_transport", name]));
        command.arg(task.url());
        command
    };
    if task.way.is_sound() {
        let form = task.form(Form::Terminal);
        return Box::new(Piped::start("ffplay", task.folder, form, |shown| {
            let mut command = common(task);
            command.arg("-nodisp").env("SDL_AUDIODRIVER", "disk").env("SDL_DISKAUDIOFILE", shown);
            command
        }));
    }
    let mut command = common(task);
    command.env("SDL_VIDEODRIVER", "dummy").env("SDL_VIDEO_DUMMY_SAVE_FRAMES", "1");
    command.env("SDL_AUDIODRIVER", "dummy");
    Box::new(Pictured::start("ffplay", task.folder, &mut command))
}

/// A player of a few lines of Python, in an environment with the packages that it needs.
pub(crate) fn python(task: &Task<'_>, python: &Path, script: &str) -> Box<dyn Player> {
    let form = task.form(Form::Rows { lines: 1 });
    Box::new(Piped::start("python", task.folder, form, |shown| {
        let mut command = Command::new(python);
        command.arg(script_path(script)).arg(task.url()).arg(shown);
        command.arg(task.way.transport().unwrap_or("tcp"));
        command
    }))
}

fn script_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python").join(script)
}
