//! The streams of this box and their feeds, each with its supervisor.
//!
//! A feed of one stream lives in that stream's pipeline; a feed that several
//! share has a pipeline and a supervisor of its own, and each stream another.

mod feed;

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, join_all, select_all};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::feed::Feed;
use super::plan::Plan;
use super::process::{Encoders, FeedPipeline, StreamPipeline};
use crate::base::backoff::Backoff;
use crate::config::diff::Diff;
use crate::config::settings::{self, Mode, Settings, Sound, Source};
use crate::engine::process::bytes;
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits, Phase};
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::hub::{self, Measured, Read, Reader};
use crate::media::packager::Init;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::{self, Encoder, Failure, Picture, State};

/// A feed must show a frame this soon, and may not pause for longer once live.
/// Real cameras fall silent after hours without a word of error.
const FEED_LIMITS: Limits = Limits {
    first_sign: Duration::from_secs(10),
    silence: Duration::from_secs(5),
    letting_go: Duration::from_secs(5),
    backoff: Backoff::FEED,
    spread: 0.0,
};

/// A cold feed has this long to show its first frame before the viewer is
/// told to come back; the feed goes on trying meanwhile.
pub const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A feed that has failed this often in a row is not waited for.
pub const HOPELESS: u32 = 2;

/// What `first` gives, or nothing once `end` comes or `patience` is over. What
/// had come by then is given: a source may show its first frame and end in one
/// moment.
pub async fn first_or_end<T>(
    first: impl Future<Output = T>,
    patience: Duration,
    end: impl Future<Output = ()>,
) -> Option<T> {
    let mut first = pin!(first);
    let end = tokio::time::timeout(patience, end);
    tokio::select! {
        biased;
        given = &mut first => Some(given),
        _ = end => first.now_or_never(),
    }
}

/// What a segment holds beside what an encoder was asked for: sound and container,
/// bits a second. The encoder's own buffer holds a second (VBV), and a segment
/// lasts one at least, so that the pictures are twice the bit rate at most.
const BESIDE_PICTURES: u64 = 256_000;

/// What all rings together may hold: a fifth of a 512 MB board.
const MEMORY: usize = 96 << 20;

/// All streams, in the order of the configuration.
#[derive(Debug)]
pub struct Registry {
    streams: Vec<Arc<Stream>>,
    shared: Vec<Arc<Feed>>,
    encoders: Arc<Encoders>,
}

/// One stream of the registry.
#[derive(Clone, Debug)]
pub struct Stream {
    hub: Arc<hub::Stream>,
    url: String,
    plan: watch::Sender<Plan>,
    chosen: watch::Receiver<Option<Encoder>>,
    supervisor: Supervisor,
    /// The feeds that it takes from, that of the picture first; none where it
    /// has its feed to itself.
    feeds: Vec<Arc<Feed>>,
}

impl Registry {
    /// Starts a supervisor for each stream and each shared feed; must be called on a runtime. The
    /// tasks end when the registry is dropped. `flows` has the feeds of bytes.
    pub fn new(settings: &Settings, flows: &bytes::Registry) -> (Self, Vec<JoinHandle<()>>) {
        let encoders = Arc::new(Encoders::default());
        // Trying them takes a moment that the first viewer should not wait for.
        if !settings.streams.is_empty() {
            let early = Arc::clone(&encoders);
            tokio::spawn(async move {
                early.trials().await;
            });
        }
        let nobody = Self { streams: Vec::new(), shared: Vec::new(), encoders };
        nobody.built((settings, flows), &Diff::from_nothing(settings))
    }

    /// The registry under other settings, with the tasks of what is new in it.
    /// What goes on running is the same in both, and so are the rings of
    /// streams that stay. Returns once everything else has ended and what takes
    /// its place has begun.
    pub async fn next(
        &self,
        settings: &Settings,
        flows: &bytes::Registry,
        diff: &Diff,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let ends = |feed: &&Arc<Feed>| !feed.goes_on(diff);
        let feeds = self.shared.iter().filter(ends).map(|feed| feed.supervisor());
        let streams = self.streams.iter().filter(|stream| !stream.goes_on(diff));
        let all = streams.map(|stream| &stream.supervisor).chain(feeds);
        join_all(all.map(Supervisor::end)).await;
        self.built((settings, flows), diff)
    }

