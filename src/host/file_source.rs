//! Files as feeds: probed, and played in real time in a loop.
//!
//! A small pipeline reads the file ahead, a new one for each round. Frames are pushed
//! into the feed's pipeline when they are due.

use std::io;
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
use crate::model::cause::Cause;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::unit::TrackKind;

/// How many pictures are probed: more than the distance of reordered pictures and the
/// lead of sound.
const PROBED_PICTURES: usize = 200;

/// How long reading a frame may take; longer means a broken file or disk.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Frames read ahead: more than a second, which is longer than reopening the file takes.
const FRAMES_AHEAD: usize = 96;

/// How much the feed's pipeline may buffer before playing waits for it.
const MAX_BUFFERED: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// One frame as the file has it.
#[derive(Debug)]
struct Unit {
    track: TrackKind,
    sample: gst::Sample,
}

/// One pass through a file.
struct Round {
    path: PathBuf,
    reading: Reading,
    units: mpsc::Receiver<Unit>,
}

/// The pipeline that reads a file.
///
/// Frames must be received while it starts, too. A sink that `pad-added` adds meanwhile
/// plays at once; then the pipeline, on its way to playing, pauses it once more, which
/// needs a lock that the sink holds while its frame is being sent.
enum Reading {
    Starting(JoinHandle<Result<Running, Failure>>),
    Running(Running),
    Ended,
}

/// The form in which a file is captured for its stream.
///
/// # Errors
/// The file does not exist, cannot be read, or has no H.264 video.
pub(super) async fn probe(path: &Path, plan: &Plan) -> Result<Capture, Failure> {
    let (in_order, sound) = probe_order(path).await?;
    let form = if in_order && plan.may_pass_through() {
        Form::H264
    } else {
        Form::Coded(picture::first_decoder()?)
    };
    Ok(Capture { form, rate: (plan.feed.fps.fps(), 1), sound })
}

/// Whether display order is decoding order in a file, and whether it has sound.
///
/// # Errors
/// As [`probe`].
pub(super) async fn probe_order(path: &Path) -> Result<(bool, bool), Failure> {
    let found = Round::open(path, true).probe().await?;
    if found.pictures == 0 {
        return Err(broken(path, "it has no H.264 video"));
    }
    Ok((found.in_order, found.sound))
}

/// Plays a file in a loop into the sources of a running pipeline, until that fails.
pub(super) async fn play(path: PathBuf, fps: FrameRate, into: Sources) -> Failure {
    let (sender, pieces) = mpsc::channel(FRAMES_AHEAD);
    tokio::select! {
        failure = read(&path, fps, into.sound.is_some(), sender) => failure,
        failure = push_when_due(pieces, into) => failure,
    }
}

/// The appsrcs of the feed's pipeline.
#[derive(Debug)]
pub(super) struct Sources {
    video: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
}

impl Sources {
    /// The sources of the feed's pipeline; one for sound only if the file's sound is used.
    pub(super) fn new(running: &Running) -> Result<Self, Failure> {
        let source = |name: &str| -> Result<gst_app::AppSrc, Failure> {
            let source = running.element(name)?.downcast::<gst_app::AppSrc>();
            let source = source.map_err(|_| Fault::wrong_element(name, "appsrc"))?;
            source.set_max_bytes(0);
            source.set_max_buffers(0);
            source.set_max_time(gst::ClockTime::ZERO);
            Ok(source)
        };
        Ok(Self { video: source("film")?, sound: source("sound").ok() })
    }
}

/// Reads the file in a loop, and sends its frames with times on the endless timeline.
async fn read(
    path: &Path,
    fps: FrameRate,
    with_sound: bool,
    sender: mpsc::Sender<Piece<gst::Sample>>,
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
                        if sender.send(piece).await.is_err() {
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
            if sender.send(piece).await.is_err() {
                return Failure::Ended;
            }
        }
        match read {
            Err(failure) => return failure,
            Ok(()) if !had_picture => return broken(path, "it has no H.264 video"),
            Ok(()) => {}
        }
    }
}

/// Pushes frames into the pipeline when they are due.
async fn push_when_due(mut pieces: mpsc::Receiver<Piece<gst::Sample>>, into: Sources) -> Failure {
    let mut pace: Option<Pace> = None;
    while let Some(piece) = pieces.recv().await {
        while into.video.current_level_time() > MAX_BUFFERED {
            // The encoder is slower than real time, so playing waits.
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
            // The bus gives the reason; its receiver is polled first.
            return std::future::pending().await;
        }
    }
    // The reader returns the reason.
    std::future::pending().await
}

fn running_time(element: &impl IsA<gst::Element>) -> Option<Duration> {
    Some(Duration::from_nanos(element.current_running_time()?.nseconds()))
}

/// Where a file begins on the timeline of a round. An edit list may place the decoding
/// time of a reordered picture, or sound, before that. Nanoseconds.
const BEGIN_NS: i64 = 10_000_000_000;

/// Gives every frame times, also those without any in the file.
struct Times {
    frame: u64,
    /// Where the last picture ended.
    video_end: u64,
}

impl Times {
    fn new(fps: FrameRate) -> Self {
        Self { frame: fps.frame().as_nanos() as u64, video_end: 0 }
    }

