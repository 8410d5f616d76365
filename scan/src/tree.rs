//! A folder, walked without ever following a link out of it or into another file system.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::libc::Libc;
use crate::report::{Collector, Fit, Report};
use crate::version::Version;
use crate::{MOST_BYTES, release};

/// Folders in folders; each takes a descriptor while it is walked.
const DEEPEST: usize = 128;
/// Entries of a tree.
const MOST_FILES: u64 = 5_000_000;

/// Hands every file of the folder at `path` to `to`.
pub(crate) fn walk(path: &Path, to: &mut Collector<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let mut stack = vec![(Dir::new(root)?, Vec::new())];
    let mut seen = 0;
    loop {
        let depth = stack.len();
        let Some((dir, path)) = stack.last_mut() else { return Ok(()) };
        let Some(entry) = dir.next() else {
            stack.pop();
            continue;
        };
        let Ok(entry) = entry else {
            let path = path.clone();
            to.skip(&path);
            stack.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        seen += 1;
        let path =
            if path.is_empty() { name.to_bytes().to_vec() } else { [path, name.to_bytes()].join(&b'/') };
        if seen > MOST_FILES {
            to.skip(&path);
            return Ok(());
        }
        let dir = dir.fd()?;
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            to.skip(&path);
            continue;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth < DEEPEST => {
                let found = open_below(dir, name.to_bytes(), flags | OFlags::NOFOLLOW).and_then(Dir::new);
                match found {
                    Ok(found) => stack.push((found, path)),
                    // Another file system is not part of the tree.
                    Err(Errno::XDEV) => {}
                    Err(_) => to.skip(&path),
                }
            }
            FileType::Directory => to.skip(&path),
            FileType::RegularFile => match open_file(dir, name.to_bytes()).map(|file| read(&path, file)) {
                Ok(Ok(bytes)) => to.file(&path, &bytes),
                _ => to.skip(&path),
            },
            _ => {}
        }
    }
}

fn open_below(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<File, Errno> {
    // NONBLOCK: what was a file a moment ago may be a fifo now.
    Ok(open_below(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?.into())
}

/// As much of a file as is of interest: its beginning, or all.
fn read(path: &[u8], file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&file).take(4).read_to_end(&mut bytes)?;
    let more = if Collector::wants(path, &bytes) { MOST_BYTES } else { 256 };
    if bytes.len() == 4 && (more == MOST_BYTES || crate::look::is_short(&bytes)) {
        (&file).take(more - 4).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Files by which the age of a root can be told, if no release file says it.
const TELLING: [&str; 10] = [
    "lib/libc.so.6",
    "lib/tls/libc.so.6",
    "lib64/libc.so.6",
    "lib/i386-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/libc.so.6",
    "usr/lib64/libc.so.6",
    "lib/libc.so.5",
    "lib/libc.so.4",
    "bin/sh",
];

/// Loaders that are their C library.
const MUSL: [&str; 2] = ["lib/ld-musl-x86_64.so.1", "lib/ld-musl-i386.so.1"];

/// The level that fits the root at `path`, by a look at a few files; links are followed within the root.
pub fn fit(path: &Path) -> io::Result<Option<Fit>> {
    Ok(report_of(path, release::FILES.iter().chain(&TELLING))?.fit)
}

/// Whether the C library of the root at `path` is one whose programs do not call the vsyscall page: glibc since 2.14, or musl.
pub fn is_past_vsyscall(path: &Path) -> io::Result<bool> {
    let libcs = report_of(path, TELLING.iter().chain(&MUSL))?.libcs;
    let is_past = |libc: &Libc| match libc.name {
        "glibc" => libc.version >= Some(Version([2, 14, 0])),
        name => name == "musl",
    };
    Ok(!libcs.is_empty() && libcs.iter().all(is_past))
}

/// Whether the C library or the shell of the root at `path` calls into the vsyscall page.
pub fn calls_vsyscall(path: &Path) -> io::Result<bool> {
    Ok(report_of(path, TELLING.iter())?.vsyscall.count > 0)
}

/// What these files of the root at `path` tell, without a word while they are read.
fn report_of<'a>(path: &Path, files: impl Iterator<Item = &'a &'static str>) -> io::Result<Report> {
    let mut quiet = |_| {};
    let mut collector = Collector::new(&mut quiet);
    look_at(path, files, &mut collector)?;
    Ok(collector.report(String::new(), "folder"))
}

fn look_at<'a>(
    path: &Path,
    files: impl Iterator<Item = &'a &'static str>,
    to: &mut Collector<'_>,
) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    for path in files {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // To open a device or a fifo has effects, so what it is is looked at first.
        let Ok(found) =
            rustix::fs::openat2(&root, *path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        else {
            continue;
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::RegularFile {
            continue;
        }
        let file = File::open(format!("/proc/self/fd/{}", found.as_fd().as_raw_fd()))?;
        to.file(path.as_bytes(), &read(path.as_bytes(), file)?);
    }
    Ok(())
}
