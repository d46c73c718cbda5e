//! Feeding a consumer from a stream, at the speed at which it takes units.
//!
//! A feeder never drops a frame by itself: dropping H.264 corrupts silently. A
//! consumer that falls behind goes on at a key frame, and learns of the gap.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Piece, Read, Reader};
use crate::media::packager::{Chunk, Init};
use crate::model::unit::TrackKind;
use crate::wire::Unit;

/// What a stream is fed to.
pub(super) trait Consumer {
    /// Takes the units of a chunk that it has a use for, and returns when it has
    /// room for more. `gap` says that chunks before this one are missing.
    fn take(
        &mut self,
        chunk: &Chunk,
        gap: bool,
    ) -> impl Future<Output = Result<Taken, Refused>> + Send;
}

/// How a consumer took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    AtOnce,
    /// It was full, and needed time to get room.
    Slowly,
}

/// A consumer takes no more, for a reason that it tells elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// What a feeder does whose consumer cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenLate {
    /// It falls back until the ring has dropped what it would read.
    FallBack,
    /// It goes on at the newest key frame as soon as there is one ahead.
    Jump,
}

/// Why a feeder cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Refused,
    CodecChange,
    /// The stream was removed.
    Gone,
}

/// The first chunk, with what is needed to decode it.
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

/// The units of a chunk, each with its bytes.
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

/// Feeds `consumer` from `first` on. Returns when it cannot go on. `tell_lost`
/// learns how many chunks were skipped.
pub(super) async fn feed(
    reader: &mut Reader,
    first: Arc<Piece>,
    consumer: &mut (impl Consumer + Send),
    when_late: WhenLate,
    tell_lost: impl Fn(u64),
) -> Over {
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
                let Ok(taken) = consumer.take(&chunk, gap).await else { return Over::Refused };
                gap = false;
                if taken == Taken::Slowly && when_late == WhenLate::Jump {
                    let lost = reader.jump();
                    if lost > 0 {
                        tell_lost(lost);
                        gap = true;
                    }
                }
            }
            Read::Skipped(lost) => {
                tell_lost(lost);
                gap = true;
            }
            Read::Init(init) if init.generation != generation => return Over::CodecChange,
            Read::Init(_) => {}
            Read::End => return Over::Gone,
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

    /// Needs so long for its first chunk that all others come meanwhile.
    struct Slow {
        stream: Arc<Stream>,
        others: Vec<AccessUnit>,
        /// The times of what it took, and before which of it something was missing.
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

    /// What is taken of 25 pictures, by their numbers, and how many chunks were skipped.
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
        let tell_lost = |more| *lost.lock().unwrap() += more;
        let over = feed(&mut reader, first, &mut slow, when_late, tell_lost).await;
        assert_eq!(over, Over::Refused);
        let number = |time| times.iter().position(|one| *one == time).unwrap();
        let taken = slow.taken.into_iter().map(|(time, gap)| (number(time), gap)).collect();
        (taken, lost.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_late_consumer_jumps_to_the_newest_key_frame_and_learns_of_the_gap() {
        let (taken, lost) = fed(WhenLate::Jump).await;
        assert_eq!(taken, [(0, false), (20, true), (21, false)]);
        assert_eq!(lost, 19);
    }

    #[tokio::test]
    async fn a_late_consumer_that_is_to_have_all_gets_all() {
        let (taken, lost) = fed(WhenLate::FallBack).await;
        assert_eq!(taken, [(0, false), (1, false), (2, false)]);
        assert_eq!(lost, 0);
    }
}
