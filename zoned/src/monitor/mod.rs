//! The process beside each running zone: it makes the zone, answers its calls, holds its console
//! and its programs, and takes it down. It outlives zoned, and the zone does not outlive it.

mod age;
pub mod brand;
pub mod confined;
pub mod console;
pub mod dispatch;
mod files;
mod forward;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod held;
pub mod kmsg;
pub mod ledger;
mod life;
pub mod link;
mod notes;
pub mod post;
pub mod procfs;
pub mod session;
mod setid;
pub mod share;
pub mod space;
mod stubs;
pub mod task;
mod terminals;
pub mod trace;
pub mod visit;
pub mod vsyscall;
pub mod wire;
pub mod zygote;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, accept4, bind,
    getsockopt, listen, socket, sockopt::PeerCredentials,
};
use zone_api::{ApiError, ErrorKind, SessionEvent, SessionInput, State};

use crate::confine::boot::{Made, Site};
use crate::confine::root::RootSpec;
use crate::confine::storm::Storm;
use crate::confine::{Failure, Ids};
use crate::marks;
use crate::storage::View;
use crate::sys::btrfs::Usage;
use crate::sys::process;
use brand::Branded;
use console::Console;
use session::{Client, Session, Stage};
use wire::{Asked, Event, Reply, Request, Said, Spec, Status};

/// A connection of a zoned.
#[derive(Debug)]
struct Control {
    number: u64,
    socket: OwnedFd,
}

/// A client at the console.
#[derive(Debug)]
struct Viewer {
    client: Client,
    number: u64,
}

/// The zone between boot and end.
#[derive(Debug)]
struct Live {
    made: Made,
    branded: Branded,
    /// Of what it writes, where programs are told of it by the brand.
    quota: Option<Arc<Usage>>,
    share: Arc<share::Share>,
    capabilities: u64,
    zone: Option<Arc<dispatch::Zone>>,
    program: Option<OwnedFd>,
    booted: Instant,
    storm: Option<Storm>,
}

/// An end under way.
#[derive(Debug)]
struct Ending {
    reason: String,
    again: bool,
    deadline: Option<Instant>,
    /// Who waits for it: connection and request.
    askers: Vec<(u64, u64)>,
}

/// The monitor of one zone.
#[derive(Debug)]
pub struct Monitor {
    spec: Spec,
    site: Site,
    state: State,
    listening: OwnedFd,
    /// Tells that a child is at its end.
    children: SignalFd,
    controls: Vec<Control>,
    live: Option<Live>,
    ledger: Arc<ledger::Ledger>,
    worker: confined::Worker,
    ending: Option<Ending>,
    console: Console,
    viewers: Vec<Viewer>,
    sessions: Vec<(u64, Session)>,
    /// The client of a zone that exists while its program runs.
    runner: Option<Session>,
    /// Its layers, while it is being made.
    view: Option<View>,
    /// Whether the first boot was answered; until then its states are nobody's news.
    announced: bool,
    /// Boots by the guest itself in quick succession.
    quick_reboots: u32,
    next: u64,
}

/// What became ready.
#[derive(Debug, Clone, Copy)]
enum Token {
    Listening,
    Children,
    Control(u64),
    Init,
    Groups,
    Forks,
    Terminal,
    Screen(usize),
    Viewer(u64),
    ViewerClient(u64),
    Session(u64),
    SessionClient(u64),
    Runner,
}

/// Number of the connection that the monitor was started with.
const FIRST: u64 = 0;

/// How often a program is looked at that is over and cannot be reaped yet.
const LOOK: Duration = Duration::from_millis(250);

