//! `etc/livebox.yaml` is the manual: every key, with its true default.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::keys::{
    SECTIONS,
    common::{STREAM, feed_keys},
    limits::LIMITS,
    pages::PAGES,
    pushes::PUSH,
    recordings::RECORDINGS,
    service,
};
use crate::config::templates::TEMPLATES;

const MANUAL: &str = include_str!("../../../etc/livebox.yaml");
const COMMANDS: &str = include_str!("../../../docs/commands.md");
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
const RECORDINGS_PAGE: &str = include_str!("../../../docs/recordings.md");

#[test]
fn the_manual_states_the_default_of_every_key() {
    let manual = parse_text(MANUAL).unwrap();
    let defaults = parse_text(SMALL).unwrap();
    assert_eq!(format!("{manual:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_push_of_the_manual_states_the_default_of_every_key() {
    let manual = parse_text(&with_push()).unwrap();
    let url = "rtmps://a.rtmps.youtube.com/live2";
    let defaults = parse_text(&format!("{SMALL}pushes: {{youtube: {{url: '{url}'}}}}")).unwrap();
    assert_eq!(format!("{manual:#?}"), format!("{defaults:#?}"));
    assert_eq!(manual.pushes[0].url.as_ref().unwrap().secret().reveal(), url);
}

#[test]
fn the_documented_commands_and_pipes_load() {
    let settings = loaded(&sample(COMMANDS, "\nlog: {folder:"));
    let types: Vec<_> = settings.byte_streams.iter().map(|one| one.content_type.as_str()).collect();
    let mjpeg = "multipart/x-mixed-replace;boundary=ffmpeg";
    assert_eq!(types, ["video/mp2t", mjpeg, "video/mp2t", "audio/wav"]);
}

#[test]
fn the_documented_cameras_of_sets_and_their_controls_load() {
    let made = loaded(&sample(COMMANDS, "\nuse:\n"));
    let urls: Vec<_> = made.byte_streams.iter().map(|stream| stream.url.as_str()).collect();
    assert_eq!(urls, ["/front/view.mjpg", "/front/raw.ts", "/back/view.mjpg", "/back/raw.ts"]);
    assert_eq!(loaded(&sample(CONFIGURATION, "controls:")).feeds[0].controls.len(), 3);
}

#[test]
fn the_documented_recordings_load() {
    let settings = loaded(&sample(RECORDINGS_PAGE, "\nrecordings:\n"));
    let plans: Vec<_> = settings.streams.iter().map(|stream| stream.record.to_string()).collect();
    assert_eq!(plans, ["sun 09:45-11:15, wed 19:00-20:30", "06:00-22:00", "always"]);
}

#[test]
fn every_example_in_the_documents_loads() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(repository.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut count = 0;
    for page in pages.chain([repository.join("README.md")]) {
        for text in samples(&fs::read_to_string(&page).unwrap()) {
            let problems = parse_text(&on_this_machine(text)).err().unwrap_or_default();
            assert!(problems.is_empty(), "{}:\n{text}\n{}", page.display(), lines(&problems));
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} examples were found");
}

#[test]
fn the_manual_has_every_key_in_its_section() {
    let sections: [(&str, &[&str]); 12] = [
        ("server", &service::SERVER),
        ("access", &service::ACCESS),
        ("rtsp", &service::RTSP),
        ("feeds", &feed_keys()),
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

/// The configurations that a page shows.
fn samples(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("the block has an end").0)
}

/// The configuration of this page that contains `part`.
fn sample(page: &str, part: &str) -> String {
    samples(page).find(|text| text.contains(part)).unwrap().to_owned()
}

fn loaded(sample: &str) -> Settings {
    parse_text(&on_this_machine(sample)).unwrap()
}

/// A documented configuration with folders that exist and what the reader has to fill in.
fn on_this_machine(sample: &str) -> String {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    [
        ("/var/log/livebox", "/tmp"),
        ("/media/disk/livebox", "/tmp"),
        ("$argon2id$v=19$m=19456,t=2,p=1$…", hash),
        ("$argon2id$…", hash),
        ("key: \"…\"", "key: abcd-efgh-ijkl-mnop"),
    ]
    .iter()
    .fold(sample.to_owned(), |text, (shown, meant)| text.replace(shown, meant))
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
