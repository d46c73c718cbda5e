//! Pictures of streams: the request, the frames to decode, the cache.
//!
//! Decodes on request only. Concurrent requests for the same picture share the
//! result. Decoding itself runs in a host (`engine::process`).

mod bytes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::lock::Lock;
use crate::base::time::MediaTime;
use crate::engine::plan::narrowed;
use crate::engine::process::render;
use crate::hub::{Past, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::model::ids::StreamName;
use crate::model::picture::Format;

/// Decoders that may run at once: pictures must not take the CPU from encoders.
const MAX_DECODERS: usize = 2;

/// A request that waits longer for a decoder or a first frame is refused.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The newest frame is shown if at most this many pixels must be decoded since
/// its key frame, otherwise the key frame: two seconds of 720p at 30 frames a
/// second, measured as 0.1 s of work.
const MAX_DECODED_PIXELS: u64 = 1280 * 720 * 60;

/// Cached pictures of each stream.
const MAX_CACHED: usize = 4;

/// Higher qualities look the same; the documented default.
const DEFAULT_QUALITY: u8 = 85;

const MAX_AGO_SECONDS: f64 = 86_400.0;

const MIN_WIDTH: u32 = 16;
const MAX_WIDTH: u32 = 4096;

/// The format and size of a requested picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureRequest {
    pub format: Format,
    /// In pixels; a wider one than the stream's has no effect.
    pub width: Option<u32>,
}

/// The request without parameters.
const DEFAULT_REQUEST: PictureRequest =
    PictureRequest { format: Format::Jpg { quality: DEFAULT_QUALITY }, width: None };

/// A query parameter with an invalid value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Invalid value for '{field}'")]
pub struct BadParameter {
    pub field: &'static str,
    /// The valid values.
    pub valid: &'static str,
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PictureError {
    #[error("the stream has no picture, only sound")]
    NoVideo,
    #[error("too many pictures are being made")]
    Busy,
    #[error("'ago' exceeds the part of the stream in memory, which {}", extent(*.0))]
    OutOfReach(Option<Duration>),
    #[error("the stream's content cannot be decoded to a picture: {0}")]
    NotUnderstood(Failure),
    #[error(transparent)]
    Failed(#[from] Failure),
}

fn extent(reach: Option<Duration>) -> String {
    match reach {
        Some(reach) => format!("reaches back {:.1} s", reach.as_secs_f64()),
        None => "is empty: it is filled while there are viewers, or in mode continuous".to_owned(),
    }
}

impl PictureRequest {
    /// Parses the query's pairs and the `Accept` header. Unknown names are
    /// ignored: clients add them to bypass caches.
    ///
    /// # Errors
    /// The first parameter with an invalid value.
    pub fn parse(pairs: &[(String, String)], accept: Option<&str>) -> Result<Self, BadParameter> {
        let quality = quality(pairs)?.unwrap_or(DEFAULT_QUALITY);
        let width = width(pairs)?;
        let format = match find(pairs, "format").map(str::to_ascii_lowercase).as_deref() {
            Some("jpg" | "jpeg") => Format::Jpg { quality },
            Some("png") => Format::Png,
            Some(_) => return Err(BadParameter { field: "format", valid: "jpg, png" }),
            None if accept.is_some_and(prefers_png) => Format::Png,
            None => Format::Jpg { quality },
        };
        Ok(Self { format, width })
    }

    pub fn content_type(&self) -> &'static str {
        match self.format {
            Format::Jpg { .. } => "image/jpeg",
            Format::Png => "image/png",
        }
    }

    /// The size to scale to, in pixels; `None` for the size of the source.
    fn size(&self, source: (u32, u32)) -> Option<(u32, u32)> {
        narrowed(source, self.width?)
    }
}

/// The last value of `name` in a query.
pub(super) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// `?quality=`, in percent.
pub(super) fn quality(pairs: &[(String, String)]) -> Result<Option<u8>, BadParameter> {
    let read = |text: &str| {
        let quality = text.parse().ok().filter(|quality| (1..=100).contains(quality));
        quality.ok_or(BadParameter { field: "quality", valid: "1 to 100" })
    };
    find(pairs, "quality").map(read).transpose()
}

/// `?ago=`, the age of the requested picture in seconds: `5`, `2.5`, `5s`.
///
/// # Errors
/// Not a number from 0 to 86400.
pub fn ago(pairs: &[(String, String)]) -> Result<Duration, BadParameter> {
    let read = |text: &str| {
        let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
        let seconds = seconds.filter(|seconds| (0.0..=MAX_AGO_SECONDS).contains(seconds));
        seconds
            .map(Duration::from_secs_f64)
            .ok_or(BadParameter { field: "ago", valid: "seconds, 0 to 86400, such as 5 or 2.5s" })
    };
    find(pairs, "ago").map_or(Ok(Duration::ZERO), read)
}

/// `?width=`, in pixels.
pub(super) fn width(pairs: &[(String, String)]) -> Result<Option<u32>, BadParameter> {
    let read = |text: &str| {
        let width = text.parse().ok().filter(|width| (MIN_WIDTH..=MAX_WIDTH).contains(width));
        width.ok_or(BadParameter { field: "width", valid: "16 to 4096 pixels" })
    };
    find(pairs, "width").map(read).transpose()
}

/// Whether an `Accept` header (RFC 9110, 12.5.1) prefers PNG to JPEG.
fn prefers_png(accept: &str) -> bool {
    let weight = |exact: &str| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next()?.to_ascii_lowercase();
            let q = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1.0), |q| q.parse().ok());
            let specificity = match name.as_str() {
                name if name == exact => 3,
                "image/*" => 2,
                "*/*" => 1,
                _ => return None,
            };
            Some((specificity, q.unwrap_or(0.0f64)))
        });
        ranges.max_by_key(|(specificity, _)| *specificity).map_or(0.0, |(_, q)| q)
    };
    weight("image/png") > weight("image/jpeg")
}

