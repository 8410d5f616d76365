//! A child that carries out a plan. Everything that a process does between clone and exec is a
//! [`Step`] made beforehand; carrying it out allocates nothing and takes no lock, so a parent with
//! threads may spawn it, and a failure names its step.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::{check, mount, scm};

/// A time namespace (linux/sched.h), which the libc crate does not name.
pub const CLONE_NEWTIME: i32 = 0x80;

/// Which of the descriptors that [`Child::release`] sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub usize);

/// Most descriptors that a plan can use: those sent take the lower slots.
pub const SLOTS: usize = 160;

/// One thing that a child does. Paths are looked up in the child as it stands by then.
#[derive(Debug)]
pub enum Step {
    /// Waits for [`Child::release`].
    Receive,
    /// SIGKILL when the thread that spawned the child ends (prctl(2), PR_SET_PDEATHSIG).
    DieWithParent,
    /// setsid(2)
    Session,
    /// Moves the child into a v1 cgroup by its open `tasks` file.
    JoinCgroup(Slot),
    /// unshare(2)
    Unshare(i32),
    /// setns(2) with a pidfd.
    Enter(Slot, i32),
    /// Takes a time namespace with these offsets, and enters it (time_namespaces(7)).
    OwnClocks(Vec<u8>),
    /// A session keyring of its own (keyctl(2)).
    Keyring,
    /// setgroups(2), setresgid(2), setresuid(2).
    Become {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Further groups.
        groups: Vec<u32>,
    },
    /// Changes what the root's mount and those below pass on (MS_PRIVATE and so on).
    Propagation(libc::c_ulong),
    /// Attaches a detached mount to another slot's directory, or by path.
    Attach(Slot, Where),
    /// fchdir(2)
    ChangeDirectory(Slot),
    /// chdir(2)
    ChangeDirectoryTo(CString),
    /// mount(2)
    Mount {
        /// Source.
        source: CString,
        /// Target.
        target: CString,
        /// File system type; empty for none.
        kind: CString,
        /// MS_*
        flags: libc::c_ulong,
        /// Options; empty for none.
        data: CString,
    },
    /// Makes a detached overlay that cannot be written to, and keeps it in a slot.
    Overlay {
        /// `lowerdir=` of the kernel's overlayfs.rst: two folders at least.
        layers: CString,
        /// Where it is kept.
        slot: Slot,
    },
    /// Makes a detached file system without options, its source called as its kind, and keeps it in a slot.
    FileSystem {
        /// Its kind.
        kind: CString,
        /// MOUNT_ATTR_*
        attributes: u64,
        /// Where it is kept.
        slot: Slot,
    },
    /// mkdir(2); an existing directory is fine.
    MakeDirectory(CString, u32),
    /// Makes an empty file unless it exists.
    MakeFile(CString, u32),
    /// symlink(2): target, path. An existing path is fine.
    Link(CString, CString),
    /// Creates or truncates a file and writes it.
    WriteFile(CString, Vec<u8>),
    /// Makes the working directory the root (pivot_root(2)); the old root stays below it.
    PivotRoot,
    /// Lets go of the old root.
    DropOldRoot,
    /// sethostname(2)
    Hostname(Vec<u8>),
    /// setdomainname(2)
    Domainname(Vec<u8>),
    /// Brings the loopback interface up.
    Loopback,
    /// Fails with EOPNOTSUPP where a socket of this process can be bound to all of the host's addresses.
    HeldToAddresses,
    /// prlimit(2) of the child itself.
    Limit {
        /// RLIMIT_*
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// personality(2)
    Personality(u32),
    /// Opens a terminal in /dev/pts and sends its master to the parent.
    Terminal {
        /// Rows and columns; 0 for none.
        size: (u16, u16),
    },
    /// Makes the terminal the standard streams; with `control`, the controlling terminal too.
    TerminalStdio {
        /// TIOCSCTTY
        control: bool,
    },
    /// Gives the file that is standard input to a user (fchown(2)).
    OwnStdio(u32),
    /// Makes three slots the standard streams.
    Stdio(Slot, Slot, Slot),
    /// Default dispositions and an empty mask for all signals.
    DefaultSignals,
    /// Takes every capability that is not in the set out of the bounding set.
    BoundCapabilities(u64),
    /// Installs a filter; with `listen`, sends its listener to the parent.
    Filter {
        /// The program.
        program: Vec<libc::sock_filter>,
        /// SECCOMP_FILTER_FLAG_*
        flags: libc::c_ulong,
        /// Whether there is a listener to send.
        listen: bool,
    },
    /// Forks: the child goes on with the plan, and this process stays as a reaper. With a slot it
    /// sends the child's pidfd, ends when the child does, and writes its wait status there.
    ReapAround(Slot),
    /// Stays as a reaper for ever; SIGTERM ends the others and then it.
    Reap,
    /// execve(2): the first of the programs that exists.
    Exec(Exec),
    /// Tells the parent that the plan is this far.
    TellReady,
    /// Makes the mount at a path read-only.
    ReadOnly(CString),
    /// umount2(2) with MNT_DETACH; what is bound from there elsewhere stays.
    Unmount(CString),
    /// execve(2) as [`Step::Exec`], but goes on with the plan where none of the programs exists.
    ExecIfPresent(Exec),
    /// Takes this program's command line out of sight: start and length of its memory
    /// (arg_start and arg_end of proc_pid_stat(5)).
    HideArguments(usize, usize),
    /// Fails, for tests of what a failure leaves behind.
    Fail,
}

/// Where a mount is attached.
#[derive(Debug)]
pub enum Where {
    /// On a slot's directory itself.
    On(Slot),
    /// At a path.
    At(CString),
}

/// What to execute.
#[derive(Debug)]
pub struct Exec {
    candidates: Vec<CString>,
    _argv: Vec<CString>,
    _envp: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl Exec {
    /// `candidates` are tried in turn while they do not exist.
    pub fn new(candidates: Vec<CString>, argv: Vec<CString>, envp: Vec<CString>) -> Self {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        Self { argv: pointers(&argv), envp: pointers(&envp), candidates, _argv: argv, _envp: envp }
    }
}

/// A step and what to call it.
#[derive(Debug)]
pub struct Planned {
    step: Step,
    name: String,
    optional: bool,
}

/// What a child does, in order.
#[derive(Debug, Default)]
pub struct Plan {
    steps: Vec<Planned>,
    timed: bool,
}

impl Plan {
    /// Adds a step that must succeed.
    pub fn then(&mut self, name: impl Into<String>, step: Step) -> &mut Self {
        self.steps.push(Planned { step, name: name.into(), optional: false });
        self
    }

