//! Writes fragmented MP4 (ISO/IEC 14496-12 and -15).
//!
//! `mp4-atom` writes the init segment. Fragments are written directly, because
//! there is one per frame. There is no `mehd` and every duration is 0: Chromium
//! takes that for a live stream and buffers only one frame.

use std::ops::Range;

use bytes::Bytes;
use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec, Dinf, Dref, DrefEntry, Encode, Esds, FixedPoint, FourCC,
    Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex,
    Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

use super::h264;
use crate::model::track::{AudioInfo, Tracks, VideoInfo};
use crate::model::unit::TrackKind;

/// Ticks per second of the video track.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Sample flags: depends on no other sample; or depends on others and is not a
/// sync sample.
const SYNC: u32 = 0x0200_0000;
const NON_SYNC: u32 = 0x0101_0000;

/// Position of the first sample's duration in a fragment of [`Fragment`] or
/// [`joint_header`].
pub const FIRST_DURATION: Range<usize> = 88..92;

/// The track's number in every segment, independent of which tracks there are.
pub fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
    }
}

/// Returns `ftyp` and `moov` for these tracks.
pub fn init_segment(tracks: &Tracks) -> Bytes {
    let video = tracks.video.as_ref().map(video_trak);
    let audio = tracks.audio.as_ref().map(audio_trak);
    let trak: Vec<_> = video.into_iter().chain(audio).collect();
    let moov = Moov {
        mvhd: Mvhd {
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: 3,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex: trak.iter().map(trex).collect() }),
        trak,
        ..Moov::default()
    };
    let mut bytes = Vec::new();
    file_type(tracks)
        .encode(&mut bytes)
        .and_then(|()| moov.encode(&mut bytes))
        .expect("every value fits its box");
    bytes.into()
}

/// The brand `cmfc` requires a single track (ISO/IEC 23000-19, 7.2).
fn file_type(tracks: &Tracks) -> Ftyp {
    let mut brands: Vec<FourCC> = vec![b"iso5".into(), b"iso6".into(), b"mp41".into()];
    if tracks.video.is_some() != tracks.audio.is_some() {
        brands.push(b"cmfc".into());
    }
    Ftyp { major_brand: b"iso5".into(), minor_version: 512, compatible_brands: brands }
}

fn trex(trak: &Trak) -> Trex {
    Trex { track_id: trak.tkhd.track_id, default_sample_description_index: 1, ..Trex::default() }
}

fn video_trak(video: &VideoInfo) -> Trak {
    // 14496-15, 5.3.3.1.2: these profiles repeat the sample format after the PPS.
    let ext = h264::parse_sps(&video.sps).ok().filter(|sps| h264::has_format(sps.profile[0]));
    let avcc = Avcc {
        configuration_version: 1,
        avc_profile_indication: video.profile[0],
        profile_compatibility: video.profile[1],
        avc_level_indication: video.profile[2],
        length_size: 4,
        sequence_parameter_sets: vec![video.sps.to_vec()],
        picture_parameter_sets: vec![video.pps.to_vec()],
        ext: ext.map(|sps| AvccExt {
            chroma_format: sps.chroma_format,
            bit_depth_luma: sps.luma_depth,
            bit_depth_chroma: sps.chroma_depth,
            sequence_parameter_sets_ext: Vec::new(),
        }),
    };
    let width = u16::try_from(video.width).unwrap_or(u16::MAX);
    let height = u16::try_from(video.height).unwrap_or(u16::MAX);
    let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let mut trak = trak(
        TrackKind::Video,
        VIDEO_TIMESCALE,
        Codec::Avc1(Avc1 { visual, avcc, ..Avc1::default() }),
    );
    trak.tkhd.width = width.into();
    trak.tkhd.height = height.into();
    trak.mdia.hdlr = Hdlr { handler: b"vide".into(), name: "livebox video".into() };
    trak.mdia.minf.vmhd = Some(Vmhd::default());
    trak
}

fn audio_trak(audio: &AudioInfo) -> Trak {
    let es_desc = EsDescriptor {
        es_id: track_id(TrackKind::Audio) as u16,
        dec_config: DecoderConfig {
            object_type_indication: 0x40, // ISO/IEC 14496-3 audio
            stream_type: 5,               // AudioStream
            dec_specific: Some(DecoderSpecific {
                raw: audio.config.to_vec(),
                ..DecoderSpecific::default()
            }),
            ..DecoderConfig::default()
        },
        sl_config: SLConfig::default(),
        ..EsDescriptor::default()
    };
    let entry = Audio {
        data_reference_index: 1,
        channel_count: u16::from(audio.channels),
        sample_size: 16,
        // 0 if the rate does not fit into 16 bits; the esds has the rate.
        sample_rate: FixedPoint::from(u16::try_from(audio.rate).unwrap_or(0)),
    };
    let mut trak = trak(
        TrackKind::Audio,
        audio.rate,
        Codec::Mp4a(Mp4a { audio: entry, esds: Esds { es_desc }, btrt: None, taic: None }),
    );
    trak.tkhd.volume = 1.into();
    trak.tkhd.alternate_group = 1;
    trak.mdia.hdlr = Hdlr { handler: b"soun".into(), name: "livebox audio".into() };
    trak.mdia.minf.smhd = Some(Smhd::default());
    trak
}

/// The boxes of both kinds of track, without samples: those are in fragments.
fn trak(kind: TrackKind, timescale: u32, codec: Codec) -> Trak {
    let stbl =
        Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Stbl::default() };
    let dref = Dref { entries: vec![DrefEntry::Url(Url::default())] };
    Trak {
        tkhd: Tkhd { track_id: track_id(kind), enabled: true, in_movie: true, ..Tkhd::default() },
        mdia: Mdia {
            mdhd: Mdhd { timescale, language: "und".into(), ..Mdhd::default() },
            minf: Minf { dinf: Dinf { dref }, stbl, ..Minf::default() },
            ..Mdia::default()
        },
        ..Trak::default()
    }
}

