//! Parses the `Transport` header (RFC 2326, section 12.39).

/// A supported transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// On the RTSP connection, with the pair of channels that the viewer asks for.
    Interleaved(Option<(u8, u8)>),
    /// Over UDP to this pair of ports (RTP, RTCP) of the viewer's host.
    Datagrams(u16, u16),
    Multicast,
}

/// The supported transports of a header, in its order of preference. Others are
/// skipped.
pub(super) fn transports(header: &str) -> impl Iterator<Item = Transport> {
    header.split(',').filter_map(transport)
}

fn transport(text: &str) -> Option<Transport> {
    let mut words = text.split(';').map(str::trim);
    let protocol = words.next()?.to_ascii_uppercase();
    let (mut channels, mut ports, mut multicast) = (None, None, false);
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "interleaved" => channels = Some(pair(value)?),
            "client_port" => ports = Some(pair(value)?),
            "multicast" => multicast = true,
            "mode" if !value.trim_matches('"').eq_ignore_ascii_case("play") => return None,
            _ => {}
        }
    }
    match (protocol.as_str(), ports) {
        ("RTP/AVP/TCP", _) => Some(Transport::Interleaved(channels)),
        ("RTP/AVP" | "RTP/AVP/UDP", _) if multicast => Some(Transport::Multicast),
        ("RTP/AVP" | "RTP/AVP/UDP", Some((rtp, rtcp))) => {
            // Lower ports belong to system services, which must not receive packets.
            (rtp >= 1024 && rtcp >= 1024).then_some(Transport::Datagrams(rtp, rtcp))
        }
        _ => None,
    }
}

/// Parses `4-5`, or `4` for the same pair.
fn pair<T>(text: &str) -> Option<(T, T)>
where
    T: std::str::FromStr + TryFrom<u32> + Copy + Into<u32>,
{
    let (first, second) = text.split_once('-').unwrap_or((text, ""));
    let first: T = first.trim().parse().ok()?;
    let second = match second.trim() {
        "" => T::try_from(first.into() + 1).ok()?,
        second => second.parse().ok()?,
    };
    Some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str) -> Vec<Transport> {
        transports(header).collect()
    }

    #[test]
    fn headers_of_players_are_parsed() {
        for (header, transport) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", Transport::Interleaved(Some((0, 1)))),
            ("RTP/AVP/TCP; interleaved=4", Transport::Interleaved(Some((4, 5)))),
            ("RTP/AVP/TCP;unicast", Transport::Interleaved(None)),
            ("RTP/AVP/UDP;unicast;client_port=5000-5001", Transport::Datagrams(5000, 5001)),
            ("RTP/AVP;unicast;client_port=5000;mode=\"PLAY\"", Transport::Datagrams(5000, 5001)),
            ("RTP/AVP;multicast", Transport::Multicast),
        ] {
            assert_eq!(parsed(header), [transport], "{header}");
        }
    }

    #[test]
    fn transports_keep_their_order_and_unknown_ones_are_skipped() {
        let header = "RTP/SAVP;unicast;client_port=1-2,RTP/AVP;unicast;client_port=6000-6001,\
                      RTP/AVP/TCP;unicast;interleaved=0-1,RAW/RAW/UDP;unicast";
        let found = [Transport::Datagrams(6000, 6001), Transport::Interleaved(Some((0, 1)))];
        assert_eq!(parsed(header), found);
    }

    #[test]
    fn invalid_headers_give_no_transport() {
        for header in [
            "",
            ";;;",
            "RTP/AVP;unicast",
            "RTP/AVP;unicast;client_port=65535",
            "RTP/AVP;unicast;client_port=53-54",
            "RTP/AVP/TCP;interleaved=255",
            "RTP/AVP/TCP;interleaved=x-y",
            "RTP/AVP/TCP;interleaved=0-1;mode=record",
        ] {
            assert_eq!(parsed(header), [], "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(header: String) {
            transports(&header).count();
        }
    }
}
