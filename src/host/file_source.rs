//! Files as feeds: opened, looked into, and played in real time for ever.
//!
//! A file is read ahead by a small pipeline of its own, a new one each round,
//! and its frames are handed to the feed's pipeline when they are due.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::info;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::picture;
use super::running::Running;
use crate::base::units::FrameRate;
use crate::engine::plan::{Capture, Form, Plan};
use crate::host::loop_timeline::{LoopTimeline, Pace, Piece};
use crate::model::status::Failure;
use crate::model::unit::TrackKind;

/// Frames that are looked at to know what a file is: longer than the distance
/// of reordered pictures and the head start of sound.
const PROBED: usize = 200;

/// A file that shows nothing for this long is broken, or on a dead disk.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Frames read ahead: above a second, longer than opening the file again takes.
const AHEAD: usize = 96;

/// What the feed's pipeline may hold before the film waits for it.
const HELD: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// One frame as the file has it.
#[derive(Debug)]
struct Unit {
    track: TrackKind,
    sample: gst::Sample,
}

/// A file while it is read through once.
struct Round {
    path: PathBuf,
    reading: Reading,
    units: mpsc::Receiver<Unit>,
}

/// The pipeline that reads a file.
///
/// Frames are to be taken while it starts, too. A sink that `pad-added` adds
/// meanwhile plays at once, as its pipeline is to; then the pipeline, on its way
/// there, pauses it once more, and that needs a lock which the sink holds while
/// a frame of it is handed over.
enum Reading {
    Starts(JoinHandle<Result<Running, Failure>>),
    Runs(Running),
    Over,
}

/// What a file holds, for the plan of its stream.
///
/// # Errors
/// It is not there, cannot be read, or holds no H.264 video.
pub(super) async fn look(path: &Path, plan: &Plan) -> Result<Capture, Failure> {
    let (in_order, sound) = order(path).await?;
    let form = if in_order && plan.may_pass_through() {
        Form::H264
    } else {
        Form::Coded(picture::first_decoder()?)
    };
    Ok(Capture { form, rate: (plan.feed.fps.fps(), 1), sound })
}

/// Whether a file's pictures are shown in the order in which they are decoded,
/// and whether it has sound.
///
/// # Errors
/// As [`look`].
pub(super) async fn order(path: &Path) -> Result<(bool, bool), Failure> {
    let found = Round::open(path, true).look().await?;
    if found.pictures == 0 {
        return Err(broken(path, "holds no H.264 video"));
    }
    Ok((found.in_order, found.sound))
}

/// Plays a file for ever into the sources of a running pipeline. Returns when
/// it cannot go on.
pub(super) async fn play(path: PathBuf, fps: FrameRate, into: Sources) -> Failure {
    let (tell, pieces) = mpsc::channel(AHEAD);
    tokio::select! {
        failure = read(&path, fps, into.sound.is_some(), tell) => failure,
        failure = hand_over(pieces, into) => failure,
    }
}

/// Where a film goes.
#[derive(Debug)]
pub(super) struct Sources {
    video: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
}

impl Sources {
    /// Those of the feed's pipeline; one for sound only if that is the file's.
    pub(super) fn of(running: &Running) -> Result<Self, Failure> {
        let source = |name: &str| -> Result<gst_app::AppSrc, Failure> {
            let source = running.element(name)?.downcast::<gst_app::AppSrc>();
            let source =
                source.map_err(|_| Failure::Build(format!("{name:?} is not an appsrc")))?;
            source.set_max_bytes(0);
            source.set_max_buffers(0);
            source.set_max_time(gst::ClockTime::ZERO);
            Ok(source)
        };
        Ok(Self { video: source("film")?, sound: source("sound").ok() })
    }
}

