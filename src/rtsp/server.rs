//! What all connections of the RTSP server share.

use std::net::IpAddr;
use std::sync::Arc;

use log::{info, warn};
use tokio::sync::watch;

use super::datagrams::AllPorts;
use super::groups::{Group, Groups};
use crate::accounts::Scope;
use crate::base::incident;
use crate::base::slots::Slots;
use crate::base::time::now;
use crate::config::settings::Login;
use crate::engine::registry::Stream;
use crate::service::topology::Topology;

/// State shared by all connections.
#[derive(Debug)]
pub(super) struct RtspServer {
    pub(super) topology: watch::Receiver<Arc<Topology>>,
    pub(super) ports: AllPorts,
    pub(super) groups: Groups,
    pub(super) slots: Arc<Slots>,
    pub(super) malformed: incident::Shared,
    pub(super) refused: incident::Shared,
}

impl RtspServer {
    /// The current topology.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// The stream with the longest URL that is a prefix of `path`, and the rest
    /// of `path`.
    pub(super) fn find<'a>(&self, path: &'a str) -> Option<(Arc<Stream>, &'a str)> {
        let topology = self.topology();
        let below = |stream: &Arc<Stream>| {
            let rest = path.strip_prefix(stream.url())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (Arc::clone(stream), rest))
        };
        let found = topology.registry.streams().iter().filter_map(below);
        found.min_by_key(|(_, rest)| rest.len())
    }

    /// The scope of the stream at `path`, if it has a password of its own.
    pub(super) fn scope_at(&self, path: &str) -> Option<Scope> {
        let (stream, _) = self.find(path)?;
        self.scope(&stream)
    }

    /// The scope of `stream`, if it has a password of its own.
    pub(super) fn scope(&self, stream: &Stream) -> Option<Scope> {
        let scope = Scope::Stream(stream.hub().name().clone());
        self.topology().authenticator.requires_password(&scope).then_some(scope)
    }

    /// The user name and password that viewers must send, if configured.
    pub(super) fn login(&self) -> Option<Login> {
        self.topology().settings.rtsp.as_ref()?.login.clone()
    }

    pub(super) fn log_refused(&self, from: IpAddr) {
        let (count, from) = (self.refused.add(now()), from.to_canonical());
        if let Some(count) = count {
            warn!("RTSP: too many connections: {count} refused, the last from {from}");
        }
    }

    pub(super) fn log_malformed(&self, from: IpAddr) {
        if let Some(count) = self.malformed.add(now()) {
            info!("RTSP: malformed requests: {count}, the last from {from}");
        }
    }

    pub(super) fn allows_multicast(&self) -> bool {
        self.topology().settings.rtsp.as_ref().is_some_and(|rtsp| rtsp.multicast)
    }

    /// The multicast group of `stream` on the network of `interface`.
    pub(super) fn group(&self, stream: &Arc<Stream>, interface: IpAddr) -> Option<Arc<Group>> {
        let is_same = |other: &Arc<Stream>| other.hub().name() == stream.hub().name();
        let index = self.topology().registry.streams().iter().position(is_same)?;
        self.groups.get(stream, index, interface)
    }
}
