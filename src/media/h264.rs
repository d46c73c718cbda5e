//! Parses H.264 byte streams (ISO/IEC 14496-10): NAL units and sequence parameter sets.
//!
//! Limited to what delivery needs: the positions and types of NAL units, and
//! size and timing from an SPS. It decodes nothing, never panics, and allocates
//! at most the size of its input.

use std::ops::Range;
use std::time::Duration;

use super::bits::{Bits, OutOfBits};

/// Maximum bytes of an access unit. The largest picture at the highest bit rate
/// that livebox configures is much smaller.
pub const MAX_UNIT: usize = 4 << 20;

/// Maximum bytes of a parameter set. Real ones have 10 to 100; with every
/// scaling list and timing table about 1000.
pub const MAX_PARAMETER_SET: usize = 4096;

/// Maximum side of a picture in pixels (level 6.2).
const MAX_SIDE: u32 = 16_384;

/// Why an access unit is malformed. The unit must be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("an access unit holds no picture")]
    NoPicture,
    #[error("a NAL unit has its forbidden bit set")]
    ForbiddenBit,
    #[error("an access unit has {0} bytes; at most {MAX_UNIT} are accepted")]
    TooLong(usize),
    #[error("a key frame came without parameter sets, and none are known")]
    NoParameterSets,
    #[error("a parameter set ends too early")]
    Truncated,
    #[error("a parameter set has an impossible {0}")]
    Impossible(&'static str),
    #[error("an audio frame is empty")]
    EmptyAudio,
}

impl From<OutOfBits> for Malformed {
    fn from(_: OutOfBits) -> Self {
        Self::Truncated
    }
}

/// Types of NAL units (ISO/IEC 14496-10, table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalType {
    NonIdrSlice,
    /// Data partitions A, B and C.
    SlicePartition,
    IdrSlice,
    Sei,
    SequenceParameterSet,
    PictureParameterSet,
    AccessUnitDelimiter,
    EndOfSequence,
    EndOfStream,
    FillerData,
    Other(u8),
}

impl NalType {
    /// The type in the first byte of a NAL unit.
    pub fn of(header: u8) -> Self {
        match header & 0x1f {
            1 => Self::NonIdrSlice,
            2..=4 => Self::SlicePartition,
            5 => Self::IdrSlice,
            6 => Self::Sei,
            7 => Self::SequenceParameterSet,
            8 => Self::PictureParameterSet,
            9 => Self::AccessUnitDelimiter,
            10 => Self::EndOfSequence,
            11 => Self::EndOfStream,
            12 => Self::FillerData,
            other => Self::Other(other),
        }
    }

    /// Whether it is a VCL NAL unit: a part of the picture itself.
    pub fn is_slice(self) -> bool {
        matches!(self, Self::NonIdrSlice | Self::SlicePartition | Self::IdrSlice)
    }
}

/// The fields of a sequence parameter set that delivery needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`, the constraint flags byte and `level_idc`.
    pub profile: [u8; 3],
    /// Pixels after cropping.
    pub width: u32,
    pub height: u32,
    /// `chroma_format_idc`: 0 is monochrome, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma_format: u8,
    /// Bits per sample.
    pub luma_depth: u8,
    pub chroma_depth: u8,
    /// From the VUI timing information; `None` if that is missing or implausible.
    pub frame_duration: Option<Duration>,
}

/// Returns the NAL units of a byte stream (Annex B), without start codes and
/// without the zero bytes that may follow them; none of them is empty.
///
/// Bytes before the first start code are ignored.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    nal_ranges(annex_b).map(|range| &annex_b[range])
}

/// As [`nal_units`], as ranges in `annex_b`.
pub fn nal_ranges(annex_b: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut next = start_code(annex_b, 0);
    std::iter::from_fn(move || {
        loop {
            let begin = next? + 3;
            next = start_code(annex_b, begin);
            let unit = &annex_b[begin..next.unwrap_or(annex_b.len())];
            let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
            let length = unit.len() - zeros;
            if length > 0 {
                return Some(begin..begin + length);
            }
        }
    })
}

/// The position of the next `00 00 01` at or after `at`.
fn start_code(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match data.get(at..at + 3)? {
            [0, 0, 1] => return Some(at),
            [_, _, 0] => at += 1,
            _ => at += 3,
        }
    }
}

/// Parses a sequence parameter set with its NAL header (7.3.2.1.1).
///
/// # Errors
/// A field is missing or out of range. A truncated VUI is not an error.
pub fn parse_sps(sps: &[u8]) -> Result<Sps, Malformed> {
    if sps.len() > MAX_PARAMETER_SET {
        return Err(Malformed::Impossible("length"));
    }
    let [header, payload @ ..] = sps else { return Err(Malformed::Truncated) };
    if NalType::of(*header) != NalType::SequenceParameterSet {
        return Err(Malformed::Impossible("type"));
    }
    let payload = without_emulation_prevention(payload);
    let [profile, constraints, level, body @ ..] = payload.as_slice() else {
        return Err(Malformed::Truncated);
    };
    let mut bits = Bits::new(body);
    bounded(&mut bits, 31, "id")?;
    let format = if has_format(*profile) { format(&mut bits)? } else { Format::DEFAULT };
    skip_order(&mut bits)?;
    let (width, height) = size(&mut bits, &format)?;
    // Decoders accept an SPS that ends inside the optional VUI.
    let frame_duration = frame_duration(&mut bits).unwrap_or(None);
    Ok(Sps {
        profile: [*profile, *constraints, *level],
        width,
        height,
        chroma_format: format.chroma,
        luma_depth: format.luma_depth,
        chroma_depth: format.chroma_depth,
        frame_duration,
    })
}

