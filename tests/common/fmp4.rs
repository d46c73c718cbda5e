//! Walking through fragmented MP4 (ISO/IEC 14496-12) as it arrives: which
//! tracks there are, and when each fragment plays and for how long.
//!
//! Pictures and sound stay unread; that is ffprobe's part.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::Instant;

use super::wait;

/// One top-level piece of the file.
#[derive(Clone, Debug)]
pub enum Piece {
    Init(Vec<Track>),
    /// The tracks of one `moof`.
    Fragments(Vec<Fragment>),
    /// A `free` box of eight bytes: where stamps were asked for, when the
    /// encoder gave the next chunk, in nanoseconds since 1970.
    Stamp(u64),
    /// Media, padding and other boxes.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub id: u32,
    /// `vide` or `soun`.
    pub handler: [u8; 4],
    /// Units of time in a second.
    pub timescale: u32,
}

/// What one `moof` says about one track.
#[derive(Clone, Debug)]
pub struct Fragment {
    pub sequence: u32,
    pub track: u32,
    /// `tfdt`: when the first sample is decoded.
    pub decode_time: u64,
    /// Of all samples together, in the track's timescale.
    pub duration: u64,
    /// Whether the first sample is a key frame.
    pub key: bool,
    pub arrived: Instant,
}

/// Reads one piece; `None` where the file ends.
pub fn read_piece(from: &mut impl Read) -> Result<Option<Piece>> {
    let mut header = [0; 8];
    match from.read(&mut header[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut header[1..])?,
    }
    let name = [header[4], header[5], header[6], header[7]];
    let size = u64::from(be32(&header, 0)?);
    let rest = size.checked_sub(8).ok_or_else(|| bad("a top-level box without a size"))?;
    let is_stamp = &name == b"free" && rest == 8;
    if !is_stamp && !matches!(&name, b"moov" | b"moof") {
        std::io::copy(&mut from.take(rest), &mut std::io::sink())?;
        return Ok(Some(Piece::Other));
    }
    let mut body = vec![0; usize::try_from(rest).map_err(|_| bad("a box too large"))?];
    from.read_exact(&mut body)?;
    let piece = match &name {
        b"moov" => Piece::Init(tracks(&body)?),
        b"free" => Piece::Stamp(be64(&body, 0)?),
        _ => Piece::Fragments(fragments(&body, wait::now())?),
    };
    Ok(Some(piece))
}

fn tracks(moov: &[u8]) -> Result<Vec<Track>> {
    children(moov)?.into_iter().filter(|(name, _)| name == b"trak").map(|(_, b)| track(b)).collect()
}

fn track(trak: &[u8]) -> Result<Track> {
    let tkhd = child(trak, b"tkhd")?;
    let mdia = child(trak, b"mdia")?;
    let mdhd = child(mdia, b"mdhd")?;
    let hdlr = child(mdia, b"hdlr")?;
    let handler = hdlr.get(8..12).ok_or_else(|| bad("a short hdlr"))?;
    Ok(Track {
        id: be32(tkhd, if is_version_1(tkhd) { 20 } else { 12 })?,
        timescale: be32(mdhd, if is_version_1(mdhd) { 20 } else { 12 })?,
        handler: handler.try_into().expect("four bytes were taken"),
    })
}

fn fragments(moof: &[u8], arrived: Instant) -> Result<Vec<Fragment>> {
    let sequence = be32(child(moof, b"mfhd")?, 4)?;
    let runs = children(moof)?.into_iter().filter(|(name, _)| name == b"traf");
    runs.map(|(_, traf)| fragment(traf, sequence, arrived)).collect()
}

fn fragment(traf: &[u8], sequence: u32, arrived: Instant) -> Result<Fragment> {
    let tfhd = child(traf, b"tfhd")?;
    let (default_duration, default_flags) = sample_defaults(tfhd)?;
    let tfdt = child(traf, b"tfdt")?;
    let decode_time = if is_version_1(tfdt) { be64(tfdt, 4)? } else { u64::from(be32(tfdt, 4)?) };
    let trun = child(traf, b"trun")?;
    let flags = be32(trun, 0)? & 0x00ff_ffff;
    let samples = be32(trun, 4)?;
    let mut at = 8 + if flags & 0x1 != 0 { 4 } else { 0 };
    let mut first_flags = default_flags;
    if flags & 0x4 != 0 {
        first_flags = be32(trun, at)?;
        at += 4;
    }
    let mut duration = 0;
    for sample in 0..samples {
        duration += u64::from(if flags & 0x100 != 0 { be32(trun, at)? } else { default_duration });
        if sample == 0 && flags & 0x400 != 0 {
            let before = [0x100, 0x200].iter().filter(|bit| flags & **bit != 0).count();
            first_flags = be32(trun, at + 4 * before)?;
        }
        at += 4 * (flags & 0xf00).count_ones() as usize;
    }
    let key = first_flags & 0x0001_0000 == 0;
    Ok(Fragment { sequence, track: be32(tfhd, 4)?, decode_time, duration, key, arrived })
}

/// The sample duration and flags that `tfhd` gives to all samples, zero where it gives none.
fn sample_defaults(tfhd: &[u8]) -> Result<(u32, u32)> {
    let flags = be32(tfhd, 0)?;
    let mut at = 8 + if flags & 0x1 != 0 { 8 } else { 0 } + if flags & 0x2 != 0 { 4 } else { 0 };
    let mut next = |bit: u32| {
        if flags & bit == 0 {
            return Ok(0);
        }
        at += 4;
        be32(tfhd, at - 4)
    };
    let duration = next(0x8)?;
    next(0x10)?;
    Ok((duration, next(0x20)?))
}

fn child<'a>(body: &'a [u8], wanted: &[u8; 4]) -> Result<&'a [u8]> {
    let found = children(body)?.into_iter().find(|(name, _)| name == wanted);
    let missing = || bad(&format!("no {}", String::from_utf8_lossy(wanted)));
    found.map(|(_, inside)| inside).ok_or_else(missing)
}

type Boxes<'a> = Vec<([u8; 4], &'a [u8])>;

fn children(mut body: &[u8]) -> Result<Boxes<'_>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let size = be32(body, 0)? as usize;
        let inside = body.get(8..size).ok_or_else(|| bad("a box longer than its parent"))?;
        found.push((body[4..8].try_into().expect("four bytes were taken"), inside));
        body = &body[size..];
    }
    Ok(found)
}

fn is_version_1(full_box: &[u8]) -> bool {
    full_box.first() == Some(&1)
}

fn be32(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..at + 4).ok_or_else(|| bad("a box that ends too early"))?;
    Ok(u32::from_be_bytes(four.try_into().expect("four bytes were taken")))
}

fn be64(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from(be32(bytes, at)?) << 32 | u64::from(be32(bytes, at + 4)?))
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not a fragmented MP4: {what}"))
}
