//! Lists the formats of a V4L2 camera and chooses one.

use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::base::units::{FrameRate, Size};
use crate::engine::plan::{Capture, Form, Plan};
use crate::model::cause::{Cause, Device};
use crate::model::failure::Failure;

/// One format of a camera: form, sizes and frame rates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offer {
    form: Form,
    width: Range,
    height: Range,
    rates: Rates,
}

#[derive(Clone, Debug, PartialEq)]
enum Rates {
    /// Rates as fractions: frames, seconds.
    Some(Vec<(u32, u32)>),
    /// Every rate up to this many frames per second.
    UpTo(u32),
}

/// A range of widths or heights, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: i32,
    high: i32,
}

/// Lists the formats of the device and chooses one.
///
/// # Errors
/// As [`offers`] and [`choose`].
pub(super) async fn probe(device: PathBuf, plan: &Plan) -> Result<Capture, Failure> {
    let offers = tokio::task::spawn_blocking(move || offers(&device))
        .await
        .map_err(|panic| Failure::Camera(panic.to_string()))??;
    choose(&offers, plan)
}

/// Opens the device briefly and lists its formats; blocks.
///
/// # Errors
/// The device cannot be opened.
pub(super) fn offers(device: &Path) -> Result<Vec<Offer>, Failure> {
    let source = gst::ElementFactory::make("v4l2src")
        .property("device", device.to_string_lossy().as_ref())
        .build()
        .map_err(|_| Failure::MissingElement {
            element: "v4l2src".to_owned(),
            package: super::packages::of("v4l2src").map(Into::into),
        })?;
    let opened = source.set_state(gst::State::Ready);
    let caps = source.static_pad("src").map(|pad| pad.query_caps(None));
    source.set_state(gst::State::Null).ok();
    let (Ok(_), Some(caps)) = (opened, caps) else {
        return Err(open_error(device));
    };
    Ok(caps.iter().filter_map(offer).collect())
}

/// Chooses the form: H.264 that passes through, else raw video, else Motion JPEG, which
/// has to be decoded.
///
/// # Errors
/// The camera does not support this size at this rate; the error lists its formats.
pub(super) fn choose(offers: &[Offer], plan: &Plan) -> Result<Capture, Failure> {
    let (size, fps) = (plan.feed.size, plan.feed.fps);
    let can = |form| {
        let fitting = offers.iter().filter(move |offer| offer.form == form && offer.fits(size));
        fitting.filter_map(move |offer| offer.rate_for(fps)).min_by(slower)
    };
    let preferred = [Form::H264, Form::Raw, Form::Mjpeg];
    preferred
        .into_iter()
        .filter(|form| *form != Form::H264 || plan.may_pass_through())
        .find_map(|form| {
            let capture = Capture { form, rate: can(form)?, sound: false };
            // Frames of H.264 cannot be dropped.
            (form != Form::H264 || !capture.is_faster_than(fps)).then_some(capture)
        })
        .ok_or_else(|| {
            let list: Vec<_> = offers.iter().map(Offer::summary).collect();
            Failure::Camera(format!(
                "the camera cannot give {size} at {fps} frames a second; it offers {}",
                if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
            ))
        })
}

impl Offer {
    fn fits(&self, size: Size) -> bool {
        let within = |range: Range, side: u32| {
            i32::try_from(side).is_ok_and(|side| (range.low..=range.high).contains(&side))
        };
        within(self.width, size.width) && within(self.height, size.height)
    }

    /// The slowest rate that is fast enough.
    fn rate_for(&self, fps: FrameRate) -> Option<(u32, u32)> {
        match &self.rates {
            Rates::UpTo(max) => (fps.fps() <= *max).then_some((fps.fps(), 1)),
            Rates::Some(rates) => {
                // 29.97 is fast enough for 30.
                let enough = |rate: &&(u32, u32)| {
                    u64::from(rate.0) * 1005 >= u64::from(fps.fps()) * u64::from(rate.1) * 1000
                };
                rates.iter().filter(enough).copied().min_by(slower)
            }
        }
    }

