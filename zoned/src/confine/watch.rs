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

/// What is heard of each group: those made right below it, those removed, and those renamed, which v1 lets a guest do. The end of
/// a group itself the kernel does not tell of: the inode of one has a link to its end.
const NEWS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// A watch of a group and of all below it.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    inotify: OwnedFd,
    groups: BTreeMap<i32, PathBuf>,
    numbers: BTreeMap<PathBuf, i32>,
    is_over: bool,
}

/// What happened to a group of some name.
enum News {
    Came(PathBuf),
    Went(PathBuf),
}

impl Watch {
    /// Of a group in which nothing runs yet.
    pub fn new(group: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watch = Self {
            root: group.to_owned(),
            inotify,
            groups: BTreeMap::new(),
            numbers: BTreeMap::new(),
            is_over: false,
        };
        watch.add(group.to_owned());
        Ok(watch)
    }

    /// Takes in some of what happened; whether there are more groups than a zone may have.
    pub fn hear(&mut self) -> bool {
        // A buffer at a time: a guest can make news faster than it is read.
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut heard = Vec::new();
        let mut was_too_much = false;
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let what = event.events();
            was_too_much |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            if let (true, Some(name), Some(group)) =
                (what.contains(ReadFlags::ISDIR), event.file_name(), self.groups.get(&event.wd()))
            {
                let path = group.join(OsStr::from_bytes(name.to_bytes()));
                let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
                heard.push(if is_new { News::Came(path) } else { News::Went(path) });
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
        if was_too_much {
            // Some was lost: they are counted anew.
            match Self::new(&self.root) {
                Ok(anew) => *self = anew,
                Err(_) => self.is_over = true,
            }
            return self.is_over;
        }
        for news in heard {
            match news {
                News::Came(group) => self.add(group),
                News::Went(group) => self.remove(&group),
            }
        }
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
            match inotify::add_watch(&self.inotify, &group, NEWS) {
                Ok(number) => {
                    let entries = fs::read_dir(&group).into_iter().flatten().flatten();
                    let below = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
                    new.extend(below.take(MOST + 1).map(|e| e.path()));
                    // One that has another name by now, or another that has its name.
                    if let Some(old) = self.groups.insert(number, group.clone()).filter(|old| *old != group) {
                        self.numbers.remove(&old);
                    }
                    if let Some(old) = self.numbers.insert(group, number).filter(|old| *old != number) {
                        self.forget(old);
                    }
                }
                Err(Errno::NOENT) => {}
                // Deeper than a path is long, or more than root of the host may watch: either is too many.
                Err(_) => self.is_over = true,
            }
        }
    }

    /// A group of that name and those below it, which are no more, or not there.
    fn remove(&mut self, group: &Path) {
        // Paths are in order by their parts, so those below one follow it.
        let following = self.numbers.range(group.to_owned()..);
        let gone = following.take_while(|(path, _)| path.starts_with(group));
        for (path, number) in gone.map(|(path, number)| (path.clone(), *number)).collect::<Vec<_>>() {
            self.numbers.remove(&path);
            self.forget(number);
        }
    }

    fn forget(&mut self, number: i32) {
        self.groups.remove(&number);
        // EINVAL where the kernel has forgotten it, too.
        let _ = inotify::remove_watch(&self.inotify, number);
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
    fn a_name_that_changes_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut watch = Watch::new(dir.path()).unwrap();
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir(at("a-b")).unwrap();
        assert!(!watch.hear());
        fs::rename(at("a"), at("c")).unwrap();
        fs::create_dir(at("c/b/d")).unwrap();
        assert!(!watch.hear());
        fs::create_dir(at("c/b/d/e")).unwrap();
        assert!(!over_after(&mut watch, 4));
        let mut names: Vec<_> =
            watch.groups.values().map(|path| path.strip_prefix(dir.path()).unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["", "a-b", "c", "c/b", "c/b/d", "c/b/d/e"].map(Path::new));
        assert_eq!(watch.groups.len(), watch.numbers.len());
        fs::remove_dir_all(at("c")).unwrap();
        assert!(!over_after(&mut watch, 4));
        assert_eq!((watch.groups.len(), watch.numbers.len()), (2, 2));
    }

    #[test]
    fn news_that_were_lost_are_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path()).unwrap();
        // More than the kernel keeps of them, /proc/sys/fs/inotify/max_queued_events.
        for i in 0..12_000 {
            let path = dir.path().join(i.to_string());
            fs::create_dir(&path).unwrap();
            fs::remove_dir(&path).unwrap();
        }
        fs::create_dir(dir.path().join("last")).unwrap();
        assert!(!over_after(&mut watch, 1000));
        assert_eq!(watch.groups.len(), 2);
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
