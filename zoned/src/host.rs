//! The host that zones are on: monitors are started and found, roots filled, leftovers taken down.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brands::cond::Cond;
use brands::table::{self, Answer, Row};
use nix::unistd::Pid;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zone_api::stat::{HostUsage, ZoneUsage};
use zone_api::{ApiError, Boot, Brand, BrandRow, ErrorKind, Finding, Progress, Verified};

use crate::config::Config;
use crate::config::daemon::{IDS_PER_ZONE, Settings};
use crate::confine::boot::{self, Site};
use crate::confine::cgroup::{Cgroup, Hierarchies};
use crate::confine::login::{Program, User};
use crate::confine::root::{Bind, RootSpec};
use crate::confine::{Ids, privileges, usage, wait_readable};
use crate::lifecycle::host::{
    Control, Ended, Host, Installed, MonitorEvent, MonitorHandle, MonitorSpec, MonitorStatus,
    RootSpec as Wanted, Session, SessionRequest, Summary,
};
use crate::lifecycle::{Paths, because};
use crate::monitor::brand::{Branded, Disks};
use crate::monitor::link::{Link, News, Questions, Unanswered};
use crate::monitor::wire::{self, Event, How, Reply, Request, Spec};
use crate::monitor::zygote::Zygote;
use crate::network::{self, Place};
use crate::storage::backend;
use crate::sys::process;
use crate::{doctor, image};

/// This host.
#[derive(Debug)]
pub struct ThisHost {
    paths: Paths,
    settings: Settings,
    /// Where the links of zones are.
    place: Place,
    /// This program.
    program: PathBuf,
    /// What monitors are made from.
    zygote: Mutex<Option<Arc<Zygote>>>,
    /// What is asked of monitors that start their zones, which may wait for ever for the host's files.
    starting: Mutex<HashMap<String, Questions>>,
}

impl ThisHost {
    /// The host with zoned's folders at `paths`.
    ///
    /// # Errors
    /// When the running program cannot be found.
    pub fn new(paths: Paths, settings: Settings) -> io::Result<Self> {
        // The link keeps pointing at the very file that runs, also after it was replaced.
        let program = PathBuf::from("/proc/self/exe");
        fs::metadata(&program)?;
        let place = Place::new(&settings, &paths.root, &paths.run);
        // What a killed zoned left, or somebody flushed; zones do not depend on it.
        for done in [network::sweep(&place), network::repair(&place)] {
            if let Err(failure) = done {
                tracing::warn!(why = failure.sentence(), "the network of zones is not in order");
            }
        }
        let host =
            Self { paths, settings, place, program, zygote: Mutex::default(), starting: Mutex::default() };
        // The first zone need not wait for it; a failure is that zone's.
        let _ = host.zygote();
        Ok(host)
    }

