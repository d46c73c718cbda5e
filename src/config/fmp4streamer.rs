//! Converts a configuration of fmp4streamer.
//!
//! It has `[server]` and a section for each camera, named by its device. Settings
//! without an equivalent give warnings, so that an existing file works. All
//! others become a tree of keys with their lines, which is checked like YAML.

use super::ini::{self, Section, Setting};
use super::keys::controls;
use super::nearest::nearest;
use super::problem::{Problem, either, quote};
use super::section::flag;
use super::yaml::{Entry, Node};
use crate::base::units::{Bitrate, FrameRate};

/// The defaults of fmp4streamer.
const DEVICE: &str = "/dev/video0";
const WIDTH: &str = "800";
const HEIGHT: &str = "600";
const FPS: &str = "30";

/// The keys of the server.
const SERVER: [&str; 5] = ["listen", "port", "keyfile", "certfile", "priority"];

/// Settings that livebox chooses by itself.
const AUTOMATIC: [&str; 8] = [
    "capture_format",
    "capture_memory",
    "decoder",
    "decoder_input_format",
    "decoder_memory",
    "encoder",
    "encoder_input_format",
    "encoder_memory",
];

/// Keys of a camera's section that are not controls.
const CAMERA_KEYS: [&str; 7] =
    ["width", "height", "fps", "rotation", "auto_sleep", "hflip", "vflip"];

/// Keys of an encoder's section that apply to the stream of its camera.
const ENCODER_KEYS: [&str; 3] = ["h264_profile", "h264_i_frame_period", "video_bitrate"];

/// The bounds of the distance between key frames, in seconds.
const MIN_GOP: f64 = 0.1;
const MAX_GOP: f64 = 10.0;

/// Converts the file to a tree of livebox's keys.
///
/// # Errors
/// The text exceeds the limits of a file.
pub(super) fn tree(
    text: &str,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Result<Node, Problem> {
    let sections = ini::parse(text, problems)?;
    let helpers = sections.iter().flat_map(|section| {
        ["encoder", "decoder"].into_iter().filter_map(|key| Some(get(section, key)?.value.as_str()))
    });
    let helpers: Vec<_> = helpers.collect();
    let (mut cameras, mut root) = (Vec::new(), Vec::new());
    for section in &sections {
        let name = section.name.as_str();
        if name == "server" {
            root.push(mapping("server", section.line, server(section, warnings)));
        } else if helpers.contains(&name) {
            warn_of_helper(section, warnings);
        } else if name.starts_with("/dev/") {
            cameras.push(section);
        } else {
            let message = "is ignored: it is neither [server] nor a device such as [/dev/video0]";
            warnings.push(Problem::on_line(section.line, ini::place(name, ""), message));
        }
    }
    let default = Section { name: DEVICE.to_owned(), line: 1, settings: Vec::new() };
    if cameras.is_empty() {
        let message = format!("no section names a camera; {DEVICE} is used");
        warnings.push(Problem { key: String::new(), origin: None, message });
        cameras.push(&default);
    }
    let (mut feeds, mut streams) = (Vec::new(), Vec::new());
    for (index, section) in cameras.into_iter().enumerate() {
        let helper = get(section, "encoder").map(|encoder| encoder.value.as_str());
        let helper = sections.iter().find(|other| Some(other.name.as_str()) == helper);
        let camera = Camera { section, helper };
        let name = format!("cam{index}");
        feeds.push(mapping(&name, section.line, camera.feed(warnings)));
        let mut stream = camera.stream(warnings);
        stream.push(entry("url", section.line, format!("/cam/{index}/stream")));
        streams.push(mapping(&name, section.line, stream));
    }
    warnings.sort_by_key(|warning| warning.line().unwrap_or(0));
    root.push(mapping("feeds", 1, feeds));
    root.push(mapping("streams", 1, streams));
    Ok(Node::Mapping(root))
}

fn server(section: &Section, warnings: &mut Vec<Problem>) -> Vec<Entry> {
    let (mut server, mut tls) = (Vec::new(), Vec::new());
    for setting in &section.settings {
        let Setting { key, line, value } = setting;
        match key.as_str() {
            "listen" | "port" | "keyfile" | "certfile" | "priority" if value.is_empty() => {}
            "listen" => server.push(entry("bind", *line, value)),
            "port" => server.push(entry("port", *line, value)),
            "keyfile" => tls.push(entry("key", *line, value)),
            "certfile" => tls.push(entry("certificate", *line, value)),
            "priority" => match value.parse::<i32>() {
                Ok(nice) if (-20..=19).contains(&nice) => {
                    server.push(entry("priority", *line, value));
                }
                _ => warn(section, setting, "is no number from -20 to 19", warnings),
            },
            _ => {
                let advice = match nearest(key, &SERVER) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("there are {}", SERVER.join(", ")),
                };
                warn(section, setting, format!("no such key; {advice}"), warnings);
            }
        }
    }
    server.push(mapping("tls", section.line, tls));
    server
}

