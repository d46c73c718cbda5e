//! Receivers of the messages of runs in the host of a feed family.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::family::Listener;
use super::reports::Reports;
use crate::base::lock::Lock;
use crate::engine::shared::SharedFeed;
use crate::engine::supervise::lifecycle::{Event, Run};
use crate::hub;
use crate::media::packager::Expect;
use crate::model::ids::FeedName;
use crate::model::status::Encoder;
use crate::model::track::AudioInfo;
use crate::model::unit::{AccessUnit, TrackKind};
use crate::wire::answer::News;

/// Reports the first frame of a run to the supervisor, once.
#[derive(Debug)]
pub(super) struct FirstFrame {
    run: Run,
    events: Option<mpsc::Sender<Event>>,
}

impl FirstFrame {
    pub(super) fn new(run: Run, events: mpsc::Sender<Event>) -> Self {
        Self { run, events: Some(events) }
    }

    fn report(&mut self) {
        if let Some(events) = self.events.take() {
            events.try_send(Event::FirstOutput(self.run)).ok();
        }
    }
}

/// The configuration of the sound that another feed gives to a stream, once it is known.
/// The runs of sound and picture start in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherSound(Arc<Lock<Option<AudioInfo>>>);

impl OtherSound {
    fn set(&self, info: AudioInfo) {
        *self.0.lock() = Some(info);
    }

    fn get(&self) -> Option<AudioInfo> {
        self.0.lock().clone()
    }
}

/// Publishes a run's units in the ring of its stream.
#[derive(Debug)]
pub(super) struct ToStream {
    pub stream: Arc<hub::Stream>,
    pub feed: FeedName,
    pub first_frame: FirstFrame,
    pub chosen: watch::Sender<Option<Encoder>>,
    pub reports: Reports,
    /// Dropped frames of this run that were counted.
    pub dropped: u64,
    pub other_sound: OtherSound,
}

impl Listener for ToStream {
    fn hear(&mut self, news: News, payload: Bytes) {
        match news {
            News::Begins { begin, video, audio, bitrate } => {
                self.stream.begin_run(begin, Expect { video, audio }, bitrate);
                // Sound that began earlier does not send its configuration again.
                if let Some(info) = self.other_sound.get() {
                    self.stream.audio_config(info);
                }
            }
            News::Pauses => self.stream.end_run(),
            News::Unit { track, pts, dts, duration } => {
                let unit = AccessUnit { track, pts, dts, duration, data: payload };
                if publish(&self.stream, unit, &self.reports) {
                    self.first_frame.report();
                }
            }
            News::Sound(info) => self.stream.audio_config(info),
            News::Encoder(encoder) => self.announce(encoder),
            News::Controls(refused) => self.reports.refused_controls(&self.feed, refused),
            News::Counts { dropped, .. } => {
                self.stream.count_dropped(increase(&mut self.dropped, dropped));
            }
            // Not sent to a stream, or handled by the connection.
            News::Gives(_) | News::Ended(_) => {}
        }
    }
}

impl ToStream {
    /// Publishes the encoder in use, if it has changed.
    fn announce(&self, encoder: Encoder) {
        self.chosen.send_if_modified(|chosen| {
            if chosen.as_ref() == Some(&encoder) {
                return false;
            }
            self.reports.encoder(self.stream.name(), &encoder);
            *chosen = Some(encoder);
            true
        });
    }
}

/// Publishes the sound of another feed in the ring of a stream.
#[derive(Clone, Debug)]
pub(super) struct SoundTo {
    pub stream: Arc<hub::Stream>,
    pub reports: Reports,
    pub other_sound: OtherSound,
}

impl Listener for SoundTo {
    fn hear(&mut self, news: News, payload: Bytes) {
        match news {
            News::Unit { track: TrackKind::Audio, pts, dts, duration } => {
                let track = TrackKind::Audio;
                let unit = AccessUnit { track, pts, dts, duration, data: payload };
                publish(&self.stream, unit, &self.reports);
            }
            News::Sound(info) => {
                self.other_sound.set(info.clone());
                self.stream.audio_config(info);
            }
            News::Unit { track: TrackKind::Video, .. }
            | News::Begins { .. }
            | News::Pauses
            | News::Encoder(_)
            | News::Controls(_)
            | News::Counts { .. }
            | News::Gives(_)
            | News::Ended(_) => {}
        }
    }
}

/// Counts the frames of a shared feed, which stay in the host.
#[derive(Debug)]
pub(super) struct ToFeed {
    pub feed: Arc<SharedFeed>,
    pub first_frame: FirstFrame,
    pub reports: Reports,
    /// Counts of this run that were added to the feed.
    pub frames: u64,
    pub dropped: u64,
}

impl Listener for ToFeed {
    fn hear(&mut self, news: News, _payload: Bytes) {
        match news {
            News::Counts { frames, dropped } => {
                let frames = increase(&mut self.frames, frames);
                self.feed.count(frames, increase(&mut self.dropped, dropped));
                if frames > 0 {
                    self.first_frame.report();
                }
            }
            News::Gives(given) => self.feed.set_given(given),
            News::Controls(refused) => self.reports.refused_controls(self.feed.name(), refused),
            // Its frames stay in the host.
            News::Begins { .. }
            | News::Pauses
            | News::Unit { .. }
            | News::Sound(_)
            | News::Encoder(_)
            | News::Ended(_) => {}
        }
    }
}

/// By how much a count has grown.
fn increase(known: &mut u64, now: u64) -> u64 {
    now.saturating_sub(std::mem::replace(known, now))
}

