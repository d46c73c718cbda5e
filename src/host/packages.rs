//! The Debian package of each element, so that errors can say what to install.

/// Elements that livebox's own profiles name. Encoders in hardware are not
/// among them: their elements exist only where the hardware does.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "gstreamer1.0-plugins-base",
        &[
            "appsrc",
            "appsink",
            "audioconvert",
            "audioresample",
            "audiotestsrc",
            "opusdec",
            "parsebin",
            "decodebin",
            "vorbisdec",
            "videoconvert",
            "videorate",
            "videoscale",
            "videotestsrc",
        ],
    ),
    (
        "gstreamer1.0-plugins-good",
        &[
            "alawdec",
            "flvmux",
            "jpegdec",
            "jpegenc",
            "mp4mux",
            "mpg123audiodec",
            "mulawdec",
            "pngenc",
            "rtpL16depay",
            "rtph264depay",
            "rtph265depay",
            "rtpjpegdepay",
            "rtpmp4adepay",
            "rtpmp4gdepay",
            "rtpmpadepay",
            "rtpopusdepay",
            "rtppcmadepay",
            "rtppcmudepay",
            "rtspsrc",
            "v4l2src",
            "videoflip",
            "vp8dec",
            "vp9dec",
        ],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "aacparse",
            "h264parse",
            "h265parse",
            "libde265dec",
            "openh264dec",
            "openh264enc",
            "rtmp2sink",
            "voaacenc",
        ],
    ),
    // The text renderer is packaged beside the X11 sinks.
    ("gstreamer1.0-x", &["clockoverlay", "textoverlay", "timeoverlay"]),
    ("gstreamer1.0-alsa", &["alsasrc"]),
    ("gstreamer1.0-plugins-ugly", &["a52dec", "mpeg2dec", "x264enc"]),
    ("libgstreamer1.0-0", &["capsfilter", "fakesink", "filesink", "filesrc", "identity", "queue"]),
];

/// The Debian package that has `element`, where livebox knows it.
pub(super) fn of(element: &str) -> Option<&'static str> {
    PACKAGES.iter().find(|(_, elements)| elements.contains(&element)).map(|(package, _)| *package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Kind, names, profile};

    /// The first word of a line, or after a `!`, is an element unless it is caps.
    fn elements(line: &str) -> Vec<String> {
        line.split(" ! ")
            .filter_map(|part| part.trim_start_matches("! ").split_whitespace().next())
            .filter(|word| !word.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_element_of_every_profile_has_its_package() {
        use crate::profile::Slot;
        let values: Vec<_> = [
            "width",
            "height",
            "fps",
            "rate",
            "per",
            "fewer",
            "gop",
            "bitrate_kbps",
            "bitrate_bps",
            "quality",
        ]
        .into_iter()
        .map(|name| (name, Slot::Int(1)))
        .chain(["profile", "preset", "level"].map(|name| (name, Slot::Word("x".to_owned()))))
        .chain([("decoder", Slot::Word("openh264dec".to_owned()))])
        .chain([("transport", Slot::Word("tcp".to_owned()))])
        .chain([("direction", Slot::Word("180".to_owned())), ("clock", Slot::Int(1))])
        .chain(["text", "name"].map(|name| (name, Slot::Text("x".to_owned()))))
        .chain([("device", Slot::Text("/dev/video0".to_owned()))])
        .collect();
        const KINDS: [Kind; 8] = [
            Kind::Feed,
            Kind::Encoder,
            Kind::Audio,
            Kind::Filter,
            Kind::Picture,
            Kind::Pull,
            Kind::Push,
            Kind::Track,
        ];
        let hardware = ["v4l2h264enc", "mpph264enc", "vah264enc", "nvh264enc"];
        for kind in KINDS {
            for name in names(kind) {
                let line = profile(kind, name).unwrap().render(&values).unwrap();
                for element in elements(&line) {
                    let known = of(&element).is_some() || hardware.contains(&element.as_str());
                    assert!(known, "{element} of {name} is in no package");
                }
            }
        }
    }
}
