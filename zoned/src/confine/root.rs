//! What a zone's root is made of: detached mounts with their ids mapped, handed to the child, which
//! puts an overlay over them inside the zone's own user namespace.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{OFlags, XattrFlags};
use serde::{Deserialize, Serialize};

use super::boot::c_string;
use super::{Failure, Ids, mounts};
use crate::storage::backend;
use crate::sys::mount;

/// Where a zone's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSpec {
    /// The zone's own folder: `root` below, `upper` for what the zone writes.
    Installed,
    /// These layers below, the topmost first, and the zone's own folder `upper` for what it writes.
    Layered(Vec<PathBuf>),
    /// The host's own files, read-only.
    Host,
    /// A folder, of which nothing is changed; what the zone writes is gone with it.
    Directory(PathBuf),
}

/// A host path shown in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the zone, absolute.
    pub target: String,
    /// `ro`, `rw`, `nosuid`, `nodev`, `noexec`.
    pub options: Vec<String>,
}

/// A detached mount that the child attaches; its ids are mapped once the user namespace exists.
#[derive(Debug)]
pub struct Tree {
    /// The mount.
    pub fd: OwnedFd,
    /// Where on the stage, or in the zone.
    pub place: CString,
    /// The host path, for messages.
    pub source: PathBuf,
    /// MOUNT_ATTR_*
    pub attributes: u64,
    /// Whether the zone cannot be without it.
    pub required: bool,
    /// Folder of the stage that hides parts of it.
    pub veil: Option<String>,
}

/// Most binds that a zone can have.
const MOST_BINDS: usize = 24;

/// Folder of the stage where bind `i` is attached to be walled off.
pub fn wall(i: usize) -> String {
    format!("wall{i}")
}

impl Tree {
    /// A copy of the mount at `source`.
    fn open(source: &Path, place: CString, attributes: u64, required: bool) -> Result<Self, Failure> {
        let name = CString::new(source.as_os_str().as_bytes())
            .map_err(|e| Failure::new("open", source.display(), std::io::Error::other(e)))?;
        let fd = mount::clone_tree(AT_FDCWD, &name, false)
            .map_err(|e| Failure::new("clone the mount of", source.display(), e))?;
        Ok(Self { fd, place, source: source.to_owned(), attributes, required, veil: None })
    }

    /// The layers of the overlay by which it is walled off, where it is attached at `place` on the stage. One without a layer to
    /// write to needs two.
    pub fn walls(&self, place: &str) -> String {
        match &self.veil {
            Some(veil) => format!("{veil}:{place}"),
            None => format!("{place}:empty"),
        }
    }

