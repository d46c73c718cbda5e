//! The topology: all feeds, streams and pushes of the configuration in force.
//!
//! A topology is immutable. A reload creates the next one, which shares everything
//! that has not changed. Holders of the old one may keep it as long as they need.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use log::warn;
use tokio::task::JoinHandle;

use super::control::Control;
use super::first_push::{FirstPush, default_push};
use super::push_gate::{PushError, PushGate};
use super::saved::{SavedControl, SavedPushes};
use crate::accounts::Authenticator;
use crate::base::time::now;
use crate::config::diff::{Diff, Outcome};
use crate::config::settings::{self, Settings};
use crate::engine::process::{PipelineFactory, bytes};
use crate::engine::registry::Registry;
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::model::status::RolledBack;
use crate::outputs::push::Push;
use crate::outputs::recordings::{Recordable, Source};
use crate::store::state_file::StateFile;

/// All feeds, streams and pushes of one configuration.
#[derive(Debug)]
pub struct Topology {
    /// The settings in force, with a push for the first stream.
    pub settings: Arc<Settings>,
    pub registry: Registry,
    pub bytes: bytes::Registry,
    pub pushes: Vec<Arc<Push>>,
    /// Starts and stops the pushes.
    pub push_gate: Arc<PushGate>,
    /// `None` if livebox encodes no stream.
    pub first_push: Option<Arc<FirstPush>>,
    /// Checks the passwords.
    pub authenticator: Authenticator,
    /// The configuration without secrets.
    pub config_text: String,
    /// Units that were rolled back since the last reload.
    pub rolled_back: Vec<RolledBack>,
    lasting: Lasting,
}

/// The feeds and streams of a topology.
struct Units {
    registry: Registry,
    bytes: bytes::Registry,
}

/// What all topologies of the service share.
#[derive(Clone, Debug)]
struct Lasting {
    state_file: Arc<StateFile>,
    pipelines: Arc<dyn PipelineFactory>,
}

/// A push of the next topology, and whether it is wanted.
struct NextPush {
    push: Arc<Push>,
    wanted: bool,
}

impl Topology {
    /// Starts all units and the wanted pushes; must be called on a runtime. The
    /// returned tasks end when the topology is dropped.
    pub async fn new(
        settings: Settings,
        config_text: String,
        state_file: StateFile,
        pipelines: Arc<dyn PipelineFactory>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let settings = with_first_push(settings);
        let (bytes, mut tasks) = bytes::Registry::new(&settings, Arc::clone(&pipelines));
        let (registry, registry_tasks) = Registry::new(&settings, &bytes, Arc::clone(&pipelines));
        tasks.extend(registry_tasks);
        let diff = Diff::initial(&settings);
        let authenticator = Authenticator::new(settings.access.clone());
        let (units, lasting) =
            (Units { registry, bytes }, Lasting { state_file: Arc::new(state_file), pipelines });
        let mut topology =
            Self::without_pushes(settings, config_text, units, authenticator, lasting);
        tasks.extend(topology.begin_pushes(None, &diff).await);
        (topology, tasks)
    }

    fn without_pushes(
        settings: Settings,
        config_text: String,
        Units { registry, bytes }: Units,
        authenticator: Authenticator,
        lasting: Lasting,
    ) -> Self {
        let saved = SavedPushes::new(Arc::clone(&lasting.state_file));
        Self {
            settings: Arc::new(settings),
            registry,
            bytes,
            pushes: Vec::new(),
            push_gate: Arc::new(PushGate::new(saved)),
            first_push: None,
            authenticator,
            config_text,
            rolled_back: Vec::new(),
            lasting,
        }
    }

    /// The difference to other settings.
    pub fn diff(&self, settings: &Settings) -> Diff {
        let settings = with_first_push(settings.clone());
        Diff::between(&self.settings, &self.registry.shared_names(), &settings)
    }

