//! The command line: commands, options, and their execution.

mod controls;
mod devices;
mod host;
mod inspect;
mod journal;
mod password;
mod pipeline;
mod stream;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use self::journal::log_to_stderr;
use crate::app;
use crate::base::environment::Environment;
use crate::base::{heap, system};
use crate::config::{self, Overrides, Place, Settings, print};

/// Live video from a camera, everywhere at once.
#[derive(Debug, Parser)]
#[command(name = "livebox", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    from: From,
    /// List the controls of the configured cameras with their valid values
    #[arg(short, long)]
    list_controls: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The location of the configuration.
#[derive(Debug, Default, clap::Args)]
struct From {
    /// The configuration file [default: /etc/livebox/livebox.yaml, if it exists]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A configuration of fmp4streamer (fmp4streamer.conf); -f detects this format as well
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}

impl From {
    /// The configuration named by these options, or else by those of `above`.
    fn place(self, above: From) -> Place {
        let named = |from: From| {
            let file = from.file.map(Place::File);
            file.or(from.config.map(Place::Fmp4streamer))
        };
        named(self).or(named(above)).unwrap_or(Place::Default)
    }
}

const EXAMPLES: &str = "\
Examples:
  livebox                                  serve a test picture at http://localhost:8000/
  livebox devices                          list the cameras of this machine
  livebox check -f my.yaml                 look for mistakes in a configuration
  livebox stream --resolution 720p - < url send a test picture to the address in the file url";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default without a command)
    #[command(alias = "server", after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Send one camera to one RTMP server, without the service and its configuration
    #[command(after_help = stream::EXAMPLES)]
    Stream(stream::Stream),
    /// Check the configuration, and that its files, devices and programs exist; print all
    /// settings without secrets
    Check {
        #[command(flatten)]
        from: From,
    },
    #[command(flatten)]
    InHost(host::Command),
    /// Ask for a password and print its hash, for `access.password` in the configuration
    Password,
    /// Print the script with which a shell completes commands and options
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Default, clap::Args)]
struct Serve {
    #[command(flatten)]
    from: From,
    /// The address to listen on: an IP address, localhost, or * for all
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// The port to listen on
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// A folder of static files for all other paths
    #[arg(long, value_name = "FOLDER")]
    docroot: Option<PathBuf>,
    /// Announce the service on the local network by mDNS, as _http._tcp (or _https._tcp) and _livebox._tcp
    #[arg(long)]
    mdns: bool,
    /// The log level: error, warn, info, debug or trace
    #[arg(short = 'g', long, value_name = "LEVEL")]
    log_level: Option<String>,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  livebox serve                        serve what /etc/livebox/livebox.yaml says
  livebox serve -f my.yaml --port 80   another configuration on another port
  livebox serve --bind localhost       only for this machine
  livebox serve --mdns                 findable by its name on the local network";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  livebox completions bash > ~/.local/share/bash-completion/completions/livebox
  livebox completions zsh > ~/.zfunc/_livebox
  livebox completions fish > ~/.config/fish/completions/livebox.fish";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command line of `livebox`. Errors are printed to stderr with exit
/// code 1; an invalid command line ends with 2.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    exit_code(|environment| execute(arguments, environment))
}

/// Runs the command line of `livebox-host`, in the same way.
pub fn run_host() -> ExitCode {
    let arguments = host::Arguments::parse();
    exit_code(|environment| arguments.execute(environment))
}

