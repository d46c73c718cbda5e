//! The paths that depend on the configuration, and their endpoints.
//!
//! The server's own routes are fixed when a worker starts; the paths of streams
//! and pages change with a reload. So they are rows of a table, in which each
//! request is looked up once. `routes` has the rows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::process::bytes;
use crate::engine::registry::Stream;

/// The kind of response at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Player,
    Mp4,
    H264,
    Ts,
    Aac,
    Mjpeg,
    Picture,
    /// The multivariant playlist.
    Playlist,
    /// The media playlist.
    Segments,
    /// A segment or init segment: every file directly below the path of the row.
    Segment,
    /// A byte stream.
    Bytes,
    PictureOfBytes,
    /// The state of a stream, for players.
    Live,
    Stat,
    StatJson,
    Metrics,
    Config,
}

impl Endpoint {
    /// Whether it is media of a stream, or a playlist or state for players.
    pub(super) fn is_media(self) -> bool {
        match self {
            Endpoint::Mp4
            | Endpoint::H264
            | Endpoint::Ts
            | Endpoint::Aac
            | Endpoint::Mjpeg
            | Endpoint::Picture
            | Endpoint::Playlist
            | Endpoint::Segments
            | Endpoint::Segment
            | Endpoint::Bytes
            | Endpoint::PictureOfBytes
            | Endpoint::Live => true,
            Endpoint::Player
            | Endpoint::Stat
            | Endpoint::StatJson
            | Endpoint::Metrics
            | Endpoint::Config => false,
        }
    }
}

/// The subject of a path.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Box,
    Stream(Arc<Stream>),
    Bytes(Arc<bytes::Stream>),
}

/// All paths of one topology.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: HashMap<String, (Endpoint, Subject)>,
}

impl Table {
    /// Adds a row, unless the path has one already. A path of
    /// [`Endpoint::Segment`] ends with a slash and matches every file directly
    /// below it; a path with `?action=` matches queries that contain it.
    pub(super) fn add(&mut self, path: String, endpoint: Endpoint, subject: &Subject) {
        self.rows.entry(path).or_insert_with(|| (endpoint, subject.clone()));
    }

    pub(super) fn find(&self, path: &str, query: Option<&str>) -> Option<&(Endpoint, Subject)> {
        if let Some(action) = query.and_then(action_of)
            && let Some(row) = self.rows.get(&format!("{path}?action={action}"))
        {
            return Some(row);
        }
        self.rows.get(path).or_else(|| {
            let folder = &path[..=path.rfind('/')?];
            self.rows.get(folder).filter(|(endpoint, _)| *endpoint == Endpoint::Segment)
        })
    }
}

/// The `action` of a query, without the number of mjpg-streamer's only input.
fn action_of(query: &str) -> Option<&str> {
    let action = query.split('&').find_map(|pair| pair.strip_prefix("action="))?;
    Some(action.strip_suffix("_0").unwrap_or(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for (path, endpoint) in [
            ("/a", Endpoint::Player),
            ("/a/", Endpoint::Player),
            ("/a/hls/", Endpoint::Segment),
            ("/a/hls/live.m3u8", Endpoint::Segments),
            ("/a/?action=stream", Endpoint::Mjpeg),
        ] {
            table.add(path.to_owned(), endpoint, &Subject::Box);
        }
        table
    }

    #[test]
    fn paths_match_exactly_and_segments_match_directly_below() {
        let table = table();
        let found = |path| table.find(path, None).map(|(endpoint, _)| *endpoint);
        assert_eq!(found("/a"), Some(Endpoint::Player));
        assert_eq!(found("/a/hls/live.m3u8"), Some(Endpoint::Segments));
        assert_eq!(found("/a/hls/1-2.m4s"), Some(Endpoint::Segment));
        for path in ["", "/", "/b", "/a/b", "/a/hls/x/y", "a", "/a//"] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn an_action_of_mjpg_streamer_wins_over_the_path_alone() {
        let table = table();
        let found = |query| table.find("/a/", Some(query)).map(|(endpoint, _)| *endpoint);
        for query in ["action=stream", "fps=5&action=stream_0&1700000000"] {
            assert_eq!(found(query), Some(Endpoint::Mjpeg), "{query}");
        }
        for query in ["action=else", "action=", "reaction=stream", ""] {
            assert_eq!(found(query), Some(Endpoint::Player), "{query}");
        }
    }

    #[test]
    fn the_first_row_keeps_its_path() {
        let mut table = table();
        table.add("/a".to_owned(), Endpoint::Stat, &Subject::Box);
        assert_eq!(table.find("/a", None).map(|(endpoint, _)| *endpoint), Some(Endpoint::Player));
    }
}
