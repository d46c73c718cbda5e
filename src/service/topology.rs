//! What the configuration in force has made: streams, pushes, the box around
//! the first of them.
//!
//! A topology never changes. A reload makes another one, which shares with it
//! whatever stays the same; who has taken one keeps it for as long as it needs.

use std::sync::Arc;

use futures_util::future::join_all;
use log::warn;
use tokio::task::JoinHandle;

use super::livebox::{Livebox, spare_push};
use super::saved;
use crate::accounts::Authenticator;
use crate::base::time::now;
use crate::config::diff::{Diff, Fate};
use crate::config::settings::{self, Settings};
use crate::engine::process::bytes;
use crate::engine::registry::Registry;
use crate::engine::supervise::supervisor::Supervisor;
use crate::engine::supervise::unit::Unit;
use crate::model::status::RolledBack;
use crate::outputs::push::Push;
use crate::outputs::recordings::{Recordable, Source};
use crate::store::state_file::StateFile;

/// See the module's description.
#[derive(Debug)]
pub struct Topology {
    /// The settings in force, with the push of the box among them.
    pub settings: Arc<Settings>,
    pub registry: Registry,
    pub bytes: bytes::Registry,
    pub pushes: Vec<Arc<Push>>,
    /// Absent where livebox encodes nothing.
    pub livebox: Option<Arc<Livebox>>,
    /// Knows the passwords.
    pub authenticator: Authenticator,
    /// The configuration as it may be shown.
    pub config_text: String,
    /// Since the configuration was read last.
    pub rolled_back: Vec<RolledBack>,
    state_file: Arc<StateFile>,
}

/// What operators want of a push that was just made, or adjusted.
struct Wish {
    push: Arc<Push>,
    wanted: bool,
}

