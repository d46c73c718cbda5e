//! Pictures of streams: what is asked, which frames make it, what is kept.
//!
//! Nothing is decoded that nobody asks for. Those who ask for the same picture
//! while it is made get the same bytes. The decoding itself is `engine::gst`'s.

mod bytes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::time::MediaTime;
use crate::engine::plan::narrowed;
use crate::engine::process::render;
use crate::hub::{Past, Piece, Read, Reader};
use crate::media::packager::Init;
use crate::model::ids::StreamName;
use crate::model::picture::Format;
use crate::model::status::Failure;

/// Decoders at work at once on the whole box: a picture must not take the
/// processor from the encoder.
const TURNS: usize = 2;

/// Who has waited this long for a turn is sent away.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// What may be decoded to show the newest frame and not the newest key frame:
/// two seconds of 720p at 30 frames, a tenth of a second's work here.
const CHEAP_PIXELS: u64 = 1280 * 720 * 60;

/// Pictures that are kept of one stream.
const KEPT: usize = 4;

/// A viewer cannot tell one above this from it, and this is what is promised.
const USUAL_QUALITY: u8 = 85;

/// Nobody means more by it, in seconds.
const FURTHEST: f64 = 86_400.0;

const NARROWEST: u32 = 16;
const WIDEST: u32 = 4096;

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureRequest {
    pub format: Format,
    /// Never wider than the stream.
    pub width: Option<u32>,
}

/// What is asked for without a word.
const USUAL: PictureRequest =
    PictureRequest { format: Format::Jpg { quality: USUAL_QUALITY }, width: None };

/// A parameter that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Invalid value for '{field}'")]
pub struct BadParameter {
    pub field: &'static str,
    /// What would be accepted.
    pub valid: &'static str,
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoPicture {
    #[error("the stream has no picture, only sound")]
    NoVideo,
    #[error("too many pictures are being made")]
    Busy,
    #[error("'ago' is further back than the stream's past in memory, which {}", reaching(*.0))]
    OutOfReach(Option<Duration>),
    #[error("nothing here makes a picture of what the stream gives: {0}")]
    NotUnderstood(Failure),
    #[error(transparent)]
    Failed(#[from] FailureError),
}

/// A failure as an error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct FailureError(pub Failure);

fn reaching(reach: Option<Duration>) -> String {
    match reach {
        Some(reach) => format!("reaches back {:.1} s", reach.as_secs_f64()),
        None => "is empty: it is filled while somebody watches, or in mode continuous".to_owned(),
    }
}

impl PictureRequest {
    /// Reads the query's pairs and the `Accept` header. Pairs of other names
    /// are left alone: people add them against caches.
    ///
    /// # Errors
    /// The first parameter that has an impossible value.
    pub fn read(pairs: &[(String, String)], accept: Option<&str>) -> Result<Self, BadParameter> {
        let quality = quality(pairs)?.unwrap_or(USUAL_QUALITY);
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

    /// The size of a picture whose source has this one; none if it stays.
    fn size(&self, source: (u32, u32)) -> Option<(u32, u32)> {
        narrowed(source, self.width?)
    }
}

/// What a query says last of `name`.
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

/// `?ago=`, how far back the picture lies: `5`, `2.5`, `5s`.
///
/// # Errors
/// It is no span.
pub fn ago(pairs: &[(String, String)]) -> Result<Duration, BadParameter> {
    let read = |text: &str| {
        let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
        let seconds = seconds.filter(|seconds| (0.0..=FURTHEST).contains(seconds));
        seconds
            .map(Duration::from_secs_f64)
            .ok_or(BadParameter { field: "ago", valid: "seconds, 0 to 86400, such as 5 or 2.5s" })
    };
    find(pairs, "ago").map_or(Ok(Duration::ZERO), read)
}

/// `?width=`, in pixels.
pub(super) fn width(pairs: &[(String, String)]) -> Result<Option<u32>, BadParameter> {
    let read = |text: &str| {
        let width = text.parse().ok().filter(|width| (NARROWEST..=WIDEST).contains(width));
        width.ok_or(BadParameter { field: "width", valid: "16 to 4096 pixels" })
    };
    find(pairs, "width").map(read).transpose()
}

/// Whether an `Accept` header (RFC 9110, 12.5.1) likes PNG better than JPEG.
fn prefers_png(accept: &str) -> bool {
    let weight = |exact: &str| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next()?.to_ascii_lowercase();
            let q = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1.0), |q| q.parse().ok());
            let closeness = match name.as_str() {
                name if name == exact => 3,
                "image/*" => 2,
                "*/*" => 1,
                _ => return None,
            };
            Some((closeness, q.unwrap_or(0.0f64)))
        });
        ranges.max_by_key(|(closeness, _)| *closeness).map_or(0.0, |(_, q)| q)
    };
    weight("image/png") > weight("image/jpeg")
}

