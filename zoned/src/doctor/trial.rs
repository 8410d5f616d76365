//! What a zone's boot asks of the kernel, tried by processes that are gone at once.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use zone_api::{Finding, Verdict};

use super::{finding, ok_or};
use crate::confine::{Ids, wait_readable};
use crate::sys::child::{self, Child, Plan, Step, Told};
use crate::sys::notify::{Listener, Response};
use crate::sys::{mount, process};

/// What did not go, and why.
type Tried = Result<(), (String, Errno)>;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn examine(root: &Path, ids: Ids) -> Vec<Finding> {
    let own = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
    let all = own | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;
    let nothing: fn(&mut Plan) = |_| {};
    let lines = [
        (
            "namespaces of a zone",
            Verdict::Fatal,
            inside(all, ids, nothing),
            "a zone's own ids, processes, mounts, name and network: raise user.max_user_namespaces and its like, and run zoned outside of sandboxes that forbid them",
        ),
        (
            "proc and sysfs of a zone",
            Verdict::Fatal,
            inside(all, ids, views),
            "a user namespace may mount them only while nothing of its parent's is covered: run zoned outside of containers that mask /proc",
        ),
        (
            "overlay in a user namespace",
            Verdict::Missing,
            inside(all, ids, overlay),
            "a zone mounts its own root, and may remount it; without it the host mounts it: Linux 5.11, modprobe overlay",
        ),
        (
            "idmapped mounts of --root",
            Verdict::Missing,
            idmap(root, ids),
            "files of a zone then keep their own ids on disk; without it the zone's ids own them: put --root on ext4, xfs or btrfs",
        ),
        (
            "answers to system calls",
            Verdict::Missing,
            notified(ids),
            "brands answer calls, let the kernel perform them and give descriptors: CONFIG_SECCOMP_FILTER, Linux 5.14, and no sandbox that forbids seccomp; without it only the brand native works",
        ),
        (
            "segments of a process",
            Verdict::Missing,
            process::segments().map_err(|errno| ("modify_ldt".to_owned(), errno)),
            "threads of 32-bit programs from before NPTL, and Wine, use modify_ldt(2): CONFIG_MODIFY_LDT_SYSCALL",
        ),
    ];
    lines
        .into_iter()
        .map(|(what, otherwise, tried, why)| {
            let found = match &tried {
                Ok(()) => "tried, and goes".to_owned(),
                Err((step, errno)) => format!("{step}: {}", errno.desc().to_lowercase()),
            };
            finding(what, ok_or(tried.is_ok(), otherwise), found, why)
        })
        .collect()
}

fn failed(step: &str) -> impl Fn(io::Error) -> (String, Errno) + '_ {
    move |error| (step.to_owned(), Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Has root of a new user namespace carry out what `fill` adds.
fn inside(namespaces: i32, ids: Ids, fill: impl FnOnce(&mut Plan)) -> Tried {
    with_child(namespaces, ids, fill, to_the_end)
}

fn with_child(
    namespaces: i32,
    ids: Ids,
    fill: impl FnOnce(&mut Plan),
    work: impl FnOnce(&mut Child) -> Tried,
) -> Tried {
    let mut plan = Plan::default();
    plan.then("wait for the ids", Step::Receive)
        .then("become root of the zone", Step::Become { uid: 0, gid: 0, groups: vec![0] })
        .then("tie its life to ours", Step::DieWithParent);
    fill(&mut plan);
    plan.then("tell that it is through", Step::TellReady).then("wait for its end", Step::Receive);
    let mut child = child::spawn(&plan, namespaces, None).map_err(|errno| ("clone3".to_owned(), errno))?;
    let tried = map(&child, ids).and_then(|()| work(&mut child));
    // ESRCH: it is gone already.
    let _ = process::signal(child.pidfd.as_fd(), libc::SIGKILL);
    process::reap_within(child.pidfd.as_fd(), PATIENCE);
    tried
}

fn map(child: &Child, ids: Ids) -> Tried {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", child.pid);
        fs::write(path, ids.map()).map_err(failed(&format!("write {file}")))?;
    }
    child.release(&[]).map_err(|errno| ("release".to_owned(), errno))
}

fn to_the_end(child: &mut Child) -> Tried {
    match child.hear() {
        Told::Ready => Ok(()),
        Told::Failed { step, errno } => Err((step, errno)),
        _ => Err(("it was killed".to_owned(), Errno::ECHILD)),
    }
}

fn mounted(plan: &mut Plan, kind: &str, target: &str, data: &str) {
    let text = |text: &str| std::ffi::CString::new(text).unwrap_or_default();
    let step = Step::Mount {
        source: text(kind),
        target: text(target),
        kind: text(kind),
        flags: libc::MS_NOSUID | libc::MS_NODEV,
        data: text(data),
    };
    plan.then(format!("mount {kind}"), step);
}

