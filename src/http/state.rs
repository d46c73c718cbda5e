//! What handlers share.

use std::sync::Arc;

use tokio::sync::watch;

use super::routes;
use super::table::Table;
use crate::http::pages::dashboard::FlashMessages;
use crate::service::Service;
use crate::service::topology::Topology;

/// The service, and the paths at which this server shows it.
#[derive(Debug)]
pub struct State {
    pub(super) service: Arc<Service>,
    /// Handlers take it once for each request.
    present: watch::Sender<Arc<Present>>,
    pub(super) flash_messages: FlashMessages,
}

/// The topology in force, and the paths of its streams and pages.
#[derive(Debug)]
pub(super) struct Present {
    pub topology: Arc<Topology>,
    pub table: Table,
}

impl State {
    pub fn new(service: Arc<Service>) -> Self {
        let present = watch::Sender::new(Present::new(service.topology()));
        Self { service, present, flash_messages: FlashMessages::new() }
    }

    /// Answers with another topology from now on.
    pub fn show(&self, topology: Arc<Topology>) {
        self.present.send_replace(Present::new(topology));
    }

    pub(super) fn present(&self) -> Arc<Present> {
        Arc::clone(&self.present.borrow())
    }

    /// The topology in force.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.present.borrow().topology)
    }
}

impl Present {
    fn new(topology: Arc<Topology>) -> Arc<Self> {
        let table = routes::table(&topology);
        Arc::new(Self { topology, table })
    }
}
