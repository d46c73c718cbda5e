//! Writes the `onMetaData` tag of FLV, which describes a stream to an RTMP server.
//!
//! Format: Adobe's "Video File Format Specification" version 10, annex E; a
//! script data tag with an AMF 0 string and an ECMA array.

/// The first byte of a script data tag.
const SCRIPT: u8 = 18;

/// `VideoCodecId` of H.264 and `SoundFormat` of AAC.
const H264: f64 = 7.0;
const AAC: f64 = 10.0;

/// The description of a stream before its first frame. Unknown values are
/// omitted: receivers take a zero for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metadata {
    pub width: u32,
    pub height: u32,
    /// Frames per second.
    pub fps: Option<f64>,
    /// Bits per second.
    pub video_bps: Option<u64>,
    pub audio: Option<Audio>,
}

/// An AAC track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Samples per second.
    pub rate: u32,
    pub channels: u8,
    /// Bits per second.
    pub bps: Option<u64>,
}

/// Whether `tag` is a script data tag.
pub fn is_script(tag: &[u8]) -> bool {
    tag.first() == Some(&SCRIPT)
}

impl Metadata {
    /// The whole tag with the timestamp 0, followed by its length.
    pub fn tag(&self) -> Vec<u8> {
        let body = self.body();
        let mut tag = vec![SCRIPT];
        tag.extend(&(body.len() as u32).to_be_bytes()[1..]);
        // Timestamp and stream are zero.
        tag.extend([0; 7]);
        tag.extend(&body);
        let length = tag.len() as u32;
        tag.extend(length.to_be_bytes());
        tag
    }

    fn body(&self) -> Vec<u8> {
        let kbps = |bps: u64| bps as f64 / 1000.0;
        let mut array = Array::default();
        array.number("width", f64::from(self.width));
        array.number("height", f64::from(self.height));
        array.optional_number("framerate", self.fps);
        array.number("videocodecid", H264);
        array.optional_number("videodatarate", self.video_bps.map(kbps));
        if let Some(audio) = &self.audio {
            array.number("audiocodecid", AAC);
            array.optional_number("audiodatarate", audio.bps.map(kbps));
            array.number("audiosamplerate", f64::from(audio.rate));
            // The only value of FLV for AAC.
            array.number("audiosamplesize", 16.0);
            array.boolean("stereo", audio.channels > 1);
        }
        array.text("encoder", concat!("livebox ", env!("CARGO_PKG_VERSION")));
        let mut body = vec![2];
        put_text(&mut body, "onMetaData");
        body.push(8);
        body.extend(array.count.to_be_bytes());
        body.extend(array.bytes);
        body.extend([0, 0, 9]);
        body
    }
}

/// Builds an ECMA array.
#[derive(Default)]
struct Array {
    count: u32,
    bytes: Vec<u8>,
}

impl Array {
    fn number(&mut self, name: &str, value: f64) {
        self.key(name, 0);
        self.bytes.extend(value.to_be_bytes());
    }

    fn optional_number(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn boolean(&mut self, name: &str, value: bool) {
        self.key(name, 1);
        self.bytes.push(value.into());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name, 2);
        put_text(&mut self.bytes, value);
    }

    fn key(&mut self, name: &str, kind: u8) {
        self.count += 1;
        put_text(&mut self.bytes, name);
        self.bytes.push(kind);
    }
}

/// Writes a text after its length in two bytes; all texts here are short.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Metadata =
        Metadata { width: 640, height: 360, fps: None, video_bps: None, audio: None };

    fn has(tag: &[u8], part: &[u8]) -> bool {
        tag.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn a_tag_has_its_length_at_both_ends() {
        let tag = PICTURE.tag();
        assert!(is_script(&tag));
        let body = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        assert_eq!(tag.len(), 11 + body + 4);
        assert_eq!(tag[tag.len() - 4..], (11 + body as u32).to_be_bytes());
        assert!(tag[11..].starts_with(b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x04"));
        assert!(tag[..tag.len() - 4].ends_with(&[0, 0, 9]));
    }

    #[test]
    fn unknown_values_are_omitted() {
        let audio = Audio { rate: 44_100, channels: 2, bps: Some(64_000) };
        let whole =
            Metadata { fps: Some(29.97), video_bps: Some(750_000), audio: Some(audio), ..PICTURE };
        let tag = whole.tag();
        for (name, value) in [
            ("width", 640.0f64),
            ("framerate", 29.97),
            ("videodatarate", 750.0),
            ("audiodatarate", 64.0),
            ("audiosamplerate", 44_100.0),
        ] {
            let part = [name.as_bytes(), &[0], &value.to_be_bytes()].concat();
            assert!(has(&tag, &part), "{name}");
        }
        assert!(has(&tag, b"stereo\x01\x01"));
        for name in ["framerate", "datarate", "audio", "stereo"] {
            assert!(!has(&PICTURE.tag(), name.as_bytes()), "{name}");
        }
    }
}