/// Makes pictures of all streams and caches the latest of each.
#[derive(Debug)]
pub struct Pictures {
    decoders: Arc<Semaphore>,
    /// Limits the byte streams that are searched for a picture.
    extractions: Arc<Semaphore>,
    cache: Arc<Cache>,
}

/// The pictures of each stream, the oldest first.
type Cache = Lock<HashMap<StreamName, Vec<Cached>>>;

#[derive(Clone, Debug)]
struct Cached {
    request: PictureRequest,
    /// The time of its frame.
    head: MediaTime,
    bytes: Bytes,
}

/// A picture about to be made.
struct Rendering {
    name: StreamName,
    request: PictureRequest,
    /// Width and height of the stream.
    size: (u32, u32),
    /// The time of the last of the frames.
    head: MediaTime,
    /// From a key frame to the picture, each in Annex B form.
    frames: Vec<Bytes>,
}

impl Default for Pictures {
    fn default() -> Self {
        let [decoders, extractions] =
            [MAX_DECODERS, bytes::MAX_EXTRACTIONS].map(|count| Arc::new(Semaphore::new(count)));
        Self { decoders, extractions, cache: Arc::default() }
    }
}

impl Pictures {
    /// A picture of the stream that `reader` has joined with `init`: the newest
    /// frame at the time of the call, or its key frame if too many pixels would
    /// have to be decoded.
    ///
    /// # Errors
    /// There is no video, the queue is full, or the frames cannot be decoded.
    pub async fn newest(
        &self,
        mut reader: Reader,
        init: Arc<Init>,
        request: PictureRequest,
    ) -> Result<Bytes, PictureError> {
        let name = reader.stream().name().clone();
        let mut backlog = Backlog::new(init);
        if !backlog.has_video() {
            return Err(PictureError::NoVideo);
        }
        backlog.fill(&mut reader).await?;
        let requested = backlog.head();
        if let Some(cached) = self.cached(&name, request, requested) {
            return Ok(cached.bytes);
        }
        let permit = self.decoder().await?;
        // Another request may have made it meanwhile.
        if let Some(cached) = self.cached(&name, request, requested) {
            return Ok(cached.bytes);
        }
        backlog.fill(&mut reader).await?;
        let frames = backlog.frames();
        let (size, head) = (backlog.size(), backlog.head());
        let rendering = Rendering { name, request, size, head, frames };
        self.make(rendering, (permit, Some(reader))).await
    }

    /// A picture of the past of the stream `name`. All its frames are decoded.
    ///
    /// # Errors
    /// The queue is full, or the frames cannot be decoded.
    pub async fn from_past(
        &self,
        name: StreamName,
        past: Past,
        request: PictureRequest,
    ) -> Result<Bytes, PictureError> {
        let backlog = Backlog { init: past.init, chunks: past.pieces };
        let head = backlog.head();
        let permit = self.decoder().await?;
        let cached = self.cached(&name, request, head);
        if let Some(cached) = cached.filter(|cached| cached.head == head) {
            return Ok(cached.bytes);
        }
        let frames = backlog.all_frames();
        let rendering = Rendering { name, request, size: backlog.size(), head, frames };
        self.make(rendering, (permit, None)).await
    }

