//! Packages chunks as MPEG-TS (ISO/IEC 13818-1): one program, H.264 and AAC in ADTS.
//!
//! A chunk's packets are written once for all viewers: their continuity counters
//! belong to the stream. The tables precede every key chunk.

use bytes::Bytes;
use mpeg2ts::Result;
use mpeg2ts::es::{StreamId, StreamType};
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::{ClockReference, Timestamp};
use mpeg2ts::ts::payload::{self, Pat, Pes, Pmt};
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, EsInfo, Pid, ProgramAssociation,
    TransportScramblingControl, TsHeader, TsPacket, TsPacketWriter, TsPayload, VersionNumber,
    WriteTsPacket,
};

use super::aac;
use super::packager::{Chunk, Unit};
use crate::base::time::MediaTime;
use crate::model::track::Tracks;
use crate::model::unit::TrackKind;

/// The length of a packet, in bytes.
pub const PACKET: usize = 188;

const PROGRAM: u16 = 1;
const TABLE_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// Bytes of a packet after its header.
const PAYLOAD: usize = PACKET - 4;

/// Bytes of the adaptation field with the PCR and the random access indicator:
/// at the start of a picture, or of audio in a chunk without one.
const CLOCK_FIELD: usize = 8;

/// Bytes of a PES header, and of each timestamp in it.
const PES_HEADER: usize = 9;
const PES_TIME: usize = 5;

/// The access unit delimiter that H.264 in a transport stream needs before each picture.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

/// Decoding time minus PCR, in ticks of 90 kHz: 50 ms.
const DECODE_DELAY: u64 = 4500;

/// Timestamps have 33 bits.
const TIME_WRAP: u64 = 1 << 33;

/// The continuity counters of a chunk's first packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    tables: u8,
    video: u8,
    audio: u8,
}

impl Counters {
    /// The counters of the chunk that follows `chunk`.
    pub fn after(self, chunk: &Chunk) -> Self {
        let add = |counter: u8, packets: usize| (counter + (packets % 16) as u8) % 16;
        let lengths = Lengths::new(chunk);
        Self {
            tables: add(self.tables, usize::from(chunk.key)),
            video: add(self.video, lengths.video_packets()),
            audio: add(self.audio, lengths.audio_packets()),
        }
    }
}

/// The packets of `chunk`, whose tracks are `tracks`.
pub fn packets(chunk: &Chunk, counters: Counters, tracks: &Tracks) -> Bytes {
    let mut mux = Mux { out: TsPacketWriter::new(Vec::new()), counters };
    match mux.write(chunk, tracks) {
        Ok(()) => mux.out.into_stream().into(),
        // Cannot happen: all values are in the range that the writer accepts.
        Err(_) => Bytes::new(),
    }
}

/// Bytes of the elementary streams of a chunk, with their PES headers.
#[derive(Clone, Copy)]
struct Lengths {
    video: usize,
    audio: usize,
}

impl Lengths {
    fn new(chunk: &Chunk) -> Self {
        let payload = |unit: &Unit| chunk.payload(unit).len();
        let (mut video, mut audio) = (0, 0);
        for unit in &chunk.units {
            match unit.track {
                TrackKind::Video => video = pes_header_len(unit) + DELIMITER.len() + payload(unit),
                TrackKind::Audio if audio == 0 => {
                    audio = PES_HEADER + PES_TIME + aac::ADTS_HEADER + payload(unit);
                }
                TrackKind::Audio => audio += aac::ADTS_HEADER + payload(unit),
            }
        }
        Self { video, audio }
    }

    fn video_packets(self) -> usize {
        count(self.video, PAYLOAD - CLOCK_FIELD)
    }

    fn audio_packets(self) -> usize {
        count(self.audio, if self.video == 0 { PAYLOAD - CLOCK_FIELD } else { PAYLOAD })
    }
}

fn count(length: usize, first: usize) -> usize {
    match length {
        0 => 0,
        _ => 1 + length.saturating_sub(first).div_ceil(PAYLOAD),
    }
}

fn pes_header_len(unit: &Unit) -> usize {
    PES_HEADER + PES_TIME * if unit.pts == unit.dts { 1 } else { 2 }
}

struct Mux {
    out: TsPacketWriter<Vec<u8>>,
    counters: Counters,
}

