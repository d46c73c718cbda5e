//! The configuration: a YAML file, the environment and flags, checked at once.
//!
//! All problems are reported together, each with its key, its line and the valid
//! values. Nothing is started or probed: the engine finds out whether a camera
//! works.

mod check;
pub mod diff;
mod environment;
mod fmp4streamer;
mod ini;
mod keys;
mod layers;
mod nearest;
pub mod print;
mod problem;
pub mod rollback;
mod section;
pub mod settings;
mod templates;
#[cfg(test)]
mod tests;
mod tree;
mod urls;
mod yaml;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use problem::Problem;
pub use settings::Settings;

/// The file to load if none is named.
pub const DEFAULT_PATH: &str = "/etc/livebox/livebox.yaml";

/// The configuration without any file.
const EMBEDDED: &str = include_str!("embedded.yaml");
const EMBEDDED_ORIGIN: &str = "the built-in default";

/// The source of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A named file, which must exist: YAML, or the format of fmp4streamer.
    File(PathBuf),
    /// A configuration of fmp4streamer. As there, the file may be missing.
    Fmp4streamer(PathBuf),
    /// [`DEFAULT_PATH`] if it exists, otherwise the built-in default.
    Default,
}

/// Values of the command line. They override the environment, which overrides
/// the file, and are checked in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub bind: Option<String>,
    pub port: Option<String>,
    pub docroot: Option<PathBuf>,
    pub mdns: Option<String>,
    pub log_level: Option<String>,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// The path of the file, or `the built-in default`.
    pub origin: String,
    /// Parts of the file that have no effect.
    pub warnings: Vec<Problem>,
}

/// Why there is no valid configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the configuration {path:?}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}", list(origin, problems))]
    Problems { origin: String, problems: Vec<Problem> },
}

/// All problems, one on each line below a heading.
fn list(origin: &str, problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    std::iter::once(format!("{count} in the configuration ({origin}):")).chain(lines).collect()
}

/// Reads, merges and checks the configuration.
///
/// `environment` is the whole environment; only variables that begin with
/// `LIVEBOX__` count.
///
/// # Errors
/// The file cannot be read, or the configuration has problems; lists them all.
pub fn load(
    place: &Place,
    overrides: &Overrides,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, LoadError> {
    let mut warnings = Vec::new();
    let (text, origin) = match place {
        Place::Fmp4streamer(path) => text_of_fmp4streamer(path, &mut warnings)?,
        Place::File(_) | Place::Default => text_of(place, Path::new(DEFAULT_PATH))?,
    };
    let variables: Vec<_> = environment.collect();
    let format = |text: &str| match place {
        Place::Fmp4streamer(_) => Format::Ini,
        Place::File(_) | Place::Default => Format::of(text),
    };
    let parsed = text
        .ok_or_else(|| vec![yaml::too_long()])
        .and_then(|text| parse_as(format(&text), &text, (&variables, overrides), &mut warnings));
    match parsed {
        Ok(settings) => Ok(Loaded { settings, origin, warnings }),
        Err(problems) => Err(LoadError::Problems { origin, problems }),
    }
}

/// Parses and checks a text, without environment and flags.
///
/// # Errors
/// All problems, in the order of their lines.
pub fn parse_text(text: &str) -> Result<Settings, Vec<Problem>> {
    parse_layers(text, &[], &Overrides::default())
}

fn parse_layers(
    text: &str,
    variables: &[(String, String)],
    overrides: &Overrides,
) -> Result<Settings, Vec<Problem>> {
    parse_as(Format::of(text), text, (variables, overrides), &mut Vec::new())
}

/// The format of the text.
#[derive(Clone, Copy, Debug)]
enum Format {
    Yaml,
    /// The INI format of fmp4streamer.
    Ini,
}

impl Format {
    fn of(text: &str) -> Self {
        if ini::is_ini(text) { Self::Ini } else { Self::Yaml }
    }
}

fn parse_as(
    format: Format,
    text: &str,
    (variables, overrides): (&[(String, String)], &Overrides),
    warnings: &mut Vec<Problem>,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let file = match format {
        Format::Yaml => yaml::parse(text, &mut problems),
        Format::Ini => fmp4streamer::tree(text, &mut problems, warnings),
    };
    match file.and_then(|file| templates::resolve(file, &mut problems)) {
        Ok(file) => {
            let layers = layers::merge(file, variables, overrides, &mut problems);
            check::check(&layers, problems)
        }
        Err(fatal) => {
            problems.push(fatal);
            Err(problems)
        }
    }
}

/// As [`text_of`]; the file may be missing, as in fmp4streamer.
fn text_of_fmp4streamer(
    path: &Path,
    warnings: &mut Vec<Problem>,
) -> Result<(Option<String>, String), LoadError> {
    match read(path) {
        Ok(text) => Ok((text, path.display().to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("cannot read {path:?}; the defaults of fmp4streamer apply");
            warnings.push(Problem { key: String::new(), origin: None, message });
            Ok((Some(String::new()), "the default of fmp4streamer".to_owned()))
        }
        Err(source) => Err(LoadError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The text, or `None` if it is too long, and its origin.
fn text_of(place: &Place, default: &Path) -> Result<(Option<String>, String), LoadError> {
    let (path, may_be_absent) = match place {
        Place::File(path) | Place::Fmp4streamer(path) => (path.as_path(), false),
        Place::Default => (default, true),
    };
    match read(path) {
        Ok(text) => Ok((text, path.display().to_string())),
        Err(error) if may_be_absent && error.kind() == ErrorKind::NotFound => {
            Ok((Some(EMBEDDED.to_owned()), EMBEDDED_ORIGIN.to_owned()))
        }
        Err(source) => Err(LoadError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Reads a UTF-8 file; `None` if it is too long.
fn read(path: &Path) -> io::Result<Option<String>> {
    let limit = yaml::MAX_FILE_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == limit {
        return Ok(None);
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}
