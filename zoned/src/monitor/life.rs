//! A zone's life under its monitor: start, programs, end, and start again.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::marks;
use brands::distro;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zone_api::{ApiError, Boot, ErrorKind, LedgerEntry, Login, Mark, SessionEvent, State};

use super::brand::{Branded, Disks, page_is_missed};
use super::session::{Client, Session, Stage, event_of, refusal};
use super::share::Share;
use super::wire::{Event, How, Reply};
use super::{Ending, FIRST, Live, Monitor, dispatch};
use crate::causes::chain;
use crate::config::{self, Config, Init};
use crate::confine::boot::{self, Request, Start};
use crate::confine::cgroup::{Cgroup, Hierarchies};
use crate::confine::clocks::Clocks;
use crate::confine::limits::Limits;
use crate::confine::login::{self, Program, Streams, User};
use crate::confine::root::RootSpec;
use crate::confine::storm::Storm;
use crate::confine::watch::{MOST, Watch};
use crate::confine::{Failure, inodes, mountinfo, privileges};
use crate::network;
use crate::storage::{Stack, View, backend};
use crate::sys::child::Told;
use crate::sys::memory;
use crate::sys::process::{self, Ended};

/// How long a killed process may take to end; one that sleeps in a broken driver may never.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guest that reboots this often within seconds of its boot is not booted again.
const MOST_QUICK_REBOOTS: u32 = 10;

/// How long a zone must have run for its reboot not to count as quick.
const QUICK: Duration = Duration::from_secs(2);

impl Monitor {
    /// The first boot. What goes wrong is told to whom it concerns, and the monitor ends.
    pub(super) fn start(&mut self, number: u64, client: Option<OwnedFd>) {
        let asker = (FIRST, number);
        let client = client.and_then(|fd| Client::new(fd, std::mem::take(&mut self.spec.run_input)).ok());
        match self.boot(client) {
            Ok(()) => {
                self.announced = true;
                self.reply(asker, Reply::Started { init_pid: self.init_pid() });
                if self.spec.run.is_none() {
                    // A boot takes much that a zone at rest does not need.
                    memory::give_back();
                }
            }
            Err((failure, client)) => {
                let what = format!("boot {}", self.spec.config.name);
                if let Some(client) = &client {
                    let what = self.spec.run.as_ref().and_then(|r| r.command.first()).unwrap_or(&what);
                    client.tell(&refusal(&format!("run {what}"), &failure), &[]);
                }
                self.ending =
                    Some(Ending { reason: failure.sentence(), again: false, deadline: None, askers: vec![] });
                let error = ApiError { hint: hint(&failure), ..self.failed("boot", failure.sentence()) };
                let left = self.tear_down(false);
                let left = left.or(self.leave());
                self.reply(asker, Reply::Failed(error));
                let reason = format!("its boot failed: {}", failure.sentence());
                self.tell(&Event::Ended { how: How::Failed, reason, left });
            }
        }
    }

    /// Makes the zone and, unless it is only to be ready, starts its process 1. A client that
    /// could not be served comes back with the failure.
    fn boot(&mut self, client: Option<Client>) -> Result<(), (Failure, Option<Client>)> {
        let planned = self.look_at_layers().and_then(|()| self.plan_start());
        let (start, streams, tty) = match planned {
            Ok(planned) => planned,
            Err(failure) => return Err((failure, client)),
        };
        let made = self.make(&start);
        // It shows the zone's upper folder, which is the zone's own now.
        self.view = None;
        if let Err(failure) = made {
            return Err((failure, client));
        }
        // The program's own ends are the child's now; held here they would keep pipes open.
        drop(start);
        let terminal = self.live.as_mut().and_then(|live| live.made.terminal.take());
        let screens = self.live.as_mut().map(|live| std::mem::take(&mut live.made.screens));
        if self.spec.run.is_some() {
            let streams = terminal.map_or(streams, |master| vec![master]);
            // Its stage is that of process 1, which the monitor watches itself.
            let init = self.live.as_ref().map(|live| &live.made.init);
            let Some((pid, init)) = init.and_then(|init| Some((init.pid, init.pidfd.try_clone().ok()?)))
            else {
                let failure = Failure::new("duplicate", "a pidfd", nix::errno::Errno::EMFILE);
                return Err((failure, client));
            };
            self.runner = Some(Session { client, pid, stage: Stage::Running(init), streams, tty });
        } else if let Some(master) = terminal {
            self.console.connect(master, screens.unwrap_or_default());
        }
        self.set_state(State::Ready);
        if self.spec.ready_only {
            return Ok(());
        }
        self.go().map_err(|failure| (failure, self.runner.take().and_then(|r| r.client)))?;
        if let Some(runner) = &mut self.runner {
            runner.tell_started(&self.spec.config.name);
        }
        Ok(())
    }

