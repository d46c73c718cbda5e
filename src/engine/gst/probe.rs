//! Finding out which encoders work, in child processes: drivers crash, and
//! what they load stays resident.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use log::info;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::packages;
use crate::base::program;
use crate::engine::encoder::{CANDIDATES, Trial, Trials};

/// A driver that has not answered after this long does not work.
const PATIENCE: Duration = Duration::from_secs(10);

/// The encoders of this machine, tried once, when the first stream asks.
#[derive(Debug, Default)]
pub struct Encoders(OnceCell<Trials>);

impl Encoders {
    /// The candidates in their order, each with what came of trying it.
    pub async fn trials(&self) -> &Trials {
        self.0.get_or_init(try_all).await
    }
}

async fn try_all() -> Trials {
    let mut trials = Trials::new();
    for name in CANDIDATES {
        let trial = if gst::ElementFactory::find(name).is_none() {
            Trial::NotInstalled { package: packages::of(name) }
        } else {
            in_child(name).await
        };
        trials.push((name, trial));
    }
    let works: Vec<_> =
        trials.iter().filter(|(_, trial)| *trial == Trial::Works).map(|(name, _)| *name).collect();
    info!("encoders that work here: {}", works.join(", "));
    trials
}

/// As [`Encoders::trials`], but in this process.
pub(super) fn try_all_here() -> Trials {
    let try_one = |name: &'static str| match gst::ElementFactory::find(name) {
        None => Trial::NotInstalled { package: packages::of(name) },
        Some(_) => try_encoder(name).map_or_else(Trial::Fails, |()| Trial::Works),
    };
    CANDIDATES.into_iter().map(|name| (name, try_one(name))).collect()
}

async fn in_child(name: &str) -> Trial {
    let mut command = Command::from(program::again());
    command.args(["try-encoder", name]).stderr(Stdio::null());
    match program::output(command, PATIENCE).await {
        Err(error) if error.kind() == ErrorKind::TimedOut => Trial::Fails("it hangs".to_owned()),
        Err(error) => Trial::Fails(error.to_string()),
        Ok(output) if output.status.success() => Trial::Works,
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout);
            let told = told.lines().next().unwrap_or_default();
            let why = if told.is_empty() { output.status.to_string() } else { told.to_owned() };
            Trial::Fails(why)
        }
    }
}

/// Opens an encoder for a moment; what the child process does.
///
/// # Errors
/// Why it cannot be used, in one line.
pub fn try_encoder(name: &str) -> Result<(), String> {
    let element = gst::ElementFactory::make(name).build().map_err(|error| error.to_string())?;
    let opened = element.set_state(gst::State::Ready);
    element.set_state(gst::State::Null).ok();
    match opened {
        Ok(_) => Ok(()),
        Err(_) => Err("it cannot open its device".to_owned()),
    }
}
