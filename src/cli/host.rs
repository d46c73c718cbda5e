//! The commands that use GStreamer. The program `livebox-host` runs them; `livebox`
//! executes it, so that the service does not have the libraries in memory.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use super::{From, controls, devices, load, pipeline, say};
use crate::base::environment::Environment;
use crate::engine::process::host_program;
use crate::host;

/// The command line of `livebox-host`: those of `livebox` that it is executed for.
#[derive(Debug, Parser)]
#[command(name = "livebox", version)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: From,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the cameras of this machine and what they can do
    Devices {
        /// List their controls instead, such as brightness, with their valid values
        #[arg(short, long)]
        list_controls: bool,
    },
    /// Print the GStreamer pipeline of a stream or a push, ready for gst-launch-1.0
    Pipeline {
        /// The name of a stream, a feed or a push
        name: String,
        #[command(flatten)]
        from: From,
    },
    /// Run a pipeline for the service, which gives the job over a socket at standard input
    #[command(hide = true)]
    Host {
        /// The purpose, shown in process lists
        what: String,
    },
}

impl Arguments {
    /// Executes the command in this process. Only for `livebox-host`: the linker gives
    /// GStreamer to each program that can reach this.
    pub(super) fn execute(self, environment: &Environment) -> anyhow::Result<()> {
        match self.command {
            Command::Devices { list_controls: true } => say(&controls::list_all()?),
            Command::Devices { list_controls: false } => {
                host::init()?;
                say(&devices::list())
            }
            Command::Pipeline { name, from } => {
                let settings = load(&from.place(self.from), environment)?;
                host::init()?;
                say(&pipeline::line(&settings, &name)?)
            }
            Command::Host { .. } => host::run(),
        }
    }
}

/// Executes `livebox-host` with the same arguments in place of this program.
///
/// # Errors
/// It cannot be executed; otherwise this does not return.
pub(super) fn replace_program() -> anyhow::Result<()> {
    let program = host_program()?;
    let error = process::Command::new(&program).args(env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("cannot execute {program:?}"))
}