    /// What process 1 is to be, the client's ends of its program's streams, and whether those are
    /// a terminal.
    fn plan_start(&self) -> Result<(Start, Vec<OwnedFd>, bool), Failure> {
        let config = &self.spec.config;
        let Some(run) = &self.spec.run else {
            let init = self.spec.boot.init.clone().map_or_else(|| config.init.clone(), Init::from);
            return Ok((Start::Init(init, self.bootargs().to_vec()), Vec::new(), false));
        };
        let user = self.find_user(run, &self.root_path())?;
        let program = Program::new(user, &run.command, run.term.as_deref(), &config.env);
        match run.tty {
            Some(size) => Ok((Start::Program(Box::new(program), Streams::Terminal(size)), Vec::new(), true)),
            None => {
                let (theirs, ours) = login::pipes(self.site.ids, &program.user)?;
                Ok((Start::Program(Box::new(program), Streams::Pipes(theirs)), ours.into(), false))
            }
        }
    }

    /// Words for init and /proc/cmdline.
    fn bootargs(&self) -> &[String] {
        self.spec.boot.args.as_ref().unwrap_or(&self.spec.config.bootargs)
    }

    /// Files of a zone of layers can be in any of them.
    fn look_at_layers(&mut self) -> Result<(), Failure> {
        let RootSpec::Layered(layers) = &self.spec.root else { return Ok(()) };
        let mut folders = vec![backend::upper(&self.spec.zone_dir)];
        folders.extend(layers.iter().cloned());
        let view = View::of(&folders);
        self.view = Some(view.map_err(|e| Failure::new("look at", "the zone's layers", e))?);
        Ok(())
    }

    /// The base of the zone's root, as the host sees it.
    pub(super) fn root_path(&self) -> PathBuf {
        match &self.spec.root {
            RootSpec::Installed => self.spec.zone_dir.join("root"),
            RootSpec::Layered(layers) => match &self.view {
                Some(view) => view.path(),
                None => layers.first().cloned().unwrap_or_default(),
            },
            RootSpec::Directory(path) => path.clone(),
            RootSpec::Host => PathBuf::from("/"),
        }
    }

    /// Who an init is to be that the configuration says it of.
    fn init_user(&self) -> Result<Option<User>, Failure> {
        let Some(wanted) = &self.spec.config.user else { return Ok(None) };
        let upper = backend::upper(&self.spec.zone_dir);
        let folders = match &self.spec.root {
            RootSpec::Installed => vec![upper, self.root_path()],
            RootSpec::Layered(layers) => [upper].into_iter().chain(layers.iter().cloned()).collect(),
            RootSpec::Directory(_) | RootSpec::Host => vec![self.root_path()],
        };
        let stack = Stack::open(&folders).map_err(|e| Failure::new("look at", "the zone's users", e))?;
        let text = |path| stack.text(path).unwrap_or_default();
        let found = login::user_of(&text("etc/passwd"), &text("etc/group"), wanted);
        found.map(Some).map_err(|why| Failure::new("find user", wanted, std::io::Error::other(why)))
    }

    fn find_user(&self, login: &Login, root: &Path) -> Result<User, Failure> {
        let wanted = login.user.as_deref().unwrap_or("root");
        let opened = File::open(root).map_err(|e| Failure::new("open", root.display(), e))?;
        login::find_user(opened.as_fd(), wanted).ok_or_else(|| {
            Failure::new("find user", wanted, std::io::Error::other("the zone has no such user"))
        })
    }

