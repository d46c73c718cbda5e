//! Films as feeds, and what changes their pictures.

use std::time::Duration;

use crate::common::clip::{Clips, Film, SHORT};
use crate::common::livebox::{Livebox, livebox};
use crate::common::process::run;
use crate::common::tools::tool;
use crate::common::viewer::Viewer;
use crate::common::{probe, wait};

const LIMIT: Duration = wait::TIMEOUT;

/// One colour on the left, another on the right; nothing moves.
const BARS: Film<'static> = Film { picture: "smptebars", sound: false, ..SHORT };
/// Near the middle of the first and of the last bar.
const LEFT: (usize, usize) = (20, 60);
const RIGHT: (usize, usize) = (300, 60);

#[test]
fn a_film_plays_in_real_time_round_after_round_without_a_seam() {
    let clips = Clips::new();
    for name in ["clip.mp4", "clip.ts"] {
        let livebox = Livebox::start(&feed(&clips.make(name, SHORT), "", ""));
        let viewer = Viewer::connect(livebox.http(), "/clip.mp4");
        viewer.wait("a picture", LIMIT, |seen| seen.span(b"vide") > 0.5);
        let (begin, before) = (wait::now(), viewer.seen().span(b"vide"));

        let seen = viewer.wait("three rounds", LIMIT, |seen| seen.span(b"vide") > before + 6.5);

        seen.assert_nothing_is_missing();
        seen.assert_time_goes_forward();
        let (played, took) = (seen.span(b"vide") - before, begin.elapsed().as_secs_f64());
        // Either may be late on a busy machine; a film that has no clock takes no time at all.
        assert!((played - took).abs() < 3.0, "{name}: {played} s of film in {took} s");
        assert!((seen.span(b"soun") - seen.span(b"vide")).abs() < 0.5, "{name}: sound");
    }
}

#[test]
fn sound_stays_with_the_picture_in_every_round() {
    let clips = Clips::new();
    let film = clips.folder().join("flash.mp4");
    // White and a tone from second one to two of three; AAC has an edit list here.
    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i"]);
    ffmpeg.arg(
        "color=black:size=160x96:rate=25:duration=3,\
         drawbox=color=white:thickness=fill:enable='between(t,0.99,1.97)'",
    );
    ffmpeg.args(["-f", "lavfi", "-i"]);
    ffmpeg.arg("aevalsrc='0.5*sin(6283*t)*between(t,1,2)':sample_rate=48000:duration=3");
    ffmpeg.args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "0", "-g", "25", "-c:a", "aac"]);
    let made = run(ffmpeg.arg(&film), b"", LIMIT);
    assert_eq!(made.code, Some(0), "{made:?}");
    let livebox = Livebox::start(&feed(&film, "", ""));

    let mut ffmpeg = tool("ffmpeg");
    ffmpeg.args(["-v", "info", "-i", &livebox.url("/clip.mp4"), "-t", "14"]);
    ffmpeg.args(["-vf", "blackdetect=d=0.5", "-af", "silencedetect=n=-20dB:d=0.5"]);
    let watched = run(ffmpeg.args(["-f", "null", "-"]), b"", LIMIT);

    let times = |key: &str| -> Vec<f64> {
        let after = watched.stderr.split(key).skip(1);
        after.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect()
    };
    let (flashes, tones) = (times("black_end:"), times("silence_end: "));
    assert!(flashes.len() >= 4, "{}", watched.stderr);
    for flash in &flashes[1..] {
        let apart = tones.iter().map(|tone| (tone - flash).abs()).fold(f64::MAX, f64::min);
        // A sound is laid at most half of its frame beside its time.
        assert!(apart < 0.015, "flashes at {flashes:?}, tones at {tones:?}");
    }
}

#[test]
fn a_plain_h264_file_is_played_at_its_own_rate() {
    let clips = Clips::new();
    let film = clips.make("clip.h264", Film { sound: false, ..SHORT });
    let livebox = Livebox::start(&feed(&film, "", ""));

    let viewer = Viewer::connect(livebox.http(), "/clip.mp4");
    let seen = viewer.wait("two rounds", LIMIT, |seen| seen.span(b"vide") > 4.5);

    seen.assert_nothing_is_missing();
    assert_eq!(seen.tracks.len(), 1, "there is no sound to wait for");
}

#[test]
fn what_can_pass_through_does_so_untouched() {
    let clips = Clips::new();
    let plain = Film { sound: false, ..SHORT };
    let film = std::fs::read(clips.make("clip.h264", plain)).expect("ffmpeg has written it");
    let livebox = Livebox::start(&feed(&clips.folder().join("clip.h264"), "", ""));

    let (_, mut body) = livebox.http().open("/clip.h264");
    let got = body.take_bytes(2 * film.len()).expect("the stream goes on");

    // Between frames the start codes may have another length: within the longest one.
    let starts = film.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]);
    let starts: Vec<_> = starts.map(|(at, _)| at).collect();
    let longest = starts.windows(2).max_by_key(|pair| pair[1] - pair[0]).expect("many frames");
    let sample = &film[longest[0] + 100..longest[0] + 164];
    assert!(got.windows(sample.len()).any(|window| window == sample), "the bytes are others");
    let line = livebox.log().wait_for("is encoded by", LIMIT);
    assert!(line.contains("file: it gives H.264 by itself"), "{line}");
}