/// Over the host's, in a mount namespace that ends with the process.
fn views(plan: &mut Plan) {
    plan.then("keep its mounts to itself", Step::Propagation(libc::MS_PRIVATE));
    mounted(plan, "proc", "/proc", "");
    mounted(plan, "sysfs", "/sys", "");
}

fn overlay(plan: &mut Plan) {
    plan.then("keep its mounts to itself", Step::Propagation(libc::MS_PRIVATE));
    mounted(plan, "tmpfs", "/proc", "size=64k");
    for folder in [c"/proc/lower", c"/proc/upper", c"/proc/work", c"/proc/root"] {
        plan.then("make a folder", Step::MakeDirectory(folder.to_owned(), 0o755));
    }
    let data = "lowerdir=/proc/lower,upperdir=/proc/upper,workdir=/proc/work,userxattr";
    mounted(plan, "overlay", "/proc/root", data);
    plan.then("write to the overlay", Step::WriteFile(c"/proc/root/file".to_owned(), b"text".to_vec()));
}

fn idmap(root: &Path, ids: Ids) -> Tried {
    let at = |step: &'static str| move |errno| (step.to_owned(), errno);
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
    let folder =
        nix::fcntl::open(root, flags, nix::sys::stat::Mode::empty()).map_err(at("open the folder"))?;
    let tree = mount::clone_tree(folder.as_fd(), c"", false).map_err(at("open_tree"))?;
    with_child(
        libc::CLONE_NEWUSER,
        ids,
        |_| {},
        |child| {
            to_the_end(child)?;
            let space =
                File::open(format!("/proc/{}/ns/user", child.pid)).map_err(failed("open the namespace"))?;
            mount::set_attributes(&tree, 0, Some(space.as_fd()), false).map_err(at("mount_setattr"))
        },
    )
}

/// A filter that notifies sethostname(2).
fn filter() -> Vec<libc::sock_filter> {
    let instruction = |code: u32, k: u32, jf| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_sethostname as u32, 1),
        instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0),
        instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ]
}

/// A child sets its host name three times: it is answered, left to the kernel, and given a descriptor.
fn notified(ids: Ids) -> Tried {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fill = |plan: &mut Plan| {
        plan.then("install a filter", Step::Filter { program: filter(), flags, listen: true });
        for how in ["have it answered", "have the kernel perform it", "get a descriptor"] {
            plan.then(how, Step::Hostname(b"trial".to_vec()));
        }
    };
    with_child(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS, ids, fill, |child| {
        let listener = match child.hear() {
            Told::Listener(fd) => Listener::new(fd),
            Told::Failed { step, errno } => return Err((step, errno)),
            _ => return Err(("it was killed".to_owned(), Errno::ECHILD)),
        };
        let gift = File::open("/dev/null").map_err(failed("open /dev/null"))?;
        answer(&listener, |id| listener.respond(id, Response::Value(0)))?;
        answer(&listener, |id| listener.respond(id, Response::Continue))?;
        answer(&listener, |id| listener.respond_with_fd(id, gift.as_fd(), true))?;
        to_the_end(child)
    })
}

fn answer(listener: &Listener, how: impl FnOnce(u64) -> Result<(), Errno>) -> Tried {
    let listening: BorrowedFd<'_> = listener.as_fd();
    if !wait_readable(listening, PATIENCE) {
        return Err(("wait for a call".to_owned(), Errno::ETIMEDOUT));
    }
    let call = listener.receive().map_err(|errno| ("receive a call".to_owned(), errno))?;
    how(call.id).map_err(|errno| ("answer a call".to_owned(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_is_named_with_its_reason() {
        let ids = Ids { base: 0x4200_0000 };
        let tried = inside(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, ids, |plan| {
            mounted(plan, "no-such-kind", "/proc", "");
        });
        assert_eq!(tried, Err(("mount no-such-kind".to_owned(), Errno::ENODEV)));
    }

    #[test]
    fn a_file_system_that_maps_no_ids_is_told_from_one_that_does() {
        let ids = Ids { base: 0x4200_0000 };
        // FS_ALLOW_IDMAP of linux/fs.h: proc has it not.
        assert_eq!(idmap(Path::new("/proc"), ids), Err(("mount_setattr".to_owned(), Errno::EINVAL)));
    }

    #[test]
    fn proc_is_refused_where_it_is_covered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cover");
        fs::write(&file, "").unwrap();
        let covered = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::mount::mount(none, "/", none, private, none).unwrap();
            let bind = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&file), "/proc/version", none, bind, none).unwrap();
            inside(
                libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID,
                Ids { base: 0x4200_0000 },
                views,
            )
        });
        assert_eq!(covered.join().unwrap(), Err(("mount proc".to_owned(), Errno::EPERM)));
    }
}
