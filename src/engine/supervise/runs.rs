//! One run after the other: a new one waits until the last has let go.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::supervise::lifecycle::{Event, Run};
use crate::model::status::Failure;

/// The run that is going on, if any.
#[derive(Debug, Default)]
pub struct Runs {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Resolves when the run is to end.
#[derive(Debug)]
pub struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// What asks for the end, and who is asked. Dropping the former asks, too.
    pub fn pair() -> (oneshot::Sender<()>, Self) {
        let (ask, asked) = oneshot::channel();
        (ask, Self(asked))
    }

    pub async fn requested(&mut self) {
        // A lost sender asks as well.
        (&mut self.0).await.ok();
    }
}

impl Runs {
    /// Begins `body` once the last run is over. What it returns is told as the
    /// end of this run; it must have let go of everything by then.
    pub fn start<F>(
        &mut self,
        run: Run,
        news: mpsc::Sender<Event>,
        body: impl FnOnce(Stop) -> F + Send + 'static,
    ) where
        F: Future<Output = Failure> + Send,
    {
        self.stop();
        let last = self.current.take().map(|current| current.task);
        let (stop, stopped) = Stop::pair();
        let task = tokio::spawn(async move {
            if let Some(last) = last {
                // A run that panicked has let go of what it held, too.
                last.await.ok();
            }
            let failure = body(stopped).await;
            news.send(Event::Ended(run, failure)).await.ok();
        });
        self.current = Some(Current { stop: Some(stop), task });
    }

    /// Asks the run to end; returns at once.
    pub fn stop(&mut self) {
        if let Some(stop) = self.current.as_mut().and_then(|current| current.stop.take()) {
            stop.send(()).ok();
        }
    }
}