impl Mux {
    fn write(&mut self, chunk: &Chunk, tracks: &Tracks) -> Result<()> {
        if chunk.key {
            self.tables(tracks)?;
        }
        let sound = chunk.units.iter().find(|unit| unit.track == TrackKind::Audio);
        if let (Some(first), Some(info)) = (sound, &tracks.audio) {
            let (data, clock) = (chunk.adts(info), !chunk.has_video());
            self.stream(first, &data, clock)?;
        }
        if let Some(unit) = chunk.units.iter().find(|unit| unit.track == TrackKind::Video) {
            let data = [&DELIMITER[..], &chunk.annex_b()].concat();
            self.stream(unit, &data, true)?;
        }
        Ok(())
    }

    fn tables(&mut self, tracks: &Tracks) -> Result<()> {
        let counter = self.counters.tables;
        let version_number = VersionNumber::default();
        let programs = vec![ProgramAssociation {
            program_num: PROGRAM,
            program_map_pid: Pid::new(TABLE_PID)?,
        }];
        let pat = Pat { transport_stream_id: PROGRAM, version_number, table: programs };
        self.packet(Pid::PAT, counter, None, TsPayload::Pat(pat))?;
        let stream = |pid, stream_type| -> Result<EsInfo> {
            Ok(EsInfo { stream_type, elementary_pid: Pid::new(pid)?, descriptors: Vec::new() })
        };
        let mut streams = Vec::new();
        if tracks.video.is_some() {
            streams.push(stream(VIDEO_PID, StreamType::H264)?);
        }
        if tracks.audio.is_some() {
            streams.push(stream(AUDIO_PID, StreamType::AdtsAac)?);
        }
        let clock = if tracks.video.is_some() { VIDEO_PID } else { AUDIO_PID };
        let pmt = Pmt {
            program_num: PROGRAM,
            pcr_pid: Some(Pid::new(clock)?),
            version_number,
            program_info: Vec::new(),
            es_info: streams,
        };
        self.packet(TABLE_PID, counter, None, TsPayload::Pmt(pmt))
    }

    /// Writes one PES packet as transport packets.
    fn stream(&mut self, unit: &Unit, data: &[u8], has_clock: bool) -> Result<()> {
        let (pid, id, mut counter) = match unit.track {
            TrackKind::Video => (VIDEO_PID, StreamId::VIDEO_MIN, self.counters.video),
            TrackKind::Audio => (AUDIO_PID, StreamId::AUDIO_MIN, self.counters.audio),
        };
        let (head, room) = match has_clock {
            true => (pes_header_len(unit), PAYLOAD - CLOCK_FIELD),
            false => (pes_header_len(unit), PAYLOAD),
        };
        let (first, rest) = data.split_at(data.len().min(room - head));
        let length = head - 6 + data.len();
        let header = PesHeader {
            stream_id: StreamId::new(id),
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: Some(time(unit.pts)?),
            dts: if unit.pts == unit.dts { None } else { Some(time(unit.dts)?) },
            escr: None,
        };
        let start = Pes {
            header,
            // 0 means an unbounded length, for pictures above 64 KiB.
            pes_packet_len: u16::try_from(length).unwrap_or(0),
            data: payload::Bytes::new(first)?,
        };
        let field = if has_clock { Some(clock_field(unit)?) } else { None };
        self.packet(pid, counter, field, TsPayload::PesStart(start))?;
        for part in rest.chunks(PAYLOAD) {
            counter = (counter + 1) % 16;
            let part = TsPayload::PesContinuation(payload::Bytes::new(part)?);
            self.packet(pid, counter, None, part)?;
        }
        Ok(())
    }

    fn packet(
        &mut self,
        pid: u16,
        counter: u8,
        adaptation_field: Option<AdaptationField>,
        payload: TsPayload,
    ) -> Result<()> {
        let header = TsHeader {
            transport_error_indicator: false,
            transport_priority: false,
            pid: Pid::new(pid)?,
            transport_scrambling_control: TransportScramblingControl::NotScrambled,
            continuity_counter: ContinuityCounter::from_u8(counter)?,
        };
        self.out.write_ts_packet(&TsPacket { header, adaptation_field, payload: Some(payload) })
    }
}

fn time(time: MediaTime) -> Result<Timestamp> {
    Timestamp::new(time.nearest_ticks(90_000) % TIME_WRAP)
}

