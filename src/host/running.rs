//! One pipeline from its launch line to its last breath.
//!
//! Building, starting and stopping block, and drivers hang: they have threads
//! of their own. One that hangs for ever ends with its process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use log::warn;
use tokio::sync::mpsc;

use super::clock::clock;
use super::packages;
use crate::base::scrub;
use crate::base::secret::Secret;
use crate::model::status::Failure;

/// How long a pipeline may take to say goodbye to its receiver.
const FAREWELL: Duration = Duration::from_millis(500);

/// A pipeline that was built. Close it; one that is dropped instead is stopped
/// by and by, unseen: GStreamer must not free what still runs.
#[derive(Debug)]
pub(super) struct Running {
    pipeline: gst::Pipeline,
    news: mpsc::Receiver<News>,
    /// Whether it was started, and not stopped since.
    is_up: bool,
}

/// What `start` makes, on a thread of its own: devices make it wait.
///
/// # Errors
/// As `start`.
pub(super) async fn started<T: Send + 'static>(
    start: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let made = tokio::task::spawn_blocking(start).await;
    made.unwrap_or_else(|panic| Err(Failure::Build(panic.to_string())))
}

/// What the bus has to say that matters.
#[derive(Debug)]
enum News {
    Failed(Failure),
    End,
}

impl Running {
    /// Builds the pipeline of `line`, on the one system clock; blocks.
    ///
    /// `secrets` are taken out of everything that the pipeline says later.
    ///
    /// # Errors
    /// The first missing element by name and package, or the parser's words.
    pub(super) fn build(line: &str, secrets: Vec<Secret>) -> Result<Self, Failure> {
        let mut context = gst::ParseContext::new();
        let flags = gst::ParseFlags::FATAL_ERRORS;
        let built = gst::parse::launch_full(line, Some(&mut context), flags);
        if let Some(element) = context.missing_elements().first() {
            let package = packages::of(element).map(Into::into);
            return Err(Failure::MissingElement { element: element.to_string(), package });
        }
        let built = built
            .map_err(|error| Failure::Build(format!("does not parse as a pipeline: {error}")))?;
        let pipeline = match built.downcast::<gst::Pipeline>() {
            Ok(pipeline) => pipeline,
            // Others are linked to it later.
            Err(single) => {
                let pipeline = gst::Pipeline::new();
                let added = pipeline.add(&single);
                added.map_err(|error| Failure::Build(error.to_string()))?;
                pipeline
            }
        };
        give_times(pipeline.upcast_ref());
        keep_up(pipeline.upcast_ref());
        pipeline.use_clock(Some(&clock()));
        let news = listen(&pipeline, secrets);
        Ok(Self { pipeline, news, is_up: false })
    }

    /// The element of this name.
    ///
    /// # Errors
    /// The profile lacks it.
    pub(super) fn element(&self, name: &str) -> Result<gst::Element, Failure> {
        self.pipeline
            .by_name(name)
            .ok_or_else(|| Failure::Build(format!("has no element called {name:?}")))
    }

    pub(super) fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// Starts the pipeline; blocks.
    ///
    /// # Errors
    /// What the pipeline says about it on its bus.
    pub(super) fn play(&mut self) -> Result<(), Failure> {
        // Also where that fails: a part of it may be up.
        self.is_up = true;
        if self.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        Err(match self.news.try_recv() {
            Ok(News::Failed(failure)) => failure,
            Ok(News::End) | Err(_) => Failure::Build("does not start and says nothing".to_owned()),
        })
    }

    /// Returns when the pipeline fails or ends by itself.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.news.recv().await {
            Some(News::Failed(failure)) => failure,
            Some(News::End) | None => Failure::Ended,
        }
    }

    /// Lets a receiver know that this is the end, and waits a moment for it.
    pub(super) async fn say_goodbye(&mut self) {
        let pipeline = self.pipeline.clone();
        let goodbye = async {
            tokio::task::spawn_blocking(move || pipeline.send_event(gst::event::Eos::new()))
                .await
                .ok();
            self.ended().await
        };
        tokio::time::timeout(FAREWELL, goodbye).await.ok();
    }

    /// Stops the pipeline; returns when it has let go of its devices and sockets.
    pub(super) async fn close(mut self) {
        self.is_up = false;
        let pipeline = self.pipeline.clone();
        let stopping = tokio::task::spawn_blocking(move || stop(&pipeline));
        // The thread that stops it is the last to hold it.
        drop(self);
        if !matches!(stopping.await, Ok(Ok(_))) {
            warn!("a pipeline did not stop properly");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_up {
            let pipeline = self.pipeline.clone();
            // It may hang, and nobody waits for it.
            std::thread::spawn(move || stop(&pipeline));
        }
    }
}

