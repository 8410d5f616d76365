//! Layers of what changed: one over the other they show what the zone itself shows, whatever it does between.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};

use super::View;
use super::backend::{self, UPPER, WORK};

/// Numbers that come out the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % n
    }

    /// Few names, so that one takes the place of another often.
    fn path(&mut self, root: &Path) -> PathBuf {
        let mut path = root.to_owned();
        for _ in 0..=self.below(5) {
            path.push(["a", "b", "c", "d", "e", "f", "g"][self.below(7) as usize]);
        }
        path
    }
}

/// What a program may do to files, once. What cannot be done is left.
fn act(root: &Path, dice: &mut Dice, open: &mut Vec<File>) -> io::Result<()> {
    let (path, other) = (dice.path(root), dice.path(root));
    let made = dice.below(25);
    if matches!(made, 0..=3 | 9..=11 | 15..=20) && dice.below(2) == 0 {
        fs::create_dir_all(other.parent().unwrap_or(root))?;
        fs::create_dir_all(path.parent().unwrap_or(root))?;
    }
    // Neither a fifo nor a device is to keep anybody waiting; the numbers are of no driver.
    let opened = |path: &Path, create: bool| {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        let file = File::options()
            .read(!create)
            .write(true)
            .create(create)
            .truncate(create)
            .custom_flags(flags)
            .open(path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::Unsupported)) }
    };
    let time = |n: u64| Timespec { tv_sec: n as i64, tv_nsec: 0 };
    match made {
        0..=2 => opened(&path, true)?.write_all(dice.below(1000).to_string().as_bytes())?,
        3 => opened(&path, true)?.write_all(&vec![dice.below(256) as u8; dice.below(300_000) as usize])?,
        // Of the same length and with the same time, and with another owner of the descriptor.
        4 | 5 => {
            let file = opened(&path, false)?;
            let was = fs::metadata(&path)?.modified()?;
            file.write_all_at(&[dice.below(256) as u8], 0)?;
            file.set_modified(was)?;
            open.push(file);
        }
        6 if !open.is_empty() => {
            let at = dice.below(open.len() as u64) as usize;
            open[at].write_all_at(&[dice.below(256) as u8], dice.below(5))?;
            if open.len() > 8 {
                open.swap_remove(at);
            }
        }
        7 => opened(&path, false)?.write_all_at(b"more", fs::metadata(&path)?.len())?,
        8 => opened(&path, false)?.set_len(dice.below(9000))?,
        9..=11 => fs::create_dir(&path)?,
        12 => fs::create_dir_all(&path)?,
        13 => fs::remove_file(&path)?,
        // Most that are removed are small.
        14 if path.components().count() > root.components().count() + 2 || dice.below(9) == 0 => {
            fs::remove_dir_all(&path)?;
        }
        14 => fs::remove_dir(&path)?,
        15 | 16 => fs::rename(&path, &other)?,
        17 => rustix::fs::renameat_with(CWD, &path, CWD, &other, RenameFlags::EXCHANGE)?,
        18 => fs::hard_link(&path, &other)?,
        19 => symlink(format!("to{}", dice.below(9)), &path)?,
        20 => {
            let (kind, device) = match dice.below(4) {
                0 => (FileType::Fifo, 0),
                1 => (FileType::Socket, 0),
                2 => (FileType::CharacterDevice, rustix::fs::makedev(4000, dice.below(9) as u32)),
                _ => (FileType::BlockDevice, rustix::fs::makedev(4000, dice.below(3) as u32)),
            };
            rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device)?;
        }
        21 => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o7777 & dice.below(4096) as u32 | 0o700))?
        }
        22 => std::os::unix::fs::lchown(&path, Some(dice.below(5) as u32), Some(dice.below(5) as u32))?,
        23 => match dice.below(3) {
            0 => rustix::fs::removexattr(&path, "user.one")?,
            n => {
                let name = ["user.one", "user.two"][n as usize - 1];
                rustix::fs::setxattr(&path, name, &[dice.below(9) as u8], XattrFlags::empty())?;
            }
        },
        _ => {
            let times = Timestamps { last_access: time(1), last_modification: time(dice.below(9)) };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// All that can be seen of a tree. Names of one file have the first of them; in the folder `upper` that is written to they are told
/// apart, since its overlay may give two names of one file two numbers.
fn seen(root: &Path, upper: Option<&Path>) -> BTreeMap<PathBuf, String> {
    let (mut all, mut first, mut left) = (BTreeMap::new(), BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(path) = left.pop() {
        let here = root.join(&path);
        // The topmost is a link to a descriptor.
        let found =
            if path.as_os_str().is_empty() { fs::metadata(&here) } else { fs::symlink_metadata(&here) };
        let found = found.unwrap();
        let mut list = vec![0; 4096];
        let length = rustix::fs::llistxattr(&here, &mut list).unwrap_or(0);
        let mut xattrs: Vec<String> = list[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| {
                let mut value = vec![0; 256];
                let length = rustix::fs::lgetxattr(&here, name, &mut value).unwrap();
                format!("{}={:?}", String::from_utf8_lossy(name), &value[..length])
            })
            .collect();
        xattrs.sort();
        let what = if found.is_dir() {
            left.extend(fs::read_dir(&here).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            "folder".to_owned()
        } else if found.is_symlink() {
            format!("link to {:?}", fs::read_link(&here).unwrap())
        } else if found.is_file() {
            use sha2::Digest;
            format!("{} {:?}", found.size(), &sha2::Sha256::digest(fs::read(&here).unwrap())[..8])
        } else {
            format!("device {:x}", found.rdev())
        };
        let mut text = format!(
            "{:o} {}:{} {}.{:09} {what} {xattrs:?}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec()
        );
        if !found.is_dir() {
            text += &format!(" {} names", found.nlink());
            let own = upper.and_then(|upper| fs::symlink_metadata(upper.join(&path)).ok()).unwrap_or(found);
            first.entry((own.dev(), own.ino())).or_insert_with(Vec::new).push(path.clone());
        }
        all.insert(path, text);
    }
    for mut names in first.into_values() {
        names.sort();
        for name in &names {
            *all.get_mut(name).unwrap() += &format!(", one with {:?}", names[0]);
        }
    }
    all
}

fn first_difference(want: &BTreeMap<PathBuf, String>, have: &BTreeMap<PathBuf, String>) -> Option<String> {
    let paths: std::collections::BTreeSet<_> = want.keys().chain(have.keys()).collect();
    let differs = paths.into_iter().find(|path| want.get(*path) != have.get(*path))?;
    Some(format!(
        "{}:\n  zone:  {:?}\n  layers: {:?}",
        differs.display(),
        want.get(differs),
        have.get(differs)
    ))
}

/// How often each came about, so that the test tests something.
#[derive(Default)]
struct Tally {
    acts: AtomicU64,
    changes: AtomicU64,
    copied: AtomicU64,
    held: AtomicU64,
}

fn files(folder: &Path) -> u64 {
    let mut all = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            all += files(&path);
        }
    }
    all
}

fn snapshots_of_one(seed: u64, rounds: u32, tally: &Tally) {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let at = dir.path();
    let mut dice = Dice(seed);
    let mut open = Vec::new();
    // Two layers of what the zone was made of.
    let mut base = Vec::new();
    for name in ["low", "lower"] {
        let layer = at.join(name);
        fs::create_dir(&layer).unwrap();
        for _ in 0..150 {
            let _ = act(&layer, &mut dice, &mut Vec::new());
        }
        base.push(layer);
    }
    for name in [UPPER, WORK] {
        fs::create_dir(at.join(name)).unwrap();
    }
    let view = View::over(&base, &at.join(UPPER), &at.join(WORK)).unwrap();
    let zone = view.path();
    let mut chain: Vec<PathBuf> = Vec::new();
    for round in 0..rounds {
        for _ in 0..if round == 0 { 900 } else { dice.below(250) } {
            let done = act(&zone, &mut dice, &mut open);
            tally.acts.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
        }
        if dice.below(4) > 0 {
            // What was written within the last second need not have changed its time.
            std::thread::sleep(Duration::from_millis(1050));
            for _ in 0..dice.below(6) {
                let _ = act(&zone, &mut dice, &mut open);
            }
        }
        let layer = at.join(format!("layer{round}"));
        fs::create_dir(&layer).unwrap();
        let last = chain.first().map(|tree| tree.parent().unwrap().to_owned());
        let mut want = BTreeMap::new();
        let stop = AtomicBool::new(false);
        let is_change = std::thread::scope(|scope| {
            let mut meanwhile = Dice(seed ^ (u64::from(round) << 32) | 1);
            let (zone, stop) = (&zone, &stop);
            let writer = scope.spawn(move || {
                let mut open = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let _ = act(zone, &mut meanwhile, &mut open);
                    std::thread::sleep(Duration::from_micros(meanwhile.below(3000)));
                }
            });
            let mut writer = Some(writer);
            backend::of(at).copy(at, &layer, last.as_deref(), &mut |work| {
                stop.store(true, Ordering::Relaxed);
                writer.take().unwrap().join().unwrap();
                want = seen(zone, Some(&at.join(UPPER)));
                work()
            })
        });
        let is_change = is_change.unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
        assert_eq!(is_change, last.is_some());
        if is_change {
            tally.changes.fetch_add(1, Ordering::Relaxed);
            tally.copied.fetch_add(files(&layer.join("fs")), Ordering::Relaxed);
            tally.held.fetch_add(files(&at.join(UPPER)), Ordering::Relaxed);
        } else {
            chain.clear();
        }
        chain.insert(0, layer.join("fs"));
        let layers: Vec<PathBuf> = chain.iter().chain(&base).cloned().collect();
        let have = seen(&View::of(&layers).unwrap().path(), None);
        if let Some(difference) = first_difference(&want, &have) {
            let kept = dir.keep();
            panic!("seed {seed} round {round} in {}: {difference}", kept.display());
        }
        if chain.len() > 12 || dice.below(12) == 0 {
            backend::forget_index(&layer).unwrap();
            chain.clear();
        }
    }
}

#[test]
fn layers_of_changes_show_what_the_zone_shows() {
    let rounds = std::env::var("ZONES_CHANGES_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let begin = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("ZONES_CHANGES_SEED").ok().and_then(|text| text.parse().ok());
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (seed, tally) = (seed.unwrap_or(begin ^ (i << 40) | 1), &tally);
            scope.spawn(move || snapshots_of_one(seed, rounds, tally));
        }
    });
    let [acts, changes, copied, held] =
        [&tally.acts, &tally.changes, &tally.copied, &tally.held].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{acts} acts, {changes} layers of changes with {copied} files of {held}");
    assert!(acts > 1500 && changes > 10 && copied < held * 3 / 4, "the test tests nothing");
}
