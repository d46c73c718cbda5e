//! `livebox pipeline`: what would run, as text for gst-launch-1.0.

use crate::config::settings::{EncoderWish, Settings};
use crate::engine::gst;
use crate::engine::plan::{Capture, Plan, push_line};

/// The launch line of what is called `name`: a stream, a feed or a push.
pub(super) fn line(settings: &Settings, name: &str) -> anyhow::Result<String> {
    let stream = settings
        .streams
        .iter()
        .find(|stream| stream.name.as_str() == name || stream.feed.as_str() == name);
    if let Some(stream) = stream {
        let plan = Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() };
        let encoder = match &stream.encoder {
            EncoderWish::Named(element) => element.clone(),
            EncoderWish::Auto => gst::find_encoder()?,
        };
        let plain = Capture::plain(plan.feed.fps);
        let capture = gst::find_capture(&plan).unwrap_or(plain);
        return Ok(plan.launch_line(capture, &encoder)?);
    }
    if let Some(push) = settings.pushes.iter().find(|push| push.name.as_str() == name) {
        let stream = settings.streams.iter().find(|stream| stream.name == push.stream);
        let has_audio = stream.is_some_and(|stream| {
            Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() }.has_audio()
        });
        return Ok(push_line(push.audio, has_audio)?);
    }
    let bytes = settings.byte_streams.iter().map(|stream| stream.name.as_str());
    let bytes = bytes.chain(settings.byte_feeds.iter().map(|feed| feed.name.as_str()));
    if bytes.into_iter().any(|known| known == name) {
        anyhow::bail!("{name:?} is bytes that are passed on: no pipeline of GStreamer runs for it");
    }
    let streams = settings.streams.iter().map(|stream| stream.name.to_string());
    let pushes = settings.pushes.iter().map(|push| push.name.to_string());
    let known: Vec<_> = streams.chain(pushes).collect();
    anyhow::bail!("nothing is called {name:?}; there are {}", known.join(", "))
}
