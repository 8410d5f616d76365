//! How many groups a guest makes in systemd's v1 hierarchy: of v1 the kernel does not bound that, nor count their memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Most groups below the zone's own; as many as `cgroup.max.descendants` lets it have in v2.
pub const MOST: usize = 4096;

/// A watch of a group and of all below it.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    groups: BTreeMap<i32, PathBuf>,
    is_over: bool,
}

impl Watch {
    /// Of a group in which nothing runs yet.
    pub fn new(group: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watch = Self { inotify, groups: BTreeMap::new(), is_over: false };
        watch.add(group.to_owned());
        Ok(watch)
    }

    /// Takes in some of what happened; whether there are more groups than a zone may have.
    pub fn hear(&mut self) -> bool {
        // A buffer at a time: a guest can make news faster than it is read.
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut made = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let (of, what) = (event.wd(), event.events());
            self.is_over |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            if what.contains(ReadFlags::IGNORED) {
                self.groups.remove(&of);
            }
            if let (true, Some(name), Some(group)) =
                (what.contains(ReadFlags::ISDIR), event.file_name(), self.groups.get(&of))
            {
                made.push(group.join(OsStr::from_bytes(name.to_bytes())));
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        made.into_iter().for_each(|group| self.add(group));
        self.is_over
    }

    /// A group, and those that were made below it before it was watched.
    fn add(&mut self, group: PathBuf) {
        let mut new = vec![group];
        while let Some(group) = new.pop() {
            if self.is_over || self.groups.len() + new.len() > MOST {
                self.is_over = true;
                return;
            }
            let how = WatchFlags::CREATE | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
            match inotify::add_watch(&self.inotify, &group, how) {
                Ok(number) => {
                    let entries = fs::read_dir(&group).into_iter().flatten().flatten();
                    let below = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
                    new.extend(below.take(MOST + 1).map(|e| e.path()));
                    self.groups.insert(number, group);
                }
                Err(Errno::NOENT) => {}
                // Deeper than a path is long, or more than root of the host may watch: either is too many.
                Err(_) => self.is_over = true,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_after(watch: &mut Watch, rounds: usize) -> bool {
        (0..rounds).any(|_| watch.hear())
    }

    #[test]
    fn groups_are_counted_at_every_depth_and_those_that_went_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();
        for round in 0..3 {
            for i in 0..2000 {
                let path = dir.path().join(format!("{round}/{}/{i}", i % 7));
                fs::create_dir_all(&path).unwrap();
                assert!(!watch.hear(), "{} in round {round}", watch.groups.len());
            }
            assert!(watch.groups.len() > 2000);
            fs::remove_dir_all(dir.path().join(round.to_string())).unwrap();
            assert!(!over_after(&mut watch, 40));
            assert_eq!(watch.groups.len(), 1);
        }
        for i in 0..MOST + 1 {
            fs::create_dir(dir.path().join(i.to_string())).unwrap();
        }
        assert!(over_after(&mut watch, 1000));
    }

    #[test]
    fn what_is_too_deep_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();
        let name = "d".repeat(250);
        let mut here =
            rustix::fs::open(dir.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        let over = (0..40).any(|_| {
            rustix::fs::mkdirat(&here, &name, rustix::fs::Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
                .unwrap();
            watch.hear()
        });
        assert!(over);
    }
}
