//! Tracks of an RTSP server or a byte feed, linked to branches as they appear.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use log::debug;
use tokio::sync::mpsc;

use super::packages;
use super::running::{Running, ensure_timestamps};
use super::tap::{Target, Timeline, count_dropped, tap};
use crate::base::lock::Lock;
use crate::config::settings::FeedAudio;
use crate::engine::plan::{Plan, SourceTrack};
use crate::engine::supervise::runs::Stop;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::given::Given;
use crate::model::unit::TrackKind;

/// Decoders of H.265 in the order in which they are tried.
const H265_DECODERS: [&str; 3] = ["v4l2slh265dec", "libde265dec", "avdec_h265"];

/// A run of a feed whose tracks are known only while it runs.
pub(super) struct Incoming {
    pub plan: Plan,
    pub target: Target,
    failures: mpsc::Sender<Failure>,
    /// The tracks that are used, at most one of each kind.
    tracks: Lock<Vec<SourceTrack>>,
}

/// Detects sound without video. Some containers, such as FLV, do not list their tracks:
/// a track exists once its first frame comes.
#[derive(Debug, Default)]
pub(super) struct SoundAlone {
    first: Option<gst::ClockTime>,
    frames: u32,
}

/// How long sound is alone before there is taken to be no video: longer than
/// multiplexers send sound early, shorter than viewers wait.
const ALONE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_mseconds(1500);

/// The same in frames, where these have no times.
const MAX_FRAMES_ALONE: u32 = 100;

impl SoundAlone {
    /// Takes the next frame of the sound; returns whether the timeout has passed.
    pub(super) fn has_timed_out(&mut self, frame: &gst::BufferRef) -> bool {
        self.frames += 1;
        let Some(time) = frame.pts() else { return self.frames > MAX_FRAMES_ALONE };
        let first = *self.first.get_or_insert(time);
        time.saturating_sub(first) > ALONE_TIMEOUT
    }
}

/// Failures of tracks.
pub(super) type TrackFailures = mpsc::Receiver<Failure>;

impl Incoming {
    pub(super) fn new(plan: &Plan, target: Target) -> (Arc<Self>, TrackFailures) {
        // One: the first failure ends the run.
        let (sender, failures) = mpsc::channel(1);
        let tracks = Lock::default();
        (Arc::new(Self { plan: plan.clone(), target, failures: sender, tracks }), failures)
    }

    /// Returns whether an offered track is used. Must be called for all tracks before the
    /// first frame.
    pub(super) fn accept(&self, track: SourceTrack) -> bool {
        let mut tracks = self.tracks.lock();
        let is_first = tracks.iter().all(|other| other.kind != track.kind);
        let is_accepted = is_first && (track.kind == TrackKind::Video || self.takes_sound());
        if is_accepted {
            tracks.push(track);
        }
        is_accepted
    }

    fn takes_sound(&self) -> bool {
        self.plan.feed.audio == FeedAudio::Own
    }

    /// Whether a video track is used.
    pub(super) fn has_video(&self) -> bool {
        let tracks = self.tracks.lock();
        tracks.iter().any(|track| track.kind == TrackKind::Video)
    }

    /// Announces the media of the feed to its subscribers, before the first frame.
    pub(super) fn announce(&self) {
        let tracks = self.tracks.lock();
        let of = |kind| tracks.iter().find(|track| track.kind == kind);
        let sound = match self.plan.feed.audio {
            FeedAudio::None => false,
            FeedAudio::Own => of(TrackKind::Audio).is_some(),
            FeedAudio::Silence | FeedAudio::Tone | FeedAudio::Alsa(_) => true,
        };
        let pictures = of(TrackKind::Video).map(SourceTrack::pictures);
        debug!("the feed gives {pictures:?}, sound {sound}");
        if let Target::Shared(writer, _) = &self.target {
            writer.announce(Given { pictures, sound });
        }
    }

    /// Links a pad to the branch of its track; a failure ends the run.
    pub(super) fn link(&self, timeline: &Timeline, pad: &gst::Pad, track: &SourceTrack) {
        if let Err(failure) = self.branch(timeline, pad, track) {
            self.fail(failure);
        }
    }

    /// Ends the run.
    pub(super) fn fail(&self, failure: Failure) {
        self.failures.try_send(failure).ok();
    }

    fn branch(
        &self,
        timeline: &Timeline,
        pad: &gst::Pad,
        track: &SourceTrack,
    ) -> Result<(), Failure> {
        let pipeline = timeline.pipeline().ok_or(Failure::Ended)?;
        let decoder = if track.is_h265() { h265_decoder()? } else { "" };
        let line = self.plan.track_line(track, decoder)?;
        debug!("links: {line}");
        let bin = gst::parse::bin_from_description(&line, true).map_err(Fault::line)?;
        let sinks: &[&str] = match track.kind {
            TrackKind::Video => &["video", "plain"],
            TrackKind::Audio => &["audio"],
        };
        ensure_timestamps(&bin);
        for sink in sinks.iter().filter_map(|name| bin.by_name(name)) {
            // One thread may feed all tracks: a sink that waits for its first frame would
            // block the others.
            sink.set_property("async", false);
        }
        pipeline.add(&bin).map_err(Fault::link)?;
        count_dropped(&bin, &self.target);
        tap(timeline, sinks, &self.target)?;
        bin.sync_state_with_parent().map_err(Fault::link)?;
        let sink = bin
            .static_pad("sink")
            .ok_or_else(|| Fault::link("the track's branch has no sink pad"))?;
        pad.link(&sink).map_err(Fault::link)?;
        Ok(())
    }
}

/// Waits until the pipeline ends, a track fails, or a stop is requested.
pub(super) async fn watch(
    running: &mut Running,
    failures: &mut TrackFailures,
    stop: &mut Stop,
) -> Failure {
    tokio::select! {
        Some(failure) = failures.recv() => failure,
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
