//! zoned.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use zone_api::{ApiError, ErrorKind};
use zoned::config::daemon::Settings;
use zoned::host::ThisHost;
use zoned::lifecycle::{Host, Paths};
use zoned::monitor;
use zoned::server::daemon::{self, Options, Stopped};
use zoned::sys::memory;

/// Keeps isolated, branded zones. Runs in the foreground; zones outlive it.
#[derive(Parser)]
#[command(name = "zoned", version)]
struct Arguments {
    /// Folder for what zoned keeps
    #[arg(long, value_name = "DIR", default_value = "/var/lib/zoned", global = true)]
    root: PathBuf,
    /// Folder for its socket and those of the zones
    #[arg(long, value_name = "DIR", default_value = "/run/zoned", global = true)]
    run: PathBuf,
    /// Its own configuration [default: /etc/zoned/zoned.toml, where that is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Folder with the configurations of zones
    #[arg(long, value_name = "DIR", default_value = "/etc/zones", global = true)]
    zones: PathBuf,
    /// What to log: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", global = true)]
    log: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The process that those beside the zones are made from; zoned starts it
    #[command(hide = true)]
    Zygote {
        /// Room for their names
        room: String,
    },
    /// The process that speaks to registries; zoned starts it
    #[command(hide = true)]
    Pull {
        /// Whom it becomes
        id: u32,
    },
}

fn main() -> ExitCode {
    memory::share_heap();
    // Whoever starts us may have signals blocked, and would pass that on (sigprocmask(2)).
    if let Err(error) = nix::sys::signal::SigSet::empty().thread_set_mask() {
        return refuse(&format!("unblock signals: {error}"));
    }
    let arguments = Arguments::parse();
    let filter = match EnvFilter::try_new(&arguments.log) {
        Ok(filter) => filter,
        Err(error) => return refuse(&format!("--log {}: {error}", arguments.log)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let options = match options(&arguments) {
        Ok(options) => options,
        Err(why) => return refuse(&why),
    };
    match arguments.command {
        Some(Command::Zygote { .. }) => be_zygote(),
        Some(Command::Pull { id }) => be_puller(id),
        None => match daemon::run(&options, host) {
            Ok(()) => ExitCode::SUCCESS,
            Err(Stopped::Refused(why)) => refuse(&why),
            Err(Stopped::Failed(why)) => {
                eprintln!("zoned: {why}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Paths as they are for every process, whatever folder it is in.
fn options(arguments: &Arguments) -> Result<Options, String> {
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
    let config = arguments.config.as_ref().map(absolute).transpose()?;
    Ok(Options {
        paths: Paths {
            root: absolute(&arguments.root)?,
            run: absolute(&arguments.run)?,
            configs: absolute(&arguments.zones)?,
        },
        config: config.unwrap_or_else(|| "/etc/zoned/zoned.toml".into()),
    })
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("zoned: {why}");
    ExitCode::from(2)
}

fn host(paths: &Paths, settings: &Settings) -> Result<Arc<dyn Host>, ApiError> {
    match ThisHost::new(paths.clone(), settings.clone()) {
        Ok(host) => Ok(Arc::new(host)),
        Err(error) => Err(ApiError::new(ErrorKind::Failed, "find this program's file", error.to_string())),
    }
}

/// Its connection to zoned is its standard input. Returns in each monitor that is made, too.
fn be_zygote() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let requests = std::io::stdin().as_fd().try_clone_to_owned();
    let taken = requests
        .map_err(|error| error.to_string())
        .and_then(|requests| monitor::zygote::serve(requests, &arguments).map_err(|error| error.to_string()));
    let monitor::zygote::Taken { name, control, worker } = match taken {
        Ok(Some(taken)) => taken,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => return refuse(&format!("zygote: {why}")),
    };
    match monitor::run(control, worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(zone = name, "{}", failure.sentence());
            ExitCode::FAILURE
        }
    }
}

/// The same.
fn be_puller(id: u32) -> ExitCode {
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    match control.and_then(|control| zoned::pull::run(control.into(), id)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("pull: {error}")),
    }
}
