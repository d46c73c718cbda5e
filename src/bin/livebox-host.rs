//! The program that links GStreamer; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    livebox::cli::run_host()
}
