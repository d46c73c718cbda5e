//! Streams as Motion JPEG: variants, their shared pipelines, the frame rate of a
//! viewer.
//!
//! Each variant of a stream is decoded and encoded once for all its viewers, while
//! there are any. The pipeline runs in a host (`engine::process`).

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::picture::{BadParameter, find, quality, width};
use crate::base::backoff::Backoff;
use crate::base::lock::Lock;
use crate::config::settings::Mode;
use crate::engine::process::{MjpegPipeline, MjpegVariant};
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::hub::{Still, Stills, Stream};
use crate::model::failure::Failure;
use tokio::sync::watch;

/// A decoder needs a moment to start; one without output for seconds, while the
/// stream has frames, hangs.
const LIMITS: Limits = Limits {
    start_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(5),
    stop_timeout: Duration::from_secs(4),
    backoff: Backoff::FEED,
    spread: 0.0,
    stuck: Failure::no_frames,
};

/// Variants of a stream at once: each costs a decoder and an encoder.
pub const MAX_VARIANTS: usize = 3;

/// In percent; a little less than for single pictures saves a third of the bytes.
const DEFAULT_QUALITY: u8 = 80;

/// Parses the variant that a query asks for. Unknown names are ignored.
///
/// # Errors
/// The first parameter with an invalid value.
pub fn variant(pairs: &[(String, String)]) -> Result<MjpegVariant, BadParameter> {
    let quality = quality(pairs)?.unwrap_or(DEFAULT_QUALITY);
    Ok(MjpegVariant { quality, width: width(pairs)? })
}

/// The frame rate limit of a viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// `None` for every picture.
    period: Option<Duration>,
    due: Option<Instant>,
}

impl Pace {
    /// Parses `?fps=`, the maximum of pictures a second.
    ///
    /// # Errors
    /// Not a number from 0.1 to 120.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, BadParameter> {
        let read = |text: &str| {
            let fps = text.parse::<f64>().ok().filter(|fps| (0.1..=120.0).contains(fps));
            fps.ok_or(BadParameter { field: "fps", valid: "0.1 to 120 pictures a second" })
        };
        let fps = find(pairs, "fps").map(read).transpose()?;
        Ok(Self { period: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)), due: None })
    }

    /// Whether a picture at `now` is to be sent; if so, it counts as sent.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let Some(period) = self.period else { return true };
        let due = self.due.unwrap_or(now);
        // Tolerates jitter of the source.
        if now + period / 4 < due {
            return false;
        }
        let next = due + period;
        self.due = Some(if next < now { now + period } else { next });
        true
    }
}

/// The stream has as many variants as allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream has {MAX_VARIANTS} variants already; omit `quality` and `width`, or use those of \
     another viewer"
)]
pub struct TooManyVariants;

/// The running variants of all streams.
#[derive(Debug, Default)]
pub struct Mjpegs(Lock<Vec<Weak<Mjpeg>>>);

/// One variant of a stream. Its pipeline runs until the last reference is dropped.
#[derive(Debug)]
pub struct Mjpeg {
    variant: MjpegVariant,
    stream: Arc<Stream>,
    stills: Arc<Stills>,
    supervisor: Supervisor,
    _wanted: watch::Sender<usize>,
}

impl Mjpegs {
    /// The variant of a stream; starts its pipeline if it is not running. Must be
    /// called on a runtime.
    ///
    /// # Errors
    /// The stream has too many other variants. The default one is always possible.
    pub fn watch(
        &self,
        stream: &Arc<Stream>,
        variant: MjpegVariant,
    ) -> Result<Arc<Mjpeg>, TooManyVariants> {
        let mut all = self.0.lock();
        all.retain(|one| one.strong_count() > 0);
        let running = all.iter().filter_map(Weak::upgrade);
        let of_stream: Vec<_> = running.filter(|one| Arc::ptr_eq(&one.stream, stream)).collect();
        if let Some(found) = of_stream.iter().find(|one| one.variant == variant) {
            return Ok(Arc::clone(found));
        }
        let default = MjpegVariant { quality: DEFAULT_QUALITY, width: None };
        let others = of_stream.iter().filter(|one| one.variant != default).count();
        if variant != default && others >= MAX_VARIANTS - 1 {
            return Err(TooManyVariants);
        }
        let started = Mjpeg::spawn(stream, variant);
        all.push(Arc::downgrade(&started));
        Ok(started)
    }
}