impl Topology {
    /// Starts everything; must be called on a runtime. The tasks end when the
    /// topology is dropped. What operators left running runs.
    pub async fn new(
        settings: Settings,
        config_text: String,
        state_file: StateFile,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let settings = with_own_push(settings);
        let (bytes, mut tasks) = bytes::Registry::new(&settings);
        let (registry, of_tracks) = Registry::new(&settings, &bytes);
        tasks.extend(of_tracks);
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
        };
        tasks.extend(topology.begin_pushes(None, &diff).await);
        (topology, tasks)
    }

    /// What changes under other settings.
    pub fn diff(&self, settings: &Settings) -> Diff {
        let settings = with_own_push(settings.clone());
        Diff::between(&self.settings, &self.registry.shared_names(), &settings)
    }

    /// The topology under other settings, with the tasks of what is new in it.
    /// Returns once everything has ended that ends, except for those who watch
    /// what is gone: [`Topology::let_go`].
    pub async fn next(
        &self,
        settings: Settings,
        config_text: String,
        rolled_back: Vec<RolledBack>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let settings = with_own_push(settings);
        let diff = self.diff(&settings);
        let keeps_livebox = self.keeps_livebox(&settings, &diff);
        if let Some(livebox) = self.livebox.as_ref().filter(|_| !keeps_livebox) {
            livebox.retire().await;
        }
        let ends = |push: &&Arc<Push>| !diff.pushes.continues(push.name());
        let ended = self.pushes.iter().filter(ends).map(|push| push.supervisor().end());
        join_all(ended).await;
        let (bytes, mut tasks) = self.bytes.next(&settings, &diff).await;
        let (registry, of_tracks) = self.registry.next(&settings, &bytes, &diff).await;
        tasks.extend(of_tracks);
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
        };
        if !keeps_livebox {
            tasks.extend(next.begin_pushes(Some(self), &diff).await);
        }
        (next, tasks)
    }

    /// Lets those go who watch what is not in `next`.
    pub fn let_go(&self, next: &Self, diff: &Diff) {
        self.registry.disconnect_removed(diff);
        self.bytes.disconnect_removed(&next.bytes);
    }

    /// Whether everything that the box as one thing is made of goes on.
    fn keeps_livebox(&self, settings: &Settings, diff: &Diff) -> bool {
        let first = |settings: &Settings| settings.streams.first().map(|one| one.name.clone());
        let (before, after) = (first(&self.settings), first(settings));
        let continues = after.as_ref().is_none_or(|first| diff.streams.continues(first));
        before == after && continues && diff.pushes.is_empty()
    }

    /// Makes the pushes and the box, and starts what is wanted of them.
    async fn begin_pushes(&mut self, before: Option<&Self>, diff: &Diff) -> Vec<JoinHandle<()>> {
        let Some(first) = self.settings.streams.first() else {
            // Nothing is encoded, so that nothing can be pushed.
            return Vec::new();
        };
        let first = first.name.clone();
        let mut tasks = Vec::new();
        let mut wishes = Vec::new();
        let count = self.settings.pushes.len() as f64;
        for (index, settings) in self.settings.pushes.iter().enumerate() {
            let present = before.and_then(|before| before.push(settings.name.as_str()));
            let (push, wanted) = match (diff.pushes.fate(&settings.name), present) {
                (Some(Fate::Kept), Some(present)) => (Arc::clone(present), present.is_wanted()),
                (Some(Fate::Adjusted), Some(present)) => {
                    (present.with_settings(settings), self.wants(settings, Some(present)).await)
                }
                (Some(_) | None, present) => {
                    let wanted = self.wants(settings, present).await;
                    let stream = self.registry.find(&settings.stream);
                    let stream = stream.expect("the check refuses a push without its stream");
                    let (push, task) = Push::spawn(settings, stream, index as f64 / count);
                    tasks.push(task);
                    (push, wanted)
                }
            };
            wishes.push(Wish { push, wanted });
        }
        let own = wishes.iter().find(|wish| wish.push.settings().stream == first);
        let own = Arc::clone(&own.expect("the settings have a push of the first stream").push);
        let stream = Arc::clone(self.registry.first().expect("there is a first stream"));
        let before = before.and_then(|before| before.livebox.as_deref());
        let state_file = Arc::clone(&self.state_file);
        let livebox = Livebox::new(stream, own, &self.settings, state_file, before).await;
        livebox.settle().await;
        for Wish { push, wanted } in &wishes {
            match (wanted, push.is_wanted()) {
                (true, false) => {
                    if let Err(why) = livebox.resume(push, now()).await {
                        warn!("push {} is not started: {why}", push.name());
                    }
                }
                (false, true) => push.stop(),
                (true, true) | (false, false) => {}
            }
        }
        self.pushes = wishes.into_iter().map(|wish| wish.push).collect();
        self.livebox = Some(Arc::new(livebox));
        tasks
    }

    /// Whether a push is to run: as it does, or as an operator or the
    /// configuration wants it where that says something else than before.
    async fn wants(&self, push: &settings::Push, present: Option<&Arc<Push>>) -> bool {
        match present {
            Some(present) if present.settings().start == push.start => present.is_wanted(),
            Some(_) | None => saved::is_push_wanted(&self.state_file, push).await,
        }
    }

    pub fn state_file(&self) -> Arc<StateFile> {
        Arc::clone(&self.state_file)
    }

    /// The streams that can be recorded, with when each is to be.
    pub fn recordable(&self) -> Vec<Recordable> {
        let settings = &self.settings;
        let tracks = settings.streams.iter().filter_map(|stream| {
            let source = Source::Tracks(Arc::clone(self.registry.find(&stream.name)?.hub()));
            Some(Recordable { name: stream.name.clone(), plan: stream.record.clone(), source })
        });
        // An answer to one request is not a stream that goes on.
        let continues = |stream: &&settings::ByteStream| stream.client != settings::Client::Shot;
        let bytes = settings.byte_streams.iter().filter(continues).filter_map(|stream| {
            let source = Source::Bytes(Arc::clone(self.bytes.find(&stream.name)?));
            Some(Recordable { name: stream.name.clone(), plan: stream.record.clone(), source })
        });
        tracks.chain(bytes).collect()
    }

    /// The push of this name.
    pub fn push(&self, name: &str) -> Option<&Arc<Push>> {
        self.pushes.iter().find(|push| push.name().as_str() == name)
    }

    /// What runs in a pipeline of its own, except for pushes.
    pub fn units(&self) -> Vec<Unit> {
        self.registry.units().chain(self.bytes.units()).collect()
    }

    /// Those of all feeds, streams and pushes.
    pub fn supervisors(&self) -> Vec<Supervisor> {
        let of_pushes = self.pushes.iter().map(|push| push.supervisor());
        self.registry
            .supervisors()
            .chain(self.bytes.supervisors())
            .chain(of_pushes)
            .cloned()
            .collect()
    }
}

/// The settings with a push of the first stream, which the box steers.
fn with_own_push(mut settings: Settings) -> Settings {
    if let Some(first) = settings.streams.first()
        && !settings.pushes.iter().any(|push| push.stream == first.name)
    {
        settings.pushes.push(spare_push(first));
    }
    settings
}