/// The section of a camera, and that of its encoder.
struct Camera<'a> {
    section: &'a Section,
    helper: Option<&'a Section>,
}

impl Camera<'_> {
    fn feed(&self, warnings: &mut Vec<Problem>) -> Vec<Entry> {
        let section = self.section;
        let mut feed = vec![entry("v4l2", section.line, &section.name)];
        let (width, height) = (get(section, "width"), get(section, "height"));
        let line = width.or(height).map_or(section.line, |setting| setting.line);
        let side = |setting: Option<&Setting>, usual: &str| {
            setting.map_or(usual, |setting| setting.value.as_str()).to_owned()
        };
        feed.push(entry("size", line, format!("{}x{}", side(width, WIDTH), side(height, HEIGHT))));
        let fps = get(section, "fps");
        feed.push(entry("fps", fps.map_or(section.line, |fps| fps.line), side(fps, FPS)));
        if let Some((line, sleeps)) = self.flag("auto_sleep", warnings) {
            feed.push(entry("mode", line, if sleeps { "on-demand" } else { "continuous" }));
        }
        for key in ["hflip", "vflip"] {
            if let Some((line, flips)) = self.flag(key, warnings) {
                feed.push(entry(key, line, flips.to_string()));
            }
        }
        if let Some(rotation) = get(section, "rotation") {
            match ["0", "90", "180", "270"].contains(&rotation.value.as_str()) {
                true => feed.push(entry("rotation", rotation.line, &rotation.value)),
                false => warn(section, rotation, "is none of 0, 90, 180 and 270", warnings),
            }
        }
        let controls = self.controls(warnings);
        feed.push(mapping("controls", section.line, controls));
        feed
    }

    /// The controls; the camera checks them when it is opened.
    fn controls(&self, warnings: &mut Vec<Problem>) -> Vec<Entry> {
        let section = self.section;
        let mut controls: Vec<Entry> = Vec::new();
        for setting in &section.settings {
            let Setting { key, line, value } = setting;
            if CAMERA_KEYS.contains(&key.as_str()) {
                continue;
            }
            if AUTOMATIC.contains(&key.as_str()) {
                // No warning for the values that livebox prefers as well.
                let is_default = value.is_empty() || (key == "capture_format" && value == "H264");
                if !is_default {
                    warn(section, setting, "has no effect: livebox chooses that itself", warnings);
                }
                continue;
            }
            if key.starts_with("uvcx_") {
                let message = "has no effect: livebox sets no controls of extension units";
                warn(section, setting, message, warnings);
                continue;
            }
            match (controls::name(key), controls::value(value)) {
                (Ok(name), Ok(value)) if controls.iter().all(|other| other.key != name) => {
                    controls.push(entry(&name, *line, value));
                }
                (Ok(_), Ok(_)) => warn(section, setting, "is given a second time", warnings),
                (Err(why), _) | (_, Err(why)) => warn(section, setting, why, warnings),
            }
        }
        controls
    }

    fn stream(&self, warnings: &mut Vec<Problem>) -> Vec<Entry> {
        let mut stream = Vec::new();
        if let Some((section, setting)) = self.encoder_key("h264_profile") {
            let word = setting.value.to_ascii_lowercase();
            match word.strip_prefix("constrained ").unwrap_or(&word) {
                word @ ("baseline" | "main" | "high") => {
                    stream.push(entry("profile", setting.line, word));
                }
                _ => {
                    let message = "is no profile for a stream; it has Baseline, Main or High";
                    warn(section, setting, message, warnings);
                }
            }
        }
        if let Some((section, setting)) = self.encoder_key("h264_i_frame_period") {
            match setting.value.parse::<u32>() {
                Ok(frames) if frames > 0 => {
                    let wanted = f64::from(frames) / f64::from(self.fps());
                    let gop = wanted.clamp(MIN_GOP, MAX_GOP);
                    if gop != wanted {
                        let message = format!("a key frame comes every {gop} s");
                        warn(section, setting, message, warnings);
                    }
                    stream.push(entry("gop", setting.line, gop.to_string()));
                }
                _ => warn(section, setting, "is no number of frames", warnings),
            }
        }
        if let Some((section, setting)) = self.encoder_key("video_bitrate") {
            match setting.value.parse::<Bitrate>() {
                Ok(_) => stream.push(entry("bitrate", setting.line, &setting.value)),
                Err(bad) => warn(section, setting, format!("is not {}", bad.wanted), warnings),
            }
        }
        stream
    }

    /// A key of the camera's section, or of its encoder's section.
    fn encoder_key(&self, key: &str) -> Option<(&Section, &Setting)> {
        let sections = [Some(self.section), self.helper].into_iter().flatten();
        sections.filter_map(|section| Some((section, get(section, key)?))).next()
    }

    fn fps(&self) -> u32 {
        let given = get(self.section, "fps").map_or(FPS, |fps| fps.value.as_str());
        given.parse::<FrameRate>().map_or(30, |fps| fps.fps())
    }

    fn flag(&self, key: &str, warnings: &mut Vec<Problem>) -> Option<(usize, bool)> {
        let setting = get(self.section, key)?;
        let read = flag(&setting.value);
        let read = read.map_err(|_| warn(self.section, setting, "is neither yes nor no", warnings));
        Some((setting.line, read.ok()?))
    }
}

