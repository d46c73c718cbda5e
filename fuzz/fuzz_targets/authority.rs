//! `Host` headers of arbitrary text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::base::authority::Authority;

fuzz_target!(|text: &str| {
    if let Some(authority) = Authority::parse(text) {
        assert!(authority.is_same(&authority, 80));
        assert!(!text.contains('@'));
    }
});
