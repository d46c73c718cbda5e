//! Is a stream fit for the receiver? Measured values against what YouTube asks
//! for, with advice in plain words. Pure; never a reason not to send.

use std::time::Duration;

use crate::base::units::Bitrate;
use crate::config::settings::PushAudio;
use crate::hub::Measured;
use crate::model::track::Tracks;

/// What is known before and while a push runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Measured frames a second.
    pub fps: Option<f64>,
    /// Measured distance of the last two key frames.
    pub key_frames: Option<Duration>,
    /// Measured bits a second of picture and sound together.
    pub bitrate: Option<u64>,
    /// Whether the stream itself has sound; a push always sends some.
    pub has_audio: bool,
    /// What is not as it should be, one sentence each; empty where all is well.
    pub advice: Vec<String>,
}

/// YouTube's figures for H.264 (support.google.com/youtube/answer/2853702) in
/// kbit/s: the least, the advised, the most. The small sizes are from its older
/// table, which suits the uplinks of small boards.
struct Row {
    height: u32,
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

/// YouTube asks for 2 s and refuses to be smooth above 4 s. Measured distances
/// are a frame off now and then.
const KEYS_ADVISED: Duration = Duration::from_millis(2_150);
const KEYS_AT_MOST: Duration = Duration::from_millis(4_150);

/// Judges a stream. Without `tracks` it has not run yet.
pub fn preflight(tracks: Option<&Tracks>, measured: Measured, audio: PushAudio) -> Preflight {
    let Some(tracks) = tracks else {
        return Preflight {
            advice: vec![
                "The stream has not run yet; open it once to have it measured.".to_owned(),
            ],
            ..Preflight::default()
        };
    };
    let Measured { key_distance, bitrate, fps } = measured;
    let picture = tracks.video.as_ref();
    let mut found = Preflight {
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
        "The stream has no sound; silence is sent, as YouTube wants a sound track.".to_owned()
    });
    found.advice =
        key_distance.and_then(key_advice).into_iter().chain(rate).chain(silence).collect();
    found
}

fn key_advice(distance: Duration) -> Option<String> {
    let seconds = distance.as_secs_f64();
    if distance > KEYS_AT_MOST {
        Some(format!(
            "Key frames are {seconds:.1} s apart and YouTube wants 4 s at most; set `gop` of the stream to 2s."
        ))
    } else if distance > KEYS_ADVISED {
        Some(format!(
            "Key frames are {seconds:.1} s apart; YouTube advises 2 s: set `gop` of the stream to 2s."
        ))
    } else {
        None
    }
}

/// `side` is the shorter one, so that upright pictures are judged as well.
fn rate_advice(side: u32, fps: f64, bps: u64) -> Option<String> {
    let fast = fps > 40.0;
    let fits = |row: &&Row| row.height >= side && (row.fast == fast || row.height < 720);
    let row = TABLE.iter().find(fits)?;
    let (kbps, size) = (bps / 1000, format!("{side} lines at {fps:.0} pictures a second"));
    let told = |kbps: u64| {
        Bitrate::from_bps(kbps * 1000).map_or_else(|| format!("{kbps}k"), |rate| rate.to_string())
    };
    let advised = told(row.advised);
    if kbps < row.least {
        let least = told(row.least);
        Some(format!(
            "{kbps} kbit/s are little for {size}: YouTube wants {least} at least and advises \
             {advised}; raise `bitrate` or choose a smaller picture."
        ))
    } else if kbps > row.most * 11 / 10 {
        let most = told(row.most);
        Some(format!(
            "{kbps} kbit/s are more than YouTube takes for {size}: {most} at most, {advised} \
             advised; lower `bitrate`."
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
    fn a_stream_as_youtube_wants_it_needs_no_advice() {
        for (width, height, kbps, fps) in
            [(640, 360, 750, 25.0), (1280, 720, 2500, 30.0), (1920, 1080, 4500, 29.97)]
        {
            let found =
                preflight(Some(&tracks(width, height)), measured(2000, kbps, fps), PushAudio::Tone);
            assert_eq!(found.advice, Vec::<String>::new(), "{width}x{height}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let of = |key_ms, kbps| {
            preflight(Some(&tracks(1280, 720)), measured(key_ms, kbps, 30.0), PushAudio::Feed)
        };
        let found = of(5000, 800).advice.join("\n");
        assert!(found.contains("5.0 s apart") && found.contains("4 s at most"), "{found}");
        assert!(found.contains("800 kbit/s are little") && found.contains("1500k"), "{found}");
        assert!(found.contains("silence is sent"), "{found}");
        assert!(of(3000, 4000).advice[0].contains("advises 2 s"));
        assert!(of(1000, 12_000).advice[0].contains("8M at most"));
    }

    #[test]
    fn upright_and_odd_pictures_are_judged_by_their_shorter_side() {
        let upright =
            preflight(Some(&tracks(1080, 1920)), measured(1000, 2000, 60.0), PushAudio::Tone);
        assert!(upright.advice[0].contains("4M at least"), "{upright:?}");
        let huge = tracks(3840, 2160);
        assert!(
            preflight(Some(&huge), measured(1000, 9000, 30.0), PushAudio::Tone).advice.is_empty()
        );
    }

    #[test]
    fn a_stream_that_never_ran_says_so() {
        let found = preflight(None, Measured::default(), PushAudio::Feed);
        assert!(found.advice[0].contains("not run yet"), "{found:?}");
    }
}
