//! A stream of a shared feed: encodes what the feed gives, or passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log::debug;
use tokio::sync::{mpsc, watch};

use super::encoding::{Encoding, by_itself};
use super::intake::{news, play_from, told};
use super::outlet::{Frame, Need, Outlet, Taking};
use super::picture::first_decoder;
use super::probe::Encoders;
use super::running::Running;
use super::tap::{FirstSign, SINKS, Target, Timeline, count_dropped, tap};
use crate::config::settings::Sound;
use crate::engine::lifecycle::{Event, Run};
use crate::engine::plan::{Given, Pictures, Plan};
use crate::engine::runs::{Runs, Stop};
use crate::engine::supervisor::{Pipeline, Pulse};
use crate::hub;
use crate::media::packager::Expect;
use crate::model::status::{Encoder, Failure};
use crate::model::unit::TrackKind;

/// Runs a stream of a shared feed.
#[derive(Debug)]
pub struct StreamPipeline {
    job: Job,
    runs: Runs,
    /// Kept while the stream is wanted, between runs too.
    needs: Vec<Need>,
    /// What the feed had given when the supervisor asked last.
    given_before: AtomicU64,
}

#[derive(Clone, Debug)]
struct Job {
    plan: watch::Receiver<Plan>,
    stream: Arc<hub::Stream>,
    outlet: Arc<Outlet>,
    /// Where the sound comes from, if not from there as well.
    sound: Option<Arc<Outlet>>,
    encoding: Encoding,
}

/// How a part of a run ends.
enum Part {
    /// The feed gives something else, or the plan is another.
    Changed,
    Over(Failure),
}

impl StreamPipeline {
    /// Follows the plan, also while it runs, and tells the encoder that it
    /// takes on `chosen`. `sound` gives the sound, where another feed does.
    pub fn new(
        plan: watch::Receiver<Plan>,
        stream: Arc<hub::Stream>,
        (outlet, sound): (Arc<Outlet>, Option<Arc<Outlet>>),
        encoders: Arc<Encoders>,
        chosen: watch::Sender<Option<Encoder>>,
    ) -> Self {
        let encoding = Encoding { encoders, chosen };
        let job = Job { plan, stream, outlet, sound, encoding };
        Self { job, runs: Runs::default(), needs: Vec::new(), given_before: AtomicU64::new(0) }
    }
}

