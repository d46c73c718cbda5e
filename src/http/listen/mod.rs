//! Listening: from the socket to the first request, and the connection around each request.

pub(super) mod accept;
pub(super) mod ambiguity;
pub(super) mod connection;
pub(super) mod exchange;
pub(super) mod head;
pub(super) mod journal;
pub(super) mod plain;
pub(super) mod server;
pub(super) mod transport;