    /// Lets the readers of streams go that are not in the next registry.
    pub fn let_go(&self, diff: &Diff) {
        let is_gone = |stream: &&Arc<Stream>| {
            let name = stream.hub.name();
            diff.streams.fate(name).is_none() || diff.locked.contains(name)
        };
        self.streams.iter().filter(is_gone).for_each(|stream| stream.hub.retire());
    }

    /// Takes over what goes on, and begins the rest.
    fn built(
        &self,
        (settings, flows): (&Settings, &bytes::Registry),
        diff: &Diff,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let goes_on = |stream: &&Arc<Stream>| stream.goes_on(diff);
        let plan_of = |stream: &settings::Stream| {
            let present = self.find(&stream.name).filter(goes_on);
            present.map_or_else(|| self.plan(settings, stream, diff), |one| one.plan.clone())
        };
        let plans: Vec<_> = settings.streams.iter().map(plan_of).collect();
        let count = (plans.len() + settings.feeds.len()).max(1) as f64;
        let mut spreads = (0u32..).map(|index| f64::from(index) / count);
        let mut spread = || spreads.next().unwrap_or_default();
        let mut tasks = Vec::new();
        let mut shared: Vec<Arc<Feed>> = Vec::new();
        let is_shared = |feed: &&settings::Feed| diff.shared.contains(&feed.name);
        let mut to_do: VecDeque<_> = settings.feeds.iter().filter(is_shared).collect();
        while let Some(feed) = to_do.pop_front() {
            let from = feed.source.made_from();
            let base = shared.iter().find(|other| from == Some(other.name())).cloned();
            if from.is_some() && base.is_none() {
                // The check refuses circles, so that one's turn comes.
                to_do.push_back(feed);
                continue;
            }
            if let Some(present) = self.feed(&feed.name).filter(|feed| feed.goes_on(diff)) {
                present.serve(feed, &plans, settings);
                shared.push(Arc::clone(present));
                continue;
            }
            let (feed, task) = Feed::spawn(feed, base, &plans, (settings, flows), spread());
            shared.push(feed);
            tasks.push(task);
        }
        let memory = MEMORY / settings.streams.len().max(1);
        let mut streams = Vec::new();
        for (stream, plan) in settings.streams.iter().zip(plans) {
            let limits = hub::Limits::for_gop(stream.gop, memory);
            let before = self.find(&stream.name);
            if let Some(before) = before {
                before.hub.set_limits(limits);
            }
            if let Some(present) = before.filter(goes_on) {
                streams.push(present.at(&stream.url));
                continue;
            }
            let open = before.filter(|_| !diff.locked.contains(&stream.name));
            let hub = open.map(|before| Arc::clone(&before.hub));
            let hub = hub.unwrap_or_else(|| hub::Stream::new(stream.name.clone(), limits));
            let feeds = feeds_of(stream, &shared);
            let (stream, task) = Stream::spawn(hub, plan, feeds, &self.encoders, spread());
            streams.push(stream);
            tasks.push(task);
        }
        (Self { streams, shared, encoders: Arc::clone(&self.encoders) }, tasks)
    }

    /// The plan of a stream that begins. A feed that goes on may run by
    /// another than its settings, as an operator wants it.
    fn plan(
        &self,
        settings: &Settings,
        stream: &settings::Stream,
        diff: &Diff,
    ) -> watch::Sender<Plan> {
        let present = self.feed(&stream.feed).filter(|feed| feed.goes_on(diff));
        let feed = present.and_then(|feed| feed.settings());
        let feed = feed.unwrap_or_else(|| settings.feed_of(stream).clone());
        watch::Sender::new(Plan { feed, stream: stream.clone() })
    }

    fn feed(&self, name: &FeedName) -> Option<&Arc<Feed>> {
        self.shared.iter().find(|feed| feed.name() == name)
    }

