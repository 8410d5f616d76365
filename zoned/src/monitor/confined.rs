//! What a thread of the monitor may do that takes in what a guest brings: a filter of its own calls, made by
//! `seccompiler`, and few capabilities. Why by thread, and what a call beyond it meets, is told in
//! docs/decisions/0041-threads-that-hear-guests.md.

use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use libc::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::confine::Failure;
use crate::sys::{credentials, files, memory, notify};

/// What a thread is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It answers notified calls; the threads that it makes go where the guest is.
    Calls,
    /// It serves files of /proc.
    Files,
}

/// What every thread does: memory, locks, clocks, its own end, a line of the log.
const EVERY: &[i64] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrandom,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_getdents64,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_getcwd,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
    // glibc asks for its flags in memory, where a filter does not look: it is told that there is none, and takes clone.
    libc::SYS_clone3,
];

/// What answers take beyond that.
const CALLS: &[i64] = &[
    // A guest's memory, descriptors and tasks.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pwrite64,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_waitid,
    // Files, by a guest's rights and where it sees them.
    libc::SYS_openat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_chroot,
    libc::SYS_fchdir,
    libc::SYS_memfd_create,
    libc::SYS_copy_file_range,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_umount2,
    // Who it is meanwhile.
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    // What is told of the host.
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_modify_ldt,
];

/// Capabilities that are kept, by their numbers in linux/capability.h: those by which files are met as root meets them and nodes
/// are made, those to become who owns a zone and to meet files as the guest does, those to enter namespaces, and the
/// one that looks into any process, which is permitted and not effective.
const KEPT: &[u32] = &[
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    2,  // DAC_READ_SEARCH
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    18, // SYS_CHROOT
    19, // SYS_PTRACE
    21, // SYS_ADMIN
    27, // MKNOD
];

/// A call beyond what is allowed. In a build with debug assertions the monitor dies of it, so that none is overlooked; else
/// the call fails, and with it at most the answer to one guest, and the kernel's log has a line of it.
const BEYOND: SeccompAction = if cfg!(all(debug_assertions, not(test))) {
    SeccompAction::KillProcess
} else {
    SeccompAction::Errno(libc::EPERM as u32)
};

/// The programs of a role: one for the call that is said to be none, and one for all that are allowed.
type Programs = Result<[Vec<sock_filter>; 2], String>;

static OF_CALLS: LazyLock<Programs> = LazyLock::new(|| programs(Role::Calls));
static OF_FILES: LazyLock<Programs> = LazyLock::new(|| programs(Role::Files));

fn programs(role: Role) -> Programs {
    let condition = |at, op, value| {
        SeccompCondition::new(at, SeccompCmpArgLen::Dword, op, value).map_err(|e| e.to_string())
    };
    let rule = |conditions| SeccompRule::new(conditions).map_err(|e| e.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = EVERY.iter().map(|nr| (*nr, Vec::new())).collect();
    // A thread, and no process.
    let thread = u64::from((libc::CLONE_VM | libc::CLONE_THREAD) as u32);
    rules.insert(libc::SYS_clone, vec![rule(vec![condition(0, SeccompCmpOp::MaskedEq(thread), thread)?])?]);
    let named = [libc::PR_SET_NAME, libc::PR_SET_VMA].into_iter();
    let named = named.map(|what| rule(vec![condition(0, SeccompCmpOp::Eq, what as u64)?]));
    rules.insert(libc::SYS_prctl, named.collect::<Result<_, _>>()?);
    // No code is made.
    let executable = libc::PROT_EXEC as u64;
    for nr in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(nr, vec![rule(vec![condition(2, SeccompCmpOp::MaskedEq(executable), 0)?])?]);
    }
    if role == Role::Calls {
        rules.extend(CALLS.iter().map(|nr| (*nr, Vec::new())));
        let asked = notify::REQUESTS.into_iter().chain([memory::QUERY]);
        let asked = asked.map(|request| rule(vec![condition(1, SeccompCmpOp::Eq, request)?]));
        rules.insert(libc::SYS_ioctl, asked.collect::<Result<_, _>>()?);
        // To leave what a mount tells others of; nothing is mounted by it.
        let slave = u64::from((libc::MS_REC | libc::MS_SLAVE) as u32);
        rules.insert(libc::SYS_mount, vec![rule(vec![condition(3, SeccompCmpOp::Eq, slave)?])?]);
    }
    let arch = TargetArch::x86_64;
    let compile = |rules, otherwise, then| -> Result<Vec<sock_filter>, String> {
        let filter = SeccompFilter::new(rules, otherwise, then, arch).map_err(|e| e.to_string())?;
        let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
        let program = program.iter().map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k });
        Ok(first(role).into_iter().chain(program).collect())
    };
    let lacking = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        compile(lacking, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        // The last, since it lets no other be set.
        compile(rules, BEYOND, SeccompAction::Allow)?,
    ])
}

/// What stands before a program of `seccompiler`, to which a call of another ABI is the end of the process: what a tracer
/// skipped goes on to be skipped, and of i386 those who answer calls list folders ([`files::list_as_i386`]).
fn first(role: Role) -> [sock_filter; 8] {
    const SKIPPED: u32 = u32::MAX;
    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    // struct seccomp_data
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    let load =
        |at| sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at };
    let if_is =
        |k, jt, jf| sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k };
    let answer = |action: SeccompAction| sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: action.into(),
    };
    let listing = if role == Role::Calls { 1 } else { 0 };
    [
        load(NR),
        if_is(SKIPPED, 5, 0),
        load(ARCH),
        if_is(AUDIT_ARCH_I386, 0, 4),
        load(NR),
        if_is(files::I386_GETDENTS64, listing, 0),
        answer(BEYOND),
        answer(SeccompAction::Allow),
    ]
}

