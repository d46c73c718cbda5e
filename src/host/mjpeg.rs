//! Converts the access units of a stream to JPEGs.
//!
//! Units up to the live edge are decoded as fast as possible, and the encoder skips
//! frames that it is too slow for. The reader of the pictures gets the newest one;
//! nothing waits for it.

use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::{mpsc, watch};

use super::feeder::Sources;
use super::picture::{decoders, no_decoder};
use super::running::Running;
use crate::base::time::MediaTime;
use crate::engine::plan::mjpeg_line;
use crate::model::failure::Failure;
use crate::model::fault::Fault;
use crate::wire::Unit;
use crate::wire::job::Mjpeg;

/// The newest picture, a whole JPEG, with its time.
pub(super) type Newest = Option<(MediaTime, Bytes)>;

/// Converts `units` until it fails, and returns the reason. The start blocks; dropping
/// the future stops the pipeline in the background.
pub(super) async fn mjpeg(
    job: Mjpeg,
    mut units: mpsc::Receiver<(Unit, Bytes)>,
    newest: watch::Sender<Newest>,
) -> Failure {
    let (mut running, sources) = match start(job, newest) {
        Ok(started) => started,
        Err(failure) => return failure,
    };
    let fed = async {
        sources.push_all(&mut units).await;
        sources.end();
        // The bus gives the reason.
        std::future::pending().await
    };
    tokio::select! {
        failure = running.ended() => failure,
        never = fed => never,
    }
}

fn start(job: Mjpeg, newest: watch::Sender<Newest>) -> Result<(Running, Sources), Failure> {
    let installed: Vec<_> = decoders().collect();
    let index = job.decoder as usize % installed.len().max(1);
    let decoder = installed.get(index).ok_or_else(no_decoder)?;
    let line = mjpeg_line(decoder, job.quality, job.size)?;
    let mut running = Running::build(&line, Vec::new())?;
    let queue = running.element("newest")?.static_pad("sink");
    queue.expect("a queue has a sink").add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        set_colorimetry(info);
        gst::PadProbeReturn::Ok
    });
    let sink = running
        .element("pictures")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| Fault::wrong_element("pictures", "appsink"))?;
    sink.set_callbacks(publishing(job.begin, newest));
    let sources = Sources::new(running.element("video")?, None, job.begin)?;
    running.play()?;
    Ok((running, sources))
}

fn publishing(begin: MediaTime, newest: watch::Sender<Newest>) -> gst_app::AppSinkCallbacks {
    gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let Some(buffer) = sample.buffer_owned() else { return Ok(gst::FlowSuccess::Ok) };
            let pts = begin + Duration::from(buffer.pts().unwrap_or_default());
            let Ok(map) = buffer.into_mapped_buffer_readable() else {
                return Err(gst::FlowError::Error);
            };
            // A copy, so that the encoder's larger buffer is freed.
            newest.send_replace(Some((pts, Bytes::copy_from_slice(&map))));
            Ok(gst::FlowSuccess::Ok)
        })
        .build()
}

/// Sets another colour matrix where the source has JPEG's: with equal matrices the
/// converter ignores the range (GStreamer 1.22), and pictures turn out grey. FCC's
/// matrix differs by half a percent, and costs half of a conversion over RGB (measured
/// at 720p: 2.3 instead of 4.4 ms per picture).
fn set_colorimetry(info: &mut gst::PadProbeInfo<'_>) {
    let Some(gst::PadProbeData::Event(event)) = &info.data else { return };
    let gst::EventView::Caps(caps) = event.view() else { return };
    let mut caps = super::picture::with_colorimetry(caps.caps());
    let structure = caps.make_mut().structure_mut(0);
    let Some(structure) = structure else { return };
    let is_narrow = structure
        .get::<&str>("colorimetry")
        .is_ok_and(|of| of == "bt601" || of.starts_with("2:4:"));
    if is_narrow {
        structure.set("colorimetry", "2:2:5:1");
    }
    info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
}
