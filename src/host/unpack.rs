//! Pictures and sound out of the bytes of a command or a pipe.
//!
//! A new pipeline finds out what is in them each time their source begins anew.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::{debug, info};
use tokio::sync::mpsc;

use super::anchor::Anchor;
use super::incoming::{self, Alone, Incoming, Trouble};
use super::running::{Running, started};
use super::tap::{Target, Timeline, tap};
use crate::engine::plan::{Plan, SourceTrack};
use crate::engine::supervise::runs::Stop;
use crate::model::status::Failure;

/// Bytes that may wait to be looked into; beyond that something stands still.
const HELD: u64 = 8 << 20;

/// Takes the feed of `plan` out of `bytes`, until that fails or is to stop.
pub(super) async fn carry(
    plan: &Plan,
    bytes: &mut mpsc::Receiver<Bytes>,
    target: Target,
    mut stop: Stop,
) -> Failure {
    let (incoming, trouble) = Incoming::new(plan, target);
    let mut running = match started(move || start(&incoming)).await {
        Ok(running) => running,
        Err(failure) => return failure,
    };
    let failure = hand_over(&mut running, bytes, trouble, &mut stop).await;
    running.close().await;
    failure
}

fn start(incoming: &Arc<Incoming>) -> Result<Running, Failure> {
    let line = incoming.plan.unpack_line().map_err(|error| Failure::Build(error.to_string()))?;
    debug!("runs: {line}");
    let mut running = Running::build(&line, Vec::new())?;
    let found = running.element("found")?;
    let anchor: Arc<Mutex<Anchor>> = Arc::default();
    let timeline = Timeline::anchored(running.pipeline(), Arc::clone(&anchor));
    look_for_times(&running, anchor)?;
    let (links, on) = (Arc::clone(incoming), timeline.clone());
    found.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(track) = described(&caps).filter(|track| links.choose(track.clone())) else {
            info!("it has a track that is not used: {caps}");
            if let Some(pipeline) = on.pipeline() {
                to_nowhere(&pipeline, pad);
            }
            return;
        };
        announce_with_first(&links, pad);
        links.link(&on, pad, &track);
    });
    // A sound that is made here.
    tap(&Timeline::of(running.pipeline()), &["audio"], &incoming.target)?;
    running.play()?;
    Ok(running)
}

/// What these bytes are has no times in it.
const TIMELESS: [&str; 4] =
    ["video/x-h264", "video/x-h265", "image/jpeg", "multipart/x-mixed-replace"];

/// Finds out whether the frames have times of their own: a parser invents some
/// where there are none.
fn look_for_times(running: &Running, anchor: Arc<Mutex<Anchor>>) -> Result<(), Failure> {
    let found = running.element("found")?.downcast::<gst::Bin>();
    let finder = found.ok().and_then(|found| found.by_name("typefind"));
    let finder = finder.ok_or_else(|| Failure::Build("parsebin looks into nothing".to_owned()))?;
    finder.connect("have-type", false, move |values| {
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        if TIMELESS.contains(&caps.structure(0)?.name().as_str()) {
            *anchor.lock().unwrap_or_else(PoisonError::into_inner) = Anchor::Coming;
        }
        None
    });
    Ok(())
}

/// All frames are held back until all tracks have been named: who sees the
/// first one knows them. Only a sound may be named before its picture.
fn announce_with_first(incoming: &Arc<Incoming>, pad: &gst::Pad) {
    let announces = Arc::clone(incoming);
    let alone = Mutex::new(Alone::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let mut alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = info.buffer();
        if announces.has_picture() || frame.is_some_and(|frame| alone.is_it_after(frame)) {
            announces.announce();
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
}

/// The track of these caps, if livebox can use it.
fn described(caps: &gst::Caps) -> Option<SourceTrack> {
    // They may be open still: what a parser can give, before its first frame.
    SourceTrack::from_caps(|name, version| {
        let mut wanted = gst::Caps::new_empty_simple(name);
        if let Some(version) = version {
            wanted.make_mut().set("mpegversion", version);
        }
        caps.can_intersect(&wanted)
    })
}

/// A pad that nobody takes from would stop the others.
pub(super) fn to_nowhere(pipeline: &gst::Pipeline, pad: &gst::Pad) {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build();
    let linked = sink.ok().filter(|sink| pipeline.add(sink).is_ok()).and_then(|sink| {
        sink.sync_state_with_parent().ok()?;
        pad.link(&sink.static_pad("sink")?).ok()
    });
    if linked.is_none() {
        debug!("a track cannot be left out: {:?}", pad.current_caps());
    }
}

async fn hand_over(
    running: &mut Running,
    bytes: &mut mpsc::Receiver<Bytes>,
    mut trouble: Trouble,
    stop: &mut Stop,
) -> Failure {
    let source = match running.element("bytes").map(|bytes| bytes.downcast::<gst_app::AppSrc>()) {
        Ok(Ok(source)) => source,
        Ok(Err(_)) => return Failure::Build("\"bytes\" is not an appsrc".to_owned()),
        Err(failure) => return failure,
    };
    let pushed = async {
        while let Some(bytes) = bytes.recv().await {
            if source.current_level_bytes() > HELD {
                return Failure::Build("nothing can be found in its bytes".to_owned());
            }
            // A source that takes no more has a pipeline whose bus says why.
            source.push_buffer(gst::Buffer::from_slice(bytes)).ok();
        }
        // The service says why there are no more.
        std::future::pending().await
    };
    tokio::select! {
        failure = pushed => failure,
        failure = incoming::watch(running, &mut trouble, stop) => failure,
    }
}