    /// The frame with its times; none for sound that the file's edit list cuts (the
    /// encoder's priming).
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

/// Whether a buffer is completely outside of its segment.
fn is_cut(sample: &gst::Sample, buffer: &gst::BufferRef) -> bool {
    let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let (Some(segment), Some(begin)) = (segment, buffer.pts()) else { return false };
    let end = buffer.duration().map(|duration| begin + duration);
    segment.clip(begin, end).is_none()
}

/// Converts a time of a file to the timeline of its round, according to its edit lists.
fn running(sample: &gst::Sample, time: gst::ClockTime) -> Option<u64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let running = match segment.to_running_time_full(time)? {
        gst::Signed::Positive(after) => i64::try_from(after.nseconds()).ok()?,
        gst::Signed::Negative(before) => -i64::try_from(before.nseconds()).ok()?,
    };
    u64::try_from(running.checked_add(BEGIN_NS)?).ok()
}

/// The result of probing a file.
struct Found {
    pictures: usize,
    /// Whether display order is decoding order.
    in_order: bool,
    sound: bool,
}

impl Round {
    /// Starts to read a file.
    fn open(path: &Path, with_sound: bool) -> Self {
        // Sixteen: a short burst for the feed's pipeline.
        let (sender, units) = mpsc::channel(16);
        let file = path.to_owned();
        let start = tokio::task::spawn_blocking(move || {
            let mut running = build(&file, with_sound, sender)?;
            running.play()?;
            Ok(running)
        });
        Self { path: path.to_owned(), reading: Reading::Starting(start), units }
    }

    /// The next frame; none at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read, or gives no frame for [`READ_TIMEOUT`].
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
        next.unwrap_or_else(|_| Err(broken(&self.path, "reading it timed out")))
    }

    async fn probe(&mut self) -> Result<Found, Failure> {
        let mut found = Found { pictures: 0, in_order: true, sound: false };
        let mut latest = None;
        while found.pictures < PROBED_PICTURES {
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
    /// Waits until the file has been read or reading fails; cancel-safe.
    async fn ended(&mut self) -> Failure {
        if let Self::Starting(start) = self {
            match start.await {
                Ok(Ok(running)) => *self = Self::Running(running),
                Ok(Err(failure)) => return self.end(failure),
                Err(panic) => return self.end(Fault::panic(panic).into()),
            }
        }
        match self {
            Self::Running(running) => {
                let failure = running.ended().await;
                self.end(failure)
            }
            Self::Starting(_) | Self::Ended => Failure::Ended,
        }
    }

    fn end(&mut self, failure: Failure) -> Failure {
        *self = Self::Ended;
        failure
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // Sinks that wait to send a frame must be released.
        self.units.close();
    }
}

/// The pipeline that sends the frames of a file to `sender`, and waits for room in it.
fn build(path: &Path, with_sound: bool, sender: mpsc::Sender<Unit>) -> Result<Running, Failure> {
    std::fs::File::open(path).map_err(|error| open_error(path, &error))?;
    let running = Running::build("filesrc name=file ! parsebin name=parsed", Vec::new())?;
    running.element("file")?.set_property("location", path);
    let pipeline = running.pipeline().downgrade();
    running.element("parsed")?.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = pipeline.upgrade()
            && branch(&pipeline, pad, with_sound, &sender).is_none()
        {
            info!("a track of a file cannot be read: {:?}", pad.current_caps());
        }
    });
    Ok(running)
}

/// Links a track to an appsink if it is used, else to a fakesink.
fn branch(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    with_sound: bool,
    sender: &mpsc::Sender<Unit>,
) -> Option<()> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    // The caps may not be fixed yet: what the parser can give, before its first frame.
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
        let sender = sender.clone();
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let sent = sender.blocking_send(Unit { track, sample });
                    sent.map(|()| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Flushing)
                })
                .build(),
        );
    }
    bin.sync_state_with_parent().ok()?;
    pad.link(&bin.static_pad("sink")?).ok()?;
    Some(())
}

fn open_error(path: &Path, error: &io::Error) -> Failure {
    let file = path.to_owned();
    let cause = if error.kind() == io::ErrorKind::NotFound {
        Cause::NoFile { path: file }
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Cause::FileForbidden { path: file }
    } else {
        return broken(path, &error.to_string());
    };
    Failure::Known { cause, message: error.to_string() }
}

fn broken(path: &Path, what: &str) -> Failure {
    Failure::File(format!("the file {} cannot be played: {what}", path.display()))
}

fn in_file(path: &Path, failure: Failure) -> Failure {
    if matches!(failure, Failure::MissingElement { .. } | Failure::File(_) | Failure::Known { .. })
    {
        return failure;
    }
    broken(path, &failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_received_while_the_pipeline_starts() {
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
        let (sender, units) = mpsc::channel(1);
        let (finish_start, start_finished) = std::sync::mpsc::channel();
        let file = film.clone();
        let start = tokio::task::spawn_blocking(move || {
            let mut running = build(&file, false, sender)?;
            running.play()?;
            start_finished.recv().unwrap();
            Ok(running)
        });
        let mut round = Round { path: film, reading: Reading::Starting(start), units };

        for _ in 0..90 {
            assert!(round.next().await.unwrap().is_some());
        }
        finish_start.send(()).unwrap();
        for _ in 90..100 {
            assert!(round.next().await.unwrap().is_some());
        }
        assert!(round.next().await.unwrap().is_none());
        assert!(round.next().await.unwrap().is_none());
    }
}
