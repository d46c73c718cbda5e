//! The service's side of host processes, in which pipelines run, and of commands.
//!
//! GStreamer, its plugins and codecs crash, hang and leak, and crafted media can make
//! them do so. A process can be limited and killed.

pub mod bytes;
mod command;
mod command_log;
mod commands;
mod encoders;
mod factory;
mod family;
mod feeds;
mod first_output;
mod host;
mod host_program;
mod limits;
mod listeners;
mod meter;
mod mjpeg;
mod picture;
mod pids;
mod pipe;
mod push;
mod recording;
mod reports;
mod stderr;
mod stderr_tail;
mod streams;
mod token_bucket;

pub use encoders::read_plugins;
pub use factory::{PipelineFactory, ProcessPipelines};
pub use family::Family;
pub use feeds::{Base, CaptureParts, FeedParts, Plans};
pub use host_program::{NoHostProgram, host_program, open_host_program};
pub use limits::set_limits;
pub use meter::Meter;
pub use mjpeg::{MjpegPipeline, MjpegVariant};
pub use picture::{NoStill, Still, extract, render, render_still};
pub use pids::is_host;
pub use push::{Destination, PushParts};
pub use recording::{Remux, finish_recording};
pub use streams::{FeedSource, StreamParts};
