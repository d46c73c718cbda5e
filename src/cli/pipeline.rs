//! `livebox pipeline`: what would run, as text for gst-launch-1.0.

use crate::config::settings::{EncoderWish, Settings, Stream};
use crate::engine::gst;
use crate::engine::plan::{Capture, Pictures, Plan, push_line};

/// The launch line of what is called `name`: a stream, a feed or a push. Where
/// several streams share a feed, the feed and the stream have a line each.
pub(super) fn line(settings: &Settings, name: &str) -> anyhow::Result<String> {
    let feed = settings.feeds.iter().find(|feed| feed.name.as_str() == name);
    let stream = settings.streams.iter().find(|stream| stream.name.as_str() == name);
    let first = feed.and_then(|feed| settings.streams_of(&feed.name).next());
    if let Some(any) = stream.or(first) {
        if !settings.is_shared(settings.feed_of(any)) {
            return whole(settings, any);
        }
        let feed = feed.map(|_| capture(settings, any)).transpose()?;
        let stream = stream.map(|stream| encode(settings, stream)).transpose()?;
        let lines: Vec<_> = feed.into_iter().chain(stream).collect();
        return Ok(lines.join("\n\n"));
    }
    if let Some(push) = settings.pushes.iter().find(|push| push.name.as_str() == name) {
        let stream = settings.streams.iter().find(|stream| stream.name == push.stream);
        let has_audio = stream.is_some_and(|stream| plan(settings, stream).has_audio());
        return Ok(push_line(push.audio, has_audio)?);
    }
    let feeds = settings.feeds.iter().map(|feed| feed.name.to_string());
    let streams = settings.streams.iter().map(|stream| stream.name.to_string());
    let pushes = settings.pushes.iter().map(|push| push.name.to_string());
    let mut known: Vec<_> = streams.chain(feeds).chain(pushes).collect();
    let mut seen = std::collections::HashSet::new();
    known.retain(|name| seen.insert(name.clone()));
    anyhow::bail!("nothing is called {name:?}; there are {}", known.join(", "))
}

fn plan(settings: &Settings, stream: &Stream) -> Plan {
    Plan { feed: settings.feed_of(stream).clone(), stream: stream.clone() }
}

fn encoder(stream: &Stream) -> anyhow::Result<String> {
    match &stream.encoder {
        EncoderWish::Named(element) => Ok(element.clone()),
        EncoderWish::Auto => Ok(gst::find_encoder()?),
    }
}

/// A feed with its only stream.
fn whole(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let plain = Capture::plain(plan.feed.fps);
    let capture = gst::find_capture(&plan).unwrap_or(plain);
    Ok(plan.launch_line(capture, &encoder(stream)?)?)
}

/// A feed that others share, as its first stream has it.
fn capture(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let (capture, _) = found(&plan);
    Ok(plan.capture_line(capture)?)
}

/// One of the streams that share a feed.
fn encode(settings: &Settings, stream: &Stream) -> anyhow::Result<String> {
    let plan = plan(settings, stream);
    let (_, Some(pictures)) = found(&plan) else {
        anyhow::bail!("the stream {} is a sound alone, which its feed has encoded", stream.name)
    };
    let decoder = match pictures {
        Pictures::Plain => "",
        Pictures::H264 { .. } => gst::first_decoder().map_err(|why| anyhow::anyhow!("{why}"))?,
    };
    Ok(plan.encode_line(pictures, decoder, &encoder(stream)?)?)
}

/// What the feed gives; plain pictures where it cannot be asked.
fn found(plan: &Plan) -> (Capture, Option<Pictures>) {
    gst::find_shared(plan).unwrap_or((Capture::plain(plan.feed.fps), Some(Pictures::Plain)))
}