/// Reads round after round, and sends what has its place on the timeline.
async fn read(
    path: &Path,
    fps: FrameRate,
    with_sound: bool,
    tell: mpsc::Sender<Piece<gst::Sample>>,
) -> Failure {
    let mut timeline = LoopTimeline::default();
    loop {
        let mut round = Round::open(path, with_sound);
        let mut times = Times::new(fps);
        let read = loop {
            match round.next().await {
                Ok(Some(unit)) => {
                    let Some(piece) = times.piece(unit) else { continue };
                    for piece in timeline.push(piece) {
                        if tell.send(piece).await.is_err() {
                            break;
                        }
                    }
                }
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        drop(round);
        let (had_picture, rest) = timeline.end_round();
        for piece in rest {
            if tell.send(piece).await.is_err() {
                return Failure::Ended;
            }
        }
        match read {
            Err(failure) => return failure,
            Ok(()) if !had_picture => return broken(path, "holds no H.264 video"),
            Ok(()) => {}
        }
    }
}

/// Hands frames to the pipeline when they are due.
async fn hand_over(mut pieces: mpsc::Receiver<Piece<gst::Sample>>, into: Sources) -> Failure {
    let mut pace: Option<Pace> = None;
    while let Some(piece) = pieces.recv().await {
        while into.video.current_level_time() > HELD {
            // The encoder is slower than the film; so the film waits.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let Some(now) = running_time(&into.video) else { return Failure::Ended };
        let pace = pace.get_or_insert_with(|| Pace::new(now));
        let time = Duration::from_nanos(piece.dts);
        let due = pace.due(time, now);
        if let Some(left) = due.checked_sub(now) {
            tokio::time::sleep(left).await;
        }
        let source = match (piece.track, &into.sound) {
            (TrackKind::Video, _) => &into.video,
            (TrackKind::Audio, Some(sound)) => sound,
            (TrackKind::Audio, None) => continue,
        };
        let at = |time: u64| gst::ClockTime::from_nseconds((due.as_nanos() as u64) + time);
        let Some(mut buffer) = piece.data.buffer_owned() else { continue };
        let fresh = buffer.make_mut();
        fresh.set_dts(at(0));
        fresh.set_pts(at(piece.pts - piece.dts));
        fresh.set_duration(gst::ClockTime::from_nseconds(piece.duration));
        if source.caps().as_deref() != piece.data.caps() {
            source.set_caps(piece.data.caps_owned().as_ref());
        }
        if source.push_buffer(buffer).is_err() {
            // The bus says why; it is heard first.
            return std::future::pending().await;
        }
    }
    // The reader knows why there are no more.
    std::future::pending().await
}

fn running_time(element: &impl IsA<gst::Element>) -> Option<Duration> {
    Some(Duration::from_nanos(element.current_running_time()?.nseconds()))
}

/// Where a file begins on the timeline of a round. An edit list may place the
/// decoding of a reordered picture, or a sound, before that.
const BEGIN: i64 = 10_000_000_000;

/// Gives every frame its times, also where the file has none.
struct Times {
    frame: u64,
    /// Where the last picture ended.
    video_end: u64,
}

impl Times {
    fn new(fps: FrameRate) -> Self {
        Self { frame: fps.frame().as_nanos() as u64, video_end: 0 }
    }

    /// Nothing where the file's edit list leaves a sound out: what an encoder
    /// puts before the first one (its priming).
    fn piece(&mut self, unit: Unit) -> Option<Piece<gst::Sample>> {
        let Unit { track, sample } = unit;
        let buffer = sample.buffer()?;
        if track == TrackKind::Audio && is_cut(&sample, buffer) {
            return None;
        }
        let place = |time: Option<gst::ClockTime>| running(&sample, time?);
        let pts = place(buffer.pts());
        let dts = place(buffer.dts()).or(pts);
        let stated = buffer.duration().map(gst::ClockTime::nseconds);
        let duration = stated.filter(|duration| *duration > 0).unwrap_or(self.frame);
        let dts = dts.unwrap_or(self.video_end);
        if track == TrackKind::Video {
            self.video_end = dts + duration;
        }
        let pts = pts.unwrap_or(dts).max(dts);
        Some(Piece { track, pts, dts, duration, data: sample })
    }
}

/// Whether all of a buffer lies outside of what its segment shows.
fn is_cut(sample: &gst::Sample, buffer: &gst::BufferRef) -> bool {
    let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let (Some(segment), Some(begin)) = (segment, buffer.pts()) else { return false };
    let end = buffer.duration().map(|duration| begin + duration);
    segment.clip(begin, end).is_none()
}

/// A time of a file on the timeline of its round, as the file's edit lists
/// place it.
fn running(sample: &gst::Sample, time: gst::ClockTime) -> Option<u64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let running = match segment.to_running_time_full(time)? {
        gst::Signed::Positive(after) => i64::try_from(after.nseconds()).ok()?,
        gst::Signed::Negative(before) => -i64::try_from(before.nseconds()).ok()?,
    };
    u64::try_from(running.checked_add(BEGIN)?).ok()
}

/// What a look into a file finds.
struct Found {
    pictures: usize,
    /// Whether pictures are shown in the order in which they are decoded.
    in_order: bool,
    sound: bool,
}

impl Round {
    /// Begins to read a file.
    fn open(path: &Path, with_sound: bool) -> Self {
        // As many as the feed's pipeline takes in a moment.
        let (tell, units) = mpsc::channel(16);
        let file = path.to_owned();
        let start = tokio::task::spawn_blocking(move || {
            let mut running = build(&file, with_sound, tell)?;
            running.play()?;
            Ok(running)
        });
        Self { path: path.to_owned(), reading: Reading::Starts(start), units }
    }

    /// The next frame; none at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read on, or shows nothing for [`READ_TIMEOUT`].
    async fn next(&mut self) -> Result<Option<Unit>, Failure> {
        let next = async {
            tokio::select! {
                biased;
                Some(unit) = self.units.recv() => Ok(Some(unit)),
                failure = self.reading.ended() => {
                    if failure != Failure::Ended {
                        return Err(in_file(&self.path, failure));
                    }
                    Ok(self.units.try_recv().ok())
                }
            }
        };
        let next = tokio::time::timeout(READ_TIMEOUT, next).await;
        next.unwrap_or_else(|_| Err(broken(&self.path, "shows nothing")))
    }

    async fn look(&mut self) -> Result<Found, Failure> {
        let mut found = Found { pictures: 0, in_order: true, sound: false };
        let mut latest = None;
        while found.pictures < PROBED {
            let Some(unit) = self.next().await? else { break };
            match unit.track {
                TrackKind::Audio => found.sound = true,
                TrackKind::Video => {
                    let pts = unit.sample.buffer().and_then(|buffer| buffer.pts());
                    found.in_order &= pts.is_none() || pts >= latest;
                    latest = pts.max(latest);
                    found.pictures += 1;
                }
            }
        }
        Ok(found)
    }
}

impl Reading {
    /// Returns when the file has been read or cannot be read on; safe to cancel.
    async fn ended(&mut self) -> Failure {
        if let Self::Starts(start) = self {
            match start.await {
                Ok(Ok(running)) => *self = Self::Runs(running),
                Ok(Err(failure)) => return self.end(failure),
                Err(panic) => return self.end(Failure::Build(panic.to_string())),
            }
        }
        match self {
            Self::Runs(running) => {
                let failure = running.ended().await;
                self.end(failure)
            }
            Self::Starts(_) | Self::Over => Failure::Ended,
        }
    }

    fn end(&mut self, failure: Failure) -> Failure {
        *self = Self::Over;
        failure
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // Those who hand over frames must not wait for somebody to take them.
        self.units.close();
    }
}

/// The pipeline that gives the frames of a file to `tell`, and waits for it.
fn build(path: &Path, with_sound: bool, tell: mpsc::Sender<Unit>) -> Result<Running, Failure> {
    std::fs::File::open(path).map_err(|error| broken(path, &error.to_string()))?;
    let running = Running::build("filesrc name=file ! parsebin name=parsed", Vec::new())?;
    running.element("file")?.set_property("location", path);
    let pipeline = running.pipeline().downgrade();
    running.element("parsed")?.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = pipeline.upgrade()
            && branch(&pipeline, pad, with_sound, &tell).is_none()
        {
            info!("a track of a file cannot be read: {:?}", pad.current_caps());
        }
    });
    Ok(running)
}

