//! The connected viewers of a stream, as status pages list them.

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
pub(super) struct ClientList(Arc<Lock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next_number: u64,
    clients: BTreeMap<u64, Client>,
}

/// One entry of the list; dropping it removes the viewer.
#[derive(Debug)]
pub(super) struct ListEntry {
    list: ClientList,
    number: u64,
}

impl ClientList {
    pub(super) fn add(&self, client: Client) -> ListEntry {
        let mut inner = self.0.lock();
        let number = inner.next_number;
        inner.next_number += 1;
        inner.clients.insert(number, client);
        ListEntry { list: self.clone(), number }
    }

    /// In the order of their arrival.
    pub(super) fn clients(&self) -> Vec<Client> {
        self.0.lock().clients.values().copied().collect()
    }
}

impl Drop for ListEntry {
    fn drop(&mut self) {
        self.list.0.lock().clients.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time;

    #[test]
    fn viewers_are_listed_until_they_leave() {
        let list = ClientList::default();
        let since = time::now();
        let client = |last| Client { address: [192, 168, 1, last].into(), way: "mp4", since };
        let (first, second) = (client(1), client(2));
        let entry = list.add(first);
        let _other = list.add(second);
        assert_eq!(list.clients(), [first, second]);
        drop(entry);
        assert_eq!(list.clients(), [second]);
    }
}
