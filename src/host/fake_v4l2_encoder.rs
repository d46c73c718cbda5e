//! A fake of the Pi's encoder: an element of its name that refuses what bcm2835-codec
//! refuses, and tests of livebox's profile against it.
//!
//! From the driver and from GStreamer's v4l2 elements: both sides even and from
//! 32 to 1920, NV12, a level in the caps behind it (without one the first of the
//! list is taken, and the firmware answers -3), controls only by their right
//! names and ranges, and, on GStreamer 1.22, force-key-unit events are ignored.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::running::Running;
use crate::base::units::Size;
use crate::config::settings::{Mode, Rotation, Source};
use crate::config::{Settings, parse_text};
use crate::engine::plan::{Capture, Plan};
use crate::model::failure::Failure;

/// Names of the driver's controls with their ranges.
const CONTROLS: [(&str, i32, i32); 7] = [
    ("video_bitrate", 25_000, 25_000_000),
    ("video_bitrate_mode", 0, 1),
    ("repeat_sequence_header", 0, 1),
    ("h264_i_frame_period", 0, i32::MAX),
    ("h264_minimum_qp_value", 0, 51),
    ("h264_maximum_qp_value", 0, 51),
    ("force_key_frame", 0, 1),
];

mod element {
    use super::*;

    #[derive(Debug, Default)]
    pub struct PiEncoder {
        pub(super) controls: Mutex<Option<gst::Structure>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for PiEncoder {
        const NAME: &'static str = "LiveboxPiEncoder";
        type Type = super::PiEncoder;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for PiEncoder {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: std::sync::OnceLock<Vec<glib::ParamSpec>> =
                std::sync::OnceLock::new();
            PROPERTIES.get_or_init(|| {
                vec![glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build()]
            })
        }

        fn set_property(&self, _: usize, value: &glib::Value, _: &glib::ParamSpec) {
            *self.controls.lock().unwrap() = value.get().unwrap();
        }

        fn property(&self, _: usize, _: &glib::ParamSpec) -> glib::Value {
            self.controls.lock().unwrap().to_value()
        }

        fn constructed(&self) {
            self.parent_constructed();
            let inside = gst::parse::bin_from_description(
                "capsfilter name=in ! x264enc name=x264 tune=zerolatency speed-preset=ultrafast \
                 bframes=0 option-string=scenecut=0 ! identity name=out",
                false,
            )
            .unwrap();
            let filter = inside.by_name("in").unwrap();
            filter.set_property("caps", raw_caps());
            let own = self.obj();
            own.add(&inside).unwrap();
            let sink = filter.static_pad("sink").unwrap();
            let src = inside.by_name("out").unwrap().static_pad("src").unwrap();
            for (pad, name) in [(sink, "sink"), (src, "src")] {
                let inner = gst::GhostPad::with_target(&pad).unwrap();
                inside.add_pad(&inner).unwrap();
                let outer = gst::GhostPad::builder_with_target(&inner).unwrap().name(name).build();
                own.add_pad(&outer).unwrap();
            }
            // GStreamer 1.22 ignores requests for key frames.
            let src = own.static_pad("src").unwrap();
            src.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |_, info| match info.event() {
                Some(event) if event.structure().is_some_and(|s| s.name() == "GstForceKeyUnit") => {
                    // The bindings free the event. After `Drop`, GStreamer would do so once
                    // more: for buffers it checks whether there is one, for events it does not.
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            });
        }
    }

    impl GstObjectImpl for PiEncoder {}

    impl ElementImpl for PiEncoder {
        fn change_state(
            &self,
            change: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            if change == gst::StateChange::ReadyToPaused
                && let Err(why) = self.enable_port()
            {
                gst::element_imp_error!(self, gst::ResourceError::Settings, ["{why}"]);
                return Err(gst::StateChangeError);
            }
            self.parent_change_state(change)
        }
    }

    impl BinImpl for PiEncoder {}

    impl PiEncoder {
        /// The checks of the firmware before the first frame.
        fn enable_port(&self) -> Result<(), String> {
            let behind = self.obj().static_pad("src").unwrap().peer_query_caps(None);
            let level = behind.structure(0).and_then(|caps| caps.get::<String>("level").ok());
            if level.is_none() {
                return Err("Failed enabling i/p port, ret -3".to_owned());
            }
            let controls = self.controls.lock().unwrap().clone();
            for (name, value) in controls.iter().flat_map(|controls| controls.iter()) {
                let (_, min, max) = CONTROLS
                    .iter()
                    .find(|(known, _, _)| *known == name.as_str())
                    .ok_or_else(|| format!("Control '{name}' does not exist"))?;
                let value: i32 = value.get().map_err(|_| format!("{name} is no number"))?;
                if !(*min..=*max).contains(&value) {
                    return Err(format!("{name} cannot be {value}"));
                }
                if name == "h264_i_frame_period" {
                    let bin = self.obj();
                    bin.by_name("x264").unwrap().set_property("key-int-max", value as u32);
                }
            }
            Ok(())
        }
    }
}

glib::wrapper! {
    pub struct PiEncoder(ObjectSubclass<element::PiEncoder>)
        @extends gst::Bin, gst::Element, gst::Object;
}

fn raw_caps() -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "NV12")
        .field("width", gst::IntRange::with_step(32, 1920, 2))
        .field("height", gst::IntRange::with_step(32, 1920, 2))
        .field("interlace-mode", "progressive")
        .build()
}