#[test]
fn the_printed_launch_line_of_a_film_plays_it_to_its_end_in_gst_launch() {
    let clips = Clips::new();
    let film = clips.make("a $clip (1).mp4", Film { b_frames: 2, ..SHORT });
    let plain = clips.make("plain.mp4", SHORT);
    let config = clips.folder().join("livebox.yaml");
    for (film, element) in [(film, "x264enc"), (plain, "identity")] {
        std::fs::write(&config, feed(&film, "", "")).expect("the folder is writable");
        let printed = livebox(&["pipeline", "clip", "-f", &config.display().to_string()], "");
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        assert!(printed.stdout.contains(element), "{}", printed.stdout);

        // As a person does it: pasted behind the command, into a shell.
        let mut shell = tool("sh");
        let line = format!("exec gst-launch-1.0 -v {}", printed.stdout.trim());
        let begin = wait::now();
        let ended = run(shell.args(["-c", &line]), b"", LIMIT);

        let told = format!("{line}\n{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(0), "{told}");
        assert!(ended.stdout.contains("Got EOS"), "{told}");
        assert!(ended.stdout.contains("caps = video/x-h264"), "{told}");
        assert!(ended.stdout.contains("caps = audio/mpeg"), "{told}");
        assert!(begin.elapsed() > Duration::from_millis(1500), "faster than real: {told}");
    }
}

#[test]
fn a_films_own_sound_is_heard_unless_another_is_asked() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", SHORT);
    for (audio, pitch) in [("", Some(1000.0)), ("audio: silence", None)] {
        let livebox = Livebox::start(&feed(&film, audio, ""));
        let sound = probe::listen(&livebox.url("/clip.mp4"), 3);
        match pitch {
            Some(pitch) => assert!((sound.pitch - pitch).abs() < 20.0, "{sound:?}"),
            None => assert!(sound.loudness < 0.001, "{sound:?}"),
        }
    }
    let mute = Livebox::start(&feed(&film, "audio: none", ""));
    assert_eq!(probe::streams(&mute.url("/clip.mp4"), None).codecs(), ["h264"]);
}

#[test]
fn a_film_with_b_frames_is_encoded_to_what_is_asked() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", Film { b_frames: 2, ..SHORT });
    let livebox = Livebox::start(&feed(&film, "size: 480x360, fps: 20", "bitrate: 500k"));
    let viewer = Viewer::connect(livebox.http(), "/clip.mp4");

    let seen = viewer.wait("two rounds", LIMIT, |seen| seen.span(b"vide") > 4.5);

    seen.assert_nothing_is_missing();
    let video = probe::streams(&livebox.url("/clip.mp4"), None).first("video").clone();
    assert_eq!((&video["width"], &video["height"]), (&480.into(), &360.into()));
    assert_eq!(video["has_b_frames"], 0);
    assert!(!livebox.log().contains("file: it gives"), "it cannot pass through");
}

#[test]
fn a_film_that_cannot_be_played_is_named_with_the_reason() {
    let clips = Clips::new();
    let broken = clips.folder().join("broken.mp4");
    std::fs::write(&broken, "this is no film").expect("the folder is writable");
    let mute = clips.folder().join("sound.mp4");
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", "sine=1000:duration=1", "-c:a", "aac"]);
    assert_eq!(run(command.arg(&mute), b"", LIMIT).code, Some(0));

    for (path, reason) in [
        (&clips.folder().join("missing.mp4"), "No such file"),
        (&broken, ""),
        (&mute, "has no H.264 video"),
    ] {
        let livebox = Livebox::start(&feed(path, "", ""));
        let answer = livebox.get("/clip.mp4");
        assert_eq!(answer.status(), 503);
        let told = answer.text();
        assert!(told.contains(&path.display().to_string()) && told.contains(reason), "{told}");
    }
}

#[test]
fn a_film_that_vanishes_is_told_and_comes_back_with_the_file() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", SHORT);
    let aside = clips.folder().join("aside.mp4");
    let livebox = Livebox::start(&feed(&film, "", ""));
    let viewer = Viewer::connect(livebox.http(), "/clip.mp4");
    viewer.wait_for_more(10, LIMIT);

    std::fs::rename(&film, &aside).expect("the folder is writable");
    livebox.log().wait_for("No such file", LIMIT);
    std::fs::rename(&aside, &film).expect("the folder is writable");

    viewer.wait_for_more(50, LIMIT).assert_time_goes_forward();
}

