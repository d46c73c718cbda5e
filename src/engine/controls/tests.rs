//! A driver's list as `v4l2-ctl` prints it, and wishes against it.

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

fn wish(name: &str, value: &str) -> Vec<Control> {
    vec![Control { name: name.to_owned(), value: value.to_owned() }]
}

/// The number that is set, or what is told instead.
fn set(name: &str, value: &str) -> Result<String, String> {
    match settle(&wish(name, value), &parse(LIST)) {
        (settled, _) if settled.len() == 1 => {
            Ok(format!("{}={}", settled[0].name, settled[0].value))
        }
        (_, told) => Err(told.join("\n")),
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
    assert_eq!(offered[0].kind, Kind::Number { least: -64, most: 64, step: 1 });
    assert_eq!((offered[7].class.as_str(), offered[7].value), ("Camera Controls", 1));
    assert_eq!(offered[7].kind, Kind::Numbers(vec![(0, 100), (1, 200), (2, 400)]));
    assert_eq!(offered[6].kind, Kind::Number { least: 0, most: 15, step: 1 });
    assert!(offered[5].is_fixed && !offered[0].is_fixed);
}

#[test]
fn a_wish_is_a_number_a_word_of_the_menu_or_yes_and_no() {
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
fn what_a_camera_does_not_know_is_told_and_left_out() {
    for (name, value, told) in [
        ("gain", "1", "the camera has no control gain"),
        ("brightness", "0.1", "the control brightness goes from -64 to 64, and is not \"0.1\""),
        ("brightness", "65", "the control brightness goes from -64 to 64, and is not \"65\""),
        (
            "white_balance_automatic",
            "2",
            "the control white_balance_automatic is yes or no, and not \"2\"",
        ),
        (
            "power_line_frequency",
            "70 Hz",
            "the control power_line_frequency is one of \"Disabled\", \"50 Hz\", \"60 Hz\", and not \"70 Hz\"",
        ),
        ("iso_list", "300", "the control iso_list is one of 100, 200, 400, and not \"300\""),
        ("locked", "1", "the control locked can only be read"),
        ("title", "x", "the control title is of a kind that cannot be set here"),
        (
            "do_white_balance_once",
            "0",
            "the control do_white_balance_once is pressed by yes, or left out",
        ),
    ] {
        assert_eq!(set(name, value), Err(told.to_owned()));
    }
}

#[test]
fn without_a_list_numbers_and_switches_are_set_all_the_same() {
    let wanted = [wish("a", "5"), wish("b", "off"), wish("c", "50 Hz")].concat();
    let (settled, told) = settle_unseen(&wanted);
    assert_eq!(settled, [wish("a", "5"), wish("b", "0")].concat());
    assert_eq!(told, ["the control c is left out: \"50 Hz\" is no number"]);
}

#[test]
fn what_steers_a_cameras_encoder_is_left_out_where_livebox_encodes() {
    let text = "feeds: {cam: {v4l2: /dev/nowhere, controls: {h264_profile: High, video_bitrate: 1000000}}}\n\
        streams: {cam: {}}";
    let settings = config::parse_text(text).unwrap();
    let plan = Plan { feed: settings.feeds[0].clone(), stream: settings.streams[0].clone() };
    let raw = Capture::plain(plan.feed.fps);
    let listed = Ok(Vec::new());
    let (settled, told) = super::settled(plan, raw, Some(&listed));
    assert_eq!((settled.feed.controls, told), (Vec::new(), Vec::new()));
}

proptest! {
    #[test]
    fn any_list_is_read_and_any_wish_answered(
        list in "(([a-z_]{1,4} 0x[0-9]{1,3} \\((int|menu|bool|x)\\) : )|min=|max=|step=|value=|[-0-9x]{1,20}|[:\n\t ()]|\\PC){0,60}",
        value in "\\PC{0,10}|-?[0-9]{1,20}",
    ) {
        let offered = parse(&list);
        let wanted: Vec<_> = offered.iter().flat_map(|offered| wish(&offered.name, &value)).collect();
        let (settled, told) = settle(&wanted, &offered);
        prop_assert_eq!(settled.len() + told.len(), wanted.len());
        prop_assert!(settled.iter().all(|control| control.value.parse::<i32>().is_ok()));
    }
}
