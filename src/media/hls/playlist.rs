//! Playlists as text.
//!
//! A playlist is a copy of what the window lists, so that its text can be written without
//! the lock of the stream.

use std::fmt::{Arguments, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::iso_ms;
use crate::media::packager::Init;

/// Players start this many target durations before the end (RFC 8216, 6.3.3).
const HOLD_BACK: u64 = 3;

/// The media playlist of a stream.
#[derive(Debug)]
pub struct MediaPlaylist {
    /// Target duration in seconds.
    pub(super) target: u64,
    /// Every segment begins with a key frame.
    pub(super) independent: bool,
    /// The number of the next segment.
    pub(super) next_number: u64,
    /// Discontinuities that have left the playlist.
    pub(super) discontinuities: u64,
    pub(super) entries: Vec<Entry>,
}

/// One segment in a playlist.
#[derive(Debug)]
pub(super) struct Entry {
    pub number: u64,
    pub generation: u32,
    pub discontinuous: bool,
    pub duration: Duration,
    /// Milliseconds since 1970.
    pub date_ms: u64,
}

/// The multivariant playlist of a stream, with one variant.
#[derive(Debug)]
pub struct MultivariantPlaylist {
    pub(super) init: Arc<Init>,
    /// Every segment begins with a key frame.
    pub(super) independent: bool,
    /// The peak segment bit rate so far, in bits per second.
    pub(super) peak: u64,
    /// The mean bit rate of the listed segments.
    pub(super) mean: u64,
}

impl MediaPlaylist {
    /// `prefix` is the path from the playlist's URL to the segments; `instance`
    /// distinguishes segments from those of earlier streams.
    pub fn text(&self, prefix: &str, instance: &str) -> String {
        let first = self.entries.first().map_or(self.next_number, |segment| segment.number);
        let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n".to_owned();
        if self.independent {
            text += "#EXT-X-INDEPENDENT-SEGMENTS\n";
        }
        write_line(&mut text, format_args!("#EXT-X-TARGETDURATION:{}", self.target));
        // Equal to the default; Shaka uses the duration of a short playlist without it.
        let back = HOLD_BACK * self.target;
        write_line(&mut text, format_args!("#EXT-X-SERVER-CONTROL:HOLD-BACK={back}"));
        write_line(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}"));
        if self.discontinuities > 0 {
            let removed = self.discontinuities;
            write_line(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{removed}"));
        }
        let mut generation = None;
        for segment in &self.entries {
            if segment.discontinuous {
                write_line(&mut text, format_args!("#EXT-X-DISCONTINUITY"));
            }
            if generation.replace(segment.generation) != Some(segment.generation) {
                let number = segment.generation;
                let map = format_args!("#EXT-X-MAP:URI=\"{prefix}init-{instance}-{number}.mp4\"");
                write_line(&mut text, map);
            }
            let seconds = segment.duration.as_secs_f64();
            let (number, date) = (segment.number, iso_ms(segment.date_ms));
            write_line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{date}"));
            write_line(&mut text, format_args!("#EXTINF:{seconds:.5},"));
            write_line(&mut text, format_args!("{prefix}{instance}-{number}.m4s"));
        }
        text
    }
}

impl MultivariantPlaylist {
    /// `media` is the URL of the variant, `bound` a bit rate that no segment exceeds, if one
    /// is known: later segments may exceed the measured rate.
    pub fn text(&self, media: &str, bound: Option<u64>) -> String {
        let Self { init, peak, mean, .. } = self;
        let tracks = &init.tracks;
        let bandwidth = (*peak).max(bound.unwrap_or(peak + peak / 2));
        let independent = if self.independent { "#EXT-X-INDEPENDENT-SEGMENTS\n" } else { "" };
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n{independent}#EXT-X-STREAM-INF:\
             BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={mean},CODECS=\"{}\"",
            tracks.codecs()
        );
        if let Some(video) = &tracks.video {
            text += &format!(",RESOLUTION={}x{}", video.width, video.height);
            if let Some(frame) = video.frame_duration {
                text += &format!(",FRAME-RATE={:.3}", 1.0 / frame.as_secs_f64());
            }
        }
        text += &format!("\n{media}\n");
        text
    }
}

/// Writing to a `String` cannot fail.
fn write_line(text: &mut String, line: Arguments<'_>) {
    writeln!(text, "{line}").ok();
}
