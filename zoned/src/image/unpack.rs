//! What becomes of an archive's entries: all that is decided about a hostile tar stands here.
//!
//! Names with `..` are refused, since no tar that was made of a root holds them; a leading `/` is
//! dropped, as GNU tar does. Symbolic links keep their targets whatever they say, and are
//! only ever followed inside the root. Of two entries with one name the later wins.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::archive::{Archive, Bad, EMPTY, Entry, Kind, LONGEST_NAME};
use super::error::{ImageError, shown};
use super::packed::{Meter, Packing, unpacked};
use super::split::{self, Recorder, Tee};
use super::tree::{Attributes, Id, LeftOut, Tree, id, is_kept_mark, may_keep, open_in};
use super::{Counts, empty};

/// Holes are found in pieces of this size, that of a page and of most file systems' blocks.
const HOLE: usize = 4096;
const ZEROS: [u8; HOLE] = [0; HOLE];

struct Folder {
    id: Id,
    attributes: Attributes,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Unpack<'a> {
    tree: Tree,
    meter: &'a Meter<'a>,
    counts: Counts,
    left_out: LeftOut,
    /// Attributes are set at the end: making a file in a folder changes its time.
    folders: BTreeMap<Vec<u8>, Folder>,
    /// Names of device nodes that were left out: hard links to them are left out too.
    devices: HashSet<Vec<u8>>,
    /// It is an overlay's upper folder, whose marks are part of it.
    keep_overlay_marks: bool,
    buf: Vec<u8>,
    /// What it takes to make a layer of an image instead of a root.
    layer: Option<Layer>,
}

/// What the archive of a layer says beside its files, as the OCI image specification has it.
struct Layer {
    /// Names to hide in the layers below. They are made at the end: an entry of this layer is not hidden, wherever it stands.
    whiteouts: BTreeSet<Vec<u8>>,
    /// Folders of which nothing below is to be seen.
    opaque: BTreeSet<Vec<u8>>,
    /// Keeps what it takes to give the archive back.
    recorder: Rc<RefCell<Recorder>>,
    /// Where files go that later entries take the place of, and how many did.
    lost: OwnedFd,
    lost_count: u64,
}

/// What an overlay that is mounted in a user namespace looks for on a folder (overlayfs.rst, userxattr).
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";
/// Each is kept in memory until the end.
const MOST_WHITEOUTS: usize = 1 << 20;

/// Unpacks `from` into the empty folder `dest`; `name` is the archive's, for errors.
pub(super) fn unpack(
    name: &str,
    from: impl Read + 'static,
    dest: &Path,
    keep_overlay_marks: bool,
    meter: &Meter<'_>,
) -> Result<(Counts, LeftOut, Vec<String>), ImageError> {
    let failed = |bad, after: &str| error(name, bad, after);
    let begin = "at its beginning";
    let (packing, stream) = unpacked(meter.count(from)).map_err(|e| failed(Bad::Read(e), begin))?;
    if let Packing::Other(what) = packing {
        return Err(ImageError::NotTar { archive: name.to_owned(), why: what.to_owned() });
    }
    fill(name, stream, packing == Packing::Plain, dest, keep_overlay_marks, meter, None)
}