/// One frame of a fragment; times in ticks of its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    /// Bytes in the `mdat`.
    pub size: u32,
    pub key: bool,
    /// Presentation time minus decoding time.
    pub composition: i32,
}

/// One `moof` and the header of its `mdat`: some samples of one track.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    pub sequence: u32,
    pub track: TrackKind,
    /// Decoding time of the first sample, in ticks.
    pub decode_time: u64,
    pub samples: &'a [Sample],
}

impl Fragment<'_> {
    const BOX: usize = 8;
    const MFHD: usize = 16;
    const TFHD: usize = 16;
    const TFDT: usize = 20;
    const TRUN: usize = 20;

    /// Bytes that [`Fragment::write_header`] writes.
    pub fn header_len(&self) -> usize {
        self.moof_len() + Self::BOX
    }

    /// Bytes of the whole fragment.
    pub fn total_len(&self) -> usize {
        self.header_len() + self.payload_len()
    }

    /// Writes the fragment except its payload; the samples' bytes must follow,
    /// in order.
    ///
    /// The decode time is at bytes 60 to 67 and the first sample's duration at
    /// [`FIRST_DURATION`], so that the times of a copy can be changed.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        begin(out, self.moof_len(), b"moof");
        begin(out, Self::MFHD, b"mfhd");
        words(out, [0, self.sequence]);
        begin(out, self.traf_len(), b"traf");
        begin(out, Self::TFHD, b"tfhd");
        words(out, [0x02_0000, track_id(self.track)]); // default-base-is-moof
        begin(out, Self::TFDT, b"tfdt");
        words(out, [0x0100_0000]); // version 1: 64 bits
        out.extend_from_slice(&self.decode_time.to_be_bytes());
        self.write_trun(out);
        begin(out, Self::BOX + self.payload_len(), b"mdat");
    }

    fn write_trun(&self, out: &mut Vec<u8>) {
        // data-offset, and per sample: duration, size, flags[, composition offset].
        let flags = if self.is_reordered() { 0x0100_0f01 } else { 0x0000_0701 };
        begin(out, self.trun_len(), b"trun");
        words(out, [flags, self.samples.len() as u32, self.header_len() as u32]);
        for sample in self.samples {
            words(out, [sample.duration, sample.size, if sample.key { SYNC } else { NON_SYNC }]);
            if self.is_reordered() {
                out.extend_from_slice(&sample.composition.to_be_bytes());
            }
        }
    }

    fn payload_len(&self) -> usize {
        self.samples.iter().map(|sample| sample.size as usize).sum()
    }

    fn is_reordered(&self) -> bool {
        self.samples.iter().any(|sample| sample.composition != 0)
    }

    fn trun_len(&self) -> usize {
        let entry = if self.is_reordered() { 16 } else { 12 };
        Self::TRUN + entry * self.samples.len()
    }

    fn traf_len(&self) -> usize {
        Self::BOX + Self::TFHD + Self::TFDT + self.trun_len()
    }

    fn moof_len(&self) -> usize {
        Self::BOX + Self::MFHD + self.traf_len()
    }
}

/// Header of one fragment with the samples of two fragments of [`Fragment`]: a `moof` with both
/// tracks and the sequence number of `first`, and the header of its `mdat`. The payload of `first`
/// must follow, then that of `second`.
///
/// VLC 3 reads the decode time of a track only from a fragment whose number does not follow that
/// of the one before (`FragCreateTrunIndex` in its `mp4.c`). Joining a stream, it therefore knows
/// the time only of tracks in the first fragment.
pub fn joint_header(first: &[u8], second: &[u8]) -> Vec<u8> {
    /// Position of the first `traf`, and of the data offset from its `traf`.
    const TRAF: usize = Fragment::BOX + Fragment::MFHD;
    const DATA_OFFSET: usize = Fragment::BOX + Fragment::TFHD + Fragment::TFDT + 16;
    let [first_traf, second_traf] =
        [first, second].map(|one| one.get(TRAF..moof_len(one)).unwrap_or_default());
    let payload_len = |one: &[u8]| one.len() - header_len(one);
    let joint_len = TRAF + first_traf.len() + second_traf.len();
    let mut out = Vec::with_capacity(joint_len + Fragment::BOX);
    begin(&mut out, joint_len, b"moof");
    out.extend_from_slice(first.get(Fragment::BOX..TRAF).unwrap_or_default());
    let mut data_offset = joint_len + Fragment::BOX;
    for (traf, fragment) in [(first_traf, first), (second_traf, second)] {
        let at = out.len() + DATA_OFFSET;
        out.extend_from_slice(traf);
        if let Some(offset) = out.get_mut(at..at + 4) {
            offset.copy_from_slice(&(data_offset as u32).to_be_bytes());
        }
        data_offset += payload_len(fragment);
    }
    begin(&mut out, Fragment::BOX + payload_len(first) + payload_len(second), b"mdat");
    out
}

/// Bytes of a fragment before its payload.
pub fn header_len(fragment: &[u8]) -> usize {
    (moof_len(fragment) + Fragment::BOX).min(fragment.len())
}

fn moof_len(fragment: &[u8]) -> usize {
    fragment.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize)
}

/// Writes a box header. The length fits: `MAX_UNIT` bounds access units.
fn begin(out: &mut Vec<u8>, length: usize, kind: &[u8; 4]) {
    words(out, [length as u32]);
    out.extend_from_slice(kind);
}

fn words<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
