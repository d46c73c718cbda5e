//! Parses and writes AAC configurations (ISO/IEC 14496-3, 1.6.2.1).
//!
//! Supports the AAC family with 1024 samples per frame and a standard speaker
//! layout, which all browsers play. Does not parse frames.

use bytes::Bytes;

use super::bits::{Bits, OutOfBits};
use crate::model::track::AudioInfo;

/// Samples per channel in one frame.
pub const FRAME_SAMPLES: u32 = 1024;

/// Maximum bytes of a configuration; real ones have 2 to 7.
const MAX_CONFIG: usize = 128;

/// `samplingFrequencyIndex` (table 1.18).
const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// The `samplingFrequencyIndex` before an explicit 24-bit rate.
const EXPLICIT_RATE: u32 = 15;

/// Audio object types (table 1.17).
const LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;
const ESCAPE: u32 = 31;

/// Why an AudioSpecificConfig is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    #[error("an AAC configuration ends too early")]
    Truncated,
    #[error("an AAC configuration has {0} bytes; at most {MAX_CONFIG} are accepted")]
    TooLong(usize),
    #[error("audio object type {0} is not AAC that browsers play; use AAC-LC")]
    ObjectType(u32),
    #[error("an AAC configuration has an impossible sample rate")]
    Rate,
    #[error("AAC channel configuration {0} is not a standard speaker layout")]
    Channels(u32),
    #[error("AAC with 960 samples a frame is not supported; use 1024")]
    FrameLength,
}

impl From<OutOfBits> for BadConfig {
    fn from(_: OutOfBits) -> Self {
        Self::Truncated
    }
}

/// The AAC-LC track with this rate and number of channels; `None` if AAC has no
/// code for them.
pub fn lc_config(rate: u32, channels: u8) -> Option<AudioInfo> {
    let rate_index = RATES.iter().position(|&known| known == rate)? as u16;
    let layout = match channels {
        1..=6 => u16::from(channels),
        8 => 7,
        _ => return None,
    };
    let config = (LC as u16) << 11 | rate_index << 7 | layout << 3;
    Some(AudioInfo { config: Bytes::copy_from_slice(&config.to_be_bytes()), rate, channels })
}

/// The length of [`adts_header`], in bytes.
pub const ADTS_HEADER: usize = 7;

/// The ADTS header of a frame of `length` bytes (ISO/IEC 14496-3, 1.A.2),
/// without a checksum. Profile and rate are those of the core: players of ADTS
/// detect HE-AAC by themselves.
pub fn adts_header(info: &AudioInfo, length: usize) -> [u8; ADTS_HEADER] {
    let mut bits = Bits::new(&info.config);
    let object_type = object_type(&mut bits).unwrap_or(LC);
    // Only four profiles have a code; the core of HE-AAC is LC.
    let profile = if (1..=4).contains(&object_type) { object_type - 1 } else { LC - 1 } as u8;
    let rate = RATES.iter().position(|&known| known == info.rate).unwrap_or(0xf) as u8;
    let layout = if info.channels == 8 { 7 } else { info.channels & 7 };
    // 13 bits of length, including the header.
    let whole = (length + ADTS_HEADER).min(0x1fff) as u16;
    [
        0xff,
        0xf1,
        profile << 6 | rate << 2 | layout >> 2,
        (layout & 3) << 6 | (whole >> 11) as u8,
        (whole >> 3) as u8,
        (whole << 5) as u8 | 0x1f,
        0xfc,
    ]
}

