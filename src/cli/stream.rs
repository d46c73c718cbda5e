//! `livebox stream`: one camera to one receiver, from flags alone.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use clap::error::ErrorKind;

use super::{log_to_stderr, say};
use crate::app;
use crate::base::environment::Environment;
use crate::base::time;
use crate::base::units::{Bitrate, FrameRate, Size};
use crate::config::settings::{self, PushAudio, Settings};
use crate::config::{self, LoadError};
use crate::model::push_url::{BadPushUrl, PushUrl};
use crate::service::control::Control;

/// Where the URL is found when it does not stand on the command line.
const VARIABLE: &str = "LIVEBOX_URL";

pub(super) const EXAMPLES: &str = "\
Examples:
  livebox stream rtmp://192.168.1.5/live/front       a test picture to a server of your own
  livebox stream --video /dev/video0 --resolution 720p --fps 30 - < youtube-url
                                                     a camera to YouTube; the key is in no process list
  livebox stream --output front.mp4                  a recording, sent nowhere
  LIVEBOX_URL=rtmp://host/app/key livebox stream     the same by the environment
  livebox stream --bitrate 1M --dry-run rtmp://x/y   what would be sent, as the API's control data

`livebox devices` lists the cameras. Ctrl-C ends the stream properly.";

/// The flags, as they were given.
#[derive(Debug, clap::Args)]
pub(super) struct Stream {
    /// Where to send: rtmp://HOST/APP/KEY or rtmps://…; - reads it from LIVEBOX_URL or, where that
    /// is not set, from standard input, so that the key stands in no process list
    url: Option<String>,
    /// 240p, 360p, 480p, 720p, 1080p or WIDTHxHEIGHT
    #[arg(long, value_name = "SIZE", default_value = "360p")]
    resolution: Size,
    /// 100k to 50M, like 800k, 800kbps, 1M or 100000 [default: what is usual for the resolution]
    #[arg(long, value_name = "RATE")]
    bitrate: Option<Bitrate>,
    /// Pictures per second, 1 to 120
    #[arg(long, alias = "framerate", value_name = "RATE", default_value = "25")]
    fps: FrameRate,
    /// The sound that is sent; feed is the camera's own, or silence where it has none
    #[arg(long, value_enum, ignore_case = true, default_value = "feed")]
    audio: Audio,
    /// Encode for this quality, 10 (best) to 40, instead of the bit rate
    #[arg(long, value_name = "QUALITY", value_parser = clap::value_parser!(u8).range(10..=40))]
    quality: Option<u8>,
    /// test for a test picture, a camera such as /dev/video0, or a film by its whole path, played for ever
    #[arg(long, value_name = "test|DEVICE|FILE", default_value = "test")]
    video: String,
    /// Record what is sent to this file, as fragmented MP4; a URL is not needed then
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell more
    #[arg(long)]
    verbose: bool,
    /// Send nothing; print what would be sent as JSON, with the key masked
    #[arg(long)]
    dry_run: bool,
    /// Mirror the picture: left and right change places
    #[arg(long)]
    hflip: bool,
    /// Turn the picture upside down: top and bottom change places
    #[arg(long)]
    vflip: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Audio {
    Silence,
    #[value(name = "1kHz", alias = "tone")]
    Tone,
    Feed,
}

impl Stream {
    /// Streams until a signal comes, or the receiver refuses at once.
    pub(super) fn run(&self, environment: &Environment) -> anyhow::Result<()> {
        let settings = self.settings(environment)?;
        if self.dry_run {
            let push = settings.pushes.first().context("nothing would be sent without a URL")?;
            let control = Control::of(&settings, push);
            return say(&serde_json::to_string(&control.shown(&time::iso_stamp()))?);
        }
        let level = if self.verbose { log::LevelFilter::Debug } else { log::LevelFilter::Info };
        log_to_stderr(level);
        log::info!("livebox {}", env!("CARGO_PKG_VERSION"));
        app::stream(&settings, self.output.as_deref())
    }