fn stop(pipeline: &gst::Pipeline) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
    pipeline.set_state(gst::State::Null)
}

/// What a frame is taken to last whose duration nobody knows.
const USUAL_FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(33);

/// Sees to it that every frame that comes to a `videorate` of this bin has a
/// time and a duration. Version 1.22 of that element ends the whole process (an
/// assertion) at a frame that has none and whose rate is not known, which any
/// camera on the network can send.
pub(super) fn give_times(bin: &gst::Bin) {
    let rates = bin.iterate_all_by_element_factory_name("videorate").into_iter();
    for sink in rates.filter_map(|rate| rate.ok()?.static_pad("sink")) {
        sink.add_probe(gst::PadProbeType::BUFFER, |sink, info| {
            let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
                return gst::PadProbeReturn::Ok;
            };
            if buffer.duration().is_none() {
                buffer.make_mut().set_duration(USUAL_FRAME);
            }
            if buffer.pts().is_none() {
                let now = sink.parent_element().and_then(|rate| rate.current_running_time());
                buffer.make_mut().set_pts(now.unwrap_or_default());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// A test source that is later than this leaves pictures out.
const LATE: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// Keeps a live test source that is too slow for its rate near the clock: it
/// counts on from its first picture, and would be farther behind with each. A
/// picture that is too late gets the newest time of the source's rate that is
/// not; of several with one time the first goes on.
///
/// A source that is not live has no clock to keep up with, and gives its first
/// pictures before its pipeline has set the time that the clock is counted from.
fn keep_up(bin: &gst::Bin) {
    let sources = bin.iterate_all_by_element_factory_name("videotestsrc").into_iter();
    let live = sources.filter_map(Result::ok).filter(|source| source.property("is-live"));
    for src in live.filter_map(|source| source.static_pad("src")) {
        let latest = AtomicU64::new(0);
        src.add_probe(gst::PadProbeType::BUFFER, move |src, info| {
            let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
                return gst::PadProbeReturn::Ok;
            };
            let now = src.parent_element().and_then(|source| source.current_running_time());
            let (Some(pts), Some(now)) = (buffer.pts(), now) else {
                return gst::PadProbeReturn::Ok;
            };
            let frame = buffer.duration().unwrap_or(USUAL_FRAME);
            let time = in_time(pts.nseconds(), now.saturating_sub(LATE).nseconds(), frame);
            // Rounded to nanoseconds, equal times differ a little.
            if latest.fetch_max(time + frame.nseconds() / 2, Ordering::Relaxed) > time {
                return gst::PadProbeReturn::Drop;
            }
            if time != pts.nseconds() {
                buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(time));
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// The time of a picture that must not be before `earliest`, at a distance of
/// whole frames from its own.
fn in_time(pts: u64, earliest: u64, frame: gst::ClockTime) -> u64 {
    let late = earliest.saturating_sub(pts);
    pts + late - late % frame.nseconds().max(1)
}

/// Forwards what matters from the bus. Four places are enough: after the first
/// failure the pipeline is torn down, and what does not fit is the echo of it.
fn listen(pipeline: &gst::Pipeline, secrets: Vec<Secret>) -> mpsc::Receiver<News> {
    let (tell, news) = mpsc::channel(4);
    let weak = pipeline.downgrade();
    let bus = pipeline.bus().expect("every pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::Latency(_) = message.view() {
            // Asks every element, which must not be done from their threads' callers
            // while they hold locks: the pipeline does it by itself on its own thread.
            if let Some(pipeline) = weak.upgrade() {
                pipeline.call_async(|pipeline| {
                    pipeline.recalculate_latency().ok();
                });
            }
        }
        if let Some(piece) = classify(message, &secrets) {
            tell.try_send(piece).ok();
        }
        gst::BusSyncReply::Drop
    });
    news
}

fn classify(message: &gst::Message, secrets: &[Secret]) -> Option<News> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
    match message.view() {
        gst::MessageView::Error(error) => {
            let element = error
                .src()
                .and_then(|src| src.clone().downcast::<gst::Element>().ok())
                .and_then(|element| element.factory())
                .map_or_else(|| "pipeline".to_owned(), |factory| factory.name().to_string());
            let mut told = error.error().message().to_owned();
            // The debug text may have the cause in lines after the source position.
            let debug = error.debug();
            if let Some(cause) = debug.as_deref().and_then(|text| text.lines().skip(1).last()) {
                told = format!("{told} ({})", cause.trim());
            }
            let message = secrets.iter().fold(told, |text, secret| secret.scrub(&text));
            let message = scrub::text(&message);
            Some(News::Failed(Failure::Element { element, message }))
        }
        gst::MessageView::Eos(_) => Some(News::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_picture_gets_a_time_of_the_sources_rate() {
        let frame = gst::ClockTime::from_nseconds(40);
        assert_eq!(in_time(100, 90, frame), 100);
        assert_eq!(in_time(100, 139, frame), 100);
        assert_eq!(in_time(100, 140, frame), 140);
        assert_eq!(in_time(100, 1_000, frame), 980);
    }

    fn build(line: &str) -> Result<Running, Failure> {
        gst::init().unwrap();
        Running::build(line, vec![Secret::new("KEY-1")])
    }

    #[test]
    fn a_missing_element_is_named() {
        let failure = build("videotestsrc ! nosuchelement ! fakesink").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "needs the GStreamer element \"nosuchelement\", which is not installed"
        );
    }

    #[tokio::test]
    async fn pictures_of_unknown_time_rate_and_length_do_no_harm() {
        let mut running = build(
            "appsrc name=a format=time \
             caps=video/x-raw,format=GRAY8,width=16,height=16,framerate=0/1 \
             ! videorate drop-only=true max-rate=30 ! fakesink",
        )
        .unwrap();
        running.play().unwrap();
        let source = running.element("a").unwrap();
        let source = source.downcast::<gstreamer_app::AppSrc>().unwrap();
        for time in [Some(0), Some(40), None, Some(120), None] {
            let mut picture = gst::Buffer::from_slice([0; 16 * 16]);
            picture.get_mut().unwrap().set_pts(time.map(gst::ClockTime::from_mseconds));
            source.push_buffer(picture).unwrap();
        }
        source.end_of_stream().unwrap();
        assert_eq!(running.ended().await, Failure::Ended);
        running.close().await;
    }

    #[test]
    fn one_that_is_dropped_is_stopped_all_the_same() {
        let mut running = build("videotestsrc is-live=true ! fakesink").unwrap();
        running.play().unwrap();
        let pipeline = running.pipeline().downgrade();
        let bus = running.pipeline().bus().unwrap();
        drop(running);
        // It says farewell to its bus when it has come down, and is gone.
        while pipeline.upgrade().is_some() {
            bus.timed_pop(gst::ClockTime::from_mseconds(1));
        }
    }

    #[tokio::test]
    async fn a_source_that_is_not_live_gives_all_its_pictures_however_slow_it_is() {
        let mut running = build(
            "videotestsrc num-buffers=50 ! video/x-raw,width=16,height=16,framerate=1000/1 \
             ! identity sleep-time=10000 ! fakesink name=seen",
        )
        .unwrap();
        running.play().unwrap();
        assert_eq!(running.ended().await, Failure::Ended);
        let stats = running.element("seen").unwrap().property::<gst::Structure>("stats");
        assert_eq!(stats.get::<u64>("rendered"), Ok(50));
        running.close().await;
    }

    #[test]
    fn a_line_that_is_no_pipeline_is_refused() {
        assert!(matches!(build("videotestsrc ! ! fakesink"), Err(Failure::Build(_))));
    }

    #[tokio::test]
    async fn a_source_that_ends_is_told() {
        let mut running = build("videotestsrc num-buffers=3 ! fakesink").unwrap();
        running.play().unwrap();
        assert_eq!(running.ended().await, Failure::Ended);
        running.close().await;
    }

    #[tokio::test]
    async fn an_error_names_the_element_and_hides_secrets() {
        let mut running = build("videotestsrc ! filesink location=/nowhere/KEY-1").unwrap();
        let failure = match running.play() {
            Ok(()) => running.ended().await,
            Err(failure) => failure,
        };
        let text = failure.to_string();
        assert!(text.starts_with("filesink: ") && !text.contains("KEY-1"), "{text}");
        running.close().await;
    }
}