/// Unpacks the unpacked archive of an image's layer into `folder`: its files into `fs`, and what else it takes to give it back.
pub(super) fn unpack_layer(
    name: &str,
    stream: impl Read,
    folder: &Path,
) -> Result<(Counts, LeftOut), ImageError> {
    let (tree, lost) = (folder.join("fs"), folder.join("lost"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ImageError::Open { path, source }
    };
    for path in [&tree, &lost] {
        std::fs::create_dir(path).map_err(failed(path))?;
    }
    let split = folder.join(split::FILE);
    let recorder = Rc::new(RefCell::new(Recorder::create(&split).map_err(failed(&split))?));
    let layer = Layer {
        whiteouts: BTreeSet::new(),
        opaque: BTreeSet::new(),
        recorder: Rc::clone(&recorder),
        lost: File::open(&lost).map_err(failed(&lost))?.into(),
        lost_count: 0,
    };
    let nobody = |_| ();
    let meter = Meter::begin(&nobody, "unpacking", None);
    // Its digest vouches for its end.
    let (counts, left_out, _) = fill(name, stream, false, &tree, false, &meter, Some(layer))?;
    drop(meter);
    let kept = (|| {
        let recorder = Rc::into_inner(recorder).ok_or(std::io::ErrorKind::ResourceBusy)?;
        let ids = recorder.into_inner().finish()?;
        if std::fs::read_dir(&lost)?.next().is_some() {
            split::keep_lost(folder, &tree, &lost, &ids)?;
        }
        empty::remove(&lost)
    })();
    kept.map_err(|e| ImageError::file("write", split::FILE.as_bytes(), e))?;
    Ok((counts, left_out))
}

fn fill(
    name: &str,
    stream: impl Read,
    needs_end: bool,
    dest: &Path,
    keep_overlay_marks: bool,
    meter: &Meter<'_>,
    layer: Option<Layer>,
) -> Result<(Counts, LeftOut, Vec<String>), ImageError> {
    let failed = |bad, after: &str| error(name, bad, after);
    let begin = "at its beginning";
    let recorder = layer.as_ref().map(|layer| Rc::clone(&layer.recorder));
    let is_layer = recorder.is_some();
    let mut archive = Archive::new(Tee { from: stream, to: recorder });
    archive.may_end = is_layer;
    let tree = Tree::open(dest).map_err(|source| ImageError::Open { path: dest.to_owned(), source })?;
    let mut unpack = Unpack {
        tree,
        meter,
        counts: Counts::default(),
        left_out: LeftOut::default(),
        folders: BTreeMap::new(),
        devices: HashSet::new(),
        keep_overlay_marks,
        buf: vec![0; 32 * HOLE],
        layer,
    };
    unpack.note_root(Attributes::plain_folder(now()), Vec::new())?;
    let mut after = begin.to_owned();
    loop {
        let entry = match archive.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            // A layer that changes nothing.
            Err(Bad::NotTar(EMPTY)) if is_layer => break,
            Err(bad) => return Err(failed(bad, &after)),
        };
        after = format!("after {}", shown(&entry.name));
        unpack.entry(entry, &mut archive).map_err(|stop| match stop {
            Stop::Archive(bad) => failed(bad, &after),
            Stop::Policy(error) => error,
        })?;
        meter.tick();
    }
    if !archive.ended && needs_end {
        return Err(failed(Bad::CutOff, &after));
    }
    let mut notes = Vec::new();
    if !archive.ended && !is_layer {
        // The packing's checksum vouches for it: it was made like this.
        notes.push("the archive has no end mark".to_owned());
    }
    archive.drain().map_err(|bad| failed(bad, &after))?;
    unpack.finish()?;
    Ok((unpack.counts, unpack.left_out, notes))
}

enum Stop {
    Archive(Bad),
    Policy(ImageError),
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Self {
        Self::Policy(error)
    }
}

pub(super) fn error(archive: &str, bad: Bad, after: &str) -> ImageError {
    let (archive, after) = (archive.to_owned(), after.to_owned());
    match bad {
        Bad::NotTar(why) => ImageError::NotTar { archive, why: why.to_owned() },
        Bad::CutOff => ImageError::CutOff { archive, after },
        Bad::Damaged(why) => ImageError::Damaged { archive, after, why: why.to_owned() },
        Bad::Read(source) => ImageError::Read { archive, after, source },
    }
}

fn now() -> (i64, u32) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() as i64, now.subsec_nanos())
}

