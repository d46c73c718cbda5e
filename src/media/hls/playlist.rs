//! The playlists of a [`Window`] as text.

use std::fmt::{Arguments, Write as _};
use std::time::Duration;

use super::{HOLD_BACK, Window};
use crate::base::time::iso_ms;

impl Window {
    /// The media playlist. `prefix` is the path from its URL to the segments;
    /// `instance` distinguishes segments from those of earlier streams.
    pub fn playlist(&mut self, prefix: &str, instance: &str) -> String {
        let target = self.target();
        self.target = Some(target);
        let first = self.listed().next().map_or(self.next_number, |segment| segment.number);
        let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n".to_owned();
        if self.independent {
            text += "#EXT-X-INDEPENDENT-SEGMENTS\n";
        }
        write_line(&mut text, format_args!("#EXT-X-TARGETDURATION:{target}"));
        // Equal to the default; Shaka uses the duration of a short playlist without it.
        let back = HOLD_BACK * target;
        write_line(&mut text, format_args!("#EXT-X-SERVER-CONTROL:HOLD-BACK={back}"));
        write_line(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}"));
        if self.discontinuities > 0 {
            let removed = self.discontinuities;
            write_line(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{removed}"));
        }
        let mut generation = None;
        for segment in self.listed() {
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

    /// The multivariant playlist with one variant at `media`. `bound` is a bit rate that no
    /// segment exceeds, if one is known: later segments may exceed the measured rate. Returns
    /// `None` before the first init segment.
    pub fn multivariant(&self, media: &str, bound: Option<u64>) -> Option<String> {
        let tracks = &self.inits.last()?.tracks;
        let bandwidth = self.peak.max(bound.unwrap_or(self.peak + self.peak / 2));
        let bits: usize = self.listed().map(|segment| segment.len * 8).sum();
        let span: Duration = self.listed().map(|segment| segment.duration).sum();
        let mean = (bits as f64 / span.as_secs_f64().max(0.001)) as u64;
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
        Some(text)
    }
}

/// Writing to a `String` cannot fail.
fn write_line(text: &mut String, line: Arguments<'_>) {
    writeln!(text, "{line}").ok();
}
