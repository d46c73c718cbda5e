//! Checks a stream against the recommendations of YouTube, with advice. Pure;
//! the advice never prevents a push.

use std::time::Duration;

use crate::base::units::Bitrate;
use crate::config::settings::PushAudio;
use crate::hub::Measured;
use crate::model::track::Tracks;

/// Measured values of a stream, and advice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Measured frames a second.
    pub fps: Option<f64>,
    /// Measured distance between the last two key frames.
    pub key_frames: Option<Duration>,
    /// Measured bits a second of video and audio together.
    pub bitrate: Option<u64>,
    /// Whether the stream itself has audio; a push always sends an audio track.
    pub has_audio: bool,
    /// One sentence for each deviation from the recommendations.
    pub advice: Vec<String>,
}

/// YouTube's bitrates for H.264 (support.google.com/youtube/answer/2853702) in
/// kbit/s. The small sizes are from its older table, which suits the uplinks of
/// small boards.
struct Row {
    height: u32,
    /// More than 40 frames a second.
    fast: bool,
    least: u64,
    advised: u64,
    most: u64,
}

const TABLE: [Row; 7] = [
    Row { height: 240, fast: false, least: 300, advised: 500, most: 8_000 },
    Row { height: 360, fast: false, least: 400, advised: 750, most: 8_000 },
    Row { height: 480, fast: false, least: 500, advised: 1_000, most: 8_000 },
    Row { height: 720, fast: false, least: 1_500, advised: 4_000, most: 8_000 },
    Row { height: 720, fast: true, least: 3_000, advised: 6_000, most: 8_000 },
    Row { height: 1080, fast: false, least: 3_000, advised: 10_000, most: 10_000 },
    Row { height: 1080, fast: true, least: 4_000, advised: 12_000, most: 12_000 },
];

/// YouTube recommends 2 s between key frames and buffers above 4 s. Measured
/// distances may be a frame longer.
const ADVISED_KEY_DISTANCE: Duration = Duration::from_millis(2_150);
const MAX_KEY_DISTANCE: Duration = Duration::from_millis(4_150);

/// Checks a stream. `tracks` is `None` for a stream that has not run yet.
pub fn preflight(tracks: Option<&Tracks>, measured: Measured, audio: PushAudio) -> Preflight {
    let Some(tracks) = tracks else {
        return Preflight {
            advice: vec!["The stream has not run yet; watch it once to measure it.".to_owned()],
            ..Preflight::default()
        };
    };
    let Measured { key_distance, bitrate, fps } = measured;
    let picture = tracks.video.as_ref();
    let mut result = Preflight {
        width: picture.map(|video| video.width),
        height: picture.map(|video| video.height),
        fps,
        key_frames: key_distance,
        bitrate,
        has_audio: tracks.audio.is_some(),
        advice: Vec::new(),
    };
    let rate = picture.zip(bitrate).and_then(|(video, bps)| {
        rate_advice(video.height.min(video.width), fps.unwrap_or(30.0), bps)
    });
    let silence = (tracks.audio.is_none() && audio == PushAudio::Feed).then(|| {
        "The stream has no sound; silence is sent, because YouTube requires an audio track."
            .to_owned()
    });
    result.advice =
        key_distance.and_then(key_advice).into_iter().chain(rate).chain(silence).collect();
    result
}

fn key_advice(distance: Duration) -> Option<String> {
    let seconds = distance.as_secs_f64();
    if distance > MAX_KEY_DISTANCE {
        Some(format!(
            "Key frames are {seconds:.1} s apart; YouTube allows at most 4 s: set `gop` of the stream to 2s."
        ))
    } else if distance > ADVISED_KEY_DISTANCE {
        Some(format!(
            "Key frames are {seconds:.1} s apart; YouTube recommends 2 s: set `gop` of the stream to 2s."
        ))
    } else {
        None
    }
}

/// `side` is the shorter side in pixels, so that portrait video is checked as well.
fn rate_advice(side: u32, fps: f64, bps: u64) -> Option<String> {
    let fast = fps > 40.0;
    let fits = |row: &&Row| row.height >= side && (row.fast == fast || row.height < 720);
    let row = TABLE.iter().find(fits)?;
    let (kbps, size) = (bps / 1000, format!("{side}p at {fps:.0} frames a second"));
    let text = |kbps: u64| {
        Bitrate::from_bps(kbps * 1000).map_or_else(|| format!("{kbps}k"), |rate| rate.to_string())
    };
    let advised = text(row.advised);
    if kbps < row.least {
        let least = text(row.least);
        Some(format!(
            "{kbps} kbit/s is too low for {size}: YouTube requires at least {least} and recommends \
             {advised}; raise `bitrate` or choose a smaller size."
        ))
    } else if kbps > row.most * 11 / 10 {
        let most = text(row.most);
        Some(format!(
            "{kbps} kbit/s is too high for {size}: YouTube allows at most {most} and recommends \
             {advised}; lower `bitrate`."
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::track::VideoInfo;

    fn tracks(width: u32, height: u32) -> Tracks {
        let video = VideoInfo {
            sps: bytes::Bytes::new(),
            pps: bytes::Bytes::new(),
            width,
            height,
            profile: [77, 0, 40],
            frame_duration: None,
        };
        Tracks { video: Some(video), audio: None }
    }

    fn measured(key_ms: u64, kbps: u64, fps: f64) -> Measured {
        Measured {
            key_distance: Some(Duration::from_millis(key_ms)),
            bitrate: Some(kbps * 1000),
            fps: Some(fps),
        }
    }

    #[test]
    fn a_stream_within_the_recommendations_gets_no_advice() {
        for (width, height, kbps, fps) in
            [(640, 360, 750, 25.0), (1280, 720, 2500, 30.0), (1920, 1080, 4500, 29.97)]
        {
            let found =
                preflight(Some(&tracks(width, height)), measured(2000, kbps, fps), PushAudio::Tone);
            assert_eq!(found.advice, Vec::<String>::new(), "{width}x{height}");
        }
    }

    #[test]
    fn advice_names_the_deviation_and_the_remedy() {
        let of = |key_ms, kbps| {
            preflight(Some(&tracks(1280, 720)), measured(key_ms, kbps, 30.0), PushAudio::Feed)
        };
        let found = of(5000, 800).advice.join("\n");
        assert!(found.contains("5.0 s apart") && found.contains("at most 4 s"), "{found}");
        assert!(found.contains("800 kbit/s is too low") && found.contains("1500k"), "{found}");
        assert!(found.contains("silence is sent"), "{found}");
        assert!(of(3000, 4000).advice[0].contains("recommends 2 s"));
        assert!(of(1000, 12_000).advice[0].contains("at most 8M"));
    }

    #[test]
    fn portrait_and_odd_sizes_are_checked_by_their_shorter_side() {
        let upright =
            preflight(Some(&tracks(1080, 1920)), measured(1000, 2000, 60.0), PushAudio::Tone);
        assert!(upright.advice[0].contains("at least 4M"), "{upright:?}");
        let huge = tracks(3840, 2160);
        assert!(
            preflight(Some(&huge), measured(1000, 9000, 30.0), PushAudio::Tone).advice.is_empty()
        );
    }

    #[test]
    fn a_stream_that_has_not_run_is_reported() {
        let found = preflight(None, Measured::default(), PushAudio::Feed);
        assert!(found.advice[0].contains("not run yet"), "{found:?}");
    }
}
