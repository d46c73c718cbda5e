//! Wakes the viewers of a stream, on the worker thread on which they are.
//!
//! The writer of a stream wakes one task on each worker, and that one its
//! neighbours: to wake each viewer from another thread takes a lock and often a
//! system call (measured with 500 viewers: a tenth of the processor time, all of
//! it between one frame and the next). The same task looks after those whose
//! sockets are full, because nobody asks their bodies for anything.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use log::info;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::watch;

use super::viewer::{Continue, Lag};
use crate::base::time::now;
use crate::http::listen::connection::Connection;
use crate::hub::Stream;
use crate::model::ids::StreamName;
use crate::outputs::mjpeg::Mjpeg;

/// How often it is looked after those who are behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a notifier rings for.
pub(in crate::http) trait Published: std::fmt::Debug {
    /// Changes with everything new.
    fn ends(&self) -> watch::Receiver<u64>;
    /// Who reads before this next has been too slow.
    fn oldest(&self) -> u64;
    fn name(&self) -> &StreamName;
}

impl Published for Stream {
    fn ends(&self) -> watch::Receiver<u64> {
        self.subscribe()
    }

    fn oldest(&self) -> u64 {
        self.oldest()
    }

    fn name(&self) -> &StreamName {
        self.name()
    }
}

impl Published for Mjpeg {
    fn ends(&self) -> watch::Receiver<u64> {
        self.stills().subscribe()
    }

    /// Nothing but the newest picture is there.
    fn oldest(&self) -> u64 {
        self.stills().end()
    }

    fn name(&self) -> &StreamName {
        self.stream().name()
    }
}

/// One worker's notifiers: of the streams that somebody listens to there.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Notifiers(Rc<RefCell<Vec<Weak<Notifier>>>>);

/// One worker's notifier of one stream.
#[derive(Debug)]
pub(in crate::http) struct Notifier {
    published: Arc<dyn Published>,
    rung: Arc<Notify>,
    /// Whether there is a task that rings it.
    is_manned: Cell<bool>,
    listeners: RefCell<BTreeMap<u64, Rc<Subscriber>>>,
    next_listener: Cell<u64>,
}

/// Where one viewer is.
#[derive(Debug)]
struct Subscriber {
    /// What it reads next.
    position: Cell<u64>,
    lag: Cell<Lag>,
    connection: Option<Rc<Connection>>,
}

/// One viewer's subscription for a notifier.
#[derive(Debug)]
pub(in crate::http) struct Subscription {
    notifier: Rc<Notifier>,
    number: u64,
    place: Rc<Subscriber>,
    heard: Pin<Box<OwnedNotified>>,
}

impl Notifiers {
    /// The notifier of this stream.
    pub(in crate::http) fn of<T: Published + 'static>(&self, published: &Arc<T>) -> Rc<Notifier> {
        let published: Arc<dyn Published> = Arc::clone(published) as _;
        let mut notifiers = self.0.borrow_mut();
        notifiers.retain(|notifier| notifier.strong_count() > 0);
        let mut heard = notifiers.iter().filter_map(Weak::upgrade);
        if let Some(notifier) = heard.find(|notifier| {
            std::ptr::addr_eq(Arc::as_ptr(&notifier.published), Arc::as_ptr(&published))
        }) {
            return notifier;
        }
        let notifier = Notifier::new(published);
        notifiers.push(Rc::downgrade(&notifier));
        notifier
    }
}

impl Notifier {
    fn new(published: Arc<dyn Published>) -> Rc<Self> {
        Rc::new(Self {
            published,
            rung: Arc::default(),
            is_manned: Cell::new(false),
            listeners: RefCell::default(),
            next_listener: Cell::new(0),
        })
    }

    /// An subscription that hears of every chunk from now on; to be called on a worker.
    pub(in crate::http) fn listen(
        notifier: &Rc<Self>,
        connection: Option<Rc<Connection>>,
    ) -> Subscription {
        let number = notifier.next_listener.get();
        notifier.next_listener.set(number + 1);
        let place =
            Rc::new(Subscriber { position: Cell::new(u64::MAX), lag: Cell::default(), connection });
        notifier.listeners.borrow_mut().insert(number, Rc::clone(&place));
        if !notifier.is_manned.replace(true) {
            actix_web::rt::spawn(ring(Rc::clone(notifier), notifier.published.ends()));
        }
        let heard = Box::pin(Arc::clone(&notifier.rung).notified_owned());
        Subscription { notifier: Rc::clone(notifier), number, place, heard }
    }

    /// Lets go those who have been behind for too long.
    fn look_around(&self, now: Instant) {
        let oldest = self.published.oldest();
        for place in self.listeners.borrow().values() {
            let mut lag = place.lag.get();
            if place.position.get() < oldest && lag.fell_off(now) == Continue::End {
                place.let_go(&*self.published);
                // Once; its body may take a moment to notice.
                place.position.set(u64::MAX);
            }
            place.lag.set(lag);
        }
    }
}

/// Rings for each chunk, as long as somebody listens.
async fn ring(notifier: Rc<Notifier>, mut ends: watch::Receiver<u64>) {
    let mut looked = now();
    // The sender lives in the published, which the notifier holds.
    while ends.changed().await.is_ok() && !notifier.listeners.borrow().is_empty() {
        notifier.rung.notify_waiters();
        let now = now();
        if now.duration_since(looked) >= LOOK_EVERY {
            looked = now;
            notifier.look_around(now);
        }
    }
    notifier.is_manned.set(false);
}

impl Subscriber {
    fn let_go(&self, published: &dyn Published) {
        if let Some(connection) = &self.connection {
            info!(stream:% = published.name(); "a viewer is too slow for the stream and is let go");
            connection.cut();
        }
    }
}

impl Subscription {
    /// Ready when there was a chunk since it was last ready.
    pub(in crate::http) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.heard.as_mut().poll(cx));
        self.heard.set(Arc::clone(&self.notifier.rung).notified_owned());
        Poll::Ready(())
    }

    /// Its viewer reads `position` next.
    pub(in crate::http) fn stands_at(&self, position: u64) {
        self.place.position.set(position);
    }

    /// Its viewer has fallen off what is kept.
    pub(in crate::http) fn fell_off(&self) -> Continue {
        let mut lag = self.place.lag.get();
        let flow = lag.fell_off(now());
        self.place.lag.set(lag);
        if flow == Continue::End {
            self.place.let_go(&*self.notifier.published);
        }
        flow
    }

    /// Its viewer has been sent everything there is.
    pub(in crate::http) fn caught_up(&self) {
        self.place.lag.set(Lag::default());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.notifier.listeners.borrow_mut().remove(&self.number);
    }
}