/// The pictures of the whole box: those that are made, and the latest of each stream.
#[derive(Debug)]
pub struct Pictures {
    turns: Arc<Semaphore>,
    /// Streams of bytes that are looked into.
    looking: Arc<Semaphore>,
    kept: Arc<Mutex<HashMap<StreamName, Vec<Kept>>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    wish: PictureRequest,
    head: MediaTime,
    bytes: Bytes,
}

impl Default for Pictures {
    fn default() -> Self {
        let [turns, looking] = [TURNS, bytes::LOOKING].map(|count| Arc::new(Semaphore::new(count)));
        Self { turns, looking, kept: Arc::default() }
    }
}

impl Pictures {
    /// A picture of the stream that `reader` has joined with `init`, as new as
    /// the newest frame at the time of the call, or of the latest key frame
    /// where that is far cheaper.
    ///
    /// # Errors
    /// There is no video, too many ask, or the frames cannot be decoded.
    pub async fn take(
        &self,
        mut reader: Reader,
        init: Arc<Init>,
        wish: PictureRequest,
    ) -> Result<Bytes, NoPicture> {
        let name = reader.stream().name().clone();
        let mut backlog = Backlog::new(init);
        if !backlog.has_video() {
            return Err(NoPicture::NoVideo);
        }
        backlog.fill(&mut reader).await?;
        let asked_at = backlog.head();
        if let Some((_, bytes)) = self.kept(&name, wish, asked_at) {
            return Ok(bytes);
        }
        let turn = self.turn().await?;
        // Another who waited may have had it made.
        if let Some((_, bytes)) = self.kept(&name, wish, asked_at) {
            return Ok(bytes);
        }
        backlog.fill(&mut reader).await?;
        let frames = backlog.frames();
        self.make(name, wish, backlog, frames, (turn, Some(reader))).await
    }

    /// A picture of the past of the stream `name`. All that leads to it is decoded.
    ///
    /// # Errors
    /// Too many ask, or the frames cannot be decoded.
    pub async fn of_past(
        &self,
        name: StreamName,
        past: Past,
        wish: PictureRequest,
    ) -> Result<Bytes, NoPicture> {
        let backlog = Backlog { init: past.init, chunks: past.pieces };
        let head = backlog.head();
        let turn = self.turn().await?;
        let kept = self.kept(&name, wish, head);
        if let Some((_, bytes)) = kept.filter(|(of, _)| *of == head) {
            return Ok(bytes);
        }
        let frames = backlog.all_frames();
        self.make(name, wish, backlog, frames, (turn, None)).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, NoPicture> {
        let turn =
            tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(NoPicture::Busy)
    }

    /// Makes a picture of `frames` and keeps it. `guards` are held meanwhile.
    async fn make(
        &self,
        name: StreamName,
        wish: PictureRequest,
        of: Backlog,
        frames: Vec<Bytes>,
        guards: (OwnedSemaphorePermit, Option<Reader>),
    ) -> Result<Bytes, NoPicture> {
        let kept = Arc::clone(&self.kept);
        // A task of its own: it tidies up even if the one who asked has left.
        let making = tokio::spawn(async move {
            let head = of.head();
            let made = render(frames, wish.format, wish.size(of.size())).await;
            drop(guards);
            let bytes = made?;
            keep(&kept, name, Kept { wish, head, bytes: bytes.clone() });
            Ok(bytes)
        });
        let made = making.await.unwrap_or_else(|panic| Err(Failure::Build(panic.to_string())));
        made.map_err(|failure| NoPicture::Failed(FailureError(failure)))
    }

    /// A picture that was made, and of what time it is.
    fn kept(
        &self,
        name: &StreamName,
        wish: PictureRequest,
        not_before: MediaTime,
    ) -> Option<(MediaTime, Bytes)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            kept.get(name)?.iter().find(|one| one.wish == wish && one.head >= not_before)?;
        Some((found.head, found.bytes.clone()))
    }
}

