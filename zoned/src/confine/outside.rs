//! A root put together outside, by the host's root: where a user namespace cannot mount an overlay (before Linux 5.11),
//! cannot lay one over mounts with mapped ids (before 5.19) or a mount's ids cannot be mapped at all (before 5.12).

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use brands::level::Level;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, fchdir};

use super::root::{self, Layers, RootSpec, Tree};
use super::{Failure, Ids, owners};
use crate::sys::mount;

/// The first kernel that lays an overlay over mounts with mapped ids.
const MAPS_IDS: Level = Level::new(5, 19, 0);

/// Environment that makes a younger kernel do as an older one must, for tests.
const AS_OLD: &str = "ZONED_GIVE_FILES";

/// Whether this kernel can.
pub fn maps_ids() -> bool {
    super::running_level().is_some_and(|host| host >= MAPS_IDS) && std::env::var_os(AS_OLD).is_none()
}

/// Mounts the overlay of `layers` and makes of each bind what the zone is shown of it. Files of the host keep their
/// owners, who are nobody in the zone.
pub fn assemble(
    layers: &mut Layers,
    binds: &mut Vec<Tree>,
    spec: &RootSpec,
    ids: Ids,
) -> Result<(), Failure> {
    in_own_mounts(|| {
        let stage = root::stage(ids)?;
        let fail = |e: Errno| Failure::new("set up", "the stage outside", e);
        if let Some(path) = &layers.veil {
            root::hang(&stage, path, |id| id)?;
        }
        mount::attach(&stage, AT_FDCWD, c".").map_err(fail)?;
        fchdir(&stage).map_err(fail)?;
        for tree in &layers.trees {
            attach(tree, &tree.place)?;
        }
        layers.made = Some(overlay(layers, spec, ids)?);
        layers.trees.clear();
        let mut shown = Vec::with_capacity(binds.len());
        for (i, mut tree) in std::mem::take(binds).into_iter().enumerate() {
            match bind(&tree, i) {
                Ok(fd) => tree.fd = fd,
                Err(failure) if tree.required => return Err(failure),
                Err(_) => continue,
            }
            shown.push(tree);
        }
        *binds = shown;
        Ok(())
    })
}

/// A detached copy of the mount at `path` that cannot be written to.
pub fn read_only(path: &Path) -> Result<OwnedFd, Failure> {
    let fail = |e: Errno| Failure::new("clone the mount of", path.display(), e);
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| fail(Errno::EINVAL))?;
    in_own_mounts(|| {
        // Of what is mounted there in a namespace of our own, which nobody else sees.
        mount::restrict(&name, libc::MS_RDONLY).map_err(fail)?;
        mount::clone_tree(AT_FDCWD, &name, false).map_err(fail)
    })
}

/// Writes those of `sysctls` that limit System V's shared memory in the IPC namespace of process `pid`. The zone's root
/// may not before Linux 5.19, and a guest does without where it does not work.
pub fn limit_shared_memory(pid: Pid, sysctls: &[(&str, &str)]) {
    let wanted: Vec<_> = sysctls.iter().filter(|(path, _)| path.starts_with("kernel/shm")).collect();
    if wanted.is_empty() {
        return;
    }
    let write = || -> std::io::Result<()> {
        setns(File::open(format!("/proc/{pid}/ns/ipc"))?, CloneFlags::CLONE_NEWIPC)?;
        for (path, value) in wanted {
            std::fs::write(format!("/proc/sys/{path}"), value)?;
        }
        Ok(())
    };
    // On a thread, which takes the namespace with it.
    let written = std::thread::scope(|scope| scope.spawn(write).join());
    if let Ok(Err(error)) = written {
        tracing::debug!(%error, "cannot limit a zone's shared memory");
    }
}

/// Runs `work` on a thread with a mount namespace of its own: what it attaches is seen by nobody and goes with it,
/// also when this process is killed. It begins at the working directory.
fn in_own_mounts<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    let run = || {
        let fail = |e: Errno| Failure::new("make", "a mount namespace", e);
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).map_err(fail)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(fail)?;
        work()
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|_| Err(Failure::new("make", "the mounts", std::io::Error::other("it panicked"))))
}

fn attach(tree: &Tree, place: &std::ffi::CStr) -> Result<(), Failure> {
    let flags = [
        (mount::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
        (mount::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
        (mount::MOUNT_ATTR_NODEV, libc::MS_NODEV),
        (mount::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
    ];
    let flags = flags.iter().filter(|(attribute, _)| tree.attributes & attribute != 0);
    let flags = flags.fold(0, |all, (_, flag)| all | flag);
    mount::attach(&tree.fd, AT_FDCWD, place)
        .and_then(|()| mount::restrict(place, flags))
        .map_err(|e| Failure::new("attach the mount of", tree.source.display(), e))
}

fn overlay(layers: &Layers, spec: &RootSpec, ids: Ids) -> Result<OwnedFd, Failure> {
    let fail = |e: Errno| Failure::new("mount", "the overlay outside", e);
    let mut options = layers.options.to_string_lossy().replace(",userxattr", "");
    let is_copy = matches!(spec, RootSpec::Directory(_));
    if is_copy {
        // Owners are copied up without the files (Linux 4.19).
        options += ",metacopy=on";
    }
    // A mount that was made outside may have devices; the zone may not.
    let flags = MsFlags::MS_NODEV;
    mount(Some("overlay"), "root", Some("overlay"), flags, Some(options.as_str())).map_err(fail)?;
    if is_copy {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open("root", flags, rustix::fs::Mode::empty())
            .and_then(|top| owners::give_tree(top, ids.base))
            .map_err(|e| Failure::new("change", "owners in the overlay", e))?;
    }
    mount::clone_tree(AT_FDCWD, c"root", false).map_err(fail)
}

/// What a zone is shown of a bind. A folder that it must not write to is an overlay that has nothing to write to: a
/// mount that is only read-only could be made writable again from inside.
fn bind(tree: &Tree, i: usize) -> Result<OwnedFd, Failure> {
    let fail = |e: Errno| Failure::new("bind", tree.source.display(), e);
    let is_walled = tree.is_walled()?;
    let place = format!("bind{i}");
    let kind = nix::sys::stat::fstat(&tree.fd).map_err(fail)?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFDIR { std::fs::create_dir(&place) } else { std::fs::File::create(&place).map(drop) }
        .map_err(|e| Failure::new("make a place for", tree.source.display(), e))?;
    let name = CString::new(place.as_str()).map_err(|_| fail(Errno::EINVAL))?;
    attach(tree, &name)?;
    if !is_walled {
        return mount::clone_tree(AT_FDCWD, &name, false).map_err(fail);
    }
    let options = format!("lowerdir={},xino=off", tree.walls(&place));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    mount(Some("overlay"), "root", Some("overlay"), flags, Some(options.as_str())).map_err(fail)?;
    mount::clone_tree(AT_FDCWD, c"root", false).map_err(fail)
}
