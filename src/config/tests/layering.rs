//! File, environment and flags: who wins, and who is blamed.

use std::fs;
use std::time::Duration;

use super::*;
use crate::base::units::{Bitrate, Size};
use crate::config::settings::{FeedAudio, Mode, PushAudio, Source};

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
    layered(text, variables, &Overrides::default())
}

fn layered(
    text: &str,
    variables: &[(&str, &str)],
    overrides: &Overrides,
) -> Result<Settings, Vec<Problem>> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    parse_layers(text, &variables.iter().map(owned).collect::<Vec<_>>(), overrides)
}

fn flags(port: &str) -> Overrides {
    Overrides { port: Some(port.to_owned()), ..Overrides::default() }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file = format!("{SMALL}server: {{port: 8001, bind: 10.0.0.1}}\n");
    let variables = [("LIVEBOX__SERVER__PORT", "8002")];

    assert_eq!(with(&file, &[]).unwrap().server.port, 8001);
    assert_eq!(with(&file, &variables).unwrap().server.port, 8002);
    let all = layered(&file, &variables, &flags("8003")).unwrap();
    assert_eq!(all.server.port, 8003);
    assert_eq!(all.server.bind.to_string(), "10.0.0.1");
}

#[test]
fn a_problem_names_the_origin_of_the_value() {
    let file = format!("{SMALL}server: {{port: 0}}\n");
    let variables = [("LIVEBOX__SERVER__PORT", "none"), ("LIVEBOX__SEVER__PORT", "8000")];
    assert_eq!(
        lines(&with(&file, &[]).unwrap_err()),
        "server.port (line 3): \"0\" is not a port from 1 to 65535\n"
    );
    assert_eq!(
        lines(&with(&file, &variables).unwrap_err()),
        "sever (the environment variable LIVEBOX__SEVER__PORT): no such key; \
         did you mean \"server\"?\n\
         server.port (the environment variable LIVEBOX__SERVER__PORT): \
         \"none\" is not a port from 1 to 65535\n"
    );
    assert_eq!(
        lines(&layered(&file, &[], &flags("http")).unwrap_err()),
        "server.port (--port): \"http\" is not a port from 1 to 65535\n"
    );
    let loud = Overrides { log_level: Some("loud".to_owned()), ..Overrides::default() };
    assert!(
        lines(&layered(SMALL, &[], &loud).unwrap_err()).starts_with("log.level (--log-level): ")
    );
    let docroot = Overrides { docroot: Some("/no/such".into()), ..Overrides::default() };
    assert_eq!(
        lines(&layered(SMALL, &[], &docroot).unwrap_err()),
        "server.docroot (--docroot): \"/no/such\" is not an existing folder\n"
    );
}

#[test]
fn variables_match_keys_in_any_case_and_with_dashes() {
    let file = "feeds: {Front-Door.2: {test: clock}}\nstreams: {Front-Door.2: {}}\n";
    for name in [
        "LIVEBOX__STREAMS__FRONT_DOOR_2__BITRATE",
        "LIVEBOX__streams__front-door.2__Bitrate",
        "LIVEBOX__Streams__Front-Door.2__BITRATE",
    ] {
        let settings = with(file, &[(name, "1M")]).unwrap();
        assert_eq!(settings.streams.len(), 1, "{name}");
        assert_eq!(settings.streams[0].bitrate, Bitrate::from_bps(1_000_000).unwrap());
        assert_eq!(settings.streams[0].name.as_str(), "Front-Door.2");
    }
}

#[test]
fn ambiguous_and_unknown_variables_are_reported() {
    let file = "feeds: {a-b: {test: clock}, a.b: {test: clock}}\nstreams: {a-b: {}, a.b: {}}\n";
    let variables = [("LIVEBOX__FEEDS__A_B__FPS", "5"), ("LIVEBOX__SERVER____PORT", "80")];
    assert_eq!(
        lines(&with(file, &variables).unwrap_err()),
        "the environment variable LIVEBOX__FEEDS__A_B__FPS: A_B may mean a-b or a.b\n\
         the environment variable LIVEBOX__SERVER____PORT: \
         two underscores stand between the levels of a key, and only there\n"
    );
    assert!(with(file, &[("LIVEBOX__FEEDS__a-b__FPS", "5")]).is_ok());
}

#[test]
fn an_empty_variable_restores_the_default_and_foreign_ones_are_ignored() {
    let file = format!("{SMALL}server: {{port: 8001}}\n");
    let variables = [("LIVEBOX__SERVER__PORT", ""), ("LIVEBOX_PORT", "1"), ("PATH", "/bin")];
    assert_eq!(with(&file, &variables).unwrap().server.port, 8000);
}

