//! MPEG-TS of chunks (ISO/IEC 13818-1): one program, H.264 and AAC in ADTS.
//!
//! A chunk's packets are written once, for all viewers: their continuity
//! counters belong to the stream. A chunk that viewers can begin with has the
//! tables in front.

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

/// What a packet holds besides its head.
const ROOM: usize = PACKET - 4;

/// The clock and the marks at the start of a picture, or of a sound without one.
const CLOCK_FIELD: usize = 8;

/// A packet of an elementary stream begins with so much, and with so much for each time.
const PES_HEAD: usize = 9;
const PES_TIME: usize = 5;

/// H.264 in a transport stream has a delimiter before each picture.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

/// Decoders have the data so long before its time, in ticks of 90 kHz: 50 ms.
const AHEAD: u64 = 4500;

const TIMES: u64 = 1 << 33;

/// The continuity counters of a chunk's first packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    tables: u8,
    video: u8,
    audio: u8,
}

impl Counters {
    /// Those of the chunk that follows `chunk`.
    pub fn after(self, chunk: &Chunk) -> Self {
        let add = |counter: u8, packets: usize| (counter + (packets % 16) as u8) % 16;
        let lengths = Lengths::of(chunk);
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
        // Its writer refuses nothing of what is made here.
        Err(_) => Bytes::new(),
    }
}

/// How long the elementary streams of a chunk are, with their heads.
#[derive(Clone, Copy)]
struct Lengths {
    video: usize,
    audio: usize,
}

impl Lengths {
    fn of(chunk: &Chunk) -> Self {
        let payload = |unit: &Unit| chunk.payload(unit).len();
        let (mut video, mut audio) = (0, 0);
        for unit in &chunk.units {
            match unit.track {
                TrackKind::Video => video = pes_head(unit) + DELIMITER.len() + payload(unit),
                TrackKind::Audio if audio == 0 => {
                    audio = PES_HEAD + PES_TIME + aac::ADTS_HEADER + payload(unit);
                }
                TrackKind::Audio => audio += aac::ADTS_HEADER + payload(unit),
            }
        }
        Self { video, audio }
    }

    fn video_packets(self) -> usize {
        count(self.video, ROOM - CLOCK_FIELD)
    }

    fn audio_packets(self) -> usize {
        count(self.audio, if self.video == 0 { ROOM - CLOCK_FIELD } else { ROOM })
    }
}

fn count(length: usize, first: usize) -> usize {
    match length {
        0 => 0,
        _ => 1 + length.saturating_sub(first).div_ceil(ROOM),
    }
}

fn pes_head(unit: &Unit) -> usize {
    PES_HEAD + PES_TIME * if unit.pts == unit.dts { 1 } else { 2 }
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

    /// One packet of an elementary stream, in as many of the transport as it takes.
    fn stream(&mut self, unit: &Unit, data: &[u8], has_clock: bool) -> Result<()> {
        let (pid, id, mut counter) = match unit.track {
            TrackKind::Video => (VIDEO_PID, StreamId::VIDEO_MIN, self.counters.video),
            TrackKind::Audio => (AUDIO_PID, StreamId::AUDIO_MIN, self.counters.audio),
        };
        let (head, room) = match has_clock {
            true => (pes_head(unit), ROOM - CLOCK_FIELD),
            false => (pes_head(unit), ROOM),
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
            // A picture may be too long to say so; 0 means that.
            pes_packet_len: u16::try_from(length).unwrap_or(0),
            data: payload::Bytes::new(first)?,
        };
        let field = if has_clock { Some(clock_field(unit)?) } else { None };
        self.packet(pid, counter, field, TsPayload::PesStart(start))?;
        for part in rest.chunks(ROOM) {
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
    Timestamp::new(time.nearest_ticks(90_000) % TIMES)
}

fn clock_field(unit: &Unit) -> Result<AdaptationField> {
    let base = unit.dts.nearest_ticks(90_000).saturating_sub(AHEAD) % TIMES;
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

    /// One second of real pictures and sound, as transport packets.
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
    fn a_player_decodes_every_picture_and_sound() {
        let file = tempfile::Builder::new().suffix(".ts").tempfile().unwrap();
        std::fs::write(file.path(), second(0)).unwrap();

        assert_eq!(samples::decode(file.path()), "");
        let probed = samples::probe(file.path());

        let of = |codec: &str| {
            let packets = probed["packets"].as_array().unwrap();
            packets.iter().filter(|packet| packet["codec_type"] == codec).count()
        };
        assert_eq!(of("video"), 30);
        assert!(of("audio") >= 40, "{} sounds", of("audio"));
    }

    #[test]
    fn counters_go_on_without_a_gap_on_every_pid() {
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
        fn any_length_is_counted_as_it_is_written(length in 0usize..3000, has_clock: bool) {
            let unit_at = MediaTime::ORIGIN;
            let mut mux = Mux { out: TsPacketWriter::new(Vec::new()), counters: Counters::default() };
            let unit = sample_unit(unit_at);
            mux.stream(&unit, &vec![7; length], has_clock)
                .unwrap();
            let room = if has_clock { ROOM - CLOCK_FIELD } else { ROOM };
            let written = mux.out.into_stream().len();
            assert_eq!(written, PACKET * count(pes_head(&unit) + length, room));
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
