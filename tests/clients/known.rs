//! Combinations that fail for a known reason.
//!
//! One that works fails the test, so that nothing stands here that has been
//! put right.

use crate::client::Client;
use crate::way::{Case, Way};

/// One entry; an empty list stands for all.
struct Known {
    clients: &'static [Client],
    ways: &'static [Way],
    cases: &'static [Case],
    reason: &'static str,
}

const KNOWN: &[Known] = &[Known {
    clients: &[Client::Playbin],
    ways: &[Way::Hls],
    cases: &[Case::Resting],
    reason: "hlsdemux2 of GStreamer 1.22 never finds the first segment of an earlier playlist \
                 (`gst_hls_media_playlist_sync_to_playlist`), and the first playlist of a cold \
                 stream has no other",
}];

/// Why this combination fails, where that is known.
pub(crate) fn reason(client: Client, way: Way, case: Case) -> Option<&'static str> {
    let is_meant = |known: &&Known| {
        (known.clients.is_empty() || known.clients.contains(&client))
            && (known.ways.is_empty() || known.ways.contains(&way))
            && (known.cases.is_empty() || known.cases.contains(&case))
    };
    KNOWN.iter().find(is_meant).map(|known| known.reason)
}
