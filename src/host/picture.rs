//! Converts encoded frames to one picture, with pipelines for that picture only.
//!
//! Which frames, and whether at all, is decided in `outputs::picture`.

use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;

use super::packages;
use super::running::Running;
use crate::engine::plan::{decode_any_line, decode_line, narrowed, picture_line};
use crate::model::failure::{Content, Failure};
use crate::model::fault::Fault;
use crate::model::picture::Format;

/// Decoders in the order in which they are tried. libav comes last: loading it takes RSS
/// from 11 to 48 MiB (measured).
const DECODERS: [&str; 3] = ["openh264dec", "v4l2h264dec", "avdec_h264"];

/// Time limits of the two pipelines.
const DECODE_TIMEOUT: Duration = Duration::from_secs(8);
const ENCODE_TIMEOUT: Duration = Duration::from_secs(4);

/// Pictures without colorimetry are BT.709 from this height on, and BT.601 below.
const HD_HEIGHT: i32 = 720;

/// The last picture of `frames`, access units in Annex B form of which the
/// first is a key frame; scaled to `size` (width and height) if there is one.
///
/// # Errors
/// No decoder is installed, or none makes a picture of the frames.
pub(super) async fn render(
    frames: Vec<Bytes>,
    format: Format,
    size: Option<(u32, u32)>,
) -> Result<Bytes, Failure> {
    let plain = decoded(&frames).await?;
    encoded(&plain, format, size).await
}

/// The intra frame `data` with these `caps`, scaled down to `width` if it is wider.
///
/// # Errors
/// No decoder is installed for it, or it cannot be decoded.
pub(super) async fn render_intra(
    caps: &str,
    data: Bytes,
    format: Format,
    width: Option<u32>,
) -> Result<Bytes, Failure> {
    let caps = caps.parse::<gst::Caps>().map_err(Fault::caps)?;
    let is_h264 = caps.structure(0).is_some_and(|of| of.name() == "video/x-h264");
    let plain = if is_h264 {
        decoded(&[data]).await?
    } else {
        let line = decode_any_line()?;
        let mut buffer = gst::Buffer::from_slice(data);
        let fresh = buffer.get_mut().expect("a new buffer has one owner");
        fresh.set_pts(gst::ClockTime::ZERO);
        run_through(line, Some(caps), vec![buffer], DECODE_TIMEOUT).await?
    };
    let side = |name| {
        let side = plain.caps()?.structure(0)?.get::<i32>(name).ok()?;
        u32::try_from(side).ok()
    };
    let source = side("width").zip(side("height")).unwrap_or_default();
    encoded(&plain, format, width.and_then(|width| narrowed(source, width))).await
}

async fn encoded(
    plain: &gst::Sample,
    format: Format,
    size: Option<(u32, u32)>,
) -> Result<Bytes, Failure> {
    let line = picture_line(format, size)?;
    let caps = plain.caps().map(with_colorimetry);
    let plain: Vec<_> = plain.buffer_owned().into_iter().collect();
    let file = run_through(line, caps, plain, ENCODE_TIMEOUT).await?;
    let buffer = file.buffer_owned().ok_or_else(|| no_data("image encoder"))?;
    let map = buffer.into_mapped_buffer_readable().map_err(|_| no_data("image buffer"))?;
    Ok(Bytes::copy_from_slice(&map))
}

/// The installed decoders, in order of preference.
pub(super) fn decoders() -> impl Iterator<Item = &'static str> {
    DECODERS.into_iter().filter(|name| gst::ElementFactory::find(name).is_some())
}

/// The preferred installed decoder of H.264.
///
/// # Errors
/// None is installed.
pub fn first_decoder() -> Result<&'static str, Failure> {
    decoders().next().ok_or_else(no_decoder)
}

/// The failure without a decoder, with the package of the preferred one.
pub(super) fn no_decoder() -> Failure {
    let element = DECODERS[0];
    Failure::MissingElement {
        element: element.to_owned(),
        package: packages::of(element).map(Into::into),
    }
}

