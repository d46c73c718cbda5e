//! `livebox stream`: sends one camera to one receiver, configured by flags alone.

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

/// The environment variable with the URL.
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
    /// The destination: rtmp://HOST/APP/KEY or rtmps://…; - reads it from LIVEBOX_URL or, if that
    /// is not set, from standard input, which keeps the key out of process lists
    url: Option<String>,
    /// 240p, 360p, 480p, 720p, 1080p or WIDTHxHEIGHT
    #[arg(long, value_name = "SIZE", default_value = "360p")]
    resolution: Size,
    /// 100k to 50M, like 800k, 800kbps, 1M or 100000 [default: depends on the resolution]
    #[arg(long, value_name = "RATE")]
    bitrate: Option<Bitrate>,
    /// Frames per second, 1 to 120
    #[arg(long, alias = "framerate", value_name = "RATE", default_value = "25")]
    fps: FrameRate,
    /// The audio to send; feed is that of the source, or silence if it has none
    #[arg(long, value_enum, ignore_case = true, default_value = "feed")]
    audio: Audio,
    /// Encode for this quality, 10 (best) to 40, instead of the bit rate
    #[arg(long, value_name = "QUALITY", value_parser = clap::value_parser!(u8).range(10..=40))]
    quality: Option<u8>,
    /// test for a test picture, a camera such as /dev/video0, or the absolute path of a media file, played in a loop
    #[arg(long, value_name = "test|DEVICE|FILE", default_value = "test")]
    video: String,
    /// Record to this file as fragmented MP4; the URL is then optional
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Log debug messages
    #[arg(long)]
    verbose: bool,
    /// Print the settings as JSON, with the key masked, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Mirror the picture horizontally
    #[arg(long)]
    hflip: bool,
    /// Mirror the picture vertically
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
    /// Streams until a signal arrives, or the receiver refuses the first attempt.
    pub(super) fn run(&self, environment: &Environment) -> anyhow::Result<()> {
        let settings = self.settings(environment)?;
        if self.dry_run {
            let push = settings.pushes.first().context("nothing would be sent without a URL")?;
            let control = Control::from_settings(&settings, push);
            return say(&serde_json::to_string(&control.shown(&time::iso_stamp()))?);
        }
        let level = if self.verbose { log::LevelFilter::Debug } else { log::LevelFilter::Info };
        log_to_stderr(level);
        log::info!("livebox {}", env!("CARGO_PKG_VERSION"));
        app::stream(&settings, self.output.as_deref())
    }

    /// The settings of the flags, through a configuration text, so that both have
    /// the same checks.
    fn settings(&self, environment: &Environment) -> anyhow::Result<Settings> {
        let url = self.address(environment)?;
        let text = self.text().unwrap_or_else(|why| usage(&why));
        let mut settings = config::parse_text(&text).map_err(|problems| LoadError::Problems {
            origin: "made from the flags".to_owned(),
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
                // The recorded stream has the audio already.
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
                    "invalid value {other:?} for '--video': use test, a camera below /dev/, or the \
                     absolute path of a file"
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

    /// The URL of the argument, the environment or standard input. Errors do not
    /// show it, because it may contain the key.
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
                    "missing URL: use rtmp://HOST/APP/KEY, or - to read it from standard input",
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

/// Ends the program with exit code 2, as for an invalid command line.
fn usage(why: &str) -> ! {
    use clap::CommandFactory as _;
    let mut command = super::Arguments::command();
    command.build();
    let stream = command.find_subcommand_mut("stream").expect("the command is there");
    stream.error(ErrorKind::MissingRequiredArgument, why).exit()
}