#[test]
fn the_profile_works_with_the_pis_encoder_at_every_size_and_setting() {
    register();
    for (size, rotation, quality) in [
        ("240p", Rotation::None, None),
        ("720p", Rotation::None, Some(20)),
        ("1080p", Rotation::Quarter, None),
        ("854x480", Rotation::None, Some(40)),
        ("32x32", Rotation::None, None),
    ] {
        let mut plan = plan(size);
        plan.feed.turn.rotation = rotation;
        plan.stream.quality = quality;

        let keys = frames(&line(&plan), 12).unwrap_or_else(|why| panic!("{size}: {why}"));

        assert_eq!(positions(&keys), [0, 5, 10], "{size}: a key frame each half second of 10");
    }
}

#[test]
fn the_fake_refuses_what_the_pi_refuses() {
    register();
    let good = line(&plan("240p"));
    let refused = |line: &str| frames(line, 1).unwrap_err().to_string();

    let level = good.replace(",level=(string)4", "");
    assert!(refused(&level).contains("ret -3"), "no level");
    let control = good.replace("video_bitrate_mode", "bitrate_mode");
    assert!(refused(&control).contains("does not exist"), "unknown control");
    let rate = good.replace("video_bitrate=", "video_bitrate=9");
    assert!(refused(&rate).contains("cannot be"), "a bit rate out of range");
    for (width, height) in [("427", "240"), ("1922", "240"), ("426", "1922")] {
        let line = good
            .replace("width=426", &format!("width={width}"))
            .replace("height=240", &format!("height={height}"));
        frames(&line, 1).unwrap_err();
    }
}

#[test]
fn an_ignored_request_for_a_key_frame_does_no_harm() {
    register();
    // Wrong use of GStreamer, which it reports and survives.
    static CRITICALS: AtomicUsize = AtomicUsize::new(0);
    glib::log_set_handler(
        Some("GStreamer"),
        glib::LogLevels::LEVEL_CRITICAL,
        false,
        false,
        |_, _, text| {
            eprintln!("{text}");
            CRITICALS.fetch_add(1, Ordering::Relaxed);
        },
    );
    let mut running = Running::build(&line(&plan("240p")), Vec::new()).unwrap();
    running.play().unwrap();
    let sink = running.element("video").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let first = pull(&sink).unwrap();
    assert!(first);

    let structure = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
    sink.send_event(gst::event::CustomUpstream::new(structure));

    let after: Vec<_> = (0..5).map(|_| pull(&sink).unwrap()).collect();
    assert_eq!(positions(&after), [4], "only the key frame that is due anyway");
    assert_eq!(CRITICALS.load(Ordering::Relaxed), 0);
    running.pipeline().set_state(gst::State::Null).unwrap();
}

fn register() {
    gst::init().unwrap();
    gst::Element::register(None, "v4l2h264enc", gst::Rank::NONE, PiEncoder::static_type()).unwrap();
}

/// A test picture of 10 frames a second with a key frame each half second.
fn plan(size: &str) -> Plan {
    let text = "feeds: {camera: {test: clock, fps: 10}}\nstreams: {camera: {gop: 500ms}}\n";
    let Settings { mut feeds, mut streams, .. } = parse_text(text).unwrap();
    let mut plan = Plan { feed: feeds.remove(0), stream: streams.remove(0) };
    assert_eq!((&plan.feed.source, plan.feed.mode), (&Source::TestClock, Mode::OnDemand));
    plan.feed.size = size.parse::<Size>().unwrap();
    plan
}

/// The launch line without a live source and without dropped frames.
fn line(plan: &Plan) -> String {
    let line = plan.launch_line(Capture::plain(plan.feed.fps), "v4l2h264enc").unwrap();
    line.replace("is-live=true", "is-live=false").replace("max-buffers=1 drop=true", "")
}

/// Whether each of the first `count` frames is a key frame.
fn frames(line: &str, count: usize) -> Result<Vec<bool>, Failure> {
    let mut running = Running::build(line, Vec::new())?;
    let played = running.play();
    let sink = running.element("video")?.downcast::<gst_app::AppSink>().unwrap();
    let pulled: Option<Vec<_>> = (0..count).map(|_| pull(&sink)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let result = match (played, pulled) {
        (Ok(()), Some(keys)) => Ok(keys),
        (Err(failure), _) => Err(failure),
        (Ok(()), None) => Err(runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(5), running.ended()).await })
            .unwrap_or(Failure::Ended)),
    };
    running.pipeline().set_state(gst::State::Null).unwrap();
    result
}

/// Whether the next frame is a key frame; none if none comes.
fn pull(sink: &gst_app::AppSink) -> Option<bool> {
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(5))?;
    Some(!sample.buffer()?.flags().contains(gst::BufferFlags::DELTA_UNIT))
}

fn positions(keys: &[bool]) -> Vec<usize> {
    (0..keys.len()).filter(|index| keys[*index]).collect()
}
