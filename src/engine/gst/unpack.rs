//! Pictures and sound out of the bytes of a command or a pipe.
//!
//! A new pipeline finds out what is in them each time their source begins
//! anew; what they are read by never makes their source wait.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::{debug, info};

use super::incoming::{self, Alone, Incoming, Trouble};
use super::outlet::Outlet;
use super::running::Running;
use super::tap::{FirstSign, Target, Timeline, tap};
use crate::engine::anchor::Anchor;
use crate::engine::plan::{Offered, Plan};
use crate::engine::runs::Stop;
use crate::hub::bytes::{Begin, Flow, Read, Reader};
use crate::model::status::Failure;

/// Bytes that may wait to be looked into; beyond that something stands still.
const HELD: u64 = 8 << 20;

/// What is read as fast as it can be would be played as fast.
const NO_CLOCK: &str = "the `pipe` is a file, which has no clock; `file` plays one in real time";

/// Unpacks what `flow` has into the feed of `plan`, until that fails or is to stop.
pub(super) async fn carry(
    plan: &Plan,
    flow: &Arc<Flow>,
    outlet: &Arc<Outlet>,
    sign: &Arc<FirstSign>,
    mut stop: Stop,
) -> Failure {
    let mut runs = flow.runs();
    let mut begin = flow.decodable();
    loop {
        runs.mark_unchanged();
        // Before the pipeline is there: nothing of the beginning is lost.
        let reader = flow.listen(begin);
        let run = outlet.begin_run(super::now());
        let (incoming, trouble) = Incoming::new(plan, run.writer(), Arc::clone(sign));
        let started = tokio::task::spawn_blocking(move || start(&incoming)).await;
        let mut running = match started {
            Ok(Ok(running)) => running,
            Ok(Err(failure)) => return failure,
            Err(panic) => return Failure::Build(panic.to_string()),
        };
        let failure = tokio::select! {
            biased;
            _ = runs.changed() => None,
            failure = hand_over(&mut running, (flow, reader), trouble, &mut stop) => Some(failure),
        };
        running.close(&format!("feed {}", outlet.name())).await;
        if let Some(failure) = failure {
            return failure;
        }
        // It has begun while the pipeline of the last one was closed.
        begin = Begin::Run;
    }
}

fn start(incoming: &Arc<Incoming>) -> Result<Running, Failure> {
    let line = incoming.plan.unpack_line().map_err(|error| Failure::Build(error.to_string()))?;
    debug!("feed {} runs: {line}", incoming.writer.name());
    let mut running = Running::build(&line, Vec::new())?;
    let found = running.element("found")?;
    let anchor: Arc<Mutex<Anchor>> = Arc::default();
    let timeline = Timeline::anchored(running.pipeline(), Arc::clone(&anchor));
    look_for_times(&running, anchor)?;
    let (links, on) = (Arc::clone(incoming), timeline.clone());
    found.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(track) = described(&caps).filter(|track| links.choose(track.clone())) else {
            info!("feed {} has a track that is not used: {caps}", links.writer.name());
            if let Some(pipeline) = on.pipeline() {
                to_nowhere(&pipeline, pad);
            }
            return;
        };
        announce_with_first(&links, pad);
        links.link(&on, pad, &track);
    });
    let target = Target::Shared(incoming.writer.clone());
    // A sound that is made here.
    tap(&Timeline::of(running.pipeline()), &["audio"], &target, &incoming.sign)?;
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
fn described(caps: &gst::Caps) -> Option<Offered> {
    // They may be open still: what a parser can give, before its first frame.
    Offered::found(|name, version| {
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
    (flow, mut reader): (&Flow, Reader),
    mut trouble: Trouble,
    stop: &mut Stop,
) -> Failure {
    let source = match running.element("bytes").map(|bytes| bytes.downcast::<gst_app::AppSrc>()) {
        Ok(Ok(source)) => source,
        Ok(Err(_)) => return Failure::Build("\"bytes\" is not an appsrc".to_owned()),
        Err(failure) => return failure,
    };
    let pushed = async {
        loop {
            match reader.next().await {
                Read::Bytes(_) if flow.is_clockless() => return Failure::File(NO_CLOCK.to_owned()),
                Read::Bytes(_) if source.current_level_bytes() > HELD => {
                    return Failure::Build("nothing can be found in its bytes".to_owned());
                }
                Read::Bytes(bytes) => push(&source, bytes),
                Read::Skipped(lost) => debug!("{lost} bytes came too fast to be looked into"),
                Read::Over => return Failure::Ended,
            }
        }
    };
    tokio::select! {
        failure = pushed => failure,
        failure = incoming::watch(running, &mut trouble, stop) => failure,
    }
}

/// A source that takes no more has a pipeline whose bus says why.
fn push(source: &gst_app::AppSrc, bytes: Bytes) {
    source.push_buffer(gst::Buffer::from_slice(bytes)).ok();
}
