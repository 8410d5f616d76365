//! zoned from its start to its end.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use zone_api::ApiError;

use super::{preflight, serve, socket, watchdog};
use crate::config::daemon::Settings;
use crate::lifecycle::{Host, Paths, Zones, because};
use crate::network;

/// Threads for what does not block; the rest has threads of its own.
const WORKERS: usize = 2;

/// What zoned is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where things are.
    pub paths: Paths,
    /// zoned.toml, which need not be there.
    pub config: PathBuf,
}

/// Why zoned is not running.
#[derive(Debug)]
pub enum Stopped {
    /// It cannot run here, and has done nothing; a sentence.
    Refused(String),
    /// It ran and could not go on; a sentence.
    Failed(String),
}

fn refused(error: &dyn std::error::Error) -> Stopped {
    // Its first part is what failed, the rest why.
    let error = because("", error);
    Stopped::Refused(error.why)
}

fn refused_by(error: ApiError) -> Stopped {
    Stopped::Refused(error.to_string())
}

/// Runs until SIGTERM or SIGINT. Zones go on after it. `host` makes the host once the settings are known.
/// To be called before there are threads.
///
/// # Errors
/// See [`Stopped`].
pub fn run(
    options: &Options,
    host: impl FnOnce(&Paths, &Settings) -> Result<Arc<dyn Host>, ApiError>,
) -> Result<(), Stopped> {
    // Processes of a zone whose monitor was killed come to us, to be reaped by the zone's teardown.
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "orphans of killed monitors are left to init");
    }
    preflight::check().map_err(Stopped::Refused)?;
    let settings = Settings::load(&options.config).map_err(|error| refused(&error))?;
    let paths = &options.paths;
    // Files get the modes that they are made with.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Zones::make_folders(paths).map_err(refused_by)?;
    socket::make_run(&paths.run).map_err(|error| refused(&error))?;
    let _root = socket::lock(&paths.root).map_err(|error| refused(&error))?;
    let _run = socket::lock(&paths.run).map_err(|error| refused(&error))?;
    let listener = socket::listen(&paths.run).map_err(|error| refused(&error))?;
    let host = host(paths, &settings).map_err(refused_by)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| refused(&error))?;
    let place = host.place();
    let zones = Zones::new(host, paths.clone(), settings, runtime.handle().clone());
    zones.recover().map_err(refused_by)?;
    let ended = runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
            tracing::warn!(%error, "the service manager could not be told");
        }
        watchdog::begin(&paths.run);
        if let Some(place) = place {
            tokio::spawn(async {
                if let Err(error) = network::serve::run(place).await {
                    tracing::warn!(%error, "zones have no DHCP and no DNS on their bridge");
                }
            });
        }
        tracing::info!(run = %paths.run.display(), zones = zones.list().len(), "listening");
        let boots = Arc::clone(&zones);
        tokio::task::spawn_blocking(move || boots.autoboot());
        serve(listener, zones, async {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        })
        .await
    });
    sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]).ok();
    // Operations that outlast the grace end with the process; the next zoned tells of them.
    runtime.shutdown_background();
    ended.map_err(|error| Stopped::Failed(format!("accept connections: {error}")))
}
