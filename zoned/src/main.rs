//! zoned.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use zoned::lifecycle::Paths;
use zoned::server::daemon::{self, Options, Stopped};

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
    /// The process beside each live zone; zoned starts it
    #[command(hide = true)]
    Monitor {
        /// Zone
        name: String,
    },
}

fn main() -> ExitCode {
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
        Some(Command::Monitor { name }) => wiring::monitor(&name),
        None => match daemon::run(&options, wiring::host) {
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
        config_asked: config.is_some(),
        config: config.unwrap_or_else(|| "/etc/zoned/zoned.toml".into()),
    })
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("zoned: {why}");
    ExitCode::from(2)
}

/// Where the parts that act on the host are put behind the traits of `lifecycle::host`.
mod wiring {
    use std::io::Read;
    use std::path::Path;
    use std::process::ExitCode;
    use std::sync::Arc;

    use zone_api::{ApiError, Brand, ErrorKind, Finding, Progress, Verified};
    use zoned::config::Config;
    use zoned::config::daemon::Settings;
    use zoned::lifecycle::Paths;
    use zoned::lifecycle::host::{Host, Installed, MonitorHandle, MonitorSpec};

    pub(crate) fn host(_: &Paths, _: &Settings) -> Result<Arc<dyn Host>, ApiError> {
        Ok(Arc::new(Bare))
    }

    pub(crate) fn monitor(name: &str) -> ExitCode {
        super::refuse(&cannot(&format!("be the monitor of {name}")).to_string())
    }

    /// A host that configurations can be kept on, and nothing else be done.
    struct Bare;

    fn cannot(what: &str) -> ApiError {
        ApiError::new(ErrorKind::Failed, what, "this zoned was built without monitors and images")
    }

    impl Host for Bare {
        fn start_monitor(&self, spec: MonitorSpec) -> Result<MonitorHandle, ApiError> {
            Err(cannot(&format!("boot {}", spec.config.name)))
        }

        fn adopt(&self, _: &str) -> Option<MonitorHandle> {
            None
        }

        fn teardown(&self, _: &str) -> Result<(), ApiError> {
            Ok(())
        }

        fn install(
            &self,
            source: &str,
            _: &Path,
            _: Option<Box<dyn Read + Send>>,
            _: &dyn Fn(Progress),
        ) -> Result<Installed, ApiError> {
            Err(cannot(&format!("install from {source}")))
        }

        fn empty(&self, dir: &Path) -> Result<(), ApiError> {
            let wrong = |error: std::io::Error| {
                ApiError::new(ErrorKind::Failed, format!("empty {}", dir.display()), error.to_string())
            };
            for entry in std::fs::read_dir(dir).map_err(wrong)? {
                let entry = entry.map_err(wrong)?;
                // remove_dir_all follows no links (it works by descriptors).
                let removed = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                    _ => std::fs::remove_file(entry.path()),
                };
                removed.map_err(wrong)?;
            }
            Ok(())
        }

        fn doctor(&self) -> Vec<Finding> {
            Vec::new()
        }

        fn verify(&self, _: &Config) -> Verified {
            Verified { ok: false, findings: vec![cannot("boot").why] }
        }

        fn brands(&self) -> Vec<Brand> {
            Vec::new()
        }
    }
}
