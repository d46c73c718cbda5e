//! One push: a reader of a stream that feeds an RTMP pipeline in a host. Answers of the
//! receiver are parsed there and not here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::{mpsc, watch};

use super::host::{Host, Input};
use super::meter::Meter;
use crate::base::secret::Secret;
use crate::base::time::now;
use crate::config::settings::PushAudio;
use crate::engine::feeder::{EndReason, WhenLate, feed, first_chunk};
use crate::engine::plan::{MADE_SOUND, Nominal, push_line};
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{LastCount, Pipeline, RunProgress};
use crate::hub::{self, Measured, Piece, Reader};
use crate::media::flv::{Audio, Metadata};
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::ids::PushName;
use crate::model::push_url::PushUrl;
use crate::model::track::Tracks;
use crate::wire::answer::Sent;
use crate::wire::job::Push;

/// How long a host may take to send the end of stream; it limits itself to half a second.
const FINISH_TIMEOUT: Duration = Duration::from_millis(750);

/// The receiver of a push and what is sent to it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The whole URL with the key.
    pub url: PushUrl,
    /// A second URL of the receiver, with the key; after a failure the two alternate.
    pub backup: Option<PushUrl>,
    /// The key alone, which is removed from messages as well.
    pub key: Option<Secret>,
    /// A PEM file whose certificates are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    pub audio: PushAudio,
    /// The planned rates of the stream.
    pub nominal: Nominal,
}

/// A push of a stream.
#[derive(Debug)]
pub struct PushParts {
    pub name: PushName,
    /// Each run takes the destination at its start.
    pub destination: watch::Receiver<Option<Destination>>,
    pub stream: Arc<hub::Stream>,
    pub meter: Arc<Meter>,
}

/// Runs the host of one push.
#[derive(Debug)]
pub(super) struct PushPipeline {
    name: PushName,
    destination: watch::Receiver<Option<Destination>>,
    stream: Arc<hub::Stream>,
    meter: Arc<Meter>,
    /// The stream's chunks at the previous poll.
    last_chunks: LastCount,
    runs: Runs,
}

impl PushPipeline {
    pub(super) fn new(parts: PushParts) -> Self {
        let PushParts { name, destination, stream, meter } = parts;
        let last_chunks = LastCount::default();
        Self { name, destination, stream, meter, last_chunks, runs: Runs::default() }
    }
}

