//! The encoder of a run: the service chooses it, and the run reports it.

use std::sync::Arc;

use tokio::sync::watch;

use super::outbox::Out;
use crate::engine::plan::Plan;
use crate::model::failure::Failure;
use crate::model::status::Encoder;
use crate::wire::answer::News;

/// The service's choice, once it is made.
pub(super) type Chosen = watch::Receiver<Option<Result<Encoder, Failure>>>;

/// The choice for one run, and where the encoder in use is reported.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    pub chosen: Chosen,
    pub out: Arc<Out>,
}

impl Encoding {
    /// Waits for the service's choice.
    ///
    /// # Errors
    /// No encoder works, or not the configured one; or the run ends.
    pub(super) async fn choose(&mut self) -> Result<Encoder, Failure> {
        match self.chosen.wait_for(Option::is_some).await {
            Ok(chosen) => chosen.clone().unwrap_or(Err(Failure::Ended)),
            // The run ends.
            Err(_) => Err(Failure::Ended),
        }
    }

    /// Reports the encoder in use.
    pub(super) fn announce(&self, encoder: Encoder) {
        self.out.send(News::Encoder(encoder));
    }
}

/// The `Encoder` of a stream that passes its feed's H.264 through.
pub(super) fn pass_through(plan: &Plan) -> Encoder {
    let element = plan.feed.source.origin();
    let because = "it gives H.264 by itself".to_owned();
    Encoder { element: element.to_owned(), because, is_feed: true }
}
