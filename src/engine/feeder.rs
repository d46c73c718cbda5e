//! Feeds a consumer from a stream, at the speed at which it takes units.
//!
//! A feeder never drops single frames: missing H.264 frames corrupt the picture
//! silently. A consumer that falls behind continues at a key frame, marked as a gap.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Piece, Read, Reader};
use crate::media::packager::{Chunk, Init};
use crate::model::unit::TrackKind;
use crate::wire::Unit;

/// A consumer of a stream.
pub(super) trait Consumer {
    /// Takes the units of a chunk that it can use, and returns when it has room for
    /// more. `gap`: chunks before this one are missing.
    fn take(
        &mut self,
        chunk: &Chunk,
        gap: bool,
    ) -> impl Future<Output = Result<Taken, Refused>> + Send;
}

/// How long a consumer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    AtOnce,
    /// It was full and had to wait for room.
    Slowly,
}

/// The consumer takes no more units; it reports the reason itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// What a feeder does when its consumer cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenLate {
    /// Falls behind until the ring has dropped what it would read next.
    FallBack,
    /// Continues at the newest key frame as soon as there is one ahead.
    Jump,
}

/// Why feeding has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndReason {
    Refused,
    CodecChange,
    /// The stream was removed.
    Gone,
}

/// Waits for the first chunk and returns it with its init segment.
pub(super) async fn first_chunk(reader: &mut Reader) -> (Arc<Init>, Arc<Piece>) {
    let mut init = None;
    loop {
        match (reader.next().await, &init) {
            (Read::Init(new), _) => init = Some(new),
            (Read::Chunk(chunk), Some(init)) => return (Arc::clone(init), chunk),
            // The caller is stopped when its stream is removed.
            (Read::Chunk(_) | Read::Skipped(_) | Read::End, _) => {}
        }
    }
}

/// The units of a chunk, each with its bytes: video in Annex B form, raw AAC frames.
pub(super) fn units(chunk: &Chunk, gap: bool) -> impl Iterator<Item = (Unit, Bytes)> {
    chunk.units.iter().map(move |unit| {
        let data = match unit.track {
            TrackKind::Video => chunk.annex_b(),
            TrackKind::Audio => chunk.payload(unit),
        };
        let &crate::media::packager::Unit { track, pts, dts, duration, key, .. } = unit;
        (Unit { track, pts, dts, duration, key, gap }, data)
    })
}

/// Feeds `consumer`, beginning with `first`, until it refuses or the stream changes
/// its codec or ends. `on_lost` is called with the number of skipped chunks.
pub(super) async fn feed(
    reader: &mut Reader,
    first: Arc<Piece>,
    consumer: &mut (impl Consumer + Send),
    when_late: WhenLate,
    on_lost: impl Fn(u64),
) -> EndReason {
    let generation = first.generation;
    let mut next = Some(Read::Chunk(first));
    let mut gap = false;
    loop {
        let read = match next.take() {
            Some(read) => read,
            None => reader.next().await,
        };
        match read {
            Read::Chunk(chunk) => {
                let Ok(taken) = consumer.take(&chunk, gap).await else { return EndReason::Refused };
                gap = false;
                if taken == Taken::Slowly && when_late == WhenLate::Jump {
                    let lost = reader.jump();
                    if lost > 0 {
                        on_lost(lost);
                        gap = true;
                    }
                }
            }
            Read::Skipped(lost) => {
                on_lost(lost);
                gap = true;
            }
            Read::Init(init) if init.generation != generation => return EndReason::CodecChange,
            Read::Init(_) => {}
            Read::End => return EndReason::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::base::time::MediaTime;
    use crate::hub::{Limits, Stream};
    use crate::media::packager::Expect;
    use crate::media::samples::placeholders;
    use crate::model::unit::AccessUnit;

    const GOP: u32 = 10;

    /// Takes so long for its first chunk that all others arrive meanwhile.
    struct Slow {
        stream: Arc<Stream>,
        others: Vec<AccessUnit>,
        /// The times of the units that it took, each with whether a gap precedes it.
        taken: Vec<(MediaTime, bool)>,
    }

    impl Consumer for Slow {
        async fn take(&mut self, chunk: &Chunk, gap: bool) -> Result<Taken, Refused> {
            if self.taken.len() == 3 {
                return Err(Refused);
            }
            self.taken.extend(units(chunk, gap).map(|(unit, _)| (unit.pts, unit.gap)));
            if self.others.is_empty() {
                return Ok(Taken::AtOnce);
            }
            for unit in self.others.drain(..) {
                self.stream.publish(unit).unwrap();
            }
            Ok(Taken::Slowly)
        }
    }

    /// The pictures of 25 that are taken, by number, and the count of skipped chunks.
    async fn fed(when_late: WhenLate) -> (Vec<(usize, bool)>, u64) {
        let limits = Limits::for_gop(Duration::from_secs(1), 1 << 20);
        let stream = Stream::new("test".parse().unwrap(), limits);
        let mut others = placeholders(MediaTime::ORIGIN, 25, GOP);
        let times: Vec<_> = others.iter().map(|unit| unit.pts).collect();
        let video = Some(Duration::from_secs(1) / 30);
        stream.begin_run(MediaTime::default(), Expect { video, audio: false }, 2_000_000);
        stream.publish(others.remove(0)).unwrap();
        let mut reader = stream.join_uncounted();
        let (_, first) = first_chunk(&mut reader).await;
        let mut slow = Slow { stream, others, taken: Vec::new() };
        let lost = Mutex::new(0);
        let on_lost = |more| *lost.lock().unwrap() += more;
        let end = feed(&mut reader, first, &mut slow, when_late, on_lost).await;
        assert_eq!(end, EndReason::Refused);
        let number = |time| times.iter().position(|one| *one == time).unwrap();
        let taken = slow.taken.into_iter().map(|(time, gap)| (number(time), gap)).collect();
        (taken, lost.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_late_consumer_jumps_to_the_newest_key_frame_with_a_gap() {
        let (taken, lost) = fed(WhenLate::Jump).await;
        assert_eq!(taken, [(0, false), (20, true), (21, false)]);
        assert_eq!(lost, 19);
    }

    #[tokio::test]
    async fn a_late_consumer_that_falls_back_gets_every_chunk() {
        let (taken, lost) = fed(WhenLate::FallBack).await;
        assert_eq!(taken, [(0, false), (1, false), (2, false)]);
        assert_eq!(lost, 0);
    }
}