impl Pipeline for PushPipeline {
    fn start(&mut self, run: Run, events: mpsc::Sender<Event>) {
        let Some(destination) = self.destination.borrow().clone() else {
            let failure = Failure::NoUrl;
            events.try_send(Event::Ended(run, failure)).ok();
            return;
        };
        let is_new = self.destination.has_changed().unwrap_or(false);
        self.destination.mark_unchanged();
        let attempt = Attempt {
            name: self.name.clone(),
            destination,
            is_new,
            meter: Arc::clone(&self.meter),
            run,
            events: events.clone(),
        };
        self.meter.begin_run();
        let reader = self.stream.join().with_lost_counter(self.meter.lost_counter());
        self.runs.start(run, events, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Acknowledged bytes; at rest while the stream gives nothing to send.
    fn progress(&self) -> RunProgress {
        let given = self.stream.chunks();
        if self.last_chunks.is_unchanged(given) {
            return RunProgress::AtRest;
        }
        RunProgress::Count(self.meter.acknowledged())
    }
}

/// One run.
struct Attempt {
    name: PushName,
    destination: Destination,
    /// Whether an operator has set the destination since the last run.
    is_new: bool,
    meter: Arc<Meter>,
    run: Run,
    events: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(mut self, reader: Reader, stop: Stop) -> Failure {
        // The previous run has ended and has counted its failure.
        if self.is_new {
            self.meter.forget_failures();
        }
        if let (Some(backup), true) = (&self.destination.backup, self.meter.is_on_backup()) {
            self.destination.url = backup.clone();
        }
        let failure = self.send(reader, stop).await;
        if failure != Failure::CodecChange {
            self.meter.count_failure();
        }
        failure
    }

    async fn send(&self, mut reader: Reader, mut stop: Stop) -> Failure {
        // The host is started at the first frame: its pipeline's time begins there.
        let (init, first) = tokio::select! {
            start = first_chunk(&mut reader) => start,
            () = stop.requested() => return Failure::Ended,
        };
        let job = match self.job(&init.tracks, reader.stream().measured(), &first) {
            Ok(job) => job,
            Err(failure) => return failure,
        };
        let sends_audio = job.audio.is_some();
        let (mut host, input) = match Host::start(&format!("push {}", self.name), job).await {
            Ok(started) => started,
            Err(failure) => return failure,
        };
        let mut input = if sends_audio { input.with_audio() } else { input };
        let failure = tokio::select! {
            failure = self.watch(&mut host) => failure,
            failure = self.feed(&mut reader, first, &mut input) => failure,
            () = stop.requested() => {
                host.finish(input, FINISH_TIMEOUT).await;
                return Failure::Ended;
            }
        };
        host.end().await;
        failure
    }

    fn job(&self, tracks: &Tracks, measured: Measured, first: &Piece) -> Result<Push, Failure> {
        let Destination { url, key, ca, audio, nominal, .. } = &self.destination;
        let begin = first.units.first().map(|unit| unit.dts).ok_or(Fault::EmptyChunk)?;
        let line = push_line(*audio, tracks.audio.is_some())?;
        let metadata = metadata(tracks, *audio, measured, *nominal);
        Ok(Push {
            line,
            url: url.secret().clone(),
            key: key.clone(),
            ca: ca.clone(),
            audio: tracks.audio.clone().filter(|_| *audio == PushAudio::Feed),
            metadata: metadata.map(|metadata| metadata.tag().into()),
            begin,
        })
    }

    async fn feed(&self, reader: &mut Reader, first: Arc<Piece>, input: &mut Input) -> Failure {
        let name = &self.name;
        let on_lost = |lost| warn!(lost; "push {name} is too slow and continues at a key frame");
        match feed(reader, first, input, WhenLate::FallBack, on_lost).await {
            // The end of the host gives the reason, or the push is stopped.
            EndReason::Refused | EndReason::Gone => std::future::pending().await,
            EndReason::CodecChange => Failure::CodecChange,
        }
    }

    /// Updates the meter, and reports the first acknowledged bytes.
    async fn watch(&self, host: &mut Host<Sent>) -> Failure {
        let mut is_live = false;
        loop {
            let sent = match host.next().await {
                Ok((sent, _)) => sent,
                Err(failure) => return failure,
            };
            self.meter.record(sent, now());
            if sent.acknowledged > 0 && !std::mem::replace(&mut is_live, true) {
                self.events.send(Event::FirstOutput(self.run)).await.ok();
            }
        }
    }
}

/// The metadata of a stream of `tracks` for the receiver: as measured, else as planned;
/// none without video.
fn metadata(
    tracks: &Tracks,
    sound: PushAudio,
    measured: Measured,
    nominal: Nominal,
) -> Option<Metadata> {
    let video = tracks.video.as_ref()?;
    let audio = match (&tracks.audio, sound) {
        (Some(own), PushAudio::Feed) => {
            Audio { rate: own.rate, channels: own.channels, bps: nominal.audio_bps.map(u64::from) }
        }
        (None, PushAudio::Feed) | (_, PushAudio::Silence | PushAudio::Tone) => MADE_SOUND,
    };
    let stream_audio_bps = nominal.audio_bps.filter(|_| tracks.audio.is_some()).unwrap_or(0);
    let measured_bps = measured.bitrate.map(|bps| bps.saturating_sub(stream_audio_bps.into()));
    let by_sps = video.frame_duration.map(|frame| 1.0 / frame.as_secs_f64());
    Some(Metadata {
        width: video.width,
        height: video.height,
        fps: by_sps.or(measured.fps).or(Some(nominal.fps.into())),
        video_bps: measured_bps.or(Some(nominal.video_bps.into())),
        audio: Some(audio),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use tokio::net::UnixStream;

    use super::*;
    use crate::base::time::MediaTime;
    use crate::hub::{Limits, Stream};
    use crate::media::packager::Expect;
    use crate::media::samples::placeholders;

    #[tokio::test]
    async fn chunks_that_a_slow_push_skips_are_counted_once() {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (_from, to) = UnixStream::from_std(ours).unwrap().into_split();
        let mut input = Input::new(to);
        let limits = Limits::for_gop(Duration::from_secs(1), 1 << 20);
        let stream = Stream::new("test".parse().unwrap(), limits);
        let video = Some(Duration::from_secs(1) / 30);
        stream.begin_run(MediaTime::default(), Expect { video, audio: false }, 2_000_000);
        let mut units = placeholders(MediaTime::ORIGIN, 1000, 10).into_iter();
        stream.publish(units.next().unwrap()).unwrap();
        let attempt = attempt();
        let mut reader = stream.join().with_lost_counter(attempt.meter.lost_counter());
        let (_, first) = first_chunk(&mut reader).await;
        for unit in units {
            stream.publish(unit).unwrap();
        }
        let fed = attempt.feed(&mut reader, first, &mut input);
        assert!(tokio::time::timeout(Duration::ZERO, fed).await.is_err(), "it waits for more");
        assert!(attempt.meter.lost() > 0);
        assert_eq!(attempt.meter.lost(), stream.lost());
        drop(theirs);
    }

    fn attempt() -> Attempt {
        let destination = Destination {
            url: "rtmp://a.example/live2".parse().unwrap(),
            backup: None,
            key: None,
            ca: None,
            audio: PushAudio::Feed,
            nominal: Nominal { fps: 30, video_bps: 2_000_000, audio_bps: None },
        };
        let (meter, (events, _)) = (Arc::default(), mpsc::channel(1));
        Attempt { name: "far".parse().unwrap(), destination, is_new: false, meter, run: 1, events }
    }
}
