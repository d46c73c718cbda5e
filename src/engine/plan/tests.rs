//! Reviewed launch lines, and the decisions behind them.

use super::*;
use crate::config::settings::{Record, Transport};
use crate::model::unit::TrackKind;

fn plan() -> Plan {
    Plan {
        feed: Feed {
            name: "front".parse().unwrap(),
            source: Source::V4l2("/dev/v4l/by-id/usb cam".into()),
            mode: crate::config::settings::Mode::OnDemand,
            resurrect: true,
            size: "720p".parse().unwrap(),
            fps: "30".parse().unwrap(),
            audio: FeedAudio::None,
            overlay: Overlay::default(),
            controls: Vec::new(),
            turn: Turn::default(),
        },
        stream: Stream {
            name: "front".parse().unwrap(),
            feed: "front".parse().unwrap(),
            encoder: EncoderSetting::Auto,
            bitrate: "2M".parse().unwrap(),
            gop: Duration::from_secs(1),
            profile: Profile::High,
            quality: None,
            size: None,
            fps: None,
            sound: Sound::Feed,
            record: Record::Off,
            url: "/front".to_owned(),
        },
    }
}

#[test]
fn every_combination_gives_a_line_that_is_reviewed() {
    let mut lines = Vec::new();
    let plain = Capture::plain(plan().feed.fps);
    lines.extend(cameras());
    for encoder in profile::names(Kind::Encoder) {
        lines.push(plan().launch_line(plain, encoder).unwrap());
        let mut fixed = plan();
        fixed.stream.quality = Some(20);
        lines.push(fixed.launch_line(plain, encoder).unwrap());
    }
    let mut test = plan();
    test.feed.source = Source::TestClock;
    test.feed.audio = FeedAudio::Tone;
    test.stream.profile = Profile::Baseline;
    lines.push(test.launch_line(plain, "x264enc").unwrap());
    let mut film = plan();
    film.feed.source = Source::File("/srv/a clip.mp4".into());
    film.feed.audio = FeedAudio::Own;
    for form in [Form::H264, Form::Coded("openh264dec")] {
        for sound in [false, true] {
            let capture = Capture { form, rate: (30, 1), sound };
            lines.push(film.launch_line(capture, "x264enc").unwrap());
            lines.push(film.gst_launch_line(capture, "x264enc").unwrap());
        }
    }
    let mut dressed = plan();
    dressed.feed.turn = Turn { hflip: true, vflip: false, rotation: Rotation::Quarter };
    dressed.feed.overlay =
        Overlay { text: Some("5 < 6 & \"so\" ! x".to_owned()), clock: true, name: true };
    lines.push(dressed.launch_line(plain, "x264enc").unwrap());
    for form in [Form::Raw, Form::H264] {
        lines.push(dressed.capture_line(Capture { form, ..plain }).unwrap());
    }
    dressed.stream.size = Some("360p".parse().unwrap());
    dressed.stream.fps = Some("10".parse().unwrap());
    for pictures in [Pictures::Plain, Pictures::H264 { in_order: true }] {
        lines.push(dressed.encode_line(pictures, "openh264dec", "x264enc").unwrap());
    }
    lines.push(dressed.launch_line(plain, "x264enc").unwrap());
    lines.push(test.capture_line(plain).unwrap());
    lines.push(test.encode_line(Pictures::Plain, "openh264dec", "x264enc").unwrap());
    let mut pulled = plan();
    pulled.feed.audio = FeedAudio::Own;
    for transport in [Transport::Tcp, Transport::Udp] {
        lines.push(pulled.pull_line(transport).unwrap());
    }
    for encoding in profile::names(Kind::Pull) {
        let track = |media| SourceTrack::from_rtp(media, &encoding.to_ascii_uppercase());
        let track = track("video").or(track("audio")).unwrap();
        lines.push(pulled.track_line(&track, "libde265dec").unwrap());
    }
    lines.extend(unpacked(&pulled));
    let mut made = dressed.clone();
    made.feed.source = Source::Made("front".parse().unwrap());
    made.feed.audio = FeedAudio::Alsa("plughw:CARD=a b".to_owned());
    for pictures in [Pictures::Plain, Pictures::H264 { in_order: true }] {
        lines.push(made.made_line(&dressed, pictures, "openh264dec").unwrap());
    }
    lines.push(decode_line("openh264dec").unwrap());
    lines.extend([extract_line().unwrap(), decode_any_line().unwrap()]);
    lines.extend([true, false].map(|is_h264| intra_line(is_h264).unwrap()));
    lines.push(mjpeg_line("openh264dec", 80, None).unwrap());
    lines.push(mjpeg_line("openh264dec", 80, Some((320, 180))).unwrap());
    for format in [Format::Jpg { quality: 85 }, Format::Png] {
        lines.push(picture_line(format, None).unwrap());
        lines.push(picture_line(format, Some((320, 180))).unwrap());
    }
    lines.push(push_line(PushAudio::Feed, true).unwrap());
    lines.push(push_line(PushAudio::Feed, false).unwrap());
    lines.push(push_line(PushAudio::Tone, true).unwrap());
    golden("tests/golden/launch-lines.txt", &(lines.join("\n\n") + "\n"));
}

