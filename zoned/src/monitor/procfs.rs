//! The files of /proc that a level sees in a form of its own: a small FUSE file system, served by threads of the
//! monitor for as long as the zone has it mounted. Each opening of one that changes is a text of its own, so that
//! whoever reads in small pieces reads one moment; whoever begins anew, as top(1) does, reads another.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use brands::proc::File;
use brands::task::World;
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    Notifier, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, Request, Session,
    SessionACL,
};

use super::confined::{self, Role};
use super::share::Share;
use crate::sys::mount;

/// One file's content.
#[derive(Debug)]
pub enum Content {
    /// The same while the zone runs.
    Fixed(Vec<u8>),
    /// Made anew whenever it is opened, and whenever it is read from its beginning again.
    Live(&'static File),
    /// The same of a file that has no form of a level, and tells of the zone's share.
    Share(&'static str),
}

impl Content {
    fn changes(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

/// Files of a zone's /proc that are served.
#[derive(Debug)]
pub struct Served {
    /// The file system that holds them, mounted nowhere yet. File `i` is called `i` there.
    pub mount: OwnedFd,
    /// Where they belong, below /proc or by whole path.
    pub paths: Vec<String>,
}

/// Most openings at once; a guest that holds more gets ENFILE.
const MOST_OPEN: usize = 4096;

/// Nothing of what the kernel may remember changes.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Makes the file system and the threads that serve it. They end when the last mount is gone.
pub fn serve(
    files: Vec<(String, Content)>,
    world: &World,
    share: &Arc<Share>,
    owner: u32,
) -> io::Result<Served> {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let number = CString::new(device.as_raw_fd().to_string())?;
    let options = [
        (c"fd", number.as_c_str()),
        (c"rootmode", c"40000"),
        (c"user_id", c"0"),
        (c"group_id", c"0"),
        (c"allow_other", c""),
    ];
    let attributes = mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC;
    let mount = mount::make(c"fuse", &options, attributes)?;
    let (paths, files) = files.into_iter().unzip();
    let tree = Tree {
        files,
        world: world.clone(),
        share: Arc::clone(share),
        owner,
        open: Mutex::default(),
        kernel: OnceLock::new(),
    };
    thread::Builder::new().name("procfs".to_owned()).stack_size(256 * 1024).spawn(move || {
        if let Err(failure) = confined::become_owner(owner).and_then(|()| confined::confine(Role::Files)) {
            tracing::error!(why = failure.sentence(), "live files of /proc are not served");
            return;
        }
        if let Err(error) = answer(Arc::new(tree), device.into()) {
            tracing::warn!(%error, "live files of /proc are no longer served");
        }
    })?;
    Ok(Served { mount, paths })
}

/// Until the last mount is gone.
fn answer(tree: Arc<Tree>, device: OwnedFd) -> io::Result<()> {
    let (live, asked) = mpsc::channel::<(INodeNo, ReplyOpen)>();
    let server = Server { tree: Arc::clone(&tree), live };
    let session = Session::from_fd(server, device, SessionACL::All, Config::default())?;
    let _ = tree.kernel.set(session.notifier());
    let open = move || asked.into_iter().for_each(|(inode, reply)| tree.open(inode, reply));
    thread::Builder::new().name("procfs-open".to_owned()).stack_size(256 * 1024).spawn(open)?;
    session.run()
}

/// Answers what the kernel asks.
#[derive(Debug)]
struct Server {
    tree: Arc<Tree>,
    /// Openings of files that change, for a thread of their own: [`Tree::refresh`] waits for those who read, and they for
    /// this one.
    live: Sender<(INodeNo, ReplyOpen)>,
}

#[derive(Debug)]
struct Tree {
    files: Vec<Content>,
    world: World,
    share: Arc<Share>,
    owner: u32,
    open: Mutex<Open>,
    /// Set before the first request.
    kernel: OnceLock<Notifier>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    texts: HashMap<u64, Opening>,
}

#[derive(Debug)]
struct Opening {
    text: Vec<u8>,
    /// Whether its beginning was read.
    is_begun: bool,
}

impl Tree {
    /// Inode 1 is the root, file `i` is `i + 2`.
    fn file(&self, inode: INodeNo) -> Option<&Content> {
        let at = usize::try_from(inode.0.checked_sub(2)?).ok()?;
        self.files.get(at)
    }

    fn text(&self, file: &Content) -> Vec<u8> {
        match file {
            Content::Fixed(text) => text.clone(),
            Content::Live(file) => file.content(&self.world, &|path| self.share.text(path)).into_bytes(),
            Content::Share(path) => self.share.text(path).into_bytes(),
        }
    }

    /// What stat(2) says of an inode, and for how long.
    fn attributes(&self, inode: INodeNo, handle: Option<FileHandle>) -> Option<(Duration, FileAttr)> {
        let folder = inode == INodeNo::ROOT;
        let file = self.file(inode);
        if !folder && file.is_none() {
            return None;
        }
        let opened = handle.and_then(|handle| Some(self.opened().texts.get(&handle.0)?.text.len()));
        let size = match (opened, file) {
            (Some(size), _) => size,
            (None, None) => 0,
            (None, Some(Content::Fixed(text))) => text.len(),
            (None, Some(live)) => self.text(live).len(),
        };
        let lasts = if file.is_some_and(Content::changes) { Duration::ZERO } else { FOR_EVER };
        let attributes = FileAttr {
            ino: inode,
            size: size as u64,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: if folder { 0o555 } else { 0o444 },
            nlink: 1,
            uid: self.owner,
            gid: self.owner,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        Some((lasts, attributes))
    }

    /// read(2) of an open file comes here, but sendfile(2) and splice(2), which busybox's cat uses, take what the kernel
    /// has in its cache, up to the size that it knows: so it is given both anew.
    fn refresh(&self, inode: INodeNo, text: &[u8]) {
        let Some(kernel) = self.kernel.get() else { return };
        // ENOENT where it has nothing of the kind in memory.
        let _ = kernel.inval_inode(inode, 0, 0);
        let _ = kernel.store(inode, 0, text);
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, inode: INodeNo, reply: ReplyOpen) {
        let Some(file) = self.file(inode) else { return reply.error(Errno::ENOENT) };
        if self.opened().texts.len() >= MOST_OPEN {
            return reply.error(Errno::ENFILE);
        }
        let text = self.text(file);
        let flags = if file.changes() {
            self.refresh(inode, &text);
            FopenFlags::FOPEN_DIRECT_IO
        } else {
            FopenFlags::FOPEN_KEEP_CACHE
        };
        let handle = {
            let mut open = self.opened();
            open.next += 1;
            let handle = open.next;
            open.texts.insert(handle, Opening { text, is_begun: false });
            handle
        };
        reply.opened(FileHandle(handle), flags);
    }
}

/// The host's text of a file of /proc.
pub fn host(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new("/proc").join(path)).unwrap_or_default()
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        let inode = number.and_then(|n| n.checked_add(2)).map(INodeNo);
        match inode.filter(|_| parent == INodeNo::ROOT).and_then(|inode| self.tree.attributes(inode, None)) {
            Some((lasts, attributes)) => reply.entry(&lasts, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree.attributes(inode, handle) {
            Some((lasts, attributes)) => reply.attr(&lasts, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.tree.file(inode).is_some_and(Content::changes) {
            // Unanswered it is EIO, where that thread is no more.
            drop(self.live.send((inode, reply)));
        } else {
            self.tree.open(inode, reply);
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut open = self.tree.opened();
        let Some(opening) = open.texts.get_mut(&handle.0) else { return reply.error(Errno::EBADF) };
        if offset == 0 {
            // The kernel's cache is not given the new text: who fills it waits for this answer.
            if opening.is_begun
                && let Some(file) = self.tree.file(inode).filter(|file| file.changes())
            {
                opening.text = self.tree.text(file);
            }
            opening.is_begun = true;
        }
        let text = &opening.text;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let to = from.saturating_add(size as usize).min(text.len());
        reply.data(&text[from..to]);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.opened().texts.remove(&handle.0);
        reply.ok();
    }
}
