//! GStreamer's clock and the media timeline.

use gstreamer as gst;

use crate::base::time::MediaTime;

/// The one clock that all pipelines run on, of this process and of others.
pub(super) fn clock() -> gst::Clock {
    gst::SystemClock::obtain()
}

/// A moment of the system clock, which is the monotonic one, on the media timeline.
pub(super) fn media_time(absolute: gst::ClockTime) -> MediaTime {
    MediaTime::of_monotonic(absolute.nseconds())
}

/// The opposite of [`media_time`].
pub(super) fn absolute(time: MediaTime) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(time.monotonic_ns())
}

#[cfg(test)]
mod tests {
    use gstreamer::prelude::*;

    use super::*;

    #[test]
    fn the_system_clock_of_gstreamer_is_the_one_of_the_media_timeline() {
        gst::init().unwrap();
        let (before, between, after) =
            (MediaTime::now(), media_time(clock().time()), MediaTime::now());
        assert!(before <= between && between <= after, "{before:?} {between:?} {after:?}");
        assert_eq!(media_time(absolute(between)), between);
    }
}
