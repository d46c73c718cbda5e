//! Still pictures, each made in a host of its own, as their frames are untrusted.

use std::time::Duration;

use bytes::Bytes;

use super::host::Host;
use crate::engine::process::bytes::Viewer;
use crate::media::jpeg::Finder;
use crate::model::failure::{Content, Failure};
use crate::model::picture::Format;
use crate::wire::answer::{Done, Extracted};
use crate::wire::job::{self, JobKind};

/// Time limit of making a picture.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(12);

/// Limit of bytes of a stream that are searched for a picture.
const MAX_SEARCHED_BYTES: usize = 64 << 20;

/// The media type of a still that was found as a JPEG.
const JPEG: &str = "image/jpeg";

/// An encoded intra frame.
#[derive(Clone, Debug)]
pub struct Still {
    /// A GStreamer media type.
    caps: String,
    data: Bytes,
}

impl Still {
    /// Its bytes, if it is a JPEG.
    pub fn as_jpeg(&self) -> Option<Bytes> {
        (self.caps == JPEG || self.caps.starts_with("image/jpeg,")).then(|| self.data.clone())
    }
}

/// Why no still was found.
#[derive(Clone, Debug, PartialEq)]
pub enum NoStill {
    /// There is sound, but no video.
    NoVideo,
    /// The container or codec is not supported.
    NotUnderstood(Failure),
    /// The bytes have ended, for this reason if it is known.
    Ended(Option<Failure>),
}

/// The last picture of `frames`, access units in Annex B form of which the
/// first is a key frame; scaled to `size` (width and height) if there is one.
///
/// # Errors
/// No decoder is installed, or none makes a picture of the frames.
pub async fn render(
    frames: Vec<Bytes>,
    format: Format,
    size: Option<(u32, u32)>,
) -> Result<Bytes, Failure> {
    run_job(job::Picture { format, size }, frames).await
}

/// The picture of `still`, scaled down to `width` if it is wider.
///
/// # Errors
/// No decoder is installed for it, or it cannot be decoded.
pub async fn render_still(
    still: &Still,
    format: Format,
    width: Option<u32>,
) -> Result<Bytes, Failure> {
    let job = job::Still { caps: still.caps.clone(), format, width };
    run_job(job, vec![still.data.clone()]).await
}

async fn run_job(job: impl JobKind<Answer = Done>, data: Vec<Bytes>) -> Result<Bytes, Failure> {
    Host::run("picture", job, data, PICTURE_TIMEOUT, Failure::NoFrames { after: PICTURE_TIMEOUT })
        .await
}

/// Waits for the first complete intra frame in the bytes of `viewer`, whose stream has the
/// type `content_type`, until `giving_up` returns a reason to stop.
///
/// # Errors
/// No intra frame was found.
pub async fn extract(
    viewer: &mut Viewer,
    content_type: &str,
    giving_up: impl Future<Output = NoStill>,
) -> Result<Still, NoStill> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = async {
        match kind.as_str() {
            "multipart/x-mixed-replace" | "image/jpeg" => jpeg(viewer).await,
            // In the middle of a stream, raw H.264 is not detected by its content.
            "video/h264" => {
                extract_in_host(viewer, Some("video/x-h264,stream-format=byte-stream")).await
            }
            _ => extract_in_host(viewer, None).await,
        }
    };
    tokio::select! {
        biased;
        found = found => found,
        why = giving_up => Err(why),
    }
}

async fn jpeg(viewer: &mut Viewer) -> Result<Still, NoStill> {
    let (mut finder, mut searched) = (Finder::default(), 0);
    while searched <= MAX_SEARCHED_BYTES {
        let bytes = viewer.next().await.map_err(NoStill::Ended)?;
        searched += bytes.len();
        if let Some(data) = finder.push(&bytes) {
            return Ok(Still { caps: JPEG.to_owned(), data });
        }
    }
    Err(NoStill::NotUnderstood(Failure::NotFound(Content::Jpeg)))
}

async fn extract_in_host(viewer: &mut Viewer, caps: Option<&str>) -> Result<Still, NoStill> {
    let job = job::Extract { caps: caps.map(str::to_owned) };
    let (mut host, mut input) =
        Host::start("picture", job).await.map_err(NoStill::NotUnderstood)?;
    let (mut searched, mut cause) = (0, None);
    let given = async {
        while searched <= MAX_SEARCHED_BYTES {
            match viewer.next().await {
                Ok(bytes) => {
                    searched += bytes.len();
                    input.data(bytes).await?;
                }
                Err(why) => {
                    cause = why;
                    break;
                }
            }
        }
        // The bytes so far may be enough.
        input.end().await
    };
    let answer = host.answer(given).await;
    host.end().await;
    match answer {
        Ok((Extracted::Picture { caps }, data)) => Ok(Still { caps, data }),
        Ok((Extracted::NoVideo, _)) => Err(NoStill::NoVideo),
        Ok((Extracted::NotUnderstood(Failure::Ended), _)) if searched > MAX_SEARCHED_BYTES => {
            Err(NoStill::NotUnderstood(Failure::NotFound(Content::Picture)))
        }
        Ok((Extracted::NotUnderstood(Failure::Ended), _)) => Err(NoStill::Ended(cause)),
        Ok((Extracted::NotUnderstood(failure), _)) => Err(NoStill::NotUnderstood(failure)),
        Err(failure) => Err(NoStill::Ended(Some(failure))),
    }
}
