//! How a viewer wants its packets: the `Transport` header (RFC 2326, section 12.39).

/// One way that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Over the connection itself, on this pair of channels if the viewer says so.
    Interleaved(Option<(u8, u8)>),
    /// To this pair of ports of the viewer's host.
    Datagrams(u16, u16),
    Multicast,
}

/// The ways that a header names, the best liked first. What is not known here
/// is left out.
pub(super) fn wanted(header: &str) -> impl Iterator<Item = Wanted> {
    header.split(',').filter_map(one)
}

fn one(text: &str) -> Option<Wanted> {
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
        ("RTP/AVP/TCP", _) => Some(Wanted::Interleaved(channels)),
        ("RTP/AVP" | "RTP/AVP/UDP", _) if multicast => Some(Wanted::Multicast),
        ("RTP/AVP" | "RTP/AVP/UDP", Some((rtp, rtcp))) => {
            // Below are the ports of services that must not be hit.
            (rtp >= 1024 && rtcp >= 1024).then_some(Wanted::Datagrams(rtp, rtcp))
        }
        _ => None,
    }
}

/// `4-5`, or `4` for the same.
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

    fn ways(header: &str) -> Vec<Wanted> {
        wanted(header).collect()
    }

    #[test]
    fn what_players_write_is_read() {
        for (header, way) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", Wanted::Interleaved(Some((0, 1)))),
            ("RTP/AVP/TCP; interleaved=4", Wanted::Interleaved(Some((4, 5)))),
            ("RTP/AVP/TCP;unicast", Wanted::Interleaved(None)),
            ("RTP/AVP/UDP;unicast;client_port=5000-5001", Wanted::Datagrams(5000, 5001)),
            ("RTP/AVP;unicast;client_port=5000;mode=\"PLAY\"", Wanted::Datagrams(5000, 5001)),
            ("RTP/AVP;multicast", Wanted::Multicast),
        ] {
            assert_eq!(ways(header), [way], "{header}");
        }
    }

    #[test]
    fn the_order_of_the_header_is_kept_and_the_unknown_left_out() {
        let header = "RTP/SAVP;unicast;client_port=1-2,RTP/AVP;unicast;client_port=6000-6001,\
                      RTP/AVP/TCP;unicast;interleaved=0-1,RAW/RAW/UDP;unicast";
        let found = [Wanted::Datagrams(6000, 6001), Wanted::Interleaved(Some((0, 1)))];
        assert_eq!(ways(header), found);
    }

    #[test]
    fn nonsense_gives_nothing() {
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
            assert_eq!(ways(header), [], "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(header: String) {
            wanted(&header).count();
        }
    }
}
