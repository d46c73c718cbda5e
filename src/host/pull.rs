//! Pulls a stream over RTSP; its tracks are linked as they appear.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use log::{debug, info};

use super::cause;
use super::incoming::{self, Incoming};
use super::running::{Running, start_blocking};
use super::tap::{Target, Timeline, tap};
use crate::config::settings::{Login, Pull};
use crate::engine::plan::{Plan, SourceTrack};
use crate::engine::supervise::runs::Stop;
use crate::model::failure::Failure;

/// Pulls the stream of `plan`'s feed until it fails or a stop is requested.
pub(super) async fn run(plan: &Plan, pull: &Pull, target: Target, mut stop: Stop) -> Failure {
    let (incoming, mut failures) = Incoming::new(plan, target);
    let (url, pull) = (pull.url.clone(), pull.clone());
    let mut running = match start_blocking(move || start(&pull, &incoming)).await {
        Ok(running) => running,
        Err(failure) => return failure,
    };
    let failure = incoming::watch(&mut running, &mut failures, &mut stop).await;
    running.close().await;
    let Failure::Known { cause, message } = failure else { return failure };
    tokio::select! {
        cause = cause::refined(cause, url.reveal()) => Failure::Known { cause, message },
        () = stop.requested() => Failure::Ended,
    }
}

fn start(pull: &Pull, incoming: &Arc<Incoming>) -> Result<Running, Failure> {
    let line = incoming.plan.pull_line(pull.transport)?;
    debug!("runs: {line}");
    let mut running = Running::build(&line, pull.secrets())?;
    let source = running.element("source")?;
    source.set_property("location", pull.url.reveal());
    if let Some(Login { user, password }) = &pull.login {
        source.set_property("user-id", user);
        source.set_property("user-pw", password.reveal());
    }
    let accepting = Arc::clone(incoming);
    source.connect("select-stream", false, move |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        Some(caps.is_some_and(|caps| accept(&accepting, &caps)).to_value())
    });
    let timeline = Timeline::new(running.pipeline());
    let (links, on) = (Arc::clone(incoming), timeline.clone());
    source.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let track =
            rtp_encoding(&caps).and_then(|(media, coding)| SourceTrack::from_rtp(&media, &coding));
        if let Some(track) = track {
            links.announce();
            links.link(&on, pad, &track);
        }
    });
    // Sound that this pipeline generates.
    tap(&timeline, &["audio"], &incoming.target)?;
    running.play()?;
    Ok(running)
}

/// Whether an offered track is used; called for all tracks before the first appears.
fn accept(incoming: &Incoming, caps: &gst::Caps) -> bool {
    let Some((media, encoding)) = rtp_encoding(caps) else { return false };
    let Some(track) = SourceTrack::from_rtp(&media, &encoding) else {
        info!("an offered track is not used: {media} {encoding}");
        return false;
    };
    incoming.accept(track)
}

/// The medium and the encoding of RTP caps: `video` and `H264`.
fn rtp_encoding(caps: &gst::Caps) -> Option<(String, String)> {
    let structure = caps.structure(0)?;
    Some((structure.get("media").ok()?, structure.get("encoding-name").ok()?))
}

#[cfg(test)]
mod tests {
    use super::incoming::h265_decoder;
    use super::*;
    use crate::config::parse_text;

    /// Each supported track has a branch that GStreamer builds.
    #[test]
    fn the_branch_of_every_encoding_can_be_built() {
        gst::init().unwrap();
        let settings = parse_text("feeds: {a: {rtsp: rtsp://x/}}\nstreams: {a: {}}").unwrap();
        let plan = Plan { feed: settings.feeds[0].clone(), stream: settings.streams[0].clone() };
        for (media, encoding) in [
            ("video", "H264"),
            ("video", "H265"),
            ("video", "JPEG"),
            ("audio", "MPEG4-GENERIC"),
            ("audio", "MP4A-LATM"),
            ("audio", "PCMU"),
            ("audio", "PCMA"),
            ("audio", "OPUS"),
            ("audio", "MPA"),
            ("audio", "L16"),
        ] {
            let track = SourceTrack::from_rtp(media, encoding).unwrap();
            let line = plan.track_line(&track, h265_decoder().unwrap()).unwrap();
            gst::parse::bin_from_description(&line, true)
                .unwrap_or_else(|error| panic!("{encoding}: {error}"));
        }
    }
}
