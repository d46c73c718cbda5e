//! Probes elements and encoders.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::packages;
use crate::config::settings::ENCODERS;
use crate::engine::encoder::{Trial, Trials};
use crate::model::failure::Failure;

/// The elements that are not installed, each with its Debian package, if known.
pub(super) fn missing(elements: Vec<String>) -> Vec<(String, Option<String>)> {
    let missing = elements.into_iter().filter(|name| gst::ElementFactory::find(name).is_none());
    let with_package = |name: String| {
        let package = packages::of(&name).map(str::to_owned);
        (name, package)
    };
    missing.map(with_package).collect()
}

/// The candidates in order of preference, each with the result of trying it here.
pub(super) fn try_all_here() -> Trials {
    let try_one = |name: &'static str| match gst::ElementFactory::find(name) {
        None => Trial::NotInstalled { package: packages::of(name).map(str::to_owned) },
        Some(_) => Trial::from(try_encoder(name)),
    };
    ENCODERS.into_iter().map(|name| (name, try_one(name))).collect()
}

/// Opens an encoder briefly.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn try_encoder(name: &str) -> Result<(), Failure> {
    let failed = |message: String| Failure::Element { element: name.to_owned(), message };
    let element = gst::ElementFactory::make(name).build();
    let element = element.map_err(|error| failed(error.to_string()))?;
    let opened = element.set_state(gst::State::Ready);
    element.set_state(gst::State::Null).ok();
    opened.map(|_| ()).map_err(|_| failed("it cannot open its device".to_owned()))
}