    /// Adds a step that may fail: a host may lack it, or a guest refuse it.
    pub fn try_then(&mut self, name: impl Into<String>, step: Step) -> &mut Self {
        self.steps.push(Planned { step, name: name.into(), optional: true });
        self
    }

    /// Adds a step that must succeed if it is `required`.
    pub fn add(&mut self, required: bool, name: impl Into<String>, step: Step) -> &mut Self {
        if required { self.then(name, step) } else { self.try_then(name, step) }
    }

    /// Has the child tell when each step was done, up to [`Step::TellReady`] and up to the program.
    pub fn time(&mut self) {
        self.timed = true;
    }

    /// Puts a step that fails before step `at`.
    pub fn fail_at(&mut self, at: usize) {
        let name = format!("made to fail before: {}", self.steps.get(at).map_or("", |s| &s.name));
        self.steps.insert(at.min(self.steps.len()), Planned { step: Step::Fail, name, optional: false });
    }
}

/// What a child tells while it carries out its plan.
#[derive(Debug)]
pub enum Told {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// The listener of its filter.
    Listener(OwnedFd),
    /// The pidfd of the program that it reaps.
    Program(OwnedFd),
    /// A step failed and it has exited.
    Failed {
        /// The step's name.
        step: String,
        /// Why.
        errno: Errno,
    },
    /// It has come to [`Step::TellReady`].
    Ready,
    /// It is about to: the next word is the last.
    Executing,
    /// It is through: exec succeeded, or it reaps.
    Through,
    /// It went away without a word.
    Lost,
}

const TERMINAL: u8 = b't';
const LISTENER: u8 = b'l';
const PROGRAM: u8 = b'p';
const FAILED: u8 = b'f';
const READY: u8 = b'r';
/// Sent before exec or reaping: a channel that ends after it ended well.
const LAST: u8 = b'.';

/// A spawned child. Not reaped on drop.
#[derive(Debug)]
pub struct Child {
    /// The child.
    pub pidfd: OwnedFd,
    /// Its number in our pid namespace, good only while it is not reaped.
    pub pid: Pid,
    channel: OwnedFd,
    names: Vec<String>,
    last: bool,
    times: Vec<u64>,
}

impl Child {
    /// Lets the child's [`Step::Receive`] go on with these as its slots.
    pub fn release(&self, slots: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        scm::send(&self.channel, b"go", slots)?;
        Ok(())
    }