#[test]
fn the_colours_of_a_picture_are_those_of_the_film() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", BARS);
    let truth = Pixels::of(&film.display().to_string());
    let livebox = Livebox::start(&feed(&film, "", ""));

    for format in ["png", "jpg"] {
        let picture = Pixels::of(&livebox.url(&format!("/clip/pic?format={format}")));
        for x in [20, 65, 115, 160, 205, 250, 300] {
            let (is, should) = (picture.at((x, 60)), truth.at((x, 60)));
            assert!(near(is, should, 6), "{format} at {x}: {is:?}, not {should:?}");
        }
    }
}

#[test]
fn mirrors_and_turns_change_the_picture() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", BARS);
    let pixels = |keys: &str| {
        let livebox =
            Livebox::start(&feed(&film, &format!("size: 320x180, {keys}"), "bitrate: 1M"));
        Pixels::of(&livebox.url("/clip/pic?format=png"))
    };
    let plain = Pixels::of(&film.display().to_string());

    let mirrored = pixels("hflip: true");
    assert!(near(mirrored.at(LEFT), plain.at(RIGHT), 12), "{:?}", mirrored.at(LEFT));
    let turned = pixels("rotation: 90");
    assert_eq!((turned.width, turned.height), (180, 320));
    // Clockwise, the left side comes to the top.
    assert!(near(turned.at((120, 20)), plain.at(LEFT), 12), "{:?}", turned.at((120, 20)));
    assert!(near(turned.at((120, 300)), plain.at(RIGHT), 12));
}

#[test]
fn a_feed_made_of_a_film_is_turned_and_the_film_passes_through_beside_it() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", Film { sound: true, ..BARS });
    let livebox = Livebox::start(&format!(
        "feeds:\n  clip: {{file: {}, size: 320x180, fps: 25}}\n  turned: {{feed: clip, hflip: true}}\n\
         streams:\n  clip: {{}}\n  turned: {{bitrate: 1M}}\n",
        film.display()
    ));

    let plain = Pixels::of(&livebox.url("/clip/pic?format=png"));
    let mirrored = Pixels::of(&livebox.url("/turned/pic?format=png"));

    assert!(near(mirrored.at(LEFT), plain.at(RIGHT), 12), "{:?}", mirrored.at(LEFT));
    assert_eq!(probe::streams(&livebox.url("/turned.mp4"), None).codecs(), ["h264", "aac"]);
    livebox.log().wait_for("clip is encoded by file", LIMIT);
}

#[test]
fn texts_are_written_over_the_picture_whatever_they_hold() {
    let clips = Clips::new();
    let film = clips.make("clip.mp4", Film { picture: "color=c=0x303030", ..BARS });
    let bright = |keys: &str| {
        let keys = format!("size: 320x180, {keys}");
        let livebox = Livebox::start(&feed(&film, &keys, "bitrate: 1M"));
        let pixels = Pixels::of(&livebox.url("/clip/pic?format=png"));
        (pixels.count_bright(0..60), pixels.count_bright(120..180))
    };

    assert_eq!(bright("hflip: true"), (0, 0));
    let (above, below) = bright(r#"overlay: {text: "a<b & \"c\" ! {d}"}"#);
    assert!(above == 0 && below > 20, "{above} {below}");
    let (above, below) = bright("overlay: {clock: true, name: true}");
    assert!(above > 20 && below == 0, "{above} {below}");
}

/// A configuration that plays `film` as the stream `clip`.
fn feed(film: &std::path::Path, feed: &str, stream: &str) -> String {
    let film = film.display();
    format!("feeds:\n  clip: {{file: {film}, {feed}}}\nstreams:\n  clip: {{{stream}}}\n")
}

/// The first picture of something as ffmpeg sees it.
struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    fn of(source: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let ppm = folder.path().join("picture.ppm");
        let mut command = tool("ffmpeg");
        command.args(["-v", "error", "-i", source, "-frames:v", "1"]);
        command.args(["-vf", "scale=flags=accurate_rnd+full_chroma_int,format=rgb24"]);
        let finished = run(command.arg(&ppm), b"", LIMIT);
        assert_eq!(finished.code, Some(0), "ffmpeg {source}: {}", finished.stderr);
        let file = std::fs::read(&ppm).expect("ffmpeg has written it");
        let mut lines = file.splitn(4, |byte| *byte == b'\n');
        let size = lines.nth(1).map(String::from_utf8_lossy).expect("a PPM has a size");
        let (width, height) = size.split_once(' ').expect("a size has two sides");
        let rgb = lines.nth(1).expect("a PPM has pixels").to_vec();
        let side = |text: &str| text.parse().expect("a side is a number");
        Self { width: side(width), height: side(height), rgb }
    }

    fn at(&self, (x, y): (usize, usize)) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    fn count_bright(&self, rows: std::ops::Range<usize>) -> usize {
        let pixels = rows.flat_map(|y| (0..self.width).map(move |x| (x, y)));
        pixels.filter(|at| self.at(*at).iter().all(|value| *value > 120)).count()
    }
}

fn near(one: [u8; 3], other: [u8; 3], most: u8) -> bool {
    one.iter().zip(other).all(|(one, other)| one.abs_diff(other) <= most)
}