    /// The flags as the configuration that they stand for, so that one place
    /// checks both.
    fn settings(&self, environment: &Environment) -> anyhow::Result<Settings> {
        let url = self.address(environment)?;
        let text = self.text().unwrap_or_else(|why| usage(&why));
        let mut settings = config::parse_text(&text).map_err(|problems| LoadError::Problems {
            origin: "made of the flags".to_owned(),
            problems,
        })?;
        let Some(url) = url else { return Ok(settings) };
        settings.pushes.push(settings::Push {
            name: "stream".parse().expect("a plain word is a name"),
            stream: settings.streams[0].name.clone(),
            url: Some(url),
            backup: None,
            key: None,
            ca: None,
            audio: match self.audio {
                // What is recorded holds the sound already.
                _ if self.output.is_some() => PushAudio::Feed,
                Audio::Silence => PushAudio::Silence,
                Audio::Tone => PushAudio::Tone,
                Audio::Feed => PushAudio::Feed,
            },
            start: true,
        });
        Ok(settings)
    }

    fn text(&self) -> Result<String, String> {
        let source = match self.video.as_str() {
            "test" => "test: clock".to_owned(),
            device if device.starts_with("/dev/") => {
                format!("v4l2: '{}'", device.replace('\'', "''"))
            }
            file if file.starts_with('/') => format!("file: '{}'", file.replace('\'', "''")),
            other => {
                return Err(format!(
                    "invalid value {other:?} for '--video': use test, a camera below /dev/, or a \
                     file by its whole path"
                ));
            }
        };
        let Self { resolution, fps, hflip, vflip, .. } = self;
        let own = self.video.starts_with('/') && !self.video.starts_with("/dev/");
        let audio = match (self.audio, &self.output) {
            (Audio::Feed, _) | (_, None) if own => "own",
            (_, None) => "none",
            (Audio::Silence | Audio::Feed, Some(_)) => "silence",
            (Audio::Tone, Some(_)) => "tone",
        };
        let bitrate = self.bitrate.unwrap_or(Bitrate::default_for(*resolution));
        let quality = self.quality.map_or_else(|| "null".to_owned(), |q| q.to_string());
        Ok(format!(
            "feeds:\n  camera: {{{source}, size: {resolution}, fps: {fps}, audio: {audio}, \
             hflip: {hflip}, vflip: {vflip}}}\n\
             streams:\n  camera: {{bitrate: {bitrate}, gop: 2s, profile: main, quality: {quality}}}\n"
        ))
    }

    /// The URL, wherever it stands. It is never repeated: it may hold the key.
    fn address(&self, environment: &Environment) -> anyhow::Result<Option<PushUrl>> {
        let text = environment.get(VARIABLE).filter(|text| !text.is_empty());
        let in_environment = || text.map(str::to_owned);
        let text = match self.url.as_deref() {
            Some("-") => match in_environment() {
                Some(text) => text,
                None => line_of_input()?,
            },
            Some(text) => text.to_owned(),
            None => match in_environment() {
                Some(text) => text,
                None if self.output.is_some() => return Ok(None),
                None => usage(
                    "missing URL: where to send, as rtmp://HOST/APP/KEY, or - to read it from standard input",
                ),
            },
        };
        let url = text.trim().parse();
        Ok(Some(url.unwrap_or_else(|why: BadPushUrl| {
            usage(&format!("invalid value for 'url': {why}; use rtmp://HOST/APP/KEY"))
        })))
    }
}

fn line_of_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the URL")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Ends the program as a wrong command line does: with 2.
fn usage(why: &str) -> ! {
    use clap::CommandFactory as _;
    let mut command = super::Arguments::command();
    command.build();
    let stream = command.find_subcommand_mut("stream").expect("the command is there");
    stream.error(ErrorKind::MissingRequiredArgument, why).exit()
}
