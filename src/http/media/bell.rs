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

use super::viewer::{Flow, Lag};
use crate::http::listen::connection::Connection;
use crate::http::listen::server::now;
use crate::hub::Stream;
use crate::model::ids::StreamName;
use crate::outputs::mjpeg::Mjpeg;

/// How often it is looked after those who are behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a bell rings for.
pub(in crate::http) trait Tower: std::fmt::Debug {
    /// Changes with everything new.
    fn ends(&self) -> watch::Receiver<u64>;
    /// Who reads before this next has been too slow.
    fn oldest(&self) -> u64;
    fn name(&self) -> &StreamName;
}

impl Tower for Stream {
    fn ends(&self) -> watch::Receiver<u64> {
        self.ends()
    }

    fn oldest(&self) -> u64 {
        self.oldest()
    }

    fn name(&self) -> &StreamName {
        self.name()
    }
}

impl Tower for Mjpeg {
    fn ends(&self) -> watch::Receiver<u64> {
        self.stills().ends()
    }

    /// Nothing but the newest picture is there.
    fn oldest(&self) -> u64 {
        self.stills().end()
    }

    fn name(&self) -> &StreamName {
        self.stream().name()
    }
}

/// One worker's bells: of the streams that somebody listens to there.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Bells(Rc<RefCell<Vec<Weak<Bell>>>>);

/// One worker's bell of one stream.
#[derive(Debug)]
pub(in crate::http) struct Bell {
    tower: Arc<dyn Tower>,
    rung: Arc<Notify>,
    /// Whether there is a task that rings it.
    is_manned: Cell<bool>,
    listeners: RefCell<BTreeMap<u64, Rc<Place>>>,
    next_listener: Cell<u64>,
}

/// Where one viewer is.
#[derive(Debug)]
struct Place {
    /// What it reads next.
    position: Cell<u64>,
    lag: Cell<Lag>,
    connection: Option<Rc<Connection>>,
}

/// One viewer's ear for a bell.
#[derive(Debug)]
pub(in crate::http) struct Ear {
    bell: Rc<Bell>,
    number: u64,
    place: Rc<Place>,
    heard: Pin<Box<OwnedNotified>>,
}

impl Bells {
    /// The bell of this stream.
    pub(in crate::http) fn of<T: Tower + 'static>(&self, tower: &Arc<T>) -> Rc<Bell> {
        let tower: Arc<dyn Tower> = Arc::clone(tower) as _;
        let mut bells = self.0.borrow_mut();
        bells.retain(|bell| bell.strong_count() > 0);
        let mut heard = bells.iter().filter_map(Weak::upgrade);
        if let Some(bell) =
            heard.find(|bell| std::ptr::addr_eq(Arc::as_ptr(&bell.tower), Arc::as_ptr(&tower)))
        {
            return bell;
        }
        let bell = Bell::new(tower);
        bells.push(Rc::downgrade(&bell));
        bell
    }
}

impl Bell {
    fn new(tower: Arc<dyn Tower>) -> Rc<Self> {
        Rc::new(Self {
            tower,
            rung: Arc::default(),
            is_manned: Cell::new(false),
            listeners: RefCell::default(),
            next_listener: Cell::new(0),
        })
    }

    /// An ear that hears of every chunk from now on; to be called on a worker.
    pub(in crate::http) fn listen(bell: &Rc<Self>, connection: Option<Rc<Connection>>) -> Ear {
        let number = bell.next_listener.get();
        bell.next_listener.set(number + 1);
        let place =
            Rc::new(Place { position: Cell::new(u64::MAX), lag: Cell::default(), connection });
        bell.listeners.borrow_mut().insert(number, Rc::clone(&place));
        if !bell.is_manned.replace(true) {
            actix_web::rt::spawn(ring(Rc::clone(bell), bell.tower.ends()));
        }
        let heard = Box::pin(Arc::clone(&bell.rung).notified_owned());
        Ear { bell: Rc::clone(bell), number, place, heard }
    }

    /// Lets go those who have been behind for too long.
    fn look_around(&self, now: Instant) {
        let oldest = self.tower.oldest();
        for place in self.listeners.borrow().values() {
            let mut lag = place.lag.get();
            if place.position.get() < oldest && lag.fell_off(now) == Flow::End {
                place.let_go(&*self.tower);
                // Once; its body may take a moment to notice.
                place.position.set(u64::MAX);
            }
            place.lag.set(lag);
        }
    }
}

/// Rings for each chunk, as long as somebody listens.
async fn ring(bell: Rc<Bell>, mut ends: watch::Receiver<u64>) {
    let mut looked = now();
    // The sender lives in the tower, which the bell holds.
    while ends.changed().await.is_ok() && !bell.listeners.borrow().is_empty() {
        bell.rung.notify_waiters();
        let now = now();
        if now.duration_since(looked) >= LOOK_EVERY {
            looked = now;
            bell.look_around(now);
        }
    }
    bell.is_manned.set(false);
}

impl Place {
    fn let_go(&self, tower: &dyn Tower) {
        if let Some(connection) = &self.connection {
            info!(stream:% = tower.name(); "a viewer is too slow for the stream and is let go");
            connection.cut();
        }
    }
}

impl Ear {
    /// Ready when there was a chunk since it was last ready.
    pub(in crate::http) fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.heard.as_mut().poll(cx));
        self.heard.set(Arc::clone(&self.bell.rung).notified_owned());
        Poll::Ready(())
    }

    /// Its viewer reads `position` next.
    pub(in crate::http) fn stands_at(&self, position: u64) {
        self.place.position.set(position);
    }

    /// Its viewer has fallen off what is kept.
    pub(in crate::http) fn fell_off(&self) -> Flow {
        let mut lag = self.place.lag.get();
        let flow = lag.fell_off(now());
        self.place.lag.set(lag);
        if flow == Flow::End {
            self.place.let_go(&*self.bell.tower);
        }
        flow
    }

    /// Its viewer has been sent everything there is.
    pub(in crate::http) fn caught_up(&self) {
        self.place.lag.set(Lag::default());
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.bell.listeners.borrow_mut().remove(&self.number);
    }
}