    /// The topology of other settings, and the tasks of its new units. Returns when
    /// all removed and changed units have ended; viewers of removed streams stay
    /// until [`Topology::disconnect_removed`].
    pub async fn next(
        &self,
        settings: Settings,
        config_text: String,
        rolled_back: Vec<RolledBack>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let settings = with_first_push(settings);
        let diff = self.diff(&settings);
        let keeps_pushes = self.keeps_pushes(&settings, &diff);
        if !keeps_pushes {
            self.push_gate.close().await;
        }
        let ends = |push: &&Arc<Push>| !diff.pushes.continues(push.name());
        let ended = self.pushes.iter().filter(ends).map(|push| push.supervisor().end());
        join_all(ended).await;
        let (bytes, mut tasks) = self.bytes.next(&settings, &diff).await;
        let (registry, registry_tasks) = self.registry.next(&settings, &bytes, &diff).await;
        tasks.extend(registry_tasks);
        let authenticator = self.authenticator.with_access(settings.access.clone());
        let (units, lasting) = (Units { registry, bytes }, self.lasting.clone());
        let mut next = Self::without_pushes(settings, config_text, units, authenticator, lasting);
        next.rolled_back = rolled_back;
        if keeps_pushes {
            next.pushes = self.pushes.clone();
            next.push_gate = Arc::clone(&self.push_gate);
            next.first_push = self.first_push.clone();
        } else {
            tasks.extend(next.begin_pushes(Some(self), &diff).await);
        }
        (next, tasks)
    }

    /// Disconnects the viewers of streams that are not in `next`.
    pub fn disconnect_removed(&self, next: &Self, diff: &Diff) {
        self.registry.disconnect_removed(diff);
        self.bytes.disconnect_removed(&next.bytes);
    }

    /// Whether the first stream and all pushes are unchanged.
    fn keeps_pushes(&self, settings: &Settings, diff: &Diff) -> bool {
        let first = |settings: &Settings| settings.streams.first().map(|one| one.name.clone());
        let (before, after) = (first(&self.settings), first(settings));
        let continues = after.as_ref().is_none_or(|first| diff.streams.continues(first));
        before == after && continues && diff.pushes.is_empty()
    }

    /// Creates the pushes, and starts the wanted ones.
    async fn begin_pushes(&mut self, before: Option<&Self>, diff: &Diff) -> Vec<JoinHandle<()>> {
        let Some(first) = self.settings.streams.first() else {
            // Without encoded streams there are no pushes.
            return Vec::new();
        };
        let first = first.name.clone();
        let (next_pushes, tasks) = self.next_pushes(before, diff).await;
        self.pushes = next_pushes.iter().map(|next| Arc::clone(&next.push)).collect();
        let own = self.pushes.iter().find(|push| push.settings().stream == first);
        let own = own.expect("the settings have a push of the first stream");
        let first_push = self.begin_first_push(own, before).await;
        first_push.apply().await;
        self.first_push = Some(Arc::new(first_push));
        for NextPush { push, wanted } in &next_pushes {
            match (wanted, push.is_wanted()) {
                (true, false) => {
                    if let Err(why) = self.resume_push(push, now()).await {
                        warn!("cannot start push {}: {why}", push.name());
                    }
                }
                (false, true) => push.stop(),
                (true, true) | (false, false) => {}
            }
        }
        tasks
    }

    /// The pushes of the settings: those of `before` that continue, and new ones with
    /// their tasks.
    async fn next_pushes(
        &self,
        before: Option<&Self>,
        diff: &Diff,
    ) -> (Vec<NextPush>, Vec<JoinHandle<()>>) {
        let (mut pushes, mut tasks) = (Vec::new(), Vec::new());
        let count = self.settings.pushes.len() as f64;
        for (index, settings) in self.settings.pushes.iter().enumerate() {
            let present = before.and_then(|before| before.push(settings.name.as_str()));
            let (push, wanted) = match (diff.pushes.outcome(&settings.name), present) {
                (Some(Outcome::Kept), Some(present)) => (Arc::clone(present), present.is_wanted()),
                (Some(Outcome::Adjusted), Some(present)) => {
                    (present.with_settings(settings), self.is_wanted(settings, Some(present)).await)
                }
                (Some(_) | None, present) => {
                    let wanted = self.is_wanted(settings, present).await;
                    let stream = self.registry.find(&settings.stream);
                    let stream = stream.expect("the check refuses a push without its stream");
                    let spread = index as f64 / count;
                    let (push, task) =
                        Push::spawn(settings, stream, &*self.lasting.pipelines, spread);
                    tasks.push(task);
                    (push, wanted)
                }
            };
            pushes.push(NextPush { push, wanted });
        }
        (pushes, tasks)
    }