    /// The zygote that lives, or a new one.
    fn zygote(&self) -> io::Result<Arc<Zygote>> {
        let mut held = self.zygote.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zygote) = held.as_ref().filter(|zygote| !zygote.is_gone()) {
            return Ok(Arc::clone(zygote));
        }
        // The folders are for people who look at ps.
        let (root, run) = (self.paths.root.as_os_str(), self.paths.run.as_os_str());
        let zygote = Zygote::start(&self.program, &["--root".as_ref(), root, "--run".as_ref(), run])?;
        Ok(Arc::clone(held.insert(Arc::new(zygote))))
    }

    fn base(&self, slot: u32) -> u32 {
        self.settings.id_base + slot * IDS_PER_ZONE
    }

    /// Two daemons may each have a zone of one name; their control groups must not meet.
    fn cgroup_key(&self, name: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.paths.run.hash(&mut hasher);
        format!("{name}@{:08x}", hasher.finish() as u32)
    }

    fn site(&self, name: &str) -> Site {
        Site {
            ids: Ids { base: self.settings.id_base },
            zone_dir: self.paths.root.join("zones").join(name),
            hide: self.paths.root.clone(),
            cgroup_key: self.cgroup_key(name),
        }
    }

    fn spec(&self, wanted: &MonitorSpec) -> Spec {
        let root = match &wanted.root {
            Wanted::Installed => RootSpec::Installed,
            Wanted::Layered(layers) => RootSpec::Layered(layers.clone()),
            Wanted::Host => RootSpec::Host,
            Wanted::Dir(path) => RootSpec::Directory(path.clone()),
        };
        let config_path =
            (!wanted.ephemeral).then(|| self.paths.configs.join(format!("{}.toml", wanted.config.name)));
        let binds = wanted.binds.iter().map(|(source, target)| Bind {
            source: source.clone(),
            target: target.to_string_lossy().into_owned(),
            options: Vec::new(),
        });
        Spec {
            arch: wanted.config.arch.clone().or_else(|| program_arch(wanted)),
            config: wanted.config.clone(),
            config_path,
            boot: wanted.boot.clone(),
            ready_only: wanted.ready_only,
            id: wanted.id,
            id_base: self.base(wanted.id_slot),
            zone_dir: wanted.zone_dir.clone(),
            run_dir: wanted.run_dir.clone(),
            hide: self.paths.root.clone(),
            cgroup_key: self.cgroup_key(&wanted.config.name),
            root,
            binds: binds.collect(),
            network: Some(wire::Network { place: self.place.clone(), uuid: wanted.uuid.clone() }),
            marks: wanted.marks.clone(),
            run: wanted.session.as_ref().map(|(_, login)| login.clone()),
            run_input: wanted.session.as_ref().map_or_else(Vec::new, |(session, _)| session.leftover.clone()),
        }
    }
}

/// `uname -m` for a zone over files that nobody installed: what its program is made for, or else the folder's programs.
fn program_arch(spec: &MonitorSpec) -> Option<String> {
    let (_, login) = spec.session.as_ref()?;
    let root = match &spec.root {
        Wanted::Installed | Wanted::Layered(_) => return None,
        Wanted::Host => Path::new("/"),
        Wanted::Dir(path) => path,
    };
    let command = login.command.first()?;
    let candidates = Program::new(User::root(), std::slice::from_ref(command), None, &[]).candidates;
    let look = |path: &Path| {
        let bound = spec.binds.iter().filter_map(|(from, to)| Some((from, path.strip_prefix(to).ok()?)));
        let (root, path) = match bound.min_by_key(|(_, rest)| rest.components().count()) {
            None => (root, path),
            Some((file, rest)) if rest.as_os_str().is_empty() => (Path::new("/"), file.as_path()),
            Some((folder, rest)) => (folder.as_path(), rest),
        };
        image::program_arch(root, path).ok()
    };
    let machine = candidates.iter().find_map(|path| look(Path::new(path))).map(|machine| machine.name());
    let of_folder = || match &spec.root {
        Wanted::Dir(path) => image::root_arch(path, None).ok().map(str::to_owned),
        Wanted::Installed | Wanted::Layered(_) | Wanted::Host => None,
    };
    machine.or_else(of_folder)
}

/// What a monitor writes to standard error.
const MONITOR_LOG: &str = "monitor.log";

/// Passes news on as events. The end of a zone is told only once its monitor is gone too, but `early` where its name
/// is not taken again.
fn forward(events: UnboundedSender<MonitorEvent>, early: bool) -> impl Fn(News) + Send + 'static {
    let ended = Mutex::new(None);
    move |news| {
        let event = match news {
            News::Event(Event::State { state, .. }) => MonitorEvent::State(state),
            News::Event(Event::Rebooted) => MonitorEvent::Rebooted,
            News::Event(Event::Noted(text)) => MonitorEvent::Noted(text),
            News::Event(Event::Ended { how, reason, left }) => {
                let how = match how {
                    How::PoweredOff => Ended::PoweredOff,
                    How::Halted => Ended::Halted,
                    How::Failed => Ended::Failed,
                };
                let clean = left.is_none();
                let reason = match left {
                    None => reason,
                    Some(left) => format!("{reason}; not taken down: {left}"),
                };
                let event = MonitorEvent::Ended { how, reason: Some(reason), clean };
                if !early || !clean {
                    *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
                    return;
                }
                event
            }
            News::Lost { signal } => {
                let last = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
                last.unwrap_or(MonitorEvent::Lost { signal })
            }
        };
        // Nobody listens any more: zoned is going.
        let _ = events.send(event);
    }
}