/// Runs a monitor to its end. `control` is the connection of the zoned that started it, whose first
/// message says what to do; `worker` is of its spare.
pub fn run(control: OwnedFd, worker: confined::Worker) -> Result<(), Failure> {
    let fail = |e: Errno| Failure::new("receive", "the zone to make", e);
    let Some((asked, client)) = wire::receive::<Asked>(&control, MsgFlags::empty()).map_err(fail)? else {
        return Ok(());
    };
    let Request::Start(mut spec) = asked.request else {
        return Err(fail(Errno::EPROTO));
    };
    if let Some(before) = spec.marks.take() {
        marks::begin(before);
        marks::done("zoned asked the monitor");
    }
    let refuse = |failure: &Failure| {
        let error =
            ApiError::new(ErrorKind::Failed, format!("boot {}", spec.config.name), failure.sentence());
        let _ = wire::send(&control, &Said::Reply(asked.number, Reply::Failed(error)), None);
    };
    // Where a boot wants to be.
    let entered =
        nix::unistd::chdir(&spec.run_dir).map_err(|e| Failure::new("enter", spec.run_dir.display(), e));
    let made = entered.and_then(|()| Ok((hear_of_children()?, listen_at(&spec)?)));
    let (children, listening) = match made {
        Ok(made) => made,
        Err(failure) => {
            refuse(&failure);
            return Err(failure);
        }
    };
    let site = Site {
        ids: Ids { base: spec.id_base },
        zone_dir: spec.zone_dir.clone(),
        hide: spec.hide.clone(),
        cgroup_key: spec.cgroup_key.clone(),
    };
    let console = Console::new(&spec.zone_dir.join("console.log"));
    let ledger = Arc::new(ledger::Ledger::resume(&spec.zone_dir));
    let mut monitor = Monitor {
        spec: *spec,
        site,
        state: State::Installed,
        listening,
        children,
        controls: vec![Control { number: FIRST, socket: control }],
        live: None,
        ledger,
        worker,
        ending: None,
        console,
        viewers: Vec::new(),
        sessions: Vec::new(),
        runner: None,
        view: None,
        announced: false,
        quick_reboots: 0,
        next: 1,
    };
    monitor.start(asked.number, client);
    while monitor.state != State::Installed {
        let ready = monitor.wait();
        for token in ready {
            monitor.handle(token);
        }
        monitor.check_held();
        monitor.check_storm();
        monitor.reap_strays();
        monitor.check_deadline();
    }
    Ok(())
}

/// What the host is to make of a monitor; no login uid, so that the zone's programs may set theirs (pam_loginuid(8)).
fn settle() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = std::fs::write("/proc/self/oom_score_adj", crate::confine::OOM_MONITOR);
    // Not there without CONFIG_AUDIT; refused without CAP_AUDIT_CONTROL once it is set.
    let _ = std::fs::write("/proc/self/loginuid", "4294967295");
}

