//! The box in numbers: `/stat` for people, `/stat.json` for programs,
//! `/metrics` for Prometheus, `/config`. All of the first three render one snapshot.

use std::fmt::{Display, Write as _};

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Serialize;

use super::access::close_page;
use super::error::json;
use super::pages::{self, POLICY};
use super::server::{State, now};
use crate::base::time::iso_s;
use crate::base::units::{duration_in_words, size_in_words};
use crate::model::status::{self, Closed, Snapshot};
use crate::outputs::lineup::Lineup;
use crate::outputs::reloads::RolledBack;

/// Grows by one when a field goes or changes its meaning; new ones may come any time.
const SCHEMA: u32 = 1;

/// `GET /stat.json`.
#[derive(Serialize)]
struct Stat<'a> {
    schema: u32,
    version: &'a str,
    host: &'a str,
    /// ISO 8601, UTC.
    started: String,
    now: String,
    uptime_s: u64,
    /// CPU time used since the start, in seconds.
    cpu_s: f64,
    memory_bytes: u64,
    totals: Totals,
    feeds: Vec<Feed<'a>>,
    streams: Vec<Stream<'a>>,
    byte_streams: Vec<ByteStream<'a>>,
    pushes: Vec<Push<'a>>,
    /// New settings that gave nothing, since the configuration was read last.
    rolled_back: &'a [RolledBack],
}

/// Over all streams and pushes, since the start of the service.
#[derive(Serialize)]
struct Totals {
    /// Bytes handed to viewers.
    client_bytes: u64,
    /// Bytes that feeds gave.
    internal_bytes: u64,
    push_bytes: u64,
    /// Connected readers: viewers and pushes.
    clients: usize,
}

#[derive(Serialize)]
struct Feed<'a> {
    name: &'a str,
    mode: &'a str,
    running: bool,
    state: &'static str,
    readers: usize,
    /// What it has given, encoded.
    bytes: u64,
    restarts: u32,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct Stream<'a> {
    name: &'a str,
    url: &'a str,
    feed: &'a str,
    /// `idle`, `starting`, `live`, `stopping`, `waiting`.
    state: &'static str,
    next_retry_s: Option<f64>,
    clients: usize,
    /// Handed to viewers since the start of the service.
    bytes: u64,
    bytes_in: u64,
    /// Bits a second and frames a second, as measured.
    bitrate: Option<u64>,
    fps: Option<f64>,
    frames: u64,
    /// Frames that readers were too slow for.
    lost: u64,
    /// Frames left out because they were damaged.
    malformed: u64,
    restarts: u32,
    last_error: Option<String>,
    newest_frame_age_s: Option<f64>,
    width: Option<u32>,
    height: Option<u32>,
    codecs: Option<&'a str>,
    encoder: Option<&'a str>,
    /// Only where `pages.clients` is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_list: Option<Vec<Client>>,
}

/// A stream whose bytes livebox only passes on.
#[derive(Serialize)]
struct ByteStream<'a> {
    name: &'a str,
    url: &'a str,
    feed: Option<&'a str>,
    content_type: &'a str,
    state: &'static str,
    next_retry_s: Option<f64>,
    clients: usize,
    /// Handed to viewers since the start of the service.
    bytes: u64,
    restarts: u32,
}

#[derive(Serialize)]
struct Client {
    address: String,
    way: &'static str,
    since_s: u64,
}

#[derive(Serialize)]
struct Push<'a> {
    name: &'a str,
    stream: &'a str,
    state: &'static str,
    next_retry_s: Option<f64>,
    bytes: u64,
    bitrate: u64,
    lost: u64,
    restarts: u32,
    last_error: Option<String>,
}

/// The page for people.
#[derive(Template)]
#[template(path = "stat.html")]
struct Page<'a> {
    host: &'a str,
    version: &'a str,
    stat: &'a Stat<'a>,
    box_: &'a Snapshot,
    /// Streams that only show their name.
    closed: &'a [Closed],
    uptime: String,
    /// `/config`, where it is shown.
    config: Option<&'a str>,
    shows_clients: bool,
}

impl Page<'_> {
    fn size(&self, bytes: &u64) -> String {
        size_in_words(*bytes)
    }
}

/// `GET /stat`
pub(super) async fn page(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, closed) = seen(&request, &state);
    let lineup = state.lineup();
    let pages = &lineup.settings.pages;
    let stat = stat(&snapshot, &lineup);
    let page = Page {
        host: &snapshot.service.host,
        version: snapshot.service.version,
        stat: &stat,
        box_: &snapshot,
        closed: &closed,
        uptime: duration_in_words(snapshot.service.uptime),
        config: pages.config.as_deref(),
        shows_clients: pages.clients,
    };
    pages::html(StatusCode::OK, &page, POLICY)
}

/// `GET /stat.json`
pub(super) async fn numbers(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, _) = seen(&request, &state);
    json(&mut HttpResponse::Ok(), &stat(&snapshot, &state.lineup()))
}