    /// Waits for a free decoder.
    async fn decoder(&self) -> Result<OwnedSemaphorePermit, PictureError> {
        let permit = Arc::clone(&self.decoders).acquire_owned();
        let permit = tokio::time::timeout(QUEUE_TIMEOUT, permit).await;
        permit.ok().and_then(Result::ok).ok_or(PictureError::Busy)
    }

    /// Makes a picture and caches it. `guards` are held meanwhile.
    async fn make(
        &self,
        rendering: Rendering,
        guards: (OwnedSemaphorePermit, Option<Reader>),
    ) -> Result<Bytes, PictureError> {
        let cache = Arc::clone(&self.cache);
        // A task, so that it completes even if the request is cancelled.
        let making = tokio::spawn(async move {
            let Rendering { name, request, size, head, frames } = rendering;
            let made = render(frames, request.format, request.size(size)).await;
            drop(guards);
            let bytes = made?;
            insert(&cache, name, Cached { request, head, bytes: bytes.clone() });
            Ok(bytes)
        });
        let made = making.await.unwrap_or_else(|panic| Err(Fault::panic(panic).into()));
        made.map_err(PictureError::Failed)
    }

    /// The cached picture for `request` of a frame not older than `not_before`.
    fn cached(
        &self,
        name: &StreamName,
        request: PictureRequest,
        not_before: MediaTime,
    ) -> Option<Cached> {
        let cache = self.cache.lock();
        let mut pictures = cache.get(name)?.iter();
        pictures.find(|one| one.request == request && one.head >= not_before).cloned()
    }
}

/// Adds a picture; replaces the one of the same request, or evicts the oldest.
fn insert(cache: &Cache, name: StreamName, new: Cached) {
    let mut cache = cache.lock();
    let pictures = cache.entry(name).or_default();
    pictures.retain(|one| one.request != new.request);
    if pictures.len() >= MAX_CACHED {
        pictures.remove(0);
    }
    pictures.push(new);
}

/// The frames since the latest key frame.
struct Backlog {
    init: Arc<Init>,
    chunks: Vec<Arc<Piece>>,
}

impl Backlog {
    fn new(init: Arc<Init>) -> Self {
        Self { init, chunks: Vec::new() }
    }

    fn has_video(&self) -> bool {
        self.init.tracks.video.is_some()
    }

    fn size(&self) -> (u32, u32) {
        self.init.tracks.video.as_ref().map_or((0, 0), |video| (video.width, video.height))
    }

    /// Adds all frames that are available; waits for the first one if there is none.
    async fn fill(&mut self, reader: &mut Reader) -> Result<(), PictureError> {
        while let Some(read) = reader.try_next() {
            self.add(read);
        }
        let first = async {
            while self.chunks.is_empty() {
                let read = reader.next().await;
                self.add(read);
            }
        };
        let silence = Failure::NoFrames { after: QUEUE_TIMEOUT };
        let waited = tokio::time::timeout(QUEUE_TIMEOUT, first).await;
        waited.map_err(|_| PictureError::Failed(silence))
    }

    fn add(&mut self, read: Read) {
        match read {
            Read::Init(init) => {
                self.init = init;
                self.chunks.clear();
            }
            Read::Skipped(_) => self.chunks.clear(),
            Read::Chunk(chunk) if chunk.key => self.chunks = vec![chunk],
            // A frame cannot be decoded without its key frame.
            Read::Chunk(chunk) if chunk.has_video() && !self.chunks.is_empty() => {
                self.chunks.push(chunk);
            }
            Read::Chunk(_) | Read::End => {}
        }
    }

    /// The time of the newest frame.
    fn head(&self) -> MediaTime {
        self.chunks.last().map_or(MediaTime::default(), |chunk| chunk.start())
    }

    /// The frames to decode: all, or the key frame alone.
    fn frames(&self) -> Vec<Bytes> {
        let (width, height) = self.size();
        let count = decoded_count(self.chunks.len(), u64::from(width) * u64::from(height));
        self.chunks[..count].iter().map(|chunk| chunk.annex_b()).collect()
    }

    fn all_frames(&self) -> Vec<Bytes> {
        self.chunks.iter().map(|chunk| chunk.annex_b()).collect()
    }
}

