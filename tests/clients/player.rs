//! What a client has shown: pictures by their numbers, or seconds of sound,
//! out of whatever form a client can put them in.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::common::process::{Process, run};
use crate::common::tools::tool;
use crate::common::wait;
use crate::film::{self, BARS, HEIGHT, WIDTH};

const LIMIT: Duration = Duration::from_secs(10);
/// Lines of a client that a failure quotes.
const LAST_LINES: usize = 3;

/// One thing that a client has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Milliseconds since 1970.
    pub(crate) at_ms: f64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Picture(u16),
    /// A picture whose number cannot be read.
    Damaged,
    /// So many seconds of sound.
    Sound(f64),
}

/// A client that plays.
pub(crate) trait Player {
    /// What it has shown since the last call, or why it shows nothing more.
    fn take(&mut self) -> Result<Vec<Shown>, String>;
}

/// The form in which a program writes what it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Grey pixels, one for each bar, and as many lines.
    Rows { lines: usize },
    /// YUV4MPEG2 of the whole picture.
    Yuv4Mpeg,
    /// Cells of a colour terminal, one for each bar.
    Terminal,
    /// Signed samples of 16 bits.
    Samples { per_second: u32 },
}

/// A program that writes what it shows into a named pipe.
pub(crate) struct Piped {
    process: Process,
    pipe: File,
    form: Form,
    bytes: Vec<u8>,
}

/// A program that writes each picture into a BMP file of its own in a folder.
pub(crate) struct Pictured {
    process: Process,
    folder: PathBuf,
    next: u32,
}

impl Piped {
    /// Starts what `command` makes for the path of the pipe.
    pub(crate) fn start(
        name: &str,
        folder: &Path,
        form: Form,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let path = folder.join("shown");
        // Some clients run as another user.
        let open_to_all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder, open_to_all).expect("the folder is ours");
        let made = run(tool("mkfifo").args(["-m", "666"]).arg(&path), b"", LIMIT);
        assert_eq!(made.code, Some(0), "mkfifo: {}", made.stderr);
        // Opened for both, so that it neither waits for a writer nor ends with one.
        let pipe = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)
            .expect("a named pipe opens");
        let process = Process::start(name, command(&path).current_dir(folder));
        Self { process, pipe, form, bytes: Vec::new() }
    }

    fn fill(&mut self) {
        let mut block = [0; 65_536];
        loop {
            match self.pipe.read(&mut block) {
                Ok(count) => self.bytes.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the pipe of shown pictures: {error}"),
            }
        }
    }
}

impl Player for Piped {
    fn take(&mut self) -> Result<Vec<Shown>, String> {
        let has_ended = ended(&mut self.process);
        self.fill();
        let at_ms = now_ms();
        let mut shown = Vec::new();
        while let Some((what, length)) = self.form.first(&self.bytes) {
            self.bytes.drain(..length);
            shown.push(Shown { at_ms, what });
        }
        match has_ended {
            Some(why) if shown.is_empty() => Err(why),
            _ => Ok(shown),
        }
    }
}

impl Form {
    /// The first thing in `bytes` and where it ends, once it is whole.
    fn first(self, bytes: &[u8]) -> Option<(What, usize)> {
        match self {
            Form::Rows { lines } => {
                let picture = bytes.get(..BARS * lines)?;
                Some((picture_of(film::middles(&picture[..BARS])), picture.len()))
            }
            Form::Yuv4Mpeg => {
                const MARK: &[u8] = b"FRAME\n";
                let begin = find(bytes, MARK)? + MARK.len();
                let end = begin + WIDTH * HEIGHT * 3 / 2;
                let picture = bytes.get(begin..end)?;
                let line = &picture[WIDTH * HEIGHT / 8..][..WIDTH];
                Some((picture_of(film::middles(line)), end))
            }
            Form::Terminal => {
                const HOME: &[u8] = b"\x1b[0;0f\x1b[48";
                const END_OF_LINE: &[u8] = b"\x1b[0m";
                let begin = find(bytes, HOME)?;
                let end = begin + find(&bytes[begin..], END_OF_LINE)? + END_OF_LINE.len();
                let cells = String::from_utf8_lossy(&bytes[begin..end]).into_owned();
                let greens = cells.split("48;2;").skip(1).map(green);
                let row: Option<Vec<u8>> = greens.collect();
                let row = row.and_then(|row| row.try_into().ok());
                Some((row.map_or(What::Damaged, picture_of), end))
            }
            Form::Samples { per_second } => {
                let bytes = bytes.len() & !1;
                let seconds = bytes as f64 / 2.0 / f64::from(per_second);
                (bytes > 0).then_some((What::Sound(seconds), bytes))
            }
        }
    }
}

impl Pictured {
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let process = Process::start(name, command.current_dir(folder));
        Self { process, folder: folder.to_owned(), next: 1 }
    }

    fn file(&self, number: u32) -> PathBuf {
        self.folder.join(format!("SDL_window1-{number:08}.bmp"))
    }
}

impl Player for Pictured {
    fn take(&mut self) -> Result<Vec<Shown>, String> {
        let has_ended = ended(&mut self.process);
        let mut shown = Vec::new();
        // A file is whole when the next one is there.
        while self.file(self.next + 1).exists() {
            let file = self.file(self.next);
            let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
            std::fs::remove_file(file).map_err(|error| error.to_string())?;
            let what = bitmap_row(&bytes).map_or(What::Damaged, picture_of);
            shown.push(Shown { at_ms: now_ms(), what });
            self.next += 1;
        }
        match has_ended {
            Some(why) if shown.is_empty() => Err(why),
            _ => Ok(shown),
        }
    }
}

/// What a picture with these bars is.
pub(crate) fn picture_of(row: [u8; BARS]) -> What {
    film::number(row).map_or(What::Damaged, What::Picture)
}

pub(crate) fn now_ms() -> f64 {
    wait::unix().as_secs_f64() * 1000.0
}

/// Why a program has ended, if it has.
fn ended(process: &mut Process) -> Option<String> {
    let status = process.ended()?;
    let text = process.output().text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
    Some(format!("it ended ({status}): {last}"))
}

/// A pixel of each bar from a BMP of 24 bits, whose lines stand upside down.
fn bitmap_row(bitmap: &[u8]) -> Option<[u8; BARS]> {
    const PIXELS_AT: usize = 10;
    const BYTES: usize = 3;
    let at = bitmap.get(PIXELS_AT..PIXELS_AT + 4)?;
    let at = u32::from_le_bytes(at.try_into().ok()?) as usize;
    let line = HEIGHT - 1 - HEIGHT / 8;
    let line = bitmap.get(at + line * WIDTH * BYTES..)?.get(..WIDTH * BYTES)?;
    let greens: Vec<u8> = line.chunks_exact(BYTES).map(|pixel| pixel[1]).collect();
    Some(film::middles(&greens))
}

/// The second of three decimal numbers with semicolons between them.
fn green(cell: &str) -> Option<u8> {
    cell.split(';').nth(1)?.parse().ok()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
