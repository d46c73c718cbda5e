//! Messages between the service and a pipeline host, over a socket pair.
//!
//! A message has a head with its kind and fields, and a payload of bytes, often
//! empty. On the wire:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | [`VERSION`] |
//! | 1 | reserved, 0 |
//! | 2 | length of the head, little-endian, at most [`MAX_HEAD_BYTES`] |
//! | 4 | length of the payload, little-endian, at most [`MAX_PAYLOAD_BYTES`] |
//! | … | the head, as `postcard` writes [`ToHost`] or [`FromHost`] |
//! | … | the payload |
//!
//! A host is the same program as its service, in the same version. The service
//! does not trust it: it parses foreign bytes, and an attacker may control it.

pub mod answer;
pub mod job;

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::job::Job;
use crate::base::time::MediaTime;
use crate::model::failure::Failure;
use crate::model::status::Encoder;
use crate::model::unit::TrackKind;

/// Messages of another version are refused.
pub const VERSION: u8 = 2;

/// Limit of a head: the longest holds a few names and a sentence.
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// Limit of a payload: a PNG of 4096×4096 that does not compress.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// Bounds of the space reserved before a read: usually a frame; never all that a
/// message announces, as it may not arrive.
const MIN_RESERVE_BYTES: usize = 16 << 10;
const MAX_RESERVE_BYTES: usize = 256 << 10;

/// Bytes before the head.
const PREFIX_BYTES: usize = 8;

/// From the service to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToHost {
    /// Log at debug to standard error. Sent before the job, if at all.
    Debug,
    /// The job of the host; sent once.
    Job {
        job: Job,
        /// Memory limit in bytes; without it, the default of the job.
        memory: Option<u64>,
        /// The start of the media timeline ([`MediaTime::began_ns`]).
        began_ns: u64,
    },
    /// Input of the job, in the payload.
    Data,
    /// An access unit of a stream, in the payload.
    Unit(Unit),
    /// The end of the input.
    End,
    /// An order for a run of a feed family. The service numbers the runs and uses
    /// each number once.
    Run { run: u32, order: Order },
}

/// An order for a run in the host of a feed family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Start with the work in the payload (`engine/work`). For a running run: change
    /// to this work.
    Work,
    /// The encoder to use, or why there is none.
    Encoder(Result<Encoder, Failure>),
    /// Bytes to demultiplex, in the payload.
    Data,
    /// Stop; answered with [`answer::News::Ended`] when all resources are released.
    Stop,
}

/// From a host to the service. `A` is the answer of its job ([`job::JobKind`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromHost<A> {
    Answer(A),
    /// The job has failed; the host exits.
    Failed(Failure),
}

/// An access unit for a pipeline: H.264 in Annex B form, or a raw AAC frame. Its
/// times are media times, which the host returns unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub track: TrackKind,
    pub pts: MediaTime,
    pub dts: MediaTime,
    pub duration: Duration,
    /// Whether it is a key frame.
    pub key: bool,
    /// Whether units before it are missing.
    pub gap: bool,
}

/// A malformed message; nothing after it can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("a message of version {0}")]
    Version(u8),
    #[error("a message that is too long")]
    TooLong,
    #[error("a message that cannot be decoded")]
    Malformed,
}

/// Encodes the prefix and head of a message whose payload has `payload` bytes.
///
/// # Errors
/// Head or payload exceeds its limit.
pub fn encode(head: &impl Serialize, payload: usize) -> Result<Vec<u8>, BadMessage> {
    let mut message = vec![0; PREFIX_BYTES];
    let head_length = {
        message = postcard::to_extend(head, message).map_err(|_| BadMessage::Malformed)?;
        message.len() - PREFIX_BYTES
    };
    if head_length > MAX_HEAD_BYTES || payload > MAX_PAYLOAD_BYTES {
        return Err(BadMessage::TooLong);
    }
    message[0] = VERSION;
    message[2..4].copy_from_slice(&(head_length as u16).to_le_bytes());
    message[4..PREFIX_BYTES].copy_from_slice(&(payload as u32).to_le_bytes());
    Ok(message)
}

