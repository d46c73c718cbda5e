//! A configuration of fmp4streamer, as its users have it.

use std::fs;
use std::time::Duration;

use super::*;
use crate::base::units::Size;
use crate::config::settings::{Mode, Profile, Rotation, Source};

/// As its documentation shows it.
const SAMPLE: &str = "\
[server]
listen =
port = 8000
keyfile =
certfile =

[/dev/video0]
width = 800
height = 600
fps = 30
h264_profile = High
h264_level = 4.2
h264_i_frame_period = 15
";

fn loaded(text: &str) -> Result<Loaded, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fmp4streamer.conf");
    fs::write(&path, text).unwrap();
    load(&Place::Fmp4streamer(path), &Overrides::default(), std::iter::empty())
}

fn warned(loaded: &Loaded) -> String {
    lines(&loaded.warnings)
}

#[test]
fn the_sample_of_fmp4streamer_loads_unchanged() {
    let loaded = loaded(SAMPLE).unwrap();
    assert_eq!(warned(&loaded), "");
    let Settings { server, feeds, streams, .. } = &loaded.settings;
    assert_eq!((server.bind.to_string().as_str(), server.port), ("0.0.0.0", 8000));
    assert!(server.tls.is_none(), "empty keys are no certificate");
    let (feed, stream) = (&feeds[0], &streams[0]);
    assert_eq!(feed.source, Source::V4l2("/dev/video0".into()));
    assert_eq!((feed.size, feed.fps.fps()), (Size { width: 800, height: 600 }, 30));
    assert_eq!(feed.mode, Mode::OnDemand);
    assert_eq!((stream.gop, stream.profile), (Duration::from_millis(500), Profile::High));
    assert_eq!(stream.url, "/cam/0/stream");
    let controls: Vec<_> =
        feed.controls.iter().map(|c| format!("{}={}", c.name, c.value)).collect();
    assert_eq!(controls, ["h264_profile=High", "h264_level=4.2", "h264_i_frame_period=15"]);
}

#[test]
fn an_ini_file_is_detected_by_its_first_section_for_each_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.name");
    fs::write(&path, format!("; mine\n{SAMPLE}")).unwrap();
    let variables = [("LIVEBOX__STREAMS__CAM0__BITRATE".to_owned(), "1M".to_owned())];
    let overrides = Overrides { port: Some("8001".to_owned()), ..Overrides::default() };
    let loaded = load(&Place::File(path), &overrides, variables.into_iter()).unwrap();
    assert_eq!(loaded.settings.server.port, 8001);
    assert_eq!(loaded.settings.streams[0].bitrate.kbps(), 1000);
}

#[test]
fn every_key_with_an_equivalent_is_converted() {
    let loaded = loaded(
        "[server]\nlisten = 127.0.0.1\nport: 9000\npriority = -5\nkeyfile = /k.pem\ncertfile = /c.pem\n\
         [/dev/video2]\nfps = 60\nauto_sleep = no\nrotation = 90\nhflip = 0\nvflip = 1\n\
         encoder = /dev/video11\nbrightness = 20\nPower_Line-Frequency = 50 Hz\n\
         [/dev/video11]\nh264_profile = Constrained Baseline\nvideo_bitrate = 1500000\n\
         h264_i_frame_period = 60\n\
         [/dev/v4l/by-id/usb cam]\nwidth = 1280\nheight = 720\n",
    )
    .unwrap();
    let Settings { server, feeds, streams, .. } = &loaded.settings;
    assert_eq!((server.bind.to_string().as_str(), server.port), ("127.0.0.1", 9000));
    assert_eq!(server.priority, -5);
    assert_eq!(server.tls.as_ref().unwrap().key, Path::new("/k.pem"));
    let [first, second] = feeds.as_slice() else { panic!("two cameras: {feeds:?}") };
    assert_eq!((first.mode, first.turn.rotation), (Mode::Continuous, Rotation::Quarter));
    assert_eq!((first.turn.hflip, first.turn.vflip), (false, true));
    let controls: Vec<_> =
        first.controls.iter().map(|c| (c.name.as_str(), c.value.as_str())).collect();
    assert_eq!(controls, [("brightness", "20"), ("power_line_frequency", "50 Hz")]);
    assert_eq!(second.source, Source::V4l2("/dev/v4l/by-id/usb cam".into()));
    assert_eq!(second.size, Size { width: 1280, height: 720 });
    assert_eq!((streams[0].profile, streams[0].bitrate.kbps()), (Profile::Baseline, 1500));
    assert_eq!(streams[0].gop, Duration::from_secs(1));
    assert_eq!([&streams[0].url, &streams[1].url], ["/cam/0/stream", "/cam/1/stream"]);
    assert_eq!(
        warned(&loaded),
        "[/dev/video2] encoder (line 13): \"/dev/video11\": has no effect: livebox chooses that itself\n"
    );
}