fn clock_field(unit: &Unit) -> Result<AdaptationField> {
    let base = unit.dts.nearest_ticks(90_000).saturating_sub(DECODE_DELAY) % TIME_WRAP;
    Ok(AdaptationField {
        discontinuity_indicator: false,
        random_access_indicator: unit.key,
        es_priority_indicator: false,
        pcr: Some(ClockReference::new(base * 300)?),
        opcr: None,
        splice_countdown: None,
        transport_private_data: Vec::new(),
        extension: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use mpeg2ts::ts::{ReadTsPacket, TsPacketReader};

    use super::*;
    use crate::media::packager::{Expect, Packaged, Packager};
    use crate::media::samples::{self, Video, interleaved};

    /// One second of real video and audio, as transport packets.
    fn second(b_frames: u32) -> Vec<u8> {
        let frame = Duration::from_secs(1) / 30;
        let mut packager = Packager::new();
        packager.begin_run(MediaTime::default(), Expect { video: Some(frame), audio: true });
        packager.audio_config(aac::lc_config(48_000, 2).unwrap());
        let video = Video { b_frames, ..Video::default() };
        let units = interleaved(video.timed(MediaTime::ORIGIN), samples::tone(MediaTime::ORIGIN));
        let (mut bytes, mut counters) = (Vec::new(), Counters::default());
        for unit in units {
            for item in packager.push(unit).unwrap() {
                if let Packaged::Chunk(chunk) = item {
                    let tracks = packager.tracks().unwrap();
                    bytes.extend_from_slice(&packets(&chunk, counters, tracks));
                    counters = counters.after(&chunk);
                }
            }
        }
        bytes
    }

    #[test]
    fn ffmpeg_decodes_every_picture_and_audio_frame() {
        let file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
        std::fs::write(file.path(), second(0)).unwrap();

        assert_eq!(samples::decode(file.path()), "");
        let probed = samples::probe(file.path());

        let count = |codec: &str| {
            let packets = probed["packets"].as_array().unwrap();
            packets.iter().filter(|packet| packet["codec_type"] == codec).count()
        };
        assert_eq!(count("video"), 30);
        assert!(count("audio") >= 40, "{} audio frames", count("audio"));
    }

    #[test]
    fn counters_have_no_gap_on_any_pid() {
        let bytes = second(0);
        assert_eq!(bytes.len() % PACKET, 0);
        let mut reader = TsPacketReader::new(&bytes[..]);
        let mut last: HashMap<u16, u8> = HashMap::new();
        let mut clocks = Vec::new();
        while let Some(packet) = reader.read_ts_packet().unwrap() {
            let (pid, counter) =
                (packet.header.pid.as_u16(), packet.header.continuity_counter.as_u8());
            if let Some(before) = last.insert(pid, counter) {
                assert_eq!(counter, (before + 1) % 16, "pid {pid}");
            }
            clocks.extend(packet.adaptation_field.and_then(|field| field.pcr));
        }
        assert_eq!(last.len(), 4, "two tables and two streams");
        assert!(clocks.len() >= 30 && clocks.is_sorted());
    }

    proptest::proptest! {
        #[test]
        fn the_counted_packets_are_those_written_for_any_length(length in 0usize..3000, has_clock: bool) {
            let unit_at = MediaTime::ORIGIN;
            let mut mux = Mux { out: TsPacketWriter::new(Vec::new()), counters: Counters::default() };
            let unit = sample_unit(unit_at);
            mux.stream(&unit, &vec![7; length], has_clock)
                .unwrap();
            let room = if has_clock { PAYLOAD - CLOCK_FIELD } else { PAYLOAD };
            let written = mux.out.into_stream().len();
            assert_eq!(written, PACKET * count(pes_header_len(&unit) + length, room));
        }
    }

    fn sample_unit(at: MediaTime) -> Unit {
        let mut packager = Packager::new();
        packager.begin_run(
            MediaTime::default(),
            Expect { video: Some(Duration::from_millis(33)), audio: false },
        );
        let unit = samples::placeholders(at, 1, 1).remove(0);
        let packaged = packager.push(unit).unwrap();
        packaged
            .into_iter()
            .find_map(|item| match item {
                Packaged::Chunk(chunk) => Some(chunk.units[0].clone()),
                Packaged::Init(_) => None,
            })
            .unwrap()
    }
}