fn exit_code(execute: impl FnOnce(&Environment) -> anyhow::Result<()>) -> ExitCode {
    let environment = Environment::take().context("cannot read the environment");
    match environment.and_then(|environment| execute(&environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "livebox: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: Arguments, environment: &Environment) -> anyhow::Result<()> {
    if arguments.list_controls {
        let settings = load(&arguments.from.place(From::default()), environment)?;
        return say(&controls::list_for_feeds(&settings.feeds)?);
    }
    let place = |from: From| from.place(arguments.from);
    match arguments.command.unwrap_or_else(|| Command::Serve(Serve::default())) {
        Command::Serve(Serve { from, bind, port, docroot, mdns, log_level }) => {
            let mdns = mdns.then(|| "true".to_owned());
            let overrides = Overrides { bind, port, docroot, mdns, log_level };
            run_service(&place(from), &overrides, environment)
        }
        Command::Stream(flags) => {
            settle(environment);
            flags.run(environment)
        }
        Command::Check { from } => inspect(&place(from), environment),
        Command::InHost(_) => host::replace_program(),
        Command::Password => say(&password::hash()?),
        Command::Completions { shell } => say(&completions(shell)),
    }
}

/// Prepares this process for what runs for months: it must not grow, and commands
/// must not read its settings.
fn settle(environment: &Environment) {
    heap::configure();
    if let Err(error) = environment.conceal() {
        let told = "livebox: commands can read the environment";
        writeln!(std::io::stderr(), "{told}: {error}").ok();
    }
}

fn run_service(
    place: &Place,
    overrides: &Overrides,
    environment: &Environment,
) -> anyhow::Result<()> {
    settle(environment);
    let (place, overrides) = (place.clone(), overrides.clone());
    let environment = environment.clone();
    let load = move || config::load(&place, &overrides, environment.variables());
    let loaded = load()?;
    let level = log_to_stderr(loaded.settings.log.level);
    log::info!("livebox {}", env!("CARGO_PKG_VERSION"));
    for warning in &loaded.warnings {
        log::warn!("configuration: {warning}");
    }
    take_priority(loaded.settings.server.priority);
    let set_level = Box::new(move |new| level.set(new));
    app::serve(loaded, app::Source { load: Box::new(load), show: print::yaml, set_level })
}

/// Must run before any thread starts: each thread inherits the priority of its creator.
fn take_priority(nice: i32) {
    if nice != 0
        && let Err(error) = system::set_priority(nice)
    {
        log::warn!("server.priority: cannot set {nice}: {error}");
    }
}

/// Loads the settings for a command; prints warnings to stderr.
fn load(place: &Place, environment: &Environment) -> Result<Settings, config::LoadError> {
    let loaded = config::load(place, &Overrides::default(), environment.variables())?;
    for warning in &loaded.warnings {
        warn(warning);
    }
    Ok(loaded.settings)
}

/// Prints the effective configuration to stdout, and warnings and the result to
/// stderr.
fn inspect(place: &Place, environment: &Environment) -> anyhow::Result<()> {
    let loaded =
        config::load(place, &Overrides::default(), environment.variables()).map_err(|error| {
            let config::LoadError::Problems { problems, .. } = &error else { return error.into() };
            let count = inspect::counted(problems.len(), "problem", "problems");
            anyhow::anyhow!("{error}\nthe configuration is not valid: {count}")
        })?;
    let settings = &loaded.settings;
    let mut warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let missing = inspect::missing(settings);
    if !missing.iter().any(|what| what.starts_with("server.tls.")) {
        warnings.extend(app::tls(settings)?.and_then(|tls| app::exposure(&tls)));
    }
    warnings.extend(missing);
    warnings.iter().for_each(warn);
    say(&print::yaml(settings))?;
    writeln!(std::io::stderr(), "livebox: {}", inspect::verdict(settings, warnings.len())).ok();
    Ok(())
}

/// Prints a warning to stderr.
fn warn(what: impl std::fmt::Display) {
    writeln!(std::io::stderr(), "livebox: warning: {what}").ok();
}

fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "livebox", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_help_text_is_reviewed() {
        let mut command = Arguments::command();
        command.build();
        let mut text = command.render_help().to_string();
        for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set()) {
            let (name, help) = (sub.get_name().to_owned(), sub.render_help());
            if name != "help" {
                text += &format!("\n==== livebox {name} --help\n\n{help}");
            }
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "run `make golden`");
    }

    #[test]
    fn the_manual_page_names_every_command_and_every_option() {
        let page = include_str!("../../debian/livebox.1").replace("\\-", "-");
        let mut command = Arguments::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = sub.get_name();
            assert!(name == "help" || page.contains(name), "{name}");
            let options = sub.get_arguments();
            for option in options.filter_map(|option| option.get_long()) {
                assert!(
                    matches!(option, "help" | "file") || page.contains(&format!("--{option}")),
                    "--{option} of {name}"
                );
            }
        }
    }

    #[test]
    fn completions_cover_the_commands_for_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell);
            for word in ["stream", "devices", "check", "resolution"] {
                assert!(script.contains(word), "{shell:?} lacks {word}");
            }
        }
    }
}
