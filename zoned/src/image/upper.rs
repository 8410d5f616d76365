//! A layer of what a zone wrote at one instant, while it goes on: all of it, or what is not as it was when another layer was made
//! of it, to lie over that.
//!
//! Two passes. The first copies while the zone writes, and whatever it gets wrong is right after the second, which the zone is
//! held still for: it looks at every file once more, and copies what changed since. Each pass compares (what is there is held
//! against what was there, in memory) and then applies what that came to.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::copy::{Copy, is_opaque, open};
use super::error::ImageError;
use super::nodes::{Index, Kind, Names, Node, Nodes, Proof, Time};
use super::packed::Meter;
use super::tree::{kind, names, open_folder};
use super::unpack::OPAQUE;

/// A layer whose first pass was made.
pub struct Layer {
    from: PathBuf,
    to: PathBuf,
    before: Option<Index>,
    /// What is in the layer by now.
    done: Nodes,
    since: Time,
}

impl Layer {
    /// Copies `from`, an overlay's upper folder that is written to meanwhile, into the empty folder `to`: all of it, or what
    /// is not as it was `before`.
    ///
    /// # Errors
    /// `to` then holds anything.
    pub fn copy(from: &Path, to: &Path, before: Option<Index>) -> Result<Self, ImageError> {
        let wrong = |source| ImageError::Open { path: from.to_owned(), source };
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // Pages of files that are mapped are written back, so that the next write to one is noted as a change of its file.
        rustix::fs::syncfs(File::open(from).map_err(wrong)?).map_err(|e| wrong(e.into()))?;
        // Times of files are those of ticks of the clock, or of whole seconds; and a write is long under way after its time.
        let since = (now.tv_sec - 1, now.tv_nsec as u32);
        let (from, to) = (from.to_owned(), to.to_owned());
        let mut layer = Self { from, to, before, done: Nodes::default(), since };
        for _ in 0..3 {
            match layer.pass(true) {
                Ok(_) => break,
                // Folders are moved while they are looked at: the second pass finds all as it is, if it must.
                Err(error) if is_race(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(layer)
    }

    /// Copies what changed since; nobody writes to the folder now. Gives what it holds, for the next layer.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn again(&mut self) -> Result<Index, ImageError> {
        let now = self.pass(false)?;
        let wrong = |source| ImageError::Open { path: self.from.clone(), source };
        Index::new(now, self.since, &self.from).map_err(wrong)
    }

    fn pass(&mut self, live: bool) -> Result<Nodes, ImageError> {
        let (from, to) = (open(&self.from)?, open(&self.to)?);
        let compared = compare(&from, self.before.as_ref(), live)?;
        let meter = Meter::begin(&|_| {}, "copying", None);
        let anew = linked_anew(&compared.plan, &self.done, self.since);
        let mut copy = Copy::new(&meter, to.as_fd());
        copy.exact = true;
        let mut apply = Apply {
            copy,
            plan: &compared.plan,
            had: &self.done,
            done: Nodes::default(),
            anew,
            since: self.since,
            live,
        };
        let own = to.try_clone().map_err(|source| ImageError::Open { path: self.to.clone(), source })?;
        let applied = apply.run(from, own);
        self.done = apply.done;
        applied?;
        Ok(compared.now)
    }
}

/// Whether that may come of what a zone did meanwhile.
fn is_race(error: &ImageError) -> bool {
    let raced =
        [Errno::NOENT, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::EXIST, Errno::NXIO, Errno::STALE];
    error.os_error().is_none_or(|code| raced.iter().any(|raced| raced.raw_os_error() == code))
}

fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// What a folder holds, and what of that a layer must have: for each name what is to be there, a whiteout where nothing is
/// any more.
#[derive(Default)]
struct Compared {
    now: Nodes,
    plan: Nodes,
}

struct Compare<'a> {
    before: Option<&'a Index>,
    /// Files of which one name changed: all names of a file must be in one layer.
    linked: &'a HashSet<u64>,
    live: bool,
    path: Vec<u8>,
    compared: Compared,
    /// Files with more than one name, of which one is as it was, and of which one is not.
    same: HashSet<u64>,
    other: HashSet<u64>,
}

/// A folder that is being compared.
struct Looked<'a> {
    name: CString,
    proof: Proof,
    /// Whether it hides what lies below, as it is; and as it is to be in the layer, where it may lie over one that does.
    opaque: (bool, bool),
    /// What the layers that the new one goes over show there of what the zone wrote.
    before: Option<&'a Names>,
    is_changed: bool,
    left: Vec<CString>,
    path: usize,
    now: Names,
    plan: Names,
}

