//! Finding out which encoders work.

use gstreamer as gst;
use gstreamer::prelude::*;
use log::info;
use tokio::sync::OnceCell;

use super::packages;
use crate::engine::encoder::{CANDIDATES, Trial, Trials};
use crate::engine::process;
use crate::model::status::Failure;

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
            let tried = process::try_encoder(name).await;
            tried.map_or_else(|why| Trial::Fails(why.to_string()), |()| Trial::Works)
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
        Some(_) => {
            try_encoder(name).map_or_else(|why| Trial::Fails(why.to_string()), |()| Trial::Works)
        }
    };
    CANDIDATES.into_iter().map(|name| (name, try_one(name))).collect()
}

/// Opens an encoder for a moment.
///
/// # Errors
/// Why it cannot be used.
pub fn try_encoder(name: &str) -> Result<(), Failure> {
    let failed = |why: String| Failure::Build(why);
    let element = gst::ElementFactory::make(name).build();
    let element = element.map_err(|error| failed(error.to_string()))?;
    let opened = element.set_state(gst::State::Ready);
    element.set_state(gst::State::Null).ok();
    opened.map(|_| ()).map_err(|_| failed("it cannot open its device".to_owned()))
}
