//! How a zone is made, top to bottom: [`make`] prepares outside, [`plan`] says what process 1 does
//! inside before it becomes the guest's.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::cgroup::{Cgroup, Hierarchies};
use super::clocks::Clocks;
use super::devices::Consoles;
use super::limits::{self, Limits};
use super::login::{self, Program, Streams, User};
use super::root::{self, Bind, Layers, RootSpec, Tree};
use super::watch::Watch;
use super::{Failure, Ids, devices, outside, owners, privileges};
use crate::config::{Config, Init, IpType};
use crate::sys::child::{self, Child, Exec, Plan, Slot, Step, Told, Where};
use crate::sys::{credentials, mount, process};
use crate::{marks, network};

/// Where a zone lives on the host.
#[derive(Debug, Clone)]
pub struct Site {
    /// Host ids of the zone.
    pub ids: Ids,
    /// The zone's folder.
    pub zone_dir: PathBuf,
    /// The daemon's own folder, hidden from zones over the host's files.
    pub hide: PathBuf,
    /// Name of the zone's control groups.
    pub cgroup_key: String,
}

/// What a brand makes of a zone at boot.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Personality of process 1 (personality(2)).
    pub personality: u32,
    /// Soft and hard limit of open files.
    pub nofile: Option<(u64, u64)>,
    /// Files shown below /proc: path there, content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files shown below /proc that the monitor serves: a detached file system, and where file `i` of it
    /// belongs.
    pub served: Option<(Arc<OwnedFd>, Vec<String>)>,
    /// What is written to files of /proc/sys, where the kernel lets a zone have its own.
    pub sysctls: Vec<(&'static str, &'static str)>,
    /// The filter; empty for none.
    pub filter: Vec<libc::sock_filter>,
}

impl Kernel {
    /// Paths of all the files that are shown below /proc.
    pub fn proc_files(&self) -> impl Iterator<Item = &str> {
        let served = self.served.iter().flat_map(|(_, paths)| paths);
        let all = self.files.iter().map(|(path, _)| path).chain(served).map(String::as_str);
        all.filter(|path| !path.starts_with('/'))
    }
}

/// Process 1.
#[derive(Debug)]
pub enum Start {
    /// As the configuration says, with these words.
    Init(Init, Vec<String>),
    /// Our reaper around one program, with whose end the zone ends.
    Program(Box<Program>, Streams),
}

/// A zone to make.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where.
    pub site: &'a Site,
    /// Its configuration.
    pub config: &'a Config,
    /// The text of /proc/self/mountinfo.
    pub mounts: &'a str,
    /// What the configuration comes to in them.
    pub limits: &'a Limits,
    /// Its files.
    pub root: &'a RootSpec,
    /// Host paths shown in it, beside those of the configuration.
    pub binds: &'a [Bind],
    /// Its kernel.
    pub kernel: &'a Kernel,
    /// Its process 1.
    pub start: &'a Start,
    /// Who an init is; root where that is none.
    pub user: Option<&'a User>,
    /// Its terminals.
    pub consoles: &'a Consoles,
    /// What init is told that it is in, by the variable `container`.
    pub container: &'a str,
    /// Its clocks; none for the host's.
    pub clocks: Option<Clocks>,
    /// Whether its systemd is one that wants a v1 hierarchy of its own name.
    pub named_hierarchy: bool,
    /// Where its interfaces are made, and with which uuid and run folder; none for a zone without.
    pub network: Option<(&'a network::Place, &'a str, &'a Path)>,
    /// Step that is made to fail, counted from 0 over the whole of the work; for tests.
    pub fail_at: Option<usize>,
}

/// A zone whose platform is made, and whose process 1 waits for [`Made::go`].
#[derive(Debug)]
pub struct Made {
    /// Process 1.
    pub init: Child,
    /// Its control groups.
    pub cgroup: Cgroup,
    /// Of those that it may make in systemd's hierarchy.
    pub groups: Option<Watch>,
    /// Master of the console, or of the program's terminal.
    pub terminal: Option<OwnedFd>,
    /// Masters of the screens beside the console.
    pub screens: Vec<OwnedFd>,
    /// Where the zone's /proc/kmsg is fed.
    pub kmsg: Option<OwnedFd>,
    /// The zone's /dev.
    pub dev: OwnedFd,
    /// Where the program's wait status will be written.
    pub status: Option<File>,
}

/// Steps outside that tests can make fail; those of the plan come after them.
const OUTSIDE: [&str; 6] =
    ["make the control groups", "make /dev", "clone", "map the ids", "attach the network", "release"];

fn may_fail(request: &Request<'_>, step: usize) -> Result<(), Failure> {
    match request.fail_at {
        Some(at) if at == step => Err(Failure::new("made to fail before:", OUTSIDE[step], Errno::ECANCELED)),
        _ => Ok(()),
    }
}