fn compare(from: &OwnedFd, before: Option<&Index>, live: bool) -> Result<Compared, ImageError> {
    let mut linked = HashSet::new();
    loop {
        let mut compare = Compare {
            before,
            linked: &linked,
            live,
            path: Vec::new(),
            compared: Compared::default(),
            same: HashSet::new(),
            other: HashSet::new(),
        };
        let top = from.try_clone().map_err(|e| ImageError::file("look at", b"/", e))?;
        compare.run(top)?;
        let Compare { compared, same, other, .. } = compare;
        let mixed: Vec<u64> = same.intersection(&other).copied().collect();
        if mixed.is_empty() {
            return Ok(compared);
        }
        // A folder was renamed that has one name of a file that did not change.
        linked.extend(mixed);
    }
}

impl<'a> Compare<'a> {
    fn failed(&self, error: impl Into<io::Error>) -> ImageError {
        ImageError::file("look at", &self.path, error)
    }

    fn run(&mut self, top: OwnedFd) -> Result<(), ImageError> {
        let was = self.before.and_then(|index| index.nodes.top.as_ref());
        let mut here = top;
        let mut level = self.level(here.as_fd(), CString::default(), was, 0)?;
        let mut way = Vec::new();
        loop {
            if let Some(name) = level.left.pop() {
                let length = self.path.len();
                if length > 0 {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name.to_bytes());
                match self.one(here.as_fd(), name, &mut level, length)? {
                    Some((child, below)) => {
                        way.push(std::mem::replace(&mut level, below));
                        here = child;
                    }
                    None => self.path.truncate(length),
                }
                continue;
            }
            let up = way.pop();
            if let Some(up) = &up {
                let Looked { proof: Proof { inode, .. }, .. } = up;
                here = open_folder(here.as_fd(), c"..", true).map_err(|e| self.failed(e))?;
                if rustix::fs::fstat(&here).map_err(|e| self.failed(e))?.st_ino != *inode {
                    return Err(ImageError::entry(&self.path, "it was moved while it was looked at"));
                }
            }
            self.path.truncate(level.path);
            let (name, now, plan) = self.leave(level).map_err(|e| self.failed(e))?;
            let Some(mut above) = up else {
                self.compared.now.top = Some(now);
                self.compared.plan.top = plan;
                return Ok(());
            };
            above.now.insert(name.to_bytes().into(), now);
            if let Some(plan) = plan {
                above.plan.insert(name.to_bytes().into(), plan);
            }
            level = above;
        }
    }