    fn make(&mut self, start: &Start) -> Result<(), Failure> {
        let config = &self.spec.config;
        let root = (self.spec.root != RootSpec::Host).then(|| self.root_path());
        let (arch, bootargs) = (self.spec.arch.as_deref(), self.bootargs());
        let mounts = mountinfo()?;
        let hierarchies = Hierarchies::from_mountinfo(&mounts);
        let zone_dir = &self.site.zone_dir;
        let quota = config.capped_disk.as_ref().and_then(|_| backend::of(zone_dir).usage(zone_dir));
        let disks = Disks { wide_inodes: self.wide_inodes(&mounts), has_quota: quota.is_some() };
        let branded = Branded::of(config, arch, bootargs, disks, root.as_deref());
        let mut branded = branded.map_err(|e| {
            Failure::new("prepare", format!("brand {}", config.brand), std::io::Error::other(chain(&e)))
        })?;
        if let Some(why) = root.as_deref().and_then(|root| page_is_missed(config, root)) {
            self.tell(&Event::Noted(why.to_owned()));
        }
        let clocks = Clocks::now();
        let limits = Limits::of(config, &self.site.zone_dir)?;
        let share = Arc::new(self.share(&hierarchies, &limits, clocks));
        branded.show_proc(&share, self.site.ids.base);
        let capabilities = privileges::resolve(&config.limit_privileges)
            .map_err(|why| Failure::new("resolve", "limit-privileges", std::io::Error::other(why)))?;
        marks::done("prepare the brand");
        let made = boot::make(&Request {
            site: &self.site,
            config,
            mounts: &mounts,
            limits: &limits,
            root: &self.spec.root,
            binds: &self.spec.binds,
            kernel: &branded.kernel,
            start,
            user: self.init_user()?.as_ref(),
            consoles: &self.consoles(),
            container: self.container(),
            clocks,
            named_hierarchy: self.wants_named_hierarchy(),
            network: self
                .spec
                .network
                .as_ref()
                .map(|n| (&n.place, n.uuid.as_str(), self.spec.run_dir.as_path())),
            fail_at: std::env::var("ZONED_FAIL_STEP").ok().and_then(|at| at.parse().ok()),
        })?;
        let storm = Storm::watch(&made.cgroup);
        self.live = Some(Live {
            made,
            branded,
            quota: quota.map(Arc::new),
            share,
            capabilities,
            zone: None,
            program: None,
            booted: Instant::now(),
            storm,
        });
        Ok(())
    }

    /// The zone's share. A zone where nothing is capped at boot has no files for it beside those of its level.
    fn share(&self, hierarchies: &Hierarchies, limits: &Limits, clocks: Option<Clocks>) -> Share {
        let is_capped = limits.memory.is_some() || limits.cpus.is_some() || limits.dedicated.is_some();
        let cgroup = Cgroup::at(hierarchies, &self.site.cgroup_key);
        Share::new(cgroup, is_capped, clocks)
    }

    fn wide_inodes(&self, mounts: &str) -> bool {
        let configured = self.spec.config.fs.iter().map(|fs| Path::new(&fs.special));
        let sources = configured.chain(self.spec.binds.iter().map(|bind| bind.source.as_path()));
        inodes::may_be_wide(mounts, &self.spec.root, &self.spec.zone_dir, &self.site.hide, sources)
    }

    /// From ready to running.
    fn go(&mut self) -> Result<(), Failure> {
        let ids = self.site.ids;
        let root_is_own = self.spec.root != RootSpec::Host;
        let bootargs = self.bootargs().join(" ").replace('\n', " ");
        let Some(live) = &mut self.live else { return Ok(()) };
        marks::done("ready");
        let fail = |e: std::io::Error| Failure::new("duplicate", "a descriptor", e);
        let kmsg = super::kmsg::Kmsg::feeding(live.made.kmsg.take());
        let world = live.branded.world.clone();
        let init_pid = live.made.init.pid;
        let namespace =
            |kind| std::fs::metadata(format!("/proc/{init_pid}/ns/{kind}")).map(|m| m.ino()).map_err(fail);
        kmsg.log(&format!("Linux version {} {}", world.release, world.version));
        kmsg.log(&format!("Kernel command line: {bootargs}"));
        let zone = Arc::new(dispatch::Zone {
            compiled: Arc::clone(&live.branded.compiled),
            world,
            ids,
            kmsg,
            init: live.made.init.pidfd.try_clone().map_err(fail)?,
            init_pid: init_pid.as_raw(),
            held: std::sync::atomic::AtomicUsize::new(0),
            programs: super::space::Programs::default(),
            differs: super::dispatch::Differences::default(),
            uts: namespace("uts")?,
            userns: namespace("user")?,
            pidns: namespace("pid")?,
            mntns: namespace("mnt")?,
            share: Arc::clone(&live.share),
            figures: Default::default(),
            proc_files: live.branded.kernel.proc_files().filter_map(|path| CString::new(path).ok()).collect(),
            dev: live.made.dev.try_clone().map_err(fail)?,
            root_is_own,
            quota: live.quota.clone(),
            files: super::vsyscall::Files::default(),
            ledger: Arc::clone(&self.ledger),
            tracers: (!live.branded.kernel.filter.is_empty())
                .then(|| super::trace::Tracers::begin(ids.base).map_err(fail))
                .transpose()?,
        });
        live.program = live.made.go(|listener| dispatch::serve(listener, &zone, &mut self.worker))?;
        if marks::is_asked() {
            let steps = live.made.init.times().map(|(step, at)| Mark { step: format!("inside: {step}"), at });
            steps.for_each(marks::add);
        }
        marks::done("the program runs");
        live.zone = Some(zone);
        live.booted = Instant::now();
        self.set_state(State::Running);
        Ok(())
    }