/// Makes a zone's platform. What a failure leaves is taken down by [`take_down`], which needs
/// nothing but the site.
///
/// The working directory of this process must be a folder that nothing else is mounted on: the
/// child finds its stage there.
pub fn make(request: &Request<'_>) -> Result<Made, Failure> {
    let Request { site, config, .. } = request;
    may_fail(request, 0)?;
    let mut hierarchies = Hierarchies::from_mountinfo(request.mounts);
    let named = if request.named_hierarchy { hierarchies.add_named(true) } else { None };
    let unified = if config.ip_type == IpType::Shared { hierarchies.add_v2() } else { None };
    let mut cgroup = Cgroup::at(&hierarchies, &site.cgroup_key);
    cgroup.keep(named);
    cgroup.keep(unified);
    if cgroup.to_join() == 0 {
        cgroup.make(site.ids.base, request.named_hierarchy, request.limits)?;
        marks::done("make the v2 control group");
        return platform(request, cgroup, &hierarchies, None);
    }
    let limited = cgroup.make_v2(site.ids.base, request.limits)?;
    marks::done("make the v2 control group");
    // Those of v1 take about as long as the namespaces, and nobody is in one before it has the others.
    let others = cgroup.clone();
    let make_others = move || {
        others.make_v1(limited, site.ids.base, request.named_hierarchy, request.limits)?;
        others.v1_tasks()
    };
    thread::scope(|scope| {
        let others = thread::Builder::new().name("groups".to_owned()).stack_size(STACK);
        let others = others.spawn_scoped(scope, make_others);
        let others = others.map_err(|e| Failure::new("make", "a thread for the control groups", e))?;
        platform(request, cgroup, &hierarchies, Some(others))
    })
}

/// Room for the calls of a thread that makes control groups, in bytes.
const STACK: usize = 64 << 10;

/// The `tasks` files of control groups that are being made.
type Others<'scope> = ScopedJoinHandle<'scope, Result<Vec<File>, Failure>>;

/// Goes on from the control group that process 1 is made in.
fn platform(
    request: &Request<'_>,
    cgroup: Cgroup,
    hierarchies: &Hierarchies,
    others: Option<Others<'_>>,
) -> Result<Made, Failure> {
    let Request { site, config, .. } = request;
    let may_fail = |step| may_fail(request, step);
    may_fail(1)?;
    let mut layers = root::layers(request.root, request.mounts, &site.zone_dir, &site.hide, site.ids)?;
    let configured = config.fs.iter().map(|fs| Bind {
        source: PathBuf::from(&fs.special),
        target: fs.dir.clone(),
        options: fs.options.clone(),
    });
    let binds: Vec<Bind> = configured.chain(request.binds.iter().cloned()).collect();
    let mut binds = layers.with_binds(binds.iter().map(root::bind).collect::<Result<_, _>>()?);
    layers.prepare_walls(binds.len())?;
    let maps = outside::maps_ids();
    if *request.root == RootSpec::Installed {
        owners::give(&site.zone_dir, if maps { 0 } else { site.ids.base })?;
    }
    if !maps {
        outside::assemble(&mut layers, &mut binds, request.root, site.ids)?;
    }
    let host_devices: Vec<String> = config.device.iter().map(|d| d.path.clone()).collect();
    let dev = devices::make(site.ids.root(), &host_devices, request.consoles)?;
    let (status, status_end) = match request.start {
        Start::Init(..) => (None, None),
        Start::Program(..) => {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
                .map_err(|e| Failure::new("make", "a pipe for the program's status", e))?;
            (Some(File::from(read)), Some(write))
        }
    };

    let mut slots = Slots::after(cgroup.to_join());
    let kmsg = match request.start {
        Start::Init(..) => Some(devices::kmsg(site.ids.root())?),
        Start::Program(..) => None,
    };
    let materials = Materials {
        groups: cgroup.to_join(),
        layers: &layers,
        binds: &binds,
        dev: &dev,
        status: status_end.as_ref(),
        kmsg: kmsg.as_ref().map(|kmsg| &kmsg.home),
    };
    let mut plan = plan(request, &mut slots, materials)?;
    if marks::is_asked() {
        plan.time();
    }
    if let Some(at) = request.fail_at.and_then(|at| at.checked_sub(OUTSIDE.len())) {
        plan.fail_at(at);
    }

    marks::done("open the root, make /dev and a plan");
    may_fail(2)?;
    let directory = cgroup.v2_directory()?;
    // Its user namespace is the zone's own root's: so a thread that answers its calls can be kept to it.
    let directory = directory.as_ref().map(AsFd::as_fd);
    let spawn = || child::spawn(&plan, namespaces(config.ip_type), directory);
    let mut init = credentials::owning(site.ids.base, spawn)
        .and_then(|spawned| spawned)
        .map_err(|e| Failure::new("clone", "process 1 with its namespaces", e))?;

    marks::done("clone process 1 with its namespaces");
    may_fail(3)?;
    let pid = init.pid;
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, site.ids.map()).map_err(|e| Failure::new("write", path, e))?;
    }
    super::give_up_to_oom(pid);
    let userns = File::open(format!("/proc/{pid}/ns/user"))
        .map_err(|e| Failure::new("open", "the zone's user namespace", e))?;
    if maps {
        for tree in layers.trees.iter().chain(&binds) {
            tree.map_ids(userns.as_fd())?;
        }
    }

    if !maps {
        outside::limit_shared_memory(pid, &request.kernel.sysctls);
    }

    may_fail(4)?;
    if let Some((place, uuid, run_dir)) = request.network {
        let (init, ids) = (pid.as_raw(), site.ids);
        network::attach(place, network::Zone { config, uuid, run_dir, init, ids, group: directory })?;
    }

    marks::done("map its ids, attach its network");
    let tasks = match others.map(ScopedJoinHandle::join) {
        Some(Ok(made)) => made?,
        Some(Err(panic)) => resume_unwind(panic),
        None => Vec::new(),
    };
    let groups = if request.named_hierarchy { watch(hierarchies, site)? } else { None };
    marks::done("make the v1 control groups");
    may_fail(5)?;
    let fds: Vec<_> = tasks.iter().map(AsFd::as_fd).chain(slots.borrowed()).collect();
    release(&mut init, &fds)?;
    // The console's is the last to be told.
    let mut terminals = Vec::new();
    loop {
        match init.hear() {
            Told::Terminal(master) => terminals.push(master),
            Told::Ready => {
                let terminal = terminals.pop();
                let kmsg = kmsg.map(|kmsg| kmsg.feed);
                return Ok(Made { init, cgroup, groups, terminal, screens: terminals, kmsg, dev, status });
            }
            told => return Err(failure(told)),
        }
    }
}

