//! AudioSpecificConfigs of arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::media::aac::parse_config;
use livebox::media::fmp4::init_segment;
use livebox::model::track::Tracks;

fuzz_target!(|data: &[u8]| {
    if let Ok(info) = parse_config(data) {
        assert!(info.rate > 0 && (1..=8).contains(&info.channels));
        init_segment(&Tracks { video: None, audio: Some(info) });
    }
});
