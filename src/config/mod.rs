//! The configuration: a YAML file, the environment and flags, checked at once.
//!
//! Every problem is reported together, each with its key, its line and what
//! would be right. Nothing is started, opened or probed here: whether a camera
//! answers is the engine's business.

mod check;
pub mod diff;
mod environment;
mod keys;
mod layers;
mod nearest;
mod problem;
pub mod rollback;
mod section;
pub mod settings;
#[cfg(test)]
mod tests;
mod urls;
mod yaml;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use problem::Problem;
pub use settings::Settings;

/// Where the file is looked for when nobody names one.
pub const DEFAULT_PATH: &str = "/etc/livebox/livebox.yaml";

/// What the service runs on without any file.
const EMBEDDED: &str = include_str!("embedded.yaml");
const EMBEDDED_ORIGIN: &str = "the built-in default";

/// Where the text of the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file that was named, and must exist.
    File(PathBuf),
    /// [`DEFAULT_PATH`] if it exists, otherwise the built-in default.
    Default,
}

/// What the command line says. It wins over the environment, which wins over
/// the file. The texts are checked as those of the file are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub bind: Option<String>,
    pub port: Option<String>,
    pub docroot: Option<PathBuf>,
    pub mdns: Option<String>,
}

/// A configuration that may be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// The path of the file, or `the built-in default`.
    pub origin: String,
}

/// Why there is no configuration to run.
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

/// All problems, one a line below a heading.
fn list(origin: &str, problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    std::iter::once(format!("{count} in the configuration ({origin}):")).chain(lines).collect()
}

/// Reads, layers and checks the configuration.
///
/// `environment` is the whole environment; only variables that begin with
/// `LIVEBOX__` count.
pub fn load(
    place: &Place,
    overrides: &Overrides,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, LoadError> {
    let (text, origin) = text_of(place, Path::new(DEFAULT_PATH))?;
    let variables: Vec<_> = environment.collect();
    let settled = text
        .ok_or_else(|| vec![yaml::too_long()])
        .and_then(|text| settle(&text, &variables, overrides));
    match settled {
        Ok(settings) => Ok(Loaded { settings, origin }),
        Err(problems) => Err(LoadError::Problems { origin, problems }),
    }
}

/// Checks a text alone, without environment and flags.
pub fn parse_text(text: &str) -> Result<Settings, Vec<Problem>> {
    settle(text, &[], &Overrides::default())
}

fn settle(
    text: &str,
    variables: &[(String, String)],
    overrides: &Overrides,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    match yaml::parse(text, &mut problems) {
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

/// The text, unless it is too long to be read, and what it is called.
fn text_of(place: &Place, default: &Path) -> Result<(Option<String>, String), LoadError> {
    let (path, may_be_absent) = match place {
        Place::File(path) => (path.as_path(), false),
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

/// Reads a file of UTF-8; nothing if it is too long.
fn read(path: &Path) -> io::Result<Option<String>> {
    let limit = yaml::LONGEST as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == limit {
        return Ok(None);
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}
