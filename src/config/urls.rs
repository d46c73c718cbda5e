//! The URLs of streams on this server: syntax, reserved paths, collisions.

use super::problem::quote;

/// Reserved first path segments.
const RESERVED: &str = "api apiv1 stat stat.json metrics config dashboard kiosk hub stream \
    stream.mp4 stream.m3u8 stream.h264 stream.ts stream.aac stream.mjpeg stream.mjpg \
    streaminf.m3u8 manifest.json index.html ws assets login \
    logout register settings view play videos images channel channels topics live live-rec \
    socket.io unsubscribe health recordings";

/// Suffixes that select a container.
const SUFFIXES: [&str; 7] = [".mp4", ".h264", ".m3u8", ".ts", ".aac", ".mjpeg", ".mjpg"];

/// First path segments that a stream serves below its URL.
const BELOW: [&str; 6] = ["ws", "ws.h264", "hls", "pic", "whep", "live.json"];

/// The maximum length of a stream's URL, in bytes.
const MAX_URL_BYTES: usize = 200;

/// Parses the URL of a stream: `front`, `/cams/front`, `/front/`.
pub(super) fn stream_url(text: &str) -> Result<String, String> {
    let url = byte_stream_url(text)?;
    match SUFFIXES.iter().find(|suffix| url.ends_with(*suffix)) {
        Some(suffix) => Err(format!(
            "{} ends with {suffix}: a container suffix cannot be chosen in this version, every \
             container is served beside the path without one",
            quote(text)
        )),
        None => Ok(url),
    }
}

/// Parses the URL of a byte stream, which may have a suffix: `/cams/a/raw.ts`.
pub(super) fn byte_stream_url(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let wrong = |why: &str| Err(format!("{} {why}", quote(text)));
    if text.contains("://") {
        return wrong("is not a path on this server; the port and the host are not part of it");
    }
    if inner.len() > MAX_URL_BYTES || !inner.split('/').all(is_segment) {
        return wrong(
            "is not a path of segments of a-z A-Z 0-9 . _ - between slashes, 200 characters at most",
        );
    }
    let first = inner.split('/').next().unwrap_or(inner);
    if RESERVED.split(' ').any(|piece| piece == first) {
        return wrong(&format!(
            "begins with {first:?}, which is reserved for the server; use another first segment"
        ));
    }
    Ok(format!("/{inner}"))
}

fn is_segment(piece: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !piece.is_empty() && piece.chars().all(allowed) && !piece.chars().all(|c| c == '.')
}

/// Whether two streams at these URLs would answer the same request.
pub(super) fn collide(left: &str, right: &str) -> bool {
    let serves = |owner: &str, other: &str| {
        let below = other.strip_prefix(owner).and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|rest| BELOW.contains(&rest.split('/').next().unwrap_or(rest)))
    };
    left == right || serves(left, right) || serves(right, left)
}

/// Whether a byte stream at `bytes` would answer a request of the stream at `tracks`.
pub(super) fn shadows(bytes: &str, tracks: &str) -> bool {
    let beside = bytes.strip_prefix(tracks).is_some_and(|rest| SUFFIXES.contains(&rest));
    beside || collide(bytes, tracks)
}

/// Whether two byte streams would answer the same request.
pub(super) fn byte_streams_collide(left: &str, right: &str) -> bool {
    let is_picture = |one: &str, other: &str| one.strip_prefix(other) == Some("/pic");
    left == right || is_picture(left, right) || is_picture(right, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_url_is_a_path_of_plain_segments() {
        for (text, url) in
            [("front", "/front"), ("/cams/a/", "/cams/a"), ("/a.b/c-d_e", "/a.b/c-d_e")]
        {
            assert_eq!(stream_url(text), Ok(url.to_owned()));
        }
        for text in ["", "/", "//a", "a//b", "/a b", "/ä", "/..", "/a/../b", "/a?b", "/%41"] {
            assert!(stream_url(text).unwrap_err().contains("a-z A-Z 0-9"), "{text}");
        }
        assert!(stream_url(&"a/".repeat(500)).is_err());
    }

    #[test]
    fn paths_of_the_server_and_container_suffixes_are_refused() {
        for text in ["/api", "stream", "/health/x", "/live/a", "/stat.json"] {
            assert!(stream_url(text).unwrap_err().contains("reserved for the server"), "{text}");
        }
        for text in ["/front.mp4", "/a/b.ts", "/x.m3u8"] {
            assert!(stream_url(text).unwrap_err().contains("in this version"), "{text}");
        }
        assert_eq!(stream_url("/stream2"), Ok("/stream2".to_owned()));
    }

    #[test]
    fn a_stream_may_be_below_another_except_at_paths_which_that_serves() {
        for (left, right) in [("/a", "/a"), ("/a", "/a/ws"), ("/a/pic/b", "/a"), ("/a/hls", "/a")] {
            assert!(collide(left, right), "{left} {right}");
        }
        for (left, right) in [("/a", "/b"), ("/a", "/ab"), ("/a", "/a/b"), ("/cams/a", "/cams/b")] {
            assert!(!collide(left, right), "{left} {right}");
        }
    }

    #[test]
    fn a_byte_stream_has_any_suffix_but_not_that_of_another_stream() {
        assert_eq!(byte_stream_url("cams/a/raw.ts"), Ok("/cams/a/raw.ts".to_owned()));
        assert!(byte_stream_url("/stream/a.ts").unwrap_err().contains("reserved for the server"));
        for bytes in ["/a", "/a.mp4", "/a.ts", "/a/ws", "/a/pic"] {
            assert!(shadows(bytes, "/a"), "{bytes}");
        }
        for bytes in ["/a.webm", "/b.ts", "/a/b.ts", "/a.mp4.ts"] {
            assert!(!shadows(bytes, "/a"), "{bytes}");
        }
        assert!(byte_streams_collide("/a.ts", "/a.ts"));
        assert!(byte_streams_collide("/a.ts/pic", "/a.ts"));
        assert!(!byte_streams_collide("/a.ts", "/a.mp4"));
    }
}