    /// What has a pipeline.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        let of_feeds = self.shared.iter().map(|feed| Unit {
            feed: Some(feed.name().clone()),
            stream: None,
            supervisor: feed.supervisor().clone(),
        });
        let of_streams = self.streams.iter().map(|stream| Unit {
            feed: stream.feeds.is_empty().then(|| stream.plan.borrow().feed.name.clone()),
            stream: Some(stream.hub.name().clone()),
            supervisor: stream.supervisor.clone(),
        });
        of_feeds.chain(of_streams)
    }

    /// The names of the feeds that have a pipeline of their own.
    pub fn shared_names(&self) -> BTreeSet<FeedName> {
        self.shared.iter().map(|feed| feed.name().clone()).collect()
    }

    /// The feeds that several streams share.
    pub fn shared(&self) -> &[Arc<Feed>] {
        &self.shared
    }

    /// Those of all streams, and of the feeds that they share.
    pub fn supervisors(&self) -> impl Iterator<Item = &Supervisor> {
        let of_feeds = self.shared.iter().map(|feed| feed.supervisor());
        self.streams.iter().map(|stream| &stream.supervisor).chain(of_feeds)
    }

    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// The stream that is meant where none is named; none where livebox
    /// encodes nothing.
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
        encoders: &Arc<Encoders>,
        spread: f64,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let settings = plan.borrow().clone();
        let settings::Stream { name, url, .. } = settings.stream;
        let (choose, chosen) = watch::channel(None);
        let (what, encoders) = (format!("stream {name}"), Arc::clone(encoders));
        let life = Lifecycle::new(Limits { spread, ..FEED_LIMITS });
        let life = life.resurrecting(settings.feed.resurrect);
        let (needed, from, into) = (hub.readers(), plan.subscribe(), Arc::clone(&hub));
        let mut sources = feeds.iter().map(|feed| feed.source());
        let (supervisor, task) = match sources.next() {
            None => {
                let pipeline = FeedPipeline::new(from, into, encoders, choose);
                let demand = Demand::new(settings.feed.mode);
                Supervisor::spawn(what, pipeline, life, demand, needed)
            }
            // The mode is the feed's; nobody encodes what nobody watches.
            Some(of_picture) => {
                let sources = (of_picture, sources.next());
                let pipeline = StreamPipeline::new(from, into, sources, encoders, choose);
                Supervisor::spawn(what, pipeline, life, Demand::new(Mode::OnDemand), needed)
            }
        };
        (Arc::new(Self { hub, url, plan, chosen, supervisor, feeds }), task)
    }

    /// The same stream, found at `url`.
    fn at(self: &Arc<Self>, url: &str) -> Arc<Self> {
        if self.url == url {
            return Arc::clone(self);
        }
        Arc::new(Self { url: url.to_owned(), ..Self::clone(self) })
    }

    fn goes_on(&self, diff: &Diff) -> bool {
        diff.streams.goes_on(self.hub.name())
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

    /// Bits a second that no HLS segment exceeds, where an encoder holds to a bit rate.
    pub fn peak_bitrate(&self) -> Option<u64> {
        let chosen = self.chosen.borrow();
        let encodes = chosen.as_ref().is_some_and(|encoder| !encoder.is_feed);
        let stream = &self.plan.borrow().stream;
        let bitrate = u64::from(stream.bitrate.bps());
        (encodes && stream.quality.is_none()).then_some(2 * bitrate + BESIDE_PICTURES)
    }

    /// Runs by another plan from now on; what is running by the old one is
    /// started again. Another feed is another feed for all who share it.
    pub async fn follow(&self, plan: Plan) {
        if let Some(feed) = self.feeds.first() {
            feed.follow(&plan.feed).await;
        }
        let changed = self.plan.send_if_modified(|current| {
            let differs = *current != plan;
            *current = plan;
            differs
        });
        // The pipeline of a shared feed's stream follows by itself.
        if changed && (self.feeds.is_empty() || self.is_down()) {
            self.supervisor.restart().await;
        }
    }

    /// Starts the pipeline afresh, if it is running or waiting; the feed's as
    /// well.
    pub async fn restart(&self) {
        for supervisor in self.feeds.iter().flat_map(|feed| feed.supervisors()) {
            supervisor.restart().await;
        }
        self.supervisor.restart().await;
    }

    fn is_down(&self) -> bool {
        matches!(self.supervisor.report().phase, Phase::Waiting { .. })
    }

    /// Returns when the pipeline, or the feed's, is down and has failed `times`
    /// in a row.
    pub async fn fails(&self, times: u32) {
        let of_feeds = self.feeds.iter().flat_map(|feed| feed.supervisors());
        let all = std::iter::once(&self.supervisor).chain(of_feeds);
        select_all(all.map(|supervisor| Box::pin(supervisor.fails(times)))).await;
    }

    /// Joins the stream, which starts the feed if need be, and waits until it
    /// shows a picture; at most for `patience`, and not for a hopeless feed.
    pub async fn join_within(&self, patience: Duration) -> Option<(Reader, Arc<Init>)> {
        let mut reader = self.hub.join();
        match first_or_end(reader.next(), patience, self.fails(HOPELESS)).await? {
            Read::Init(init) => Some((reader, init)),
            Read::Chunk(_) | Read::Skipped(_) | Read::Over => None,
        }
    }

    /// Why its pipeline, or the feed's, went down the last time.
    pub fn last_failure(&self) -> Option<Failure> {
        let mut of_feeds = self.feeds.iter().flat_map(|feed| feed.supervisors());
        of_feeds
            .find_map(|supervisor| supervisor.report().last_failure)
            .or(self.supervisor.report().last_failure)
    }

    /// Where the stream stands; where the feed is not live, where that stands.
    pub fn state(&self, now: Instant) -> State {
        let own = self.supervisor.report().state(now);
        let is_needed = match own {
            State::Starting | State::Live { .. } => true,
            // Its supervisor may not have heard of a reader that is here.
            State::Idle => self.hub.reader_count() > 0,
            State::Stopping | State::Waiting { .. } | State::Over { .. } => false,
        };
        let of_feeds = self.feeds.iter().map(|feed| feed.state(now));
        of_feeds.filter(|_| is_needed).find(is_down).unwrap_or(own)
    }

    pub fn status(&self, now: Instant) -> status::Stream {
        let plan = self.plan();
        let report = self.supervisor.report();
        let state = self.state(now);
        // What the last run gave is no rate of a stream that gives nothing.
        let is_live = matches!(state, State::Live { .. });
        let measured = if is_live { self.hub.measured() } else { Measured::default() };
        status::Stream {
            set_to: match plan.feed.source {
                Source::SoundOnly => "a sound alone".to_owned(),
                Source::TestClock
                | Source::V4l2(_)
                | Source::File(_)
                | Source::Rtsp(_)
                | Source::Made(_)
                | Source::Unpacked(_) => format!(
                    "{}, {} frames a second, {}bit/s",
                    plan.size(),
                    plan.fps(),
                    plan.stream.bitrate
                ),
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
            encoder: self.chosen.borrow().clone(),
        }
    }

    /// Frames left out before its encoder, or in its feed's pipeline.
    fn dropped(&self) -> u64 {
        let of_feed = self.feeds.first().map_or(0, |feed| feed.shared().dropped());
        self.hub.dropped() + of_feed
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

/// The feeds that a stream takes from: that of its picture, and of its sound.
fn feeds_of(stream: &settings::Stream, shared: &[Arc<Feed>]) -> Vec<Arc<Feed>> {
    let names = std::iter::once(&stream.feed).chain(match &stream.sound {
        Sound::Of(other) => Some(other),
        Sound::Feed | Sound::None => None,
    });
    let of_name = |name: &FeedName| shared.iter().find(|feed| feed.name() == name);
    names.filter_map(of_name).cloned().collect()
}

/// Whether a feed gives nothing, though it is wanted.
fn is_down(state: &State) -> bool {
    matches!(state, State::Waiting { .. } | State::Over { .. } | State::Starting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_in_the_moment_of_the_end_is_not_lost() {
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let end = async { tell.send("the last").await.unwrap() };
        assert_eq!(
            first_or_end(told.recv(), FIRST_FRAME_TIMEOUT, end).await,
            Some(Some("the last"))
        );
        assert_eq!(
            first_or_end(std::future::pending::<()>(), FIRST_FRAME_TIMEOUT, async {}).await,
            None
        );
    }
}