#[test]
fn keys_without_an_equivalent_are_warnings() {
    let loaded = loaded(
        "[server]\nprot = 1\npriority = high\n[/dev/video0]\ncapture_format = MJPG\n\
         uvcx_h264_bitrate = 1\nrotation = 45\nauto_sleep = maybe\nh264_profile = Extended\n\
         h264_i_frame_period = 0\nvideo_bitrate = 1\nodd/name = 1\nempty =\nfps = 5\n\
         [camera]\nwidth = 1\n",
    )
    .unwrap();
    assert_eq!(
        warned(&loaded),
        "[server] prot (line 2): \"1\": no such key; did you mean \"port\"?\n\
         [server] priority (line 3): \"high\": is no number from -20 to 19\n\
         [/dev/video0] capture_format (line 5): \"MJPG\": has no effect: livebox chooses that itself\n\
         [/dev/video0] uvcx_h264_bitrate (line 6): \"1\": has no effect: livebox sets no controls of \
         extension units\n\
         [/dev/video0] rotation (line 7): \"45\": is none of 0, 90, 180 and 270\n\
         [/dev/video0] auto_sleep (line 8): \"maybe\": is neither yes nor no\n\
         [/dev/video0] h264_profile (line 9): \"Extended\": is no profile for a stream; it has \
         Baseline, Main or High\n\
         [/dev/video0] h264_i_frame_period (line 10): \"0\": is no number of frames\n\
         [/dev/video0] video_bitrate (line 11): \"1\": is not a bit rate from 100k to 50M (examples: \
         800k, 800kbps, 1M, 1.5Mbps, 100000)\n\
         [/dev/video0] odd/name (line 12): \"1\": there is no such control; `livebox devices \
         --list-controls` lists them\n\
         [/dev/video0] empty (line 13): has no value\n\
         [camera] (line 15): is ignored: it is neither [server] nor a device such as [/dev/video0]\n"
    );
    assert_eq!(loaded.settings.feeds[0].fps.fps(), 5);
}

#[test]
fn a_missing_file_is_a_warning_and_gives_the_default_camera() {
    let place = Place::Fmp4streamer("/no/such/fmp4streamer.conf".into());
    let loaded = load(&place, &Overrides::default(), std::iter::empty()).unwrap();
    assert_eq!(
        warned(&loaded),
        "cannot read \"/no/such/fmp4streamer.conf\"; the defaults of fmp4streamer apply\n\
         no section names a camera; /dev/video0 is used\n"
    );
    assert_eq!(loaded.settings.feeds[0].source, Source::V4l2("/dev/video0".into()));
}

#[test]
fn invalid_values_are_reported_with_their_lines() {
    let error =
        loaded("port = 1\n[server]\nport = 0\n[/dev/video0]\nwidth = wide\nfps=0\nfps = 5\n");
    let told = error.unwrap_err().to_string();
    for part in [
        "line 1: stands before the first [section]",
        "server.port (line 3): \"0\" is not a port",
        "feeds.cam0.size (line 5): \"widex600\" is not",
        "feeds.cam0.fps (line 6): \"0\" is not",
        "[/dev/video0] fps (line 7): given a second time, after line 6",
    ] {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    let yaml = loaded("server: {port: 8000}\n").unwrap_err().to_string();
    assert!(yaml.contains("line 1: stands before the first [section]"), "{yaml}");
}