/// How many of `frames` frames of `pixels` pixels are decoded, from the key frame on.
fn decoded_count(frames: usize, pixels: u64) -> usize {
    if frames as u64 * pixels <= MAX_DECODED_PIXELS { frames } else { frames.min(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(
        query: &[(&str, &str)],
        accept: Option<&str>,
    ) -> Result<PictureRequest, BadParameter> {
        let pairs: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        PictureRequest::parse(&pairs, accept)
    }

    #[test]
    fn the_default_is_a_jpg_of_85_percent() {
        let plain = PictureRequest { format: Format::Jpg { quality: 85 }, width: None };
        assert_eq!(parsed(&[], None), Ok(plain));
        assert_eq!(parsed(&[("t", "1234")], Some("*/*")), Ok(plain));
    }

    #[test]
    fn the_query_overrides_the_header() {
        let accept = Some("image/png");
        assert_eq!(parsed(&[], accept).unwrap().content_type(), "image/png");
        assert_eq!(parsed(&[("format", "jpg")], accept).unwrap().content_type(), "image/jpeg");
        assert_eq!(parsed(&[("format", "PNG")], None).unwrap().content_type(), "image/png");
    }

    #[test]
    fn browsers_get_jpg_and_weights_are_honoured() {
        for (accept, png) in [
            ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", false),
            ("image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", true),
            ("image/jpeg;q=0.4, image/png;q=0.5", true),
            ("image/png;q=0.1, */*", false),
            ("image/png;q=x", false),
            ("", false),
        ] {
            assert_eq!(prefers_png(accept), png, "{accept}");
        }
    }

    #[test]
    fn invalid_values_are_named() {
        for (field, value) in [
            ("format", "gif"),
            ("quality", "0"),
            ("quality", "101"),
            ("quality", "best"),
            ("width", "15"),
            ("width", "4097"),
            ("width", "-1"),
        ] {
            assert_eq!(parsed(&[(field, value)], None).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn ago_is_in_seconds_with_or_without_the_unit() {
        let read = |text: &str| ago(&[("ago".to_owned(), text.to_owned())]);
        for (text, ms) in [("5", 5000), ("2.5s", 2500), ("0", 0), (".2", 200)] {
            assert_eq!(read(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["-1", "", "s", "1m", "NaN", "inf", "86401"] {
            assert_eq!(read(text).unwrap_err().field, "ago", "{text}");
        }
        assert_eq!(ago(&[]), Ok(Duration::ZERO));
    }

    #[test]
    fn a_width_keeps_the_aspect_ratio_and_never_enlarges() {
        let size = |width: u32, source| {
            PictureRequest { format: Format::Png, width: Some(width) }.size(source)
        };
        assert_eq!(size(640, (1280, 720)), Some((640, 360)));
        assert_eq!(size(321, (1280, 720)), Some((320, 180)));
        assert_eq!(size(16, (4096, 32)), Some((16, 2)));
        assert_eq!(size(1280, (1280, 720)), None);
        assert_eq!(size(2000, (1280, 720)), None);
    }

    #[test]
    fn many_frames_since_the_key_frame_are_not_decoded() {
        assert_eq!(decoded_count(60, 1280 * 720), 60);
        assert_eq!(decoded_count(61, 1280 * 720), 1);
        assert_eq!(decoded_count(0, 1280 * 720), 0);
    }

    #[test]
    fn few_pictures_are_cached_and_a_newer_one_replaces_that_of_its_request() {
        let pictures = Pictures::default();
        let name: StreamName = "camera".parse().unwrap();
        let with_width = |width| PictureRequest { format: Format::Png, width: Some(width) };
        for (width, head) in [(16, 1), (16, 2), (17, 2), (18, 2), (19, 2), (20, 3)] {
            let bytes = Bytes::from(vec![width as u8, head as u8]);
            let cached = Cached { request: with_width(width), head: MediaTime(head), bytes };
            insert(&pictures.cache, name.clone(), cached);
        }

        let found = |width, head| {
            let cached = pictures.cached(&name, with_width(width), MediaTime(head));
            cached.map(|cached| cached.bytes)
        };
        assert_eq!(found(16, 1), None, "the oldest is evicted");
        assert_eq!(found(20, 3).unwrap(), [20, 3].as_slice());
        assert_eq!(found(20, 4), None, "the stream has newer frames");
        assert_eq!(pictures.cache.lock()[&name].len(), MAX_CACHED);
    }

    proptest::proptest! {
        #[test]
        fn no_header_or_query_panics(accept in ".{0,60}", key in "format|quality|width", value in ".{0,12}") {
            let read = PictureRequest::parse(&[(key, value)], Some(&accept));
            if let Ok(PictureRequest { format: Format::Jpg { quality }, .. }) = read {
                assert!((1..=100).contains(&quality));
            }
        }
    }
}
