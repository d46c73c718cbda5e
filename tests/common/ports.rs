//! Free loopback ports for servers that the tests start.
//!
//! They lie below the range from which the kernel serves outgoing connections,
//! and each test process begins in a row of its own, so that neither a client
//! nor a test running beside takes one between the choice and its use.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const ROWS: u32 = 700;
const ROW_LENGTH: u32 = 30;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Returns a port on which nothing listens.
pub fn free() -> u16 {
    let begin = (std::process::id() % ROWS) * ROW_LENGTH;
    for _ in 0..ROWS * ROW_LENGTH {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (begin + step) % (ROWS * ROW_LENGTH))
            .expect("the range ends below 65536");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + ROWS * ROW_LENGTH);
}
