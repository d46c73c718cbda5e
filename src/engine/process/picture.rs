//! Pictures, each made by a host of its own: its frames come from cameras and
//! programs of others.

use std::time::Duration;

use bytes::Bytes;

use super::host::Host;
use crate::engine::process::bytes::Viewer;
use crate::media::jpeg::Finder;
use crate::model::picture::Format;
use crate::model::status::Failure;
use crate::wire::answer::{Done, Extracted};
use crate::wire::job::{self, JobKind};

/// A host that has made no picture after this long hangs.
const MAKING: Duration = Duration::from_secs(12);

/// No picture needs more of a stream to be found in it.
const BYTES_AT_MOST: usize = 64 << 20;

/// What a still that lies in bytes as a JPEG is called.
const JPEG: &str = "image/jpeg";

/// A picture that needs no other to be decoded, in its encoded form.
#[derive(Clone, Debug)]
pub struct Still {
    /// A GStreamer media type.
    caps: String,
    data: Bytes,
}

impl Still {
    /// It as it is, where it is a JPEG.
    pub fn as_jpeg(&self) -> Option<Bytes> {
        (self.caps == JPEG || self.caps.starts_with("image/jpeg,")).then(|| self.data.clone())
    }
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum NoStill {
    /// There is sound, but no picture.
    NoVideo,
    /// The bytes are nothing that can be taken apart here.
    NotUnderstood(Failure),
    /// They have ended, for this reason if one is known.
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
    made(job::Picture { format, size }, frames).await
}

/// The picture `still`, at most so wide.
///
/// # Errors
/// Nothing is installed that decodes it, or nothing comes of it.
pub async fn render_still(
    still: &Still,
    format: Format,
    width: Option<u32>,
) -> Result<Bytes, Failure> {
    let job = job::Still { caps: still.caps.clone(), format, width };
    made(job, vec![still.data.clone()]).await
}

async fn made(job: impl JobKind<Answer = Done>, data: Vec<Bytes>) -> Result<Bytes, Failure> {
    Host::run("picture", job, data, MAKING, Failure::NoFrames { after: MAKING }).await
}

/// Waits for the first picture that `viewer` is given whole and that needs no
/// other, until `giving_up` says why there will be none. Its stream says that it
/// has the type `content_type`.
///
/// # Errors
/// There will be none.
pub async fn extract(
    viewer: &mut Viewer,
    content_type: &str,
    giving_up: impl Future<Output = NoStill>,
) -> Result<Still, NoStill> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = async {
        match kind.as_str() {
            "multipart/x-mixed-replace" | "image/jpeg" => jpeg(viewer).await,
            // In its midst it cannot be told from anything else.
            "video/h264" => unpacked(viewer, Some("video/x-h264,stream-format=byte-stream")).await,
            _ => unpacked(viewer, None).await,
        }
    };
    tokio::select! {
        biased;
        found = found => found,
        why = giving_up => Err(why),
    }
}

async fn jpeg(viewer: &mut Viewer) -> Result<Still, NoStill> {
    let (mut finder, mut taken) = (Finder::default(), 0);
    while taken <= BYTES_AT_MOST {
        let bytes = viewer.next().await.map_err(NoStill::Ended)?;
        taken += bytes.len();
        if let Some(data) = finder.push(&bytes) {
            return Ok(Still { caps: JPEG.to_owned(), data });
        }
    }
    Err(NoStill::NotUnderstood(Failure::Build("there is no JPEG in its bytes".to_owned())))
}

async fn unpacked(viewer: &mut Viewer, caps: Option<&str>) -> Result<Still, NoStill> {
    let job = job::Extract { caps: caps.map(str::to_owned) };
    let (mut host, mut input) =
        Host::start("picture", job).await.map_err(NoStill::NotUnderstood)?;
    let (mut taken, mut cause) = (0, None);
    let given = async {
        while taken <= BYTES_AT_MOST {
            match viewer.next().await {
                Ok(bytes) => {
                    taken += bytes.len();
                    input.data(bytes).await?;
                }
                Err(why) => {
                    cause = why;
                    break;
                }
            }
        }
        // What it has may be enough.
        input.end().await
    };
    let answer = host.answer(given).await;
    host.end().await;
    match answer {
        Ok((Extracted::Picture { caps }, data)) => Ok(Still { caps, data }),
        Ok((Extracted::NoVideo, _)) => Err(NoStill::NoVideo),
        Ok((Extracted::NotUnderstood(Failure::Ended), _)) if taken > BYTES_AT_MOST => {
            let told = "there is no picture in its bytes";
            Err(NoStill::NotUnderstood(Failure::Build(told.to_owned())))
        }
        Ok((Extracted::NotUnderstood(Failure::Ended), _)) => Err(NoStill::Ended(cause)),
        Ok((Extracted::NotUnderstood(failure), _)) => Err(NoStill::NotUnderstood(failure)),
        Err(failure) => Err(NoStill::Ended(Some(failure))),
    }
}