impl Host for ThisHost {
    fn start_monitor(&self, wanted: MonitorSpec) -> Result<MonitorHandle, ApiError> {
        let name = wanted.config.name.clone();
        let what = format!("boot {name}");
        let fail = |e: &dyn std::error::Error| because(what.clone(), e);
        // Of a run that writes to memory nothing is kept; its monitor may yet have something to say.
        if !wanted.writes_to_memory() {
            backend::make_written(&wanted.zone_dir).map_err(|e| fail(&e))?;
            self.prepare(&wanted.zone_dir)?;
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&wanted.run_dir)
            .map_err(|e| because(format!("{what}: make {}", wanted.run_dir.display()), &e))?;
        let spec = self.spec(&wanted);
        let (sender, events) = unbounded_channel();
        let early = wanted.ephemeral;
        let log = wanted.zone_dir.join(MONITOR_LOG);
        let zygote = self.zygote().map_err(|e| fail(&e))?;
        let link = Link::start(&zygote, &name, &log, forward(sender, early)).map_err(|e| fail(&e))?;
        let client = wanted.session.map(|(session, _)| session.conn);
        let starting = || self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        starting().insert(name.clone(), link.questions());
        let answer = link.ask(Request::Start(Box::new(spec)), client.as_ref());
        starting().remove(&name);
        match answer {
            Ok(Reply::Failed(error)) => Err(error),
            Ok(reply) => Ok(MonitorHandle {
                control: Arc::new(Remote { link, name, id_base: self.settings.id_base }),
                init_pid: if let Reply::Started { init_pid } = reply { init_pid } else { None },
                events,
            }),
            Err(gone) => Err(fail(&gone)),
        }
    }

    fn adopt(&self, name: &str) -> Option<MonitorHandle> {
        let (sender, events) = unbounded_channel();
        let link = Link::find(&self.paths.run.join(name), forward(sender, false)).ok()?;
        let control = Remote { link, name: name.to_owned(), id_base: self.settings.id_base };
        Some(MonitorHandle { control: Arc::new(control), init_pid: None, events })
    }

    fn teardown(&self, name: &str) -> Result<(), ApiError> {
        let what = format!("tear down {name}");
        let run_dir = self.paths.run.join(name);
        // A monitor that still listens but is of no use any more.
        if let Ok(link) = Link::find(&run_dir, |_| {})
            && let Some(pid) = link.pid()
            && let Ok(pidfd) = process::open(Pid::from_raw(pid))
        {
            drop(link);
            use std::os::fd::AsFd;
            let _ = process::signal(pidfd.as_fd(), libc::SIGKILL);
            if !wait_readable(pidfd.as_fd(), Duration::from_secs(5)) {
                let starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                starting.iter().for_each(Questions::give_up);
                let why = format!(
                    "its monitor, process {pid}, does not end: it waits in the kernel, as for a file system that does not answer"
                );
                return Err(ApiError::new(ErrorKind::Failed, what, why)
                    .hint(format!("/proc/{pid}/stack tells what for; unmount that, or end its server")));
            }
        }
        let down = boot::take_down(&self.site(name)).map_err(|failure| because(what.clone(), &failure));
        // Those that died with the monitor, and those that were killed now.
        process::reap_adopted(Duration::from_secs(5));
        let unlinked = network::take_down(&self.place, &run_dir, false);
        let down = down.and(unlinked.map_err(|failure| because(what.clone(), &failure)));
        match fs::remove_dir_all(&run_dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => down.and(Err(because(what, &e))),
            _ => down,
        }
    }

