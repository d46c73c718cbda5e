//! Who reads a stream: for the pages that may show it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::base::lock::Lock;

/// One viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// `mp4`, `h264`, `rtsp`.
    pub way: &'static str,
    pub since: Instant,
}

/// The viewers of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Audience(Arc<Lock<Seats>>);

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Client>,
}

/// A viewer's place, as long as it is held.
#[derive(Debug)]
pub(super) struct Seat {
    audience: Audience,
    number: u64,
}

impl Audience {
    pub(super) fn seat(&self, client: Client) -> Seat {
        let mut seats = self.0.lock();
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, client);
        Seat { audience: self.clone(), number }
    }

    /// In the order in which they came.
    pub(super) fn clients(&self) -> Vec<Client> {
        self.0.lock().taken.values().copied().collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.audience.0.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_not_listed_any_more() {
        let audience = Audience::default();
        let since = tokio::time::Instant::now().into_std();
        let client = |last| Client { address: [192, 168, 1, last].into(), way: "mp4", since };
        let (first, second) = (client(1), client(2));
        let seat = audience.seat(first);
        let _other = audience.seat(second);
        assert_eq!(audience.clients(), [first, second]);
        drop(seat);
        assert_eq!(audience.clients(), [second]);
    }
}
