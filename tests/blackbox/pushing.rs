//! Pushing a stream to an RTMP server, steered by the API.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::livebox::{API, CAMERA, Launch, Livebox};
use crate::common::receiver::Receiver;
use crate::common::tls::{Authority, TlsFront};
use crate::common::viewer::Viewer;
use crate::common::{flv, probe, proc, wait};

const LIMIT: Duration = wait::TIMEOUT;
const KEY: &str = "quiet-otter-4711-zz";

#[test]
fn a_push_goes_from_idle_to_streaming_and_back_and_the_receiver_gets_picture_and_tone() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    assert_eq!(livebox.set_control(&json!({"audio": "1kHz"})).status(), 200);
    let over = AtomicBool::new(false);

    let states = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| states_until(&livebox, &over));
        assert_eq!(livebox.state(), "idle");
        livebox.push_to(&receiver.url(), KEY);
        livebox.wait_for_state("streaming", LIMIT);
        receiver.wait_for_more(300_000, LIMIT);
        let stopped = livebox.stop_push();
        assert_eq!(stopped.status(), 200, "{}", stopped.text());
        livebox.wait_for_state("idle", LIMIT);
        over.store(true, Ordering::Relaxed);
        watcher.join().expect("the watcher only asks")
    });

    assert_in_order(&states);
    let recording = only_recording(&receiver);
    let streams = probe::streams(&recording, None);
    assert_eq!(streams.first("video")["codec_name"], "h264");
    assert_eq!(streams.first("video")["width"], 640);
    assert_eq!(streams.first("audio")["codec_name"], "aac");
    let sound = probe::listen(&recording, 1);
    assert!((990.0..=1010.0).contains(&sound.pitch), "{sound:?}");
    assert!(sound.loudness > 0.02, "{sound:?}");
}

#[test]
fn every_frame_of_picture_and_sound_reaches_the_receiver() {
    for audio in ["feed", "tone"] {
        let receiver = Receiver::start();
        let livebox = Livebox::start(&format!(
            "{CAMERA}pushes: {{far: {{stream: camera, url: \"{}\", key: {KEY}, audio: {audio}}}}}\n",
            receiver.url()
        ));
        let viewer = Viewer::connect(livebox.http(), "/camera.mp4");
        viewer.wait("a picture", LIMIT, |seen| seen.count(b"vide") > 0);
        let started = livebox.http().put(&format!("{API}/pushes/far/start"));
        assert_eq!(started.status(), 200, "{}", started.text());

        receiver.wait_for_more(500_000, LIMIT);

        let recording = only_recording(&receiver);
        for (kind, length) in [("v", 0.04), ("a", 1024.0 / 44_100.0)] {
            let times = probe::packet_times(&recording, kind);
            let missing: Vec<_> =
                times.windows(2).filter(|pair| pair[1] - pair[0] > 1.5 * length).collect();
            assert!(times.len() > 90, "audio {audio}: only {} of {kind}", times.len());
            // Pictures that the encoder was too slow for are missing for viewers as well.
            let breaks = if kind == "v" { viewer.seen().breaks() } else { Vec::new() };
            let dropped = breaks.iter().filter(|one| one.may_be_dropped_pictures()).count();
            assert!(
                missing.len() <= dropped,
                "audio {audio}: {kind} is missing between {missing:?}"
            );
        }
    }
}

#[test]
fn a_receiver_is_told_once_and_completely_what_follows() {
    let receiver = Receiver::with("record all; record_unique on; meta copy;");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("seen.flv");
    let _player = receiver.play_into(KEY, &file);
    let livebox = Livebox::start(&with_push(&receiver));

    // Parsers tell a new average bit rate several times a second at the beginning.
    let tags = wait::until("six seconds are passed on", LIMIT * 2, || {
        let tags = flv::tags(&file);
        tags.last().is_some_and(|last| last.time >= 6000).then_some(tags)
    });

    let told: Vec<_> = tags.iter().filter(|tag| tag.is_metadata()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for (name, value) in [
        ("width", 640.0),
        ("height", 360.0),
        ("framerate", 25.0),
        ("videocodecid", 7.0),
        ("audiocodecid", 10.0),
        ("audiosamplerate", 44_100.0),
        ("audiodatarate", 64.0),
    ] {
        assert_eq!(told[0].number(name), Some(value), "{name}");
    }
    let rate = told[0].number("videodatarate").expect("it is told");
    assert!((100.0..=1500.0).contains(&rate), "{rate}");
    let first = tags.iter().position(|tag| matches!(tag.kind, 8 | 9)).expect("there is media");
    assert!(tags[..first].iter().any(flv::Tag::is_metadata), "media comes first");
    assert!(!livebox.log().contains("assertion"), "GStreamer is not content");
}

#[test]
fn no_tone_is_sent_that_nobody_asked_for() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();

    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(200_000, LIMIT);
    livebox.stop_push();

    let recording = only_recording(&receiver);
    assert_eq!(probe::streams(&recording, None).first("audio")["codec_name"], "aac");
    assert!(probe::listen(&recording, 1).loudness < 0.0005);
}