    fn level(
        &self,
        dir: BorrowedFd<'_>,
        name: CString,
        was: Option<&'a Node>,
        path: usize,
    ) -> Result<Looked<'a>, ImageError> {
        let proof = Proof::of(&rustix::fs::fstat(dir).map_err(|e| self.failed(e))?);
        let opaque = is_opaque(dir);
        let was_opaque = was.is_some_and(|was| matches!(was.kind, Kind::Folder { opaque: true, .. }));
        let before = self.before.and_then(|index| index.nodes.names(was));
        // One that came to hide what lies below hides what was here, too.
        let before = before.filter(|_| was_opaque || !opaque);
        Ok(Looked {
            name,
            proof,
            opaque: (opaque, opaque && before.is_none()),
            before,
            is_changed: self.path.is_empty()
                || before.is_none()
                || was.is_none_or(|was| !self.is_same(was, &proof)),
            left: names(dir).map_err(|e| self.failed(e))?,
            path,
            now: Names::new(),
            plan: Names::new(),
        })
    }

    fn is_same(&self, was: &Node, proof: &Proof) -> bool {
        was.proof == *proof && self.before.is_some_and(|before| proof.changed < before.since)
    }

    fn one(
        &mut self,
        dir: BorrowedFd<'_>,
        name: CString,
        level: &mut Looked<'a>,
        path: usize,
    ) -> Result<Option<(OwnedFd, Looked<'a>)>, ImageError> {
        let stat = match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed since the folder was read.
            Err(Errno::NOENT) if self.live => return Ok(None),
            other => other.map_err(|e| self.failed(e))?,
        };
        let was = level.before.and_then(|before| before.get(name.to_bytes()));
        if kind(&stat) == FileType::Directory {
            return match open_folder(dir, &name, true) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if self.live => Ok(None),
                other => {
                    let child = other.map_err(|e| self.failed(e))?;
                    let below = self.level(child.as_fd(), name, was, path)?;
                    Ok(Some((child, below)))
                }
            };
        }
        let proof = Proof::of(&stat);
        let (node, is_same) = if is_whiteout(&stat) {
            // All whiteouts of a zone are one file, so only that there is one says anything.
            (Node::GONE, was.is_some_and(|was| was.kind == Kind::Gone))
        } else {
            let node = Node { proof, kind: Kind::Other };
            let is_same = was.is_some_and(|was| was.kind == Kind::Other && self.is_same(was, &proof));
            let is_same = is_same && !self.linked.contains(&proof.inode);
            if proof.links > 1 {
                let of = if is_same { &mut self.same } else { &mut self.other };
                of.insert(proof.inode);
            }
            (node, is_same)
        };
        level.now.insert(name.to_bytes().into(), node);
        if !is_same {
            level.plan.insert(name.to_bytes().into(), node);
        }
        Ok(None)
    }

    /// What came of a folder: as it is, and what the layer must have of it, if anything.
    fn leave(&mut self, level: Looked<'_>) -> io::Result<(CString, Node, Option<Node>)> {
        let Looked { name, proof, opaque, before, is_changed, now, mut plan, .. } = level;
        // Where one is gone that lies below, the zone has a whiteout; so nothing does here, or what did is hidden.
        for (name, _) in before.into_iter().flatten().filter(|(_, was)| was.kind != Kind::Gone) {
            if !now.contains_key(name) {
                plan.insert(name.clone(), Node::GONE);
            }
        }
        let planned = if is_changed || !plan.is_empty() {
            let at = self.compared.plan.push(plan)?;
            Some(Node { proof, kind: Kind::Folder { at, opaque: opaque.1 } })
        } else {
            None
        };
        let at = self.compared.now.push(now)?;
        Ok((name, Node { proof, kind: Kind::Folder { at, opaque: opaque.0 } }, planned))
    }
}

/// Whether the layer has what `want` says since an earlier pass.
fn is_done(had: Option<&Node>, want: &Node, since: Time) -> bool {
    had.is_some_and(|had| had.proof == want.proof) && want.proof.changed < since
}

/// Files with more than one name, of which the layer does not have all as they are to be.
fn linked_anew(plan: &Nodes, had: &Nodes, since: Time) -> HashSet<u64> {
    let mut anew = HashSet::new();
    let mut left = vec![(plan.names(plan.top.as_ref()), had.names(had.top.as_ref()))];
    while let Some((plan_names, had_names)) = left.pop() {
        for (name, want) in plan_names.into_iter().flatten() {
            let was = had_names.and_then(|had| had.get(name));
            match want.kind {
                Kind::Folder { .. } => left.push((plan.names(Some(want)), had.names(was))),
                Kind::Other if want.proof.links > 1 && !is_done(was, want, since) => {
                    anew.insert(want.proof.inode);
                }
                Kind::Other | Kind::Gone => {}
            }
        }
    }
    anew
}

struct Apply<'a> {
    copy: Copy<'a>,
    plan: &'a Nodes,
    /// What is in the layer.
    had: &'a Nodes,
    done: Nodes,
    anew: HashSet<u64>,
    since: Time,
    live: bool,
}