impl Made {
    /// Lets process 1 go on: the filter and exec. `listening` is called with the filter's
    /// listener before exec, which may need it. The answer is the program's pidfd, where process 1
    /// is a reaper around one.
    pub fn go(&mut self, mut listening: impl FnMut(OwnedFd)) -> Result<Option<OwnedFd>, Failure> {
        release(&mut self.init, &[])?;
        let mut program = None;
        loop {
            match self.init.hear() {
                Told::Listener(fd) => listening(fd),
                Told::Program(fd) => program = Some(fd),
                Told::Executing => {}
                Told::Through => return Ok(program),
                told => return Err(failure(told)),
            }
        }
    }
}

/// Releases a child; one that is gone has left word why.
fn release(child: &mut Child, slots: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    match child.release(slots) {
        Err(Errno::EPIPE | Errno::ECONNRESET) => Err(failure(child.hear())),
        other => other.map_err(|e| Failure::new("release", "process 1", e)),
    }
}

/// What a child's last word means.
pub fn failure(told: Told) -> Failure {
    match told {
        Told::Failed { step, errno } => {
            let (operation, object) = step.split_once(' ').unwrap_or((&step, ""));
            Failure::new(operation, object, errno)
        }
        // What ends by itself says why.
        Told::Lost => {
            Failure::new("start", "the zone's program", io::Error::other("it was killed on its way there"))
        }
        told => {
            let why = io::Error::other(format!("it told something out of turn ({told:?})"));
            Failure::new("start", "the zone's program", why)
        }
    }
}

fn watch(hierarchies: &Hierarchies, site: &Site) -> Result<Option<Watch>, Failure> {
    let (_, groups) = hierarchies.groups(&site.cgroup_key);
    let named = groups.into_iter().find(|(_, names)| names.iter().any(|name| name == "name=systemd"));
    let watched = named.map(|(group, _)| {
        Watch::new(&group).map_err(|e| Failure::new("watch control group", group.display(), e))
    });
    watched.transpose()
}

/// Takes down whatever is left of a zone: its processes, and with the last of them its namespaces
/// and mounts; then its control groups. Does nothing where nothing is left.
pub fn take_down(site: &Site) -> Result<(), Failure> {
    let mut hierarchies = Hierarchies::detect()?;
    let named = hierarchies.add_named(false);
    let unified = hierarchies.add_v2();
    let mut cgroup = Cgroup::at(&hierarchies, &site.cgroup_key);
    cgroup.keep(named);
    cgroup.keep(unified);
    cgroup.clear()
}

fn namespaces(network: IpType) -> i32 {
    let own = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC;
    if network.is_own() { own | libc::CLONE_NEWNET } else { own }
}

/// Descriptors that a plan uses, in the order of their slots.
#[derive(Debug, Default)]
pub struct Slots {
    /// How many come before them that are there later.
    before: usize,
    fds: Vec<OwnedFd>,
}

impl Slots {
    /// None, behind so many that are not there yet.
    fn after(before: usize) -> Self {
        Self { before, fds: Vec::new() }
    }

    /// A slot for `fd`, of which a duplicate is kept.
    pub fn add(&mut self, fd: impl AsFd) -> Result<Slot, Failure> {
        let own =
            fd.as_fd().try_clone_to_owned().map_err(|e| Failure::new("duplicate", "a descriptor", e))?;
        self.fds.push(own);
        Ok(Slot(self.before + self.fds.len() - 1))
    }

    /// All of them, to be released to a child.
    pub fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd).collect()
    }
}

/// What was opened outside for the plan.
struct Materials<'a> {
    /// How many control groups process 1 joins; their files have the first slots.
    groups: usize,
    layers: &'a Layers,
    binds: &'a [Tree],
    dev: &'a OwnedFd,
    status: Option<&'a OwnedFd>,
    kmsg: Option<&'a OwnedFd>,
}

