//! The topology: all feeds, streams and pushes of the configuration in force.
//!
//! A topology is immutable. A reload creates the next one, which shares everything
//! that has not changed. Holders of the old one may keep it as long as they need.

use std::sync::Arc;

use futures_util::future::join_all;
use log::warn;
use tokio::task::JoinHandle;

use super::livebox::{Livebox, default_push};
use super::saved;
use crate::accounts::Authenticator;
use crate::base::time::now;
use crate::config::diff::{Diff, Fate};
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
    /// `None` if livebox encodes no stream.
    pub livebox: Option<Arc<Livebox>>,
    /// Checks the passwords.
    pub authenticator: Authenticator,
    /// The configuration without secrets.
    pub config_text: String,
    /// Units that were rolled back since the last reload.
    pub rolled_back: Vec<RolledBack>,
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
        let (pushes, livebox, state_file) = (Vec::new(), None, Arc::new(state_file));
        let authenticator = Authenticator::new(settings.access.clone());
        let mut topology = Self {
            settings: Arc::new(settings),
            authenticator,
            registry,
            bytes,
            pushes,
            livebox,
            config_text,
            rolled_back: Vec::new(),
            state_file,
            pipelines,
        };
        tasks.extend(topology.begin_pushes(None, &diff).await);
        (topology, tasks)
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
        let keeps_livebox = self.keeps_livebox(&settings, &diff);
        if let Some(livebox) = self.livebox.as_ref().filter(|_| !keeps_livebox) {
            livebox.retire().await;
        }
        let ends = |push: &&Arc<Push>| !diff.pushes.continues(push.name());
        let ended = self.pushes.iter().filter(ends).map(|push| push.supervisor().end());
        join_all(ended).await;
        let (bytes, mut tasks) = self.bytes.next(&settings, &diff).await;
        let (registry, registry_tasks) = self.registry.next(&settings, &bytes, &diff).await;
        tasks.extend(registry_tasks);
        let state_file = Arc::clone(&self.state_file);
        let (pushes, livebox) = match keeps_livebox {
            true => (self.pushes.clone(), self.livebox.clone()),
            false => (Vec::new(), None),
        };
        let authenticator = self.authenticator.with_access(settings.access.clone());
        let mut next = Self {
            settings: Arc::new(settings),
            authenticator,
            registry,
            bytes,
            pushes,
            livebox,
            config_text,
            rolled_back,
            state_file,
            pipelines: Arc::clone(&self.pipelines),
        };
        if !keeps_livebox {
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
    fn keeps_livebox(&self, settings: &Settings, diff: &Diff) -> bool {
        let first = |settings: &Settings| settings.streams.first().map(|one| one.name.clone());
        let (before, after) = (first(&self.settings), first(settings));
        let continues = after.as_ref().is_none_or(|first| diff.streams.continues(first));
        before == after && continues && diff.pushes.is_empty()
    }

    /// Creates the pushes and the `Livebox`, and starts the wanted pushes.
    async fn begin_pushes(&mut self, before: Option<&Self>, diff: &Diff) -> Vec<JoinHandle<()>> {
        let Some(first) = self.settings.streams.first() else {
            // Without encoded streams there are no pushes.
            return Vec::new();
        };
        let first = first.name.clone();
        let mut tasks = Vec::new();
        let mut next_pushes = Vec::new();
        let count = self.settings.pushes.len() as f64;
        for (index, settings) in self.settings.pushes.iter().enumerate() {
            let present = before.and_then(|before| before.push(settings.name.as_str()));
            let (push, wanted) = match (diff.pushes.fate(&settings.name), present) {
                (Some(Fate::Kept), Some(present)) => (Arc::clone(present), present.is_wanted()),
                (Some(Fate::Adjusted), Some(present)) => {
                    (present.with_settings(settings), self.is_wanted(settings, Some(present)).await)
                }
                (Some(_) | None, present) => {
                    let wanted = self.is_wanted(settings, present).await;
                    let stream = self.registry.find(&settings.stream);
                    let stream = stream.expect("the check refuses a push without its stream");
                    let spread = index as f64 / count;
                    let (push, task) = Push::spawn(settings, stream, &*self.pipelines, spread);
                    tasks.push(task);
                    (push, wanted)
                }
            };
            next_pushes.push(NextPush { push, wanted });
        }
        let own = next_pushes.iter().find(|next| next.push.settings().stream == first);
        let own = Arc::clone(&own.expect("the settings have a push of the first stream").push);
        let stream = Arc::clone(self.registry.first().expect("there is a first stream"));
        let before = before.and_then(|before| before.livebox.as_deref());
        let state_file = Arc::clone(&self.state_file);
        let livebox = Livebox::new(stream, own, &self.settings, state_file, before).await;
        livebox.apply().await;
        for NextPush { push, wanted } in &next_pushes {
            match (wanted, push.is_wanted()) {
                (true, false) => {
                    if let Err(why) = livebox.resume(push, now()).await {
                        warn!("cannot start push {}: {why}", push.name());
                    }
                }
                (false, true) => push.stop(),
                (true, true) | (false, false) => {}
            }
        }
        self.pushes = next_pushes.into_iter().map(|next| next.push).collect();
        self.livebox = Some(Arc::new(livebox));
        tasks
    }

    /// Whether a push is wanted: as it is, unless its `start` has changed; then as
    /// saved or configured.
    async fn is_wanted(&self, push: &settings::Push, present: Option<&Arc<Push>>) -> bool {
        match present {
            Some(present) if present.settings().start == push.start => present.is_wanted(),
            Some(_) | None => saved::is_push_wanted(&self.state_file, push).await,
        }
    }

    pub fn state_file(&self) -> Arc<StateFile> {
        Arc::clone(&self.state_file)
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
