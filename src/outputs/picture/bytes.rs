//! Pictures of streams of bytes: what a container holds that livebox otherwise
//! only passes on.

use std::sync::Arc;

use bytes::Bytes;

use super::{FailureError, NoPicture, PictureRequest, Pictures, TURN_TIMEOUT, USUAL};
use crate::engine::process::bytes::Stream;
use crate::engine::process::{NoStill, Still, extract, render_still};
use crate::engine::registry::MAX_FAILED_RUNS;
use crate::model::status::Failure;

/// So many streams are looked into at once.
pub(super) const LOOKING: usize = 8;

impl Pictures {
    /// The newest picture of a stream of bytes that needs no other, or the next
    /// one. A JPEG that is to be as usual is handed out as it comes.
    ///
    /// # Errors
    /// There is none, or too many ask.
    pub async fn of_bytes(
        &self,
        stream: &Arc<Stream>,
        wish: PictureRequest,
    ) -> Result<Bytes, NoPicture> {
        let content_type = stream.settings().content_type.clone();
        if content_type.starts_with("audio/") {
            return Err(NoPicture::NoVideo);
        }
        let looking = Arc::clone(&self.looking).acquire_owned();
        let looking = tokio::time::timeout(TURN_TIMEOUT, looking).await;
        let Ok(Ok(looking)) = looking else { return Err(NoPicture::Busy) };
        let stream = Arc::clone(stream);
        // Tasks of their own: they tidy up even if the one who asked has left.
        let found = tokio::spawn(async move {
            let found = look_into(&stream, &content_type).await;
            drop(looking);
            found
        });
        let found = found.await.unwrap_or_else(|panic| Err(failed(panic.to_string())))?;
        if let Some(jpeg) = found.as_jpeg().filter(|_| wish == USUAL) {
            return Ok(jpeg);
        }
        let turn = self.turn().await?;
        let made = tokio::spawn(async move {
            let made = render_still(&found, wish.format, wish.width).await;
            drop(turn);
            made
        });
        match made.await {
            Ok(Ok(picture)) => Ok(picture),
            Ok(Err(failure @ Failure::Element { .. })) => Err(NoPicture::NotUnderstood(failure)),
            Ok(Err(failure)) => Err(NoPicture::Failed(FailureError(failure))),
            Err(panic) => Err(failed(panic.to_string())),
        }
    }
}

fn failed(why: String) -> NoPicture {
    NoPicture::Failed(FailureError(Failure::Build(why)))
}

async fn look_into(stream: &Stream, content_type: &str) -> Result<Still, NoPicture> {
    let mut viewer = stream.join_to_decode().map_err(|_| NoPicture::Busy)?;
    let giving_up = async {
        tokio::select! {
            () = stream.wait_failed(MAX_FAILED_RUNS) => NoStill::Ended(None),
            () = tokio::time::sleep(TURN_TIMEOUT) => {
                NoStill::Ended(Some(Failure::NoFrames { after: TURN_TIMEOUT }))
            }
        }
    };
    let found = extract(&mut viewer, content_type, giving_up).await;
    found.map_err(|why| match why {
        NoStill::NoVideo => NoPicture::NoVideo,
        NoStill::NotUnderstood(failure) => NoPicture::NotUnderstood(failure),
        NoStill::Ended(cause) => {
            let cause = stream.cause().or(cause).unwrap_or(Failure::Ended);
            NoPicture::Failed(FailureError(cause))
        }
    })
}