    /// Goes on from ready. Other words for init than those that the platform was made with need a
    /// new platform.
    pub(super) fn boot_ready(&mut self, from: (u64, u64), wanted: Boot) {
        if self.state != State::Ready || self.ending.is_some() {
            return self.reply(from, self.wrong_state("boot"));
        }
        self.spec.ready_only = false;
        let same = wanted == self.spec.boot || wanted == Boot::default();
        let result = if same {
            self.go()
        } else {
            self.spec.boot = wanted;
            self.tear_down(true);
            self.boot(None).map_err(|(failure, _)| failure)
        };
        match result {
            Ok(()) => self.reply(from, Reply::Done),
            Err(failure) => {
                self.reply(from, Reply::Failed(self.failed("boot", failure.sentence())));
                self.end(How::Failed, &format!("its boot failed: {}", failure.sentence()), false);
            }
        }
    }

    /// Starts a program for a client.
    pub(super) fn log_in(&mut self, from: (u64, u64), login: &Login, fd: Option<OwnedFd>, already: Vec<u8>) {
        let Some(client) = fd.and_then(|fd| Client::new(fd, already).ok()) else {
            return self.reply(from, Reply::Failed(self.failed("log in to", "no connection came along")));
        };
        let what = format!("log in to {}", self.spec.config.name);
        if self.state != State::Running || self.ending.is_some() {
            let error =
                ApiError::new(ErrorKind::WrongState, &what, format!("the zone is {}", self.state.word()));
            client.tell(&SessionEvent::Refused { error, status: None }, &[]);
            return self.reply(from, Reply::Done);
        }
        let prepared = self.init_root().and_then(|root| self.find_user(login, &root)).and_then(|user| {
            let program = Program::new(user, &login.command, login.term.as_deref(), &self.spec.config.env);
            match login.tty {
                Some(size) => Ok((program, Streams::Terminal(size), Vec::new())),
                None => {
                    let (theirs, ours) = login::pipes(self.site.ids, &program.user)?;
                    Ok((program, Streams::Pipes(theirs), ours.into()))
                }
            }
        });
        let started = prepared.and_then(|(program, theirs, ours)| Ok((self.enter(&program, &theirs)?, ours)));
        match started {
            Err(failure) => client.tell(&refusal(&what, &failure), &[]),
            Ok((child, streams)) => {
                let number = self.number();
                let session = Session {
                    client: Some(client),
                    pid: child.pid,
                    stage: Stage::Starting(child),
                    streams,
                    tty: login.tty.is_some(),
                };
                self.sessions.push((number, session));
            }
        }
        self.reply(from, Reply::Done);
    }

    fn init_root(&self) -> Result<PathBuf, Failure> {
        let gone = || Failure::new("find", "the zone's root", nix::errno::Errno::ESRCH);
        Ok(PathBuf::from(format!("/proc/{}/root", self.init_pid().ok_or_else(gone)?)))
    }

    fn enter(&self, program: &Program, streams: &Streams) -> Result<crate::sys::child::Child, Failure> {
        let gone = || Failure::new("enter", "the zone", nix::errno::Errno::ESRCH);
        let live = self.live.as_ref().ok_or_else(gone)?;
        let target = login::Target {
            init: live.made.init.pidfd.as_fd(),
            init_pid: live.made.init.pid,
            cgroup: &live.made.cgroup,
            filter: &live.branded.kernel.filter,
            personality: live.branded.kernel.personality,
            nofile: live.branded.kernel.nofile,
            capabilities: live.capabilities,
            config: &self.spec.config,
        };
        login::enter(&target, program, streams)
    }

