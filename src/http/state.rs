//! The state that all handlers share.

use std::sync::Arc;

use tokio::sync::watch;

use super::table::Table;
use crate::http::pages::flash::FlashMessages;
use crate::service::Service;
use crate::service::topology::Topology;

/// The service, and the paths at which this server answers.
#[derive(Debug)]
pub struct State {
    pub(super) service: Arc<Service>,
    /// Makes the paths of a topology.
    to_table: fn(&Topology) -> Table,
    /// Read once per request, so that a request sees one topology.
    current: watch::Sender<Arc<Current>>,
    pub(super) flash_messages: FlashMessages,
}

/// The topology in force, and the paths of its streams and pages.
#[derive(Debug)]
pub(super) struct Current {
    pub topology: Arc<Topology>,
    pub table: Table,
}

impl State {
    pub(super) fn new(service: Arc<Service>, to_table: fn(&Topology) -> Table) -> Self {
        let current = watch::Sender::new(Current::new(service.topology(), to_table));
        Self { service, to_table, current, flash_messages: FlashMessages::new() }
    }

    /// Uses another topology for all requests from now on.
    pub fn set_topology(&self, topology: Arc<Topology>) {
        self.current.send_replace(Current::new(topology, self.to_table));
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    /// The topology in force.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.current.borrow().topology)
    }
}

impl Current {
    fn new(topology: Arc<Topology>, to_table: fn(&Topology) -> Table) -> Arc<Self> {
        let table = to_table(&topology);
        Arc::new(Self { topology, table })
    }
}