#[test]
fn the_environment_alone_can_configure_a_camera_and_a_push() {
    let variables = [
        ("LIVEBOX__FEEDS__CAMERA__TEST", ""),
        ("LIVEBOX__FEEDS__CAMERA__V4L2", "/dev/video0"),
        ("LIVEBOX__PUSHES__TUBE__URL", "rtmp://a.example/live2"),
        ("LIVEBOX__PUSHES__TUBE__KEY", "djt.zepf"),
    ];
    let settings = with(EMBEDDED, &variables).unwrap();
    assert_eq!(settings.feeds[0].source, Source::V4l2("/dev/video0".into()));
    let tube = &settings.pushes[1];
    assert_eq!((tube.name.as_str(), tube.stream.as_str()), ("tube", "camera"));
    assert_eq!(tube.key.as_ref().unwrap().reveal(), "djt.zepf");
}

#[test]
fn problems_of_overridden_values_are_reported() {
    let file = format!("{SMALL}server: 8001\n");
    let told = lines(&layered(&file, &[], &flags("8003")).unwrap_err());
    assert_eq!(told, "server (line 3): must hold keys of its own, not a value or a list\n");
}

#[test]
fn streams_keep_their_order_and_names_their_case() {
    let names = ["Zoo", "a.b-c", "front", "Back_1", "0", "alpha"];
    let section = |body: &str| names.map(|name| format!("  {name}: {{{body}}}\n")).concat();
    let file = format!("feeds:\n{}streams:\n{}", section("test: clock"), section(""));
    let settings = with(&file, &[("LIVEBOX__STREAMS__ALPHA__GOP", "2")]).unwrap();
    assert_eq!(settings.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(settings.feeds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(settings.streams[5].gop, Duration::from_secs(2));
}

#[test]
fn without_a_file_the_built_in_configuration_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("livebox.yaml");
    let (text, origin) = text_of(&Place::Default, &path).unwrap();
    assert_eq!(origin, "the built-in default");

    let settings = parse_text(&text.unwrap()).unwrap();
    let (feed, stream, push) = (&settings.feeds[0], &settings.streams[0], &settings.pushes[0]);
    assert_eq!((feed.name.as_str(), feed.fps.fps()), ("camera", 25));
    assert_eq!(feed.size, Size { width: 640, height: 360 });
    assert_eq!((&feed.audio, feed.mode), (&FeedAudio::Silence, Mode::OnDemand));
    assert_eq!((stream.bitrate.kbps(), stream.url.as_str()), (750, "/camera"));
    assert_eq!((push.name.as_str(), push.audio, push.start), ("livebox", PushAudio::Feed, false));

    fs::write(&path, SMALL).unwrap();
    let (text, origin) = text_of(&Place::Default, &path).unwrap();
    assert_eq!((text.unwrap().as_str(), origin), (SMALL, path.display().to_string()));
}

#[test]
fn every_spelling_of_a_value_is_accepted() {
    let settings = parse_text(
        "server: {port: \"8080\", bind: '*'}\n\
         feeds:\n  a: {test: clock, mode: 2.5, size: 360p}\n  b: {test: clock, mode: 5m}\n\
         \x20 c: {test: clock, mode: autostart}\n\
         streams:\n  a: {gop: 0.5, quality: '10', profile: Main}\n  b: {url: cams/b/}\n  c: {}\n\
         pushes:\n  p: {url: ' rtmp://x/y ', start: On}\n  q: {start: \"0\", stream: b}\n",
    )
    .unwrap();
    assert_eq!(settings.server.port, 8080);
    assert_eq!(settings.server.bind.to_string(), "0.0.0.0");
    assert_eq!(settings.feeds[0].mode, Mode::Linger(Duration::from_millis(2500)));
    assert_eq!(settings.feeds[1].mode, Mode::Linger(Duration::from_secs(300)));
    assert_eq!(settings.feeds[2].mode, Mode::Continuous);
    assert_eq!(settings.streams[0].gop, Duration::from_millis(500));
    assert_eq!(settings.streams[0].bitrate.kbps(), 750);
    assert_eq!(settings.streams[0].quality, Some(10));
    assert_eq!(settings.streams[1].url, "/cams/b");
    assert!(settings.pushes[0].start && !settings.pushes[1].start);
    assert_eq!(settings.pushes[0].url.as_ref().unwrap().secret().reveal(), "rtmp://x/y");
    assert_eq!(settings.pushes[0].stream.as_str(), "a");
}