    /// A program on its way said something, or a running one ended.
    pub(super) fn advance(&mut self, number: u64) {
        let zone = self.live.as_ref().and_then(|l| l.zone.clone());
        let Some((_, session)) = self.sessions.iter_mut().find(|(n, _)| *n == number) else { return };
        let Stage::Starting(child) = &mut session.stage else {
            return self.program_ended(number);
        };
        match child.hear() {
            Told::Listener(fd) => {
                if let Some(zone) = &zone {
                    dispatch::serve_entering(fd, zone, &mut self.worker);
                }
            }
            Told::Terminal(master) => session.streams = vec![master],
            Told::Executing | Told::Ready | Told::Program(_) => {}
            Told::Through => {
                let Ok(pidfd) = child.pidfd.try_clone() else { return };
                session.stage = Stage::Running(pidfd);
                session.tell_started(&self.spec.config.name);
            }
            told => {
                let failure = boot::failure(told);
                if let Some(client) = session.client.take() {
                    client.tell(&refusal(&format!("log in to {}", self.spec.config.name), &failure), &[]);
                }
                // Not waited for: a guest may have stopped it on its way out.
                let _ = process::signal(child.pidfd.as_fd(), libc::SIGKILL);
                if let Ok(pidfd) = child.pidfd.try_clone() {
                    session.stage = Stage::Running(pidfd);
                }
            }
        }
    }

    fn program_ended(&mut self, number: u64) {
        let Some(at) = self.sessions.iter().position(|(n, _)| *n == number) else { return };
        let (Stage::Running(pidfd) | Stage::Held(pidfd)) = &self.sessions[at].1.stage else { return };
        match process::reap(pidfd.as_fd(), false) {
            Ok(None) => {
                if let Ok(pidfd) = pidfd.try_clone() {
                    self.sessions[at].1.stage = Stage::Held(pidfd);
                }
            }
            Ok(Some(ended)) => self.sessions.swap_remove(at).1.tell_ended(ended),
            Err(_) => self.sessions.swap_remove(at).1.tell_ended(Ended::Killed(libc::SIGKILL as u8)),
        }
    }

    /// Takes in the programs that their tracers let go of meanwhile.
    pub(super) fn check_held(&mut self) {
        let is_held = |s: &Session| matches!(s.stage, Stage::Held(_));
        let held: Vec<u64> = self.sessions.iter().filter(|(_, s)| is_held(s)).map(|(n, _)| *n).collect();
        for number in held {
            self.program_ended(number);
        }
    }

    pub(super) fn halt(&mut self, from: (u64, u64), again: bool, reason: &str) {
        self.ask_for_end(from, again, reason, None);
        self.end(How::Halted, reason, again);
    }

    fn ask_for_end(&mut self, from: (u64, u64), again: bool, reason: &str, deadline: Option<Instant>) {
        let mut askers = self.ending.take().map_or_else(Vec::new, |e| e.askers);
        askers.push(from);
        self.ending = Some(Ending { reason: reason.to_owned(), again, deadline, askers });
        if self.state == State::Running {
            self.set_state(State::ShuttingDown);
        }
    }

    /// Asks the guest to end: our reaper by SIGTERM, a program by the signal of its configuration, an init of its own by the program that its
    /// administrator would use, or SIGPWR where there is none.
    pub(super) fn shut_down(&mut self, from: (u64, u64), timeout: u32, again: bool) {
        if self.state == State::Ready {
            return self.halt(from, again, "shut down");
        }
        let deadline = Instant::now() + Duration::from_secs(timeout.into());
        self.ask_for_end(from, again, "shut down", Some(deadline));
        let Some(live) = &self.live else { return };
        let init = live.made.init.pidfd.as_fd();
        if dispatch::runs_ours(live.made.init.pid) {
            let _ = process::signal(init, libc::SIGTERM);
            return;
        }
        if let Some(signal) = self.spec.config.stop_signal.as_deref().and_then(config::signal_number) {
            let _ = process::signal(init, signal);
            return;
        }
        let verb = if again { "reboot" } else { "poweroff" };
        let program = Program::new(User::root(), &[verb.to_owned()], None, &[]);
        let entered = login::pipes(self.site.ids, &program.user)
            .and_then(|(theirs, ours)| Ok((self.enter(&program, &Streams::Pipes(theirs))?, ours)));
        match entered {
            Ok((child, [_, stdout, stderr])) => {
                let number = self.number();
                let streams = vec![stdout, stderr];
                let (pid, stage) = (child.pid, Stage::Starting(child));
                let session = Session { client: None, pid, stage, streams, tty: false };
                self.sessions.push((number, session));
            }
            Err(failure) => {
                tracing::warn!(why = failure.sentence(), "cannot run {verb} in the zone");
                let _ = process::signal(init, libc::SIGPWR);
            }
        }
    }

