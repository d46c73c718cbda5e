//! The built-in profiles.

use super::text::Profile;

/// The folder of `pipelines/` that a profile belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Feed,
    Encoder,
    Audio,
    Pull,
    /// A track of a demultiplexed byte stream.
    Track,
    Push,
    Picture,
    Filter,
    /// Remuxing of a recording.
    Recording,
}

macro_rules! files {
    ($($kind:ident $folder:literal $name:literal,)*) => {
        const FILES: &[(Kind, &str, &str)] = &[
            $((
                Kind::$kind,
                $name,
                include_str!(concat!("../../pipelines/", $folder, "/", $name, ".pipeline")),
            ),)*
        ];
    };
}

files! {
    Feed "feeds" "test",
    Feed "feeds" "v4l2-raw",
    Feed "feeds" "v4l2-mjpeg",
    Feed "feeds" "v4l2-h264",
    Feed "feeds" "file",
    Feed "feeds" "file-decoded",
    Feed "feeds" "rtsp",
    Feed "feeds" "bytes",
    Feed "feeds" "shared",
    Feed "feeds" "shared-decoded",
    Encoder "encoders" "v4l2h264enc",
    Encoder "encoders" "mpph264enc",
    Encoder "encoders" "vah264enc",
    Encoder "encoders" "nvh264enc",
    Encoder "encoders" "x264enc",
    Encoder "encoders" "openh264enc",
    Audio "audio" "silence",
    Audio "audio" "tone",
    Audio "audio" "own",
    Audio "audio" "alsa",
    Filter "filters" "turn",
    Filter "filters" "overlay",
    Filter "filters" "fit",
    Pull "pulls" "h264",
    Pull "pulls" "h265",
    Pull "pulls" "jpeg",
    Pull "pulls" "mpeg4-generic",
    Pull "pulls" "mp4a-latm",
    Pull "pulls" "pcmu",
    Pull "pulls" "pcma",
    Pull "pulls" "opus",
    Pull "pulls" "mpa",
    Pull "pulls" "l16",
    Track "tracks" "h264",
    Track "tracks" "h265",
    Track "tracks" "picture",
    Track "tracks" "aac",
    Track "tracks" "sound",
    Push "pushes" "rtmp",
    Picture "pictures" "decode",
    Picture "pictures" "jpg",
    Picture "pictures" "png",
    Picture "pictures" "mjpeg",
    Picture "pictures" "bytes",
    Picture "pictures" "intra",
    Picture "pictures" "decode-any",
    Recording "recordings" "mp4",
}

/// The names of all profiles of one kind.
pub fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    FILES.iter().filter(move |(known, _, _)| *known == kind).map(|(_, name, _)| *name)
}

/// The built-in profile with this name; `None` if there is none.
pub fn profile(kind: Kind, name: &str) -> Option<Profile> {
    let is_wanted = |file: &&(Kind, &str, &str)| file.0 == kind && file.1 == name;
    let (_, name, text) = FILES.iter().find(is_wanted)?;
    Some(Profile::parse(name, text).expect("a test parses every built-in profile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_parses() {
        for (_, name, text) in FILES {
            Profile::parse(name, text).unwrap();
        }
    }
}
