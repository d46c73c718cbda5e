//! Figures of recordings and of their disk.

use serde::Serialize;

use super::exposition::Metrics;
use super::rounding::next_retry;
use crate::model::failure::Failure;
use crate::model::status;

#[derive(Serialize)]
pub(super) struct Recordings<'a> {
    /// Streams that are being recorded.
    running: usize,
    /// Recordings on the disk and their bytes.
    count: usize,
    bytes: u64,
    free_bytes: Option<u64>,
    /// Written since the start of the service, today, and the day before.
    written_bytes: u64,
    written_today_bytes: u64,
    written_yesterday_bytes: u64,
    last_error: Option<&'a str>,
    streams: Vec<Recorded<'a>>,
}

/// A stream that can be recorded.
#[derive(Serialize)]
struct Recorded<'a> {
    stream: &'a str,
    /// `off`, `always`, or the hours of the week.
    record: &'a str,
    wanted: bool,
    state: &'static str,
    next_retry_seconds: Option<f64>,
    file: Option<&'a str>,
    last_error: Option<String>,
    last_error_details: Option<String>,
}

pub(super) fn numbers(all: &status::Recordings) -> Recordings<'_> {
    let total = all.total();
    let is_live = |one: &&status::Recorded| matches!(one.state, status::State::Live { .. });
    Recordings {
        running: all.streams.iter().filter(is_live).count(),
        count: total.count,
        bytes: total.bytes,
        free_bytes: all.free,
        written_bytes: total.written,
        written_today_bytes: total.written_today,
        written_yesterday_bytes: total.written_yesterday,
        last_error: all.last_error.as_deref(),
        streams: all.streams.iter().map(recorded).collect(),
    }
}

fn recorded(one: &status::Recorded) -> Recorded<'_> {
    Recorded {
        stream: one.stream.as_str(),
        record: &one.plan,
        wanted: one.wanted,
        state: one.state.word(),
        next_retry_seconds: next_retry(&one.state),
        file: one.file.as_deref(),
        last_error: one.last_failure.as_ref().map(Failure::say),
        last_error_details: one.last_failure.as_ref().and_then(Failure::details),
    }
}

pub(super) fn metrics(text: &mut Metrics, all: &status::Recordings) {
    text.family("livebox_recording_live", "gauge", "Whether a stream is being recorded.");
    for one in &all.streams {
        let is_live = matches!(one.state, status::State::Live { .. });
        let labels = [("stream", one.stream.as_str())];
        text.value("livebox_recording_live", &labels, u8::from(is_live));
    }
    let total = all.total();
    text.family("livebox_recordings", "gauge", "Recordings on the disk.");
    text.value("livebox_recordings", &[], total.count);
    text.family("livebox_recordings_bytes", "gauge", "Bytes of all recordings.");
    text.value("livebox_recordings_bytes", &[], total.bytes);
    text.family(
        "livebox_recordings_written_bytes_total",
        "counter",
        "Bytes of recordings written to the disk.",
    );
    text.value("livebox_recordings_written_bytes_total", &[], total.written);
    if let Some(free) = all.free {
        text.family(
            "livebox_recordings_free_bytes",
            "gauge",
            "Free bytes on the disk of the recordings.",
        );
        text.value("livebox_recordings_free_bytes", &[], free);
    }
}