    fn install(
        &self,
        source: &str,
        dir: &Path,
        archive: Option<Box<dyn Read + Send>>,
        arch: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Installed, ApiError> {
        let what = || format!("install from {source}");
        let fail = |error: image::ImageError| {
            let plain = because(what(), &error);
            ApiError { kind: error.kind(), hint: error.hint().map(str::to_owned), ..plain }
        };
        let source: image::Source = source.parse().map_err(fail)?;
        let installed = image::install(&source, dir, archive, arch, progress).map_err(fail)?;
        for note in installed.notes {
            progress(Progress::Note { text: note });
        }
        Ok(Installed { arch: installed.arch.to_owned() })
    }

    fn prepare(&self, zone_dir: &Path) -> Result<(), ApiError> {
        for name in ["console.log", MONITOR_LOG] {
            let path = zone_dir.join(name);
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .map_err(|e| because(format!("make {}", path.display()), &e))?;
        }
        Ok(())
    }

    fn stacks_layers(&self) -> bool {
        crate::confine::outside::maps_ids()
    }

    fn hold(&self, name: &str, still: bool) -> Result<(), ApiError> {
        let hierarchies = Hierarchies::detect();
        let held = hierarchies.and_then(|found| Cgroup::at(&found, &self.cgroup_key(name)).hold(still));
        held.map_err(|failure| because(format!("hold {name} still"), &failure))
    }

    fn empty(&self, dir: &Path) -> std::io::Result<()> {
        image::empty(dir)
    }

    fn doctor(&self) -> Vec<Finding> {
        doctor::examine(&self.paths.root, &self.settings)
    }

    fn verify(&self, config: &Config) -> Verified {
        let mut findings: Vec<String> = Vec::new();
        if let Err(error) = Branded::of(config, None, &[], Disks::default(), None) {
            findings.push(because("", &error).why);
        }
        if let Err(why) = privileges::resolve(&config.limit_privileges) {
            findings.push(why);
        }
        for fs in config.fs.iter().filter(|fs| !Path::new(&fs.special).exists()) {
            findings.push(format!("fs {}: {} is not there", fs.dir, fs.special));
        }
        for device in config.device.iter().filter(|d| !Path::new(&d.path).exists()) {
            findings.push(format!("device {}: it is not there", device.path));
        }
        findings.extend(network::verify(&self.place, config));
        findings.extend(crate::confine::limits::verify(config, &self.paths.root));
        let zones = self.paths.root.join("zones");
        if config.capped_disk.is_some()
            && let Some(why) = backend::of(&zones).unlimited(&zones)
        {
            findings.push(format!("capped-disk: {why}"));
        }
        let fatal = doctor::examine(&self.paths.root, &self.settings)
            .into_iter()
            .filter(|f| f.verdict == zone_api::Verdict::Fatal);
        findings.extend(fatal.map(|f| format!("{}: {}; {}", f.what, f.found, f.why)));
        Verified { ok: findings.is_empty(), findings }
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        network::addresses(&self.paths.run.join(name))
    }

    fn place(&self) -> Option<Place> {
        Some(self.place.clone())
    }

    fn forget(&self, name: &str) {
        if let Err(failure) = network::forget(&self.place, name) {
            tracing::warn!(zone = name, why = failure.sentence(), "its addresses are still kept");
        }
    }

    fn usage(&self, zones: &[(String, Option<i32>, bool)]) -> (HostUsage, Vec<ZoneUsage>) {
        let host = usage::host();
        let hierarchies = Hierarchies::detect().unwrap_or_default();
        let of = |(name, init, own_network): &(String, Option<i32>, bool)| {
            let mut used = usage::Groups::of(&hierarchies, &self.cgroup_key(name)).read();
            used.name.clone_from(name);
            if let Some(pid) = init {
                usage::of_init(*pid, *own_network, host.uptime, &mut used);
            }
            used
        };
        let zones = zones.iter().map(of).collect();
        (host, zones)
    }

    fn puller(&self) -> PathBuf {
        self.program.clone()
    }

    fn brands(&self) -> Vec<Brand> {
        table::all().iter().map(|brand| describe(brand)).collect()
    }
}

fn describe(brand: &table::Brand) -> Brand {
    Brand {
        name: brand.name.to_owned(),
        summary: brand.summary.to_owned(),
        levels: brand.levels.map(|(oldest, newest)| (oldest.to_string(), newest.to_string())),
        rows: brand.rows().map(describe_row).collect(),
    }
}

fn describe_row(row: &Row) -> BrandRow {
    let abis = brands::abi::Abi::ALL.into_iter().filter(|abi| row.number(*abi).is_some());
    let levels = match (row.since, row.before) {
        (None, None) => None,
        (Some(since), None) => Some(format!("since {since}")),
        (None, Some(before)) => Some(format!("before {before}")),
        (Some(since), Some(before)) => Some(format!("{since} up to, not with, {before}")),
    };
    BrandRow {
        call: row.name.to_owned(),
        abis: abis.map(|abi| abi.to_string()).collect(),
        answer: match row.answer {
            Answer::Emulate(_) => "emulate".to_owned(),
            Answer::Refuse(errno) => format!("refuse {errno:?}"),
            Answer::Succeed => "succeed".to_owned(),
        },
        when: (row.cond != Cond::Always).then(|| row.cond.to_string()),
        levels,
        why: match row.why {
            Some(why) => format!("{}: {}", row.about, why.text()),
            None => row.about.to_owned(),
        },
        gaps: row.gap.map(str::to_owned),
    }
}

/// A monitor at the other end of its connection.
#[derive(Debug)]
struct Remote {
    link: Link,
    name: String,
    id_base: u32,
}

impl Remote {
    fn ask(
        &self,
        what: &str,
        request: Request,
        fd: Option<&std::os::fd::OwnedFd>,
    ) -> Result<Reply, ApiError> {
        match self.link.ask(request, fd) {
            Ok(Reply::Failed(error)) => Err(error),
            Ok(reply) => Ok(reply),
            Err(gone) => Err(self.gone(what, &gone)),
        }
    }

