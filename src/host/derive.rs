//! A feed that is made from another one.

use std::sync::Arc;

use log::debug;
use tokio::sync::watch;

use super::outbox::Out;
use super::picture::first_decoder;
use super::running::{Running, started};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use crate::base::time::MediaTime;
use crate::config::settings::FeedAudio;
use crate::engine::plan::{Capture, Plan};
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::{Fanout, Taking, Writer};
use crate::host::shared_source::{news, play_from, told};
use crate::model::given::{Given, Pictures};
use crate::model::status::Failure;
use crate::model::unit::TrackKind;

/// The feed that is made, and what it is made from.
pub(super) struct Job {
    pub base: Arc<Fanout>,
    pub fanout: Arc<Fanout>,
    /// What it is to do: read for each part of a run.
    pub work: watch::Receiver<Work>,
    pub out: Arc<Out>,
}

impl Job {
    /// Makes the feed until that fails or is to stop.
    pub(super) async fn run(self, mut stop: Stop) -> Failure {
        let mut known = self.base.given();
        loop {
            let given = tokio::select! {
                given = told(&mut known) => given,
                () = stop.requested() => return Failure::Ended,
            };
            let Work::Made { plan, base } = self.work.borrow().clone() else {
                return Failure::Build("it is made from no feed".to_owned());
            };
            let run = self.fanout.begin_run(self.base.earliest(MediaTime::now()));
            let making = Making { plan, of_base: *base, job: &self, writer: run.writer(), given };
            let (mut running, taken) = match making.start().await {
                Ok(started) => started,
                Err(failure) => return failure,
            };
            let over = tokio::select! {
                failure = running.ended() => Some(failure),
                () = news(&mut known) => None,
                () = stop.requested() => Some(Failure::Ended),
            };
            drop(taken);
            running.close().await;
            if let Some(failure) = over {
                return failure;
            }
        }
    }
}

/// What a feed is made of while the other gives this.
struct Making<'a> {
    plan: Plan,
    of_base: Plan,
    job: &'a Job,
    writer: Writer,
    given: Given,
}

impl Making<'_> {
    async fn start(&self) -> Result<(Running, Vec<Taking>), Failure> {
        let Some(pictures) = self.given.pictures else {
            return Err(Failure::Build(
                "the feed that it is made from gives no picture".to_owned(),
            ));
        };
        let decoder = match pictures {
            Pictures::Plain => "",
            Pictures::H264 { .. } => first_decoder()?,
        };
        let line = self
            .plan
            .made_line(&self.of_base, pictures, decoder)
            .map_err(|error| Failure::Build(error.to_string()))?;
        debug!("feed {} runs: {line}", self.plan.feed.name);
        let takes_sound = self.plan.feed.audio == FeedAudio::Own && self.given.sound;
        let capture = Capture { sound: takes_sound, ..Capture::plain(self.plan.feed.fps) };
        let sound = self.plan.feed_has_sound(capture);
        self.writer.promise(Given { pictures: Some(Pictures::Plain), sound });
        let target = Target::Shared(self.writer.clone(), Arc::clone(&self.job.out));
        let of_sound = target.clone();
        let from = Arc::clone(&self.job.base);
        let started = started(move || {
            let mut running = Running::build(&line, Vec::new())?;
            count_dropped(running.pipeline(), &target);
            tap(&Timeline::of(running.pipeline()), &SINKS, &target)?;
            let taking = play_from(&mut running, &from, target)?;
            Ok((running, vec![taking]))
        });
        let (running, mut taken) = started.await?;
        taken.extend(takes_sound.then(|| of_sound.take_from(&self.job.base, TrackKind::Audio)));
        Ok((running, taken))
    }
}