/// A path or option as the kernel takes it; what holds a NUL is an error that names it.
pub fn c_string(text: impl Into<Vec<u8>>) -> Result<CString, Failure> {
    let bytes = text.into();
    CString::new(bytes).map_err(|e| {
        let shown = String::from_utf8_lossy(&e.clone().into_vec()).into_owned();
        Failure::new("use", shown, io::Error::other("it holds a NUL byte"))
    })
}

const BASE_FLAGS: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// What process 1 does inside, in order.
fn plan(request: &Request<'_>, slots: &mut Slots, with: Materials<'_>) -> Result<Plan, Failure> {
    let Request { config, kernel, .. } = request;
    let mut plan = Plan::default();

    if let Some((start, len)) = process::arguments() {
        plan.then("hide its command line", Step::HideArguments(start, len));
    }
    plan.then("wait for the ids", Step::Receive).then("start a session", Step::Session);
    for i in 0..with.groups {
        plan.then("join its control groups", Step::JoinCgroup(Slot(i)));
    }
    plan.then("unshare its control groups", Step::Unshare(libc::CLONE_NEWCGROUP))
        .then("become root of the zone", Step::Become { uid: 0, gid: 0, groups: vec![0] })
        // Not before: a change of ids takes it back (PR_SET_PDEATHSIG of prctl(2)).
        .then("tie its life to the monitor's", Step::DieWithParent)
        .try_then("take a keyring of its own", Step::Keyring)
        .then("keep its mounts to itself", Step::Propagation(libc::MS_PRIVATE));
    if let Some(clocks) = request.clocks {
        plan.then("start clocks of its own", Step::OwnClocks(clocks.offsets()));
    }

    put_root_together(&mut plan, slots, &with)?;
    // While the host's are seen: else a user namespace may have none (mount_namespaces(7)).
    make_views(&mut plan, config);
    // Together, and before any path is followed that the guest may have put a link in: in between `/..` leads to the host's
    // root, which lies over the new one, and what is mounted there keeps it from being let go.
    plan.then("pivot into the root", Step::PivotRoot).then("let go of the host's root", Step::DropOldRoot);
    mount_views(&mut plan, slots, request, &with)?;
    if matches!(request.start, Start::Init(Init::Auto | Init::Path(_), _)) {
        // As an initramfs leaves it: empty at each boot. Roots from before 2012 have no such folder.
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        plan.try_then("mount /run", mount_step(c"tmpfs", c"/run", c"tmpfs", flags, c"mode=0755"));
    }
    for (i, tree) in with.binds.iter().enumerate() {
        make_place(&mut plan, tree)?;
        let path = tree.place.to_string_lossy().into_owned();
        if with.layers.made.is_none() && tree.is_walled()? {
            let attach = Step::Attach(walled(i), Where::At(tree.place.clone()));
            plan.add(tree.required, format!("bind {path}"), attach);
            continue;
        }
        let attach = Step::Attach(slots.add(&tree.fd)?, Where::At(tree.place.clone()));
        plan.add(tree.required, format!("bind {path}"), attach);
    }
    if with.layers.read_only {
        plan.then("make the root read-only", Step::ReadOnly(c"/".to_owned()));
    }
    if let Some(id) =
        config.hostid.as_deref().and_then(|id| u32::from_str_radix(id.trim_start_matches("0x"), 16).ok())
    {
        let bytes = id.to_le_bytes().to_vec();
        plan.try_then("write /etc/hostid", Step::WriteFile(c"/etc/hostid".to_owned(), bytes));
    }

    plan.then("set the hostname", Step::Hostname(config.nodename().as_bytes().to_vec()))
        .then("set the domain name", Step::Domainname(b"(none)".to_vec()));
    if config.ip_type.is_own() {
        plan.then("bring up loopback", Step::Loopback);
    }
    if config.ip_type == IpType::Shared {
        plan.then("hold the zone to its addresses", Step::HeldToAddresses);
    }
    limits::plan(&mut plan, config, kernel.nofile)?;
    if kernel.personality != 0 {
        plan.then("set the personality", Step::Personality(kernel.personality));
    }
    let capabilities = privileges::resolve(&config.limit_privileges)
        .map_err(|why| Failure::new("resolve", "limit-privileges", io::Error::other(why)))?;
    plan.then("bound the capabilities", Step::BoundCapabilities(capabilities))
        .then("reset the signals", Step::DefaultSignals);

    start(&mut plan, slots, request, with.status)?;
    Ok(plan)
}

