//! RTCP sender reports (RFC 3550, section 6.4).

use rtcp_types::{
    CompoundBuilder, RtcpPacketWriter, RtcpPacketWriterExt, Sdes, SdesChunk, SdesItem, SenderReport,
};

use crate::hub::Piece;
use crate::media::rtp::{Load, VIDEO_CLOCK, timestamp};
use crate::model::track::Tracks;
use crate::model::unit::TrackKind;

/// Seconds from 1900, the epoch of NTP, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The sender report of a track: relates the RTP time of `piece` to the wall
/// clock when it left the encoder. Both tracks of a stream must be reported by
/// the same piece, so that they stay in sync.
pub(super) fn report(track: TrackKind, piece: &Piece, tracks: &Tracks, sent: Load) -> Vec<u8> {
    let clock = match (track, &tracks.audio) {
        (TrackKind::Audio, Some(audio)) => audio.rate,
        (TrackKind::Audio | TrackKind::Video, _) => VIDEO_CLOCK,
    };
    let source = piece.rtp_numbers().source(track);
    let sender = SenderReport::builder(source)
        .ntp_timestamp(ntp(piece.arrived_ns()))
        .rtp_timestamp(timestamp(piece.start(), clock))
        .packet_count(sent.packets)
        .octet_count(sent.octets);
    let name = SdesItem::builder(SdesItem::CNAME, "livebox");
    let names = Sdes::builder().add_chunk(SdesChunk::builder(source).add_item(name));
    let compound = CompoundBuilder::default().add_packet(sender).add_packet(names);
    let mut bytes = vec![0; compound.calculate_size().unwrap_or_default()];
    let written = compound.write_into(&mut bytes).unwrap_or_default();
    bytes.truncate(written);
    bytes
}

/// Nanoseconds since 1970 as seconds since 1900 in 32.32 bits.
fn ntp(unix_ns: u64) -> u64 {
    let seconds = unix_ns / 1_000_000_000 + NTP_TO_UNIX;
    let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_is_converted_to_ntp_time() {
        assert_eq!(ntp(0), NTP_TO_UNIX << 32);
        assert_eq!(ntp(1_500_000_000), (NTP_TO_UNIX + 1) << 32 | 1 << 31);
    }
}
