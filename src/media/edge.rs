//! Bursts and padding, for viewers that join a stream at the live edge.
//!
//! Both keep a plain `<video>` tag close to live. A joiner first gets a
//! *burst*: the frames since a key frame, with timestamps squeezed so that they
//! end exactly where the live chunks continue. And the stream is *padded*:
//! Chromium passes progressive media to its demuxer in blocks of 32 KiB, so
//! every few frames a `free` box fills the rest of a block (see `padder`).

use std::time::Duration;

use bytes::Bytes;

use super::fmp4::FIRST_DURATION;
use super::packager::Chunk;

/// Bytes that Chromium reads at a time (measured: 0.77 s behind live without a
/// burst, 1.05 s without padding as well).
pub const BLOCK: usize = 32 << 10;

/// Minimum frames of a burst, as far as the ring holds them: with fewer,
/// Chromium probes the stream in real time.
pub const BURST_FRAMES: usize = 40;

/// Maximum bytes of a burst.
pub const BURST_BYTES: usize = 4 << 20;

/// Duration of a frame in a burst, in ticks of the video track: 3.3 ms.
const SQUEEZED: u64 = 300;

/// A box between the init segment and the first fragment: players skip it, and
/// Chromium's demuxer takes it for media (`wide` that contains an `mdat`, as in
/// old QuickTime files).
///
/// That demuxer takes the bit rate from the first fragment if no media precedes
/// it. A squeezed key frame means 100 Mbit/s, and a `<video autoplay>` then
/// waits until half a megabyte is buffered (measured: 4.3 s). A stream of
/// unknown rate needs two blocks. A plain `mdat` has the same effect, but
/// GStreamer's demuxer refuses one without a fragment.
pub const RATE_UNKNOWN: &[u8] = b"\0\0\0\x18wide\0\0\0\0mdat\0\0\0\0\0\0\0\0";

/// For this long after a join, at intervals of [`REST_EVERY`], a block is
/// filled and a whole block of padding follows.
///
/// Chromium starts a `<video autoplay>` when its loader is idle, and the loader
/// becomes idle when two blocks arrive at once. When the decoder is ready is
/// not known here (measured: 50 to 500 ms after the join).
pub const STARTING: Duration = Duration::from_millis(1500);
pub const REST_EVERY: Duration = Duration::from_millis(150);

/// A box's size and type.
const BOX_HEADER: usize = 8;

/// Position of the decoding time in a fragment of
/// [`Fragment::write_header`](super::fmp4::Fragment::write_header).
const TFDT: std::ops::Range<usize> = 60..68;

/// The pictures of `chunks`, squeezed to end at the last one, which keeps its
/// time.
///
/// The last one is not squeezed because a camera's next picture may come before
/// the last one's duration has passed: a time after the last one could then be
/// later than the next picture.
///
/// Returns `None` if there is no picture, or if pictures are reordered
/// (B-frames): those cannot be squeezed.
pub fn burst<'a>(chunks: impl Iterator<Item = &'a Chunk>) -> Option<Burst> {
    let pictures: Vec<_> = chunks.filter(|chunk| chunk.has_video()).collect();
    if pictures.iter().any(|chunk| is_reordered(chunk)) {
        return None;
    }
    let last = pictures.last()?.video_bytes();
    let end = number(&last, TFDT);
    let frame = number(&last, FIRST_DURATION) as u32;
    let length = pictures.iter().map(|chunk| chunk.video_len()).sum();
    let mut bytes = Vec::with_capacity(length);
    for (index, chunk) in pictures.iter().enumerate() {
        let begin = bytes.len();
        bytes.extend_from_slice(&chunk.video_bytes());
        let left = (pictures.len() - 1 - index) as u64;
        if left == 0 {
            break;
        }
        let time = end.saturating_sub(left * SQUEEZED);
        bytes[begin..][TFDT].copy_from_slice(&time.to_be_bytes());
        bytes[begin..][FIRST_DURATION].copy_from_slice(&(SQUEEZED as u32).to_be_bytes());
    }
    Some(Burst::new(bytes.into(), frame))
}

/// The fragments that a joiner gets before the live chunks.
#[derive(Clone, Debug)]
pub struct Burst {
    pub bytes: Bytes,
    /// Real duration of a picture, in ticks of the video track.
    frame: u32,
}

impl Burst {
    /// `frame` is the real duration of the pictures in `bytes`, in ticks of the
    /// video track.
    pub fn new(bytes: Bytes, frame: u32) -> Self {
        Self { bytes, frame }
    }

    /// The burst for programs such as ffmpeg: its first picture has the real duration.
    ///
    /// ffmpeg takes the average frame rate from the first fragment, and the real one from the
    /// first decode times unless that is above 210 and the average below 70
    /// (`av_guess_frame_rate`). Squeezed, it is 300, and ffmpeg repeats each picture nine times
    /// for outputs of a constant rate.
    pub fn with_real_rate(&self) -> [Bytes; 2] {
        let cut = FIRST_DURATION.end.min(self.bytes.len());
        let mut head = self.bytes[..cut].to_vec();
        if let Some(duration) = head.get_mut(FIRST_DURATION) {
            duration.copy_from_slice(&self.frame.to_be_bytes());
        }
        [head.into(), self.bytes.slice(cut..)]
    }
}

/// Whether presentation and decoding order differ (B-frames): such pictures
/// cannot be squeezed.
pub fn is_reordered(chunk: &Chunk) -> bool {
    chunk.units.iter().any(|unit| unit.pts != unit.dts)
}

