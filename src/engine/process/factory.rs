//! Creates the pipelines of feeds, streams, pushes and byte feeds.
//!
//! Registries and pushes know the trait only. Tests give them pipelines that start no
//! process (`engine::tests::fake`).

use std::fmt::Debug;
use std::sync::Arc;

use super::bytes::run::{BytesParts, BytesPipeline};
use super::encoders::Encoders;
use super::feeds::{CaptureParts, CapturePipeline, FeedParts, FeedPipeline};
use super::push::{PushParts, PushPipeline};
use super::streams::{StreamParts, StreamPipeline};
use crate::engine::supervise::supervisor::Pipeline;

/// Creates pipelines. A pipeline does nothing before it is started.
pub trait PipelineFactory: Debug + Send + Sync {
    /// The pipeline of a feed and its only stream.
    fn feed(&self, parts: FeedParts) -> Box<dyn Pipeline>;
    /// The pipeline of a feed from which streams or other feeds take their frames.
    fn capture(&self, parts: CaptureParts) -> Box<dyn Pipeline>;
    /// The pipeline of a stream of such a feed.
    fn stream(&self, parts: StreamParts) -> Box<dyn Pipeline>;
    fn push(&self, parts: PushParts) -> Box<dyn Pipeline>;
    /// The pipeline of a byte feed, or of the command of a byte stream.
    fn bytes(&self, parts: BytesParts) -> Box<dyn Pipeline>;
}

/// Creates pipelines that run in host processes and commands.
#[derive(Debug, Default)]
pub struct ProcessPipelines {
    encoders: Arc<Encoders>,
}

impl ProcessPipelines {
    /// Tries the encoders of this machine before the first run needs one.
    pub fn try_encoders(&self) {
        let encoders = Arc::clone(&self.encoders);
        tokio::spawn(async move {
            encoders.trials().await;
        });
    }
}

impl PipelineFactory for ProcessPipelines {
    fn feed(&self, parts: FeedParts) -> Box<dyn Pipeline> {
        Box::new(FeedPipeline::new(parts, Arc::clone(&self.encoders)))
    }

    fn capture(&self, parts: CaptureParts) -> Box<dyn Pipeline> {
        Box::new(CapturePipeline::new(parts))
    }

    fn stream(&self, parts: StreamParts) -> Box<dyn Pipeline> {
        Box::new(StreamPipeline::new(parts, Arc::clone(&self.encoders)))
    }

    fn push(&self, parts: PushParts) -> Box<dyn Pipeline> {
        Box::new(PushPipeline::new(parts))
    }

    fn bytes(&self, parts: BytesParts) -> Box<dyn Pipeline> {
        Box::new(BytesPipeline::new(parts))
    }
}
