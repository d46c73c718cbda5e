//! What answers at the paths that the configuration gives.
//!
//! The server's own routes are fixed when a worker starts; streams and pages
//! come, go and move with a reload. So their paths stand in a table, in which
//! each request is looked up once. `routes` has the rows.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::dev::{ServiceRequest, Url};
use actix_web::guard::{Guard, GuardContext, fn_guard};
use actix_web::{HttpMessage as _, web};

use super::access;
use crate::accounts::{Authenticator, Scope};
use crate::engine::process::bytes;
use crate::engine::registry::Stream;
use crate::http::state::State;

/// What answers at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
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
    /// What that names: everything one piece below the path of the row.
    Segment,
    /// A stream of bytes.
    Bytes,
    PictureOfBytes,
    /// Where a stream stands, for players.
    Live,
    Stat,
    StatJson,
    Metrics,
    Config,
}

impl What {
    /// Whether it is pictures or sound of a stream, or leads to them.
    fn is_media(self) -> bool {
        match self {
            What::Mp4
            | What::H264
            | What::Ts
            | What::Aac
            | What::Mjpeg
            | What::Picture
            | What::Playlist
            | What::Segments
            | What::Segment
            | What::Bytes
            | What::PictureOfBytes
            | What::Live => true,
            What::Player | What::Stat | What::StatJson | What::Metrics | What::Config => false,
        }
    }
}

/// Whom a path is about.
#[derive(Clone, Debug)]
pub(super) enum Whom {
    Box,
    Stream(Arc<Stream>),
    Bytes(Arc<bytes::Stream>),
}

/// All paths of one topology.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: HashMap<String, (What, Whom)>,
}

impl Table {
    /// Adds a row, unless the path has one already. A path with a slash at its
    /// end also stands for everything one piece below it; one with `?action=`
    /// behind it stands for a query that has it among others.
    pub(super) fn add(&mut self, path: String, what: What, whom: &Whom) {
        self.rows.entry(path).or_insert_with(|| (what, whom.clone()));
    }

    fn find(&self, path: &str, query: Option<&str>) -> Option<&(What, Whom)> {
        if let Some(action) = query.and_then(action_of)
            && let Some(row) = self.rows.get(&format!("{path}?action={action}"))
        {
            return Some(row);
        }
        self.rows.get(path).or_else(|| {
            let folder = &path[..=path.rfind('/')?];
            self.rows.get(folder).filter(|(what, _)| *what == What::Segment)
        })
    }
}

/// The `action` of a query, without the number of mjpg-streamer's only input.
fn action_of(query: &str) -> Option<&str> {
    let action = query.split('&').find_map(|pair| pair.strip_prefix("action="))?;
    Some(action.strip_suffix("_0").unwrap_or(action))
}

/// Lets a request pass whose path is in the table that counts, and notes for
/// its handler whom it is about.
pub(super) fn is_placed() -> impl Guard {
    fn_guard(|context| {
        let Some(state) = context.app_data::<web::Data<State>>() else { return false };
        let uri = &context.head().uri;
        let present = state.present();
        let authenticator = &present.topology.authenticator;
        match present.table.find(uri.path(), uri.query()) {
            Some(row) => note(context, row, authenticator),
            // Characters may be written in another way (RFC 3986, section 2.3).
            None if uri.path().contains('%') => {
                let url = Url::new(uri.clone());
                present
                    .table
                    .find(url.path(), uri.query())
                    .is_some_and(|row| note(context, row, authenticator))
            }
            None => false,
        }
    })
}

fn note(
    context: &GuardContext<'_>,
    (what, whom): &(What, Whom),
    authenticator: &Authenticator,
) -> bool {
    let mut data = context.req_data_mut();
    data.insert(*what);
    let place = match whom {
        Whom::Box => Scope::Pages,
        Whom::Stream(stream) => {
            data.insert(Arc::clone(stream));
            Scope::Stream(stream.hub().name().clone())
        }
        Whom::Bytes(stream) => {
            data.insert(Arc::clone(stream));
            Scope::Stream(stream.settings().name.clone())
        }
    };
    access::note(&mut data, place, authenticator);
    true
}

/// Lets a request pass that was found to ask for `what`.
pub(super) fn asks_for(what: What) -> impl Guard {
    fn_guard(move |context| context.req_data().get::<What>() == Some(&what))
}

/// Whether a request that passed [`is_placed`] asks for media of a stream.
pub(super) fn asks_for_media(request: &ServiceRequest) -> bool {
    request.extensions().get::<What>().is_some_and(|what| what.is_media())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for (path, what) in [
            ("/a", What::Player),
            ("/a/", What::Player),
            ("/a/hls/", What::Segment),
            ("/a/hls/live.m3u8", What::Segments),
            ("/a/?action=stream", What::Mjpeg),
        ] {
            table.add(path.to_owned(), what, &Whom::Box);
        }
        table
    }

    #[test]
    fn a_path_answers_as_it_stands_and_segments_answer_one_piece_below() {
        let table = table();
        let found = |path| table.find(path, None).map(|(what, _)| *what);
        assert_eq!(found("/a"), Some(What::Player));
        assert_eq!(found("/a/hls/live.m3u8"), Some(What::Segments));
        assert_eq!(found("/a/hls/1-2.m4s"), Some(What::Segment));
        for path in ["", "/", "/b", "/a/b", "/a/hls/x/y", "a", "/a//"] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn an_action_of_mjpg_streamer_stands_before_the_path_alone() {
        let table = table();
        let found = |query| table.find("/a/", Some(query)).map(|(what, _)| *what);
        for query in ["action=stream", "fps=5&action=stream_0&1700000000"] {
            assert_eq!(found(query), Some(What::Mjpeg), "{query}");
        }
        for query in ["action=else", "action=", "reaction=stream", ""] {
            assert_eq!(found(query), Some(What::Player), "{query}");
        }
    }

    #[test]
    fn who_came_first_keeps_its_path() {
        let mut table = table();
        table.add("/a".to_owned(), What::Stat, &Whom::Box);
        assert_eq!(table.find("/a", None).map(|(what, _)| *what), Some(What::Player));
    }
}
