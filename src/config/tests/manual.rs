//! `etc/livebox.yaml` is the manual: every key, with its true default.

use super::*;
use crate::config::keys::{
    SECTIONS, feeds::FEED, limits::LIMITS, pages::PAGES, pushes::PUSH, recordings::RECORDINGS,
    service, streams::STREAM,
};
use crate::config::templates::TEMPLATES;

const MANUAL: &str = include_str!("../../../etc/livebox.yaml");
const README: &str = include_str!("../../../README.md");

#[test]
fn the_manual_gives_every_key_its_default() {
    let manual = parse_text(MANUAL).unwrap();
    let defaults = parse_text(SMALL).unwrap();
    assert_eq!(format!("{manual:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_manuals_push_gives_every_key_its_default() {
    let manual = parse_text(&with_push()).unwrap();
    let url = "rtmps://a.rtmps.youtube.com/live2";
    let defaults = parse_text(&format!("{SMALL}pushes: {{youtube: {{url: '{url}'}}}}")).unwrap();
    assert_eq!(format!("{manual:#?}"), format!("{defaults:#?}"));
    assert_eq!(manual.pushes[0].url.as_ref().unwrap().secret().reveal(), url);
}

#[test]
fn the_readmes_page_of_commands_and_pipes_loads() {
    let (_, chapter) = README.split_once("\n## Commands and pipes\n").unwrap();
    let (_, sample) = chapter.split_once("```yaml\n").unwrap();
    let (sample, _) = sample.split_once("```").unwrap();
    let settings = parse_text(&sample.replace("/var/log/livebox", "/tmp")).unwrap();
    let types: Vec<_> = settings.byte_streams.iter().map(|one| one.content_type.as_str()).collect();
    let mjpeg = "multipart/x-mixed-replace;boundary=ffmpeg";
    assert_eq!(types, ["video/mp2t", mjpeg, "video/mp2t", "audio/wav"]);
}

#[test]
fn the_readmes_cameras_of_sets_and_their_controls_load() {
    let block = |of: &str| {
        let blocks = README.split("```yaml\n").skip(1);
        let mut texts = blocks.filter_map(|text| Some(text.split_once("```")?.0));
        parse_text(texts.find(|text| text.contains(of)).unwrap()).unwrap()
    };
    let made = block("\nuse:\n");
    let urls: Vec<_> = made.byte_streams.iter().map(|stream| stream.url.as_str()).collect();
    assert_eq!(urls, ["/front/view.mjpg", "/front/raw.ts", "/back/view.mjpg", "/back/raw.ts"]);
    assert_eq!(block("controls:").feeds[0].controls.len(), 3);
}

#[test]
fn the_readmes_recordings_load() {
    let (_, chapter) = README.split_once("\n## Recordings\n").unwrap();
    let (_, sample) = chapter.split_once("```yaml\n").unwrap();
    let (sample, _) = sample.split_once("```").unwrap();
    let feeds = "feeds: {camera: {test: clock}, birds: {test: clock}, door: {test: clock}}\n";
    let settings =
        parse_text(&format!("{feeds}{}", sample.replace("/media/disk/livebox", "/tmp"))).unwrap();
    let plans: Vec<_> = settings.streams.iter().map(|stream| stream.record.to_string()).collect();
    assert_eq!(plans, ["sun 09:45-11:15, wed 19:00-20:30", "06:00-22:00", "always"]);
}

#[test]
fn the_manual_knows_every_key_in_its_section() {
    let sections: [(&str, &[&str]); 12] = [
        ("server", &service::SERVER),
        ("access", &service::ACCESS),
        ("rtsp", &service::RTSP),
        ("feeds", &FEED),
        ("streams", &STREAM),
        ("pushes", &PUSH),
        ("recordings", &RECORDINGS),
        ("templates", &TEMPLATES),
        ("use", &[]),
        ("pages", &PAGES),
        ("limits", &LIMITS),
        ("log", &service::LOG),
    ];
    assert_eq!(sections.map(|(name, _)| name), SECTIONS);
    for (section, keys) in sections {
        let found = keys_of(section);
        let missing: Vec<_> = keys.iter().filter(|key| !found.contains(key)).collect();
        assert!(missing.is_empty(), "{section} does not explain {missing:?}");
    }
}

/// The manual with the example push taken into use.
fn with_push() -> String {
    let (before, push) = MANUAL.split_once("\npushes:\n").unwrap();
    let uncomment = |line: &str| match line.split_once('#') {
        Some((indent, rest)) if !rest.starts_with(' ') => format!("{indent}{rest}\n"),
        _ => format!("{line}\n"),
    };
    format!("{before}\npushes:\n{}", push.lines().map(uncomment).collect::<String>())
}

/// The keys given below this section, also those behind a `#`.
fn keys_of(section: &str) -> Vec<&'static str> {
    let (_, inside) = MANUAL.split_once(&format!("\n{section}:")).unwrap();
    let lines = inside.lines().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let key = |line: &'static str| line.trim_start().trim_start_matches('#').split_once(':');
    let keys = lines.filter_map(key).map(|(key, _)| key);
    keys.filter(|key| !key.contains(' ')).collect()
}
