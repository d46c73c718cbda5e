//! Streams as Motion JPEG: what is asked, who makes it for whom, and how often
//! a viewer is shown a picture.
//!
//! A stream is decoded and encoded once for all who want it in one variant, while
//! there is one who does. The pipeline is `engine::process`'s.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::picture::{BadParameter, find, quality, width};
use crate::base::backoff::Backoff;
use crate::config::settings::Mode;
use crate::engine::process::{MjpegPipeline, MjpegVariant};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::hub::{Still, Stills, Stream};
use crate::model::status::Failure;
use tokio::sync::watch;

/// A decoder needs a moment to begin with; one that gives nothing for seconds
/// while the stream goes on hangs.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(4),
    backoff: Backoff::FEED,
    spread: 0.0,
};

/// So many variants of one stream are made at once: each costs a decoder and an encoder.
pub const VARIANTS: usize = 3;

/// Each picture is sent whole: a few percent less than a picture on its own has
/// save a third of the bytes.
const USUAL_QUALITY: u8 = 80;

/// Reads the variant that a query asks for. Pairs of other names are left alone.
///
/// # Errors
/// The first parameter that has an impossible value.
pub fn variant(pairs: &[(String, String)]) -> Result<MjpegVariant, BadParameter> {
    let quality = quality(pairs)?.unwrap_or(USUAL_QUALITY);
    Ok(MjpegVariant { quality, width: width(pairs)? })
}

/// When a viewer is shown a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Nothing where it sees every picture.
    period: Option<Duration>,
    due: Option<Instant>,
}

impl Pace {
    /// Reads `?fps=`, the most pictures a second that a viewer wants.
    ///
    /// # Errors
    /// An impossible number.
    pub fn read(pairs: &[(String, String)]) -> Result<Self, BadParameter> {
        let read = |text: &str| {
            let fps = text.parse::<f64>().ok().filter(|fps| (0.1..=120.0).contains(fps));
            fps.ok_or(BadParameter { field: "fps", valid: "0.1 to 120 pictures a second" })
        };
        let fps = find(pairs, "fps").map(read).transpose()?;
        Ok(Self { period: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)), due: None })
    }

    /// Whether a picture that is there at `now` is shown; it then counts as shown.
    pub fn takes(&mut self, now: Instant) -> bool {
        let Some(period) = self.period else { return true };
        let due = self.due.unwrap_or(now);
        // Pictures come a little early and a little late.
        if now + period / 4 < due {
            return false;
        }
        let next = due + period;
        self.due = Some(if next < now { now + period } else { next });
        true
    }
}

/// The stream is shown in as many variants as it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream is shown in {VARIANTS} forms already, which others watch; without `quality` and \
     `width`, or with those of another viewer, there is room"
)]
pub struct TooManyVariants;

/// All that is shown on the whole box.
#[derive(Debug, Default)]
pub struct Mjpegs(Mutex<Vec<Weak<Mjpeg>>>);

/// One stream in one variant. It is made as long as somebody holds this.
#[derive(Debug)]
pub struct Mjpeg {
    variant: MjpegVariant,
    stream: Arc<Stream>,
    stills: Arc<Stills>,
    supervisor: Supervisor,
    _wanted: watch::Sender<usize>,
}

impl Mjpegs {
    /// The pictures of a stream, made from now on if they were not before; must
    /// be called on a runtime.
    ///
    /// # Errors
    /// It is shown in too many other variants. The usual one can always be had.
    pub fn watch(
        &self,
        stream: &Arc<Stream>,
        variant: MjpegVariant,
    ) -> Result<Arc<Mjpeg>, TooManyVariants> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        let there = all.iter().filter_map(Weak::upgrade);
        let of_stream: Vec<_> = there.filter(|one| Arc::ptr_eq(&one.stream, stream)).collect();
        if let Some(found) = of_stream.iter().find(|one| one.variant == variant) {
            return Ok(Arc::clone(found));
        }
        let usual = MjpegVariant { quality: USUAL_QUALITY, width: None };
        let others = of_stream.iter().filter(|one| one.variant != usual).count();
        if variant != usual && others >= VARIANTS - 1 {
            return Err(TooManyVariants);
        }
        let made = Mjpeg::spawn(stream, variant);
        all.push(Arc::downgrade(&made));
        Ok(made)
    }
}

