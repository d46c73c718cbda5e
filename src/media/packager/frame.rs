//! Parses a video access unit.
//!
//! Finds its NAL units and parameter sets, and whether it can be sent. It keeps
//! no state between units and copies nothing but new parameter sets.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::media::h264::{MAX_PARAMETER_SET, MAX_UNIT, Malformed, NalType, nal_ranges, parse_sps};
use crate::model::track::VideoInfo;
use crate::model::unit::AccessUnit;

/// The parameter sets that a key frame needs, and their content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParameterSets {
    pub(super) info: VideoInfo,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

/// A video access unit that can be sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) unit: AccessUnit,
    /// Of a key frame; `None` for other frames.
    pub(super) sets: Option<Arc<ParameterSets>>,
    /// The NAL units to send, without delimiters and filler; in a key frame also
    /// without parameter sets, because `sets` are sent before it.
    nals: Vec<Range<usize>>,
}

/// A video access unit that cannot be sent.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) error: Malformed,
    /// Whether it holds an IDR slice.
    pub(super) key: bool,
}

impl Frame {
    /// Parses an Annex B access unit; a key frame without parameter sets uses
    /// `known`.
    pub(super) fn read(
        unit: AccessUnit,
        known: Option<&Arc<ParameterSets>>,
    ) -> Result<Self, Rejected> {
        let mut nals: Vec<_> = nal_ranges(&unit.data).collect();
        let type_of = |nal: &Range<usize>| NalType::of(unit.data[nal.start]);
        let key = nals.iter().any(|nal| type_of(nal) == NalType::IdrSlice);
        check(&unit.data, &nals).map_err(|error| Rejected { error, key })?;
        let sets = if key {
            let sets = ParameterSets::read(&unit.data, &nals, known);
            Some(sets.map_err(|error| Rejected { error, key })?)
        } else {
            None
        };
        nals.retain(|nal| match type_of(nal) {
            NalType::AccessUnitDelimiter | NalType::FillerData => false,
            NalType::SequenceParameterSet | NalType::PictureParameterSet => !key,
            NalType::NonIdrSlice
            | NalType::SlicePartition
            | NalType::IdrSlice
            | NalType::Sei
            | NalType::EndOfSequence
            | NalType::EndOfStream
            | NalType::Other(_) => true,
        });
        Ok(Self { unit, sets, nals })
    }

    pub(super) fn is_key(&self) -> bool {
        self.sets.is_some()
    }

    /// The NAL units in sending order.
    pub(super) fn nals(&self) -> impl Iterator<Item = &[u8]> {
        let sets = self.sets.iter().flat_map(|sets| sets.sps.iter().chain(&sets.pps));
        let data = self.unit.data.as_ref();
        sets.map(AsRef::as_ref).chain(self.nals.iter().map(|nal| &data[nal.clone()]))
    }

    /// Bytes of the frame with a length or start code of four bytes per NAL unit.
    pub(super) fn size(&self) -> usize {
        self.nals().map(|nal| 4 + nal.len()).sum()
    }
}

fn check(data: &[u8], nals: &[Range<usize>]) -> Result<(), Malformed> {
    if data.len() > MAX_UNIT {
        return Err(Malformed::TooLong(data.len()));
    }
    let mut has_picture = false;
    for nal in nals {
        let header = data[nal.start];
        if header & 0x80 != 0 {
            return Err(Malformed::ForbiddenBit);
        }
        has_picture |= NalType::of(header).is_slice() && nal.len() > 1;
        if NalType::of(header) == NalType::SequenceParameterSet {
            parse_sps(&data[nal.clone()])?;
        }
    }
    if has_picture { Ok(()) } else { Err(Malformed::NoPicture) }
}

impl ParameterSets {
    /// Collects the sets of a key frame; returns `known` itself if they are equal.
    fn read(
        data: &[u8],
        nals: &[Range<usize>],
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Malformed> {
        let collect = |wanted: NalType, known: Option<&Vec<Bytes>>| {
            let own = nals.iter().filter(|nal| NalType::of(data[nal.start]) == wanted);
            let own: Vec<_> = own.map(|nal| &data[nal.clone()]).collect();
            match known {
                Some(known) if own.is_empty() || own == *known => known.clone(),
                _ => own.into_iter().map(Bytes::copy_from_slice).collect(),
            }
        };
        let sps = collect(NalType::SequenceParameterSet, known.map(|known| &known.sps));
        let pps = collect(NalType::PictureParameterSet, known.map(|known| &known.pps));
        if let Some(known) = known.filter(|known| known.sps == sps && known.pps == pps) {
            return Ok(Arc::clone(known));
        }
        let ([first_sps, ..], [first_pps, ..]) = (&sps[..], &pps[..]) else {
            return Err(Malformed::NoParameterSets);
        };
        if pps.iter().any(|pps| pps.len() < 2) {
            return Err(Malformed::Truncated);
        }
        if pps.iter().any(|pps| pps.len() > MAX_PARAMETER_SET) {
            return Err(Malformed::Impossible("length"));
        }
        let parsed = parse_sps(first_sps)?;
        let info = VideoInfo {
            sps: first_sps.clone(),
            pps: first_pps.clone(),
            width: parsed.width,
            height: parsed.height,
            profile: parsed.profile,
            frame_duration: parsed.frame_duration,
        };
        Ok(Arc::new(Self { info, sps, pps }))
    }
}
