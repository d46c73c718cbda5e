//! A stream of a shared feed: encodes what the feed gives, or passes it on.

use std::sync::Arc;

use log::debug;
use tokio::sync::watch;

use super::encoding::{Encoding, by_itself};
use super::outbox::Out;
use super::picture::first_decoder;
use super::running::{Running, started};
use super::tap::{SINKS, Target, Timeline, count_dropped, tap};
use crate::base::time::MediaTime;
use crate::config::settings::Sound;
use crate::engine::plan::Plan;
use crate::engine::supervise::runs::Stop;
use crate::engine::work::Work;
use crate::host::fanout::{Fanout, Taking};
use crate::host::shared_source::{news, play_from, told};
use crate::model::given::{Given, Pictures};
use crate::model::status::Failure;
use crate::model::unit::TrackKind;
use crate::wire::answer::News;

/// A stream of a shared feed.
pub(super) struct Job {
    pub fanout: Arc<Fanout>,
    /// What it is to do; changes while it runs.
    pub work: watch::Receiver<Work>,
    pub encoding: Encoding,
}

/// A part of a run: while the plan and what the feed gives stay the same.
struct Part {
    plan: Plan,
    own: Given,
    other_sound: Option<bool>,
}

/// How a part of a run ends.
enum Over {
    /// The feed gives something else, or the plan is another.
    Changed,
    For(Failure),
}

impl Part {
    /// Whether there will be sound.
    fn sounds(&self) -> bool {
        self.other_sound.unwrap_or(self.own.sound && self.plan.stream.sound != Sound::None)
    }

    /// Whether the feed's own sound is to be handed on.
    fn takes_sound(&self) -> bool {
        self.other_sound.is_none() && self.sounds()
    }
}

impl Job {
    /// Runs until the pipeline fails or is to stop.
    pub(super) async fn run(mut self, mut stop: Stop) -> Failure {
        let mut known = self.fanout.given();
        loop {
            let own = tokio::select! {
                own = told(&mut known) => own,
                () = stop.requested() => return Failure::Ended,
            };
            let Work::Stream { plan, other_sound } = self.work.borrow_and_update().clone() else {
                return Failure::Build("it is no stream".to_owned());
            };
            let part = Part { plan, own, other_sound };
            let mut ends = Ends { work: self.work.clone(), known: known.clone(), stop };
            let over = if part.plan.passes_through(own) {
                self.pass(&part, &mut ends).await
            } else {
                self.encode(&part, &mut ends).await
            };
            self.encoding.out.tell(News::Pauses);
            match over {
                Over::Changed => stop = ends.stop,
                Over::For(failure) => return failure,
            }
        }
    }

    /// Hands the feed's own frames on, on the feed's thread.
    async fn pass(&self, part: &Part, ends: &mut Ends) -> Over {
        self.begin(part);
        let mut taken = Vec::new();
        if part.own.pictures.is_some() {
            self.encoding.announce(by_itself(&part.plan));
            taken.push(self.hand_on(TrackKind::Video));
        }
        taken.extend(part.takes_sound().then(|| self.hand_on(TrackKind::Audio)));
        ends.reached().await
    }

    /// Encodes the feed's pictures in a pipeline of its own.
    async fn encode(&mut self, part: &Part, ends: &mut Ends) -> Over {
        let Some(pictures) = part.own.pictures else {
            return Over::For(Failure::Build("the feed gives no picture".to_owned()));
        };
        let line = tokio::select! {
            line = self.line(&part.plan, pictures) => line,
            over = ends.reached() => return over,
        };
        let line = match line {
            Ok(line) => line,
            Err(failure) => return Over::For(failure),
        };
        debug!("stream {} runs: {line}", part.plan.stream.name);
        self.begin(part);
        let (fanout, target) = (Arc::clone(&self.fanout), self.target());
        let (mut running, taken) = match started(move || start(&line, &fanout, target)).await {
            Ok(started) => started,
            Err(failure) => return Over::For(failure),
        };
        let sound = part.takes_sound().then(|| self.hand_on(TrackKind::Audio));
        let over = tokio::select! {
            failure = running.ended() => Over::For(failure),
            over = ends.reached() => over,
        };
        drop((taken, sound));
        running.close().await;
        over
    }

    async fn line(&mut self, plan: &Plan, pictures: Pictures) -> Result<String, Failure> {
        let encoder = self.encoding.choose().await?;
        let decoder = match pictures {
            Pictures::Plain => "",
            Pictures::H264 { .. } => first_decoder()?,
        };
        let line = plan
            .encode_line(pictures, decoder, &encoder.element)
            .map_err(|error| Failure::Build(error.to_string()))?;
        self.encoding.announce(encoder);
        Ok(line)
    }

    fn begin(&self, part: &Part) {
        let video = part.own.pictures.map(|_| part.plan.fps().frame());
        self.encoding.out.tell(News::Begins {
            begin: self.fanout.earliest(MediaTime::now()),
            video,
            audio: part.sounds(),
            // A sound alone is not padded: it would be mostly that.
            bitrate: video.map_or(0, |_| part.plan.stream.bitrate.bps()),
        });
    }

    /// Takes a track's encoded frames as they are.
    fn hand_on(&self, track: TrackKind) -> Taking {
        self.target().take_from(&self.fanout, track)
    }

    fn target(&self) -> Target {
        Target::Stream(Arc::clone(&self.encoding.out))
    }
}

/// Passes on the sound of a feed until that is to stop.
pub(super) async fn sound(fanout: &Arc<Fanout>, out: Arc<Out>, mut stop: Stop) -> Failure {
    let _taken = Target::Stream(out).take_from(fanout, TrackKind::Audio);
    stop.requested().await;
    Failure::Ended
}

/// Starts the encoder's pipeline, and takes pictures into it; blocks.
fn start(line: &str, fanout: &Arc<Fanout>, target: Target) -> Result<(Running, Taking), Failure> {
    let mut running = Running::build(line, Vec::new())?;
    count_dropped(running.pipeline(), &target);
    tap(&Timeline::of(running.pipeline()), &SINKS, &target)?;
    let taking = play_from(&mut running, fanout, target)?;
    Ok((running, taking))
}

/// What ends a part of a run from outside.
struct Ends {
    work: watch::Receiver<Work>,
    known: watch::Receiver<Option<Given>>,
    stop: Stop,
}

impl Ends {
    async fn reached(&mut self) -> Over {
        tokio::select! {
            Ok(()) = self.work.changed() => Over::Changed,
            () = news(&mut self.known) => Over::Changed,
            () = self.stop.requested() => Over::For(Failure::Ended),
        }
    }
}