/// Parses an AudioSpecificConfig. The rate of HE-AAC is that of its core, whose
/// frames have [`FRAME_SAMPLES`].
pub fn parse_config(asc: &[u8]) -> Result<AudioInfo, BadConfig> {
    if asc.len() > MAX_CONFIG {
        return Err(BadConfig::TooLong(asc.len()));
    }
    let mut bits = Bits::new(asc);
    let mut object_type = object_type(&mut bits)?;
    let rate = rate(&mut bits)?;
    let layout = bits.field(4)?;
    if matches!(object_type, SBR | PS) {
        self::rate(&mut bits)?; // extensionSamplingFrequency
        object_type = self::object_type(&mut bits)?;
    }
    // Main, LC, SSR and LTP are coded as frames of 1024.
    if !(1..=4).contains(&object_type) {
        return Err(BadConfig::ObjectType(object_type));
    }
    let channels = match layout {
        1..=6 => layout as u8,
        7 | 12 | 14 => 8,
        11 => 7,
        other => return Err(BadConfig::Channels(other)),
    };
    let short_frames = bits.flag()?; // frameLengthFlag
    if short_frames {
        return Err(BadConfig::FrameLength);
    }
    Ok(AudioInfo { config: Bytes::copy_from_slice(asc), rate, channels })
}

fn object_type(bits: &mut Bits<'_>) -> Result<u32, OutOfBits> {
    match bits.field(5)? {
        ESCAPE => Ok(32 + bits.field(6)?),
        plain => Ok(plain),
    }
}

fn rate(bits: &mut Bits<'_>) -> Result<u32, BadConfig> {
    let rate = match bits.field(4)? {
        EXPLICIT_RATE => bits.field(24)?,
        index => RATES.get(index as usize).copied().unwrap_or(0),
    };
    if (1..=192_000).contains(&rate) { Ok(rate) } else { Err(BadConfig::Rate) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_configurations_have_their_well_known_bytes() {
        assert_eq!(lc_config(48000, 2).unwrap().config.as_ref(), [0x11, 0x90]);
        assert_eq!(lc_config(44100, 2).unwrap().config.as_ref(), [0x12, 0x10]);
        assert_eq!(lc_config(44100, 1).unwrap().config.as_ref(), [0x12, 0x08]);
        assert_eq!(lc_config(8000, 1).unwrap().codec(), "mp4a.40.2");
    }

    #[test]
    fn rates_and_channels_without_an_aac_code_are_refused() {
        assert_eq!(lc_config(44101, 2), None);
        assert_eq!(lc_config(48000, 0), None);
        assert_eq!(lc_config(48000, 7), None);
    }

    #[test]
    fn every_written_configuration_parses_as_itself() {
        for rate in RATES {
            for channels in [1, 2, 3, 4, 5, 6, 8] {
                let info = lc_config(rate, channels).unwrap();
                assert_eq!(parse_config(&info.config), Ok(info));
            }
        }
    }

    #[test]
    fn a_rate_outside_the_table_is_parsed_from_its_24_bits() {
        // LC, index 15, 50000 Hz, 2 channels.
        let bits = 2u64 << 35 | 15 << 31 | 50_000 << 7 | 2 << 3;
        let info = parse_config(&bits.to_be_bytes()[3..]).unwrap();
        assert_eq!((info.rate, info.channels), (50_000, 2));
    }

    #[test]
    fn he_aac_has_the_rate_of_its_core() {
        // SBR, 24000 Hz core, 2 channels, 48000 Hz output, LC.
        let info = parse_config(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((info.rate, info.channels), (24_000, 2));
        assert_eq!(info.codec(), "mp4a.40.5");
    }

    #[test]
    fn each_bad_configuration_has_its_own_error() {
        for (asc, error) in [
            (&[][..], BadConfig::Truncated),
            (&[0x11], BadConfig::Truncated),
            (&[0x11, 0x94], BadConfig::FrameLength),
            (&[0x11, 0x80], BadConfig::Channels(0)),
            (&[0x16, 0x90], BadConfig::Rate),
            (&[0xb9, 0x90], BadConfig::ObjectType(23)),
            (&[0; 129], BadConfig::TooLong(129)),
        ] {
            assert_eq!(parse_config(asc), Err(error), "{asc:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(asc in prop::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(info) = parse_config(&asc) {
                prop_assert!(info.rate > 0 && (1..=8).contains(&info.channels));
            }
        }
    }
}
