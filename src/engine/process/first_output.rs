//! The first output of a run that gives bytes.

use tokio::sync::mpsc;

use crate::engine::supervise::lifecycle::{Event, Run};
use crate::hub::bytes::Need;

/// Reports the first output of a run to the supervisor, once.
#[derive(Debug)]
pub(in crate::engine) struct FirstOutput {
    run: Run,
    events: mpsc::Sender<Event>,
    is_reported: bool,
    /// Keeps the feed running until the first output, as viewers do only after it.
    need: Option<Need>,
}

impl FirstOutput {
    pub(in crate::engine) fn new(
        run: Run,
        events: mpsc::Sender<Event>,
        need: Option<Need>,
    ) -> Self {
        Self { run, events, is_reported: false, need }
    }

    pub(in crate::engine) fn report(&mut self) {
        if !self.is_reported {
            self.is_reported = true;
            self.need = None;
            self.events.try_send(Event::FirstOutput(self.run)).ok();
        }
    }
}
