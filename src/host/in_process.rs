//! GStreamer for commands of the command line, in their own process.

use gstreamer as gst;

use super::{forms, probe};
use crate::base::units::Size;
use crate::config::settings::EncoderSetting;
use crate::engine::encoder::choose_for;
use crate::engine::plan::{Capture, Plan};
use crate::model::failure::{Failure, NoEncoder};
use crate::model::fault::Fault;
use crate::model::given::Pictures;

/// GStreamer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("GStreamer does not start")]
pub struct NoGStreamer(#[from] gst::glib::Error);

/// Starts GStreamer; call it once, before anything else here.
///
/// # Errors
/// The libraries are broken or do not fit each other.
pub fn init() -> Result<(), NoGStreamer> {
    Ok(gst::init()?)
}

/// The best working encoder for pictures of this size. It is tried in this process: only
/// for commands of the command line.
///
/// # Errors
/// None works; the error gives each reason.
pub fn find_encoder(size: Size) -> Result<String, NoEncoder> {
    choose_for(size, &EncoderSetting::Auto, &probe::try_all_here()).map(|encoder| encoder.element)
}

/// The form in which a feed with one stream is captured; raw video for a device that
/// cannot be probed.
///
/// # Errors
/// A file that cannot be played.
pub fn find_capture(plan: &Plan) -> Result<Capture, Failure> {
    match on_a_runtime(forms::probe_feed(plan)) {
        Err(failure @ Failure::File(_)) => Err(failure),
        found => Ok(found.unwrap_or(Capture::plain(plan.feed.fps))),
    }
}

/// The form in which a shared feed is captured, if it can be probed.
pub fn find_shared(plan: &Plan) -> Option<(Capture, Option<Pictures>)> {
    on_a_runtime(forms::probe_shared(plan)).ok()
}

fn on_a_runtime<T>(found: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Fault::runtime)?.block_on(found)
}
