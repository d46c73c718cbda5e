//! Any text as a configuration, in YAML with its templates or as fmp4streamer
//! has it: settings that hold together, or problems.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::config::parse_text;

fuzz_target!(|text: &str| match parse_text(text) {
    Ok(settings) => {
        assert!(!settings.streams.is_empty() || !settings.byte_streams.is_empty());
        for stream in &settings.streams {
            assert_eq!(settings.feed_of(stream).name, stream.feed);
        }
    }
    Err(problems) => {
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')));
    }
});