    /// One line with all its sizes and rates: `MJPEG 1280x720 at 30, 15`.
    pub(super) fn describe(&self) -> String {
        let Range { low: from_width, high: width } = self.width;
        let Range { low: from_height, high: height } = self.height;
        let size = if (from_width, from_height) == (width, height) {
            format!("{width}x{height}")
        } else {
            format!("{from_width}x{from_height} to {width}x{height}")
        };
        let rates = match &self.rates {
            Rates::UpTo(max) => format!("up to {max}"),
            Rates::Some(rates) => {
                let decimal = |(rate, per): &(u32, u32)| {
                    let text = format!("{:.2}", f64::from(*rate) / f64::from((*per).max(1)));
                    text.trim_end_matches('0').trim_end_matches('.').to_owned()
                };
                format!("at {}", rates.iter().map(decimal).collect::<Vec<_>>().join(", "))
            }
        };
        format!("{} {size} {rates}", self.form_word())
    }

    fn form_word(&self) -> &'static str {
        match self.form {
            Form::Raw => "raw",
            Form::Mjpeg => "MJPEG",
            Form::H264 | Form::Coded(_) => "H.264",
        }
    }

    /// The largest size and rate in short form.
    fn summary(&self) -> String {
        let form = self.form_word();
        let max = match &self.rates {
            Rates::UpTo(max) => *max,
            Rates::Some(rates) => rates.iter().map(|(rate, per)| rate / per).max().unwrap_or(0),
        };
        format!("{form} {}x{} up to {max}", self.width.high, self.height.high)
    }
}

fn slower(one: &(u32, u32), other: &(u32, u32)) -> Ordering {
    (u64::from(one.0) * u64::from(other.1)).cmp(&(u64::from(other.0) * u64::from(one.1)))
}

fn open_error(path: &Path) -> Failure {
    let (kind, device) = (Device::Camera, path.display().to_string());
    let (cause, message) = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            (Cause::NoDevice { kind, device }, error.to_string())
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            (Cause::DeviceForbidden { kind, device }, error.to_string())
        }
        Err(error) => (Cause::DeviceBusy { kind, device }, error.to_string()),
        Ok(_) => {
            let what =
                format!("{device} cannot be opened as a camera. Does another program use it?");
            return Failure::Camera(what);
        }
    };
    Failure::Known { cause, message }
}

fn offer(structure: &gst::StructureRef) -> Option<Offer> {
    let form = match structure.name().as_str() {
        "video/x-raw" => Form::Raw,
        "image/jpeg" => Form::Mjpeg,
        "video/x-h264" => Form::H264,
        _ => return None,
    };
    Some(Offer {
        form,
        width: range(structure, "width")?,
        height: range(structure, "height")?,
        rates: rates(structure)?,
    })
}

fn range(structure: &gst::StructureRef, field: &str) -> Option<Range> {
    if let Ok(side) = structure.get::<i32>(field) {
        return Some(Range { low: side, high: side });
    }
    let range = structure.get::<gst::IntRange<i32>>(field).ok()?;
    Some(Range { low: range.min(), high: range.max() })
}