/// Publishes one encoded frame; an unusable one is skipped and counted. Returns whether a
/// chunk was published.
fn publish(stream: &hub::Stream, unit: AccessUnit, reports: &Reports) -> bool {
    stream.publish(unit).unwrap_or_else(|error| {
        reports.skipped_frame(stream.name(), &error);
        false
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::time::MediaTime;
    use crate::hub::Limits;
    use crate::media::samples::placeholders;
    use crate::model::given::Given;

    const RUN: Run = 7;

    fn stream() -> Arc<hub::Stream> {
        let limits = Limits::for_gop(Duration::from_secs(1), 1 << 20);
        hub::Stream::new("front".parse().unwrap(), limits)
    }

    fn first_frame() -> (FirstFrame, mpsc::Receiver<Event>) {
        let (events, told) = mpsc::channel(4);
        (FirstFrame::new(RUN, events), told)
    }

    fn unit(unit: &AccessUnit) -> News {
        let AccessUnit { track, pts, dts, duration, .. } = *unit;
        News::Unit { track, pts, dts, duration }
    }

    #[test]
    fn the_first_picture_of_a_stream_is_its_sign_of_life_and_later_ones_are_none() {
        let (stream, (first_frame, mut signs)) = (stream(), first_frame());
        let chosen = watch::Sender::new(None);
        let mut listener = ToStream {
            stream: Arc::clone(&stream),
            feed: "front".parse().unwrap(),
            first_frame,
            chosen: chosen.clone(),
            reports: Reports::default(),
            dropped: 0,
            other_sound: OtherSound::default(),
        };
        let video = Some(Duration::from_secs(1) / 30);
        let begin = MediaTime::ORIGIN;
        let begins = News::Begins { begin, video, audio: false, bitrate: 1_000_000 };
        listener.hear(begins, Bytes::new());
        assert!(signs.try_recv().is_err(), "nothing has come");
        for picture in placeholders(MediaTime::ORIGIN, 3, 10) {
            listener.hear(unit(&picture), picture.data.clone());
        }
        assert_eq!(signs.try_recv(), Ok(Event::FirstOutput(RUN)));
        assert!(signs.try_recv().is_err());
        assert_eq!(stream.chunks(), 3);

        // Counts are those of the run so far; a host that counts backwards takes nothing away.
        for dropped in [2, 5, 1, 3] {
            listener.hear(News::Counts { frames: 0, dropped }, Bytes::new());
        }
        assert_eq!(stream.dropped(), 7);
        for dropped in [u64::MAX, 0, u64::MAX] {
            listener.hear(News::Counts { frames: 0, dropped }, Bytes::new());
        }
        assert_eq!(stream.dropped(), u64::MAX, "it is logged at each doubling");

        let element = "x264enc".to_owned();
        let encoder = Encoder { element, because: "it works".to_owned(), is_feed: false };
        listener.hear(News::Encoder(encoder.clone()), Bytes::new());
        assert_eq!(*chosen.borrow(), Some(encoder));
    }

    #[test]
    fn of_another_feed_only_the_sound_is_taken() {
        let stream = stream();
        let other_sound = OtherSound::default();
        let reports = Reports::default();
        let mut listener = SoundTo { stream: Arc::clone(&stream), reports, other_sound };
        for picture in placeholders(MediaTime::ORIGIN, 3, 10) {
            listener.hear(unit(&picture), picture.data.clone());
        }
        listener.hear(News::Pauses, Bytes::new());
        assert_eq!((stream.bytes_in(), stream.chunks()), (0, 0));
    }

    #[test]
    fn a_shared_feed_lives_by_the_frames_that_its_host_counts() {
        let (feed, (first_frame, mut signs)) =
            (SharedFeed::new("front".parse().unwrap()), first_frame());
        let reports = Reports::default();
        let mut listener =
            ToFeed { feed: Arc::clone(&feed), first_frame, reports, frames: 0, dropped: 0 };
        let given = Given { pictures: None, sound: true };
        listener.hear(News::Gives(given), Bytes::new());
        assert_eq!(*feed.given().borrow(), Some(given));
        listener.hear(News::Counts { frames: 0, dropped: 1 }, Bytes::new());
        assert!(signs.try_recv().is_err(), "a frame that was left out is none");
        for frames in [1, 26] {
            listener.hear(News::Counts { frames, dropped: 1 }, Bytes::new());
        }
        assert_eq!(signs.try_recv(), Ok(Event::FirstOutput(RUN)));
        assert_eq!((feed.frames(), feed.dropped()), (26, 1));
    }

    #[test]
    fn the_sound_of_another_feed_may_be_told_before_the_pictures_begin() {
        let limits = Limits::for_gop(Duration::from_secs(1), 1 << 20);
        let stream = hub::Stream::new("both".parse().unwrap(), limits);
        let other_sound = OtherSound::default();
        let mut sound = SoundTo {
            stream: Arc::clone(&stream),
            reports: Reports::default(),
            other_sound: other_sound.clone(),
        };
        let mut pictures = ToStream {
            stream: Arc::clone(&stream),
            feed: "camera".parse().unwrap(),
            first_frame: FirstFrame::new(1, mpsc::channel(1).0),
            chosen: watch::Sender::new(None),
            reports: Reports::default(),
            dropped: 0,
            other_sound,
        };
        let config = Bytes::from_static(&[0x11, 0x90]);
        let info = AudioInfo { config, rate: 48_000, channels: 2 };
        sound.hear(News::Sound(info), Bytes::new());
        let video = Some(Duration::from_secs(1) / 30);
        let begins = News::Begins { begin: MediaTime::ORIGIN, video, audio: true, bitrate: 1 };
        pictures.hear(begins, Bytes::new());
        for unit in placeholders(MediaTime::ORIGIN, 2, 10) {
            let AccessUnit { track, pts, dts, duration, data } = unit;
            pictures.hear(News::Unit { track, pts, dts, duration }, data);
        }
        assert!(stream.chunks() > 0);
    }
}
