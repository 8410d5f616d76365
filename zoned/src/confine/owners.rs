//! Owners on disk, for kernels that cannot map the ids of a mount below an overlay: the files of a zone are
//! given to the zone's ids themselves, and taken back where a kernel can.
//!
//! It may end at any point and is then begun again. An id tells by its range whether it is changed already;
//! what a change of owner takes from a file (chown(2), capabilities(7)) is noted on the file before.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Failure, IDS};
use crate::image::tree::{names, open_folder};

/// File in a zone's folder that says whose its files are: the first id of the zone. While they are being
/// changed, every first id that a file may have yet, the last being the one that is wanted. Without it 0.
pub const MARK: &str = "owners";

/// Folders whose files are a guest's.
const FOLDERS: [&str; 3] = ["root", "upper", "own/upper"];

/// What a change of owner takes: mode and capabilities.
const NOTE: &CStr = c"trusted.zones.owners";

const CAPABILITY: &CStr = c"security.capability";

const ACLS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];

/// What an overlay notes on folders of its upper layer, mounted in a user namespace and outside.
const OVERLAY: [&str; 2] = ["user.overlay.", "trusted.overlay."];

/// Longest extended attribute (xattr(7)).
const LONGEST: usize = 65536;

/// Gives the files of the zone in `zone_dir` to the ids from `base` up; 0 where mounts map them.
pub fn give(zone_dir: &Path, base: u32) -> Result<(), Failure> {
    let mark = zone_dir.join(MARK);
    let fail = |e: io::Error| Failure::new("change", format!("owners in {}", zone_dir.display()), e);
    let mut bases = read(&mark).map_err(fail)?;
    if bases == [base] {
        return Ok(());
    }
    bases.retain(|b| *b != base);
    bases.push(base);
    write(zone_dir, &bases).map_err(fail)?;
    let change = Change { bases: &bases, to: base };
    for folder in FOLDERS {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(zone_dir.join(folder), flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            Ok(top) => change.tree(top).map_err(|e| fail(e.into()))?,
            Err(error) => return Err(fail(error.into())),
        }
    }
    let folder = File::open(zone_dir).map_err(fail)?;
    rustix::fs::syncfs(&folder).map_err(|e| fail(e.into()))?;
    if base == 0 { fs::remove_file(&mark).map_err(fail) } else { write(zone_dir, &[base]).map_err(fail) }
}

/// The same of one tree that is thrown away afterwards.
pub fn give_tree(top: OwnedFd, base: u32) -> Result<(), Errno> {
    Change { bases: &[0, base], to: base }.tree(top)
}

fn read(mark: &Path) -> io::Result<Vec<u32>> {
    let text = match fs::read_to_string(mark) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![0]),
        other => other?,
    };
    let bases: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    let bases = bases.map_err(|_| io::Error::other(format!("{} does not hold ids", mark.display())))?;
    Ok(if bases.is_empty() { vec![0] } else { bases })
}

fn write(zone_dir: &Path, bases: &[u32]) -> io::Result<()> {
    let new = zone_dir.join(format!("{MARK}.new"));
    let words: Vec<_> = bases.iter().map(u32::to_string).collect();
    let mut file = File::create(&new)?;
    file.write_all(format!("{}\n", words.join(" ")).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, zone_dir.join(MARK))?;
    File::open(zone_dir)?.sync_all()
}

struct Change<'a> {
    /// First ids that a file may have.
    bases: &'a [u32],
    to: u32,
}