/// The stage is attached at the working directory, which clone moved along into the new mount
/// namespace; from there on all names are relative to it.
fn put_root_together(plan: &mut Plan, slots: &mut Slots, with: &Materials<'_>) -> Result<(), Failure> {
    let layers = with.layers;
    let stage = slots.add(&layers.stage)?;
    plan.then("set up the stage", Step::Attach(stage, Where::At(c".".to_owned())))
        .then("enter the stage", Step::ChangeDirectory(stage));
    if let Some(made) = &layers.made {
        plan.then("attach the overlay", Step::Attach(slots.add(made)?, Where::At(c"root".to_owned())))
            .then("enter the root", Step::ChangeDirectoryTo(c"root".to_owned()));
        return Ok(());
    }
    for tree in &layers.trees {
        let step = Step::Attach(slots.add(&tree.fd)?, Where::At(tree.place.clone()));
        let name = format!("attach {}", tree.source.display());
        plan.then(name, step);
    }
    for (i, tree) in with.binds.iter().enumerate() {
        if tree.is_walled()? {
            // A mount that is only read-only could be made writable again from inside; a file system
            // that has nothing to write to cannot.
            let path = tree.place.to_string_lossy().into_owned();
            let place = root::wall(i);
            let layers = c_string(tree.walls(&place))?;
            let attach = Step::Attach(slots.add(&tree.fd)?, Where::At(c_string(place)?));
            plan.add(tree.required, format!("attach {path}"), attach).add(
                tree.required,
                format!("wall off {path}"),
                Step::Overlay { layers, slot: walled(i) },
            );
        }
    }
    plan.then(
        "mount the overlay",
        mount_step(c"overlay", c"root", c"overlay", libc::MS_NODEV, &layers.options),
    )
    .then("enter the root", Step::ChangeDirectoryTo(c"root".to_owned()));
    Ok(())
}

fn mount_step(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> Step {
    Step::Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        kind: kind.to_owned(),
        flags,
        data: data.to_owned(),
    }
}

/// The zone's own proc and sysfs, attached nowhere yet.
fn make_views(plan: &mut Plan, config: &Config) {
    let attributes = mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC;
    plan.then("make proc", Step::FileSystem { kind: c"proc".to_owned(), attributes, slot: PROC });
    if config.ip_type.is_own() {
        let attributes = attributes | mount::MOUNT_ATTR_RDONLY;
        plan.then("make sysfs", Step::FileSystem { kind: c"sysfs".to_owned(), attributes, slot: SYSFS });
    }
}

/// /proc, /sys and /dev as a guest expects them, the brand's files over /proc.
fn mount_views(
    plan: &mut Plan,
    slots: &mut Slots,
    request: &Request<'_>,
    with: &Materials<'_>,
) -> Result<(), Failure> {
    let Request { config, kernel, root, site, .. } = request;
    for dir in [c"/proc", c"/sys", c"/dev"] {
        plan.try_then(format!("make {}", dir.to_string_lossy()), Step::MakeDirectory(dir.to_owned(), 0o755));
    }
    plan.then("mount /proc", Step::Attach(PROC, Where::At(c"/proc".to_owned())));
    if !config.ip_type.is_own() {
        // sysfs shows a network namespace, and one that is not the zone's own it may not mount.
        let sys = outside::read_only(Path::new("/sys"))?;
        plan.then("mount /sys", Step::Attach(slots.add(sys)?, Where::At(c"/sys".to_owned())));
    } else {
        plan.then("mount /sys", Step::Attach(SYSFS, Where::At(c"/sys".to_owned())));
    }
    if request.named_hierarchy {
        // As its own mounts would be; what is mounted it takes as it is.
        let tmpfs = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        plan.try_then(
            "mount /sys/fs/cgroup",
            mount_step(c"tmpfs", c"/sys/fs/cgroup", c"tmpfs", tmpfs, c"mode=0755"),
        );
        plan.try_then(
            "make /sys/fs/cgroup/systemd",
            Step::MakeDirectory(c"/sys/fs/cgroup/systemd".to_owned(), 0o755),
        );
        plan.try_then(
            "mount /sys/fs/cgroup/systemd",
            mount_step(c"cgroup", c"/sys/fs/cgroup/systemd", c"cgroup", BASE_FLAGS, c"none,name=systemd"),
        );
    } else {
        // A guest's systemd wants the hierarchy even where it has no controllers; older guests never look.
        plan.try_then(
            "mount /sys/fs/cgroup",
            mount_step(c"cgroup2", c"/sys/fs/cgroup", c"cgroup2", BASE_FLAGS, c""),
        );
    }

    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    plan.then("mount /dev", Step::Attach(slots.add(with.dev)?, Where::At(c"/dev".to_owned())));
    for (path, value) in &kernel.sysctls {
        let file = c_string(format!("/proc/sys/{path}"))?;
        plan.try_then(format!("set {path}"), Step::WriteFile(file, value.as_bytes().to_vec()));
    }
    show_files(plan, slots, kernel, site.ids.base)?;
    show_served_files(plan, slots, kernel)?;
    if let Some(home) = with.kmsg {
        show_parts(plan, slots, home, "what /proc/kmsg lies in", |plan| {
            let source = part(devices::KMSG)?;
            plan.try_then("show /proc/kmsg", mount_step(&source, c"/proc/kmsg", c"", libc::MS_BIND, c""));
            Ok(())
        })?;
    }
    plan.then(
        "mount /dev/pts",
        mount_step(c"devpts", c"/dev/pts", c"devpts", libc::MS_NOSUID | libc::MS_NOEXEC, pts),
    )
    .then(
        "mount /dev/shm",
        mount_step(c"tmpfs", c"/dev/shm", c"tmpfs", libc::MS_NOSUID | libc::MS_NODEV, c"mode=1777"),
    )
    .try_then("mount /dev/mqueue", mount_step(c"mqueue", c"/dev/mqueue", c"mqueue", BASE_FLAGS, c""));
    if **root == RootSpec::Host {
        for dir in [c"/run", c"/tmp", c"/var/tmp"] {
            let step = mount_step(c"tmpfs", dir, c"tmpfs", libc::MS_NOSUID | libc::MS_NODEV, c"mode=1777");
            plan.try_then(format!("mount {}", dir.to_string_lossy()), step);
        }
    }
    Ok(())
}