#[test]
fn silence_is_sent_as_a_track_without_sound() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let set = livebox.set_control(&json!({"audio": "silence"}));
    assert_eq!(set.status(), 200, "{}", set.text());

    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(200_000, LIMIT);
    livebox.stop_push();

    let recording = only_recording(&receiver);
    assert_eq!(probe::streams(&recording, None).first("audio")["codec_name"], "aac");
    assert!(probe::listen(&recording, 1).loudness < 0.0005);
}

#[test]
fn a_feed_without_sound_is_pushed_with_silence_because_receivers_want_a_track() {
    let receiver = Receiver::start();
    let livebox = Livebox::start(&format!(
        "feeds: {{camera: {{test: clock, size: 320x180, fps: 25, audio: none}}}}\n\
         streams: {{camera: {{feed: camera, bitrate: 500k}}}}\n\
         pushes: {{far: {{stream: camera, url: \"{}\", key: {KEY}, audio: feed, start: true}}}}\n",
        receiver.url()
    ));

    receiver.wait_for_more(100_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);

    let recording = only_recording(&receiver);
    assert_eq!(probe::streams(&recording, None).first("audio")["codec_name"], "aac");
}

#[test]
fn what_control_sets_is_what_the_receiver_gets() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let set = livebox.set_control(
        &json!({"resolution": "240p", "fps": 15, "bitrate": "300k", "audio": "feed", "quality": 30}),
    );
    assert_eq!(set.status(), 200, "{}", set.text());

    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(60_000, LIMIT);

    let streams = probe::streams(&only_recording(&receiver), None);
    let video = streams.first("video");
    assert_eq!((&video["width"], &video["height"]), (&426.into(), &240.into()));
    assert!(video["avg_frame_rate"] == "15/1" || video["r_frame_rate"] == "15/1", "{video}");
}

#[test]
fn a_key_inside_the_url_is_enough() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let set = livebox.set_control(&json!({"url": format!("{}/{KEY}", receiver.url())}));
    assert_eq!(set.status(), 200, "{}", set.text());

    assert_eq!(livebox.start_push().status(), 200);

    receiver.wait_for_more(50_000, LIMIT);
    let recording = only_recording(&receiver);
    assert!(recording.contains(KEY), "{recording}");
}

#[test]
fn the_counter_of_sent_bytes_grows_while_streaming() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);
    livebox.wait_for_state("streaming", LIMIT);
    let sent = || livebox.status()["net"].as_u64().expect("net is a whole number");
    let before = sent();

    wait::until("50 kB more are sent", LIMIT, || (sent() > before + 50_000).then_some(()));
}

#[test]
fn while_streaming_status_answers_at_once_and_control_changes_nothing() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    livebox.push_to(&receiver.url(), KEY);
    livebox.wait_for_state("streaming", LIMIT);
    let before = livebox.control();

    let refused = livebox.set_control(&json!({"fps": 15}));
    let second_start = livebox.start_push();

    assert_eq!(refused.status(), 409, "{}", refused.text());
    assert_eq!(refused.json()["code"], 409);
    assert_eq!(second_start.status(), 400, "{}", second_start.text());
    assert_eq!(livebox.control(), before);
    let asked = wait::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| livebox.status());
        }
    });
    assert!(asked.elapsed() < Duration::from_secs(15), "twenty answers: {:?}", asked.elapsed());
    receiver.wait_for_more(50_000, LIMIT);
    assert_eq!(livebox.state(), "streaming");
}

#[test]
fn a_push_and_two_viewers_share_one_encoder_and_nobody_disturbs_the_other() {
    let receiver = Receiver::start();
    let livebox = Launch::on_default().start();
    let viewer = crate::common::viewer::Viewer::connect(livebox.http(), "/camera.mp4");
    viewer.wait("a picture", LIMIT, |seen| seen.fragments.len() > 50);

    livebox.push_to(&receiver.url(), KEY);
    receiver.wait_for_more(150_000, LIMIT);
    livebox.stop_push();
    livebox.wait_for_state("idle", LIMIT);

    viewer.wait_for_more(50, LIMIT).assert_nothing_is_missing();
}

#[test]
fn a_push_over_tls_reaches_a_receiver_whose_certificate_is_known() {
    let receiver = Receiver::start();
    let front = TlsFront::start(receiver.rtmp_port());
    let livebox = Launch::on_default().run_by(front.trusting()).start();

    livebox.push_to(&front.url(), KEY);

    receiver.wait_for_more(50_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);
}