    /// What the kernel does on Ctrl-Alt-Del once init has asked for it (LINUX_REBOOT_CMD_CAD_OFF of reboot(2)): SIGINT to
    /// init, which mostly reboots. Our reaper is rebooted.
    pub(super) fn ctrl_alt_del(&mut self, from: (u64, u64)) {
        let Some(live) = self.live.as_ref().filter(|_| self.state == State::Running) else {
            return self.reply(from, self.wrong_state("press Ctrl-Alt-Del in"));
        };
        if dispatch::runs_ours(live.made.init.pid) {
            return self.halt(from, true, "rebooted by Ctrl-Alt-Del");
        }
        let pressed = process::signal(live.made.init.pidfd.as_fd(), libc::SIGINT);
        let reply = match pressed {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(self.failed("press Ctrl-Alt-Del in", error.to_string())),
        };
        self.reply(from, reply);
    }

    pub(super) fn check_deadline(&mut self) {
        let passed = |e: &Ending| e.deadline.is_some_and(|at| at <= Instant::now());
        if let Some(ending) = self.ending.as_ref().filter(|e| passed(e)) {
            let again = ending.again;
            self.end(How::Halted, "it did not shut down in time", again);
        }
    }

    /// Process 1 is no more, by whatever way.
    pub(super) fn init_ended(&mut self) {
        marks::done("process 1 ended");
        let Some(live) = &self.live else { return };
        // Collected here: to those that only look (WNOWAIT) older kernels, 5.10 among them, do not tell the signal of
        // a reboot.
        let ended = match process::reap(live.made.init.pidfd.as_fd(), false) {
            Ok(Some(ended)) => ended,
            Ok(None) => return,
            Err(_) => Ended::Exited(0),
        };
        let asked = self.ending.as_ref().map(|e| (e.reason.clone(), e.again));
        let is_run = self.spec.run.is_some();
        // reboot(2) in a pid namespace ends process 1 by these (Linux 3.4).
        let (how, reason) = match (ended, asked) {
            (_, Some((reason, again))) => return self.end(How::Halted, &reason, again),
            (Ended::Killed(1), None) if !is_run => {
                return self.end(How::Halted, "rebooted by the guest", true);
            }
            (Ended::Killed(2), None) => (How::PoweredOff, "by the guest".to_owned()),
            (Ended::Exited(_), None) if is_run => (How::Halted, "its program ended".to_owned()),
            (Ended::Exited(status), None) => {
                (How::Halted, format!("its process 1 exited with status {status}"))
            }
            (Ended::Killed(signal), None) => {
                (How::Failed, format!("its process 1 was killed by signal {signal}"))
            }
        };
        self.end(how, &reason, false);
    }

    /// A zone that makes groups without end is ended.
    pub(super) fn hear_of_groups(&mut self) {
        let groups = self.live.as_mut().and_then(|live| live.made.groups.as_mut());
        if groups.is_some_and(Watch::hear) {
            let reason = format!("it made more than {MOST} groups in systemd's hierarchy");
            self.end(How::Failed, &reason, false);
        }
    }

    /// A storm is looked at by the clock.
    pub(super) fn check_storm(&mut self) {
        let storm = self.live.as_ref().and_then(|live| live.storm.as_ref());
        if storm.and_then(Storm::look_in).is_some_and(|left| left.is_zero()) {
            self.hear_of_forks();
        }
    }

    pub(super) fn hear_of_forks(&mut self) {
        let Some(live) = &mut self.live else { return };
        let Some(storm) = &mut live.storm else { return };
        match storm.hear(|| live.share.in_kernel()) {
            Ok(None) => {}
            Ok(Some(turn)) => self.tell(&Event::Noted(turn.sentence().to_owned())),
            Err(failure) => {
                tracing::warn!(why = failure.sentence(), "cannot hold the zone down");
                // Not tried again a hundred times in a second.
                live.storm = None;
            }
        }
    }