    async fn begin_first_push(&self, push: &Arc<Push>, before: Option<&Self>) -> FirstPush {
        let stream = Arc::clone(self.registry.first().expect("there is a first stream"));
        let configured = Control::from_settings(&self.settings, push.settings());
        let saved = SavedControl::new(Arc::clone(&self.lasting.state_file), configured);
        let before = before.and_then(|before| before.first_push.as_deref());
        let gate = Arc::clone(&self.push_gate);
        FirstPush::new(stream, Arc::clone(push), gate, saved, before).await
    }

    /// Starts a push, that of the first stream with its control data, and saves that it is
    /// wanted.
    ///
    /// # Errors
    /// It is running, or has no destination.
    pub async fn start_push(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        match self.controlled(push) {
            Some(first) => first.start(now).await,
            None => self.push_gate.start(push, now).await,
        }
    }

    /// As [`Topology::start_push`], for a push that is saved as wanted already.
    async fn resume_push(&self, push: &Push, now: Instant) -> Result<(), PushError> {
        match self.controlled(push) {
            Some(first) => first.resume(now).await,
            None => self.push_gate.resume(push, now).await,
        }
    }

    /// The first stream's push, if `push` is that one.
    fn controlled(&self, push: &Push) -> Option<&FirstPush> {
        self.first_push.as_deref().filter(|first| first.name() == push.name())
    }

    /// Whether a push is wanted: as it is, unless its `start` has changed; then as
    /// saved or configured.
    async fn is_wanted(&self, push: &settings::Push, present: Option<&Arc<Push>>) -> bool {
        match present {
            Some(present) if present.settings().start == push.start => present.is_wanted(),
            Some(_) | None => {
                SavedPushes::new(Arc::clone(&self.lasting.state_file)).is_wanted(push).await
            }
        }
    }

    pub fn state_file(&self) -> Arc<StateFile> {
        Arc::clone(&self.lasting.state_file)
    }

    /// The streams that can be recorded, with their schedules.
    pub fn recordable(&self) -> Vec<Recordable> {
        let settings = &self.settings;
        let tracks = settings.streams.iter().filter_map(|stream| {
            let source = Source::Tracks(Arc::clone(self.registry.find(&stream.name)?.hub()));
            Some(Recordable { name: stream.name.clone(), plan: stream.record.clone(), source })
        });
        // The response to a single request cannot be recorded.
        let is_continuous =
            |stream: &&settings::ByteStream| stream.client != settings::Client::Shot;
        let bytes = settings.byte_streams.iter().filter(is_continuous).filter_map(|stream| {
            let source = Source::Bytes(Arc::clone(self.bytes.find(&stream.name)?));
            Some(Recordable { name: stream.name.clone(), plan: stream.record.clone(), source })
        });
        tracks.chain(bytes).collect()
    }

    /// The push of this name.
    pub fn push(&self, name: &str) -> Option<&Arc<Push>> {
        self.pushes.iter().find(|push| push.name().as_str() == name)
    }

    /// All units except for pushes.
    pub fn units(&self) -> Vec<Unit> {
        self.registry.units().chain(self.bytes.units()).collect()
    }

    /// The supervisors of all feeds, streams and pushes.
    pub fn supervisors(&self) -> Vec<Supervisor> {
        let push_supervisors = self.pushes.iter().map(|push| push.supervisor());
        self.registry
            .supervisors()
            .chain(self.bytes.supervisors())
            .chain(push_supervisors)
            .cloned()
            .collect()
    }
}

/// The settings, with a push for the first stream added if there is none.
fn with_first_push(mut settings: Settings) -> Settings {
    if let Some(first) = settings.streams.first()
        && !settings.pushes.iter().any(|push| push.stream == first.name)
    {
        settings.pushes.push(default_push(first));
    }
    settings
}
