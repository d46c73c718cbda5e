//! Fetching a stream over RTSP: its tracks are linked as they come.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use log::{debug, info};
use tokio::sync::mpsc;

use super::outlet::Outlet;
use super::packages;
use super::running::Running;
use super::tap::{FirstSign, Target, tap};
use crate::config::settings::{FeedAudio, Pull};
use crate::engine::plan::{Given, Offered, Plan};
use crate::engine::runs::Stop;
use crate::model::status::Failure;
use crate::model::unit::TrackKind;

/// Decoders of H.265 in the order in which they are tried.
const H265_DECODERS: [&str; 3] = ["v4l2slh265dec", "libde265dec", "avdec_h265"];

/// Fetches the stream of `plan`'s feed, until that fails or is to stop.
pub(super) async fn carry(
    plan: &Plan,
    pull: &Pull,
    outlet: Arc<Outlet>,
    sign: Arc<FirstSign>,
    mut stop: Stop,
) -> Failure {
    let label = format!("feed {}", outlet.name());
    // The first trouble ends the run.
    let (tell, mut trouble) = mpsc::channel(1);
    let session =
        Session { plan: plan.clone(), outlet, sign, tell, tracks: Mutex::new(Vec::new()) };
    let (session, pull) = (Arc::new(session), pull.clone());
    let started = tokio::task::spawn_blocking(move || start(&pull, &session)).await;
    let mut running = match started {
        Ok(Ok(running)) => running,
        Ok(Err(failure)) => return failure,
        Err(panic) => return Failure::Build(panic.to_string()),
    };
    let failure = tokio::select! {
        Some(failure) = trouble.recv() => failure,
        failure = running.ended() => failure,
        () = stop.requested() => Failure::Ended,
    };
    running.close(&label).await;
    failure
}

fn start(pull: &Pull, session: &Arc<Session>) -> Result<Running, Failure> {
    let line = session
        .plan
        .pull_line(pull.transport)
        .map_err(|error| Failure::Build(error.to_string()))?;
    debug!("feed {} runs: {line}", session.outlet.name());
    let mut running = Running::build(&line, pull.secrets())?;
    let source = running.element("source")?;
    source.set_property("location", pull.url.reveal());
    if let Some((user, password)) = &pull.login {
        source.set_property("user-id", user);
        source.set_property("user-pw", password.reveal());
    }
    let chooses = Arc::clone(session);
    source.connect("select-stream", false, move |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        Some(caps.is_some_and(|caps| chooses.choose(&caps)).to_value())
    });
    let links = Arc::clone(session);
    let pipeline = running.pipeline().downgrade();
    source.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = pipeline.upgrade() {
            links.link(&pipeline, pad);
        }
    });
    // A sound that is made here.
    let target = Target::Shared(Arc::clone(&session.outlet));
    tap(running.pipeline(), &["audio"], &target, &session.sign)?;
    running.play()?;
    Ok(running)
}

/// One conversation with a server.
struct Session {
    plan: Plan,
    outlet: Arc<Outlet>,
    sign: Arc<FirstSign>,
    tell: mpsc::Sender<Failure>,
    /// What was chosen of the server's offer, at most one of each kind.
    tracks: Mutex<Vec<Offered>>,
}

impl Session {
    /// Whether a track of the offer is taken; all are asked about before any comes.
    fn choose(&self, caps: &gst::Caps) -> bool {
        let Some((media, encoding)) = described(caps) else { return false };
        let offered = Offered::new(&media, &encoding);
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = offered.as_ref().is_some_and(|track| {
            let is_first = tracks.iter().all(|other| other.kind != track.kind);
            is_first && (track.kind == TrackKind::Video || self.takes_sound())
        });
        match offered {
            Some(track) if is_taken => tracks.push(track),
            Some(_) => {}
            None => {
                info!("feed {} offers {media} as {encoding}, which is not used", self.outlet.name())
            }
        }
        is_taken
    }

    fn takes_sound(&self) -> bool {
        self.plan.feed.audio == FeedAudio::Own
    }

    fn link(&self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let track = described(&caps).and_then(|(media, coding)| Offered::new(&media, &coding));
        let linked = match track {
            Some(track) => {
                self.announce();
                self.branch(pipeline, pad, &track)
            }
            None => Ok(()),
        };
        if let Err(failure) = linked {
            self.tell.try_send(failure).ok();
        }
    }

    /// Tells those who take from the feed what it gives, before the first frame.
    fn announce(&self) {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind| tracks.iter().find(|track| track.kind == kind);
        let sound = match self.plan.feed.audio {
            FeedAudio::None => false,
            FeedAudio::Own => of(TrackKind::Audio).is_some(),
            FeedAudio::Silence | FeedAudio::Tone | FeedAudio::Alsa(_) => true,
        };
        let pictures = of(TrackKind::Video).map(Offered::pictures);
        self.outlet.promise(Given { pictures, sound });
    }

    fn branch(
        &self,
        pipeline: &gst::Pipeline,
        pad: &gst::Pad,
        track: &Offered,
    ) -> Result<(), Failure> {
        let build = |what: &str| Failure::Build(format!("a track cannot be linked: {what}"));
        let decoder = if track.is_h265() { h265_decoder()? } else { "" };
        let line = self
            .plan
            .pulled_line(track, decoder)
            .map_err(|error| Failure::Build(error.to_string()))?;
        debug!("feed {} links: {line}", self.outlet.name());
        let bin = gst::parse::bin_from_description(&line, true)
            .map_err(|error| build(&error.to_string()))?;
        pipeline.add(&bin).map_err(|error| build(&error.to_string()))?;
        let sinks: &[&str] = match track.kind {
            TrackKind::Video => &["video", "plain"],
            TrackKind::Audio => &["audio"],
        };
        tap(pipeline, sinks, &Target::Shared(Arc::clone(&self.outlet)), &self.sign)?;
        bin.sync_state_with_parent().map_err(|error| build(&error.to_string()))?;
        let sink = bin.static_pad("sink").ok_or_else(|| build("it has no way in"))?;
        pad.link(&sink).map_err(|error| build(&error.to_string()))?;
        Ok(())
    }
}

/// The medium and the encoding of RTP caps: `video` and `H264`.
fn described(caps: &gst::Caps) -> Option<(String, String)> {
    let structure = caps.structure(0)?;
    Some((structure.get("media").ok()?, structure.get("encoding-name").ok()?))
}

fn h265_decoder() -> Result<&'static str, Failure> {
    let found = H265_DECODERS.into_iter().find(|name| gst::ElementFactory::find(name).is_some());
    found.ok_or_else(|| Failure::MissingElement {
        element: "libde265dec".to_owned(),
        package: packages::of("libde265dec"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;

    /// Every track that is taken has a branch that GStreamer builds.
    #[test]
    fn every_branch_can_be_built() {
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
            let track = Offered::new(media, encoding).unwrap();
            let line = plan.pulled_line(&track, h265_decoder().unwrap()).unwrap();
            gst::parse::bin_from_description(&line, true)
                .unwrap_or_else(|error| panic!("{encoding}: {error}"));
        }
    }
}