/// Takes a track to an appsink, if it is one that is used, or to nowhere.
fn branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    with_sound: bool,
    tell: &mpsc::Sender<Unit>,
) -> Option<()> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    // The caps may be open still: what a parser can give, before its first frame.
    let aac = gst::Caps::builder("audio/mpeg").field("mpegversion", 4i32).build();
    let track = match caps.structure(0)?.name().as_str() {
        "video/x-h264" => Some(TrackKind::Video),
        "audio/mpeg" if with_sound && caps.can_intersect(&aac) => Some(TrackKind::Audio),
        _ => None,
    };
    let name = track.map_or("other", |track| match track {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    });
    let track = track.filter(|_| pipeline.by_name(name).is_none());
    let line = match track {
        Some(TrackKind::Video) => {
            "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au \
             ! appsink name=video sync=false async=false max-buffers=4"
        }
        Some(TrackKind::Audio) => {
            "aacparse ! audio/mpeg,mpegversion=4,stream-format=raw \
             ! appsink name=audio sync=false async=false max-buffers=4"
        }
        None => "fakesink sync=false async=false",
    };
    let bin = gst::parse::bin_from_description(line, true).ok()?;
    pipeline.add(&bin).ok()?;
    if let Some(track) = track {
        let sink = bin.by_name(name)?.downcast::<gst_app::AppSink>().ok()?;
        let tell = tell.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let sent = tell.blocking_send(Unit { track, sample });
                    sent.map(|()| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Flushing)
                })
                .build(),
        );
    }
    bin.sync_state_with_parent().ok()?;
    pad.link(&bin.static_pad("sink")?).ok()?;
    Some(())
}

fn broken(path: &Path, what: &str) -> Failure {
    Failure::File(format!("the file {} cannot be played: {what}", path.display()))
}

fn in_file(path: &Path, failure: Failure) -> Failure {
    if matches!(failure, Failure::MissingElement { .. } | Failure::File(_)) {
        return failure;
    }
    broken(path, &failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_taken_while_the_pipeline_still_starts() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let film = folder.path().join("film.mp4");
        let line = format!(
            "videotestsrc num-buffers=100 ! video/x-raw,width=64,height=48 ! x264enc ! mp4mux \
             ! filesink location={}",
            film.display()
        );
        let mut writing = Running::build(&line, Vec::new()).unwrap();
        writing.play().unwrap();
        assert_eq!(writing.ended().await, Failure::Ended);
        writing.close().await;
        let (tell, units) = mpsc::channel(1);
        let (go_on, rest_of_start) = std::sync::mpsc::channel();
        let file = film.clone();
        let start = tokio::task::spawn_blocking(move || {
            let mut running = build(&file, false, tell)?;
            running.play()?;
            rest_of_start.recv().unwrap();
            Ok(running)
        });
        let mut round = Round { path: film, reading: Reading::Starts(start), units };

        for _ in 0..90 {
            assert!(round.next().await.unwrap().is_some());
        }
        go_on.send(()).unwrap();
        for _ in 90..100 {
            assert!(round.next().await.unwrap().is_some());
        }
        assert!(round.next().await.unwrap().is_none());
        assert!(round.next().await.unwrap().is_none());
    }
}