#[test]
fn a_push_over_tls_sends_nothing_to_a_receiver_whose_certificate_is_unknown() {
    let receiver = Receiver::start();
    let front = TlsFront::start(receiver.rtmp_port());
    let livebox = Launch::on_default().start();

    livebox.push_to(&front.url(), KEY);

    let line = livebox.log().wait_for("push livebox failed", LIMIT);
    assert!(line.contains("is not signed by an authority this box knows"), "{line}");
    assert!(line.contains("in `ca:` of the push"), "{line}");
    assert_eq!(livebox.state(), "preparing");
    assert!(receiver.recordings().is_empty());
    assert!(!livebox.log().contains(KEY), "the log has the key");
}

#[test]
fn a_receiver_with_an_authority_of_its_own_is_trusted_where_the_push_names_it() {
    let (receiver, authority) = (Receiver::start(), Authority::make());
    let front = TlsFront::with(authority.sign("IP:127.0.0.1"), receiver.rtmp_port());

    let livebox = Livebox::start(&with_authority(&front, &authority));

    receiver.wait_for_more(50_000, LIMIT);
    livebox.wait_for_state("streaming", LIMIT);
}

#[test]
fn a_certificate_for_another_host_is_refused_whoever_has_signed_it() {
    let (receiver, authority) = (Receiver::start(), Authority::make());
    let front = TlsFront::with(authority.sign("DNS:a.example"), receiver.rtmp_port());

    let livebox = Livebox::start(&with_authority(&front, &authority));

    let line = livebox.log().wait_for("push far failed", LIMIT);
    assert!(line.contains("certificate is refused: it is for another host name"), "{line}");
    assert!(receiver.recordings().is_empty());
}

#[test]
fn the_stream_key_is_shown_nowhere() {
    let mut receiver = Receiver::start();
    let livebox = Livebox::start(&format!(
        "{CAMERA}pushes: {{far: {{stream: camera, url: \"{}\", key: {KEY}, audio: feed}}}}\n\
         log: {{level: trace}}\n",
        receiver.url()
    ));
    // First in vain, so that error messages about the address have a chance too.
    receiver.crash();
    assert_eq!(livebox.start_push().status(), 200);
    livebox.log().wait_for("push far failed", LIMIT);
    receiver.come_back();
    livebox.wait_for_state("streaming", LIMIT);
    receiver.wait_for_more(50_000, LIMIT);

    let processes = [vec![livebox.pid()], proc::descendants(livebox.pid())].concat();
    for pid in processes {
        assert!(!proc::command_line(pid).contains(KEY), "{}", proc::command_line(pid));
    }
    for path in ["/", "/camera/", &format!("{API}/status"), &format!("{API}/control")] {
        let text = livebox.get(path).text();
        assert!(!text.contains(KEY), "{path}: {text}");
    }
    assert_ne!(livebox.control()["name"], Value::Null);
    livebox.stop_push();
    livebox.wait_for_state("idle", LIMIT);
    assert!(livebox.log().contains("DEBUG"), "the log is not talkative");
    assert!(!livebox.log().contains(KEY), "the log has the key");
}

/// A camera with a tone that is sent to `receiver` from the start on.
fn with_push(receiver: &Receiver) -> String {
    let url = receiver.url();
    format!("{CAMERA}pushes: {{far: {{url: \"{url}\", key: {KEY}, start: true}}}}\n")
}

/// A camera that is sent to `front`, trusting `authority`.
fn with_authority(front: &TlsFront, authority: &Authority) -> String {
    let (url, ca) = (front.url(), authority.certificate());
    let ca = ca.display();
    format!("{CAMERA}pushes: {{far: {{url: \"{url}\", key: {KEY}, ca: \"{ca}\", start: true}}}}\n")
}

/// The states seen until `over`, each repetition once.
fn states_until(livebox: &Livebox, over: &AtomicBool) -> Vec<String> {
    let mut states = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let state = livebox.state();
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    states
}

/// Polls may miss a short state but never see one twice or out of order.
fn assert_in_order(states: &[String]) {
    let mut order = ["idle", "preparing", "streaming", "stopping", "idle"].iter();
    let in_order = states.iter().all(|state| order.any(|expected| expected == state));
    assert!(in_order, "out of order: {states:?}");
    let has = |state: &str| states.iter().any(|seen| seen == state);
    assert!(has("preparing") && has("streaming"), "a state is missing: {states:?}");
}

fn only_recording(receiver: &Receiver) -> String {
    let recordings = receiver.recordings();
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    recordings[0].display().to_string()
}