/// Warns about keys of an encoder's or decoder's section that have no effect.
fn warn_of_helper(section: &Section, warnings: &mut Vec<Problem>) {
    for setting in section.settings.iter().filter(|one| !ENCODER_KEYS.contains(&one.key.as_str())) {
        let message = format!(
            "has no effect: livebox chooses encoders itself; only {} of this section apply",
            either(&ENCODER_KEYS).replace(" or ", " and ")
        );
        warn(section, setting, message, warnings);
    }
}

/// A setting that is given and not empty.
fn get<'a>(section: &'a Section, key: &str) -> Option<&'a Setting> {
    section.settings.iter().find(|setting| setting.key == key && !setting.value.is_empty())
}

fn warn(
    section: &Section,
    setting: &Setting,
    message: impl Into<String>,
    warnings: &mut Vec<Problem>,
) {
    let key = ini::place(&section.name, &setting.key);
    let message = match setting.value.as_str() {
        "" => "has no value".to_owned(),
        value => format!("{}: {}", quote(value), message.into()),
    };
    warnings.push(Problem::on_line(setting.line, key, message));
}

fn entry(key: &str, line: usize, value: impl Into<String>) -> Entry {
    Entry { key: key.to_owned(), line, value: Node::Text(value.into()) }
}

fn mapping(key: &str, line: usize, entries: Vec<Entry>) -> Entry {
    Entry { key: key.to_owned(), line, value: Node::Mapping(entries) }
}
