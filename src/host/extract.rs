//! One picture out of bytes of which little is known: its encoded form, as it
//! lies in its container.
//!
//! What the bytes are is found out by GStreamer, from as few as possible and for
//! a limited time. They are somebody else's: nothing is believed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::debug;
use tokio::sync::mpsc;

use super::feeder::Source;
use super::incoming::Alone;
use super::running::Running;
use super::unpack::to_nowhere;
use crate::engine::plan::{extract_line, intra_line};
use crate::model::status::Failure;

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoIntra {
    /// There is sound, but no picture.
    NoVideo,
    /// The bytes are nothing that can be taken apart here, or have ended.
    Failed(Failure),
}

/// The caps and the encoded form of a picture that needs no other.
type Intra = (gst::Caps, Bytes);

/// The first picture that is whole in the bytes that come, until they
/// end; `caps` tell what they are, where that is known. To be driven to its end,
/// which leaves nothing running.
///
/// # Errors
/// There is none.
pub(super) async fn unpacked(
    mut bytes: mpsc::Receiver<Bytes>,
    caps: Option<&str>,
) -> Result<(String, Bytes), NoIntra> {
    let caps = caps.map(str::parse::<gst::Caps>).transpose();
    let caps = caps.map_err(|error| NoIntra::Failed(Failure::Build(error.to_string())))?;
    // Two: a picture, and what came before it.
    let (tell, mut found) = mpsc::channel(2);
    let started = tokio::task::spawn_blocking(move || start(caps.as_ref(), tell)).await;
    let started = started.unwrap_or_else(|panic| Err(Failure::Build(panic.to_string())));
    let Started { mut running, source, played } = started.map_err(NoIntra::Failed)?;
    if let Err(failure) = played {
        running.close().await;
        return Err(NoIntra::Failed(failure));
    }
    let pushed = async {
        while let Some(bytes) = bytes.recv().await {
            if source.push(gst::Buffer::from_slice(bytes)).is_err() {
                // The bus says why.
                std::future::pending::<()>().await;
            }
            source.has_room().await;
        }
        // What it has may be enough.
        source.end();
        running_out().await;
        NoIntra::Failed(Failure::Ended)
    };
    let result = tokio::select! {
        biased;
        Some(found) = found.recv() => found,
        failure = running.ended() => Err(NoIntra::Failed(failure)),
        why = pushed => Err(why),
    };
    running.close().await;
    result.map(|(caps, data)| (caps.to_string(), data))
}

/// How long it takes at most until the last bytes have been looked at.
async fn running_out() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

type Found = Result<Intra, NoIntra>;

/// A pipeline and how its start went; it must be closed either way.
struct Started {
    running: Running,
    source: Source,
    played: Result<(), Failure>,
}

fn start(caps: Option<&gst::Caps>, tell: mpsc::Sender<Found>) -> Result<Started, Failure> {
    let line = extract_line().map_err(|error| Failure::Build(error.to_string()))?;
    let mut running = Running::build(&line, Vec::new())?;
    let source = Source::of_bytes(running.element("bytes")?, caps)?;
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
        if is_first && link(&pipeline, pad, &caps, tell.clone()).is_some() {
            linked.store(true, Ordering::Relaxed);
        } else {
            to_nowhere(&pipeline, pad);
            tell_if_alone(pad, &linked, &tell);
        }
    });
    let played = running.play();
    Ok(Started { running, source, played })
}

/// Tells when frames of another kind come for long without a picture.
fn tell_if_alone(pad: &gst::Pad, linked: &Arc<AtomicBool>, tell: &mpsc::Sender<Found>) {
    let (linked, tell) = (Arc::clone(linked), tell.clone());
    let alone = Mutex::new(Alone::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if linked.load(Ordering::Relaxed) {
            return gst::PadProbeReturn::Remove;
        }
        let mut alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        if info.buffer().is_some_and(|frame| alone.is_it_after(frame)) {
            tell.try_send(Err(NoIntra::NoVideo)).ok();
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
}

fn link(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    caps: &gst::Caps,
    tell: mpsc::Sender<Found>,
) -> Option<()> {
    let line = intra_line(is_named(caps, "video/x-h264")).ok()?;
    let bin = gst::parse::bin_from_description(&line, true).ok()?;
    let sink = bin.by_name("units")?.downcast::<gst_app::AppSink>().ok()?;
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                match taken(&sample) {
                    Some(intra) => {
                        tell.try_send(Ok(intra)).ok();
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
        debug!("a track of pictures is not linked: {error}: {caps}");
    }
    linked.ok().map(|_| ())
}

fn taken(sample: &gst::Sample) -> Option<Intra> {
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