/// Binds the brand's files over their places below /proc. They lie in one small file system of the
/// host's, a ramfs, of which df(1) lists nothing. It stands at /dev/shm for the while: a mount that is attached nowhere can be
/// cloned from Linux 6.15 on only.
fn show_files(plan: &mut Plan, slots: &mut Slots, kernel: &Kernel, owner: u32) -> Result<(), Failure> {
    if kernel.files.is_empty() {
        return Ok(());
    }
    let story = mount::make(c"ramfs", &[(c"mode", c"0755")], 0)
        .map_err(|e| Failure::new("make", "the brand's files", e))?;
    for (i, (path, content)) in kernel.files.iter().enumerate() {
        let shown = shown(path);
        let fail = |e: Errno| Failure::new("make", &shown, e);
        let name = c_string(i.to_string())?;
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(&story, name.as_c_str(), flags, Mode::from_bits_truncate(0o444))
            .map_err(fail)?;
        nix::unistd::fchown(&file, Some(owner.into()), Some(owner.into())).map_err(fail)?;
        io::Write::write_all(&mut File::from(file), content).map_err(|e| Failure::new("write", &shown, e))?;
    }
    show_parts(plan, slots, &story, "the brand's files", |plan| {
        kernel.files.iter().enumerate().try_for_each(|(i, (path, _))| show_read_only(plan, i, path))
    })
}

/// Where the files of a file system stand while each is bound to its place.
const PARTS: &CStr = c"/dev/shm";

/// Attaches `whole` there while `show` binds files of it elsewhere.
fn show_parts(
    plan: &mut Plan,
    slots: &mut Slots,
    whole: impl AsFd,
    what: &str,
    show: impl FnOnce(&mut Plan) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let attach = Step::Attach(slots.add(whole)?, Where::At(PARTS.to_owned()));
    plan.then(format!("mount {what}"), attach);
    show(plan)?;
    plan.then(format!("unmount {what}"), Step::Unmount(PARTS.to_owned()));
    Ok(())
}

/// The path of one of them.
fn part(name: impl std::fmt::Display) -> Result<CString, Failure> {
    c_string(format!("{}/{name}", PARTS.to_string_lossy()))
}

/// Binds file `i` of them to its place.
fn show_read_only(plan: &mut Plan, i: usize, path: &str) -> Result<(), Failure> {
    let shown = shown(path);
    let target = c_string(shown.as_str())?;
    plan.then(format!("show {shown}"), mount_step(&part(i)?, &target, c"", libc::MS_BIND, c""))
        .then(format!("make {shown} read-only"), Step::ReadOnly(target));
    Ok(())
}

/// Where a file is shown that is told by its path below /proc, or by a whole one.
fn shown(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/proc/{path}") }
}

/// The same of files that the monitor serves.
fn show_served_files(plan: &mut Plan, slots: &mut Slots, kernel: &Kernel) -> Result<(), Failure> {
    let Some((mount, paths)) = &kernel.served else { return Ok(()) };
    show_parts(plan, slots, mount, "the files that the monitor serves", |plan| {
        paths.iter().enumerate().try_for_each(|(i, path)| show_read_only(plan, i, path))
    })
}

/// Makes the place of a bind in the zone, with the folders above it.
fn make_place(plan: &mut Plan, tree: &Tree) -> Result<(), Failure> {
    let text = tree.place.to_string_lossy().into_owned();
    let is_dir = nix::sys::stat::fstat(&tree.fd)
        .map_err(|e| Failure::new("look at", tree.source.display(), e))?
        .st_mode
        & libc::S_IFMT
        == libc::S_IFDIR;
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty()).collect();
    let mut path = String::new();
    for (i, part) in parts.iter().enumerate() {
        path = format!("{path}/{part}");
        let step = if i + 1 == parts.len() && !is_dir {
            Step::MakeFile(c_string(path.clone())?, 0o644)
        } else {
            Step::MakeDirectory(c_string(path.clone())?, 0o755)
        };
        plan.try_then(format!("make {path}"), step);
    }
    Ok(())
}

/// Slots of the zone's proc and sysfs; above those that are sent.
const PROC: Slot = Slot(child::SLOTS - 1);
const SYSFS: Slot = Slot(child::SLOTS - 2);

/// Slot of the overlay that keeps bind `i` read-only; below these.
fn walled(i: usize) -> Slot {
    Slot(child::SLOTS - 3 - i)
}

