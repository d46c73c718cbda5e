//! The metrics for Prometheus.

use super::exposition::Metrics;
use super::rounding::hundredths;
use crate::model::status::{self, Snapshot};

/// The text format of Prometheus, version 0.0.4. Names need no escaping: they
/// are plain words.
pub(super) fn prometheus(snapshot: &Snapshot) -> String {
    let Snapshot { service, streams, byte_feeds, byte_streams, pushes, .. } = snapshot;
    let mut text = Metrics::default();
    text.family("livebox_info", "gauge", "The version of livebox.");
    text.value("livebox_info", &[("version", service.version)], 1);
    text.family("livebox_uptime_seconds", "gauge", "Time since the start of the service.");
    text.value("livebox_uptime_seconds", &[], service.uptime.as_secs());
    text.family("process_cpu_seconds_total", "counter", "CPU time used.");
    text.value("process_cpu_seconds_total", &[], hundredths(service.cpu.as_secs_f64()));
    text.family("process_resident_memory_bytes", "gauge", "Memory in use.");
    text.value("process_resident_memory_bytes", &[], service.memory);
    text.family("livebox_rolled_back", "gauge", "Units rolled back to their earlier settings.");
    text.value("livebox_rolled_back", &[], snapshot.rolled_back.len());
    text.family("livebox_problems", "gauge", "Folders that do not answer or cannot be written.");
    text.value("livebox_problems", &[], snapshot.problems.len());
    let mut of_streams = |name, kind, help, value: &dyn Fn(&status::Stream) -> Option<f64>| {
        text.family(name, kind, help);
        for stream in streams {
            if let Some(value) = value(stream) {
                text.value(name, &[("stream", stream.name.as_str())], value);
            }
        }
    };
    of_streams("livebox_stream_live", "gauge", "Whether frames arrive.", &|s| Some(live(&s.state)));
    of_streams("livebox_stream_readers", "gauge", "Viewers, with pushes and recordings.", &|s| {
        Some(s.readers as f64)
    });
    of_streams("livebox_stream_sent_bytes_total", "counter", "Bytes sent to viewers.", &|s| {
        Some(s.bytes_out as f64)
    });
    of_streams(
        "livebox_stream_received_bytes_total",
        "counter",
        "Bytes received from the feed.",
        &|s| Some(s.bytes_in as f64),
    );
    of_streams(
        "livebox_stream_frames_total",
        "counter",
        "Video frames, or audio frames without video.",
        &|s| Some(s.frames as f64),
    );
    of_streams(
        "livebox_stream_lost_frames_total",
        "counter",
        "Frames dropped for slow viewers.",
        &|s| Some(s.lost as f64),
    );
    of_streams(
        "livebox_stream_dropped_frames_total",
        "counter",
        "Frames dropped before a slow encoder.",
        &|s| Some(s.dropped as f64),
    );
    of_streams("livebox_stream_malformed_frames_total", "counter", "Damaged frames.", &|s| {
        Some(s.malformed as f64)
    });
    of_streams("livebox_stream_restarts_total", "counter", "Starts after a failure.", &|s| {
        Some(f64::from(s.past.restarts))
    });
    of_streams("livebox_stream_frame_age_seconds", "gauge", "Age of the newest frame.", &|s| {
        s.newest_age.map(|age| age.as_secs_f64())
    });
    of_bytes(&mut text, byte_feeds, byte_streams);
    of_pushes(&mut text, pushes);
    super::recordings::metrics(&mut text, &snapshot.recordings);
    text.0
}

/// 1 or 0.
fn live(state: &status::State) -> f64 {
    f64::from(u8::from(state.word() == "live"))
}

fn of_pushes(text: &mut Metrics, pushes: &[status::Push]) {
    let mut family = |name, kind, help, value: &dyn Fn(&status::Push) -> f64| {
        text.family(name, kind, help);
        for push in pushes {
            let labels = [("push", push.name.as_str()), ("stream", push.stream.as_str())];
            text.value(name, &labels, value(push));
        }
    };
    family("livebox_push_live", "gauge", "Whether bytes are sent.", &|push| live(&push.state));
    family("livebox_push_sent_bytes_total", "counter", "Bytes sent to the receiver.", &|push| {
        push.bytes_out as f64
    });
    family(
        "livebox_push_lost_frames_total",
        "counter",
        "Frames dropped for a slow receiver.",
        &|push| push.lost as f64,
    );
    family("livebox_push_restarts_total", "counter", "Starts after a failure.", &|push| {
        f64::from(push.past.restarts)
    });
}

fn of_bytes(
    text: &mut Metrics,
    byte_feeds: &[status::ByteFeed],
    byte_streams: &[status::ByteStream],
) {
    let mut of_byte_feeds = |name, kind, help, value: &dyn Fn(&status::ByteFeed) -> f64| {
        text.family(name, kind, help);
        for feed in byte_feeds {
            text.value(name, &[("feed", feed.name.as_str())], value(feed));
        }
    };
    of_byte_feeds(
        "livebox_byte_feed_received_bytes_total",
        "counter",
        "Bytes received from the feed.",
        &|feed| feed.bytes as f64,
    );
    of_byte_feeds(
        "livebox_byte_feed_restarts_total",
        "counter",
        "Starts after a failure.",
        &|feed| f64::from(feed.past.restarts),
    );
    let mut of_bytes = |name, kind, help, value: &dyn Fn(&status::ByteStream) -> f64| {
        text.family(name, kind, help);
        for stream in byte_streams {
            text.value(name, &[("stream", stream.name.as_str())], value(stream));
        }
    };
    of_bytes("livebox_byte_stream_live", "gauge", "Whether bytes arrive.", &|s| live(&s.state));
    of_bytes("livebox_byte_stream_readers", "gauge", "Viewers.", &|s| s.readers as f64);
    of_bytes("livebox_byte_stream_sent_bytes_total", "counter", "Bytes sent to viewers.", &|s| {
        s.bytes_out as f64
    });
    of_bytes("livebox_byte_stream_restarts_total", "counter", "Starts after a failure.", &|s| {
        f64::from(s.past.restarts)
    });
}