impl Change<'_> {
    /// What id `id` is in the zone; `None` for one that is none of the zone's.
    fn inner(&self, id: u32) -> Option<u32> {
        self.bases.iter().find_map(|base| id.checked_sub(*base).filter(|inner| *inner < IDS))
    }

    fn changed(&self, id: u32) -> u32 {
        self.inner(id).map_or(id, |inner| self.to + inner)
    }

    /// Folder by folder and back by `..`: a guest can make folders deeper than any path is long.
    fn tree(&self, top: OwnedFd) -> Result<(), Errno> {
        self.one(top.as_fd(), &rustix::fs::fstat(&top)?)?;
        let mut left = vec![names(top.as_fd())?];
        let mut here = top;
        while let Some(level) = left.last_mut() {
            let Some(name) = level.pop() else {
                left.pop();
                if !left.is_empty() {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    here = rustix::fs::openat(&here, c"..", flags, Mode::empty())?;
                }
                continue;
            };
            let stat = rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let below = open_folder(here.as_fd(), &name, true)?;
                    self.one(below.as_fd(), &rustix::fs::fstat(&below)?)?;
                    left.push(names(below.as_fd())?);
                    here = below;
                }
                FileType::RegularFile => {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(&here, &name, flags, Mode::empty())?;
                    self.one(file.as_fd(), &stat)?;
                }
                // They stay the host's. A mount that was made outside is not bound to have no devices, and to a
                // zone's root what is nobody's is closed as it is to anybody.
                FileType::CharacterDevice | FileType::BlockDevice if stat.st_rdev != 0 => {}
                _ => self.chown(here.as_fd(), &name, &stat, AtFlags::SYMLINK_NOFOLLOW)?,
            }
        }
        Ok(())
    }

    fn chown(&self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, flags: AtFlags) -> Result<(), Errno> {
        let (uid, gid) = (self.changed(stat.st_uid), self.changed(stat.st_gid));
        if (uid, gid) == (stat.st_uid, stat.st_gid) {
            return Ok(());
        }
        rustix::fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
    }

    /// A folder or a file, which may have attributes.
    fn one(&self, file: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
        // What only names a file (O_PATH of open(2)) has its attributes by this path.
        let attributes = Attributes { path: format!("/proc/self/fd/{}", file.as_raw_fd()) };
        let there = attributes.names()?;
        let has = |name: &CStr| there.split(|b| *b == 0).any(|n| n == name.to_bytes());
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;

        let noted = if has(NOTE) { attributes.get(NOTE)? } else { Vec::new() };
        let note = if let Some((mode, capability)) = noted.split_first_chunk::<4>() {
            Some((u32::from_le_bytes(*mode), capability.to_vec()))
        } else {
            let capability = if has(CAPABILITY) { attributes.get(CAPABILITY)? } else { Vec::new() };
            let loses = !is_folder && (stat.st_mode & 0o6000 != 0 || !capability.is_empty());
            let is_to_change =
                self.changed(stat.st_uid) != stat.st_uid || self.changed(stat.st_gid) != stat.st_gid;
            (loses && is_to_change).then_some((stat.st_mode & 0o7777, capability))
        };
        if let Some((mode, capability)) = &note {
            attributes.set(NOTE, &[&mode.to_le_bytes()[..], capability].concat())?;
        }
        self.chown(file, c"", stat, AtFlags::EMPTY_PATH)?;
        if let Some((mode, capability)) = &note {
            rustix::fs::chmod(&attributes.path, Mode::from_raw_mode(*mode))?;
            if !capability.is_empty() {
                attributes.set(CAPABILITY, &self.capability(capability))?;
            }
            attributes.remove(NOTE)?;
        }
        for acl in ACLS.into_iter().filter(|acl| has(acl)) {
            let old = attributes.get(acl)?;
            let new = self.acl(&old);
            if new != old {
                attributes.set(acl, &new)?;
            }
        }
        attributes.rename_overlay(&there, self.to == 0)
    }

    /// A capability of version 2 holds for the root of the machine, one of version 3 for the root that it names
    /// (capabilities(7), Linux 4.14).
    fn capability(&self, old: &[u8]) -> Vec<u8> {
        const REVISION: u32 = 0xff00_0000;
        const V2: u32 = 0x0200_0000;
        const V3: u32 = 0x0300_0000;
        let word = |at: usize| old.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let (Some(magic), Some(sets)) = (word(0), old.get(4..20)) else { return old.to_vec() };
        let inner = match (magic & REVISION, word(20)) {
            (V2, None) => Some(0),
            (V3, Some(root)) => self.inner(root),
            _ => None,
        };
        let Some(inner) = inner else { return old.to_vec() };
        let root = self.to + inner;
        let magic = magic & !REVISION | if root == 0 { V2 } else { V3 };
        let mut new = [&magic.to_le_bytes()[..], sets].concat();
        if root != 0 {
            new.extend(root.to_le_bytes());
        }
        new
    }

    /// An access control list: a version, then entries of tag, permissions and id, of which those of named
    /// users and groups have one (linux/posix_acl_xattr.h).
    fn acl(&self, old: &[u8]) -> Vec<u8> {
        const USER: u16 = 2;
        const GROUP: u16 = 8;
        let mut new = old.to_vec();
        for entry in new.get_mut(4..).into_iter().flat_map(|entries| entries.chunks_exact_mut(8)) {
            let (head, id) = entry.split_at_mut(4);
            let tag = u16::from_le_bytes([head[0], head[1]]);
            if let (USER | GROUP, Ok(bytes)) = (tag, <[u8; 4]>::try_from(&*id)) {
                id.copy_from_slice(&self.changed(u32::from_le_bytes(bytes)).to_le_bytes());
            }
        }
        new
    }
}

