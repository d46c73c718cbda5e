//! The streams of this box, each with its feed and its supervisor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::demand::Demand;
use super::gst::{Encoders, FeedPipeline};
use super::lifecycle::{Lifecycle, Limits};
use super::plan::Plan;
use super::supervisor::Supervisor;
use crate::base::backoff::Backoff;
use crate::config::settings::Settings;
use crate::hub;
use crate::model::ids::StreamName;
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

/// What all rings together may hold: a fifth of a 512 MB board.
const MEMORY: usize = 96 << 20;

/// All streams, in the order of the configuration.
#[derive(Debug)]
pub struct Roster {
    streams: Vec<Arc<Stream>>,
}

/// One stream of the roster.
#[derive(Debug)]
pub struct Stream {
    hub: Arc<hub::Stream>,
    plan: watch::Sender<Plan>,
    chosen: watch::Receiver<Option<Encoder>>,
    supervisor: Supervisor,
}

impl Roster {
    /// Starts a supervisor for each stream; must be called on a runtime. The
    /// tasks end when the roster is dropped.
    pub fn new(settings: &Settings) -> (Self, Vec<JoinHandle<()>>) {
        let encoders = Arc::new(Encoders::default());
        // Trying them takes a moment that the first viewer should not wait for.
        if !settings.streams.is_empty() {
            let early = Arc::clone(&encoders);
            tokio::spawn(async move {
                early.trials().await;
            });
        }
        let plans = settings
            .streams
            .iter()
            .map(|stream| Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() });
        let count = settings.streams.len().max(1) as f64;
        let started = plans.enumerate().map(|(index, plan)| {
            let memory = MEMORY / settings.streams.len().max(1);
            Stream::spawn(plan, &encoders, index as f64 / count, memory)
        });
        let (streams, tasks) = started.unzip();
        (Self { streams }, tasks)
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
        plan: Plan,
        encoders: &Arc<Encoders>,
        spread: f64,
        memory: usize,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let name = plan.stream.name.clone();
        let limits = hub::Limits::for_gop(plan.stream.gop, memory);
        let hub = hub::Stream::new(name.clone(), limits);
        let (mode, resurrect) = (plan.feed.mode, plan.feed.resurrect);
        let plan = watch::Sender::new(plan);
        let (choose, chosen) = watch::channel(None);
        let pipeline =
            FeedPipeline::new(plan.subscribe(), Arc::clone(&hub), Arc::clone(encoders), choose);
        let (supervisor, task) = Supervisor::spawn(
            format!("stream {name}"),
            pipeline,
            Lifecycle::new(Limits { spread, ..FEED_LIMITS }).resurrecting(resurrect),
            Demand::new(mode),
            hub.readers(),
        );
        (Arc::new(Self { hub, plan, chosen, supervisor }), task)
    }

    pub fn hub(&self) -> &Arc<hub::Stream> {
        &self.hub
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub fn plan(&self) -> Plan {
        self.plan.borrow().clone()
    }

    /// Runs by another plan from now on; a pipeline that is running by the old
    /// one is started again.
    pub async fn follow(&self, plan: Plan) {
        let changed = self.plan.send_if_modified(|current| {
            let differs = *current != plan;
            *current = plan;
            differs
        });
        if changed {
            self.supervisor.restart().await;
        }
    }

    /// Starts the pipeline afresh, if it is running or waiting.
    pub async fn restart(&self) {
        self.supervisor.restart().await;
    }

    /// Returns when the pipeline is down and has failed `times` in a row.
    pub async fn fails(&self, times: u32) {
        self.supervisor.fails(times).await;
    }

    /// Why its pipeline went down the last time.
    pub fn last_failure(&self) -> Option<Failure> {
        self.supervisor.report().last_failure
    }

    pub fn state(&self, now: Instant) -> State {
        self.supervisor.report().state(now)
    }

    pub fn status(&self, now: Instant) -> status::Stream {
        let plan = self.plan();
        let report = self.supervisor.report();
        let measured = self.hub.measured();
        status::Stream {
            set_to: format!(
                "{}, {} frames a second, {}bit/s",
                plan.feed.size, plan.feed.fps, plan.stream.bitrate
            ),
            name: plan.stream.name,
            url: plan.stream.url,
            feed: plan.feed.name,
            state: report.state(now),
            readers: self.hub.reader_count(),
            bytes_in: self.hub.bytes_in(),
            bytes_out: self.hub.bytes_out(),
            frames: self.hub.frames(),
            lost: self.hub.lost(),
            newest_age: self.hub.newest_age(),
            bitrate: measured.bitrate,
            fps: measured.fps,
            last_failure: report.last_failure.clone(),
            clients: self.clients(now),
            mode: plan.feed.mode.to_string(),
            malformed: self.hub.malformed(),
            restarts: report.run.saturating_sub(1),
            picture: self.picture(),
            encoder: self.chosen.borrow().clone(),
        }
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