/// Decodes messages from the bytes of a socket.
#[derive(Debug)]
pub struct Decoder<T> {
    read: BytesMut,
    of: PhantomData<T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Self { read: BytesMut::new(), of: PhantomData }
    }
}

impl<T: DeserializeOwned> Decoder<T> {
    /// The buffer for the next read, with space for part of the current message.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let missing = self.announced().saturating_sub(self.read.len());
        self.read.reserve(missing.clamp(MIN_RESERVE_BYTES, MAX_RESERVE_BYTES));
        &mut self.read
    }

    /// The length of the current message; 0 until its prefix is complete.
    fn announced(&self) -> usize {
        let Some(prefix) = self.read.first_chunk::<PREFIX_BYTES>() else { return 0 };
        let [_, _, head @ .., p0, p1, p2, p3] = *prefix;
        let payload = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
        PREFIX_BYTES + usize::from(u16::from_le_bytes(head)) + payload
    }

    /// The next complete message; `None` until more is read. Memory grows with the
    /// bytes received, not with announced lengths.
    ///
    /// # Errors
    /// The bytes are not a message.
    pub fn decode(&mut self) -> Result<Option<(T, Bytes)>, BadMessage> {
        let Some(prefix) = self.read.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [version, _, head @ .., p0, p1, p2, p3] = *prefix;
        if version != VERSION {
            return Err(BadMessage::Version(version));
        }
        let head = usize::from(u16::from_le_bytes(head));
        let payload = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
        if head > MAX_HEAD_BYTES || payload > MAX_PAYLOAD_BYTES {
            return Err(BadMessage::TooLong);
        }
        if self.read.len() < PREFIX_BYTES + head + payload {
            return Ok(None);
        }
        self.read.advance(PREFIX_BYTES);
        let head = self.read.split_to(head);
        let (head, rest) = postcard::take_from_bytes(&head).map_err(|_| BadMessage::Malformed)?;
        if !rest.is_empty() {
            return Err(BadMessage::Malformed);
        }
        Ok(Some((head, self.read.split_to(payload).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::answer::{Done, Picture, RunNews};
    use super::job::{Push, Still};
    use super::*;
    use crate::base::secret::Secret;
    use crate::model::fault::Fault;
    use crate::model::picture::Format;
    use crate::model::track::AudioInfo;

    fn message(head: &impl Serialize, payload: &[u8]) -> Vec<u8> {
        let mut message = encode(head, payload.len()).unwrap();
        message.extend_from_slice(payload);
        message
    }

    fn decoder<T: DeserializeOwned>(read: &[u8]) -> Decoder<T> {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(read);
        decoder
    }

    fn job() -> ToHost {
        let (caps, format) = ("image/jpeg".to_owned(), Format::Jpg { quality: 85 });
        let job = Still { caps, format, width: Some(320) };
        ToHost::Job { job: job.into(), memory: Some(300 << 20), began_ns: 7 }
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_torn() {
        let sent = [(job(), &b""[..]), (ToHost::Data, b"picture"), (ToHost::End, b"")];
        let stream: Vec<u8> =
            sent.iter().flat_map(|(head, payload)| message(head, payload)).collect();
        for size in [1, 2, 7, stream.len()] {
            let mut decoder = Decoder::<ToHost>::default();
            let mut came = Vec::new();
            for piece in stream.chunks(size) {
                decoder.buffer().extend_from_slice(piece);
                while let Some(message) = decoder.decode().unwrap() {
                    came.push(message);
                }
            }
            assert_eq!(came.len(), sent.len());
            for ((head, payload), (sent_head, sent_payload)) in came.iter().zip(&sent) {
                assert_eq!((head, &payload[..]), (sent_head, *sent_payload));
            }
        }
    }

    #[test]
    fn a_push_arrives_with_its_key_which_nothing_prints() {
        let job = Push {
            line: "appsrc ! rtmp2sink".to_owned(),
            url: Secret::new("rtmp://a.example/live2/KEY-1"),
            key: Some(Secret::new("KEY-1")),
            ca: None,
            audio: Some(AudioInfo {
                config: Bytes::from_static(&[0x12, 0x10]),
                rate: 44_100,
                channels: 2,
            }),
            metadata: Some(Bytes::from_static(b"tag")),
            begin: MediaTime::ORIGIN,
        };
        let head = ToHost::Job { job: job.into(), memory: None, began_ns: 7 };
        let (came, _) = decoder::<ToHost>(&message(&head, b"")).decode().unwrap().unwrap();
        assert_eq!(came, head);
        assert!(!format!("{came:?}").contains("KEY-1"), "{came:?}");
    }

    #[test]
    fn a_failure_arrives_with_its_cause() {
        let missing = Failure::MissingElement {
            element: "openh264dec".to_owned(),
            package: Some("gstreamer1.0-plugins-bad".into()),
        };
        for failure in [missing, Fault::line("no property \"gop\"").into()] {
            let head = FromHost::<Done>::Failed(failure.clone());
            let bytes = message(&head, b"");
            let (came, _) = decoder::<FromHost<Done>>(&bytes).decode().unwrap().unwrap();
            let FromHost::Failed(came) = came else { panic!("{came:?}") };
            assert_eq!((&came, came.details()), (&failure, failure.details()));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let good = message(&FromHost::Answer(Done), b"x");
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bad = good.clone();
            change(&mut bad);
            decoder::<FromHost<Done>>(&bad).decode().unwrap_err()
        };
        assert_eq!(refused(&|bad| bad[0] = 9), BadMessage::Version(9));
        assert_eq!(refused(&|bad| bad[2..4].fill(0xff)), BadMessage::TooLong);
        assert_eq!(refused(&|bad| bad[4..8].fill(0xff)), BadMessage::TooLong);
        assert_eq!(refused(&|bad| bad[PREFIX_BYTES] = 77), BadMessage::Malformed);
        assert_eq!(
            refused(&|bad| {
                bad[2] += 1;
                bad[4] = 0;
            }),
            BadMessage::Malformed
        );
        assert_eq!(encode(&"x".repeat(MAX_HEAD_BYTES), 0), Err(BadMessage::TooLong));
        assert_eq!(
            encode(&FromHost::Answer(Done), MAX_PAYLOAD_BYTES + 1),
            Err(BadMessage::TooLong)
        );
    }

    proptest! {
        #[test]
        fn times_arrive_to_the_nanosecond(
            (pts, dts, duration) in any::<(u64, u64, u64)>(),
            (key, gap) in any::<(bool, bool)>(),
            data in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (pts, dts) = (MediaTime(pts), MediaTime(dts));
            let duration = Duration::from_nanos(duration);
            let unit = Unit { track: TrackKind::Video, pts, dts, duration, key, gap };
            let sent = message(&ToHost::Unit(unit), &data);
            let (came, payload) = decoder(&sent).decode().unwrap().unwrap();
            prop_assert_eq!((came, &payload[..]), (ToHost::Unit(unit), &data[..]));
            let sent = message(&FromHost::Answer(Picture { pts }), &data);
            let (came, payload) = decoder(&sent).decode().unwrap().unwrap();
            prop_assert_eq!((came, &payload[..]), (FromHost::Answer(Picture { pts }), &data[..]));
        }

        #[test]
        fn any_bytes_are_survived(read in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = decoder::<FromHost<RunNews>>(&read);
            while let Ok(Some(_)) = decoder.decode() {}
        }

        #[test]
        fn any_head_is_survived(mut head in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut read = vec![VERSION, 0, head.len() as u8, 0, 0, 0, 0, 0];
            read.append(&mut head);
            decoder::<FromHost<RunNews>>(&read).decode().ok();
        }
    }
}