    /// Ends the zone, and starts it again or leaves.
    pub(super) fn end(&mut self, how: How, reason: &str, again: bool) {
        let booted = self.live.as_ref().map(|l| l.booted);
        let was_asked = self.ending.is_some();
        let left = self.tear_down(again);
        if !again {
            return self.leave_with(how, reason, left);
        }
        self.quick_reboots = match booted {
            Some(at) if !was_asked && at.elapsed() < QUICK => self.quick_reboots + 1,
            _ => 0,
        };
        if self.quick_reboots > MOST_QUICK_REBOOTS {
            let left = left.or(self.tear_down(false));
            return self.leave_with(How::Failed, "it rebooted too often within seconds of its boots", left);
        }
        self.reread_config();
        self.spec.ready_only = false;
        let asked = self.ending.take();
        match self.boot(None) {
            Ok(()) => {
                self.tell(&Event::Rebooted);
                for asker in asked.map_or_else(Vec::new, |a| a.askers) {
                    self.reply(asker, Reply::Done);
                }
            }
            Err((failure, _)) => {
                self.ending = asked;
                let left = self.tear_down(false);
                self.leave_with(
                    How::Failed,
                    &format!("it could not be booted again: {}", failure.sentence()),
                    left,
                );
            }
        }
    }

    /// A reboot takes the configuration as it is by then; one that became unreadable is not taken.
    fn reread_config(&mut self) {
        let Some(path) = &self.spec.config_path else { return };
        match Config::load(path) {
            Ok(config) => self.spec.config = config,
            Err(error) => tracing::warn!(error = chain(&error), "the zone keeps its old configuration"),
        }
    }

    /// Ends every process of the zone and takes down what it stood on; what other zones have too
    /// stays where it boots `again`. The answer is what could not be.
    fn tear_down(&mut self, again: bool) -> Option<String> {
        if let Some(live) = &self.live {
            // Who is held still by v1 does not die.
            if process::signal(live.made.init.pidfd.as_fd(), libc::SIGKILL).is_ok() {
                let _ = live.made.cgroup.hold(false);
            }
            self.set_state(State::Down);
        }
        self.console.disconnect();
        // Programs that entered the zone are ours to reap, and process 1 ends only after them.
        for (_, session) in std::mem::take(&mut self.sessions) {
            let pidfd = match &session.stage {
                Stage::Starting(child) => child.pidfd.as_fd(),
                Stage::Running(pidfd) | Stage::Held(pidfd) => pidfd.as_fd(),
            };
            let _ = process::signal(pidfd, libc::SIGKILL);
            let ended = process::reap_within(pidfd, PATIENCE);
            session.tell_ended(ended.unwrap_or(Ended::Killed(libc::SIGKILL as u8)));
        }
        let mut client = None;
        let mut groups = None;
        if let Some(mut live) = self.live.take() {
            self.reap_init(live.made.init.pidfd.as_fd());
            client = self.runner.take().and_then(|runner| runner.client);
            if let Some(client) = &client {
                if self.spec.config.strict {
                    self.tell_younger(client);
                }
                let mut word = [0; 4];
                let status = live.made.status.take().and_then(|mut s| s.read_exact(&mut word).ok());
                let ended = status.map(|()| event_of(Ended::from_wait_status(i32::from_ne_bytes(word))));
                client.tell(&ended.unwrap_or_else(|| self.lost_end()), &[]);
            }
            groups = Some(live.made.cgroup);
        }
        // Of a run nothing is kept.
        if self.spec.run.is_none()
            && self.ledger.has_counted()
            && let Err(error) = self.ledger.keep(&self.spec.zone_dir)
        {
            tracing::error!(%error, "cannot keep the zone's ledger");
        }
        marks::done("told the client");
        let taken_down = match &groups {
            Some(groups) => groups.clear(),
            None => boot::take_down(&self.site),
        };
        marks::done("remove the control groups");
        let unlinked = self
            .spec
            .network
            .as_ref()
            .map_or(Ok(()), |network| network::take_down(&network.place, &self.spec.run_dir, again));
        let taken_down = taken_down.and(unlinked);
        // A boot that failed leaves a child that nothing else knows of.
        process::reap_all(Duration::from_secs(5));
        if let Some(client) = client.filter(|_| marks::is_asked()) {
            marks::done("all is gone");
            client.tell(&SessionEvent::Timings { marks: marks::take() }, &[]);
        }
        taken_down.err().map(|failure| {
            tracing::error!(why = failure.sentence(), "something of the zone is left");
            failure.sentence()
        })
    }