impl Mjpeg {
    fn spawn(stream: &Arc<Stream>, variant: MjpegVariant) -> Arc<Self> {
        let (stream, stills) = (Arc::clone(stream), Arc::<Stills>::default());
        let pipeline = MjpegPipeline::new(variant, Arc::clone(&stream), Arc::clone(&stills));
        let wanted = watch::Sender::new(1);
        // The task ends by itself, and stops the pipeline, when nobody holds
        // its handle any more.
        let (supervisor, _) = Supervisor::spawn(
            format!("MJPEG of {}", stream.name()),
            pipeline,
            Lifecycle::new(LIMITS),
            Demand::new(Mode::OnDemand),
            wanted.subscribe(),
        );
        Arc::new(Self { variant, stream, stills, supervisor, _wanted: wanted })
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn stills(&self) -> &Stills {
        &self.stills
    }

    /// Waits for a picture, if there is none yet.
    pub async fn first(&self) -> Arc<Still> {
        let mut ends = self.stills.subscribe();
        loop {
            if let Some(still) = self.stills.newest() {
                return still;
            }
            // The sender lives as long as this.
            ends.changed().await.ok();
        }
    }

    /// Returns when making them has failed `times` in a row.
    pub async fn wait_failed(&self, times: u32) {
        self.supervisor.wait_failed(times).await;
    }

    pub fn last_failure(&self) -> Option<Failure> {
        self.supervisor.report().last_failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_look_and_a_pace_are_read_and_what_is_impossible_is_named() {
        let read = variant(&pairs(&[("width", "320"), ("quality", "50"), ("t", "1")]));
        assert_eq!(read, Ok(MjpegVariant { quality: 50, width: Some(320) }));
        assert_eq!(variant(&[]), Ok(MjpegVariant { quality: 80, width: None }));
        assert_eq!(variant(&pairs(&[("quality", "0")])).unwrap_err().field, "quality");
        for fps in ["0", "-1", "121", "fast", "NaN", "inf"] {
            assert_eq!(Pace::read(&pairs(&[("fps", fps)])).unwrap_err().field, "fps", "{fps}");
        }
    }

    #[test]
    fn a_pace_holds_on_average_whatever_the_stream_gives() {
        for (fps, given, shown) in
            [("5", 30, 50), ("10", 25, 100), ("25", 25, 250), ("7.5", 30, 75), ("60", 30, 300)]
        {
            let mut pace = Pace::read(&pairs(&[("fps", fps)])).unwrap();
            let begin = tokio::time::Instant::now().into_std();
            // Ten seconds of pictures, each up to 3 ms early or late.
            let at = |index: u32| {
                let jitter = Duration::from_millis(u64::from(index * 7 % 4));
                begin + Duration::from_secs(1) * index / given + jitter
            };
            let count = (0..given * 10).filter(|index| pace.takes(at(*index))).count();
            assert!(count.abs_diff(shown) <= 1, "{fps} of {given}: {count}");
        }
    }

    #[test]
    fn after_a_pause_nothing_is_caught_up() {
        let mut pace = Pace::read(&pairs(&[("fps", "1")])).unwrap();
        let begin = tokio::time::Instant::now().into_std();
        assert!(pace.takes(begin));
        let late = begin + Duration::from_secs(60);
        assert!(pace.takes(late));
        assert!(!pace.takes(late + Duration::from_millis(500)));
    }

    #[tokio::test]
    async fn a_look_is_made_once_and_only_few_are_made() {
        let limits = crate::hub::Limits::for_gop(Duration::from_secs(1), 1 << 20);
        let stream = Stream::new("test".parse().unwrap(), limits);
        let mjpegs = Mjpegs::default();
        let watch = |quality| mjpegs.watch(&stream, MjpegVariant { quality, width: None });
        let first = watch(10).unwrap();
        assert!(Arc::ptr_eq(&first, &watch(10).unwrap()));
        let _second = watch(20).unwrap();
        assert_eq!(watch(30).unwrap_err(), TooManyVariants);
        assert!(watch(USUAL_QUALITY).is_ok(), "the usual one has its place");
        drop(first);
        assert!(watch(30).is_ok());
    }
}
