//! The streams of the configuration and their feeds, with their supervisors.
//!
//! A feed with one stream is part of that stream's pipeline. A feed that several
//! streams share has a pipeline and a supervisor, and each of its streams another.

mod feed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::feed::Feed;
use super::plan::Plan;
use super::process::{FeedParts, PipelineFactory, StreamParts};
use crate::base::backoff::Backoff;
use crate::base::units::rate_in_words;
use crate::config::diff::Diff;
use crate::config::settings::{self, Mode, Settings, Sound, Source};
use crate::engine::first_frame::{MAX_FAILED_RUNS, first_or_end};
use crate::engine::process::bytes;
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits, Phase};
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::hub::{self, Measured, Read, Reader};
use crate::media::packager::Init;
use crate::model::failure::Failure;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::{self, Encoder, Picture, State};

/// Limits of feeds. Real cameras stall after hours without reporting an error.
const FEED_LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(5),
    backoff: Backoff::FEED,
    spread: 0.0,
    stuck: Failure::no_frames,
};

/// Sound and container in a segment, in bits per second, beside the video. The video
/// is at most twice the configured bit rate: the encoder's buffer (VBV) holds one
/// second, and a segment lasts at least one.
const AUDIO_AND_CONTAINER_BPS: u64 = 256_000;

/// Limit of all rings together: a fifth of the memory of a 512 MB board.
const MAX_RINGS_BYTES: usize = 96 << 20;

/// All streams, in the order of the configuration.
#[derive(Debug)]
pub struct Registry {
    streams: Vec<Arc<Stream>>,
    shared: Vec<Arc<Feed>>,
    pipelines: Arc<dyn PipelineFactory>,
}

/// What a feed is started with.
struct Start<'a> {
    settings: &'a Settings,
    flows: &'a bytes::Registry,
    pipelines: &'a dyn PipelineFactory,
    /// The share that is taken off each delay before a retry.
    spread: f64,
}

/// One stream of the registry.
#[derive(Clone, Debug)]
pub struct Stream {
    hub: Arc<hub::Stream>,
    url: String,
    plan: watch::Sender<Plan>,
    encoder: watch::Receiver<Option<Encoder>>,
    supervisor: Supervisor,
    /// The shared feeds that it reads, that of the picture first; empty if its feed is
    /// part of its own pipeline.
    feeds: Vec<Arc<Feed>>,
}

impl Registry {
    /// Starts a supervisor for each stream and each shared feed; must be called on a
    /// runtime. The tasks end when the registry is dropped. `flows` has the byte feeds.
    pub fn new(
        settings: &Settings,
        flows: &bytes::Registry,
        pipelines: Arc<dyn PipelineFactory>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let empty = Self { streams: Vec::new(), shared: Vec::new(), pipelines };
        empty.build((settings, flows), &Diff::initial(settings))
    }

    /// The registry for new settings, with the tasks of its new supervisors. Unchanged
    /// pipelines and the rings of streams that stay are shared by both registries.
    /// Returns when all other supervisors have ended and the new ones have started.
    pub async fn next(
        &self,
        settings: &Settings,
        flows: &bytes::Registry,
        diff: &Diff,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let is_ending = |feed: &&Arc<Feed>| !feed.is_kept(diff);
        let feeds = self.shared.iter().filter(is_ending).map(|feed| feed.supervisor());
        let streams = self.streams.iter().filter(|stream| !stream.is_kept(diff));
        let all = streams.map(|stream| &stream.supervisor).chain(feeds);
        join_all(all.map(Supervisor::end)).await;
        self.build((settings, flows), diff)
    }

    /// Disconnects the readers of streams that are not in the next registry, or that
    /// have a password there.
    pub fn disconnect_removed(&self, diff: &Diff) {
        let is_removed = |stream: &&Arc<Stream>| {
            let name = stream.hub.name();
            diff.streams.outcome(name).is_none() || diff.locked.contains(name)
        };
        self.streams.iter().filter(is_removed).for_each(|stream| stream.hub.retire());
    }

