//! What zones ask of the host, and of the monitor of a live one. Everything here may block.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use zone_api::stat::{HostUsage, ZoneUsage};
use zone_api::{ApiError, Boot, Brand, Finding, Login, Mark, Progress, State, Verified};

use crate::config::Config;

/// The host, as the verbs need it.
pub trait Host: Send + Sync + 'static {
    /// Starts a monitor and has it make the zone's platform and, unless `ready_only`, start init.
    ///
    /// # Errors
    /// The zone does not run then; [`Host::teardown`] is called next. Nothing was written to the session.
    fn start_monitor(&self, spec: MonitorSpec) -> Result<MonitorHandle, ApiError>;

    /// The monitor that answers for this zone, where one does.
    fn adopt(&self, name: &str) -> Option<MonitorHandle>;

    /// Ends whatever is left of the zone, its monitor too: processes, mounts, cgroups, files in the
    /// run folder. Does nothing where nothing is left.
    ///
    /// # Errors
    /// Something could not be removed; everything else was.
    fn teardown(&self, name: &str) -> Result<(), ApiError>;

    /// Fills `dir`, an empty folder, from `source`; `archive` is the content of a source that ends in `-`,
    /// `arch` what its programs must be for.
    ///
    /// # Errors
    /// `dir` may hold anything then.
    fn install(
        &self,
        source: &str,
        dir: &Path,
        archive: Option<Box<dyn Read + Send>>,
        arch: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Installed, ApiError>;

    /// Makes the logs in a zone's folder, so that booting it for the first time makes nothing new there.
    ///
    /// # Errors
    /// Something is not there then.
    fn prepare(&self, zone_dir: &Path) -> Result<(), ApiError>;

    /// Whether a zone's root can be made of layers; else they are put together into one folder.
    fn stacks_layers(&self) -> bool {
        true
    }

    /// Holds every process of the zone still, or lets go of them.
    ///
    /// # Errors
    /// They are not held then.
    fn hold(&self, name: &str, still: bool) -> Result<(), ApiError>;

    /// Removes everything in `dir`; follows no link and crosses into no other mount.
    ///
    /// # Errors
    /// Something is still there.
    fn empty(&self, dir: &Path) -> std::io::Result<()>;

    /// What this host offers and lacks.
    fn doctor(&self) -> Vec<Finding>;

    /// Whether this configuration would boot here.
    fn verify(&self, config: &Config) -> Verified;

    /// Addresses of a live zone, with their prefixes.
    fn addresses(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }

    /// Where the network of zones is.
    fn place(&self) -> Option<crate::network::Place> {
        None
    }

    /// Forgets what is kept for a zone that is no more, apart from its folder.
    fn forget(&self, _name: &str) {}

    /// What the host as a whole and each of these live zones use: name, process 1, whether its network is its own.
    fn usage(&self, zones: &[(String, Option<i32>, bool)]) -> (HostUsage, Vec<ZoneUsage>);

    /// The program that speaks to registries.
    fn puller(&self) -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }

    /// The brands here.
    fn brands(&self) -> Vec<Brand>;
}

/// What a monitor is started with.
#[derive(Debug)]
pub struct MonitorSpec {
    /// Configuration; `arch` is filled in from the root where it was found.
    pub config: Config,
    /// Init and arguments for this boot.
    pub boot: Boot,
    /// Make the platform and wait for [`Control::boot`].
    pub ready_only: bool,
    /// Zone id, 1 or more.
    pub id: u32,
    /// Range of host ids.
    pub id_slot: u32,
    /// What its hardware addresses follow from.
    pub uuid: String,
    /// Folder of the zone: root/, upper/, work/, console.log.
    pub zone_dir: PathBuf,
    /// RUN/NAME, for the monitor's socket and pidfile; made and removed by the host.
    pub run_dir: PathBuf,
    /// What the root is.
    pub root: RootSpec,
    /// Host folder or file, and where it is in the zone.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// The zone ends with its program, and nothing is kept.
    pub ephemeral: bool,
    /// What was done for it so far, where somebody wants to know how long that took.
    pub marks: Option<Vec<Mark>>,
    /// For an ephemeral zone, its program and the connection of its session.
    pub session: Option<(Session, Login)>,
}

impl MonitorSpec {
    /// Whether its own folder is for nothing that the zone writes: tmpfs has attributes of users since Linux 6.6.
    pub fn writes_to_memory(&self) -> bool {
        let since = |level| crate::confine::running_level().is_some_and(|host| host >= level);
        match &self.root {
            RootSpec::Host => true,
            RootSpec::Dir(_) => since(brands::level::Level::new(6, 6, 0)),
            RootSpec::Installed | RootSpec::Layered(_) => false,
        }
    }
}

/// What a zone's root is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSpec {
    /// root/ in the zone's folder.
    Installed,
    /// These layers, the topmost first, below upper/ in the zone's folder.
    Layered(Vec<PathBuf>),
    /// The host's own files, read-only.
    Host,
    /// A folder of the host, which is not changed.
    Dir(PathBuf),
}

