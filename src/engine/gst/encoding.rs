//! Which encoder a stream takes, and telling of it.

use std::sync::Arc;

use log::info;
use tokio::sync::watch;

use super::probe::Encoders;
use crate::config::settings::Source;
use crate::engine::encoder::choose_for;
use crate::engine::plan::Plan;
use crate::model::status::{Encoder, Failure};

/// The encoders there are, and where the choice of one stream is told.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    pub encoders: Arc<Encoders>,
    pub chosen: watch::Sender<Option<Encoder>>,
}

impl Encoding {
    /// The encoder that works for this plan.
    ///
    /// # Errors
    /// None does.
    pub(super) async fn choose(&self, plan: &Plan) -> Result<Encoder, Failure> {
        let trials = self.encoders.trials().await;
        choose_for(plan.size(), &plan.stream.encoder, trials)
            .map_err(|error| Failure::Build(error.to_string()))
    }

    /// Tells of an encoder that is taken, if it is another than before.
    pub(super) fn announce(&self, plan: &Plan, encoder: Encoder) {
        self.chosen.send_if_modified(|chosen| {
            if chosen.as_ref() == Some(&encoder) {
                return false;
            }
            let Encoder { element, because, .. } = &encoder;
            info!("stream {} is encoded by {element}: {because}", plan.stream.name);
            *chosen = Some(encoder);
            true
        });
    }
}

/// Who encodes where a feed's own H.264 passes through.
pub(super) fn by_itself(plan: &Plan) -> Encoder {
    let element = match plan.feed.source {
        Source::File(_) => "file",
        Source::Unpacked(_) => "command",
        Source::TestClock
        | Source::V4l2(_)
        | Source::Rtsp(_)
        | Source::SoundOnly
        | Source::Made(_) => "camera",
    };
    let because = "it gives H.264 by itself".to_owned();
    Encoder { element: element.to_owned(), because, is_feed: true }
}
