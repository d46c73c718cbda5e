//! A feed with a pipeline of its own: one that several streams share, from which
//! another feed is made, or that is made from another.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{FEED_LIMITS, Start, is_down};
use crate::config::diff::Diff;
use crate::config::settings::{self, Settings};
use crate::engine::plan::Plan;
use crate::engine::process::{Base, CaptureParts, Family, FeedSource};
use crate::engine::shared::SharedFeed;
use crate::engine::supervise::demand::Demand;
use crate::engine::supervise::lifecycle::{Lifecycle, Limits};
use crate::engine::supervise::supervisor::Supervisor;
use crate::model::ids::{FeedName, StreamName};
use crate::model::status::{self, State};

/// A feed with its supervisor.
#[derive(Debug)]
pub struct Feed {
    name: FeedName,
    /// The plans of the streams that show it.
    plans: watch::Sender<Vec<watch::Sender<Plan>>>,
    /// The streams that take pictures or sound from it.
    streams: watch::Sender<Vec<StreamName>>,
    shared: Arc<SharedFeed>,
    /// Its host; shared with the feed that it is made from, if there is one.
    family: Arc<Family>,
    /// The feed that it is made from, if any.
    base: Option<Arc<Feed>>,
    /// The supervisor of the byte feed that it is unpacked from, if any.
    unpacked: Option<Supervisor>,
    supervisor: Supervisor,
}

impl Feed {
    /// Starts the supervisor. `plans` are those of all streams; `base` is the feed that
    /// it is made from.
    pub(super) fn spawn(
        feed: &settings::Feed,
        base: Option<Arc<Self>>,
        plans: &[watch::Sender<Plan>],
        start: Start<'_>,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let Start { settings, flows, pipelines, spread } = start;
        let name = feed.name.clone();
        let plans = watch::Sender::new(plans_of(feed, plans));
        let shared = SharedFeed::new(name.clone());
        let own_family = || Family::of(feed);
        let family = base.as_ref().map_or_else(own_family, |base| Arc::clone(&base.family));
        let made_from =
            base.as_ref().map(|base| Base::Feed(Arc::clone(&base.shared), base.plans.subscribe()));
        let unpacked = feed.source.unpacked_from().map(|from| {
            flows.feed(from).expect("the check refuses a feed whose source does not exist")
        });
        let made_from = made_from.or(unpacked.map(|(flow, _)| Base::Bytes(Arc::clone(flow))));
        let unpacked = unpacked.map(|(_, supervisor)| supervisor.clone());
        let (supervisor, task) = Supervisor::spawn(
            format!("feed {name}"),
            pipelines.capture(CaptureParts {
                plans: plans.subscribe(),
                feed: Arc::clone(&shared),
                family: Arc::clone(&family),
                base: made_from,
            }),
            Lifecycle::new(Limits { spread, ..FEED_LIMITS }).resurrecting(feed.resurrect),
            Demand::new(feed.mode),
            shared.needs(),
        );
        let streams = watch::Sender::new(settings.streams_using(feed));
        (Arc::new(Self { name, plans, streams, shared, family, base, unpacked, supervisor }), task)
    }

    /// Replaces the streams that show it. The current run continues as it is; the form
    /// of capture is decided again at the next start.
    pub(super) fn set_streams(
        &self,
        feed: &settings::Feed,
        plans: &[watch::Sender<Plan>],
        settings: &Settings,
    ) {
        let feed = self.settings().unwrap_or_else(|| feed.clone());
        self.plans.send_replace(plans_of(&feed, plans));
        self.streams.send_replace(settings.streams_using(&feed));
    }

    pub fn name(&self) -> &FeedName {
        &self.name
    }

    pub(super) fn shared(&self) -> &SharedFeed {
        &self.shared
    }

    /// The source for the pipelines of its streams.
    pub(super) fn source(&self) -> FeedSource {
        FeedSource { feed: Arc::clone(&self.shared), family: Arc::clone(&self.family) }
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The settings in force, which an operator may have changed.
    pub(super) fn settings(&self) -> Option<settings::Feed> {
        self.plans.borrow().first().map(|plan| plan.borrow().feed.clone())
    }

    /// Whether it runs on unchanged after the reload.
    pub(super) fn is_kept(&self, diff: &Diff) -> bool {
        diff.shared.contains(&self.name) && diff.feeds.continues(&self.name)
    }

    /// The state of the feed, or of what it is made from if that is wanted and not live.
    pub(super) fn state(&self, now: Instant) -> State {
        let own = self.supervisor.report().state(now);
        let base = self.base.as_ref().map(|base| base.state(now));
        let bytes = self.unpacked.as_ref().map(|bytes| bytes.report().state(now));
        let source = base.or(bytes).filter(|state| own != State::Idle && is_down(state));
        source.unwrap_or(own)
    }

    /// The supervisors of the feed and of everything that it is made from.
    pub(super) fn supervisors(&self) -> Vec<&Supervisor> {
        let mut all = self.base.as_ref().map_or_else(Vec::new, |base| base.supervisors());
        all.extend(&self.unpacked);
        all.push(&self.supervisor);
        all
    }

    /// Replaces the settings and restarts the feed if they differ.
    pub(super) async fn set_settings(&self, feed: &settings::Feed) {
        let mut changed = false;
        let plans = self.plans.borrow().clone();
        for plan in plans {
            changed |= plan.send_if_modified(|current| {
                let differs = current.feed != *feed;
                current.feed = feed.clone();
                differs
            });
        }
        if changed {
            self.supervisor.restart().await;
        }
    }

    pub fn status(&self, now: Instant) -> status::Feed {
        let report = self.supervisor.report();
        status::Feed {
            name: self.name.clone(),
            mode: self.settings().map(|feed| feed.mode.to_string()).unwrap_or_default(),
            state: self.state(now),
            past: report.past(now),
            last_failure: report.last_failure,
            streams: self.streams.borrow().clone(),
        }
    }
}

/// The plans that show the feed. If there is none (other feeds are made from it, or
/// streams take its sound only), a plan with default stream settings.
fn plans_of(feed: &settings::Feed, plans: &[watch::Sender<Plan>]) -> Vec<watch::Sender<Plan>> {
    let showing = plans.iter().filter(|plan| plan.borrow().feed.name == feed.name);
    let mut own: Vec<_> = showing.cloned().collect();
    if own.is_empty() {
        let stream = settings::Stream::with_defaults(feed);
        own.push(watch::Sender::new(Plan { feed: feed.clone(), stream }));
    }
    own
}