    /// Takes over what is kept, and starts the rest.
    fn build(
        &self,
        (settings, flows): (&Settings, &bytes::Registry),
        diff: &Diff,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let is_kept = |stream: &&Arc<Stream>| stream.is_kept(diff);
        let plan_of = |stream: &settings::Stream| {
            let kept = self.find(&stream.name).filter(is_kept);
            kept.map_or_else(|| self.plan(settings, stream, diff), |kept| kept.plan.clone())
        };
        let plans: Vec<_> = settings.streams.iter().map(plan_of).collect();
        let count = (plans.len() + settings.feeds.len()).max(1) as f64;
        let mut spreads = (0u32..).map(|index| f64::from(index) / count);
        let mut spread = || spreads.next().unwrap_or_default();
        let mut tasks = Vec::new();
        let mut shared: Vec<Arc<Feed>> = Vec::new();
        let is_shared = |feed: &&settings::Feed| diff.shared.contains(&feed.name);
        let mut pending: VecDeque<_> = settings.feeds.iter().filter(is_shared).collect();
        while let Some(feed) = pending.pop_front() {
            let from = feed.source.made_from();
            let base = shared.iter().find(|other| from == Some(other.name())).cloned();
            if from.is_some() && base.is_none() {
                // The check of the configuration refuses cycles, so that this ends.
                pending.push_back(feed);
                continue;
            }
            if let Some(kept) = self.feed(&feed.name).filter(|feed| feed.is_kept(diff)) {
                kept.set_streams(feed, &plans, settings);
                shared.push(Arc::clone(kept));
                continue;
            }
            let start = Start { settings, flows, pipelines: &*self.pipelines, spread: spread() };
            let (feed, task) = Feed::spawn(feed, base, &plans, start);
            shared.push(feed);
            tasks.push(task);
        }
        let memory = MAX_RINGS_BYTES / settings.streams.len().max(1);
        let mut streams = Vec::new();
        for (stream, plan) in settings.streams.iter().zip(plans) {
            let limits = hub::Limits::for_gop(stream.gop, memory);
            let before = self.find(&stream.name);
            if let Some(before) = before {
                before.hub.set_limits(limits);
            }
            if let Some(kept) = before.filter(is_kept) {
                streams.push(kept.with_url(&stream.url));
                continue;
            }
            let open = before.filter(|_| !diff.locked.contains(&stream.name));
            let hub = open.map(|before| Arc::clone(&before.hub));
            let hub = hub.unwrap_or_else(|| hub::Stream::new(stream.name.clone(), limits));
            let feeds = feeds_of(stream, &shared);
            let (stream, task) = Stream::spawn(hub, plan, feeds, &*self.pipelines, spread());
            streams.push(stream);
            tasks.push(task);
        }
        (Self { streams, shared, pipelines: Arc::clone(&self.pipelines) }, tasks)
    }

    /// The plan of a new stream. A feed that is kept may run with settings that an
    /// operator has changed; they apply to the new stream as well.
    fn plan(
        &self,
        settings: &Settings,
        stream: &settings::Stream,
        diff: &Diff,
    ) -> watch::Sender<Plan> {
        let kept = self.feed(&stream.feed).filter(|feed| feed.is_kept(diff));
        let feed = kept.and_then(|feed| feed.settings());
        let feed = feed.unwrap_or_else(|| settings.feed_of(stream).clone());
        watch::Sender::new(Plan { feed, stream: stream.clone() })
    }

    fn feed(&self, name: &FeedName) -> Option<&Arc<Feed>> {
        self.shared.iter().find(|feed| feed.name() == name)
    }

    /// All pipelines, with the feed or stream of each.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        let feeds = self.shared.iter().map(|feed| Unit {
            feed: Some(feed.name().clone()),
            stream: None,
            supervisor: feed.supervisor().clone(),
        });
        let streams = self.streams.iter().map(|stream| Unit {
            feed: stream.feeds.is_empty().then(|| stream.plan.borrow().feed.name.clone()),
            stream: Some(stream.hub.name().clone()),
            supervisor: stream.supervisor.clone(),
        });
        feeds.chain(streams)
    }

    /// The names of [`Registry::shared`].
    pub fn shared_names(&self) -> BTreeSet<FeedName> {
        self.shared.iter().map(|feed| feed.name().clone()).collect()
    }

    /// The feeds that have a pipeline of their own.
    pub fn shared(&self) -> &[Arc<Feed>] {
        &self.shared
    }

    /// The supervisors of all streams and shared feeds.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        let feeds = self.shared.iter().map(|feed| feed.supervisor());
        self.streams.iter().map(|stream| &stream.supervisor).chain(feeds)
    }

    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// The default stream; none if only byte streams are configured.
    pub fn first(&self) -> Option<&Arc<Stream>> {
        self.streams.first()
    }

    pub fn find(&self, name: &StreamName) -> Option<&Arc<Stream>> {
        self.streams.iter().find(|stream| stream.hub.name() == name)
    }
}

