//! The figures of `/stat.json`; `web/stat.schema.json` describes them.

use serde::Serialize;

use super::recordings::Recordings;
use super::rounding::{hundredths, next_retry};
use crate::base::time::iso_s;
use crate::model::failure::Failure;
use crate::model::status::{self, Snapshot};

/// Incremented when a field is removed or changes its meaning; fields may be added
/// at any time.
const SCHEMA: u32 = 3;

/// `GET /stat.json`.
#[derive(Serialize)]
pub(super) struct Stat<'a> {
    pub(super) schema: u32,
    pub(super) version: &'a str,
    pub(super) host: &'a str,
    /// ISO 8601, UTC.
    pub(super) started: String,
    pub(super) now: String,
    pub(super) uptime_s: u64,
    /// CPU time used since the start, in seconds.
    pub(super) cpu_s: f64,
    pub(super) memory_bytes: u64,
    pub(super) totals: Totals,
    pub(super) feeds: Vec<Feed<'a>>,
    pub(super) streams: Vec<Stream<'a>>,
    pub(super) byte_streams: Vec<ByteStream<'a>>,
    pub(super) pushes: Vec<Push<'a>>,
    pub(super) rolled_back: Vec<RolledBack<'a>>,
    pub(super) problems: Vec<Problem<'a>>,
    pub(super) recordings: Recordings<'a>,
}

/// A unit that was rolled back to its earlier settings since the last reload.
#[derive(Serialize)]
pub(super) struct RolledBack<'a> {
    /// `feed NAME` or `stream NAME`.
    pub(super) what: &'a str,
    pub(super) reason: &'a str,
}

/// A folder or another part of the service that does not work.
#[derive(Serialize)]
pub(super) struct Problem<'a> {
    /// The key of the configuration.
    what: &'static str,
    text: &'a str,
}

/// Over all streams and pushes, since the start of the service.
#[derive(Serialize)]
pub(super) struct Totals {
    /// Bytes sent to viewers.
    pub(super) viewer_bytes: u64,
    /// Bytes received from feeds.
    pub(super) feed_bytes: u64,
    pub(super) push_bytes: u64,
    /// Connected viewers, with pushes and recordings.
    pub(super) viewers: usize,
}

#[derive(Serialize)]
pub(super) struct Feed<'a> {
    pub(super) name: &'a str,
    pub(super) mode: &'a str,
    pub(super) running: bool,
    pub(super) state: &'static str,
    pub(super) next_retry_seconds: Option<f64>,
    pub(super) viewers: usize,
    /// Encoded bytes received from it.
    pub(super) bytes: u64,
    pub(super) restarts: u32,
    pub(super) ends: Vec<End>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_details: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Stream<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) feed: &'a str,
    /// `idle`, `starting`, `live`, `stopping`, `waiting`.
    pub(super) state: &'static str,
    pub(super) next_retry_seconds: Option<f64>,
    pub(super) viewers: usize,
    /// Bytes sent to viewers since the start of the service.
    pub(super) bytes: u64,
    pub(super) bytes_in: u64,
    /// Measured bits per second and frames per second.
    pub(super) bitrate: Option<u64>,
    pub(super) fps: Option<f64>,
    pub(super) frames: u64,
    /// Frames dropped for slow viewers.
    pub(super) dropped: u64,
    /// Frames dropped before the encoder because it was too slow.
    pub(super) dropped_before_encoder: u64,
    /// Frames dropped because they were damaged.
    pub(super) malformed: u64,
    pub(super) restarts: u32,
    pub(super) ends: Vec<End>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_details: Option<String>,
    pub(super) newest_frame_age_s: Option<f64>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) codecs: Option<&'a str>,
    pub(super) encoder: Option<&'a str>,
    /// Only if `pages.clients` is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) viewer_list: Option<Vec<Viewer>>,
}

/// A byte stream.
#[derive(Serialize)]
pub(super) struct ByteStream<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) feed: Option<&'a str>,
    pub(super) content_type: &'a str,
    pub(super) state: &'static str,
    pub(super) next_retry_seconds: Option<f64>,
    pub(super) viewers: usize,
    /// Bytes sent to viewers since the start of the service.
    pub(super) bytes: u64,
    /// Bytes dropped for slow viewers.
    pub(super) dropped_bytes: u64,
    pub(super) restarts: u32,
    pub(super) ends: Vec<End>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_details: Option<String>,
}

