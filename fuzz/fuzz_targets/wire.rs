//! What a pipeline host that was taken over may send.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::wire::{Decoder, FromHost};

fuzz_target!(|pieces: Vec<&[u8]>| {
    let mut decoder = Decoder::<FromHost>::default();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.decode() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
