//! The reader of one viewer, on the viewer's worker thread.

use actix_web::HttpRequest;
use bytes::Bytes;

use super::notifier::{Notifier, Notifiers, Subscription};
use super::viewer::Continue;
use crate::http::listen::connection::Connection;
use crate::hub::{Read, Reader};

/// Reads a track stream at the viewer's speed; ends if the viewer is too slow.
pub(super) struct Following {
    reader: Reader,
    subscription: Subscription,
}

impl Following {
    pub(super) fn new(reader: Reader, request: &HttpRequest) -> Self {
        let notifiers = request.app_data::<Notifiers>().expect("every worker has its notifiers");
        let notifier = notifiers.get(reader.stream());
        let connection = Connection::from_request(request);
        Self { reader, subscription: Notifier::subscribe(&notifier, connection) }
    }

    /// The next piece; `None` if it has not come yet, `End` also if the viewer
    /// must be closed.
    pub(super) fn try_next(&mut self) -> Option<Read> {
        let read = self.reader.try_next();
        self.subscription.set_position(self.reader.position());
        match read {
            Some(Read::Skipped(_)) if self.subscription.fell_behind() == Continue::End => {
                Some(Read::End)
            }
            Some(read) => Some(read),
            None => {
                self.subscription.caught_up();
                None
            }
        }
    }

    /// Notifies of new pieces.
    pub(super) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Counts `bytes` as sent to a viewer.
    pub(super) fn count(&self, bytes: &Bytes) {
        self.reader.stream().count_bytes_out(bytes.len());
    }
}
