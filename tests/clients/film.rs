//! A film whose every picture carries its number, in a form that survives any
//! encoder and scaler: sixteen upright bars across its top, white for one and
//! black for zero.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::process::run;
use crate::common::tools::tool;

pub(crate) const FPS: u32 = 30;
/// After so many pictures the film begins again.
pub(crate) const PICTURES: u16 = 1800;
pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 192;
pub(crate) const BARS: usize = 16;
/// The bars take this part of the height, from the top.
pub(crate) const PART_WITH_BARS: usize = 4;

const CHECK_BITS: u16 = 4;
const LIMIT: Duration = Duration::from_secs(120);

/// Crops the bars of a film's picture and makes a pixel of each, in words of FFmpeg's filters.
pub(crate) const BARS_FILTER: &str = "crop=iw:ih/4:0:0,scale=16:1:flags=area,format=gray";

/// Makes the film, with AAC, in `folder`.
pub(crate) fn make(folder: &Path) -> PathBuf {
    let path = folder.join("film.mp4");
    let bars_height = HEIGHT / PART_WITH_BARS;
    let seconds = u32::from(PICTURES) / FPS;
    let below = format!("testsrc2=size={WIDTH}x{}:rate={FPS}", HEIGHT - bars_height);
    let stacked = format!(
        "[0]scale={WIDTH}:{bars_height}:flags=neighbor,format=yuv420p[bars];\
         [1]format=yuv420p[below];[bars][below]vstack=shortest=1[picture]"
    );
    let mut command = tool("ffmpeg");
    command.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "gray"]);
    command.args(["-video_size", &format!("{BARS}x1"), "-framerate", &FPS.to_string(), "-i", "-"]);
    command.args(["-f", "lavfi", "-i", &below]);
    command.args(["-f", "lavfi", "-i", "sine=1000:sample_rate=48000"]);
    command.args(["-filter_complex", &stacked, "-map", "[picture]", "-map", "2:a"]);
    command.args(["-t", &seconds.to_string(), "-c:a", "aac", "-b:a", "96k"]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", &FPS.to_string()]);
    command.args(["-b:v", "800k", "-maxrate", "800k", "-bufsize", "400k"]);
    command.args(["-x264-params", "scenecut=0:open-gop=0"]);
    let pixels: Vec<u8> = (0..PICTURES).flat_map(row).collect();
    let finished = run(command.arg(&path), &pixels, LIMIT);
    assert_eq!(finished.code, Some(0), "ffmpeg makes the film: {}", finished.stderr);
    path
}

/// The bars of a number, a pixel each.
fn row(number: u16) -> [u8; BARS] {
    let bits = number << CHECK_BITS | check(number);
    std::array::from_fn(|bar| if bits >> (BARS - 1 - bar) & 1 == 1 { 235 } else { 16 })
}

/// The number that the bars show; nothing if they are damaged.
pub(crate) fn number(row: [u8; BARS]) -> Option<u16> {
    let bits = row.iter().fold(0u16, |bits, pixel| bits << 1 | u16::from(*pixel > 125));
    let number = bits >> CHECK_BITS;
    let is_whole = bits & ((1 << CHECK_BITS) - 1) == check(number) && number < PICTURES;
    is_whole.then_some(number)
}

/// Takes a pixel of the middle of each bar out of a line of a picture.
pub(crate) fn middles(line: &[u8]) -> [u8; BARS] {
    std::array::from_fn(|bar| line[(2 * bar + 1) * line.len() / (2 * BARS)])
}

/// Four bits that no all-black and no all-white picture has by chance.
fn check(number: u16) -> u16 {
    (number ^ number >> 4 ^ number >> 8 ^ 0x5) & 0xf
}

#[test]
fn a_number_is_read_from_its_bars_and_not_from_a_blank_picture() {
    for known in 0..PICTURES {
        assert_eq!(number(row(known)), Some(known));
    }
    assert_eq!(number([16; BARS]), None);
    assert_eq!(number([235; BARS]), None);
}