impl Mjpeg {
    fn spawn(stream: &Arc<Stream>, variant: MjpegVariant) -> Arc<Self> {
        let (stream, stills) = (Arc::clone(stream), Arc::<Stills>::default());
        let pipeline = MjpegPipeline::new(variant, Arc::clone(&stream), Arc::clone(&stills));
        let wanted = watch::Sender::new(1);
        // The task stops the pipeline and ends when the last handle is dropped.
        let (supervisor, _) = Supervisor::spawn(
            format!("MJPEG of {}", stream.name()),
            Box::new(pipeline),
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

    /// The newest picture; waits for the first one.
    pub async fn first(&self) -> Arc<Still> {
        let mut ends = self.stills.subscribe();
        loop {
            if let Some(still) = self.stills.newest() {
                return still;
            }
            // The sender is in `self`.
            ends.changed().await.ok();
        }
    }

    /// Returns when the pipeline has failed `times` in a row.
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
    use crate::base::time;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variants_and_rates_are_parsed_and_invalid_values_are_named() {
        let read = variant(&pairs(&[("width", "320"), ("quality", "50"), ("t", "1")]));
        assert_eq!(read, Ok(MjpegVariant { quality: 50, width: Some(320) }));
        assert_eq!(variant(&[]), Ok(MjpegVariant { quality: 80, width: None }));
        assert_eq!(variant(&pairs(&[("quality", "0")])).unwrap_err().field, "quality");
        for fps in ["0", "-1", "121", "fast", "NaN", "inf"] {
            assert_eq!(Pace::parse(&pairs(&[("fps", fps)])).unwrap_err().field, "fps", "{fps}");
        }
    }

    #[test]
    fn the_rate_of_a_viewer_is_kept_on_average() {
        for (fps, given, shown) in
            [("5", 30, 50), ("10", 25, 100), ("25", 25, 250), ("7.5", 30, 75), ("60", 30, 300)]
        {
            let mut pace = Pace::parse(&pairs(&[("fps", fps)])).unwrap();
            let begin = time::now();
            // Ten seconds of pictures, each up to 3 ms early or late.
            let at = |index: u32| {
                let jitter = Duration::from_millis(u64::from(index * 7 % 4));
                begin + Duration::from_secs(1) * index / given + jitter
            };
            let count = (0..given * 10).filter(|index| pace.is_due(at(*index))).count();
            assert!(count.abs_diff(shown) <= 1, "{fps} of {given}: {count}");
        }
    }

    #[test]
    fn no_burst_follows_a_pause() {
        let mut pace = Pace::parse(&pairs(&[("fps", "1")])).unwrap();
        let begin = time::now();
        assert!(pace.is_due(begin));
        let late = begin + Duration::from_secs(60);
        assert!(pace.is_due(late));
        assert!(!pace.is_due(late + Duration::from_millis(500)));
    }

    #[tokio::test]
    async fn a_variant_runs_once_and_few_run_at_a_time() {
        let limits = crate::hub::Limits::for_gop(Duration::from_secs(1), 1 << 20);
        let stream = Stream::new("test".parse().unwrap(), limits);
        let mjpegs = Mjpegs::default();
        let watch = |quality| mjpegs.watch(&stream, MjpegVariant { quality, width: None });
        let first = watch(10).unwrap();
        assert!(Arc::ptr_eq(&first, &watch(10).unwrap()));
        let _second = watch(20).unwrap();
        assert_eq!(watch(30).unwrap_err(), TooManyVariants);
        assert!(watch(DEFAULT_QUALITY).is_ok(), "the default is always possible");
        drop(first);
        assert!(watch(30).is_ok());
    }
}
