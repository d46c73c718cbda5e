//! GStreamer's clock and the media timeline.

use gstreamer as gst;

use crate::base::time::MediaTime;

/// The clock of all pipelines, in this process and in others.
pub(super) fn clock() -> gst::Clock {
    gst::SystemClock::obtain()
}

/// Converts a time of the system clock (monotonic) to the media timeline.
pub(super) fn media_time(absolute: gst::ClockTime) -> MediaTime {
    MediaTime::from_monotonic(absolute.nseconds())
}

/// The inverse of [`media_time`].
pub(super) fn absolute(time: MediaTime) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(time.monotonic_ns())
}

#[cfg(test)]
mod tests {
    use gstreamer::prelude::*;

    use super::*;

    #[test]
    fn gstreamers_system_clock_is_the_clock_of_the_media_timeline() {
        gst::init().unwrap();
        let (before, between, after) =
            (MediaTime::now(), media_time(clock().time()), MediaTime::now());
        assert!(before <= between && between <= after, "{before:?} {between:?} {after:?}");
        assert_eq!(media_time(absolute(between)), between);
    }
}
