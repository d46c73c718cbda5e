//! Containers of arbitrary bytes, in pieces of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livebox::media::container::{Container, Scan};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, size, data) = input;
    let container = match kind % 6 {
        0 => Some(Container::Ts),
        1 => Some(Container::Mp4),
        2 => Some(Container::Webm),
        3 => Some(Container::Flv),
        4 => Some(Container::Wav),
        _ => None,
    };
    let mut whole = Scan::new(container);
    whole.push(data);
    let mut pieces = Scan::new(container);
    for piece in data.chunks(usize::from(size) + 1) {
        pieces.push(piece);
    }
    assert_eq!(whole.marks(), pieces.marks());
    let places = [whole.marks().edge, whole.marks().key];
    assert!(places.iter().flatten().all(|place| *place < data.len() as u64));
});