    /// Whether it is a folder that the zone must not write to whatever it does to its mounts.
    pub fn is_walled(&self) -> Result<bool, Failure> {
        let kind = nix::sys::stat::fstat(&self.fd)
            .map_err(|e| Failure::new("look at", self.source.display(), e))?
            .st_mode;
        Ok(self.attributes & mount::MOUNT_ATTR_RDONLY != 0 && kind & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Makes its files belong to the ids of `userns`.
    pub fn map_ids(&self, userns: BorrowedFd<'_>) -> Result<(), Failure> {
        // A file that is only to be read cannot be walled off; not being its owner, the zone's root
        // writes to it only where anybody may.
        let is_file =
            self.attributes & mount::MOUNT_ATTR_RDONLY != 0 && self.required && !self.is_walled()?;
        let userns = (!is_file).then_some(userns);
        let mapped = mount::set_attributes(&self.fd, self.attributes, userns, false);
        match mapped {
            Err(e) if self.required => {
                Err(Failure::new("map the ids of the file system of", self.source.display(), e))
            }
            _ => Ok(()),
        }
    }
}

/// What makes up a root, and how it is put together.
#[derive(Debug)]
pub struct Layers {
    /// Stage on which the child puts the root together: a tmpfs with folders `lower`, `own`,
    /// `root`, and `upper` and `work` for a zone that writes to memory.
    pub stage: OwnedFd,
    /// Attached on the stage, in this order.
    pub trees: Vec<Tree>,
    /// Shown in the root before what the zone is to be shown beside it, in this order: an overlay ends where another file system
    /// is mounted on its layers.
    pub shown: Vec<Tree>,
    /// Options of the overlay.
    pub options: CString,
    /// What its layer `veil` hides, where there is one.
    pub veil: Option<PathBuf>,
    /// The overlay, where it was mounted outside.
    pub made: Option<OwnedFd>,
    /// Whether the root is made read-only in the end.
    pub read_only: bool,
}

impl Layers {
    /// What is [shown](Self::shown), as far as there is room for it beside `binds`, and then those.
    pub fn with_binds(&mut self, binds: Vec<Tree>) -> Vec<Tree> {
        let room = MOST_BINDS.saturating_sub(binds.len());
        std::mem::take(&mut self.shown).into_iter().take(room).chain(binds).collect()
    }

    /// Makes the stage's folders for `count` binds.
    pub fn prepare_walls(&mut self, count: usize) -> Result<(), Failure> {
        if count > MOST_BINDS {
            let why = std::io::Error::other(format!("{MOST_BINDS} are the most"));
            return Err(Failure::new("bind", format!("{count} paths"), why));
        }
        let fail = |e: nix::Error| Failure::new("make", "the stage for the binds", e);
        for i in 0..count {
            let mode = Mode::from_bits_truncate(0o755);
            nix::sys::stat::mkdirat(&self.stage, wall(i).as_str(), mode).map_err(fail)?;
        }
        Ok(())
    }
}

/// Opens what `spec` names. `zone_dir` is the zone's folder; `hide` the daemon's own, of which a
/// zone over the host's files sees nothing. `mountinfo` is the text of /proc/self/mountinfo.
pub fn layers(
    spec: &RootSpec,
    mountinfo: &str,
    zone_dir: &Path,
    hide: &Path,
    ids: Ids,
) -> Result<Layers, Failure> {
    let read_only = mount::MOUNT_ATTR_RDONLY;
    let stage = stage(ids)?;
    let mut veil = None;
    let own = || Tree::open(zone_dir, c"own".to_owned(), 0, true);
    // userxattr: what an overlay notes in trusted.* it may not write in a user namespace (Linux
    // 5.11). xino=off: inode numbers stay those of the layers, which 32-bit programs can hold.
    let mut options = c"lowerdir=lower,upperdir=upper,workdir=work,userxattr,xino=off".to_owned();
    let mut shown = Vec::new();
    let trees = match spec {
        RootSpec::Installed => {
            options = c_string(format!("lowerdir=own/root,{}", written(zone_dir)))?;
            vec![own()?]
        }
        RootSpec::Layered(layers) => {
            let mut trees = vec![own()?];
            let mut names = Vec::with_capacity(layers.len());
            for (i, path) in layers.iter().enumerate() {
                let name = format!("{i}");
                nix::sys::stat::mkdirat(&stage, name.as_str(), Mode::from_bits_truncate(0o755))
                    .map_err(|e| Failure::new("make", "the stage for the layers", e))?;
                trees.push(Tree::open(path, c_string(name.as_str())?, read_only, true)?);
                names.push(name);
            }
            options = c_string(format!("lowerdir={},{}", names.join(":"), written(zone_dir)))?;
            trees
        }
        RootSpec::Directory(path) => {
            let mut trees = vec![Tree::open(path, c"lower".to_owned(), read_only, true)?];
            // An overlay without attributes of files cannot remove a folder of its lower layer; one
            // whose upper layer lies within the lower is refused.
            if !has_attributes(&stage) && !zone_dir.starts_with(path) {
                options = c"lowerdir=lower,upperdir=own/upper,workdir=own/work,userxattr,xino=off".to_owned();
                backend::make_written(zone_dir)
                    .map_err(|e| Failure::new("make", "folders for its files", e))?;
                trees.push(own()?);
            }
            trees
        }
        RootSpec::Host => {
            veil = Some(hide.canonicalize().unwrap_or_else(|_| hide.to_owned()));
            options = c"lowerdir=veil:lower,upperdir=upper,workdir=work,userxattr,xino=off".to_owned();
            for path in host_mounts(mountinfo, hide) {
                let place = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
                // One that cannot be shown is left out, as an empty folder.
                let Ok(mut tree) = Tree::open(&path, place, read_only, false) else { continue };
                if veil.as_ref().is_some_and(|hidden| hidden.starts_with(&path)) {
                    // Signs of overlayfs's options would be taken for such.
                    let Some(name) = path.to_str().filter(|name| !name.contains([':', ',', '\\'])) else {
                        continue;
                    };
                    tree.veil = Some(format!("veil{name}"));
                }
                shown.push(tree);
            }
            vec![Tree::open(Path::new("/"), c"lower".to_owned(), read_only, true)?]
        }
    };
    if let Some(path) = &veil {
        hang(&stage, path, |id| ids.host(id).unwrap_or(id))?;
    }
    Ok(Layers { stage, trees, shown, options, veil, made: None, read_only: *spec == RootSpec::Host })
}

/// Makes the layer `veil` of the stage, with nothing in it but a whiteout at `path` (overlayfs.rst of the kernel): a zone over
/// the host's files does not see what is there. What is mounted over it the zone's root could unmount. `owner`
/// tells whose on the stage a folder of a user's or group's is.
pub(super) fn hang(stage: &OwnedFd, path: &Path, owner: impl Fn(u32) -> u32) -> Result<(), Failure> {
    let fail = |e: nix::Error| Failure::new("hide", path.display(), e);
    let make = |place: &Path, on_host: &Path| {
        let found = nix::sys::stat::stat(on_host)?;
        let mode = Mode::from_bits_truncate(found.st_mode & 0o7777);
        nix::sys::stat::mkdirat(stage, place, mode)?;
        // A folder looks as in the topmost layer that has it.
        nix::sys::stat::fchmodat(stage, place, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?;
        let (uid, gid) = (Uid::from_raw(owner(found.st_uid)), Gid::from_raw(owner(found.st_gid)));
        fchownat(stage, place, Some(uid), Some(gid), AtFlags::empty())
    };
    let (mut place, mut on_host) = (PathBuf::from("veil"), PathBuf::from("/"));
    make(&place, &on_host).map_err(fail)?;
    let parts: Vec<_> = path.components().skip(1).collect();
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        (place, on_host) = (place.join(part), on_host.join(part));
        make(&place, &on_host).map_err(fail)?;
    }
    let Some(last) = parts.last() else { return Ok(()) };
    let place = place.join(last);
    nix::sys::stat::mknodat(stage, &place, nix::sys::stat::SFlag::S_IFCHR, Mode::empty(), 0).map_err(fail)
}

/// Options for what a zone writes, on its own folder.
fn written(zone_dir: &Path) -> String {
    let inside = |path: PathBuf| path.strip_prefix(zone_dir).map(Path::to_owned).unwrap_or_default();
    let (upper, work) = (inside(backend::upper(zone_dir)), inside(backend::work(zone_dir)));
    format!("upperdir=own/{},workdir=own/{},userxattr,xino=off", upper.display(), work.display())
}

/// Whether files on the stage can have attributes of users (xattr(7)): tmpfs since Linux 6.6.
fn has_attributes(stage: &OwnedFd) -> bool {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(stage, "root", flags, rustix::fs::Mode::empty())
        .and_then(|folder| rustix::fs::fsetxattr(folder, "user.zone", b"", XattrFlags::empty()))
        .is_ok()
}

pub(super) fn stage(ids: Ids) -> Result<OwnedFd, Failure> {
    let fail = |e: nix::Error| Failure::new("make", "the stage for the root", e);
    let stage = mount::make(c"tmpfs", &[(c"mode", c"0755")], 0).map_err(fail)?;
    for name in ["lower", "own", "root", "upper", "work", "empty"] {
        nix::sys::stat::mkdirat(&stage, name, Mode::from_bits_truncate(0o755)).map_err(fail)?;
        let (uid, gid) = (Uid::from_raw(ids.base), Gid::from_raw(ids.base));
        fchownat(&stage, name, Some(uid), Some(gid), AtFlags::empty()).map_err(fail)?;
    }
    Ok(stage)
}

/// Folders on the host that are mounts of their own and hold files rather than a view of the
/// kernel, in the order in which they must be attached.
pub(super) fn host_mounts(mountinfo: &str, hide: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for (path, kind, _) in mounts(mountinfo) {
        let is_view = !matches!(
            kind,
            "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "erofs" | "f2fs" | "squashfs" | "tmpfs"
        );
        let is_elsewhere = ["/proc", "/sys", "/dev", "/run", "/tmp"].iter().any(|p| path.starts_with(p));
        if path == Path::new("/") || is_view || is_elsewhere || path.starts_with(hide) {
            continue;
        }
        found.retain(|p| *p != path);
        found.push(path);
    }
    found
}

/// A host path that a zone is shown, attached at its target.
pub fn bind(bind: &Bind) -> Result<Tree, Failure> {
    let mut attributes = mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOSUID;
    for option in &bind.options {
        match option.as_str() {
            "ro" => attributes |= mount::MOUNT_ATTR_RDONLY,
            "noexec" => attributes |= mount::MOUNT_ATTR_NOEXEC,
            "suid" => attributes &= !mount::MOUNT_ATTR_NOSUID,
            _ => {}
        }
    }
    let target = CString::new(bind.target.as_str())
        .map_err(|e| Failure::new("bind to", &bind.target, std::io::Error::other(e)))?;
    Tree::open(&bind.source, target, attributes, true)
}