/// The lines of a camera in each form, and of one with controls.
fn cameras() -> Vec<String> {
    let mut lines = Vec::new();
    let forms = [Form::Raw, Form::Mjpeg, Form::H264];
    for form in forms {
        for rate in [(30, 1), (60_000, 1001)] {
            lines
                .push(plan().launch_line(Capture { form, rate, sound: false }, "x264enc").unwrap());
        }
    }
    let control = |name: &str, value: &str| Control { name: name.into(), value: value.into() };
    let mut controlled = plan();
    controlled.feed.controls = vec![control("brightness", "-20"), control("menu", "a word")];
    controlled.feed.controls.push(control("auto_exposure", "1"));
    for form in forms {
        let capture = Capture { form, ..Capture::plain(controlled.feed.fps) };
        lines.push(controlled.launch_line(capture, "x264enc").unwrap());
    }
    lines
}

/// The lines of byte feeds.
fn unpacked(plan: &Plan) -> Vec<String> {
    let tracks = [
        ("video/x-h264", None),
        ("video/x-h265", None),
        ("image/jpeg", None),
        ("audio/mpeg", Some(4)),
        ("audio/mpeg", Some(1)),
        ("audio/x-opus", None),
    ];
    let lines = tracks.map(|(caps, version)| {
        let track = SourceTrack::from_caps(|name, of| name == caps && of == version).unwrap();
        plan.track_line(&track, "libde265dec").unwrap()
    });
    std::iter::once(plan.unpack_line().unwrap()).chain(lines).collect()
}

#[test]
fn mirrors_and_rotations_are_one_step() {
    let turn = |hflip, vflip, rotation| direction(Turn { hflip, vflip, rotation });
    assert_eq!(turn(false, false, Rotation::None), None);
    assert_eq!(turn(true, true, Rotation::Half), None);
    assert_eq!(turn(true, true, Rotation::None), Some("180"));
    assert_eq!(turn(true, false, Rotation::Half), Some("vert"));
    assert_eq!(turn(false, true, Rotation::Half), Some("horiz"));
    assert_eq!(turn(false, false, Rotation::ThreeQuarters), Some("90l"));
    // Mirrored left to right and then turned clockwise, the upper left corner
    // comes to lie at the lower right.
    assert_eq!(turn(true, false, Rotation::Quarter), Some("ur-ll"));
    assert_eq!(turn(false, true, Rotation::Quarter), Some("ul-lr"));
}

#[test]
fn a_change_of_the_picture_prevents_pass_through() {
    assert!(plan().may_pass_through());
    let mut with_clock = plan();
    with_clock.feed.overlay.clock = true;
    let mut mirrored = plan();
    mirrored.feed.turn.hflip = true;
    assert!(!with_clock.may_pass_through() && !mirrored.may_pass_through());
}

#[test]
fn the_level_follows_the_boards_rules() {
    let level =
        |size: &str, fps: &str, bps| level(size.parse().unwrap(), fps.parse().unwrap(), bps);
    assert_eq!(level("1080p", "30", 4_500_000), "4");
    assert_eq!(level("1080p", "30", 12_000_000), "4.1");
    assert_eq!(level("1080p", "50", 4_500_000), "4.2");
}

/// Compares with a file; `GOLDEN=write` makes it anew.
fn golden(path: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "run `make golden`");
}

#[test]
fn only_supported_rtp_encodings_of_the_right_medium_are_taken() {
    let taken = |media, encoding| SourceTrack::from_rtp(media, encoding).map(|track| track.kind);
    assert_eq!(taken("video", "H264"), Some(TrackKind::Video));
    assert_eq!(taken("audio", "mpeg4-generic"), Some(TrackKind::Audio));
    for (media, encoding) in [
        ("audio", "H264"),
        ("video", "PCMU"),
        ("application", "VND.ONVIF.METADATA"),
        ("video", "VP8"),
        ("video", "../h264"),
    ] {
        assert_eq!(taken(media, encoding), None, "{media} {encoding}");
    }
}
