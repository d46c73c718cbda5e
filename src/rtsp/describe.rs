//! The tracks of a stream as SDP (RFC 8866, RFC 6184, RFC 3640).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdp_types::{Attribute, Connection, Media, MediaType, Origin, Session, TransportProto};

use crate::media::packager::Init;
use crate::media::rtp::{AUDIO_TYPE, VIDEO_CLOCK, VIDEO_TYPE};
use crate::model::track::{AudioInfo, Tracks, VideoInfo};
use crate::model::unit::TrackKind;

/// The tracks in the order of the description.
pub(super) fn kinds(tracks: &Tracks) -> impl Iterator<Item = TrackKind> {
    let video = tracks.video.iter().map(|_| TrackKind::Video);
    video.chain(tracks.audio.iter().map(|_| TrackKind::Audio))
}

/// The last path segment of a track's URL.
pub(super) fn control(index: usize) -> String {
    format!("stream={index}")
}

/// The SDP of the stream `name` for a viewer that reaches this machine at `host`.
pub(super) fn description(name: &str, init: &Init, host: IpAddr) -> Vec<u8> {
    let unspecified: IpAddr = match host {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let version = u64::from(init.generation);
    let mut session = Session::new(Origin::with_ip_addr("1", version, host), name);
    session.set_connection(Connection::from_ip_addr(unspecified));
    session.add_attribute(Attribute::with_value("tool", "livebox"));
    session.add_attribute(Attribute::with_value("range", "npt=now-"));
    session.add_attribute(Attribute::with_value("control", "*"));
    let video = init.tracks.video.iter().map(video);
    let audio = init.tracks.audio.iter().map(audio);
    for (index, mut media) in video.chain(audio).enumerate() {
        media.add_attribute(Attribute::with_value("control", control(index)));
        session.add_media(media);
    }
    let mut text = Vec::new();
    session.write(&mut text).expect("a Vec takes all bytes");
    text
}

fn video(info: &VideoInfo) -> Media {
    let [profile, constraints, level] = info.profile;
    let (sps, pps) = (STANDARD.encode(&info.sps), STANDARD.encode(&info.pps));
    let format = format!(
        "{VIDEO_TYPE} packetization-mode=1;profile-level-id={profile:02x}{constraints:02x}{level:02x};\
         sprop-parameter-sets={sps},{pps}"
    );
    let mut media = Media::new(MediaType::Video, 0, TransportProto::RtpAvp, VIDEO_TYPE);
    media
        .add_attribute(Attribute::with_value("rtpmap", format!("{VIDEO_TYPE} H264/{VIDEO_CLOCK}")));
    media.add_attribute(Attribute::with_value("fmtp", format));
    media
}

fn audio(info: &AudioInfo) -> Media {
    let config: String = info.config.iter().map(|byte| format!("{byte:02x}")).collect();
    let map = format!("{AUDIO_TYPE} mpeg4-generic/{}/{}", info.rate, info.channels);
    let format = format!(
        "{AUDIO_TYPE} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
         indexdeltalength=3;config={config}"
    );
    let mut media = Media::new(MediaType::Audio, 0, TransportProto::RtpAvp, AUDIO_TYPE);
    media.add_attribute(Attribute::with_value("rtpmap", map));
    media.add_attribute(Attribute::with_value("fmtp", format));
    media
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::aac;
    use crate::media::samples::{PPS, SPS};

    #[test]
    fn both_tracks_are_described_with_what_a_decoder_needs() {
        let video = VideoInfo {
            sps: SPS.into(),
            pps: PPS.into(),
            width: 320,
            height: 240,
            profile: [0x64, 0, 0x0d],
            frame_duration: None,
        };
        let audio = aac::lc_config(48_000, 2);
        let init = Init {
            generation: 1,
            tracks: Tracks { video: Some(video), audio },
            bytes: Bytes::new(),
            video_bytes: Bytes::new(),
        };

        let text = description("front", &init, "192.168.1.2".parse().unwrap());
        let text = String::from_utf8(text).unwrap();

        for line in [
            "s=front",
            "a=rtpmap:96 H264/90000",
            "a=rtpmap:97 mpeg4-generic/48000/2",
            "a=control:stream=0",
            "a=control:stream=1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.contains("profile-level-id=64000d;sprop-parameter-sets=Z2QADay0"), "{text}");
        assert!(text.contains("config=1190"), "{text}");
    }
}