impl Unpack<'_> {
    fn entry(&mut self, entry: Entry, archive: &mut Archive<impl Read>) -> Result<(), Stop> {
        if entry.kind == Kind::Other {
            self.left_out.unknown += 1;
            return Ok(());
        }
        let name = self.name(&entry.name, &entry.name)?;
        if self.layer.is_some() && self.mark(&name, &entry.name)? {
            return Ok(());
        }
        // Overlayfs's mark for what is gone: a folder of an overlay's own has it, and no archive may bring it along.
        let is_whiteout = entry.kind == Kind::Device && entry.device == (false, 0, 0);
        if is_whiteout && self.keep_overlay_marks {
            let (dir, last) = self.place(&name)?;
            rustix::fs::mknodat(dir, last, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|e| ImageError::file("make", &name, e))?;
            self.counts.files += 1;
            return Ok(());
        }
        // Devices of layers stay: whoever finds one in a zone cannot open it, its mount being of the zone's user namespace.
        if entry.kind == Kind::Device && (is_whiteout || self.layer.is_none()) {
            self.left_out.devices += 1;
            // A root has some hundreds; an archive of nothing else must not fill the memory.
            if self.devices.len() < 1 << 16 {
                self.devices.insert(name);
            }
            return Ok(());
        }
        for id in [entry.uid, entry.gid] {
            if id > 65535 {
                return Err(ImageError::IdOutside { entry: shown(&entry.name), id }.into());
            }
        }
        let attributes =
            Attributes { uid: entry.uid as u32, gid: entry.gid as u32, mode: entry.mode, mtime: entry.mtime };
        self.left_out.acls += u64::from(entry.has_acl);
        if name.is_empty() {
            if entry.kind != Kind::Folder {
                return Err(ImageError::entry(&entry.name, "only a folder can be the root").into());
            }
            self.note_root(attributes, entry.xattrs)?;
            return Ok(());
        }
        match entry.kind {
            Kind::Folder => self.folder(&name, attributes, entry.xattrs)?,
            Kind::File => self.file(&name, &entry, attributes, archive)?,
            Kind::Symlink => self.symlink(&name, &entry, attributes)?,
            Kind::HardLink => self.hard_link(&name, &entry)?,
            Kind::Fifo | Kind::Device => {
                let (kind, number) = match (entry.kind, entry.device) {
                    (Kind::Fifo, _) => (FileType::Fifo, 0),
                    (_, (true, major, minor)) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
                    (_, (false, major, minor)) => {
                        (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
                    }
                };
                let (dir, last) = self.place(&name)?;
                rustix::fs::mknodat(dir, last, kind, Mode::RUSR, number)
                    .and_then(|()| attributes.apply_at(dir, last, false))
                    .map_err(|e| ImageError::file("make", &name, e))?;
                self.counts.files += 1;
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// Takes note of an entry that is a mark and no file (OCI image specification, layer.md); whether it was one.
    fn mark(&mut self, name: &[u8], entry: &[u8]) -> Result<bool, ImageError> {
        let Some(layer) = &mut self.layer else { return Ok(false) };
        let (above, last) = match name.iter().rposition(|b| *b == b'/') {
            Some(at) => (&name[..at], &name[at + 1..]),
            None => (&name[..0], name),
        };
        let mut parts = name.split(|b| *b == b'/');
        let Some(first) = parts.find(|part| part.starts_with(b".wh.")) else { return Ok(false) };
        if first.starts_with(b".wh..wh.") {
            if last == b".wh..wh..opq" && parts.next().is_none() {
                layer.opaque.insert(above.to_vec());
            } else {
                // Folders of aufs's own, in layers of Docker's first years.
                self.left_out.aufs += 1;
            }
            return Ok(true);
        }
        if parts.next().is_some() {
            return Err(ImageError::entry(entry, "a folder on its way is called as a whiteout is"));
        }
        let hidden = &last[b".wh.".len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(ImageError::entry(entry, "it is a whiteout of no name"));
        }
        if layer.whiteouts.len() + layer.opaque.len() >= MOST_WHITEOUTS {
            return Err(ImageError::entry(entry, "a million whiteouts came before it"));
        }
        layer.whiteouts.insert(match above {
            b"" => hidden.to_vec(),
            above => [above, hidden].join(&b'/'),
        });
        Ok(true)
    }

    /// Makes the whiteouts, and gives the names of the folders to be opaque.
    fn whiteouts(&mut self) -> Result<BTreeSet<Vec<u8>>, ImageError> {
        let Some(layer) = &mut self.layer else { return Ok(BTreeSet::new()) };
        let (whiteouts, mut opaque) =
            (std::mem::take(&mut layer.whiteouts), std::mem::take(&mut layer.opaque));
        for name in whiteouts {
            let failed = |e: Errno| ImageError::file("hide", &name, e);
            let (dir, last) = self.parent(&name)?;
            match rustix::fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW) {
                // Of what was there below nothing is to shine through.
                Ok(own) if super::tree::kind(&own) == FileType::Directory => drop(opaque.insert(name)),
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    rustix::fs::mknodat(dir, last, FileType::CharacterDevice, Mode::empty(), 0)
                        .map_err(failed)?;
                    self.counts.files += 1;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        // Those that no entry tells of are made now, so that they get their attributes.
        for name in &opaque {
            if !name.is_empty() {
                self.parent(&[name.as_slice(), b"/"].concat())?;
            }
        }
        Ok(opaque)
    }

    /// A name in the root's own terms: no `.`, no slash at either end.
    fn name(&mut self, given: &[u8], entry: &[u8]) -> Result<Vec<u8>, ImageError> {
        let refuse = |why: &str| Err(ImageError::entry(entry, why));
        if given.is_empty() {
            return refuse("it has no name");
        }
        if given.contains(&0) {
            return refuse("a zero byte in its name");
        }
        if given.len() > LONGEST_NAME {
            return refuse("its name is longer than 4095 bytes");
        }
        let mut name: Vec<u8> = Vec::with_capacity(given.len());
        for part in given.split(|b| *b == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return refuse("its name leads outside the root by .."),
                _ if part.len() > 255 => return refuse("a part of its name is longer than 255 bytes"),
                _ => {}
            }
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(part);
        }
        if given[0] == b'/' {
            self.left_out.absolute += 1;
        }
        Ok(name)
    }

    fn note_root(
        &mut self,
        attributes: Attributes,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), ImageError> {
        let root = rustix::fs::fstat(self.tree.root()).map_err(|e| ImageError::file("find", b"/", e))?;
        self.note_folder(b"", id(&root), attributes, xattrs);
        Ok(())
    }

    fn note_folder(&mut self, name: &[u8], id: Id, attributes: Attributes, xattrs: Vec<(Vec<u8>, Vec<u8>)>) {
        self.folders.insert(name.to_vec(), Folder { id, attributes, xattrs });
    }

    /// The folder that `name` lies in, made where it is missing, and its last component.
    fn parent<'n>(&mut self, name: &'n [u8]) -> Result<(BorrowedFd<'_>, &'n [u8]), ImageError> {
        let (path, last) = match name.iter().rposition(|b| *b == b'/') {
            Some(at) => (&name[..at], &name[at + 1..]),
            None => (&name[..0], name),
        };
        let folders = &mut self.folders;
        let dir = self.tree.folder(path, &mut |made, fd| {
            let id = id(&rustix::fs::fstat(fd)?);
            let attributes = Attributes::plain_folder(now());
            folders.insert(made.to_vec(), Folder { id, attributes, xattrs: Vec::new() });
            Ok(())
        });
        match dir {
            Ok(dir) => Ok((dir, last)),
            // The link was made by an entry before, and dangles.
            Err(Errno::EXIST) => Err(ImageError::entry(name, "a link on its way leads nowhere")),
            Err(Errno::LOOP) => Err(ImageError::entry(name, "the links on its way lead in a circle")),
            Err(Errno::NOTDIR) => Err(ImageError::entry(name, "a part of its way is no folder")),
            Err(error) => Err(ImageError::file("find the folder of", name, error)),
        }
    }

    /// As `parent`, with `name` free: what an earlier entry made there goes.
    fn place<'n>(&mut self, name: &'n [u8]) -> Result<(BorrowedFd<'_>, &'n [u8]), ImageError> {
        self.lose(name)?;
        let (dir, last) = self.parent(name)?;
        match rustix::fs::unlinkat(dir, last, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            Ok(()) => self.tree.forget(),
            Err(Errno::ISDIR) => {
                empty::remove_at(dir, last).map_err(|e| ImageError::file("replace", name, e))?;
                self.tree.forget();
            }
            Err(error) => return Err(ImageError::file("replace", name, error)),
        }
        self.parent(name)
    }

    /// Of a layer, moves what an earlier entry made at `name` aside, where it can hold data: the archive's bytes are
    /// to be given back some day.
    fn lose(&mut self, name: &[u8]) -> Result<(), ImageError> {
        if self.layer.is_none() {
            return Ok(());
        }
        let (dir, last) = self.parent(name)?;
        let there = rustix::fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW);
        let holds_data = |kind| matches!(kind, FileType::RegularFile | FileType::Directory);
        if !there.is_ok_and(|there| holds_data(super::tree::kind(&there))) {
            return Ok(());
        }
        let dir = dir.try_clone_to_owned().map_err(|e| ImageError::file("replace", name, e))?;
        if let Some(layer) = &mut self.layer {
            layer.lost_count += 1;
            rustix::fs::renameat(&dir, last, &layer.lost, layer.lost_count.to_string())
                .map_err(|e| ImageError::file("replace", name, e))?;
            self.tree.forget();
        }
        Ok(())
    }

    fn folder(
        &mut self,
        name: &[u8],
        attributes: Attributes,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), ImageError> {
        let failed = |e: Errno| ImageError::file("make", name, e);
        let (mut dir, last) = self.parent(name)?;
        match rustix::fs::mkdirat(dir, last, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                if super::tree::kind(&there) != FileType::Directory {
                    dir = self.place(name)?.0;
                    rustix::fs::mkdirat(dir, last, Mode::RWXU).map_err(failed)?;
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let made = rustix::fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        self.note_folder(name, id(&made), attributes, xattrs);
        self.counts.files += 1;
        Ok(())
    }

    fn file(
        &mut self,
        name: &[u8],
        entry: &Entry,
        attributes: Attributes,
        archive: &mut Archive<impl Read>,
    ) -> Result<(), Stop> {
        let mut buf = std::mem::take(&mut self.buf);
        let meter = self.meter;
        let (dir, last) = self.place(name)?;
        let failed = |e: std::io::Error| ImageError::file("write", name, e);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(dir, last, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed(e.into()))?
            .into();
        let mut written = 0;
        let recorder = self.layer.as_ref().map(|layer| &layer.recorder);
        if let Some(recorder) = recorder {
            recorder.borrow_mut().is_data = true;
        }
        for segment in &entry.segments {
            let (mut at, end) = (segment.at, segment.at + segment.len);
            while at < end {
                // Pieces end at multiples of their size, so that holes in them are whole blocks.
                let room = buf.len() - (at % HOLE as u64) as usize;
                let want = room.min((end - at).try_into().unwrap_or(usize::MAX));
                let mut have = 0;
                while have < want {
                    match archive.read(&mut buf[have..want]).map_err(Stop::Archive)? {
                        0 => return Err(Stop::Archive(Bad::CutOff)),
                        n => have += n,
                    }
                }
                written += write_sparse(&file, &buf[..have], at).map_err(failed)?;
                at += have as u64;
                meter.tick();
            }
        }
        if let Some(recorder) = recorder {
            let own = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
            let mut recorder = recorder.borrow_mut();
            recorder.is_data = false;
            recorder.file(name, &entry.segments, id(&own)).map_err(failed)?;
        }
        rustix::fs::ftruncate(&file, entry.len).map_err(|e| failed(e.into()))?;
        let mut refused = 0;
        attributes
            .apply(file.as_fd(), |fd| refused = set_xattrs(fd, &entry.xattrs, self.keep_overlay_marks))
            .map_err(|e| failed(e.into()))?;
        self.left_out.xattrs += refused;
        self.counts.files += 1;
        self.counts.bytes += written;
        self.counts.disk += written.next_multiple_of(HOLE as u64);
        self.buf = buf;
        Ok(())
    }

    fn symlink(&mut self, name: &[u8], entry: &Entry, attributes: Attributes) -> Result<(), ImageError> {
        if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() > LONGEST_NAME {
            return Err(ImageError::entry(name, "its link says no name"));
        }
        let (dir, last) = self.place(name)?;
        rustix::fs::symlinkat(&entry.link, dir, last)
            .and_then(|()| attributes.apply_at(dir, last, true))
            .map_err(|e| ImageError::file("make", name, e))?;
        self.counts.files += 1;
        Ok(())
    }

    fn hard_link(&mut self, name: &[u8], entry: &Entry) -> Result<(), ImageError> {
        let target = match self.name(&entry.link, &entry.name) {
            Ok(target) => target,
            Err(ImageError::Entry { entry, why }) => {
                return Err(ImageError::Entry { entry, why: why.replace("its name", "what it links to") });
            }
            Err(other) => return Err(other),
        };
        if self.devices.contains(&target) {
            self.left_out.devices += 1;
            self.devices.insert(name.to_vec());
            return Ok(());
        }
        if target == name {
            return Ok(());
        }
        // Layers are unpacked each on its own, and are the same whatever lies below.
        let of = if self.layer.is_some() { " in the same layer" } else { "" };
        let missing =
            || ImageError::entry(name, format!("it links to {}, which is not there{of}", shown(&target)));
        let (at, last_target) = match target.iter().rposition(|b| *b == b'/') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (&target[..0], &target[..]),
        };
        let from = open_in(self.tree.root(), at, OFlags::PATH | OFlags::DIRECTORY).map_err(|_| missing())?;
        let there =
            rustix::fs::statat(&from, last_target, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| missing())?;
        if super::tree::kind(&there) == FileType::Directory {
            return Err(ImageError::entry(name, "it is a hard link to a folder"));
        }
        // What the name stands for may be the target itself, by way of a linked folder.
        let (dir, last) = self.parent(name)?;
        if let Ok(own) = rustix::fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW)
            && id(&own) == id(&there)
        {
            return Ok(());
        }
        let (dir, last) = self.place(name)?;
        match rustix::fs::linkat(&from, last_target, dir, last, AtFlags::empty()) {
            Ok(()) => self.counts.files += 1,
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(ImageError::file("link", name, error)),
        }
        Ok(())
    }

    /// Sets what folders are to have, the deepest first.
    fn finish(&mut self) -> Result<(), ImageError> {
        let opaque = self.whiteouts()?;
        for (name, folder) in std::mem::take(&mut self.folders).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let Ok(fd) = open_in(self.tree.root(), &name, flags) else { continue };
            // A later entry may have put another in its place.
            if rustix::fs::fstat(&fd).is_ok_and(|now| id(&now) == folder.id) {
                let mut refused = 0;
                folder
                    .attributes
                    .apply(fd.as_fd(), |fd| refused = set_xattrs(fd, &folder.xattrs, self.keep_overlay_marks))
                    .map_err(|e| ImageError::file("finish", &name, e))?;
                self.left_out.xattrs += refused;
            }
        }
        for name in opaque {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            open_in(self.tree.root(), &name, flags)
                .and_then(|fd| rustix::fs::fsetxattr(&fd, OPAQUE, b"y", rustix::fs::XattrFlags::empty()))
                .map_err(|e| ImageError::file("make opaque", &name, e))?;
        }
        Ok(())
    }
}

/// Writes what is not zero; bytes written.
pub(super) fn write_sparse(file: &File, data: &[u8], at: u64) -> std::io::Result<u64> {
    let mut written = 0;
    let (mut start, mut end) = (0, 0);
    for piece in data.chunks(HOLE) {
        if piece == &ZEROS[..piece.len()] {
            if start < end {
                file.write_all_at(&data[start..end], at + start as u64)?;
                written += (end - start) as u64;
            }
            start = end + piece.len();
        }
        end += piece.len();
    }
    if start < end {
        file.write_all_at(&data[start..end], at + start as u64)?;
        written += (end - start) as u64;
    }
    Ok(written)
}

/// How many of them were not set.
fn set_xattrs(fd: BorrowedFd<'_>, xattrs: &[(Vec<u8>, Vec<u8>)], keep_overlay_marks: bool) -> u64 {
    let set = |name: &[u8], value: &[u8]| {
        (may_keep(name) || keep_overlay_marks && is_kept_mark(name, value))
            && rustix::fs::fsetxattr(fd, name, value, rustix::fs::XattrFlags::empty()).is_ok()
    };
    xattrs.iter().filter(|(name, value)| !set(name, value)).count() as u64
}
