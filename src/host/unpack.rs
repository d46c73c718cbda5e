//! Demultiplexes the bytes of a command or a pipe.
//!
//! Each run of the byte feed gets a new pipeline, which detects the container.

use std::sync::Arc;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::{debug, info};
use tokio::sync::mpsc;

use super::anchor::Anchor;
use super::incoming::{self, Incoming, SoundAlone, TrackFailures};
use super::running::{Running, start_blocking};
use super::tap::{Target, Timeline, tap};
use crate::base::lock::Lock;
use crate::engine::plan::{Plan, SourceTrack};
use crate::engine::supervise::runs::Stop;
use crate::model::failure::{Content, Failure};
use crate::model::fault::Fault;

/// Limit of bytes that wait for the demultiplexer; more mean that it is stuck.
const MAX_QUEUED_BYTES: u64 = 8 << 20;

/// Runs the feed of `plan` from `bytes`, until it fails or a stop is requested.
pub(super) async fn run(
    plan: &Plan,
    bytes: &mut mpsc::Receiver<Bytes>,
    target: Target,
    mut stop: Stop,
) -> Failure {
    let (incoming, failures) = Incoming::new(plan, target);
    let mut running = match start_blocking(move || start(&incoming)).await {
        Ok(running) => running,
        Err(failure) => return failure,
    };
    let failure = push_bytes(&mut running, bytes, failures, &mut stop).await;
    running.close().await;
    failure
}

fn start(incoming: &Arc<Incoming>) -> Result<Running, Failure> {
    let line = incoming.plan.unpack_line()?;
    debug!("runs: {line}");
    let mut running = Running::build(&line, Vec::new())?;
    let found = running.element("found")?;
    let anchor: Arc<Lock<Anchor>> = Arc::default();
    let timeline = Timeline::anchored(running.pipeline(), Arc::clone(&anchor));
    detect_timeless(&running, anchor)?;
    let (links, pad_timeline) = (Arc::clone(incoming), timeline.clone());
    found.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(track) = track_of(&caps).filter(|track| links.accept(track.clone())) else {
            info!("a track is not used: {caps}");
            if let Some(pipeline) = pad_timeline.pipeline() {
                discard(&pipeline, pad);
            }
            return;
        };
        announce_with_first_frame(&links, pad);
        links.link(&pad_timeline, pad, &track);
    });
    // Sound that this pipeline generates.
    tap(&Timeline::new(running.pipeline()), &["audio"], &incoming.target)?;
    running.play()?;
    Ok(running)
}

/// Formats without timestamps.
const TIMELESS: [&str; 4] =
    ["video/x-h264", "video/x-h265", "image/jpeg", "multipart/x-mixed-replace"];

/// Detects formats whose frames have no times: a parser would invent some.
fn detect_timeless(running: &Running, anchor: Arc<Lock<Anchor>>) -> Result<(), Failure> {
    let found = running.element("found")?.downcast::<gst::Bin>();
    let finder = found.ok().and_then(|found| found.by_name("typefind"));
    let finder = finder.ok_or_else(|| Fault::NoElement { name: "typefind".to_owned() })?;
    finder.connect("have-type", false, move |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        if TIMELESS.contains(&caps.structure(0)?.name().as_str()) {
            *anchor.lock() = Anchor::Arrival;
        }
        None
    });
    Ok(())
}

/// Announces the tracks at the first frame: parsebin holds frames back until all tracks
/// are known. Only sound may come before the video track is known.
fn announce_with_first_frame(incoming: &Arc<Incoming>, pad: &gst::Pad) {
    let incoming = Arc::clone(incoming);
    let alone = Lock::new(SoundAlone::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut alone = alone.lock();
        let frame = info.buffer();
        if incoming.has_video() || frame.is_some_and(|frame| alone.has_timed_out(frame)) {
            incoming.announce();
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
}

/// The track of these caps, if livebox supports it.
fn track_of(caps: &gst::Caps) -> Option<SourceTrack> {
    // The caps may not be fixed yet: what the parser can give, before its first frame.
    SourceTrack::from_caps(|name, version| {
        let mut wanted = gst::Caps::new_empty_simple(name);
        if let Some(version) = version {
            wanted.make_mut().set("mpegversion", version);
        }
        caps.can_intersect(&wanted)
    })
}

/// Links a pad to a fakesink: an unlinked pad would block the others.
pub(super) fn discard(pipeline: &gst::Pipeline, pad: &gst::Pad) {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build();
    let linked = sink.ok().filter(|sink| pipeline.add(sink).is_ok()).and_then(|sink| {
        sink.sync_state_with_parent().ok()?;
        pad.link(&sink.static_pad("sink")?).ok()
    });
    if linked.is_none() {
        debug!("cannot discard a track: {:?}", pad.current_caps());
    }
}

async fn push_bytes(
    running: &mut Running,
    bytes: &mut mpsc::Receiver<Bytes>,
    mut failures: TrackFailures,
    stop: &mut Stop,
) -> Failure {
    let source = match running.element("bytes").map(|bytes| bytes.downcast::<gst_app::AppSrc>()) {
        Ok(Ok(source)) => source,
        Ok(Err(_)) => return Fault::wrong_element("bytes", "appsrc").into(),
        Err(failure) => return failure,
    };
    let pushed = async {
        while let Some(bytes) = bytes.recv().await {
            if source.current_level_bytes() > MAX_QUEUED_BYTES {
                return Failure::NotFound(Content::Container);
            }
            // On an error the pipeline's bus gives the reason.
            source.push_buffer(gst::Buffer::from_slice(bytes)).ok();
        }
        // The service knows why there are no more.
        std::future::pending().await
    };
    tokio::select! {
        failure = pushed => failure,
        failure = incoming::watch(running, &mut failures, stop) => failure,
    }
}
