//! A pipeline, from its launch line to its stop.
//!
//! Building, starting and stopping block, and drivers may hang: they run on blocking
//! threads. A call that hangs for ever ends with the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use log::warn;
use tokio::sync::mpsc;

use super::cause;
use super::clock::clock;
use super::packages;
use crate::base::scrub;
use crate::base::secret::Secret;
use crate::model::failure::Failure;
use crate::model::fault::Fault;

/// How long a pipeline may take to send its end of stream.
const EOS_TIMEOUT: Duration = Duration::from_millis(500);

/// A pipeline that was built. It should be closed; one that is dropped is stopped on a
/// background thread, as GStreamer must not free a running pipeline.
#[derive(Debug)]
pub(super) struct Running {
    pipeline: gst::Pipeline,
    events: mpsc::Receiver<BusEvent>,
    /// Whether it was started and not stopped.
    is_up: bool,
}

/// Runs `start` on a blocking thread, as devices may block.
///
/// # Errors
/// As `start`.
pub(super) async fn start_blocking<T: Send + 'static>(
    start: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let result = tokio::task::spawn_blocking(start).await;
    result.map_err(Fault::panic)?
}

/// The relevant messages of the bus.
#[derive(Debug)]
enum BusEvent {
    Failed(Failure),
    End,
}

impl Running {
    /// Builds the pipeline of `line` on the system clock; blocks. `secrets` are removed
    /// from the messages of the pipeline.
    ///
    /// # Errors
    /// The first missing element with its package, or the parser's message.
    pub(super) fn build(line: &str, secrets: Vec<Secret>) -> Result<Self, Failure> {
        let mut context = gst::ParseContext::new();
        let flags = gst::ParseFlags::FATAL_ERRORS;
        let built = gst::parse::launch_full(line, Some(&mut context), flags);
        if let Some(element) = context.missing_elements().first() {
            let package = packages::of(element).map(Into::into);
            return Err(Failure::MissingElement { element: element.to_string(), package });
        }
        let built = built.map_err(Fault::line)?;
        let pipeline = match built.downcast::<gst::Pipeline>() {
            Ok(pipeline) => pipeline,
            // A line of one element; others are linked to it later.
            Err(single) => {
                let pipeline = gst::Pipeline::new();
                let added = pipeline.add(&single);
                added.map_err(Fault::link)?;
                pipeline
            }
        };
        ensure_timestamps(pipeline.upcast_ref());
        keep_test_sources_in_time(pipeline.upcast_ref());
        pipeline.use_clock(Some(&clock()));
        let events = listen(&pipeline, secrets);
        Ok(Self { pipeline, events, is_up: false })
    }

    /// The element of this name.
    ///
    /// # Errors
    /// The profile has no element of this name.
    pub(super) fn element(&self, name: &str) -> Result<gst::Element, Failure> {
        self.pipeline.by_name(name).ok_or_else(|| Fault::NoElement { name: name.to_owned() }.into())
    }

    pub(super) fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// Starts the pipeline; blocks.
    ///
    /// # Errors
    /// The pipeline's error on its bus.
    pub(super) fn play(&mut self) -> Result<(), Failure> {
        // Also if it fails: some elements may be up.
        self.is_up = true;
        if self.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        Err(match self.events.try_recv() {
            Ok(BusEvent::Failed(failure)) => failure,
            Ok(BusEvent::End) | Err(_) => Fault::NoReason.into(),
        })
    }

