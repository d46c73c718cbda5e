//! A stream of a shared feed: encodes the feed's pictures, or passes them through.

use std::sync::Arc;

use log::debug;
use tokio::sync::watch;

use super::encoding::{Encoding, pass_through};
use super::outbox::Out;
use super::picture::first_decoder;
use super::running::{Running, start_blocking};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use crate::base::time::MediaTime;
use crate::config::settings::Sound;
use crate::engine::plan::Plan;
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::{Fanout, Subscription};
use crate::host::shared_source::{play_from, wait_changed, wait_known};
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::given::{Given, Pictures};
use crate::model::unit::TrackKind;
use crate::wire::answer::News;

/// A stream of a shared feed.
pub(super) struct Job {
    pub fanout: Arc<Fanout>,
    /// The job, which may change while it runs.
    pub work: watch::Receiver<Work>,
    pub encoding: Encoding,
}

/// A part of a run, in which the plan and the feed's media stay the same.
struct Part {
    plan: Plan,
    media: Given,
    other_sound: Option<bool>,
}

/// How a part of a run ends.
enum PartEnd {
    /// The feed's media or the plan have changed.
    Changed,
    Failed(Failure),
}

impl Part {
    /// Whether the stream has sound.
    fn has_sound(&self) -> bool {
        self.other_sound.unwrap_or(self.media.sound && self.plan.stream.sound != Sound::None)
    }

    /// Whether the sound of this feed is used.
    fn takes_sound(&self) -> bool {
        self.other_sound.is_none() && self.has_sound()
    }
}

impl Job {
    /// Runs until the pipeline fails or a stop is requested.
    pub(super) async fn run(mut self, mut stop: Stop) -> Failure {
        let mut known = self.fanout.given();
        loop {
            let media = tokio::select! {
                media = wait_known(&mut known) => media,
                () = stop.requested() => return Failure::Ended,
            };
            let Work::Stream { plan, other_sound } = self.work.borrow_and_update().clone() else {
                return Fault::WrongJob.into();
            };
            let part = Part { plan, media, other_sound };
            let mut end_conditions =
                EndConditions { work: self.work.clone(), known: known.clone(), stop };
            let over = if part.plan.passes_through(media) {
                self.pass_through(&part, &mut end_conditions).await
            } else {
                self.encode(&part, &mut end_conditions).await
            };
            self.encoding.out.send(News::Pauses);
            match over {
                PartEnd::Changed => stop = end_conditions.stop,
                PartEnd::Failed(failure) => return failure,
            }
        }
    }

    /// Passes the feed's frames through, on the feed's thread.
    async fn pass_through(&self, part: &Part, end_conditions: &mut EndConditions) -> PartEnd {
        self.begin(part);
        let mut subscriptions = Vec::new();
        if part.media.pictures.is_some() {
            self.encoding.announce(pass_through(&part.plan));
            subscriptions.push(self.subscribe(TrackKind::Video));
        }
        subscriptions.extend(part.takes_sound().then(|| self.subscribe(TrackKind::Audio)));
        end_conditions.wait().await
    }

    /// Encodes the feed's pictures in a pipeline of its own.
    async fn encode(&mut self, part: &Part, end_conditions: &mut EndConditions) -> PartEnd {
        let Some(pictures) = part.media.pictures else {
            return PartEnd::Failed(Failure::NoVideo);
        };
        let line = tokio::select! {
            line = self.line(&part.plan, pictures) => line,
            over = end_conditions.wait() => return over,
        };
        let line = match line {
            Ok(line) => line,
            Err(failure) => return PartEnd::Failed(failure),
        };
        debug!("stream {} runs: {line}", part.plan.stream.name);
        self.begin(part);
        let (fanout, target) = (Arc::clone(&self.fanout), self.target());
        let (mut running, subscription) =
            match start_blocking(move || start(&line, &fanout, target)).await {
                Ok(started) => started,
                Err(failure) => return PartEnd::Failed(failure),
            };
        let sound = part.takes_sound().then(|| self.subscribe(TrackKind::Audio));
        let over = tokio::select! {
            failure = running.ended() => PartEnd::Failed(failure),
            over = end_conditions.wait() => over,
        };
        drop((subscription, sound));
        running.close().await;
        over
    }

    async fn line(&mut self, plan: &Plan, pictures: Pictures) -> Result<String, Failure> {
        let encoder = self.encoding.choose().await?;
        let decoder = match pictures {
            Pictures::Plain => "",
            Pictures::H264 { .. } => first_decoder()?,
        };
        let line = plan.encode_line(pictures, decoder, &encoder.element)?;
        self.encoding.announce(encoder);
        Ok(line)
    }

    fn begin(&self, part: &Part) {
        let video = part.media.pictures.map(|_| part.plan.fps().frame());
        self.encoding.out.send(News::Begins {
            begin: self.fanout.earliest(MediaTime::now()),
            video,
            audio: part.has_sound(),
            // Sound alone is not padded: padding would be most of it.
            bitrate: video.map_or(0, |_| part.plan.stream.bitrate.bps()),
        });
    }

    /// Subscribes to a track's encoded frames.
    fn subscribe(&self, track: TrackKind) -> Subscription {
        self.target().subscribe_to(&self.fanout, track)
    }

    fn target(&self) -> Target {
        Target::Stream(Arc::clone(&self.encoding.out))
    }
}

/// Sends the sound of a feed to the service until a stop is requested.
pub(super) async fn sound(fanout: &Arc<Fanout>, out: Arc<Out>, mut stop: Stop) -> Failure {
    let _subscription = Target::Stream(out).subscribe_to(fanout, TrackKind::Audio);
    stop.requested().await;
    Failure::Ended
}

/// Starts the encoder's pipeline and subscribes it to the feed's pictures; blocks.
fn start(
    line: &str,
    fanout: &Arc<Fanout>,
    target: Target,
) -> Result<(Running, Subscription), Failure> {
    let mut running = Running::build(line, Vec::new())?;
    count_dropped(running.pipeline(), &target);
    tap(&Timeline::new(running.pipeline()), &SINKS, &target)?;
    let subscription = play_from(&mut running, fanout, target)?;
    Ok((running, subscription))
}

/// The external conditions that end a part of a run.
struct EndConditions {
    work: watch::Receiver<Work>,
    known: watch::Receiver<Option<Given>>,
    stop: Stop,
}

impl EndConditions {
    async fn wait(&mut self) -> PartEnd {
        tokio::select! {
            Ok(()) = self.work.changed() => PartEnd::Changed,
            () = wait_changed(&mut self.known) => PartEnd::Changed,
            () = self.stop.requested() => PartEnd::Failed(Failure::Ended),
        }
    }
}