/// A descriptor that SIGCHLD makes readable: a spare blocks it for all its threads, and a plan's child takes its signals back
/// itself.
fn hear_of_children() -> Result<SignalFd, Failure> {
    SignalFd::with_flags(&Signal::SIGCHLD.into(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|e| Failure::new("wait for", "the zone's programs", e))
}

fn listen_at(spec: &Spec) -> Result<OwnedFd, Failure> {
    let path = spec.run_dir.join(wire::SOCKET);
    let fail = |e: Errno| Failure::new("listen at", path.display(), e);
    let _ = std::fs::remove_file(&path);
    let listening =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(fail)?;
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    // Relative, since the path of a socket is at most 107 bytes long (unix(7)).
    let bound =
        UnixAddr::new(wire::SOCKET).and_then(|at| bind(std::os::fd::AsRawFd::as_raw_fd(&listening), &at));
    nix::sys::stat::umask(old);
    bound.map_err(fail)?;
    listen(&listening, Backlog::new(8).unwrap_or(Backlog::MAXCONN)).map_err(fail)?;
    Ok(listening)
}

impl Monitor {
    fn wait(&self) -> Vec<Token> {
        let mut tokens = vec![Token::Listening, Token::Children];
        let read = PollFlags::POLLIN;
        let mut fds =
            vec![PollFd::new(self.listening.as_fd(), read), PollFd::new(self.children.as_fd(), read)];
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::new(fd, flags));
        };
        for control in &self.controls {
            add(Token::Control(control.number), control.socket.as_fd(), read);
        }
        if let Some(live) = &self.live {
            add(Token::Init, live.made.init.pidfd.as_fd(), read);
            if let Some(groups) = &live.made.groups {
                add(Token::Groups, groups.as_fd(), read);
            }
            if let Some(events) = live.storm.as_ref().and_then(Storm::events) {
                add(Token::Forks, events, PollFlags::POLLPRI);
            }
        }
        if let Some(terminal) = self.console.terminal() {
            add(Token::Terminal, terminal, read);
        }
        for (number, screen) in self.console.screens() {
            add(Token::Screen(number), screen, read);
        }
        for (number, data, writes) in self.console.viewers() {
            add(Token::Viewer(number), data, if writes { read | PollFlags::POLLOUT } else { read });
        }
        for viewer in &self.viewers {
            add(Token::ViewerClient(viewer.number), viewer.client.as_fd(), read);
        }
        let mut held = false;
        for (number, session) in &self.sessions {
            match &session.stage {
                Stage::Starting(child) => add(Token::Session(*number), child.channel(), read),
                Stage::Running(pidfd) => add(Token::Session(*number), pidfd.as_fd(), read),
                // It stays readable until it can be reaped, so it is looked at by the clock.
                Stage::Held(_) => held = true,
            }
            if let Some(client) = &session.client {
                add(Token::SessionClient(*number), client.as_fd(), read);
            }
        }
        if let Some(client) = self.runner.as_ref().and_then(|r| r.client.as_ref()) {
            add(Token::Runner, client.as_fd(), read);
        }
        let deadline = self.ending.as_ref().and_then(|e| e.deadline);
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let storm = self.live.as_ref().and_then(|live| live.storm.as_ref()?.look_in());
        // Up to the next millisecond, of which poll(2) counts whole ones.
        let left = left.into_iter().chain(storm).map(|left| left + Duration::from_millis(1));
        let left = left.chain(held.then_some(LOOK)).min();
        let timeout =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        tokens.into_iter().zip(&fds).filter(|(_, fd)| is_ready(fd)).map(|(token, _)| token).collect()
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Listening => self.accept(),
            // Who it was is asked in each round.
            Token::Children => self.hear_of_ends(),
            Token::Control(number) => self.serve(number),
            Token::Init => self.init_ended(),
            Token::Groups => self.hear_of_groups(),
            Token::Forks => self.hear_of_forks(),
            Token::Terminal => self.console.read_terminal(),
            Token::Screen(number) => self.console.drain_screen(number),
            Token::Viewer(number) => {
                if !self.console.read_viewer(number) {
                    self.viewers.retain(|v| v.number != number);
                }
            }
            Token::ViewerClient(number) => self.serve_viewer(number),
            Token::Session(number) => self.advance(number),
            Token::SessionClient(number) => self.serve_session(number),
            Token::Runner => self.serve_runner(),
        }
    }

    fn accept(&mut self) {
        let listening = std::os::fd::AsRawFd::as_raw_fd(&self.listening);
        let Ok(socket) = accept4(listening, SockFlag::SOCK_CLOEXEC).map(process::own) else { return };
        // Whoever comes to the socket, if a zone should be shown it: only zoned is listened to.
        let is_ours = |peer: UnixCredentials| peer.uid() == nix::unistd::geteuid().as_raw();
        if getsockopt(&socket, PeerCredentials).is_ok_and(is_ours) {
            let number = self.number();
            self.controls.push(Control { number, socket });
        }
    }

    /// Takes in that children are at their end.
    fn hear_of_ends(&self) {
        while matches!(self.children.read_signal(), Ok(Some(_))) {}
    }

    /// Children that a program in the zone made ours.
    fn reap_strays(&self) {
        let init = self.live.as_ref().map(|live| live.made.init.pid);
        let runner = self.runner.as_ref();
        let known = |pid| {
            init == Some(pid)
                || runner.is_some_and(|runner| runner.pid == pid)
                || self.sessions.iter().any(|(_, session)| session.pid == pid)
        };
        process::reap_strays(known);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn reply(&self, to: (u64, u64), reply: Reply) {
        if let Some(control) = self.controls.iter().find(|c| c.number == to.0) {
            let _ = wire::send(&control.socket, &Said::Reply(to.1, reply), None);
        }
    }

    fn tell(&self, event: &Event) {
        for control in &self.controls {
            let _ = wire::send(&control.socket, &Said::Event(event.clone()), None);
        }
    }

    fn set_state(&mut self, state: State) {
        if self.state == state {
            return;
        }
        self.state = state;
        if !self.announced {
            return;
        }
        let init_pid = self.init_pid();
        self.tell(&Event::State { state, init_pid });
        for viewer in &self.viewers {
            viewer.client.tell(&SessionEvent::State { state }, &[]);
        }
    }

    fn init_pid(&self) -> Option<i32> {
        self.live.as_ref().map(|live| live.made.init.pid.as_raw())
    }

    fn failed(&self, what: &str, why: impl Into<String>) -> ApiError {
        ApiError::new(ErrorKind::Failed, format!("{what} {}", self.spec.config.name), why)
    }

    fn wrong_state(&self, what: &str) -> Reply {
        let why = format!("the zone is {}", self.state.word());
        let what = format!("{what} {}", self.spec.config.name);
        Reply::Failed(ApiError::new(ErrorKind::WrongState, what, why))
    }

    fn serve(&mut self, number: u64) {
        let Some(control) = self.controls.iter().find(|c| c.number == number) else { return };
        let (asked, fd) = match wire::receive::<Asked>(&control.socket, MsgFlags::MSG_DONTWAIT) {
            Ok(Some(received)) => received,
            Err(Errno::EAGAIN) => return,
            Ok(None) | Err(_) => {
                self.controls.retain(|c| c.number != number);
                return;
            }
        };
        let from = (number, asked.number);
        match asked.request {
            Request::Start(_) => self.reply(from, self.wrong_state("boot")),
            Request::Status => {
                let spec = Box::new(self.spec.clone());
                let status = Status { state: self.state, init_pid: self.init_pid(), spec };
                self.reply(from, Reply::Status(status));
            }
            Request::Boot(boot) => self.boot_ready(from, boot),
            Request::Halt => self.halt(from, false, "halted"),
            Request::Reboot => self.halt(from, true, "rebooted"),
            Request::Shutdown { timeout, reboot } => self.shut_down(from, timeout, reboot),
            Request::CtrlAltDel => self.ctrl_alt_del(from),
            Request::Login(login, already) => self.log_in(from, &login, fd, already),
            Request::Console(already) => self.show_console(from, fd, already),
            Request::Limit(config) => self.limit(from, *config),
            Request::Restack(layers) => {
                self.spec.root = RootSpec::Layered(layers);
                self.reply(from, Reply::Done);
            }
            Request::Ledger { reset } => self.keep_ledger(from, reset),
        }
    }

    /// Writes the ledger where zoned reads it: it may be longer than a message.
    fn keep_ledger(&self, from: (u64, u64), reset: bool) {
        if reset {
            self.ledger.reset();
        }
        let reply = match self.ledger.keep(&self.spec.zone_dir) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(self.failed("keep the ledger of", error.to_string())),
        };
        self.reply(from, reply);
    }

    fn show_console(&mut self, from: (u64, u64), fd: Option<OwnedFd>, already: Vec<u8>) {
        let client =
            fd.ok_or(std::io::ErrorKind::InvalidInput.into()).and_then(|fd| Client::new(fd, already));
        let added = client.and_then(|client| Ok((client, self.console.add_viewer()?)));
        match added {
            Err(error) => self.reply(from, Reply::Failed(self.failed("console", error.to_string()))),
            Ok((client, (number, theirs))) => {
                let zone = self.spec.config.name.clone();
                client.tell(&SessionEvent::Started { zone, tty: false }, &[theirs.as_fd()]);
                self.viewers.push(Viewer { client, number });
                self.reply(from, Reply::Done);
            }
        }
    }

    fn serve_viewer(&mut self, number: u64) {
        let Some(viewer) = self.viewers.iter_mut().find(|v| v.number == number) else { return };
        match viewer.client.receive() {
            None => {
                self.viewers.retain(|v| v.number != number);
                self.console.remove_viewer(number);
            }
            Some(inputs) => {
                for input in inputs {
                    if let SessionInput::Resize { rows, columns } = input {
                        self.console.resize(rows, columns);
                    }
                }
            }
        }
    }

    fn serve_session(&mut self, number: u64) {
        let Some((_, session)) = self.sessions.iter_mut().find(|(n, _)| *n == number) else { return };
        serve_program(session, None);
    }

    /// The client of a run: with it the zone goes.
    fn serve_runner(&mut self) {
        let program = self.live.as_ref().and_then(|l| l.program.as_ref());
        let Some(runner) = &mut self.runner else { return };
        serve_program(runner, program.map(AsFd::as_fd));
        if runner.client.is_none() {
            self.end(wire::How::Halted, "its client went away", false);
        }
    }
}

/// Takes in what a program's client sent; a client that is gone is let go.
fn serve_program(session: &mut Session, program: Option<BorrowedFd<'_>>) {
    let Some(client) = &mut session.client else { return };
    let Some(inputs) = client.receive() else {
        session.client = None;
        return;
    };
    let pidfd = match &session.stage {
        Stage::Running(pidfd) => Some(pidfd.as_fd()),
        Stage::Starting(_) | Stage::Held(_) => None,
    };
    for input in inputs {
        if let SessionInput::Signal { signal } = input
            && let Some(pidfd) = program.or(pidfd)
        {
            // A program that is gone is about to be reaped.
            let _ = process::signal(pidfd, i32::from(signal));
        }
    }
}
