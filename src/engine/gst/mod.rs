//! The only folder that names GStreamer.
//!
//! Pipelines are built here from launch lines, their frames cross into the hub
//! here, and what they say on their bus becomes a [`Failure`]. Nothing here
//! decides whether something runs or is tried again.

mod capture;
mod derive;
mod devices;
mod encoding;
mod extract;
mod feed;
mod feeder;
mod film;
mod incoming;
mod intake;
mod metadata;
mod mjpeg;
mod outlet;
mod packages;
mod picture;
mod probe;
mod pull;
mod push;
mod remux;
mod running;
#[cfg(test)]
mod standin;
mod take;
mod tap;
mod trust;
mod unpack;
mod v4l2;

use gstreamer as gst;

pub use capture::{CapturePipeline, Plans};
pub use derive::{Base, Pictured};
pub use devices::{Device, devices};
pub use extract::{NoIntra, unpacked};
pub use feed::FeedPipeline;
pub use mjpeg::{Newest, mjpeg};
pub use outlet::Outlet;
pub use picture::{first_decoder, render, render_intra};
pub use probe::{Encoders, try_encoder};
pub use push::push;
pub use remux::remux;
pub use take::StreamPipeline;

use crate::base::time::MediaTime;
use crate::base::units::Size;
use crate::config::settings::EncoderWish;
use crate::engine::encoder::{NoEncoder, choose_for};
use crate::engine::plan::{Capture, Pictures, Plan};
use crate::model::status::Failure;

/// GStreamer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("GStreamer does not start")]
pub struct NoGStreamer(#[from] gst::glib::Error);

/// Starts GStreamer and the media timeline; call it once, before anything else here.
///
/// # Errors
/// The libraries are broken or do not fit each other.
pub fn init() -> Result<(), NoGStreamer> {
    gst::init()?;
    gst::glib::log_set_default_handler(|domain, level, message| {
        let domain = domain.unwrap_or("glib");
        use gst::glib::LogLevel;
        match level {
            LogLevel::Error | LogLevel::Critical | LogLevel::Warning => {
                log::warn!("{domain}: {message}");
            }
            LogLevel::Message => log::info!("{domain}: {message}"),
            // As GLib itself does unless it is told otherwise.
            LogLevel::Info | LogLevel::Debug => {}
        }
    });
    MediaTime::began_ns();
    Ok(())
}

/// Starts GStreamer for a short errand: no timeline, no log handler.
///
/// # Errors
/// As [`init`].
pub fn init_plain() -> Result<(), NoGStreamer> {
    Ok(gst::init()?)
}

/// The version of the GStreamer library in use: `GStreamer 1.22.0`.
pub fn version() -> String {
    gst::version_string().to_string()
}

/// The best encoder for pictures of this size that works here, tried in this
/// process: for errands only.
///
/// # Errors
/// None works; names each with its reason.
pub fn find_encoder(size: Size) -> Result<String, NoEncoder> {
    choose_for(size, &EncoderWish::Auto, &probe::try_all_here()).map(|encoder| encoder.element)
}

/// What the device of `plan` gives to its only stream; plain pictures where a
/// device cannot be asked.
///
/// # Errors
/// A file that cannot be played.
pub fn find_capture(plan: &Plan) -> Result<Capture, Failure> {
    match on_a_runtime(feed::capture_of(plan)) {
        Err(failure @ Failure::File(_)) => Err(failure),
        found => Ok(found.unwrap_or(Capture::plain(plan.feed.fps))),
    }
}

/// What the device of `plan` gives to those who share it, where it can be asked.
pub fn find_shared(plan: &Plan) -> Option<(Capture, Option<Pictures>)> {
    on_a_runtime(capture::look(plan)).ok()
}

fn on_a_runtime<T>(found: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Build(error.to_string()))?.block_on(found)
}

fn clock() -> gst::Clock {
    gst::SystemClock::obtain()
}

/// The moment on the media timeline.
fn now() -> MediaTime {
    MediaTime::now()
}

/// A moment of the system clock, which is the monotonic one, on the media timeline.
fn media_time(absolute: gst::ClockTime) -> MediaTime {
    MediaTime::of_monotonic(absolute.nseconds())
}

/// The opposite of [`media_time`].
fn absolute(time: MediaTime) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(time.monotonic_ns())
}

#[cfg(test)]
mod tests {
    use gstreamer::prelude::*;

    use super::*;

    #[test]
    fn the_system_clock_of_gstreamer_is_the_one_of_the_media_timeline() {
        gst::init().unwrap();
        let (before, between, after) = (now(), media_time(clock().time()), now());
        assert!(before <= between && between <= after, "{before:?} {between:?} {after:?}");
        assert_eq!(media_time(absolute(between)), between);
    }
}
