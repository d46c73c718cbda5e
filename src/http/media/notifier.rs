//! Sends new items of a stream to its viewers, on their own worker thread.
//!
//! The writer of a stream wakes one task on each worker. This task writes to all
//! viewers at the live edge itself: to wake each viewer's task instead costs as
//! much as the write (measured with 500 viewers). A viewer whose socket does not
//! take everything goes on in its own task. The same task closes viewers whose
//! sockets stay full, because their bodies are not polled.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log::info;
use tokio::sync::watch;

use super::framing::SharedFrames;
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

/// A response that can be written to outside its own task.
pub(in crate::http) trait LiveBody {
    /// Writes all new items to the socket.
    fn send_new(&self) -> Sent;
}

/// How much of the new items the socket took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Sent {
    /// Everything: the response waits for the next item.
    All,
    /// The task of the response must go on.
    Part,
}

/// The notifiers of one worker: one for each stream that has viewers there.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Notifiers(Rc<RefCell<Vec<Weak<Notifier>>>>);

/// The notifier of one stream on one worker.
#[derive(Debug)]
pub(in crate::http) struct Notifier {
    published: Arc<dyn Published>,
    frames: SharedFrames,
    /// Whether its task runs.
    is_running: Cell<bool>,
    subscribers: RefCell<BTreeMap<u64, Rc<Subscriber>>>,
    next_number: Cell<u64>,
}

/// One viewer.
struct Subscriber {
    /// Whether there was an item since its body last asked.
    is_notified: Cell<bool>,
    /// Wakes its task; set while the task waits for an item.
    waiting: Cell<Option<Waker>>,
    /// Its body, if that can be written to directly.
    body: RefCell<Option<Weak<dyn LiveBody>>>,
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
            frames: SharedFrames::default(),
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
        let subscriber = Rc::new(Subscriber::new(connection));
        notifier.subscribers.borrow_mut().insert(number, Rc::clone(&subscriber));
        if !notifier.is_running.replace(true) {
            actix_web::rt::spawn(run(Rc::clone(notifier), notifier.published.subscribe()));
        }
        Subscription { notifier: Rc::clone(notifier), number, subscriber }
    }

    /// Sends the newest item to all viewers. A viewer that ends meanwhile
    /// unsubscribes, so the map is not borrowed here.
    fn send_to_all(&self) {
        let subscribers: Vec<_> = self.subscribers.borrow().values().cloned().collect();
        subscribers.iter().for_each(|subscriber| subscriber.notify());
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

/// Sends each item to the viewers, as long as there are subscribers.
async fn run(notifier: Rc<Notifier>, mut changes: watch::Receiver<u64>) {
    let mut checked_at = now();
    // The notifier holds the sender.
    while changes.changed().await.is_ok() && !notifier.subscribers.borrow().is_empty() {
        notifier.send_to_all();
        let now = now();
        if now.duration_since(checked_at) >= CHECK_INTERVAL {
            checked_at = now;
            notifier.close_slow_viewers(now);
        }
    }
    notifier.is_running.set(false);
}

impl Subscriber {
    fn new(connection: Option<Rc<Connection>>) -> Self {
        Self {
            is_notified: Cell::new(false),
            waiting: Cell::new(None),
            body: RefCell::new(None),
            position: Cell::new(u64::MAX),
            lag: Cell::default(),
            connection,
        }
    }

    /// Writes to the body if it waits for an item; wakes its task if that is not
    /// possible, or not enough.
    fn notify(&self) {
        let Some(waker) = self.waiting.take() else {
            self.is_notified.set(true);
            return;
        };
        let body = self.body.borrow().as_ref().and_then(Weak::upgrade);
        if body.is_some_and(|body| body.send_new() == Sent::All) {
            self.waiting.set(Some(waker));
        } else {
            self.is_notified.set(true);
            waker.wake();
        }
    }

    fn close(&self, published: &dyn Published) {
        if let Some(connection) = &self.connection {
            info!(stream:% = published.name(); "viewer closed: too slow for the stream");
            connection.reset();
        }
    }
}

impl Subscription {
    /// Ready when there was an item since it was last ready. While it is
    /// pending, items are written to the body of [`Subscription::write_to`].
    pub(in crate::http) fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.subscriber.is_notified.take() {
            return Poll::Ready(());
        }
        self.subscriber.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Lets the notifier write to `body`, whose task then sleeps.
    pub(in crate::http) fn write_to(&self, body: Weak<dyn LiveBody>) {
        self.subscriber.body.replace(Some(body));
    }

    /// `bytes` as an HTTP chunk; the same buffer for all viewers of the same bytes.
    pub(super) fn frame(&self, bytes: &Bytes) -> Bytes {
        self.notifier.frames.frame(bytes)
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

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let position = self.position.get();
        f.debug_struct("Subscriber").field("position", &position).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.notifier.subscribers.borrow_mut().remove(&self.number);
    }
}
