//! NAL units and parameter sets of arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::media::h264::{nal_units, parse_sps};

fuzz_target!(|data: &[u8]| {
    for nal in nal_units(data) {
        assert!(!nal.is_empty() && nal.last() != Some(&0));
        parse_sps(nal).ok();
    }
    if let Ok(sps) = parse_sps(data) {
        assert!((1..=16_384).contains(&sps.width) && (1..=16_384).contains(&sps.height));
    }
});