/// Why a run ended, and how long ago.
#[derive(Serialize)]
pub(super) struct End {
    pub(super) ago_s: u64,
    pub(super) reason: String,
    /// The message from which the reason was recognised.
    pub(super) details: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Viewer {
    pub(super) address: String,
    pub(super) way: &'static str,
    pub(super) since_s: u64,
}

#[derive(Serialize)]
pub(super) struct Push<'a> {
    pub(super) name: &'a str,
    pub(super) stream: &'a str,
    pub(super) state: &'static str,
    pub(super) next_retry_seconds: Option<f64>,
    pub(super) bytes: u64,
    pub(super) bitrate: u64,
    pub(super) dropped: u64,
    pub(super) restarts: u32,
    pub(super) ends: Vec<End>,
    pub(super) first_error: Option<String>,
    pub(super) first_error_details: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_details: Option<String>,
}

pub(super) fn stat(snapshot: &Snapshot, shows_addresses: bool) -> Stat<'_> {
    let Snapshot {
        service,
        feeds: shared,
        streams,
        byte_feeds,
        byte_streams,
        pushes,
        recordings,
        ..
    } = snapshot;
    let of_bytes =
        |count: fn(&status::ByteStream) -> u64| byte_streams.iter().map(count).sum::<u64>();
    let totals = Totals {
        viewer_bytes: streams.iter().map(|stream| stream.bytes_out).sum::<u64>()
            + of_bytes(|stream| stream.bytes_out),
        feed_bytes: streams.iter().map(|stream| stream.bytes_in).sum::<u64>()
            + byte_feeds.iter().map(|feed| feed.bytes).sum::<u64>(),
        push_bytes: pushes.iter().map(|push| push.bytes_out).sum(),
        viewers: streams.iter().map(|stream| stream.readers).sum::<usize>()
            + byte_streams.iter().map(|stream| stream.readers).sum::<usize>(),
    };
    Stat {
        schema: SCHEMA,
        version: service.version,
        host: &service.host,
        started: iso_s(service.started),
        now: iso_s(service.now),
        uptime_s: service.uptime.as_secs(),
        cpu_s: hundredths(service.cpu.as_secs_f64()),
        memory_bytes: service.memory,
        totals,
        feeds: feeds(streams, shared).into_iter().chain(byte_feeds.iter().map(byte_feed)).collect(),
        streams: streams.iter().map(|one| stream(one, shows_addresses)).collect(),
        byte_streams: byte_streams.iter().map(byte_stream).collect(),
        pushes: pushes.iter().map(push).collect(),
        recordings: super::recordings::numbers(recordings),
        rolled_back: snapshot.rolled_back.iter().map(rolled_back).collect(),
        problems: snapshot.problems.iter().map(problem).collect(),
    }
}

/// Each feed once, with the sums of its streams.
fn feeds<'a>(streams: &'a [status::Stream], shared: &'a [status::Feed]) -> Vec<Feed<'a>> {
    let mut feeds: Vec<Feed<'_>> = Vec::new();
    for stream in streams {
        if let Some(feed) = feeds.iter_mut().find(|feed| feed.name == stream.feed.as_str()) {
            feed.viewers += stream.readers;
            feed.bytes += stream.bytes_in;
            continue;
        }
        let own = shared.iter().find(|feed| feed.name == stream.feed);
        let state = own.map_or(&stream.state, |feed| &feed.state);
        let past = own.map_or(&stream.past, |feed| &feed.past);
        let failure = own.map_or(&stream.last_failure, |feed| &feed.last_failure);
        feeds.push(Feed {
            name: stream.feed.as_str(),
            mode: &stream.mode,
            running: is_running(state),
            state: state.word(),
            next_retry_seconds: next_retry(state),
            viewers: stream.readers,
            bytes: stream.bytes_in,
            restarts: past.restarts,
            ends: ends(past),
            last_error: failure.as_ref().map(Failure::say),
            last_error_details: failure.as_ref().and_then(Failure::details),
        });
    }
    let has_no_stream =
        |feed: &&status::Feed| streams.iter().all(|stream| stream.feed != feed.name);
    feeds.extend(
        shared.iter().filter(has_no_stream).map(|feed| feed_without_video_stream(feed, streams)),
    );
    feeds
}