impl Pipeline for StreamPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let job = self.job.clone();
        let sign = FirstSign::new(run, news.clone());
        self.runs.start(run, news, move |stop| job.run(sign, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Frames that came out; at rest while the feed gives none.
    fn pulse(&self) -> Pulse {
        let given = self.job.outlet.frames();
        if self.given_before.swap(given, Ordering::Relaxed) == given {
            return Pulse::AtRest;
        }
        Pulse::Count(self.job.stream.chunks())
    }

    fn hold(&mut self) {
        if self.needs.is_empty() {
            let outlets = std::iter::once(&self.job.outlet).chain(&self.job.sound);
            self.needs = outlets.map(Outlet::need).collect();
        }
    }

    fn let_go(&mut self) {
        self.needs.clear();
    }
}

impl Job {
    async fn run(mut self, sign: Arc<FirstSign>, mut stop: Stop) -> Failure {
        let mut known = Known::of(&self);
        loop {
            let given = tokio::select! {
                given = known.first() => given,
                () = stop.requested() => return Failure::Ended,
            };
            let plan = self.plan.borrow_and_update().clone();
            let mut ends = Ends { plan: self.plan.clone(), known: known.clone(), stop };
            let part = if plan.passes(given) {
                self.pass(&plan, given, &sign, &mut ends).await
            } else {
                self.encode(&plan, given, &sign, &mut ends).await
            };
            self.stream.end_run();
            match part {
                Part::Changed => stop = ends.stop,
                Part::Over(failure) => return failure,
            }
        }
    }

    /// Hands the feed's own frames on, on the feed's thread.
    async fn pass(
        &self,
        plan: &Plan,
        given: Given,
        sign: &Arc<FirstSign>,
        ends: &mut Ends,
    ) -> Part {
        self.begin(plan, given);
        let mut taken = Vec::new();
        if given.pictures.is_some() {
            self.encoding.announce(plan, by_itself(plan));
            taken.push(self.hand_on(TrackKind::Video, sign));
        }
        if expects_sound(plan, given) {
            taken.push(self.hand_on(TrackKind::Audio, sign));
        }
        ends.reached().await
    }

    /// Encodes the feed's pictures in a pipeline of its own.
    async fn encode(
        &self,
        plan: &Plan,
        given: Given,
        sign: &Arc<FirstSign>,
        ends: &mut Ends,
    ) -> Part {
        let Some(pictures) = given.pictures else {
            return Part::Over(Failure::Build("the feed gives no picture".to_owned()));
        };
        let line = tokio::select! {
            line = self.line(plan, pictures) => line,
            part = ends.reached() => return part,
        };
        let line = match line {
            Ok(line) => line,
            Err(failure) => return Part::Over(failure),
        };
        let label = format!("stream {}", self.stream.name());
        debug!("{label} runs: {line}");
        self.begin(plan, given);
        let (job, sound_sign) = (self.clone(), Arc::clone(sign));
        let started = tokio::task::spawn_blocking(move || job.start(&line, &sound_sign)).await;
        let (mut running, taken) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(failure)) => return Part::Over(failure),
            Err(panic) => return Part::Over(Failure::Build(panic.to_string())),
        };
        let sound = expects_sound(plan, given).then(|| self.hand_on(TrackKind::Audio, sign));
        let part = tokio::select! {
            failure = running.ended() => Part::Over(failure),
            part = ends.reached() => part,
        };
        drop((taken, sound));
        running.close(&label).await;
        part
    }

    async fn line(&self, plan: &Plan, pictures: Pictures) -> Result<String, Failure> {
        let encoder = self.encoding.choose(plan).await?;
        let decoder = match pictures {
            Pictures::Plain => "",
            Pictures::H264 { .. } => first_decoder()?,
        };
        let line = plan
            .encode_line(pictures, decoder, &encoder.element)
            .map_err(|error| Failure::Build(error.to_string()))?;
        self.encoding.announce(plan, encoder);
        Ok(line)
    }

    fn begin(&self, plan: &Plan, given: Given) {
        let audio = expects_sound(plan, given);
        let video = given.pictures.map(|_| plan.fps().frame());
        // A sound alone is not padded: it would be mostly that.
        let bitrate = video.map_or(0, |_| plan.stream.bitrate.bps());
        let begin = self.outlet.earliest(super::now());
        self.stream.begin_run(begin, Expect { video, audio }, bitrate);
    }

    /// Takes a track's encoded frames into the ring as they are.
    fn hand_on(&self, track: TrackKind, sign: &Arc<FirstSign>) -> Taking {
        let target = Target::Stream(Arc::clone(&self.stream));
        let sign = Arc::clone(sign);
        let outlet = match track {
            TrackKind::Video => &self.outlet,
            TrackKind::Audio => self.sound.as_ref().unwrap_or(&self.outlet),
        };
        outlet.take(track, move |frame| match frame {
            Frame::Unit(unit) => target.unit(unit.clone(), &sign),
            Frame::Sound(info) => target.audio_config(info.clone()),
            Frame::Plain(_) => {}
        })
    }

    /// Starts the encoder's pipeline, and takes pictures into it; blocks.
    fn start(&self, line: &str, sign: &Arc<FirstSign>) -> Result<(Running, Taking), Failure> {
        let mut running = Running::build(line, Vec::new())?;
        let target = Target::Stream(Arc::clone(&self.stream));
        count_dropped(running.pipeline(), &target);
        tap(&Timeline::of(running.pipeline()), &SINKS, &target, sign)?;
        let taking = play_from(&mut running, &self.outlet, target)?;
        Ok((running, taking))
    }
}

fn expects_sound(plan: &Plan, given: Given) -> bool {
    given.sound && plan.stream.sound != Sound::None
}

/// What is known of what the feeds of a stream give.
#[derive(Clone)]
struct Known {
    own: watch::Receiver<Option<Given>>,
    sound: Option<watch::Receiver<Option<Given>>>,
}

impl Known {
    fn of(job: &Job) -> Self {
        Self { own: job.outlet.given(), sound: job.sound.as_ref().map(|outlet| outlet.given()) }
    }

    /// What they give together, as soon as that is known.
    async fn first(&mut self) -> Given {
        let own = told(&mut self.own).await;
        let Some(sound) = &mut self.sound else { return own };
        Given { pictures: own.pictures, sound: told(sound).await.sound }
    }

    async fn changed(&mut self) {
        let of_sound = async {
            match &mut self.sound {
                Some(sound) => news(sound).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = news(&mut self.own) => {}
            () = of_sound => {}
        }
    }
}

/// What ends a part of a run from outside.
struct Ends {
    plan: watch::Receiver<Plan>,
    known: Known,
    stop: Stop,
}

impl Ends {
    async fn reached(&mut self) -> Part {
        tokio::select! {
            Ok(()) = self.plan.changed() => Part::Changed,
            () = self.known.changed() => Part::Changed,
            () = self.stop.requested() => Part::Over(Failure::Ended),
        }
    }
}