fn rates(structure: &gst::StructureRef) -> Option<Rates> {
    let as_pair = |rate: gst::Fraction| {
        Some((u32::try_from(rate.numer()).ok()?, u32::try_from(rate.denom()).ok()?))
            .filter(|(_, per)| *per > 0)
    };
    if let Ok(rate) = structure.get::<gst::Fraction>("framerate") {
        return as_pair(rate).map(|rate| Rates::Some(vec![rate]));
    }
    if let Ok(rates) = structure.get::<gst::FractionRange>("framerate") {
        return as_pair(rates.max()).map(|(rate, per)| Rates::UpTo(rate / per));
    }
    let list = structure.get::<gst::List>("framerate").ok()?;
    let rates = list.iter().filter_map(|value| value.get::<gst::Fraction>().ok());
    Some(Rates::Some(rates.filter_map(as_pair).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// A plan for a camera, as a file would give it.
    fn plan(size: &str, fps: u32, encoder: &str) -> Plan {
        let text = format!(
            "feeds: {{cam: {{v4l2: /dev/video0, size: {size}, fps: {fps}}}}}\n\
             streams: {{cam: {{encoder: {encoder}}}}}"
        );
        let settings = config::parse_text(&text).unwrap();
        Plan { feed: settings.feeds[0].clone(), stream: settings.streams[0].clone() }
    }

    /// A usual USB camera, as `v4l2src` describes one.
    fn usb_camera() -> Vec<Offer> {
        gst::init().unwrap();
        let caps: gst::Caps = "video/x-raw, format=YUY2, width=640, height=480, \
             framerate={ (fraction)30/1, (fraction)15/1 }; \
             video/x-raw, format=YUY2, width=1280, height=720, framerate=10/1; \
             image/jpeg, width=1280, height=720, framerate=[ 5/1, 30/1 ]; \
             image/jpeg, width=1920, height=1080, framerate=30/1; \
             video/x-h264, width=[ 160, 1920 ], height=[ 120, 1080 ], framerate=30/1; \
             video/x-raw, format=YUY2, width=320, height=240, framerate=30000/1001; \
             video/mpeg, width=640, height=480, framerate=30/1"
            .parse()
            .unwrap();
        caps.iter().filter_map(offer).collect()
    }

    fn without_h264() -> Vec<Offer> {
        usb_camera().into_iter().filter(|offer| offer.form != Form::H264).collect()
    }

    #[test]
    fn h264_of_a_camera_is_passed_through_unless_an_encoder_is_configured() {
        let form = |encoder| choose(&usb_camera(), &plan("720p", 30, encoder)).unwrap().form;
        assert_eq!(form("auto"), Form::H264);
        assert_eq!(form("x264enc"), Form::Mjpeg);
    }

    #[test]
    fn raw_video_is_chosen_where_it_is_fast_enough() {
        let form = |size, fps| choose(&without_h264(), &plan(size, fps, "auto")).unwrap().form;
        assert_eq!(form("640x480", 30), Form::Raw);
        assert_eq!(form("720p", 10), Form::Raw);
        assert_eq!(form("720p", 30), Form::Mjpeg);
        assert_eq!(form("1080p", 30), Form::Mjpeg);
    }

    #[test]
    fn the_slowest_rate_that_is_fast_enough_is_chosen() {
        let rate = |size, fps| choose(&without_h264(), &plan(size, fps, "auto")).unwrap().rate;
        assert_eq!(rate("640x480", 12), (15, 1));
        assert_eq!(rate("640x480", 25), (30, 1));
        assert_eq!(rate("1080p", 25), (30, 1));
        assert_eq!(rate("320x240", 30), (30_000, 1001));
        // A range has every rate.
        assert_eq!(rate("720p", 25), (25, 1));
    }

    #[test]
    fn h264_of_a_camera_must_have_the_exact_rate() {
        let capture = choose(&usb_camera(), &plan("720p", 25, "auto")).unwrap();
        assert_eq!(capture, Capture { form: Form::Mjpeg, rate: (25, 1), sound: false });
    }

    #[test]
    fn an_unsupported_format_is_refused_with_the_supported_ones() {
        let error = choose(&without_h264(), &plan("800x600", 30, "auto")).unwrap_err().to_string();
        assert_eq!(
            error,
            "the camera cannot give 800x600 at 30 frames a second; it offers raw 640x480 up to \
             30, raw 1280x720 up to 10, MJPEG 1280x720 up to 30, MJPEG 1920x1080 up to 30, raw 320x240 \
             up to 29"
        );
    }

    #[test]
    fn a_format_is_described_with_every_size_and_rate() {
        let lines: Vec<_> = usb_camera().iter().map(Offer::describe).collect();
        assert!(lines.iter().any(|line| line.starts_with("raw 640x480 at 30")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("29.97")), "{lines:?}");
    }

    #[test]
    fn the_source_takes_the_controls_of_every_form_as_numbers() {
        gst::init().unwrap();
        let text = "feeds: {cam: {v4l2: /dev/video0, controls: {brightness: -20, gain: 3}}}\n\
             streams: {cam: {}}";
        let settings = config::parse_text(text).unwrap();
        let plan = Plan { feed: settings.feeds[0].clone(), stream: settings.streams[0].clone() };
        for form in [Form::Raw, Form::Mjpeg, Form::H264] {
            let capture = Capture { form, ..Capture::plain(plan.feed.fps) };
            let line = plan.launch_line(capture, "openh264enc").unwrap();
            let (source, _) = line.split_once(" ! ").unwrap();
            let source = gst::parse::launch(source).unwrap();
            let controls: gst::Structure = source.property("extra-controls");
            let number = |name: &str| controls.get::<i32>(name).unwrap();
            assert_eq!((number("brightness"), number("gain")), (-20, 3), "{form:?}");
        }
    }

    #[test]
    fn a_missing_device_is_named() {
        gst::init().unwrap();
        let failure = offers(Path::new("/dev/nowhere")).unwrap_err();
        assert_eq!(failure.say(), "/dev/nowhere is not there. Is the camera plugged in?");
    }
}
