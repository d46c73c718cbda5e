//! What programs say and command lines of arbitrary text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::base::scrub;

fuzz_target!(|data: &[u8]| {
    let mut lines = scrub::Lines::default();
    lines.push(data);
    lines.finish();
    let text = String::from_utf8_lossy(data);
    scrub::command(text.split('\0'));
});