impl Stream {
    fn spawn(
        hub: Arc<hub::Stream>,
        plan: watch::Sender<Plan>,
        feeds: Vec<Arc<Feed>>,
        pipelines: &dyn PipelineFactory,
        spread: f64,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let settings = plan.borrow().clone();
        let settings::Stream { name, url, .. } = settings.stream;
        let (chosen, encoder) = watch::channel(None);
        let lifecycle = Lifecycle::new(Limits { spread, ..FEED_LIMITS });
        let lifecycle = lifecycle.resurrecting(settings.feed.resurrect);
        let (needed, stream, current) = (hub.readers(), Arc::clone(&hub), plan.subscribe());
        let mut sources = feeds.iter().map(|feed| feed.source());
        let (pipeline, mode) = match sources.next() {
            None => {
                let parts = FeedParts { plan: current, stream, chosen };
                (pipelines.feed(parts), settings.feed.mode)
            }
            // The mode applies to the feed; the encoder runs only for viewers.
            Some(from) => {
                let sound = sources.next();
                let parts = StreamParts { plan: current, stream, from, sound, chosen };
                (pipelines.stream(parts), Mode::OnDemand)
            }
        };
        let (name, demand) = (format!("stream {name}"), Demand::new(mode));
        let (supervisor, task) = Supervisor::spawn(name, pipeline, lifecycle, demand, needed);
        (Arc::new(Self { hub, url, plan, encoder, supervisor, feeds }), task)
    }

    /// The same stream with another URL.
    fn with_url(self: &Arc<Self>, url: &str) -> Arc<Self> {
        if self.url == url {
            return Arc::clone(self);
        }
        Arc::new(Self { url: url.to_owned(), ..Self::clone(self) })
    }

    /// Whether it runs on unchanged after the reload.
    fn is_kept(&self, diff: &Diff) -> bool {
        diff.streams.continues(self.hub.name())
    }

