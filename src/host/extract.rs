//! Extracts one encoded picture from bytes of an unknown container.
//!
//! GStreamer detects the container, from as few bytes as possible and for a limited time.
//! The bytes are untrusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;
use tokio::sync::mpsc;

use super::feeder::Source;
use super::incoming::SoundAlone;
use super::running::Running;
use super::unpack::discard;
use crate::base::lock::Lock;
use crate::engine::plan::{extract_line, intra_line};
use crate::model::failure::Failure;
use crate::model::fault::Fault;

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExtractError {
    /// There is sound, but no video.
    NoVideo,
    /// The container or codec is not supported, or the bytes have ended.
    Failed(Failure),
}

/// An intra frame: its caps and its data.
type Intra = (gst::Caps, Bytes);

/// The first complete intra frame in `bytes`; `caps` are theirs, if known. The future must
/// not be dropped before its end: it stops the pipeline.
///
/// # Errors
/// No intra frame was found.
pub(super) async fn first_intra(
    mut bytes: mpsc::Receiver<Bytes>,
    caps: Option<&str>,
) -> Result<(String, Bytes), ExtractError> {
    let caps = caps.map(str::parse::<gst::Caps>).transpose();
    let caps = caps.map_err(|error| ExtractError::Failed(Fault::caps(error).into()))?;
    // Two: a picture, and a report of sound before it.
    let (sender, mut found) = mpsc::channel(2);
    let started = tokio::task::spawn_blocking(move || start(caps.as_ref(), sender)).await;
    let started = started.unwrap_or_else(|panic| Err(Fault::panic(panic).into()));
    let Started { mut running, source, played } = started.map_err(ExtractError::Failed)?;
    if let Err(failure) = played {
        running.close().await;
        return Err(ExtractError::Failed(failure));
    }
    let pushed = async {
        while let Some(bytes) = bytes.recv().await {
            if source.push(gst::Buffer::from_slice(bytes)).is_err() {
                // The bus gives the reason.
                std::future::pending::<()>().await;
            }
            source.has_room().await;
        }
        // The bytes so far may be enough.
        source.end();
        tokio::time::sleep(DRAIN_TIMEOUT).await;
        ExtractError::Failed(Failure::Ended)
    };
    let result = tokio::select! {
        biased;
        Some(found) = found.recv() => found,
        failure = running.ended() => Err(ExtractError::Failed(failure)),
        why = pushed => Err(why),
    };
    running.close().await;
    result.map(|(caps, data)| (caps.to_string(), data))
}

/// How long the pipeline may take for the last bytes.
const DRAIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

type Found = Result<Intra, ExtractError>;

/// A pipeline and how its start went; it must be closed either way.
struct Started {
    running: Running,
    source: Source,
    played: Result<(), Failure>,
}

fn start(caps: Option<&gst::Caps>, sender: mpsc::Sender<Found>) -> Result<Started, Failure> {
    let line = extract_line()?;
    let mut running = Running::build(&line, Vec::new())?;
    let source = Source::for_bytes(running.element("bytes")?, caps)?;
    let found = running.element("found")?;
    let (pipeline, linked) = (running.pipeline().downgrade(), Arc::<AtomicBool>::default());
    found.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let is_picture = caps.structure(0).is_some_and(|structure| {
            let name = structure.name();
            name.starts_with("video/") || name.starts_with("image/")
        });
        let Some(pipeline) = pipeline.upgrade() else { return };
        debug!("a track of {caps}");
        let is_first = is_picture && !linked.load(Ordering::Relaxed);
        if is_first && link(&pipeline, pad, &caps, sender.clone()).is_some() {
            linked.store(true, Ordering::Relaxed);
        } else {
            discard(&pipeline, pad);
            report_sound_alone(pad, &linked, &sender);
        }
    });
    let played = running.play();
    Ok(Started { running, source, played })
}

/// Reports sound that comes for long without video.
fn report_sound_alone(pad: &gst::Pad, linked: &Arc<AtomicBool>, sender: &mpsc::Sender<Found>) {
    let (linked, sender) = (Arc::clone(linked), sender.clone());
    let alone = Lock::new(SoundAlone::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if linked.load(Ordering::Relaxed) {
            return gst::PadProbeReturn::Remove;
        }
        let mut alone = alone.lock();
        if info.buffer().is_some_and(|frame| alone.has_timed_out(frame)) {
            sender.try_send(Err(ExtractError::NoVideo)).ok();
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
}

fn link(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    sender: mpsc::Sender<Found>,
) -> Option<()> {
    let line = intra_line(is_named(caps, "video/x-h264")).ok()?;
    let bin = gst::parse::bin_from_description(&line, true).ok()?;
    let sink = bin.by_name("units")?.downcast::<gst_app::AppSink>().ok()?;
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                match intra_of(&sample) {
                    Some(intra) => {
                        sender.try_send(Ok(intra)).ok();
                        Err(gst::FlowError::Eos)
                    }
                    None => Ok(gst::FlowSuccess::Ok),
                }
            })
            .build(),
    );
    pipeline.add(&bin).ok()?;
    bin.sync_state_with_parent().ok()?;
    let linked = pad.link(&bin.static_pad("sink")?);
    if let Err(error) = &linked {
        debug!("cannot link a video track: {error}: {caps}");
    }
    linked.ok().map(|_| ())
}

fn intra_of(sample: &gst::Sample) -> Option<Intra> {
    let caps = sample.caps_owned()?;
    let buffer = sample.buffer()?;
    if buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
        return None;
    }
    let data = Bytes::copy_from_slice(&buffer.map_readable().ok()?);
    Some((caps, data))
}

fn is_named(caps: &gst::Caps, name: &str) -> bool {
    caps.structure(0).is_some_and(|structure| structure.name() == name)
}
