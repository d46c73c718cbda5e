//! What a run in the host of a feed family is to do, as it is sent there.

use serde::{Deserialize, Serialize};

use super::controls::Listed;
use super::plan::Plan;
use crate::model::ids::FeedName;

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Captures and encodes a feed of one stream, in one pipeline.
    Whole { plan: Plan, controls: Option<Listed> },
    /// Captures a feed for the other runs of its family.
    Capture {
        plan: Plan,
        controls: Option<Listed>,
        /// Whether its pictures were once found to be in another order than that
        /// in which they are shown.
        disordered: bool,
    },
    /// Makes a feed from another one of the family, which has the plan `base`.
    Made { plan: Plan, base: Box<Plan> },
    /// Takes a feed out of the bytes that the service sends.
    Unpack { plan: Plan },
    /// Encodes a stream of a feed of the family, or passes it on.
    Stream {
        plan: Plan,
        /// Whether there is sound of another feed, which the service adds.
        other_sound: Option<bool>,
    },
    /// Passes on the sound of a feed of the family.
    Sound { feed: FeedName },
}

impl Work {
    /// # Errors
    /// It cannot be written, which no plan that was checked is a reason for.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// # Errors
    /// These bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_text;
    use crate::config::settings::Record;
    use crate::engine::controls::{Kind, Offered};

    #[test]
    fn a_plan_arrives_as_it_was_sent_with_its_secrets() {
        let text = "feeds: {a: {rtsp: 'rtsp://cam/live', user: eve, password: s3cret-pw, size: 720p, \
             rotation: 90, overlay: {text: 'say \"hi\"'}}}\n\
             streams: {a: {bitrate: 3M, gop: 500ms, size: 640x360, fps: 10, encoder: x264enc}}";
        let mut settings = parse_text(text).unwrap();
        let plan = Plan { feed: settings.feeds.remove(0), stream: settings.streams.remove(0) };
        let kind = Kind::Menu(vec![(1, "50 Hz".to_owned())]);
        let offered = Offered {
            class: "User".to_owned(),
            name: "power_line".to_owned(),
            kind,
            value: -1,
            default: 2,
            is_fixed: false,
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
        assert_eq!(plan.stream.record, Record::Off, "which is not sent, and of no concern there");
    }
}
