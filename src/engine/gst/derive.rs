//! A feed that is made from another one.

use std::sync::Arc;

use super::capture::{Plans, no_stream};
use super::intake::{news, play_from, told};
use super::outlet::{self, Frame, Outlet, Taking, Writer};
use super::picture::first_decoder;
use super::running::Running;
use super::tap::{FirstSign, SINKS, Target, Timeline, count_dropped, tap};
use crate::config::settings::FeedAudio;
use crate::engine::plan::{Capture, Given, Pictures, Plan};
use crate::engine::runs::Stop;
use crate::hub::bytes::{self, Flow};
use crate::model::status::Failure;
use crate::model::unit::TrackKind;
use log::debug;

/// The feed that another is made from.
#[derive(Clone, Debug)]
pub enum Base {
    Pictures(Pictured),
    /// One of bytes.
    Bytes(Arc<Flow>),
}

/// A feed of pictures that another is made from.
#[derive(Clone, Debug)]
pub struct Pictured {
    pub outlet: Arc<Outlet>,
    pub plans: Plans,
}

/// While it lives, the feed that another is made from is needed.
#[derive(Debug)]
pub(super) enum Hold {
    Pictures(#[expect(dead_code, reason = "being alive is what it does")] outlet::Need),
    Bytes(#[expect(dead_code, reason = "being alive is what it does")] bytes::Need),
}

impl Base {
    pub(super) fn need(&self) -> Hold {
        match self {
            Base::Pictures(base) => Hold::Pictures(base.outlet.need()),
            Base::Bytes(flow) => Hold::Bytes(flow.need()),
        }
    }

    /// What it has given since the start of the service.
    pub(super) fn given(&self) -> u64 {
        match self {
            Base::Pictures(base) => base.outlet.frames(),
            Base::Bytes(flow) => flow.bytes_in(),
        }
    }
}

/// Makes the feed of `plan` from `base`, until that fails or is to stop.
pub(super) async fn carry(
    plan: &Plan,
    base: &Pictured,
    outlet: &Arc<Outlet>,
    sign: &Arc<FirstSign>,
    mut stop: Stop,
) -> Failure {
    let mut known = base.outlet.given();
    loop {
        let given = tokio::select! {
            given = told(&mut known) => given,
            () = stop.requested() => return Failure::Ended,
        };
        let run = outlet.begin_run(base.outlet.earliest(super::now()));
        let making = Making { plan, base, writer: run.writer(), sign, given };
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
        running.close(&format!("feed {}", outlet.name())).await;
        if let Some(failure) = over {
            return failure;
        }
    }
}

/// What a feed is made of while the other gives this.
struct Making<'a> {
    plan: &'a Plan,
    base: &'a Pictured,
    writer: Writer,
    sign: &'a Arc<FirstSign>,
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
        let of_base = self.base.plans.borrow().first().map(|plan| plan.borrow().clone());
        let of_base = of_base.ok_or_else(no_stream)?;
        let line = self
            .plan
            .made_line(&of_base, pictures, decoder)
            .map_err(|error| Failure::Build(error.to_string()))?;
        debug!("feed {} runs: {line}", self.writer.name());
        let takes_sound = self.plan.feed.audio == FeedAudio::Own && self.given.sound;
        let capture = Capture { sound: takes_sound, ..Capture::plain(self.plan.feed.fps) };
        let sound = self.plan.feed_sounds(capture);
        self.writer.promise(Given { pictures: Some(Pictures::Plain), sound });
        let target = Target::Shared(self.writer.clone());
        let (from, sign) = (Arc::clone(&self.base.outlet), Arc::clone(self.sign));
        let started = tokio::task::spawn_blocking(move || {
            let mut running = Running::build(&line, Vec::new())?;
            count_dropped(running.pipeline(), &target);
            tap(&Timeline::of(running.pipeline()), &SINKS, &target, &sign)?;
            let taking = play_from(&mut running, &from, target)?;
            Ok((running, vec![taking]))
        });
        let started = started.await.map_err(|panic| Failure::Build(panic.to_string()))?;
        let (running, mut taken) = started?;
        taken.extend(takes_sound.then(|| self.hand_on_sound()));
        Ok((running, taken))
    }

    fn hand_on_sound(&self) -> Taking {
        let writer = self.writer.clone();
        self.base.outlet.take(TrackKind::Audio, move |frame| match frame {
            Frame::Unit(unit) => {
                writer.unit(unit.clone());
            }
            Frame::Sound(info) => writer.audio_config(info.clone()),
            Frame::Plain(_) => {}
        })
    }
}