/// The end of the plan: the console, the filter, and what process 1 becomes.
fn start(
    plan: &mut Plan,
    slots: &mut Slots,
    request: &Request<'_>,
    status: Option<&OwnedFd>,
) -> Result<(), Failure> {
    let ready = |plan: &mut Plan| {
        plan.then("tell that it is ready", Step::TellReady).then("wait to be booted", Step::Receive);
        login::filter(plan, &request.kernel.filter);
    };
    match request.start {
        Start::Init(init, args) => {
            for (i, name) in request.consoles.screens.iter().enumerate() {
                let (source, target) =
                    (c_string(format!("/dev/pts/{i}"))?, c_string(format!("/dev/{name}"))?);
                plan.then(format!("open {name}"), Step::Terminal { size: (24, 80) })
                    .then(format!("bind /dev/{name}"), mount_step(&source, &target, c"", libc::MS_BIND, c""));
            }
            let console = c_string(format!("/dev/pts/{}", request.consoles.screens.len()))?;
            plan.then("open the console", Step::Terminal { size: (24, 80) });
            bind_consoles(plan, request, &console)?;
            plan.then("use the console", Step::TerminalStdio { control: false });
            ready(plan);
            let environment = surround(plan, request, init)?;
            match init {
                Init::Auto => {
                    plan.then(
                        "execute init",
                        Step::ExecIfPresent(init_exec(
                            &["/sbin/init", "/etc/init", "/bin/init"],
                            args,
                            &environment,
                        )?),
                    )
                    .then("reap", Step::Reap);
                }
                Init::None => {
                    plan.then("reap", Step::Reap);
                }
                Init::Path(path) => {
                    plan.then(format!("execute {path}"), Step::Exec(init_exec(&[path], args, &environment)?));
                }
            }
        }
        Start::Program(program, streams) => {
            let console = match streams {
                Streams::Terminal(size) => {
                    plan.then("open a terminal", Step::Terminal { size: *size });
                    c"/dev/pts/0"
                }
                // There is none: what is written to it is gone.
                Streams::Pipes(_) => c"/dev/null",
            };
            bind_consoles(plan, request, console)?;
            ready(plan);
            let status = status
                .ok_or_else(|| Failure::new("reap", "the program", io::Error::other("no status pipe")))?;
            plan.then("reap around the program", Step::ReapAround(slots.add(status)?));
            login::finish(plan, slots, program, streams)?;
        }
    }
    Ok(())
}

/// Puts `device` in the place of all of the console's names.
fn bind_consoles(plan: &mut Plan, request: &Request<'_>, device: &CStr) -> Result<(), Failure> {
    for name in &request.consoles.console {
        let target = c_string(format!("/dev/{name}"))?;
        plan.then(format!("bind /dev/{name}"), mount_step(device, &target, c"", libc::MS_BIND, c""));
    }
    Ok(())
}

/// Makes an init who and where the configuration says it is; gives its environment.
fn surround(plan: &mut Plan, request: &Request<'_>, init: &Init) -> Result<Vec<String>, Failure> {
    let Request { config, user, .. } = request;
    let mut environment: Vec<String> = INIT_ENVIRONMENT.iter().map(|one| (*one).to_owned()).collect();
    environment.push(format!("container={}", request.container));
    if *init == Init::None {
        return Ok(environment);
    }
    if let Some(folder) = &config.workdir {
        let mut path = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            path = format!("{path}/{part}");
            plan.try_then(format!("make {path}"), Step::MakeDirectory(c_string(path.clone())?, 0o755));
        }
        plan.then(format!("enter {folder}"), Step::ChangeDirectoryTo(c_string(folder.as_str())?));
    }
    if let Some(User { name, uid, gid, groups, home, .. }) = user {
        login::add_variables(&mut environment, [format!("HOME={home}")].iter());
        plan.then("give it the console", Step::OwnStdio(*uid))
            .then(
                format!("become user {name}"),
                Step::Become { uid: *uid, gid: *gid, groups: groups.clone() },
            )
            // Not before: a change of ids takes it back (PR_SET_PDEATHSIG of prctl(2)).
            .then("tie its life to the monitor's", Step::DieWithParent);
    }
    login::add_variables(&mut environment, config.env.iter());
    Ok(environment)
}

const INIT_ENVIRONMENT: [&str; 3] = ["HOME=/", "TERM=linux", "PATH=/sbin:/usr/sbin:/bin:/usr/bin"];