/// A big-endian number of four or eight bytes.
fn number(bytes: &[u8], at: std::ops::Range<usize>) -> u64 {
    bytes.get(at).unwrap_or_default().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A `free` box in two slices; all boxes share the zeros.
#[derive(Clone, Debug)]
pub struct Pad {
    header: Bytes,
    zeros: Bytes,
}

impl Pad {
    /// A box of `length` bytes, 8 to [`BLOCK`] + 7.
    fn new(length: usize) -> Self {
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        let length = length.clamp(BOX_HEADER, BLOCK + BOX_HEADER - 1);
        let header = [(length as u32).to_be_bytes(), *b"free"].concat();
        Self { header: header.into(), zeros: Bytes::from_static(&ZEROS[..length - BOX_HEADER]) }
    }

    /// The box that moves `offset` to `phase` within a block; `None` if it is
    /// there already.
    pub fn between(offset: usize, phase: usize) -> Option<Self> {
        match (phase + BLOCK - offset % BLOCK) % BLOCK {
            0 => None,
            gap if gap < BOX_HEADER => Some(Self::new(gap + BLOCK)),
            gap => Some(Self::new(gap)),
        }
    }

    /// A box of one block; it does not change the phase.
    pub fn block() -> Self {
        Self::new(BLOCK)
    }

    pub fn len(&self) -> usize {
        self.header.len() + self.zeros.len()
    }

    /// Always false: a box has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes, in order.
    pub fn pieces(&self) -> [Bytes; 2] {
        [self.header.clone(), self.zeros.clone()]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::MediaTime;
    use crate::media::packager::{Expect, Packaged, Packager};
    use crate::media::samples::placeholders;

    const FRAME: Duration = Duration::from_nanos(33_333_333);

    fn chunks(count: u32) -> Vec<Arc<Chunk>> {
        let mut packager = Packager::new();
        packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: false });
        let units = placeholders(MediaTime::ORIGIN, count, 15);
        let packaged = units.into_iter().flat_map(|unit| packager.push(unit).unwrap());
        packaged
            .filter_map(|item| match item {
                Packaged::Chunk(chunk) => Some(chunk),
                Packaged::Init(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_burst_ends_exactly_where_the_live_chunks_continue() {
        let chunks = chunks(46);
        let (past, live) = chunks.split_at(45);
        let burst = burst(past.iter().map(AsRef::as_ref)).unwrap().bytes;

        let lengths = past.iter().map(|chunk| chunk.video_len());
        let starts: Vec<_> = lengths
            .scan(0, |offset, length| Some(std::mem::replace(offset, *offset + length)))
            .collect();
        let ends: Vec<_> = starts
            .iter()
            .map(|start| number(&burst[*start..], TFDT) + number(&burst[*start..], FIRST_DURATION))
            .collect();
        let begins = starts.iter().skip(1).map(|start| number(&burst[*start..], TFDT));
        assert!(begins.zip(&ends).all(|(begin, end)| begin == *end), "no holes");
        assert_eq!(*ends.last().unwrap(), number(&live[0].bytes, TFDT));
    }

    #[test]
    fn a_picture_that_comes_early_is_still_later_than_the_burst() {
        let mut packager = Packager::new();
        packager.begin_run(MediaTime::default(), Expect { video: Some(FRAME), audio: false });
        let mut units = placeholders(MediaTime::ORIGIN, 46, 15);
        // Jitter: the last picture comes a quarter of a frame after the one before.
        units[45].dts = units[44].dts + FRAME / 4;
        units[45].pts = units[45].dts;
        let chunks: Vec<_> = units
            .into_iter()
            .flat_map(|unit| packager.push(unit).unwrap())
            .filter_map(|item| match item {
                Packaged::Chunk(chunk) => Some(chunk),
                Packaged::Init(_) => None,
            })
            .collect();
        let burst = burst(chunks[..45].iter().map(AsRef::as_ref)).unwrap().bytes;
        let last = burst.len() - chunks[44].video_len();
        assert!(number(&burst[last..], TFDT) < number(&chunks[45].bytes, TFDT));
    }

    #[test]
    fn the_real_rate_changes_only_the_duration_of_the_first_picture() {
        let chunks = chunks(45);
        let burst = burst(chunks.iter().map(AsRef::as_ref)).unwrap();
        let mut changed = burst.with_real_rate().concat();
        assert_eq!(number(&changed, FIRST_DURATION), 3000);
        assert_eq!(number(&burst.bytes, FIRST_DURATION), SQUEEZED);
        changed[FIRST_DURATION].copy_from_slice(&burst.bytes[FIRST_DURATION]);
        assert_eq!(changed, burst.bytes);
    }

    #[test]
    fn there_is_no_burst_without_pictures() {
        assert!(burst(std::iter::empty()).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_pad_brings_any_offset_to_any_phase(offset in 0usize..200_000, phase in 0usize..BLOCK) {
            let length = Pad::between(offset, phase).map_or(0, |pad| {
                let bytes = pad.pieces().concat();
                assert_eq!(bytes.len(), pad.len());
                assert_eq!(number(&bytes, 0..4) as usize, bytes.len());
                assert_eq!(&bytes[4..8], b"free");
                bytes.len()
            });
            assert_eq!((offset + length) % BLOCK, phase);
        }
    }
}
