//! Tracks that come from elsewhere, linked as they are found.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use log::debug;
use tokio::sync::mpsc;

use super::packages;
use super::running::{Running, give_times};
use super::tap::{Target, Timeline, count_dropped, tap};
use crate::config::settings::FeedAudio;
use crate::engine::plan::{Plan, SourceTrack};
use crate::engine::supervise::runs::Stop;
use crate::model::given::Given;
use crate::model::status::Failure;
use crate::model::unit::TrackKind;

/// Decoders of H.265 in the order in which they are tried.
const H265_DECODERS: [&str; 3] = ["v4l2slh265dec", "libde265dec", "avdec_h265"];

/// One life of a feed whose tracks are known only while it runs.
pub(super) struct Incoming {
    pub plan: Plan,
    pub target: Target,
    tell: mpsc::Sender<Failure>,
    /// What is taken of that which is offered, at most one of each kind.
    tracks: Mutex<Vec<SourceTrack>>,
}

/// Whether a sound comes without any picture. Some containers, such as FLV, do
/// not say what is in them: a track is there when it has come.
#[derive(Debug, Default)]
pub(super) struct Alone {
    first: Option<gst::ClockTime>,
    frames: u32,
}

/// A sound that is alone for so long has no picture: more than the head start
/// that it is given, less than people wait.
const ALONE: gst::ClockTime = gst::ClockTime::from_mseconds(1500);

/// The same, where frames have no times.
const FRAMES_ALONE: u32 = 100;

impl Alone {
    /// Takes the next frame of the sound; whether it has been alone for too long.
    pub(super) fn is_it_after(&mut self, frame: &gst::BufferRef) -> bool {
        self.frames += 1;
        let Some(time) = frame.pts() else { return self.frames > FRAMES_ALONE };
        let first = *self.first.get_or_insert(time);
        time.saturating_sub(first) > ALONE
    }
}

/// What went wrong with a track.
pub(super) type Trouble = mpsc::Receiver<Failure>;

impl Incoming {
    pub(super) fn new(plan: &Plan, target: Target) -> (Arc<Self>, Trouble) {
        // The first trouble ends the run.
        let (tell, trouble) = mpsc::channel(1);
        let tracks = Mutex::new(Vec::new());
        (Arc::new(Self { plan: plan.clone(), target, tell, tracks }), trouble)
    }

    /// Whether a track that is offered is taken. All are to be asked about
    /// before the first frame.
    pub(super) fn choose(&self, track: SourceTrack) -> bool {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = tracks.iter().all(|other| other.kind != track.kind);
        let is_taken = is_first && (track.kind == TrackKind::Video || self.takes_sound());
        if is_taken {
            tracks.push(track);
        }
        is_taken
    }

    fn takes_sound(&self) -> bool {
        self.plan.feed.audio == FeedAudio::Own
    }

    /// Whether there is a picture among that which is taken.
    pub(super) fn has_picture(&self) -> bool {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.iter().any(|track| track.kind == TrackKind::Video)
    }

    /// Tells those who take from the feed what it gives, before the first frame.
    pub(super) fn announce(&self) {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind| tracks.iter().find(|track| track.kind == kind);
        let sound = match self.plan.feed.audio {
            FeedAudio::None => false,
            FeedAudio::Own => of(TrackKind::Audio).is_some(),
            FeedAudio::Silence | FeedAudio::Tone | FeedAudio::Alsa(_) => true,
        };
        let pictures = of(TrackKind::Video).map(SourceTrack::pictures);
        debug!("it gives {pictures:?}, sound {sound}");
        if let Target::Shared(writer, _) = &self.target {
            writer.promise(Given { pictures, sound });
        }
    }

    /// Links a pad to what becomes of its track; what goes wrong ends the run.
    pub(super) fn link(&self, on: &Timeline, pad: &gst::Pad, track: &SourceTrack) {
        if let Err(failure) = self.branch(on, pad, track) {
            self.fail(failure);
        }
    }

    /// Ends the run.
    pub(super) fn fail(&self, failure: Failure) {
        self.tell.try_send(failure).ok();
    }

    fn branch(&self, on: &Timeline, pad: &gst::Pad, track: &SourceTrack) -> Result<(), Failure> {
        let build = |what: &str| Failure::Build(format!("a track cannot be linked: {what}"));
        let pipeline = on.pipeline().ok_or(Failure::Ended)?;
        let decoder = if track.is_h265() { h265_decoder()? } else { "" };
        let line = self
            .plan
            .track_line(track, decoder)
            .map_err(|error| Failure::Build(error.to_string()))?;
        debug!("links: {line}");
        let bin = gst::parse::bin_from_description(&line, true)
            .map_err(|error| build(&error.to_string()))?;
        let sinks: &[&str] = match track.kind {
            TrackKind::Video => &["video", "plain"],
            TrackKind::Audio => &["audio"],
        };
        give_times(&bin);
        for sink in sinks.iter().filter_map(|name| bin.by_name(name)) {
            // One thread may feed all tracks: waiting for the first frame of each
            // would hold up the others.
            sink.set_property("async", false);
        }
        pipeline.add(&bin).map_err(|error| build(&error.to_string()))?;
        count_dropped(&bin, &self.target);
        tap(on, sinks, &self.target)?;
        bin.sync_state_with_parent().map_err(|error| build(&error.to_string()))?;
        let sink = bin.static_pad("sink").ok_or_else(|| build("it has no way in"))?;
        pad.link(&sink).map_err(|error| build(&error.to_string()))?;
        Ok(())
    }
}

/// Runs until the pipeline ends, a track makes trouble, or it is to stop.
pub(super) async fn watch(
    running: &mut Running,
    trouble: &mut Trouble,
    stop: &mut Stop,
) -> Failure {
    tokio::select! {
        Some(failure) = trouble.recv() => failure,
        failure = running.ended() => failure,
        () = stop.requested() => Failure::Ended,
    }
}

pub(super) fn h265_decoder() -> Result<&'static str, Failure> {
    let found = H265_DECODERS.into_iter().find(|name| gst::ElementFactory::find(name).is_some());
    found.ok_or_else(|| Failure::MissingElement {
        element: "libde265dec".to_owned(),
        package: packages::of("libde265dec").map(Into::into),
    })
}
