//! What a pipeline host that was taken over may send, of each kind of job.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::wire::job::{CheckElements, Extract, Family, JobKind, Mjpeg, Picture, Push};
use livebox::wire::{Decoder, FromHost};

fuzz_target!(|pieces: Vec<&[u8]>| {
    decode::<Family>(&pieces);
    decode::<Push>(&pieces);
    decode::<Mjpeg>(&pieces);
    decode::<Picture>(&pieces);
    decode::<Extract>(&pieces);
    decode::<CheckElements>(&pieces);
});

fn decode<J: JobKind>(pieces: &[&[u8]]) {
    let mut decoder = Decoder::<FromHost<J::Answer>>::default();
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
}