/// Makes the programs, so that no thread of a zone has to.
pub(super) fn prepare() {
    LazyLock::force(&OF_CALLS);
    LazyLock::force(&OF_FILES);
}

/// Has the calling thread be of the zone's owner ([`credentials::become_owner`]): a number that a guest brings stands for no process
/// but the zone's from then on.
pub(super) fn become_owner(owner: u32) -> Result<(), Failure> {
    credentials::become_owner(owner).map_err(|e| Failure::new("become", "the zone's owner", e))
}

/// Leaves the calling thread, and those that it makes, the capabilities and calls that its role takes. To be called once, by
/// a thread that has become who it is to be.
pub(super) fn confine(role: Role) -> Result<(), Failure> {
    drop_capabilities(role)?;
    let programs = match role {
        Role::Calls => &*OF_CALLS,
        Role::Files => &*OF_FILES,
    };
    let fail = |source| Failure::new("confine", "a thread", source);
    let [lacking, allowed] = programs.as_ref().map_err(|why| fail(io::Error::other(why.clone())))?;
    for (program, is_logged) in [(lacking, false), (allowed, true)] {
        notify::filter_thread(program, is_logged).map_err(|e| fail(e.into()))?;
    }
    Ok(())
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that answers calls, or makes those who do. A monitor's spare has it, confined, before there is a zone: to set its
/// filters takes about as long as to make a process.
#[derive(Debug)]
pub struct Worker(Option<Sender<Job>>);

impl Worker {
    /// Where it cannot be made now, it is when there is something to do. To be called by a thread that is not confined.
    pub(super) fn ahead() -> Self {
        Self(Self::begin().ok())
    }

    fn begin() -> io::Result<Sender<Job>> {
        let (jobs, given) = mpsc::channel::<Job>();
        let work = move || match super::trace::confine() {
            Ok(()) => given.into_iter().for_each(|job| job()),
            Err(failure) => tracing::error!(why = failure.sentence(), "nobody answers the zone's calls"),
        };
        thread::Builder::new().name("brand".to_owned()).stack_size(256 * 1024).spawn(work)?;
        Ok(jobs)
    }

    /// Has it do something, when it has done what it was given before.
    pub(super) fn run(&mut self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.0 = Some(self.give(job)?);
        Ok(())
    }

    /// Has it do something, and then end. What is to be done later is another's, so that none waits where nothing ever is.
    pub(super) fn run_last(&mut self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.give(job).map(drop)
    }

    fn give(&mut self, job: impl FnOnce() + Send + 'static) -> io::Result<Sender<Job>> {
        let jobs = self.0.take().map_or_else(Self::begin, Ok)?;
        // One that could not be confined is no more.
        jobs.send(Box::new(job)).map_err(|_| io::Error::other("a thread could not be confined"))?;
        Ok(jobs)
    }
}

/// Leaves them the capabilities alone.
pub(super) fn drop_capabilities(role: Role) -> Result<(), Failure> {
    let kept = match role {
        Role::Calls => KEPT.iter().fold(0, |set, capability| set | 1 << capability),
        Role::Files => 0,
    };
    credentials::keep(kept).map_err(|e| Failure::new("drop", "capabilities of a thread", e))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::process;

    /// On a thread of its own, which stays as it is then.
    fn confined<T: Send>(role: Role, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            confine(role).map_err(|failure| failure.sentence()).expect("it is confined");
            work()
        };
        thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"))
    }

    fn status(key: &str) -> String {
        let text = fs::read_to_string("/proc/thread-self/status").expect("its status");
        process::status_field(&text, key).expect("it is there").trim().to_owned()
    }

    #[test]
    fn who_answers_calls_has_few() {
        confined(Role::Calls, || {
            assert_eq!(status("Seccomp:"), "2");
            assert_eq!(status("NoNewPrivs:"), "1");
            assert_eq!(status("CapPrm:"), "00000000082c00ff");
            assert_eq!(status("CapBnd:"), "00000000082c00ff");
            let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None);
            assert_eq!(made.err(), Some(Errno::EPERM));
            let started = Command::new("true").status();
            assert_eq!(started.map_err(|e| e.raw_os_error()).err(), Some(Some(libc::EPERM)));
            let renamed = fs::rename("/nothing", "/nothing-else");
            assert_eq!(renamed.map_err(|e| e.raw_os_error()).err(), Some(Some(libc::EPERM)));
            // It may make threads, which are as it is.
            let made = thread::spawn(|| status("Seccomp:"));
            assert_eq!(made.join().expect("it does not panic"), "2");
            let own = process::open(Pid::this()).expect("a pidfd");
            assert_eq!(process::signal(own.as_fd(), 0), Ok(()));
            // Of another ABI it may do this, and no more.
            let folder = fs::File::open("/proc/self").expect("a folder");
            assert!(files::list_as_i386(folder.as_fd(), 4096).is_ok_and(|listed| !listed.is_empty()));
        });
        assert_eq!(status("Seccomp:"), "0", "the others are as before");
    }

    #[test]
    fn who_serves_files_has_fewer() {
        confined(Role::Files, || {
            assert_eq!(status("Seccomp:"), "2");
            assert_eq!(status("CapPrm:"), "0000000000000000");
            assert_eq!(process::open(Pid::this()).err(), Some(Errno::EPERM));
            assert!(fs::read_to_string("/proc/meminfo").expect("it may be read").contains("MemTotal"));
        });
    }
}