    fn gone(&self, what: &str, gone: &Unanswered) -> ApiError {
        ApiError::new(ErrorKind::Failed, format!("{what} {}", self.name), gone.to_string())
    }
}

impl Control for Remote {
    fn status(&self) -> Result<MonitorStatus, ApiError> {
        let Reply::Status(wire::Status { state, init_pid, spec }) = self.ask("ask", Request::Status, None)?
        else {
            return Err(self.gone("ask", &Unanswered::Gone));
        };
        Ok(MonitorStatus {
            state,
            id: spec.id,
            id_slot: spec.id_base.saturating_sub(self.id_base) / IDS_PER_ZONE,
            init_pid,
            ephemeral: spec.run.is_some(),
            summary: Summary::from(&spec.config),
        })
    }

    fn halt(&self) -> Result<(), ApiError> {
        self.ask("halt", Request::Halt, None).map(drop)
    }

    fn shutdown(&self, timeout: Duration, reboot: bool) -> Result<(), ApiError> {
        let timeout = timeout.as_secs().try_into().unwrap_or(u32::MAX);
        self.ask("shut down", Request::Shutdown { timeout, reboot }, None).map(drop)
    }

    fn reboot(&self) -> Result<(), ApiError> {
        self.ask("reboot", Request::Reboot, None).map(drop)
    }

    fn ctrl_alt_del(&self) -> Result<(), ApiError> {
        self.ask("press Ctrl-Alt-Del in", Request::CtrlAltDel, None).map(drop)
    }

    fn boot(&self, boot: Boot) -> Result<(), ApiError> {
        self.ask("boot", Request::Boot(boot), None).map(drop)
    }

    fn session(&self, session: Session, request: SessionRequest) -> Result<(), ApiError> {
        let Session { conn, leftover } = session;
        let (what, request) = match request {
            SessionRequest::Login(login) => ("log in to", Request::Login(login, leftover)),
            SessionRequest::Console => ("show the console of", Request::Console(leftover)),
        };
        self.ask(what, request, Some(&conn)).map(drop)
    }

    fn ledger(&self, reset: bool) -> Result<(), ApiError> {
        self.ask("keep the ledger of", Request::Ledger { reset }, None).map(drop)
    }

    fn restack(&self, layers: &[PathBuf]) -> Result<(), ApiError> {
        self.ask("change the layers of", Request::Restack(layers.to_vec()), None).map(drop)
    }

    fn update(&self, config: &Config, _live: &[String]) -> Result<(), ApiError> {
        self.ask("limit", Request::Limit(Box::new(config.clone())), None).map(drop)
    }
}
