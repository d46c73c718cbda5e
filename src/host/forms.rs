//! The form in which a feed is captured, after the device or file has been queried.

use super::{file_source, v4l2};
use crate::config::settings::Source;
use crate::engine::plan::{Capture, Form, Plan};
use crate::model::failure::Failure;
use crate::model::given::Pictures;

/// The form in which the feed of one stream is captured.
///
/// # Errors
/// The device or file cannot be opened, or does not support what is configured.
pub(super) async fn probe_feed(plan: &Plan) -> Result<Capture, Failure> {
    match &plan.feed.source {
        Source::TestClock => Ok(Capture::plain(plan.feed.fps)),
        Source::File(path) => file_source::probe(path, plan).await,
        Source::V4l2(device) => v4l2::probe(device.clone(), plan).await,
        // These always have a pipeline of their own.
        Source::Rtsp(_) | Source::SoundOnly | Source::Made(_) | Source::Unpacked(_) => {
            Ok(Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) })
        }
    }
}

/// The form in which a shared feed is captured, and the form of its pictures; none if it
/// has sound only.
///
/// # Errors
/// The device or file cannot be opened, or does not support what is configured.
pub(super) async fn probe_shared(plan: &Plan) -> Result<(Capture, Option<Pictures>), Failure> {
    match &plan.feed.source {
        Source::TestClock | Source::Made(_) => {
            Ok((Capture::plain(plan.feed.fps), Some(Pictures::Plain)))
        }
        Source::SoundOnly => Ok((Capture::plain(plan.feed.fps), None)),
        Source::V4l2(device) => {
            let capture = v4l2::probe(device.clone(), plan).await?;
            let pictures = match capture.form {
                Form::H264 | Form::Coded(_) => Pictures::H264 { in_order: true },
                Form::Raw | Form::Mjpeg => Pictures::Plain,
            };
            Ok((capture, Some(pictures)))
        }
        Source::File(path) => {
            let (in_order, sound) = file_source::probe_order(path).await?;
            let capture = Capture { form: Form::H264, sound, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order })))
        }
        // Known only while it runs; this is the usual form.
        Source::Rtsp(_) | Source::Unpacked(_) => {
            let capture = Capture { form: Form::H264, ..Capture::plain(plan.feed.fps) };
            Ok((capture, Some(Pictures::H264 { in_order: true })))
        }
    }
}