/// Extended attributes of a file by a path that is a descriptor's.
struct Attributes {
    path: String,
}

impl Attributes {
    /// All names, each with a NUL after it; none where the file system has no attributes.
    fn names(&self) -> Result<Vec<u8>, Errno> {
        let mut names = vec![0; LONGEST];
        match rustix::fs::listxattr(&self.path, &mut names) {
            Ok(length) => names.truncate(length),
            Err(Errno::NOTSUP) => names.clear(),
            Err(error) => return Err(error),
        }
        Ok(names)
    }

    fn get(&self, name: &CStr) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; LONGEST];
        let length = rustix::fs::getxattr(&self.path, name, &mut value)?;
        value.truncate(length);
        Ok(value)
    }

    fn set(&self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        rustix::fs::setxattr(&self.path, name, value, XattrFlags::empty())
    }

    fn remove(&self, name: &CStr) -> Result<(), Errno> {
        rustix::fs::removexattr(&self.path, name)
    }

    /// Makes the notes of an overlay those of one that is mounted `inside` a user namespace, or outside.
    fn rename_overlay(&self, there: &[u8], inside: bool) -> Result<(), Errno> {
        let [inner, outer] = OVERLAY;
        let (from, to) = if inside { (outer, inner) } else { (inner, outer) };
        for name in there.split(|b| *b == 0).filter_map(|n| std::str::from_utf8(n).ok()) {
            if let Some(what) = name.strip_prefix(from) {
                let mut value = vec![0; LONGEST];
                let length = rustix::fs::getxattr(&self.path, name, &mut value)?;
                let new = format!("{to}{what}");
                rustix::fs::setxattr(&self.path, new.as_str(), &value[..length], XattrFlags::empty())?;
                rustix::fs::removexattr(&self.path, name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    const BASE: u32 = 0x4100_0000;
    /// cap_net_raw=ep, as setcap(8) writes it.
    const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn zone() -> tempfile::TempDir {
        // Not in /tmp, which may have no attributes.
        let zone = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let root = zone.path().join("root");
        fs::create_dir_all(root.join("bin/deep/er")).unwrap();
        fs::create_dir(zone.path().join("upper")).unwrap();
        for (name, mode, owner) in [("bin/su", 0o4755, 0), ("bin/wall", 0o2755, 5), ("plain", 0o644, 1000)] {
            fs::write(root.join(name), name).unwrap();
            chown(root.join(name), Some(owner), Some(owner)).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::hard_link(root.join("bin/su"), root.join("bin/deep/su")).unwrap();
        symlink("/nowhere", root.join("link")).unwrap();
        let device = nix::sys::stat::makedev(1, 3);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::sys::stat::mknod(&root.join("null"), nix::sys::stat::SFlag::S_IFCHR, mode, device).unwrap();
        let ping = root.join("bin/ping");
        fs::write(&ping, "ping").unwrap();
        rustix::fs::setxattr(&ping, CAPABILITY, &NET_RAW, XattrFlags::empty()).unwrap();
        let upper = zone.path().join("upper");
        rustix::fs::setxattr(&upper, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        zone
    }

    /// Owner, group and mode of every file, and the attributes that count.
    fn seen(zone: &Path) -> BTreeMap<String, (u32, u32, u32, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut folders = vec![zone.join("root"), zone.join("upper")];
        while let Some(folder) = folders.pop() {
            let below = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
            for path in below.chain([folder.clone()]) {
                let meta = path.symlink_metadata().unwrap();
                if meta.is_dir() && path != folder {
                    folders.push(path.clone());
                }
                let mut value = vec![0; 64];
                let has = rustix::fs::lgetxattr(&path, CAPABILITY, &mut value);
                value.truncate(has.unwrap_or(0));
                let name = path.strip_prefix(zone).unwrap().display().to_string();
                all.insert(name, (meta.uid(), meta.gid(), meta.mode(), value));
            }
        }
        all
    }

    #[test]
    fn files_go_to_the_zones_ids_and_come_back_as_they_were() {
        let zone = zone();
        let before = seen(zone.path());
        give(zone.path(), BASE).unwrap();
        for (name, (uid, gid, mode, capability)) in seen(zone.path()) {
            let was = &before[&name];
            if name == "root/null" {
                assert_eq!(uid, 0, "a device is given to no zone");
                continue;
            }
            assert_eq!((uid, gid, mode), (was.0 + BASE, was.1 + BASE, was.2), "{name}");
            assert_eq!(capability.is_empty(), was.3.is_empty(), "{name}");
            if !capability.is_empty() {
                assert_eq!((capability[3], &capability[20..]), (3, &BASE.to_le_bytes()[..]), "{name}");
            }
        }
        let upper = zone.path().join("upper");
        let has = |name: &str| rustix::fs::getxattr(&upper, name, &mut vec![0; 8]).is_ok();
        assert!(has("trusted.overlay.opaque") && !has("user.overlay.opaque"));
        // A second time there is nothing to do, and another base is reached as well.
        give(zone.path(), BASE).unwrap();
        give(zone.path(), BASE + IDS).unwrap();
        assert_eq!(seen(zone.path())["root/bin/su"].0, BASE + IDS);
        give(zone.path(), 0).unwrap();
        assert_eq!(seen(zone.path()), before);
        assert!(has("user.overlay.opaque") && !zone.path().join(MARK).exists());
    }

    /// Every state in which a file can be when the change is cut off.
    #[test]
    fn a_change_that_was_cut_off_is_ended() {
        let zone = zone();
        let before = seen(zone.path());
        write(zone.path(), &[0, BASE]).unwrap();
        let root = zone.path().join("root");
        // Noted, its owner changed, its mode lost.
        let note = [&0o4755_u32.to_le_bytes()[..], &[]].concat();
        rustix::fs::setxattr(root.join("bin/su"), NOTE, &note, XattrFlags::empty()).unwrap();
        chown(root.join("bin/su"), Some(BASE), Some(BASE)).unwrap();
        // Noted, and nothing more.
        let note = [&0o755_u32.to_le_bytes()[..], &NET_RAW].concat();
        fs::set_permissions(root.join("bin/ping"), fs::Permissions::from_mode(0o755)).unwrap();
        rustix::fs::setxattr(root.join("bin/ping"), NOTE, &note, XattrFlags::empty()).unwrap();
        // Done.
        chown(root.join("plain"), Some(BASE + 1000), Some(BASE + 1000)).unwrap();
        give(zone.path(), 0).unwrap();
        let mut after = seen(zone.path());
        after.get_mut("root/bin/ping").unwrap().2 = before["root/bin/ping"].2;
        assert_eq!(after, before);
    }

    #[test]
    fn lists_of_access_are_changed_where_they_name_somebody() {
        let change = Change { bases: &[0, BASE], to: BASE };
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[6, 0], &id.to_le_bytes()].concat();
        let list = |id: u32| [&[2, 0, 0, 0], &entry(1, u32::MAX)[..], &entry(2, id)].concat();
        assert_eq!(change.acl(&list(1000)), list(BASE + 1000));
        assert_eq!(change.acl(&list(BASE + 1000)), list(BASE + 1000));
        assert_eq!(change.acl(b"\x02\0"), b"\x02\0");
    }

    #[test]
    fn a_mark_that_says_nothing_is_named() {
        let zone = zone();
        fs::write(zone.path().join(MARK), "all of them\n").unwrap();
        let failure = give(zone.path(), BASE).unwrap_err();
        assert!(failure.sentence().contains("does not hold ids"), "{}", failure.sentence());
    }
}
