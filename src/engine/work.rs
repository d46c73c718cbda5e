//! The jobs of runs in the host of a feed family, as they are sent to it.

use serde::{Deserialize, Serialize};

use super::controls::Listed;
use super::plan::Plan;
use crate::model::ids::FeedName;

/// The job of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Captures and encodes a feed with one stream, in one pipeline.
    Whole { plan: Plan, controls: Option<Listed> },
    /// Captures a feed for the other runs of its family.
    Capture {
        plan: Plan,
        controls: Option<Listed>,
        /// Whether an earlier run found its frames out of display order.
        disordered: bool,
    },
    /// Makes a feed from another feed of the family, which has the plan `base`.
    Made { plan: Plan, base: Box<Plan> },
    /// Demultiplexes a feed from the bytes that the service sends.
    Unpack { plan: Plan },
    /// Encodes a stream of a feed of the family, or passes it through.
    Stream {
        plan: Plan,
        /// For sound of another feed, which the service adds: whether that has any.
        other_sound: Option<bool>,
    },
    /// Sends the sound of a feed of the family to the service.
    Sound { feed: FeedName },
}

impl Work {
    /// # Errors
    /// It cannot be serialised; no checked plan causes that.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// # Errors
    /// The bytes are not a serialised job.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;
    use crate::config::settings::Record;
    use crate::engine::controls::{DriverControl, Kind};

    #[test]
    fn a_plan_arrives_as_it_was_sent_with_its_secrets() {
        let text = "feeds: {a: {rtsp: 'rtsp://cam/live', user: eve, password: s3cret-pw, size: 720p, \
             rotation: 90, overlay: {text: 'say \"hi\"'}}}\n\
             streams: {a: {bitrate: 3M, gop: 500ms, size: 640x360, fps: 10, encoder: x264enc}}";
        let mut settings = parse_text(text).unwrap();
        let plan = Plan { feed: settings.feeds.remove(0), stream: settings.streams.remove(0) };
        let kind = Kind::Menu(vec![(1, "50 Hz".to_owned())]);
        let offered = DriverControl {
            class: "User".to_owned(),
            name: "power_line".to_owned(),
            kind,
            value: -1,
            default: 2,
            is_read_only: false,
        };
        for work in [
            Work::Whole { plan: plan.clone(), controls: Some(Ok(vec![offered])) },
            Work::Capture { plan: plan.clone(), controls: None, disordered: true },
            Work::Stream { plan: plan.clone(), other_sound: Some(true) },
            Work::Sound { feed: "a".parse().unwrap() },
        ] {
            let sent = work.encode().unwrap();
            assert_eq!(Work::decode(&sent).unwrap(), work);
            assert!(!format!("{work:?}").contains("s3cret-pw"));
        }
        assert_eq!(plan.stream.record, Record::Off, "it is not sent, as hosts do not use it");
    }
}
