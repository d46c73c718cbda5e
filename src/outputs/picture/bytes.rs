//! Pictures of byte streams, extracted from the container that livebox otherwise
//! only passes on.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinError;

use super::{DEFAULT_REQUEST, PictureError, PictureRequest, Pictures, QUEUE_TIMEOUT};
use crate::engine::first_frame::MAX_FAILED_RUNS;
use crate::engine::process::bytes::Stream;
use crate::engine::process::{NoStill, Still, extract, render_still};
use crate::model::failure::Failure;
use crate::model::fault::Fault;

/// Byte streams that are searched for a picture at once.
pub(super) const MAX_EXTRACTIONS: usize = 8;

impl Pictures {
    /// The newest intra picture of a byte stream, or the next one. For the default
    /// request, a JPEG is returned unchanged.
    ///
    /// # Errors
    /// There is no video, the queue is full, or nothing can be decoded.
    pub async fn from_bytes(
        &self,
        stream: &Arc<Stream>,
        request: PictureRequest,
    ) -> Result<Bytes, PictureError> {
        let content_type = stream.settings().content_type.clone();
        if content_type.starts_with("audio/") {
            return Err(PictureError::NoVideo);
        }
        let permit = Arc::clone(&self.extractions).acquire_owned();
        let permit = tokio::time::timeout(QUEUE_TIMEOUT, permit).await;
        let Ok(Ok(permit)) = permit else { return Err(PictureError::Busy) };
        let stream = Arc::clone(stream);
        // Tasks, so that they complete even if the request is cancelled.
        let found = tokio::spawn(async move {
            let found = extract_still(&stream, &content_type).await;
            drop(permit);
            found
        });
        let found = found.await.unwrap_or_else(|panic| Err(panicked(panic)))?;
        if let Some(jpeg) = found.as_jpeg().filter(|_| request == DEFAULT_REQUEST) {
            return Ok(jpeg);
        }
        let permit = self.decoder().await?;
        let made = tokio::spawn(async move {
            let made = render_still(&found, request.format, request.width).await;
            drop(permit);
            made
        });
        match made.await {
            Ok(Ok(picture)) => Ok(picture),
            Ok(Err(failure @ Failure::Element { .. })) => Err(PictureError::NotUnderstood(failure)),
            Ok(Err(failure)) => Err(PictureError::Failed(failure)),
            Err(panic) => Err(panicked(panic)),
        }
    }
}

fn panicked(error: JoinError) -> PictureError {
    PictureError::Failed(Fault::panic(error).into())
}

async fn extract_still(stream: &Stream, content_type: &str) -> Result<Still, PictureError> {
    let mut viewer = stream.join_to_decode().map_err(|_| PictureError::Busy)?;
    let cancelled = async {
        tokio::select! {
            () = stream.wait_failed(MAX_FAILED_RUNS) => NoStill::Ended(None),
            () = tokio::time::sleep(QUEUE_TIMEOUT) => {
                NoStill::Ended(Some(Failure::NoFrames { after: QUEUE_TIMEOUT }))
            }
        }
    };
    let found = extract(&mut viewer, content_type, cancelled).await;
    found.map_err(|why| match why {
        NoStill::NoVideo => PictureError::NoVideo,
        NoStill::NotUnderstood(failure) => PictureError::NotUnderstood(failure),
        NoStill::Ended(cause) => {
            let cause = stream.cause().or(cause).unwrap_or(Failure::Ended);
            PictureError::Failed(cause)
        }
    })
}
