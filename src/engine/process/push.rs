//! One push: a reader of a stream that feeds an RTMP pipeline in a host of its
//! own. What a receiver answers is parsed there and not here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::{mpsc, watch};

use super::host::{Host, Input};
use super::meter::Meter;
use crate::base::secret::Secret;
use crate::config::settings::PushAudio;
use crate::engine::feeder::{Over, WhenLate, feed, first_chunk};
use crate::engine::plan::{MADE_SOUND, Nominal, push_line};
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::engine::supervise::runs::{Runs, Stop};
use crate::engine::supervise::supervisor::{GivenBefore, Pipeline, Pulse};
use crate::hub::{self, Measured, Piece, Reader};
use crate::media::flv::{Audio, Metadata};
use crate::model::push_url::PushUrl;
use crate::model::status::Failure;
use crate::model::track::Tracks;
use crate::wire::answer::Sent;
use crate::wire::job::Push;

/// How long a host may take for the goodbye to its receiver, for which it gives
/// itself half a second.
const GOODBYE: Duration = Duration::from_millis(750);

/// Where a push goes, and with which sound.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The whole URL with the key.
    pub url: PushUrl,
    /// Another way to the same receiver, likewise; after a failure the two are
    /// tried in turn.
    pub backup: Option<PushUrl>,
    /// What else must not be seen in messages: the key by itself.
    pub key: Option<Secret>,
    /// A PEM file whose certificates are trusted besides those of the system.
    pub ca: Option<PathBuf>,
    pub audio: PushAudio,
    /// What the stream is planned to be.
    pub nominal: Nominal,
}

/// Runs the host of one push.
#[derive(Debug)]
pub struct PushPipeline {
    name: String,
    destination: watch::Receiver<Option<Destination>>,
    stream: Arc<hub::Stream>,
    meter: Arc<Meter>,
    /// Frames that the stream had given when the supervisor asked last.
    stream_before: GivenBefore,
    runs: Runs,
}

impl PushPipeline {
    /// Each run takes the destination as it stands at its start.
    pub fn new(
        name: String,
        destination: watch::Receiver<Option<Destination>>,
        stream: Arc<hub::Stream>,
    ) -> Self {
        let (meter, stream_before) = (Arc::default(), GivenBefore::default());
        Self { name, destination, stream, meter, stream_before, runs: Runs::default() }
    }

    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl Pipeline for PushPipeline {
    fn start(&mut self, run: Run, news: mpsc::Sender<Event>) {
        let Some(destination) = self.destination.borrow().clone() else {
            let failure = Failure::Build("has no URL to send to".to_owned());
            news.try_send(Event::Ended(run, failure)).ok();
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
            news: news.clone(),
        };
        self.meter.begin_run();
        let reader = self.stream.join().with_lost_counter(self.meter.losses());
        self.runs.start(run, news, move |stop| attempt.run(reader, stop));
    }

    fn stop(&mut self) {
        self.runs.stop();
    }

    /// Bytes that left; at rest while the stream gives nothing to send.
    fn pulse(&self) -> Pulse {
        let given = self.stream.chunks();
        if self.stream_before.is_still(given) {
            return Pulse::AtRest;
        }
        Pulse::Count(self.meter.acknowledged())
    }
}

/// One run.
struct Attempt {
    name: String,
    destination: Destination,
    /// Whether an operator has set the destination since the last run.
    is_new: bool,
    meter: Arc<Meter>,
    run: Run,
    news: mpsc::Sender<Event>,
}

impl Attempt {
    async fn run(mut self, reader: Reader, stop: Stop) -> Failure {
        // Here the last run is over, and has told how it ended.
        if self.is_new {
            self.meter.forget_failures();
        }
        if let (Some(backup), true) = (&self.destination.backup, self.meter.is_on_backup()) {
            self.destination.url = backup.clone();
        }
        let failure = self.send(reader, stop).await;
        if failure != Failure::CodecChange {
            self.meter.has_failed();
        }
        failure
    }

    async fn send(&self, mut reader: Reader, mut stop: Stop) -> Failure {
        // The host is started when there is something to send: its pipeline's
        // time begins with the first frame.
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
                host.finish(input, GOODBYE).await;
                return Failure::Ended;
            }
        };
        host.end().await;
        failure
    }

    fn job(&self, tracks: &Tracks, measured: Measured, first: &Piece) -> Result<Push, Failure> {
        let Destination { url, key, ca, audio, nominal, .. } = &self.destination;
        let begin = first.units.first().map(|unit| unit.dts);
        let begin =
            begin.ok_or_else(|| Failure::Build("the stream gave an empty chunk".to_owned()))?;
        let line = push_line(*audio, tracks.audio.is_some())
            .map_err(|error| Failure::Build(error.to_string()))?;
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
        let tell_lost = |lost| warn!(lost; "push {name} cannot keep up and goes on at a key frame");
        match feed(reader, first, input, WhenLate::FallBack, tell_lost).await {
            // The host's end says why, or the push is stopped.
            Over::Refused | Over::Gone => std::future::pending().await,
            Over::CodecChange => Failure::CodecChange,
        }
    }

    /// Keeps the meter, and tells once when media has left.
    async fn watch(&self, host: &mut Host<Sent>) -> Failure {
        let mut is_live = false;
        loop {
            let sent = match host.next().await {
                Ok((sent, _)) => sent,
                Err(failure) => return failure,
            };
            self.meter.note(sent, tokio::time::Instant::now().into_std());
            if sent.acknowledged > 0 && !std::mem::replace(&mut is_live, true) {
                self.news.send(Event::FirstSign(self.run)).await.ok();
            }
        }
    }
}

/// What the receiver is told about a stream of `tracks`: as measured, or else
/// as planned. Nothing where there is no picture.
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
    let of_stream = nominal.audio_bps.filter(|_| tracks.audio.is_some()).unwrap_or(0);
    let measured_bps = measured.bitrate.map(|bps| bps.saturating_sub(of_stream.into()));
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
    async fn what_a_push_is_too_slow_for_is_counted_once() {
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
        let mut reader = stream.join().with_lost_counter(attempt.meter.losses());
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
        let (meter, (news, _)) = (Arc::default(), mpsc::channel(1));
        Attempt { name: "far".to_owned(), destination, is_new: false, meter, run: 1, news }
    }
}