async fn decoded(frames: &[Bytes]) -> Result<gst::Sample, Failure> {
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .build();
    let mut first_failure = None;
    for decoder in decoders() {
        let line = decode_line(decoder)?;
        // A decoder that looks ahead gives nothing for a single frame; so it is sent twice.
        let again = frames.first().filter(|_| frames.len() == 1);
        let units = frames.iter().chain(again).zip(0u64..).map(|(data, index)| {
            let mut buffer = gst::Buffer::from_slice(data.clone());
            let fresh = buffer.get_mut().expect("a new buffer has one owner");
            // Any increasing times will do.
            fresh.set_pts(gst::ClockTime::from_mseconds(index));
            fresh.set_dts(gst::ClockTime::from_mseconds(index));
            buffer
        });
        match run_through(line, Some(caps.clone()), units.collect(), DECODE_TIMEOUT).await {
            Ok(sample) => return Ok(sample),
            Err(failure) => {
                debug!("{decoder} gave no picture: {failure}");
                first_failure.get_or_insert(failure);
            }
        }
    }
    Err(first_failure.unwrap_or_else(no_decoder))
}

/// Runs buffers through the pipeline of `line` and returns the last sample.
async fn run_through(
    line: String,
    caps: Option<gst::Caps>,
    buffers: Vec<gst::Buffer>,
    limit: Duration,
) -> Result<gst::Sample, Failure> {
    let started = tokio::task::spawn_blocking(move || start(&line, caps.as_ref(), buffers)).await;
    let (mut running, played) = started.map_err(Fault::panic)??;
    let ended = match played {
        Ok(()) => tokio::time::timeout(limit, running.ended()).await,
        Err(failure) => Ok(failure),
    };
    let last =
        running.element("last").map(|sink| sink.property::<Option<gst::Sample>>("last-sample"));
    running.close().await;
    match ended {
        Ok(Failure::Ended) => last?.ok_or(Failure::NotFound(Content::Picture)),
        Ok(failure) => Err(failure),
        Err(_) => Err(Failure::NoFrames { after: limit }),
    }
}

/// A pipeline and how its start went; it must be closed either way.
type Started = (Running, Result<(), Failure>);

fn start(
    line: &str,
    caps: Option<&gst::Caps>,
    buffers: Vec<gst::Buffer>,
) -> Result<Started, Failure> {
    let mut running = Running::build(line, Vec::new())?;
    let source = running
        .element("units")?
        .downcast::<gst_app::AppSrc>()
        .map_err(|_| Fault::wrong_element("units", "appsrc"))?;
    source.set_caps(caps);
    // It queues everything; the caller limits the amount.
    source.set_max_bytes(0);
    source.set_max_buffers(0);
    source.set_max_time(gst::ClockTime::ZERO);
    let played = running.play();
    for buffer in buffers {
        if source.push_buffer(buffer).is_err() {
            // The bus gives the reason.
            break;
        }
    }
    source.end_of_stream().ok();
    Ok((running, played))
}

/// Adds a missing colorimetry, as browsers assume it.
pub(super) fn with_colorimetry(caps: &gst::CapsRef) -> gst::Caps {
    let mut caps = caps.to_owned();
    let structure = caps.make_mut().structure_mut(0);
    if let Some(structure) = structure.filter(|structure| !structure.has_field("colorimetry")) {
        let is_high = structure.get::<i32>("height").is_ok_and(|height| height >= HD_HEIGHT);
        structure.set("colorimetry", if is_high { "bt709" } else { "bt601" });
    }
    caps
}

fn no_data(element: &'static str) -> Failure {
    Fault::NoData { element: element.into() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn invalid_video_fails_with_a_reason() {
        gst::init().unwrap();
        let frames = vec![Bytes::from_static(b"\0\0\0\x01\x65nonsense")];

        let failure = render(frames, Format::Png, None).await.unwrap_err();

        assert!(!failure.to_string().is_empty());
    }

    #[test]
    fn missing_colorimetry_is_set_by_the_height() {
        gst::init().unwrap();
        let colours = |text: &str| {
            let caps: gst::Caps = text.parse().unwrap();
            with_colorimetry(&caps).structure(0).unwrap().get::<String>("colorimetry").unwrap()
        };
        assert_eq!(colours("video/x-raw,height=360,colorimetry=1:3:5:1"), "1:3:5:1");
        assert_eq!(colours("video/x-raw,height=360"), "bt601");
        assert_eq!(colours("video/x-raw,height=720"), "bt709");
    }
}
