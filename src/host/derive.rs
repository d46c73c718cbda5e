//! A feed that is made from another feed.

use std::sync::Arc;

use log::debug;
use tokio::sync::watch;

use super::outbox::Out;
use super::picture::first_decoder;
use super::running::{Running, start_blocking};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use crate::base::time::MediaTime;
use crate::config::settings::FeedAudio;
use crate::engine::plan::{Capture, Plan};
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::{Fanout, Subscription, Writer};
use crate::host::shared_source::{play_from, wait_changed, wait_known};
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::given::{Given, Pictures};
use crate::model::unit::TrackKind;

/// The feed that is made, and its base.
pub(super) struct Job {
    pub base: Arc<Fanout>,
    pub fanout: Arc<Fanout>,
    /// The plans; read at each start of a pipeline.
    pub work: watch::Receiver<Work>,
    pub out: Arc<Out>,
}

impl Job {
    /// Makes the feed until it fails or a stop is requested.
    pub(super) async fn run(self, mut stop: Stop) -> Failure {
        let mut media = self.base.given();
        loop {
            let given = tokio::select! {
                given = wait_known(&mut media) => given,
                () = stop.requested() => return Failure::Ended,
            };
            let Work::Made { plan, base } = self.work.borrow().clone() else {
                return Fault::WrongJob.into();
            };
            let run = self.fanout.begin_run(self.base.earliest(MediaTime::now()));
            let derivation =
                Derivation { plan, base_plan: *base, job: &self, writer: run.writer(), given };
            let (mut running, subscriptions) = match derivation.start().await {
                Ok(started) => started,
                Err(failure) => return failure,
            };
            let end = tokio::select! {
                failure = running.ended() => Some(failure),
                () = wait_changed(&mut media) => None,
                () = stop.requested() => Some(Failure::Ended),
            };
            drop(subscriptions);
            running.close().await;
            if let Some(failure) = end {
                return failure;
            }
        }
    }
}

/// One pipeline of the feed, while its base gives the same media.
struct Derivation<'a> {
    plan: Plan,
    base_plan: Plan,
    job: &'a Job,
    writer: Writer,
    given: Given,
}

impl Derivation<'_> {
    async fn start(&self) -> Result<(Running, Vec<Subscription>), Failure> {
        let Some(pictures) = self.given.pictures else {
            return Err(Failure::NoVideo);
        };
        let decoder = match pictures {
            Pictures::Plain => "",
            Pictures::H264 { .. } => first_decoder()?,
        };
        let line = self.plan.made_line(&self.base_plan, pictures, decoder)?;
        debug!("feed {} runs: {line}", self.plan.feed.name);
        let takes_sound = self.plan.feed.audio == FeedAudio::Own && self.given.sound;
        let capture = Capture { sound: takes_sound, ..Capture::plain(self.plan.feed.fps) };
        let sound = self.plan.feed_has_sound(capture);
        self.writer.announce(Given { pictures: Some(Pictures::Plain), sound });
        let target = Target::Shared(self.writer.clone(), Arc::clone(&self.job.out));
        let sound_target = target.clone();
        let from = Arc::clone(&self.job.base);
        let started = start_blocking(move || {
            let mut running = Running::build(&line, Vec::new())?;
            count_dropped(running.pipeline(), &target);
            tap(&Timeline::new(running.pipeline()), &SINKS, &target)?;
            let subscription = play_from(&mut running, &from, target)?;
            Ok((running, vec![subscription]))
        });
        let (running, mut subscriptions) = started.await?;
        subscriptions.extend(
            takes_sound.then(|| sound_target.subscribe_to(&self.job.base, TrackKind::Audio)),
        );
        Ok((running, subscriptions))
    }
}