fn init_exec(paths: &[&str], args: &[String], environment: &[String]) -> Result<Exec, Failure> {
    let candidates: Vec<CString> = paths.iter().map(|p| c_string(*p)).collect::<Result<_, _>>()?;
    let mut argv = vec![candidates[0].clone()];
    for arg in args {
        argv.push(c_string(arg.as_str())?);
    }
    let envp = environment.iter().map(|e| c_string(e.as_str())).collect::<Result<_, _>>()?;
    Ok(Exec::new(candidates, argv, envp))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sys::process;

    fn site(dir: &std::path::Path) -> Site {
        Site {
            ids: Ids { base: 0x4100_0000 },
            zone_dir: dir.to_owned(),
            hide: dir.to_owned(),
            cgroup_key: format!("unit-boot-{}-{}", std::process::id(), nix::unistd::gettid()),
        }
    }

    fn config() -> Config {
        toml::from_str("name = 'unit'\n").expect("a name is enough")
    }

    /// Runs a command over the host's own files and gives back its output and end.
    fn run(
        root: RootSpec,
        kernel: &Kernel,
        fail_at: Option<usize>,
        command: &[&str],
    ) -> Result<(String, process::Ended), Failure> {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for (name, mode) in [("root", 0o755), ("upper", 0o755), ("work", 0o700), ("run", 0o755)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let site = site(dir.path());
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
                    nix::unistd::chdir(&dir.path().join("run")).unwrap();
                    let command: Vec<String> = command.iter().map(|s| (*s).to_owned()).collect();
                    let program = Program::new(User::root(), &command, None, &[]);
                    let (theirs, ours) = login::pipes(site.ids, &program.user).unwrap();
                    let start = Start::Program(Box::new(program), Streams::Pipes(theirs));
                    let config = config();
                    let request = Request {
                        site: &site,
                        config: &config,
                        mounts: &crate::confine::mountinfo().unwrap(),
                        limits: &Limits::of(&config, &site.zone_dir).unwrap(),
                        root: &root,
                        binds: &[],
                        kernel,
                        start: &start,
                        user: None,
                        consoles: &Consoles::single(),
                        container: "zone",
                        clocks: Clocks::now(),
                        named_hierarchy: false,
                        network: None,
                        fail_at,
                    };
                    let result = make(&request).and_then(|mut made| {
                        made.go(|_| panic!("no filter, no listener"))?;
                        drop(start);
                        let [_, stdout, _] = ours;
                        let mut text = String::new();
                        File::from(stdout).read_to_string(&mut text).unwrap();
                        let mut status = [0; 4];
                        made.status.take().unwrap().read_exact(&mut status).unwrap();
                        process::reap(made.init.pidfd.as_fd(), true).unwrap();
                        Ok((text, process::Ended::from_wait_status(i32::from_ne_bytes(status))))
                    });
                    take_down(&site).unwrap();
                    result
                })
                .join()
                .unwrap()
        })
    }

    #[test]
    fn a_program_runs_over_the_hosts_files() {
        let script = "id -u; hostname; echo $$; cat /proc/1/comm; touch /x 2>/dev/null || echo ro; \
                      cat /proc/version; ls -ld /dev/null; cat /dev/null && ls /sys/class/net; exit 7";
        let kernel = Kernel { files: vec![("version".into(), b"told\n".to_vec())], ..Kernel::default() };
        let (text, ended) = run(RootSpec::Host, &kernel, None, &["sh", "-c", script]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..6], ["0", "unit", "2", "zsched", "ro", "told"], "{text}");
        assert!(lines[6].starts_with("crw-rw-rw- 1 root root 1, 3"), "{text}");
        assert_eq!(lines.last(), Some(&"lo"), "{text}");
        assert_eq!(ended, process::Ended::Exited(7));
    }

    #[test]
    fn a_folder_is_a_root_of_which_nothing_changes() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for sub in ["bin", "etc"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        fs::copy("/bin/busybox", dir.path().join("bin/sh")).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let spec = RootSpec::Directory(dir.path().to_owned());
        let (text, ended) =
            run(spec, &Kernel::default(), None, &["sh", "-c", "echo made > /new; cat /new"]).unwrap();
        assert_eq!((text.as_str(), ended), ("made\n", process::Ended::Exited(0)));
        assert!(!dir.path().join("new").exists() && !dir.path().join("proc").exists());
    }

    #[test]
    fn layers_are_a_root_of_which_nothing_changes() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let layers: Vec<PathBuf> = (0..100).map(|i| dir.path().join(format!("layer{i}"))).collect();
        for (i, layer) in layers.iter().enumerate() {
            fs::create_dir(layer).unwrap();
            fs::set_permissions(layer, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(layer.join("top"), format!("{i}\n")).unwrap();
        }
        fs::create_dir(layers[99].join("bin")).unwrap();
        fs::copy("/bin/busybox", layers[99].join("bin/sh")).unwrap();
        fs::write(layers[99].join("hidden"), "").unwrap();
        nix::sys::stat::mknod(&layers[3].join("hidden"), nix::sys::stat::SFlag::S_IFCHR, Mode::empty(), 0)
            .unwrap();
        let script = "cat /top; [ -e /hidden ] || echo gone; : > /top; rm /bin/sh && echo removed";
        let spec = RootSpec::Layered(layers.clone());
        let (text, ended) = run(spec, &Kernel::default(), None, &["sh", "-c", script]).unwrap();
        assert_eq!((text.as_str(), ended), ("0\ngone\nremoved\n", process::Ended::Exited(0)));
        assert!(
            fs::read_to_string(layers[0].join("top")).unwrap() == "0\n" && layers[99].join("bin/sh").exists()
        );
    }

    #[test]
    fn every_step_can_fail_and_leaves_nothing() {
        let mut failed = 0;
        for at in 0.. {
            match run(RootSpec::Host, &Kernel::default(), Some(at), &["true"]) {
                Err(failure) => {
                    assert!(failure.sentence().contains("made to fail"), "{}", failure.sentence());
                    failed += 1;
                }
                Ok(_) => break,
            }
        }
        assert!(failed > 30, "{failed}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = run(RootSpec::Host, &Kernel::default(), None, &["no-such-program"]).unwrap_err();
        assert_eq!(failure.source.raw_os_error(), Some(libc::ENOENT));
        assert!(failure.sentence().contains("no-such-program"), "{}", failure.sentence());
    }
}