    /// Waits until the pipeline fails or ends by itself.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.events.recv().await {
            Some(BusEvent::Failed(failure)) => failure,
            Some(BusEvent::End) | None => Failure::Ended,
        }
    }

    /// Sends end of stream to the receiver, and waits up to half a second for it.
    pub(super) async fn send_eos(&mut self) {
        let pipeline = self.pipeline.clone();
        let sent = async {
            tokio::task::spawn_blocking(move || pipeline.send_event(gst::event::Eos::new()))
                .await
                .ok();
            self.ended().await
        };
        tokio::time::timeout(EOS_TIMEOUT, sent).await.ok();
    }

    /// Stops the pipeline; returns when its devices and sockets are released.
    pub(super) async fn close(mut self) {
        self.is_up = false;
        let pipeline = self.pipeline.clone();
        let stopping = tokio::task::spawn_blocking(move || stop(&pipeline));
        // The thread that stops it holds the last reference.
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
            // It may hang; nothing waits for it.
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

/// The assumed duration of a frame without one.
const DEFAULT_FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(33);

/// Gives every frame that reaches a `videorate` of this bin a time and a duration.
/// Version 1.22 of that element aborts the process (an assertion) at a frame without
/// them whose rate is unknown, which any camera on the network can send.
pub(super) fn ensure_timestamps(bin: &gst::Bin) {
    let rates = bin.iterate_all_by_element_factory_name("videorate").into_iter();
    for sink in rates.filter_map(|rate| rate.ok()?.static_pad("sink")) {
        sink.add_probe(gst::PadProbeType::BUFFER, |sink, info| {
            let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
                return gst::PadProbeReturn::Ok;
            };
            if buffer.duration().is_none() {
                buffer.make_mut().set_duration(DEFAULT_FRAME);
            }
            if buffer.pts().is_none() {
                let now = sink.parent_element().and_then(|rate| rate.current_running_time());
                buffer.make_mut().set_pts(now.unwrap_or_default());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// A test source that is later than this drops pictures.
const MAX_LATENESS: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// Keeps a live test source that is too slow for its rate near the clock: its times count
/// on from the first picture and would fall farther behind with each. A late picture
/// gets the newest time on the source's grid that is not late; of several pictures with
/// one time the first is kept.
///
/// A source that is not live needs no clock, and gives its first pictures before the
/// base time of its pipeline is set.
fn keep_test_sources_in_time(bin: &gst::Bin) {
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
            let frame = buffer.duration().unwrap_or(DEFAULT_FRAME);
            let time = in_time(pts.nseconds(), now.saturating_sub(MAX_LATENESS).nseconds(), frame);
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

/// The latest time not after `earliest` at a distance of whole frames from `pts`; `pts`
/// if that is later.
fn in_time(pts: u64, earliest: u64, frame: gst::ClockTime) -> u64 {
    let late = earliest.saturating_sub(pts);
    pts + late - late % frame.nseconds().max(1)
}

/// Forwards relevant messages of the bus. Capacity four: the first failure ends the
/// pipeline, and further messages are consequences of it.
fn listen(pipeline: &gst::Pipeline, secrets: Vec<Secret>) -> mpsc::Receiver<BusEvent> {
    let (sender, events) = mpsc::channel(4);
    let weak = pipeline.downgrade();
    let bus = pipeline.bus().expect("every pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::Latency(_) = message.view() {
            // It queries every element, which must not happen in a handler that runs while
            // an element holds locks: so on a thread of the pipeline.
            if let Some(pipeline) = weak.upgrade() {
                pipeline.call_async(|pipeline| {
                    pipeline.recalculate_latency().ok();
                });
            }
        }
        if let Some(event) = classify(message, &secrets) {
            sender.try_send(event).ok();
        }
        gst::BusSyncReply::Drop
    });
    events
}

fn classify(message: &gst::Message, secrets: &[Secret]) -> Option<BusEvent> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
    match message.view() {
        gst::MessageView::Error(error) => {
            let element = error
                .src()
                .and_then(|src| src.clone().downcast::<gst::Element>().ok())
                .and_then(|element| element.factory())
                .map_or_else(|| "pipeline".to_owned(), |factory| factory.name().to_string());
            let mut text = error.error().message().to_owned();
            // The debug text may have the cause in lines after the source position.
            let debug = error.debug();
            if let Some(cause) = debug.as_deref().and_then(|text| text.lines().skip(1).last()) {
                text = format!("{text} ({})", cause.trim());
            }
            let message = secrets.iter().fold(text, |text, secret| secret.scrub(&text));
            let message = scrub::text(&message);
            Some(BusEvent::Failed(match cause::of(error) {
                Some(cause) => Failure::Known { cause, message: format!("{element}: {message}") },
                None => Failure::Element { element, message },
            }))
        }
        gst::MessageView::Eos(_) => Some(BusEvent::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_picture_gets_a_time_on_the_sources_grid() {
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
        assert_eq!(failure.to_string(), "the GStreamer element \"nosuchelement\" is not installed");
    }

    #[tokio::test]
    async fn pictures_without_time_rate_and_duration_do_not_abort_the_process() {
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
    fn a_dropped_pipeline_is_stopped() {
        let mut running = build("videotestsrc is-live=true ! fakesink").unwrap();
        running.play().unwrap();
        let pipeline = running.pipeline().downgrade();
        let bus = running.pipeline().bus().unwrap();
        drop(running);
        // The stopping thread drops it at the end.
        while pipeline.upgrade().is_some() {
            bus.timed_pop(gst::ClockTime::from_mseconds(1));
        }
    }

    #[tokio::test]
    async fn a_slow_source_that_is_not_live_drops_no_pictures() {
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
    fn a_line_that_does_not_parse_is_refused() {
        assert!(matches!(build("videotestsrc ! ! fakesink"), Err(Failure::Fault(Fault::Line(_)))));
    }

    #[tokio::test]
    async fn the_end_of_a_source_is_reported() {
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