    /// The event of a program's end that process 1 did not come to tell.
    fn lost_end(&self) -> SessionEvent {
        let killed = event_of(Ended::Killed(libc::SIGKILL as u8));
        if self.ending.is_some() {
            return killed;
        }
        let why = "process 1 of its zone was killed before it told how the program ended";
        SessionEvent::Refused {
            error: self.failed("run a program in", why),
            status: Some(128 + libc::SIGKILL as u8),
        }
    }

    /// Reaps process 1, and before it what keeps it: children that programs in the zone made ours, and that die with it.
    fn reap_init(&self, init: BorrowedFd<'_>) {
        let end = Instant::now() + PATIENCE;
        while matches!(process::reap(init, false), Ok(None)) && Instant::now() < end {
            process::reap_strays(|_| false);
            let mut fds =
                [PollFd::new(init, PollFlags::POLLIN), PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
            let left = end.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            self.hear_of_ends();
        }
    }

    /// Tells the client of a strict run which of its calls the level did not have.
    fn tell_younger(&self, client: &Client) {
        let level = self.spec.config.kernel.clone().unwrap_or_default();
        let mut entries = self.ledger.younger();
        let lowest = lowest_level(&level, &entries);
        client.wait_for_room();
        // A line must not be longer than a client takes.
        loop {
            let rest = entries.split_off(entries.len().min(MOST_ENTRIES));
            let event = SessionEvent::Younger { level: level.clone(), lowest: lowest.clone(), entries };
            client.tell(&event, &[]);
            entries = rest;
            if entries.is_empty() {
                break;
            }
        }
    }

    fn leave_with(&mut self, how: How, reason: &str, left: Option<String>) {
        let left = left.or(self.leave());
        if let Some(ending) = self.ending.take() {
            for asker in ending.askers {
                let reply =
                    if ending.again { Reply::Failed(self.failed("reboot", reason)) } else { Reply::Done };
                self.reply(asker, reply);
            }
        }
        self.tell(&Event::Ended { how, reason: reason.to_owned(), left });
    }

    /// Removes what the monitor itself has on the host; the loop ends with this. The answer is what could not be.
    fn leave(&mut self) -> Option<String> {
        self.state = State::Installed;
        for viewer in &self.viewers {
            viewer.client.tell(&SessionEvent::State { state: State::Installed }, &[]);
        }
        match std::fs::remove_dir_all(&self.spec.run_dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Some(format!("remove {}: {e}", self.spec.run_dir.display()))
            }
            _ => None,
        }
    }

    pub(super) fn limit(&mut self, from: (u64, u64), config: Config) {
        let storm = self.live.as_mut().and_then(|live| live.storm.as_mut());
        let applied = storm
            .map_or(Ok(()), Storm::let_go)
            .and_then(|()| Limits::of(&config, &self.site.zone_dir))
            .and_then(|limits| Cgroup::update(&Hierarchies::detect()?, &self.site.cgroup_key, &limits));
        match applied {
            Ok(()) => {
                self.spec.config = config;
                self.reply(from, Reply::Done);
            }
            Err(failure) => self.reply(from, Reply::Failed(self.failed("limit", failure.sentence()))),
        }
    }
}

/// Entries of the ledger in one event of a session.
const MOST_ENTRIES: usize = 64;

/// The lowest release that has everything in the ledger.
fn lowest_level(level: &str, entries: &[LedgerEntry]) -> String {
    let read = |text: &str| distro::resolve(text, "x86_64").ok().map(|(level, _)| level);
    let needed = entries.iter().filter_map(|entry| read(entry.needs.as_deref()?)).max();
    match needed {
        Some(needed) if Some(needed) > read(level) => needed.to_string(),
        _ => level.to_owned(),
    }
}

fn hint(failure: &Failure) -> Option<String> {
    match failure.source.raw_os_error() {
        Some(libc::ENOEXEC) => Some("zonectl verify says which programs the root holds".into()),
        Some(libc::EINVAL) if failure.operation.starts_with("map the ids") => {
            Some("zonectl doctor says which file systems can map ids on this kernel".into())
        }
        Some(libc::EOPNOTSUPP) if failure.operation == "hold" => {
            let text = "before Linux 5.15 sockets left their cgroup v2 once a net_cls or net_prio group of cgroup v1 was set; \
                        take ip-type = \"exclusive\"";
            Some(text.into())
        }
        _ => None,
    }
}