/// A feed of which no stream shows the video: an audio feed, or the source of other
/// feeds, which count its bytes.
fn feed_without_video_stream<'a>(feed: &'a status::Feed, streams: &[status::Stream]) -> Feed<'a> {
    let of_feed = streams.iter().filter(|stream| feed.streams.contains(&stream.name));
    Feed {
        name: feed.name.as_str(),
        mode: &feed.mode,
        running: is_running(&feed.state),
        state: feed.state.word(),
        next_retry_seconds: next_retry(&feed.state),
        viewers: of_feed.map(|stream| stream.readers).sum(),
        bytes: 0,
        restarts: feed.past.restarts,
        ends: ends(&feed.past),
        last_error: feed.last_failure.as_ref().map(Failure::say),
        last_error_details: feed.last_failure.as_ref().and_then(Failure::details),
    }
}

fn byte_feed(feed: &status::ByteFeed) -> Feed<'_> {
    Feed {
        name: feed.name.as_str(),
        mode: &feed.mode,
        running: is_running(&feed.state),
        state: feed.state.word(),
        next_retry_seconds: next_retry(&feed.state),
        viewers: feed.readers,
        bytes: feed.bytes,
        restarts: feed.past.restarts,
        ends: ends(&feed.past),
        last_error: feed.last_failure.as_ref().map(Failure::say),
        last_error_details: feed.last_failure.as_ref().and_then(Failure::details),
    }
}

fn is_running(state: &status::State) -> bool {
    matches!(state, status::State::Starting | status::State::Live { .. })
}

fn ends(past: &status::Past) -> Vec<End> {
    let end = |end: &status::Ended| End {
        ago_s: end.ago.as_secs(),
        reason: end.cause.say(),
        details: end.cause.details(),
    };
    past.ends.iter().map(end).collect()
}

fn stream(stream: &status::Stream, shows_addresses: bool) -> Stream<'_> {
    let picture = stream.picture.as_ref();
    let client = |client: &status::Client| Viewer {
        address: client.address.to_string(),
        way: client.way,
        since_s: client.since.as_secs(),
    };
    Stream {
        name: stream.name.as_str(),
        url: &stream.url,
        feed: stream.feed.as_str(),
        state: stream.state.word(),
        next_retry_seconds: next_retry(&stream.state),
        viewers: stream.readers,
        bytes: stream.bytes_out,
        bytes_in: stream.bytes_in,
        bitrate: stream.bitrate,
        fps: stream.fps.map(hundredths),
        frames: stream.frames,
        dropped: stream.lost,
        dropped_before_encoder: stream.dropped,
        malformed: stream.malformed,
        restarts: stream.past.restarts,
        ends: ends(&stream.past),
        last_error: stream.last_failure.as_ref().map(Failure::say),
        last_error_details: stream.last_failure.as_ref().and_then(Failure::details),
        newest_frame_age_s: stream.newest_age.map(|age| hundredths(age.as_secs_f64())),
        width: picture.map(|picture| picture.width),
        height: picture.map(|picture| picture.height),
        codecs: picture.map(|picture| picture.codecs.as_str()),
        encoder: stream.encoder.as_ref().map(|encoder| encoder.element.as_str()),
        viewer_list: shows_addresses.then(|| stream.clients.iter().map(client).collect()),
    }
}

fn byte_stream(stream: &status::ByteStream) -> ByteStream<'_> {
    ByteStream {
        name: stream.name.as_str(),
        url: &stream.url,
        feed: stream.feed.as_ref().map(|feed| feed.as_str()),
        content_type: &stream.content_type,
        state: stream.state.word(),
        next_retry_seconds: next_retry(&stream.state),
        viewers: stream.readers,
        bytes: stream.bytes_out,
        dropped_bytes: stream.lost,
        restarts: stream.past.restarts,
        ends: ends(&stream.past),
        last_error: stream.last_failure.as_ref().map(Failure::say),
        last_error_details: stream.last_failure.as_ref().and_then(Failure::details),
    }
}

fn rolled_back(one: &status::RolledBack) -> RolledBack<'_> {
    RolledBack { what: &one.what, reason: &one.reason }
}

fn problem(one: &status::Problem) -> Problem<'_> {
    Problem { what: one.what, text: &one.text }
}

fn push(push: &status::Push) -> Push<'_> {
    Push {
        name: push.name.as_str(),
        stream: push.stream.as_str(),
        state: push.state.word(),
        next_retry_seconds: next_retry(&push.state),
        bytes: push.bytes_out,
        bitrate: push.bitrate,
        dropped: push.lost,
        restarts: push.past.restarts,
        ends: ends(&push.past),
        first_error: push.first_failure.as_ref().map(Failure::say),
        first_error_details: push.first_failure.as_ref().and_then(Failure::details),
        last_error: push.last_failure.as_ref().map(Failure::say),
        last_error_details: push.last_failure.as_ref().and_then(Failure::details),
    }
}
