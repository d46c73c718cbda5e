//! Runs of a pipeline in sequence: a new run starts after the previous one has
//! released its devices and sockets.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::supervise::lifecycle::{Event, Run};
use crate::model::failure::Failure;

/// The current run, if any.
#[derive(Debug, Default)]
pub struct Runs {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Receiver of the request to end a run.
#[derive(Debug)]
pub struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// The sender that requests the end, and the receiver for the run. Dropping the
    /// sender requests the end as well.
    pub fn pair() -> (oneshot::Sender<()>, Self) {
        let (request, requested) = oneshot::channel();
        (request, Self(requested))
    }

    pub async fn requested(&mut self) {
        // A dropped sender is a request as well.
        (&mut self.0).await.ok();
    }
}

impl Runs {
    /// Stops the previous run and starts `body` when that has ended. The result of
    /// `body` is sent as [`Event::Ended`]; by then it must have released everything.
    pub fn start<F>(
        &mut self,
        run: Run,
        events: mpsc::Sender<Event>,
        body: impl FnOnce(Stop) -> F + Send + 'static,
    ) where
        F: Future<Output = Failure> + Send,
    {
        self.stop();
        let previous = self.current.take().map(|current| current.task);
        let (stop, stopped) = Stop::pair();
        let task = tokio::spawn(async move {
            if let Some(previous) = previous {
                // A run that panicked has dropped what it held as well.
                previous.await.ok();
            }
            let failure = body(stopped).await;
            events.send(Event::Ended(run, failure)).await.ok();
        });
        self.current = Some(Current { stop: Some(stop), task });
    }

    /// Requests the end of the current run; returns at once.
    pub fn stop(&mut self) {
        if let Some(stop) = self.current.as_mut().and_then(|current| current.stop.take()) {
            stop.send(()).ok();
        }
    }
}