    /// Its path, with a leading slash and without a trailing one.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub fn hub(&self) -> &Arc<hub::Stream> {
        &self.hub
    }

    pub fn plan(&self) -> Plan {
        self.plan.borrow().clone()
    }

    /// Upper limit of the bit rate of HLS segments, in bits per second; none without an
    /// encoder at a constant bit rate.
    pub fn peak_bitrate(&self) -> Option<u64> {
        let encoder = self.encoder.borrow();
        let encodes = encoder.as_ref().is_some_and(|encoder| !encoder.is_feed);
        let stream = &self.plan.borrow().stream;
        let bitrate = u64::from(stream.bitrate.bps());
        (encodes && stream.quality.is_none()).then_some(2 * bitrate + AUDIO_AND_CONTAINER_BPS)
    }

    /// Replaces the plan and restarts what runs with the old one. Settings of a shared
    /// feed change for all of its streams.
    pub async fn set_plan(&self, plan: Plan) {
        if let Some(feed) = self.feeds.first() {
            feed.set_settings(&plan.feed).await;
        }
        let changed = self.plan.send_if_modified(|current| {
            let differs = *current != plan;
            *current = plan;
            differs
        });
        // A running pipeline of a shared feed's stream watches its plan.
        if changed && (self.feeds.is_empty() || self.is_down()) {
            self.supervisor.restart().await;
        }
    }

    /// Restarts the pipeline if it is running or waiting, and those of its feeds.
    pub async fn restart(&self) {
        for supervisor in self.feeds.iter().flat_map(|feed| feed.supervisors()) {
            supervisor.restart().await;
        }
        self.supervisor.restart().await;
    }

    fn is_down(&self) -> bool {
        matches!(self.supervisor.report().phase, Phase::Waiting { .. })
    }

    /// Waits until the pipeline, or that of a feed, is down and has failed `times` in
    /// a row.
    pub async fn wait_failed(&self, times: u32) {
        let feeds = self.feeds.iter().flat_map(|feed| feed.supervisors());
        let all = std::iter::once(&self.supervisor).chain(feeds);
        select_all(all.map(|supervisor| Box::pin(supervisor.wait_failed(times)))).await;
    }

    /// Joins the stream, which starts the feed if it is idle, and waits for the init
    /// segment: at most `timeout`, and not for a feed that has failed
    /// [`MAX_FAILED_RUNS`] times in a row.
    pub async fn join_within(&self, timeout: Duration) -> Option<(Reader, Arc<Init>)> {
        let mut reader = self.hub.join();
        match first_or_end(reader.next(), timeout, self.wait_failed(MAX_FAILED_RUNS)).await? {
            Read::Init(init) => Some((reader, init)),
            Read::Chunk(_) | Read::Skipped(_) | Read::End => None,
        }
    }

    /// The last failure of a feed or, if there is none, of its own pipeline.
    pub fn last_failure(&self) -> Option<Failure> {
        let mut feeds = self.feeds.iter().flat_map(|feed| feed.supervisors());
        feeds
            .find_map(|supervisor| supervisor.report().last_failure)
            .or(self.supervisor.report().last_failure)
    }

    /// Why it gives nothing: the failure that a feed or its own pipeline waits after, or
    /// the latest one in a series while the next attempt runs.
    pub fn cause(&self, now: Instant) -> Option<Failure> {
        let in_series = || {
            let feeds = self.feeds.iter().flat_map(|feed| feed.supervisors());
            let reports = feeds.chain([&self.supervisor]).map(Supervisor::report);
            reports.filter(|report| report.failures > 0).find_map(|report| report.last_failure)
        };
        self.state(now).cause().cloned().or_else(in_series)
    }

    /// The state of the stream, or of its feed if that is wanted and not live.
    pub fn state(&self, now: Instant) -> State {
        let own = self.supervisor.report().state(now);
        let is_needed = match own {
            State::Starting | State::Live { .. } => true,
            // A new reader may not have reached the supervisor yet.
            State::Idle => self.hub.reader_count() > 0,
            State::Stopping | State::Waiting { .. } | State::Ended { .. } => false,
        };
        let feeds = self.feeds.iter().map(|feed| feed.state(now));
        feeds.filter(|_| is_needed).find(is_down).unwrap_or(own)
    }

    pub fn status(&self, now: Instant) -> status::Stream {
        let plan = self.plan();
        let report = self.supervisor.report();
        let state = self.state(now);
        // Rates of the last run are wrong for a stream that is down.
        let is_live = matches!(state, State::Live { .. });
        let measured = if is_live { self.hub.measured() } else { Measured::default() };
        status::Stream {
            set_to: if plan.feed.source == Source::SoundOnly {
                "a sound alone".to_owned()
            } else {
                format!(
                    "{}, {} frames per second, {}",
                    plan.size(),
                    plan.fps(),
                    rate_in_words(plan.stream.bitrate.bps().into())
                )
            },
            name: plan.stream.name,
            url: self.url.clone(),
            feed: plan.feed.name,
            state,
            readers: self.hub.reader_count(),
            bytes_in: self.hub.bytes_in(),
            bytes_out: self.hub.bytes_out(),
            frames: self.hub.frames(),
            lost: self.hub.lost(),
            dropped: self.dropped(),
            newest_age: self.hub.newest_age(),
            bitrate: measured.bitrate,
            fps: measured.fps,
            last_failure: report.last_failure.clone(),
            clients: self.clients(now),
            mode: plan.feed.mode.to_string(),
            malformed: self.hub.malformed(),
            past: report.past(now),
            picture: self.picture(),
            encoder: self.encoder.borrow().clone(),
        }
    }

    /// Frames dropped before its encoder or in the pipeline of its feed.
    fn dropped(&self) -> u64 {
        let in_feed = self.feeds.first().map_or(0, |feed| feed.shared().dropped());
        self.hub.dropped() + in_feed
    }

    fn clients(&self, now: Instant) -> Vec<status::Client> {
        let shown = |client: hub::Client| status::Client {
            address: client.address,
            way: client.way,
            since: now.saturating_duration_since(client.since),
        };
        self.hub.clients().into_iter().map(shown).collect()
    }

    fn picture(&self) -> Option<Picture> {
        let init = self.hub.init()?;
        let video = init.tracks.video.as_ref()?;
        Some(Picture {
            width: video.width,
            height: video.height,
            profile: video.profile_name(),
            level: video.level_name(),
            codecs: init.tracks.codecs(),
        })
    }
}

/// The shared feeds of a stream: that of its picture, then that of its sound.
fn feeds_of(stream: &settings::Stream, shared: &[Arc<Feed>]) -> Vec<Arc<Feed>> {
    let names = std::iter::once(&stream.feed).chain(match &stream.sound {
        Sound::Of(other) => Some(other),
        Sound::Feed | Sound::None => None,
    });
    let of_name = |name: &FeedName| shared.iter().find(|feed| feed.name() == name);
    names.filter_map(of_name).cloned().collect()
}

/// Whether a feed is wanted and gives nothing.
fn is_down(state: &State) -> bool {
    matches!(state, State::Waiting { .. } | State::Ended { .. } | State::Starting)
}
