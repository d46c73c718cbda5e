//! Any text as a driver's list of controls, and any wish against it: numbers that
//! can be set, or a line that says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::config::settings::Control;
use livebox::engine::controls::{parse, settle};

fuzz_target!(|input: (&str, &str)| {
    let (list, value) = input;
    let offered = parse(list);
    let wish = |name: &str| Control { name: name.to_owned(), value: value.to_owned() };
    let wanted: Vec<_> = offered.iter().map(|offered| wish(&offered.name)).collect();
    let (settled, told) = settle(&wanted, &offered);
    assert_eq!(settled.len() + told.len(), wanted.len());
    assert!(settled.iter().all(|control| control.value.parse::<i32>().is_ok()));
});
