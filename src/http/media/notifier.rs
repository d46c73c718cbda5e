//! Wakes the viewers of a stream on their own worker thread.
//!
//! The writer of a stream wakes one task on each worker, and this task wakes the
//! viewers there: to wake a viewer from another thread takes a lock and often a
//! system call (measured with 500 viewers: a tenth of the processor time, all of
//! it between one frame and the next). The same task closes viewers whose
//! sockets stay full, because their bodies are not polled.

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

/// How often the viewers that lag behind are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A source of numbered items that viewers wait for.
pub(in crate::http) trait Published: std::fmt::Debug {
    /// Changes with every new item.
    fn subscribe(&self) -> watch::Receiver<u64>;
    /// The number of the oldest item that is kept. A viewer that reads an older
    /// one next has been too slow.
    fn oldest(&self) -> u64;
    fn name(&self) -> &StreamName;
}

impl Published for Stream {
    fn subscribe(&self) -> watch::Receiver<u64> {
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
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.stills().subscribe()
    }

    /// Only the newest picture is kept.
    fn oldest(&self) -> u64 {
        self.stills().end()
    }

    fn name(&self) -> &StreamName {
        self.stream().name()
    }
}

/// The notifiers of one worker: one for each stream that has viewers there.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Notifiers(Rc<RefCell<Vec<Weak<Notifier>>>>);

/// The notifier of one stream on one worker.
#[derive(Debug)]
pub(in crate::http) struct Notifier {
    published: Arc<dyn Published>,
    notify: Arc<Notify>,
    /// Whether its task runs.
    is_running: Cell<bool>,
    subscribers: RefCell<BTreeMap<u64, Rc<Subscriber>>>,
    next_number: Cell<u64>,
}

/// The position of one viewer.
#[derive(Debug)]
struct Subscriber {
    /// The number of the item that it reads next; `u64::MAX` if it needs no check.
    position: Cell<u64>,
    lag: Cell<Lag>,
    connection: Option<Rc<Connection>>,
}

/// One viewer's subscription to a notifier.
#[derive(Debug)]
pub(in crate::http) struct Subscription {
    notifier: Rc<Notifier>,
    number: u64,
    subscriber: Rc<Subscriber>,
    notified: Pin<Box<OwnedNotified>>,
}

impl Notifiers {
    /// The notifier of `published`, created if there is none.
    pub(in crate::http) fn get<T: Published + 'static>(&self, published: &Arc<T>) -> Rc<Notifier> {
        let published: Arc<dyn Published> = Arc::clone(published) as _;
        let mut notifiers = self.0.borrow_mut();
        notifiers.retain(|notifier| notifier.strong_count() > 0);
        let mut live = notifiers.iter().filter_map(Weak::upgrade);
        if let Some(notifier) = live.find(|notifier| {
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
            notify: Arc::default(),
            is_running: Cell::new(false),
            subscribers: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Subscribes to every item from now on. Must be called on a worker thread.
    pub(in crate::http) fn subscribe(
        notifier: &Rc<Self>,
        connection: Option<Rc<Connection>>,
    ) -> Subscription {
        let number = notifier.next_number.get();
        notifier.next_number.set(number + 1);
        let subscriber =
            Rc::new(Subscriber { position: Cell::new(u64::MAX), lag: Cell::default(), connection });
        notifier.subscribers.borrow_mut().insert(number, Rc::clone(&subscriber));
        if !notifier.is_running.replace(true) {
            actix_web::rt::spawn(run(Rc::clone(notifier), notifier.published.subscribe()));
        }
        let notified = Box::pin(Arc::clone(&notifier.notify).notified_owned());
        Subscription { notifier: Rc::clone(notifier), number, subscriber, notified }
    }

    /// Closes the viewers that have lagged behind for too long.
    fn close_slow_viewers(&self, now: Instant) {
        let oldest = self.published.oldest();
        for subscriber in self.subscribers.borrow().values() {
            let mut lag = subscriber.lag.get();
            if subscriber.position.get() < oldest && lag.fell_behind(now) == Continue::End {
                subscriber.close(&*self.published);
                // Only once: its body may notice the end a moment later.
                subscriber.position.set(u64::MAX);
            }
            subscriber.lag.set(lag);
        }
    }
}

/// Wakes the viewers with each item, as long as there are subscribers.
async fn run(notifier: Rc<Notifier>, mut changes: watch::Receiver<u64>) {
    let mut checked_at = now();
    // The notifier holds the sender.
    while changes.changed().await.is_ok() && !notifier.subscribers.borrow().is_empty() {
        notifier.notify.notify_waiters();
        let now = now();
        if now.duration_since(checked_at) >= CHECK_INTERVAL {
            checked_at = now;
            notifier.close_slow_viewers(now);
        }
    }
    notifier.is_running.set(false);
}

impl Subscriber {
    fn close(&self, published: &dyn Published) {
        if let Some(connection) = &self.connection {
            info!(stream:% = published.name(); "viewer closed: too slow for the stream");
            connection.reset();
        }
    }
}

impl Subscription {
    /// Ready when there was an item since it was last ready.
    pub(in crate::http) fn poll_notified(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.notified.as_mut().poll(cx));
        self.notified.set(Arc::clone(&self.notifier.notify).notified_owned());
        Poll::Ready(())
    }

    /// Sets the number of the item that the viewer reads next.
    pub(in crate::http) fn set_position(&self, position: u64) {
        self.subscriber.position.set(position);
    }

    /// Reports that the viewer missed items that are no longer kept.
    pub(in crate::http) fn fell_behind(&self) -> Continue {
        let mut lag = self.subscriber.lag.get();
        let next = lag.fell_behind(now());
        self.subscriber.lag.set(lag);
        if next == Continue::End {
            self.subscriber.close(&*self.notifier.published);
        }
        next
    }

    /// Reports that the viewer was sent everything up to the newest item.
    pub(in crate::http) fn caught_up(&self) {
        self.subscriber.lag.set(Lag::default());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.notifier.subscribers.borrow_mut().remove(&self.number);
    }
}