/// A folder of the layer that is being made.
struct Made<'a> {
    name: &'a [u8],
    want: Node,
    had: Option<&'a Node>,
    had_names: Option<&'a Names>,
    left: std::collections::btree_map::Iter<'a, Box<[u8]>, Node>,
    done: Names,
    is_touched: bool,
    path: usize,
}

impl<'a> Apply<'a> {
    fn run(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), ImageError> {
        let Some(top) = self.plan.top.as_ref() else { return Ok(()) };
        let mut way = vec![self.level(to.as_fd(), b"", top, self.had.top.as_ref(), 0)?];
        match self.walk(from, to, &mut way) {
            Err(error) if self.live && is_race(&error) => {
                // What was not come to is made by the second pass.
                while let Some(level) = way.pop() {
                    self.leave(level, Proof::NONE, &mut way)?;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn walk(&mut self, from: OwnedFd, to: OwnedFd, way: &mut Vec<Made<'a>>) -> Result<(), ImageError> {
        let (mut from, mut to) = (from, to);
        while let Some(level) = way.last_mut() {
            if let Some((name, want)) = level.left.next() {
                let length = self.copy.path.len();
                if length > 0 {
                    self.copy.path.push(b'/');
                }
                self.copy.path.extend_from_slice(name);
                match self.one(from.as_fd(), to.as_fd(), name, want, level, length) {
                    Ok(Some((child, made, below))) => {
                        way.push(below);
                        (from, to) = (child, made);
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) if self.live && is_race(&error) => {
                        level.done.insert(name.clone(), Node::UNKNOWN);
                        level.is_touched = true;
                    }
                    Err(error) => return Err(error),
                }
                self.copy.path.truncate(length);
                continue;
            }
            self.end(from.as_fd(), to.as_fd(), level)?;
            if let [.., up, _] = way.as_slice() {
                from = open_folder(from.as_fd(), c"..", true).map_err(|e| self.copy.failed(e))?;
                let found = rustix::fs::fstat(&from).map_err(|e| self.copy.failed(e))?;
                if found.st_ino != up.want.proof.inode {
                    return Err(self.raced());
                }
                to = open_folder(to.as_fd(), c"..", true).map_err(|e| self.copy.failed(e))?;
            }
            if let Some(level) = way.pop() {
                self.copy.path.truncate(level.path);
                let proof = level.want.proof;
                self.leave(level, proof, way)?;
            }
        }
        Ok(())
    }

    fn raced(&self) -> ImageError {
        ImageError::entry(&self.copy.path, "it changed while it was copied")
    }

    /// Keeps what the layer has of a folder.
    fn leave(&mut self, level: Made<'_>, proof: Proof, way: &mut [Made<'_>]) -> Result<(), ImageError> {
        let Made { name, want, done, .. } = level;
        let at = self.done.push(done).map_err(|e| self.copy.failed(e))?;
        let opaque = matches!(want.kind, Kind::Folder { opaque: true, .. });
        let node = Node { proof, kind: Kind::Folder { at, opaque } };
        match way.last_mut() {
            Some(above) => drop(above.done.insert(name.into(), node)),
            None => self.done.top = Some(node),
        }
        Ok(())
    }

    /// Begins a folder: what is not to be in it goes.
    fn level(
        &mut self,
        to: BorrowedFd<'_>,
        name: &'a [u8],
        want: &'a Node,
        had: Option<&'a Node>,
        path: usize,
    ) -> Result<Made<'a>, ImageError> {
        let (had_names, all) = (self.had.names(had), self.plan.names(Some(want)));
        let mut is_touched = false;
        for name in had_names.into_iter().flatten().map(|(name, _)| name) {
            if all.is_none_or(|all| !all.contains_key(name)) {
                is_touched = true;
                let name = CString::new(&**name).map_err(|e| self.copy.failed(e))?;
                self.copy.clear(to, &name)?;
            }
        }
        let left = all.map(Names::iter).unwrap_or_default();
        Ok(Made { name, want: *want, had, had_names, left, done: Names::new(), is_touched, path })
    }

    fn one(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &'a [u8],
        want: &'a Node,
        level: &mut Made<'a>,
        path: usize,
    ) -> Result<Option<(OwnedFd, OwnedFd, Made<'a>)>, ImageError> {
        let had = level.had_names.and_then(|had| had.get(name));
        let is_kept = match (want.kind, had.map(|had| had.kind)) {
            (Kind::Gone, Some(Kind::Gone)) | (Kind::Folder { .. }, Some(Kind::Folder { .. })) => true,
            (Kind::Other, Some(Kind::Other)) => {
                is_done(had, want, self.since) && !self.anew.contains(&want.proof.inode)
            }
            _ => false,
        };
        let file = CString::new(name).map_err(|e| self.copy.failed(e))?;
        if !is_kept {
            level.is_touched = true;
            if had.is_some() {
                self.copy.clear(to, &file)?;
            }
        }
        if let Kind::Folder { .. } = want.kind {
            let child = open_folder(from, &file, true).map_err(|e| self.copy.failed(e))?;
            let stat = rustix::fs::fstat(&child).map_err(|e| self.copy.failed(e))?;
            if stat.st_ino != want.proof.inode {
                return Err(self.raced());
            }
            self.copy.check_ids(&stat)?;
            if !is_kept {
                rustix::fs::mkdirat(to, &file, Mode::RWXU).map_err(|e| self.copy.failed(e))?;
            }
            let made = open_folder(to, &file, true).map_err(|e| self.copy.failed(e))?;
            let below = self.level(made.as_fd(), name, want, had, path)?;
            return Ok(Some((child, made, below)));
        }
        if !is_kept {
            self.file(from, to, &file, want)?;
        }
        level.done.insert(name.into(), *want);
        Ok(None)
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        want: &Node,
    ) -> Result<(), ImageError> {
        let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It is gone, and what lies below it must not show.
            Err(Errno::NOENT) if want.kind == Kind::Gone => {
                return rustix::fs::mknodat(to, name, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|e| self.copy.failed(e));
            }
            other => other.map_err(|e| self.copy.failed(e))?,
        };
        // By the name of another file a folder that was moved and comes back would keep what is not its own.
        let is_meant = match want.kind {
            Kind::Gone => is_whiteout(&stat),
            _ => Proof::of(&stat) == want.proof,
        };
        if !is_meant {
            return Err(self.raced());
        }
        self.copy.leaf(from, to, name, &stat)
    }

    /// Gives a folder what it has besides files, where that is not so already.
    fn end(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, level: &Made<'_>) -> Result<(), ImageError> {
        let is_opaque = |node: &Node| matches!(node.kind, Kind::Folder { opaque: true, .. });
        let opaque = is_opaque(&level.want);
        let as_it_was = is_done(level.had, &level.want, self.since)
            && level.had.is_some_and(|had| is_opaque(had) == opaque);
        if level.is_touched || !as_it_was {
            self.attributes(from, to, opaque)?;
        }
        Ok(())
    }

    fn attributes(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        opaque: bool,
    ) -> Result<(), ImageError> {
        let stat = rustix::fs::fstat(from).map_err(|e| self.copy.failed(e))?;
        self.copy.check_ids(&stat)?;
        // Before the times are set. What the first pass gave it may have been taken off since.
        let (had, has) = (xattrs(to), xattrs(from));
        for name in had.difference(&has) {
            self.take_off(to, name)?;
        }
        self.copy.attributes(&stat, from, to)?;
        if !opaque {
            self.take_off(to, OPAQUE)?;
        }
        Ok(())
    }

    fn take_off(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), ImageError> {
        match rustix::fs::fremovexattr(folder, name) {
            // The labels of the host's own security modules stay.
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => Ok(()),
            Err(error) => Err(self.copy.failed(error)),
        }
    }
}

/// Names of a folder's extended attributes.
fn xattrs(folder: BorrowedFd<'_>) -> HashSet<Vec<u8>> {
    // The most that the kernel lists (xattr(7)).
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::flistxattr(folder, &mut list).unwrap_or(0);
    list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}