/// `GET /metrics`
pub(super) async fn metrics(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let (snapshot, _) = seen(&request, &state);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(prometheus(&snapshot, &state.lineup().rolled_back))
}

/// `GET /config`: without secrets.
pub(super) async fn config(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(state.lineup().config_text.clone())
}

/// What whoever asks may see.
fn seen(request: &HttpRequest, state: &State) -> (Snapshot, Vec<Closed>) {
    let mut snapshot = state.snapshot(now());
    let closed = close_page(request, &mut snapshot);
    (snapshot, closed)
}

fn stat<'a>(snapshot: &'a Snapshot, lineup: &'a Lineup) -> Stat<'a> {
    let shows_clients = lineup.settings.pages.clients;
    let Snapshot { service, feeds: shared, streams, byte_streams, pushes } = snapshot;
    let of_bytes =
        |count: fn(&status::ByteStream) -> u64| byte_streams.iter().map(count).sum::<u64>();
    let totals = Totals {
        client_bytes: streams.iter().map(|stream| stream.bytes_out).sum::<u64>()
            + of_bytes(|stream| stream.bytes_out),
        internal_bytes: streams.iter().map(|stream| stream.bytes_in).sum(),
        push_bytes: pushes.iter().map(|push| push.bytes_out).sum(),
        clients: streams.iter().map(|stream| stream.readers).sum::<usize>()
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
        feeds: feeds(streams, shared),
        streams: streams.iter().map(|one| stream(one, shows_clients)).collect(),
        byte_streams: byte_streams.iter().map(byte_stream).collect(),
        pushes: pushes.iter().map(push).collect(),
        rolled_back: &lineup.rolled_back,
    }
}

/// Each feed once, with what all its streams have of it.
fn feeds<'a>(streams: &'a [status::Stream], shared: &[status::Feed]) -> Vec<Feed<'a>> {
    let mut feeds: Vec<Feed<'_>> = Vec::new();
    for stream in streams {
        if let Some(feed) = feeds.iter_mut().find(|feed| feed.name == stream.feed.as_str()) {
            feed.readers += stream.readers;
            feed.bytes += stream.bytes_in;
            continue;
        }
        let own = shared.iter().find(|feed| feed.name == stream.feed);
        let state = own.map_or(&stream.state, |feed| &feed.state);
        feeds.push(Feed {
            name: stream.feed.as_str(),
            mode: &stream.mode,
            running: matches!(state, status::State::Starting | status::State::Live { .. }),
            state: state.word(),
            readers: stream.readers,
            bytes: stream.bytes_in,
            restarts: stream.restarts,
            last_error: stream.last_failure.as_ref().map(ToString::to_string),
        });
    }
    feeds
}

fn stream(stream: &status::Stream, shows_clients: bool) -> Stream<'_> {
    let picture = stream.picture.as_ref();
    let client = |client: &status::Client| Client {
        address: client.address.to_string(),
        way: client.way,
        since_s: client.since.as_secs(),
    };
    Stream {
        name: stream.name.as_str(),
        url: &stream.url,
        feed: stream.feed.as_str(),
        state: stream.state.word(),
        next_retry_s: next_retry(&stream.state),
        clients: stream.readers,
        bytes: stream.bytes_out,
        bytes_in: stream.bytes_in,
        bitrate: stream.bitrate,
        fps: stream.fps.map(hundredths),
        frames: stream.frames,
        lost: stream.lost,
        malformed: stream.malformed,
        restarts: stream.restarts,
        last_error: stream.last_failure.as_ref().map(ToString::to_string),
        newest_frame_age_s: stream.newest_age.map(|age| hundredths(age.as_secs_f64())),
        width: picture.map(|picture| picture.width),
        height: picture.map(|picture| picture.height),
        codecs: picture.map(|picture| picture.codecs.as_str()),
        encoder: stream.encoder.as_ref().map(|encoder| encoder.element.as_str()),
        client_list: shows_clients.then(|| stream.clients.iter().map(client).collect()),
    }
}

fn byte_stream(stream: &status::ByteStream) -> ByteStream<'_> {
    ByteStream {
        name: stream.name.as_str(),
        url: &stream.url,
        feed: stream.feed.as_ref().map(|feed| feed.as_str()),
        content_type: &stream.content_type,
        state: stream.state.word(),
        next_retry_s: next_retry(&stream.state),
        clients: stream.readers,
        bytes: stream.bytes_out,
        restarts: stream.restarts,
    }
}

fn push(push: &status::Push) -> Push<'_> {
    Push {
        name: push.name.as_str(),
        stream: push.stream.as_str(),
        state: push.state.word(),
        next_retry_s: next_retry(&push.state),
        bytes: push.bytes_out,
        bitrate: push.bitrate,
        lost: push.lost,
        restarts: push.restarts,
        last_error: push.last_failure.as_ref().map(ToString::to_string),
    }
}

