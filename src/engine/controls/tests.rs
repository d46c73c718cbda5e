//! Parses a list of `v4l2-ctl` and resolves configured controls against it.

use proptest::prelude::*;

use super::*;
use crate::config;

const LIST: &str = "
User Controls

                     brightness 0x00980900 (int)    : min=-64 max=64 step=1 default=0 value=12 flags=slider
                       contrast 0x00980901 (int)    : min=0 max=90 step=10 default=30 value=30
        white_balance_automatic 0x0098090c (bool)   : default=1 value=1 flags=update
           power_line_frequency 0x00980918 (menu)   : min=0 max=2 default=1 value=2 (60 Hz)
\t\t\t\t0: Disabled
\t\t\t\t1: 50 Hz
\t\t\t\t2: 60 Hz
          do_white_balance_once 0x0098090d (button) : flags=write-only, execute-on-write
                         locked 0x00980999 (int)    : min=0 max=9 step=1 default=0 value=0 flags=inactive, read-only
a_name_that_is_longer_than_its_column 0x00980aaa (bitmask): max=0x0000000f default=0x00000001 value=0x00000003

Camera Controls

                       iso_list 0x009a0917 (intmenu): min=0 max=2 default=0 value=1 (200 0xc8)
\t\t\t\t0: 100 (0x64)
\t\t\t\t1: 200 (0xc8)
\t\t\t\t2: 400 (0x190)
                          title 0x009a0999 (str)    : min=0 max=32 step=1 value='a: b'
";

fn wanted(name: &str, value: &str) -> Vec<Control> {
    vec![Control { name: name.to_owned(), value: value.to_owned() }]
}

/// The control that is set, or the warning.
fn set(name: &str, value: &str) -> Result<String, String> {
    match resolve(&wanted(name, value), &parse(LIST)) {
        (resolved, _) if resolved.len() == 1 => {
            Ok(format!("{}={}", resolved[0].name, resolved[0].value))
        }
        (_, warnings) => Err(warnings.join("\n")),
    }
}

#[test]
fn a_list_of_controls_is_read_with_its_groups_and_menus() {
    let offered = parse(LIST);
    let names: Vec<_> = offered.iter().map(|offered| offered.name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["brightness", "contrast", "white_balance_automatic", "power_line_frequency"]
    );
    assert_eq!(names.len(), 9);
    assert_eq!((offered[0].class.as_str(), offered[0].value), ("User Controls", 12));
    assert_eq!(offered[0].kind, Kind::Number { min: -64, max: 64, step: 1 });
    assert_eq!((offered[7].class.as_str(), offered[7].value), ("Camera Controls", 1));
    assert_eq!(offered[7].kind, Kind::Numbers(vec![(0, 100), (1, 200), (2, 400)]));
    assert_eq!(offered[6].kind, Kind::Number { min: 0, max: 15, step: 1 });
    assert!(offered[5].is_read_only && !offered[0].is_read_only);
}

#[test]
fn a_value_is_a_number_a_label_of_the_menu_or_yes_and_no() {
    for (name, value, number) in [
        ("brightness", "-64", "brightness=-64"),
        ("contrast", "15", "contrast=15"),
        ("white_balance_automatic", "0", "white_balance_automatic=0"),
        ("white_balance_automatic", "No", "white_balance_automatic=0"),
        ("power_line_frequency", "50 hz", "power_line_frequency=1"),
        ("power_line_frequency", "2", "power_line_frequency=2"),
        ("iso_list", "200", "iso_list=1"),
        ("iso_list", "2", "iso_list=2"),
        ("powerline_frequency", "Disabled", "power_line_frequency=0"),
        ("do_white_balance_once", "yes", "do_white_balance_once=1"),
        ("a_name_that_is_longer_than_its_column", "0x5", "a_name_that_is_longer_than_its_column=5"),
    ] {
        assert_eq!(set(name, value), Ok(number.to_owned()));
    }
}

#[test]
fn controls_that_cannot_be_set_are_left_out_with_a_warning() {
    for (name, value, told) in [
        ("gain", "1", "the camera has no control gain"),
        ("brightness", "0.1", "the control brightness must be from -64 to 64, not \"0.1\""),
        ("brightness", "65", "the control brightness must be from -64 to 64, not \"65\""),
        (
            "white_balance_automatic",
            "2",
            "the control white_balance_automatic must be yes or no, not \"2\"",
        ),
        (
            "power_line_frequency",
            "70 Hz",
            "the control power_line_frequency must be one of \"Disabled\", \"50 Hz\", \"60 Hz\", not \"70 Hz\"",
        ),
        ("iso_list", "300", "the control iso_list must be one of 100, 200, 400, not \"300\""),
        ("locked", "1", "the control locked is read-only"),
        ("title", "x", "the control title has a type that livebox cannot set"),
        (
            "do_white_balance_once",
            "0",
            "the control do_white_balance_once is a button and takes only yes",
        ),
    ] {
        assert_eq!(set(name, value), Err(told.to_owned()));
    }
}

#[test]
fn without_a_list_numbers_and_switches_are_set_unchecked() {
    let all = [wanted("a", "5"), wanted("b", "off"), wanted("c", "50 Hz")].concat();
    let (resolved, told) = resolve_unlisted(&all);
    assert_eq!(resolved, [wanted("a", "5"), wanted("b", "0")].concat());
    assert_eq!(told, ["the control c is left out: \"50 Hz\" is not a number"]);
}

#[test]
fn controls_of_the_cameras_encoder_are_left_out_where_livebox_encodes() {
    let text = "feeds: {cam: {v4l2: /dev/nowhere, controls: {h264_profile: High, video_bitrate: 1000000}}}\n\
        streams: {cam: {}}";
    let settings = config::parse_text(text).unwrap();
    let plan = Plan { feed: settings.feeds[0].clone(), stream: settings.streams[0].clone() };
    let raw = Capture::plain(plan.feed.fps);
    let listed = Ok(Vec::new());
    let (resolved, told) = super::resolved(plan, raw, Some(&listed));
    assert_eq!((resolved.feed.controls, told), (Vec::new(), Vec::new()));
}

proptest! {
    #[test]
    fn any_list_is_parsed_and_any_value_resolved(
        list in "(([a-z_]{1,4} 0x[0-9]{1,3} \\((int|menu|bool|x)\\) : )|min=|max=|step=|value=|[-0-9x]{1,20}|[:\n\t ()]|\\PC){0,60}",
        value in "\\PC{0,10}|-?[0-9]{1,20}",
    ) {
        let offered = parse(&list);
        let all: Vec<_> = offered.iter().flat_map(|offered| wanted(&offered.name, &value)).collect();
        let (resolved, told) = resolve(&all, &offered);
        prop_assert_eq!(resolved.len() + told.len(), all.len());
        prop_assert!(resolved.iter().all(|control| control.value.parse::<i32>().is_ok()));
    }
}