/// Keeps a picture instead of the oldest one or the one it replaces.
fn keep(kept: &Mutex<HashMap<StreamName, Vec<Kept>>>, name: StreamName, new: Kept) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let of_stream = kept.entry(name).or_default();
    of_stream.retain(|one| one.wish != new.wish);
    if of_stream.len() >= KEPT {
        of_stream.remove(0);
    }
    of_stream.push(new);
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

    /// Takes all that is there, and waits for a first frame where nothing is.
    async fn fill(&mut self, reader: &mut Reader) -> Result<(), NoPicture> {
        while let Some(read) = reader.try_next() {
            self.take(read);
        }
        let first = async {
            while self.chunks.is_empty() {
                let read = reader.next().await;
                self.take(read);
            }
        };
        let silence = Failure::NoFrames { after: TURN_TIMEOUT };
        let waited = tokio::time::timeout(TURN_TIMEOUT, first).await;
        waited.map_err(|_| NoPicture::Failed(FailureError(silence)))
    }

    fn take(&mut self, read: Read) {
        match read {
            Read::Init(init) => {
                self.init = init;
                self.chunks.clear();
            }
            Read::Skipped(_) => self.chunks.clear(),
            Read::Chunk(chunk) if chunk.key => self.chunks = vec![chunk],
            // Without its key frame a frame is of no use.
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

    /// What is decoded: everything, or the key frame alone.
    fn frames(&self) -> Vec<Bytes> {
        let (width, height) = self.size();
        let count = worth_decoding(self.chunks.len(), u64::from(width) * u64::from(height));
        self.chunks[..count].iter().map(|chunk| chunk.annex_b()).collect()
    }

    fn all_frames(&self) -> Vec<Bytes> {
        self.chunks.iter().map(|chunk| chunk.annex_b()).collect()
    }
}

/// How many of these frames are decoded, from the key frame on.
fn worth_decoding(frames: usize, pixels: u64) -> usize {
    if frames as u64 * pixels <= CHEAP_PIXELS { frames } else { frames.min(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(query: &[(&str, &str)], accept: Option<&str>) -> Result<PictureRequest, BadParameter> {
        let pairs: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        PictureRequest::read(&pairs, accept)
    }

    #[test]
    fn without_a_word_it_is_a_jpg_of_85_percent() {
        let plain = PictureRequest { format: Format::Jpg { quality: 85 }, width: None };
        assert_eq!(wish(&[], None), Ok(plain));
        assert_eq!(wish(&[("t", "1234")], Some("*/*")), Ok(plain));
    }

    #[test]
    fn the_query_wins_over_the_header() {
        let accept = Some("image/png");
        assert_eq!(wish(&[], accept).unwrap().content_type(), "image/png");
        assert_eq!(wish(&[("format", "jpg")], accept).unwrap().content_type(), "image/jpeg");
        assert_eq!(wish(&[("format", "PNG")], None).unwrap().content_type(), "image/png");
    }

    #[test]
    fn browsers_get_jpg_and_weights_count() {
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
    fn impossible_values_are_named() {
        for (field, value) in [
            ("format", "gif"),
            ("quality", "0"),
            ("quality", "101"),
            ("quality", "best"),
            ("width", "15"),
            ("width", "4097"),
            ("width", "-1"),
        ] {
            assert_eq!(wish(&[(field, value)], None).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn a_span_of_the_past_is_seconds_with_or_without_their_sign() {
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
    fn a_width_keeps_the_shape_and_never_enlarges() {
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
    fn a_long_way_to_the_newest_frame_is_not_gone() {
        assert_eq!(worth_decoding(60, 1280 * 720), 60);
        assert_eq!(worth_decoding(61, 1280 * 720), 1);
        assert_eq!(worth_decoding(0, 1280 * 720), 0);
    }

    #[test]
    fn few_pictures_are_kept_and_a_newer_one_replaces_its_like() {
        let pictures = Pictures::default();
        let name: StreamName = "camera".parse().unwrap();
        let like = |width| PictureRequest { format: Format::Png, width: Some(width) };
        for (width, head) in [(16, 1), (16, 2), (17, 2), (18, 2), (19, 2), (20, 3)] {
            let bytes = Bytes::from(vec![width as u8, head as u8]);
            keep(
                &pictures.kept,
                name.clone(),
                Kept { wish: like(width), head: MediaTime(head), bytes },
            );
        }

        let found = |width, head| pictures.kept(&name, like(width), MediaTime(head));
        assert_eq!(found(16, 1), None, "the oldest is gone");
        assert_eq!(found(20, 3).unwrap().1, [20, 3].as_slice());
        assert_eq!(found(20, 4), None, "the stream has gone on");
        assert_eq!(pictures.kept.lock().unwrap()[&name].len(), KEPT);
    }

    proptest::proptest! {
        #[test]
        fn no_header_or_query_makes_it_panic(accept in ".{0,60}", key in "format|quality|width", value in ".{0,12}") {
            let read = PictureRequest::read(&[(key, value)], Some(&accept));
            if let Ok(PictureRequest { format: Format::Jpg { quality }, .. }) = read {
                assert!((1..=100).contains(&quality));
            }
        }
    }
}