fn next_retry(state: &status::State) -> Option<f64> {
    match state {
        status::State::Waiting { retry_in, .. } => Some(hundredths(retry_in.as_secs_f64())),
        status::State::Idle
        | status::State::Starting
        | status::State::Live { .. }
        | status::State::Over { .. }
        | status::State::Stopping => None,
    }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The text format of Prometheus, version 0.0.4. Names need no escaping: they
/// are plain words.
fn prometheus(snapshot: &Snapshot, rolled_back: &[RolledBack]) -> String {
    let Snapshot { service, streams, byte_streams, pushes, .. } = snapshot;
    let mut text = Metrics::default();
    text.family("livebox_info", "gauge", "The version that runs.");
    text.value("livebox_info", &[("version", service.version)], 1);
    text.family("livebox_uptime_seconds", "gauge", "Since the start of the service.");
    text.value("livebox_uptime_seconds", &[], service.uptime.as_secs());
    text.family("process_cpu_seconds_total", "counter", "CPU time used.");
    text.value("process_cpu_seconds_total", &[], hundredths(service.cpu.as_secs_f64()));
    text.family("process_resident_memory_bytes", "gauge", "Memory in use.");
    text.value("process_resident_memory_bytes", &[], service.memory);
    text.family("livebox_rolled_back", "gauge", "New settings that gave nothing.");
    text.value("livebox_rolled_back", &[], rolled_back.len());
    let mut of_streams = |name, kind, help, value: &dyn Fn(&status::Stream) -> Option<f64>| {
        text.family(name, kind, help);
        for stream in streams {
            if let Some(value) = value(stream) {
                text.value(name, &[("stream", stream.name.as_str())], value);
            }
        }
    };
    let live = |state: &status::State| f64::from(u8::from(state.word() == "live"));
    of_streams("livebox_stream_live", "gauge", "Whether frames come.", &|s| Some(live(&s.state)));
    of_streams("livebox_stream_readers", "gauge", "Viewers and pushes.", &|s| {
        Some(s.readers as f64)
    });
    of_streams("livebox_stream_sent_bytes_total", "counter", "Handed to viewers.", &|s| {
        Some(s.bytes_out as f64)
    });
    of_streams("livebox_stream_received_bytes_total", "counter", "Given by the feed.", &|s| {
        Some(s.bytes_in as f64)
    });
    of_streams("livebox_stream_frames_total", "counter", "Frames that came.", &|s| {
        Some(s.frames as f64)
    });
    of_streams("livebox_stream_lost_frames_total", "counter", "Readers were too slow.", &|s| {
        Some(s.lost as f64)
    });
    of_streams("livebox_stream_malformed_frames_total", "counter", "Damaged.", &|s| {
        Some(s.malformed as f64)
    });
    of_streams("livebox_stream_restarts_total", "counter", "Starts after the first.", &|s| {
        Some(f64::from(s.restarts))
    });
    of_streams("livebox_stream_frame_age_seconds", "gauge", "Of the newest frame.", &|s| {
        s.newest_age.map(|age| age.as_secs_f64())
    });
    let mut of_bytes = |name, kind, help, value: &dyn Fn(&status::ByteStream) -> f64| {
        text.family(name, kind, help);
        for stream in byte_streams {
            text.value(name, &[("stream", stream.name.as_str())], value(stream));
        }
    };
    of_bytes("livebox_byte_stream_live", "gauge", "Whether bytes come.", &|s| live(&s.state));
    of_bytes("livebox_byte_stream_readers", "gauge", "Viewers.", &|s| s.readers as f64);
    of_bytes("livebox_byte_stream_sent_bytes_total", "counter", "Handed to viewers.", &|s| {
        s.bytes_out as f64
    });
    of_bytes("livebox_byte_stream_restarts_total", "counter", "Starts after the first.", &|s| {
        f64::from(s.restarts)
    });
    let mut of_pushes = |name, kind, help, value: &dyn Fn(&status::Push) -> f64| {
        text.family(name, kind, help);
        for push in pushes {
            let labels = [("push", push.name.as_str()), ("stream", push.stream.as_str())];
            text.value(name, &labels, value(push));
        }
    };
    of_pushes("livebox_push_live", "gauge", "Whether bytes leave.", &|push| live(&push.state));
    of_pushes("livebox_push_sent_bytes_total", "counter", "Sent.", &|push| push.bytes_out as f64);
    of_pushes("livebox_push_lost_frames_total", "counter", "Too slow for them.", &|push| {
        push.lost as f64
    });
    of_pushes("livebox_push_restarts_total", "counter", "Starts after the first.", &|push| {
        f64::from(push.restarts)
    });
    text.0
}

#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(key, text)| format!("{key}=\"{text}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, text: impl Display) {
        writeln!(self.0, "{text}").expect("a String takes all");
    }
}