    /// Becomes readable when the child has something to tell.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// The steps that it has told of, in a timed plan, and when each was done: nanoseconds of CLOCK_REALTIME.
    pub fn times(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().map(String::as_str).zip(self.times.iter().copied())
    }

    /// The next thing that it tells; waits for it.
    pub fn hear(&mut self) -> Told {
        let Ok((bytes, mut fds)) = scm::receive(&self.channel, 1 + 8 * MOST_TIMES, MsgFlags::empty()) else {
            return Told::Lost;
        };
        if let Some((&(READY | LAST), times)) = bytes.split_first() {
            let times = times.as_chunks().0.iter().map(|time| u64::from_ne_bytes(*time));
            self.times.extend(times.skip(self.times.len()));
        }
        match (bytes.first(), fds.pop()) {
            (Some(&TERMINAL), Some(fd)) => Told::Terminal(fd),
            (Some(&LISTENER), Some(fd)) => Told::Listener(fd),
            (Some(&PROGRAM), Some(fd)) => Told::Program(fd),
            (Some(&FAILED), _) if bytes.len() == 9 => {
                let word =
                    |i: usize| i32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
                let step = self.names.get(word(1) as usize).cloned().unwrap_or_default();
                Told::Failed { step, errno: Errno::from_raw(word(5)) }
            }
            (Some(&READY), _) => Told::Ready,
            (Some(&LAST), _) => {
                self.last = true;
                Told::Executing
            }
            (None, _) if self.last => Told::Through,
            _ => Told::Lost,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Spawns a child that carries out `plan`, in new namespaces by `flags` (CLONE_NEW*), straight
/// into the v2 cgroup `cgroup` (clone3(2), Linux 5.7).
pub fn spawn(plan: &Plan, flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Child, Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no stack is given and no memory shared, so this is fork: the child runs on a copy of
    // this stack, and does nothing but `Runner::run`, which neither allocates nor locks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        let channel = keep_alone(theirs.as_raw_fd());
        let times = Times { asked: plan.timed, known: 0, at: [0; MOST_TIMES] };
        let mut runner = Runner { channel, slots: [-1; SLOTS], terminal: -1, times };
        runner.run(plan);
    }
    Ok(Child {
        // SAFETY: clone3 has just stored a new descriptor there (CLONE_PIDFD).
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        pid: Pid::from_raw(pid as i32),
        channel: ours,
        names: plan.steps.iter().map(|s| s.name.clone()).collect(),
        last: false,
        times: Vec::new(),
    })
}

/// clone3(2); too wide for the constant of libc.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// One raw system call with integer or pointer arguments.
macro_rules! call {
    ($nr:ident $(, $arg:expr)*) => {
        // SAFETY: pointer arguments point into the plan or to locals, both alive for the call; the
        // kernel checks everything else. Raw calls touch no lock and no heap.
        check(unsafe { libc::syscall(libc::$nr $(, $arg)*) })
    };
}

/// Closes all that the parent has open, but for the standard streams and `channel`, which has another number then.
///
/// With a copy of the parent's end of the channel, the parent's death would not show to the child, and not to zoned with
/// one of its connection to zoned. With one of a device of fuse(4) that the parent serves, a child that waits for its answer
/// would keep the kernel from taking the parent's death for the end of that file system, and could not be killed.
fn keep_alone(channel: RawFd) -> RawFd {
    const LOWEST: RawFd = 3;
    let moved =
        if channel == LOWEST { Ok(()) } else { call!(SYS_dup3, channel, LOWEST, libc::O_CLOEXEC).map(drop) };
    if moved.is_err() {
        return channel;
    }
    let _ = call!(SYS_close_range, LOWEST + 1, u32::MAX, 0);
    LOWEST
}

/// The child's side.
struct Runner {
    channel: RawFd,
    slots: [RawFd; SLOTS],
    terminal: RawFd,
    times: Times,
}

/// Most steps of a plan whose times are told.
const MOST_TIMES: usize = 128;

/// When steps were done.
struct Times {
    asked: bool,
    known: usize,
    at: [u64; MOST_TIMES],
}

type Done = Result<(), Errno>;

/// A null pointer among variadic arguments: an `i32` zero would leave half the register undefined.
const NULL: usize = 0;

impl Runner {
    fn run(&mut self, plan: &Plan) -> ! {
        for (i, planned) in plan.steps.iter().enumerate() {
            if let Err(errno) = self.step(&planned.step)
                && !planned.optional
            {
                let mut message = [FAILED, 0, 0, 0, 0, 0, 0, 0, 0];
                message[1..5].copy_from_slice(&(i as i32).to_ne_bytes());
                message[5..9].copy_from_slice(&(errno as i32).to_ne_bytes());
                let _ = self.tell(&message, None);
                exit(127);
            }
            if self.times.asked && i < MOST_TIMES {
                let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                let _ = call!(SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now);
                self.times.at[i] = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
                self.times.known = i + 1;
            }
        }
        exit(0)
    }

    /// A word, and the times of the steps so far.
    fn tell_times(&self, word: u8) -> Done {
        let mut message = [word; 1 + 8 * MOST_TIMES];
        let (_, times) = message.as_mut_slice().split_at_mut(1);
        for (to, at) in times.as_chunks_mut().0.iter_mut().zip(&self.times.at[..self.times.known]) {
            *to = at.to_ne_bytes();
        }
        self.tell(&message[..1 + 8 * self.times.known], None)
    }

    fn step(&mut self, step: &Step) -> Done {
        match step {
            Step::Receive => self.receive(),
            Step::DieWithParent => call!(SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).map(drop),
            Step::Session => call!(SYS_setsid).map(drop),
            Step::JoinCgroup(slot) => self.write_all(self.slot(*slot), b"0"),
            Step::Unshare(flags) => call!(SYS_unshare, *flags).map(drop),
            Step::Enter(slot, flags) => {
                // Inside, the guest's root may trace whom it can dump (ptrace(2)), and this process is
                // still the host's root with all of the monitor's descriptors. exec undoes it.
                undumpable()?;
                call!(SYS_setns, self.slot(*slot), *flags).map(drop)
            }
            Step::OwnClocks(offsets) => self.own_clocks(offsets),
            Step::Keyring => {
                const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
                call!(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0).map(drop)
            }
            Step::Become { uid, gid, groups } => {
                call!(SYS_setgroups, groups.len(), groups.as_ptr())?;
                call!(SYS_setresgid, *gid, *gid, *gid)?;
                call!(SYS_setresuid, *uid, *uid, *uid)?;
                // The kernel has just made it what fs.suid_dumpable says (proc_sys_fs(5)).
                undumpable()
            }
            Step::Propagation(flags) => mount(c"none", c"/", c"", flags | libc::MS_REC, c""),
            Step::Attach(slot, place) => self.attach(*slot, place),
            Step::ChangeDirectory(slot) => call!(SYS_fchdir, self.slot(*slot)).map(drop),
            Step::ChangeDirectoryTo(path) => call!(SYS_chdir, path.as_ptr()).map(drop),
            Step::Mount { source, target, kind, flags, data } => mount(source, target, kind, *flags, data),
            Step::Overlay { layers, slot } => {
                let options = [(c"lowerdir", layers.as_c_str()), (c"xino", c"off")];
                let attributes =
                    mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_RDONLY;
                self.keep(mount::make(c"overlay", &options, attributes)?, *slot);
                Ok(())
            }
            Step::FileSystem { kind, attributes, slot } => {
                self.keep(mount::make(kind, &[(c"source", kind)], *attributes)?, *slot);
                Ok(())
            }
            Step::MakeDirectory(path, mode) => {
                ignore(call!(SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), *mode), Errno::EEXIST)
            }
            Step::MakeFile(path, mode) => {
                let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
                match call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, *mode) {
                    Ok(fd) => call!(SYS_close, fd).map(drop),
                    other => ignore(other, Errno::EEXIST),
                }
            }
            Step::Link(target, path) => {
                ignore(call!(SYS_symlinkat, target.as_ptr(), libc::AT_FDCWD, path.as_ptr()), Errno::EEXIST)
            }
            Step::WriteFile(path, bytes) => {
                // A guest may have put a pipe there, at which nobody reads (fifo(7)).
                let flags =
                    libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
                let fd = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o644)? as RawFd;
                let written = self.write_all(fd, bytes);
                call!(SYS_close, fd)?;
                written
            }
            Step::PivotRoot => call!(SYS_pivot_root, c".".as_ptr(), c".".as_ptr()).map(drop),
            Step::DropOldRoot => {
                // The old root lies over the new one at "/.", where the working directory is.
                mount(c"none", c".", c"", libc::MS_REC | libc::MS_SLAVE, c"")?;
                call!(SYS_umount2, c".".as_ptr(), libc::MNT_DETACH)?;
                call!(SYS_chdir, c"/".as_ptr()).map(drop)
            }
            Step::Hostname(name) => call!(SYS_sethostname, name.as_ptr(), name.len()).map(drop),
            Step::Domainname(name) => call!(SYS_setdomainname, name.as_ptr(), name.len()).map(drop),
            Step::Loopback => loopback(),
            Step::HeldToAddresses => held_to_addresses(),
            Step::Limit { resource, soft, hard } => {
                let limit = [*soft, *hard];
                call!(SYS_prlimit64, 0, *resource, limit.as_ptr(), NULL).map(drop)
            }
            Step::Personality(persona) => call!(SYS_personality, u64::from(*persona)).map(drop),
            Step::Terminal { size } => self.open_terminal(*size),
            Step::TerminalStdio { control } => {
                if *control {
                    call!(SYS_ioctl, self.terminal, libc::TIOCSCTTY, 0)?;
                }
                self.stdio([self.terminal; 3])
            }
            Step::OwnStdio(user) => call!(SYS_fchown, 0, *user, -1).map(drop),
            Step::Stdio(a, b, c) => self.stdio([self.slot(*a), self.slot(*b), self.slot(*c)]),
            Step::DefaultSignals => default_signals(),
            Step::BoundCapabilities(keep) => {
                for capability in 0..64u64 {
                    if keep >> capability & 1 == 0 {
                        match call!(SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0) {
                            // Past the last capability that this kernel knows.
                            Err(Errno::EINVAL) => break,
                            other => other?,
                        };
                    }
                }
                Ok(())
            }
            Step::Filter { program, flags, listen } => self.filter(program, *flags, *listen),
            Step::ReapAround(status) => self.reap_around(*status),
            Step::Reap => {
                // As in `exec`.
                self.tell(&[LAST], None)?;
                call!(SYS_close_range, 3, u32::MAX, 0)?;
                reap_for_ever()
            }
            Step::Exec(exec) => self.exec(exec),
            Step::TellReady => self.tell_times(READY),
            Step::ReadOnly(path) => mount::restrict(path, libc::MS_RDONLY),
            Step::Unmount(path) => call!(SYS_umount2, path.as_ptr(), libc::MNT_DETACH).map(drop),
            Step::ExecIfPresent(exec) => match self.exec(exec) {
                Err(Errno::ENOENT) => Ok(()),
                other => other,
            },
            Step::HideArguments(start, len) => {
                let name = c"zsched".to_bytes();
                if *len < name.len() {
                    return Ok(());
                }
                // SAFETY: the kernel put the arguments of this process there at exec, and the
                // child's copy of that memory is written by nobody else.
                let arguments = unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, *len) };
                arguments.fill(0);
                arguments[..name.len()].copy_from_slice(name);
                Ok(())
            }
            Step::Fail => Err(Errno::ECANCELED),
        }
    }

    fn slot(&self, slot: Slot) -> RawFd {
        self.slots.get(slot.0).copied().unwrap_or(-1)
    }

    fn keep(&mut self, made: OwnedFd, slot: Slot) {
        if let Some(kept) = self.slots.get_mut(slot.0) {
            *kept = made.into_raw_fd();
        }
    }

    fn receive(&mut self) -> Done {
        let mut byte = [0u8; 8];
        let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
        let mut control = [0u64; SLOTS / 2 + 4];
        // SAFETY: msghdr is plain integers and pointers, for which all zero bytes are valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        if call!(SYS_recvmsg, self.channel, &raw mut message, libc::MSG_CMSG_CLOEXEC)? == 0 {
            return Err(Errno::EPIPE);
        }
        // The one control message is a cmsghdr of 16 bytes and then the descriptors, two a word.
        let header = size_of::<libc::cmsghdr>();
        let count = message.msg_controllen.saturating_sub(header) / size_of::<RawFd>();
        let count = count.min((control[0] as usize).saturating_sub(header) / size_of::<RawFd>());
        for i in 0..count.min(SLOTS) {
            let word = control[header / 8 + i / 2];
            self.slots[i] = (word >> (32 * (i % 2))) as u32 as RawFd;
        }
        Ok(())
    }

    fn tell(&self, bytes: &[u8], fd: Option<RawFd>) -> Done {
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // cmsg_len 20, SOL_SOCKET, SCM_RIGHTS, one descriptor: the layout of CMSG_SPACE(4).
        let mut control = [20u64, (libc::SCM_RIGHTS as u64) << 32 | libc::SOL_SOCKET as u64, 0];
        // SAFETY: msghdr is plain integers and pointers, for which all zero bytes are valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            control[2] = fd as u32 as u64;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = 24;
        }
        call!(SYS_sendmsg, self.channel, &raw const message, libc::MSG_NOSIGNAL).map(drop)
    }

    fn write_all(&self, fd: RawFd, mut bytes: &[u8]) -> Done {
        while !bytes.is_empty() {
            let done = call!(SYS_write, fd, bytes.as_ptr(), bytes.len())? as usize;
            bytes = bytes.get(done..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn attach(&self, slot: Slot, place: &Where) -> Done {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        let (dir, path) = match place {
            Where::On(dir) => (self.slot(*dir), c""),
            Where::At(path) => (libc::AT_FDCWD, path.as_c_str()),
        };
        call!(SYS_move_mount, self.slot(slot), c"".as_ptr(), dir, path.as_ptr(), flags).map(drop)
    }

    fn open_terminal(&mut self, size: (u16, u16)) -> Done {
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let master = call!(SYS_openat, libc::AT_FDCWD, c"/dev/pts/ptmx".as_ptr(), flags)? as RawFd;
        let unlock = 0;
        call!(SYS_ioctl, master, libc::TIOCSPTLCK, &raw const unlock)?;
        if size != (0, 0) {
            let size = libc::winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
            call!(SYS_ioctl, master, libc::TIOCSWINSZ, &raw const size)?;
        }
        self.terminal = call!(SYS_ioctl, master, libc::TIOCGPTPEER, flags)? as RawFd;
        self.tell(&[TERMINAL], Some(master))?;
        call!(SYS_close, master).map(drop)
    }

    fn stdio(&self, fds: [RawFd; 3]) -> Done {
        // A source among 0..=2 would be overwritten by an earlier target: all are moved up first.
        let mut high = [0; 3];
        for (to, from) in high.iter_mut().zip(fds) {
            *to = call!(SYS_fcntl, from, libc::F_DUPFD_CLOEXEC, 3)? as RawFd;
        }
        for (to, from) in high.iter().enumerate() {
            call!(SYS_dup3, *from, to, 0)?;
        }
        Ok(())
    }

    fn filter(&self, program: &[libc::sock_filter], flags: libc::c_ulong, listen: bool) -> Done {
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        let fd = call!(SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)? as RawFd;
        if listen {
            self.tell(&[LISTENER], Some(fd))?;
            call!(SYS_close, fd)?;
        }
        Ok(())
    }

    fn own_clocks(&self, offsets: &[u8]) -> Done {
        let open = |path: &CStr, flags: i32| {
            call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0).map(|fd| fd as RawFd)
        };
        call!(SYS_unshare, CLONE_NEWTIME)?;
        // A process that cannot be dumped does not own its files in /proc (proc(5)). Nothing of the guest's runs yet.
        dumpable()?;
        let told = open(c"/proc/self/timens_offsets", libc::O_WRONLY).and_then(|fd| {
            let written = self.write_all(fd, offsets);
            call!(SYS_close, fd)?;
            written
        });
        // So far it is only for children; none may be in it when its offsets are set.
        let entered =
            told.and_then(|()| open(c"/proc/self/ns/time_for_children", libc::O_RDONLY)).and_then(|fd| {
                let entered = call!(SYS_setns, fd, CLONE_NEWTIME).map(drop);
                call!(SYS_close, fd)?;
                entered
            });
        undumpable()?;
        entered
    }

    fn reap_around(&mut self, status: Slot) -> Done {
        let mut pidfd: RawFd = -1;
        let mut args = CloneArgs {
            flags: libc::CLONE_PIDFD as u64,
            pidfd: &raw mut pidfd as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..CloneArgs::default()
        };
        let child = call!(SYS_clone3, &raw mut args, size_of::<CloneArgs>())?;
        if child == 0 {
            call!(SYS_setsid)?;
            return Ok(());
        }
        self.tell(&[PROGRAM], Some(pidfd))?;
        call!(SYS_dup3, self.slot(status), 3, libc::O_CLOEXEC)?;
        call!(SYS_close_range, 4, u32::MAX, 0)?;
        for fd in 0..3 {
            call!(SYS_close, fd)?;
        }
        name_self(c"zsched");
        loop {
            let mut code = 0i32;
            match call!(SYS_wait4, -1, &raw mut code, 0, NULL) {
                Ok(pid) if pid == child => {
                    let _ = self.write_all(3, &code.to_ne_bytes());
                    exit(0);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => exit(0),
            }
        }
    }

    fn exec(&self, exec: &Exec) -> Done {
        // Everything but the standard streams is closed by exec; the channel's end tells the
        // parent that it worked.
        const CLOSE_RANGE_CLOEXEC: u32 = 4;
        match call!(SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC) {
            // The flag is of Linux 5.11. Those that came to this child are among the first; the parent's own were
            // opened so.
            Err(Errno::EINVAL) => {
                for fd in 3..1024 {
                    ignore(call!(SYS_fcntl, fd, libc::F_SETFD, libc::FD_CLOEXEC), Errno::EBADF)?;
                }
            }
            other => drop(other?),
        }
        // A parent that died before DieWithParent shows here.
        self.tell_times(LAST)?;
        let mut last = Errno::ENOENT;
        for path in &exec.candidates {
            let failed = call!(SYS_execve, path.as_ptr(), exec.argv.as_ptr(), exec.envp.as_ptr());
            match failed {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno @ Errno::EACCES) => last = errno,
                Err(errno) => return Err(errno),
                Ok(_) => {}
            }
        }
        Err(last)
    }
}

fn exit(status: i32) -> ! {
    loop {
        let _ = call!(SYS_exit_group, status);
    }
}

fn ignore(result: Result<libc::c_long, Errno>, harmless: Errno) -> Done {
    match result {
        Err(e) if e != harmless => Err(e),
        _ => Ok(()),
    }
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> Done {
    call!(SYS_mount, source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr()).map(drop)
}

fn dumpable() -> Done {
    call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0).map(drop)
}

fn undumpable() -> Done {
    call!(SYS_prctl, libc::PR_SET_DUMPABLE, 0, 0, 0, 0).map(drop)
}

fn name_self(name: &CStr) {
    let _ = call!(SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0);
}

fn loopback() -> Done {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    call!(SYS_ioctl, socket, libc::SIOCGIFFLAGS, &raw mut request)?;
    request.flags |= libc::IFF_UP as libc::c_short;
    call!(SYS_ioctl, socket, libc::SIOCSIFFLAGS, &raw mut request)?;
    call!(SYS_close, socket).map(drop)
}

fn held_to_addresses() -> Done {
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    // struct sockaddr_in: the family, port 0, 0.0.0.0.
    let mut address = [u64::from(libc::AF_INET as u16), 0];
    let mut length = size_of_val(&address) as libc::socklen_t;
    call!(SYS_bind, socket, address.as_ptr(), length)?;
    call!(SYS_getsockname, socket, address.as_mut_ptr(), &raw mut length)?;
    call!(SYS_close, socket)?;
    if address[0] >> 32 == 0 { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

fn default_signals() -> Done {
    // struct sigaction of the kernel: handler, flags, restorer, mask; all zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let _ = call!(SYS_rt_sigaction, signal, default.as_ptr(), NULL, 8);
    }
    let none = 0u64;
    call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, NULL, 8).map(drop)
}

/// Process 1 of a zone without an init of its own.
fn reap_for_ever() -> ! {
    name_self(c"zsched");
    let wanted = 1u64 << (libc::SIGCHLD - 1) | 1 << (libc::SIGTERM - 1);
    let _ = call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const wanted, NULL, 8);
    let mut ending = false;
    loop {
        match call!(SYS_rt_sigtimedwait, &raw const wanted, NULL, NULL, 8) {
            Ok(signal) if signal as i32 == libc::SIGTERM => {
                ending = true;
                let _ = call!(SYS_kill, -1, libc::SIGTERM);
                let _ = call!(SYS_kill, -1, libc::SIGCONT);
            }
            _ => {}
        }
        loop {
            match call!(SYS_wait4, -1, NULL, libc::WNOHANG, NULL) {
                Ok(0) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) if ending => exit(0),
                Err(_) => break,
            }
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