/// A client's connection after its upgrade.
#[derive(Debug)]
pub struct Session {
    /// The socket.
    pub conn: OwnedFd,
    /// What was read from it beyond the request.
    pub leftover: Vec<u8>,
}

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRequest {
    /// A program.
    Login(Login),
    /// The console.
    Console,
}

/// What install found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// uname -m that the root's programs want.
    pub arch: String,
}

/// A live monitor.
pub struct MonitorHandle {
    /// To tell it things.
    pub control: Arc<dyn Control>,
    /// Host pid of the zone's process 1, where it was just started.
    pub init_pid: Option<i32>,
    /// What it tells. [`MonitorEvent::Ended`] or [`MonitorEvent::Lost`] is the last; a closed channel is
    /// taken for lost.
    pub events: UnboundedReceiver<MonitorEvent>,
}

/// What a monitor can be told. Calls may come from several threads at once.
pub trait Control: Send + Sync {
    /// How its zone stands.
    ///
    /// # Errors
    /// The monitor does not answer.
    fn status(&self) -> Result<MonitorStatus, ApiError>;

    /// Ends the zone at once; returns when that was begun.
    ///
    /// # Errors
    /// The monitor does not answer.
    fn halt(&self) -> Result<(), ApiError>;

    /// Asks init to end; halts the zone after `timeout`. With `reboot` the monitor then boots it again.
    /// Returns when init was asked.
    ///
    /// # Errors
    /// The monitor does not answer.
    fn shutdown(&self, timeout: Duration, reboot: bool) -> Result<(), ApiError>;

    /// Ends the zone at once and boots it again; returns when the new init was started.
    ///
    /// # Errors
    /// It does not run then: the monitor ends and says so by an event.
    fn reboot(&self) -> Result<(), ApiError>;

    /// Presses Ctrl-Alt-Del; what comes of it is the guest's.
    ///
    /// # Errors
    /// It does not run.
    fn ctrl_alt_del(&self) -> Result<(), ApiError>;

    /// Starts init in a zone that is ready; returns when it was started.
    ///
    /// # Errors
    /// It does not run then: the monitor ends and says so by an event.
    fn boot(&self, boot: Boot) -> Result<(), ApiError>;

    /// Takes over a client's connection.
    ///
    /// # Errors
    /// Nothing was written to the connection.
    fn session(&self, session: Session, request: SessionRequest) -> Result<(), ApiError>;

    /// Writes the ledger to the zone's folder; with `reset`, an empty one.
    ///
    /// # Errors
    /// The file then holds what it held.
    fn ledger(&self, reset: bool) -> Result<(), ApiError>;

    /// From its next boot on its root is these layers, the topmost first.
    ///
    /// # Errors
    /// It is booted from what it was.
    fn restack(&self, layers: &[PathBuf]) -> Result<(), ApiError>;

    /// Another configuration: the keys in `live` take effect now, all others when the zone reboots.
    ///
    /// # Errors
    /// Those in `live` may not be in effect.
    fn update(&self, config: &Config, live: &[String]) -> Result<(), ApiError>;
}

/// How a monitor's zone stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorStatus {
    /// Ready, running, shutting_down or down.
    pub state: State,
    /// Zone id.
    pub id: u32,
    /// Range of host ids.
    pub id_slot: u32,
    /// Host pid of process 1.
    pub init_pid: Option<i32>,
    /// Whether it ends with its program.
    pub ephemeral: bool,
    /// What it was booted with.
    pub summary: Summary,
}

/// The part of a configuration that `list` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Brand.
    pub brand: String,
    /// Level.
    pub kernel: Option<String>,
    /// `exclusive`, `shared`, `host` or `none`.
    pub ip_type: String,
}

impl From<&Config> for Summary {
    fn from(config: &Config) -> Self {
        let ip_type = match config.ip_type {
            crate::config::IpType::Exclusive => "exclusive",
            crate::config::IpType::Shared => "shared",
            crate::config::IpType::Host => "host",
            crate::config::IpType::None => "none",
        };
        Self { brand: config.brand.clone(), kernel: config.kernel.clone(), ip_type: ip_type.into() }
    }
}

/// What a monitor tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorEvent {
    /// Its zone is now in this state.
    State(State),
    /// The guest, or a verb, rebooted it; it runs again.
    Rebooted,
    /// Something that an administrator may want to know.
    Noted(String),
    /// The zone ended and the monitor took its platform down.
    Ended {
        /// In which way.
        how: Ended,
        /// More of it: "init was killed by signal 11".
        reason: Option<String>,
        /// Whether nothing of it is left, so that there is nothing to look for.
        clean: bool,
    },
    /// The monitor is gone without a word; by which signal, where that is known.
    Lost {
        /// Signal number.
        signal: Option<i32>,
    },
}

/// How a zone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The guest powered off.
    PoweredOff,
    /// Halted by a verb, or by the guest; also the end of a `run` zone's program.
    Halted,
    /// It could not go on.
    Failed,
}
