//! The service behind all servers: the topology in force, and the operations of
//! operators.
//!
//! Servers call this folder and decide nothing themselves.

pub mod announce;
pub mod control;
mod figures;
pub mod first_push;
pub mod operations;
pub mod probation;
pub mod push_gate;
pub mod reloads;
mod saved;
mod snapshot;
pub mod topology;

use std::sync::Arc;

use tokio::sync::watch;

use self::reloads::Reloads;
use self::topology::Topology;
use crate::base::disk::Folders;
use crate::outputs::mjpeg::Mjpegs;
use crate::outputs::picture::Pictures;
use crate::outputs::recordings::Recordings;

pub use figures::Figures;

/// What servers read and the operations of operators (`operations`).
#[derive(Debug)]
pub struct Service {
    topology: watch::Receiver<Arc<Topology>>,
    /// `None` if there is no folder for them.
    recordings: Option<Arc<Recordings>>,
    reloads: Reloads,
    pub pictures: Pictures,
    pub mjpegs: Mjpegs,
    /// The resources that the process and the machine use.
    pub figures: Figures,
    /// The folders whose problems are shown.
    folders: Folders,
}

impl Service {
    /// `topology` holds the topology in force; a reload sends the next one.
    pub fn new(
        topology: watch::Receiver<Arc<Topology>>,
        reloads: Reloads,
        recordings: Option<Arc<Recordings>>,
        folders: Folders,
    ) -> Self {
        let (pictures, mjpegs) = (Pictures::default(), Mjpegs::default());
        let figures = Figures::new();
        Self { topology, recordings, reloads, pictures, mjpegs, figures, folders }
    }

    /// The topology in force.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// Whether there is a folder for recordings.
    pub fn may_record(&self) -> bool {
        self.recordings.is_some()
    }
}