/// Removes the `03` of each `00 00 03` (7.4.1.1).
fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

/// Reads a `ue(v)` of at most `max`.
fn bounded(bits: &mut Bits<'_>, max: u32, what: &'static str) -> Result<u32, Malformed> {
    let value = bits.ue()?;
    if value <= max { Ok(value) } else { Err(Malformed::Impossible(what)) }
}

/// The sample format of pictures.
struct Format {
    chroma: u8,
    separate_planes: bool,
    luma_depth: u8,
    chroma_depth: u8,
}

impl Format {
    /// The format of profiles without these fields.
    const DEFAULT: Self =
        Self { chroma: 1, separate_planes: false, luma_depth: 8, chroma_depth: 8 };
}

/// Whether an SPS of this profile has the sample format (list in 7.3.2.1.1).
pub fn has_format(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn format(bits: &mut Bits<'_>) -> Result<Format, Malformed> {
    let chroma = bounded(bits, 3, "chroma format")? as u8;
    let separate_planes = chroma == 3 && bits.flag()?;
    let luma_depth = 8 + bounded(bits, 6, "bit depth")? as u8;
    let chroma_depth = 8 + bounded(bits, 6, "bit depth")? as u8;
    bits.flag()?; // qpprime_y_zero_transform_bypass_flag
    let has_scaling_matrix = bits.flag()?;
    let lists = if chroma == 3 { 12 } else { 8 };
    for list in 0..if has_scaling_matrix { lists } else { 0 } {
        if bits.flag()? {
            skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
        }
    }
    Ok(Format { chroma, separate_planes, luma_depth, chroma_depth })
}

/// Skips a scaling list, which ends early at a scale of zero (7.3.2.1.1.1).
fn skip_scaling_list(bits: &mut Bits<'_>, size: usize) -> Result<(), Malformed> {
    let mut scale = 8;
    for _ in 0..size {
        let delta = bits.se()?;
        if !(-128..=127).contains(&delta) {
            return Err(Malformed::Impossible("scaling list"));
        }
        scale = (scale + delta).rem_euclid(256);
        if scale == 0 {
            break;
        }
    }
    Ok(())
}

/// Skips frame numbers and picture order.
fn skip_order(bits: &mut Bits<'_>) -> Result<(), Malformed> {
    bounded(bits, 12, "frame number length")?;
    match bounded(bits, 2, "picture order type")? {
        0 => {
            bounded(bits, 12, "picture order length")?;
        }
        1 => {
            bits.flag()?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            for _ in 0..bounded(bits, 255, "picture order cycle")? {
                bits.se()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    bounded(bits, 16, "number of reference frames")?;
    bits.flag()?; // gaps_in_frame_num_value_allowed_flag
    Ok(())
}

/// Reads the size in macroblocks and subtracts the cropping (7.4.2.1.1).
fn size(bits: &mut Bits<'_>, format: &Format) -> Result<(u32, u32), Malformed> {
    let columns = 1 + bounded(bits, MAX_SIDE / 16 - 1, "width")?;
    let rows = 1 + bounded(bits, MAX_SIDE / 16 - 1, "height")?;
    let fields_per_row = if bits.flag()? { 1 } else { 2 };
    if fields_per_row == 2 {
        bits.flag()?; // mb_adaptive_frame_field_flag
    }
    bits.flag()?; // direct_8x8_inference_flag
    let (width, height) = (columns * 16, rows * 16 * fields_per_row);
    if height > MAX_SIDE {
        return Err(Malformed::Impossible("height"));
    }
    if !bits.flag()? {
        return Ok((width, height));
    }
    let (unit_x, unit_y) = match (format.chroma, format.separate_planes) {
        (1, _) => (2, 2),
        (2, _) => (2, 1),
        _ => (1, 1),
    };
    let mut cropped = |side: u32, unit: u32| {
        let edges = u64::from(bits.ue()?) + u64::from(bits.ue()?);
        u32::try_from(edges * u64::from(unit))
            .ok()
            .and_then(|cut| side.checked_sub(cut))
            .filter(|&rest| rest > 0)
            .ok_or(Malformed::Impossible("cropping"))
    };
    Ok((cropped(width, unit_x)?, cropped(height, unit_y * fields_per_row)?))
}

/// Reads the VUI up to its timing information (E.1.1).
fn frame_duration(bits: &mut Bits<'_>) -> Result<Option<Duration>, OutOfBits> {
    const EXTENDED_SAR: u32 = 255;
    if !bits.flag()? {
        return Ok(None);
    }
    if bits.flag()? && bits.field(8)? == EXTENDED_SAR {
        bits.field(32)?; // sar_width, sar_height
    }
    if bits.flag()? {
        bits.flag()?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.field(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.field(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if bits.flag()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?; // chroma_sample_loc_type_bottom_field
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let units_in_tick = u64::from(bits.field(32)?);
    let time_scale = u64::from(bits.field(32)?);
    // A frame is two ticks, one per field.
    let nanos = (2 * units_in_tick * 1_000_000_000).checked_div(time_scale);
    let plausible = Duration::from_millis(1)..=Duration::from_secs(10);
    Ok(nanos.map(Duration::from_nanos).filter(|duration| plausible.contains(duration)))
}

#[cfg(test)]
mod tests;
