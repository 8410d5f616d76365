//! A disk that becomes full in the middle of an operation, at every point of it: the operation says so, all is as it was,
//! and with room it works.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use zones_tests::{How, Zoned, busybox_root, run, target, text};

/// What a disk runs out of, and how fast the tests give it more.
#[derive(Clone, Copy, PartialEq)]
enum Lack {
    /// KiB: as few as it takes.
    Room,
    /// KiB by large steps.
    MuchRoom,
    /// Files that there can be.
    Files,
}

/// A small file system, none of which is kept for root, that can be filled.
struct Disk {
    at: PathBuf,
    lack: Lack,
}

const EXT4: &[&str] = &["mkfs.ext4", "-q", "-m", "0"];

impl Disk {
    fn new(scratch: &Path, make: &[&str], mib: u64, lack: Lack) -> Self {
        let (image, at) = (scratch.join("image"), scratch.join("disk"));
        File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("make a disk");
        fs::create_dir(&at).expect("make a folder");
        run(&[make, &[text(&image)]].concat());
        run(&["mount", "-o", "loop", text(&image), text(&at)]);
        Self { at, lack }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn free(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.at).expect("statvfs");
        found.blocks_available() * found.fragment_size()
    }

    /// Leaves that many KiB, or files.
    fn leave(&self, room: u64) {
        self.make_room();
        match self.lack {
            Lack::Room => self.leave_kib(room),
            Lack::MuchRoom => self.leave_about(room),
            Lack::Files => self.leave_files(room),
        }
    }

    fn leave_kib(&self, kib: u64) {
        let file = File::create(self.filler()).expect("make the filler");
        let (mut size, mut last) = (0, 0);
        // What describes the filler takes blocks of its own.
        for _ in 0..64 {
            let free = self.free();
            let Some(more) = free.checked_sub(kib << 10).filter(|more| *more > 0) else { return };
            size += more;
            let allocated = nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, size as i64);
            if allocated.is_err() {
                size -= more / 2 + 1;
            }
            if last == free {
                return;
            }
            last = free;
        }
    }

    /// Where what is told to be free is not: to the brim, and so much back.
    fn leave_about(&self, kib: u64) {
        let file = File::create(self.filler()).expect("make the filler");
        let mut size = 0;
        for piece in [4 << 20, 256 << 10, 16 << 10, 4 << 10] {
            let more =
                |size: i64| nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), size, piece);
            while more(size).is_ok() {
                size += piece;
            }
        }
        file.set_len((size as u64).saturating_sub(kib << 10)).expect("cut the filler");
        run(&["sync", "-f", text(&self.at)]);
    }

    fn leave_files(&self, left: u64) {
        fs::create_dir(self.filler()).expect("make the filler");
        let free = || nix::sys::statvfs::statvfs(&self.at).expect("statvfs").files_free();
        for i in 0..free().saturating_sub(left) {
            File::create(self.filler().join(i.to_string())).expect("make a file");
        }
    }

    fn make_room(&self) {
        let _ = fs::remove_file(self.filler());
        let _ = fs::remove_dir_all(self.filler());
        run(&["sync", "-f", text(&self.at)]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        if std::thread::panicking() {
            umount.arg("-l");
        }
        let done = umount.arg(&self.at).status().expect("run umount");
        assert!(done.success() || std::thread::panicking(), "the disk is still in use");
    }
}

struct Host<'a> {
    zoned: &'a Zoned,
    disk: &'a Disk,
}

/// An operation: words of zonectl, and what its stdin is.
type Words<'a> = (&'a [&'a str], Option<&'a Path>);

impl Host<'_> {
    fn json(&self, words: &[&str]) -> Value {
        let text = self.zoned.zonectl(&[&["--json"], words].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    fn names(&self) -> Vec<String> {
        let all = self.json(&["list", "-c"]);
        let all = all.get("zones").cloned().unwrap_or(all);
        let name = |zone: &Value| zone["name"].as_str().expect("a name").to_owned();
        all.as_array().into_iter().flatten().map(name).collect()
    }

    /// All that an operator can see, and what records say.
    fn state(&self) -> Value {
        let mut zones = Vec::new();
        for name in self.names() {
            let zone = self.zoned.zone(&name).expect("it is listed");
            let path = self.zoned.root().join("zones").join(&name).join("state.json");
            let record: Value =
                serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
            let toml =
                fs::read_to_string(self.zoned.zones().join(format!("{name}.toml"))).unwrap_or_default();
            zones.push(json!({
                "name": name, "state": zone["state"], "path": zone["path"], "snapshots": self.json(&["snapshots", &name]),
                "change": record["change"], "at": record["at"], "durable": record["state"], "config": toml,
            }));
        }
        let root = self.zoned.root();
        let names = |folder: &str| {
            let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            // What is kept for records comes and goes.
            names.filter(|name| name != ".reserve").collect::<BTreeSet<_>>()
        };
        json!({
            "zones": zones, "images": self.json(&["image", "list"]), "drafts": names("images/tmp"),
            "trash": names("zones/.trash"), "folders": names("zones"), "configurations": fs::read_dir(self.zoned.zones())
                .expect("it is there").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect::<BTreeSet<_>>(),
        })
    }

    /// Layers of zones that nobody needs.
    fn orphans(&self) -> Vec<String> {
        let root = self.zoned.root();
        let mut needed: Vec<Value> = Vec::new();
        for name in self.names() {
            let path = root.join("zones").join(&name).join("state.json");
            let record: Value =
                serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
            let snapshots = self.json(&["snapshots", &name]);
            let snapshots = snapshots.as_array().cloned().unwrap_or_default();
            let lists = snapshots.iter().map(|snapshot| &snapshot["layers"]).chain([&record["layers"]]);
            needed.extend(lists.flat_map(|list| list.as_array().cloned().unwrap_or_default()));
        }
        let needed: BTreeSet<&str> = needed.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>();
        let all = fs::read_dir(root.join("layers")).expect("the store").flatten();
        all.map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !needed.contains(name.as_str()))
            .collect()
    }

    fn call(&self, (words, stdin): Words<'_>) -> (Option<i32>, String) {
        let mut command = self.zoned.command(words);
        match stdin {
            Some(path) => command.stdin(File::open(path).expect("open the stream")),
            None => command.stdin(Stdio::null()),
        };
        let out = command.stdout(Stdio::null()).output().expect("run zonectl");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    /// Does it with ever more room until it works.
    fn sweep(&self, name: &str, words: Words<'_>) {
        let before = self.state();
        let (mut room, mut failures, mut told) = (0, 0, BTreeSet::new());
        loop {
            self.disk.leave(room);
            let (code, said) = self.call(words);
            let unit = if self.disk.lack == Lack::Files { "files" } else { "KiB" };
            let story = format!("{name} with {room} {unit}: {said}");
            if code == Some(0) {
                break;
            }
            failures += 1;
            let last =
                said.lines().filter(|line| line.starts_with("zonectl: ")).collect::<Vec<_>>().join("; ");
            told.insert(last);
            assert_eq!(code, Some(1), "{story}");
            assert!(said.to_lowercase().contains("no space left"), "{story}");
            // Where.
            assert!(said.contains(" /") || said.contains(text(&self.disk.at)), "{story}");
            self.disk.make_room();
            let after = self.state();
            assert!(after == before, "{story}\n{before:#}\n{after:#}");
            // btrfs needs room to remove something, too: it goes with the next operation.
            if self.disk.lack != Lack::MuchRoom {
                assert_eq!(self.orphans(), Vec::<String>::new(), "{story}");
            }
            if self.disk.lack == Lack::Files && said.contains("file system of") {
                assert!(said.contains("inodes"), "{story}");
            }
            room = match self.disk.lack {
                Lack::Room => (room + 4).max(room * 5 / 4),
                Lack::MuchRoom => (room + 32).max(room * 2),
                Lack::Files => (room + 1).max(room * 4 / 3),
            };
            assert!(room < 200_000, "{story}");
        }
        self.disk.make_room();
        eprintln!("{name}: {failures} failures, done with {room}");
        for told in told {
            eprintln!("  {}", told.replace(text(&self.disk.at), "DISK"));
        }
        assert_eq!(self.orphans(), Vec::<String>::new(), "{name}");
        let after = self.state();
        assert_eq!((&after["drafts"], &after["trash"]), (&json!([]), &json!([])), "{name}");
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) {
        self.zoned.zonectl(words).ok();
    }

    /// The zone is as it was made.
    #[track_caller]
    fn whole(&self, name: &str) {
        let runs = self.zoned.state(name).as_deref() == Some("running");
        if !runs {
            self.ok(&["boot", name, "-i", "none"]);
        }
        assert_eq!(
            self.zoned.sh(name, "cat /mine /d/hard; md5sum < /d/big | cut -c1-8"),
            "mine\nmine\n47246686\n",
            "{name}"
        );
        if !runs {
            self.ok(&["halt", name]);
        }
    }
}

fn installed(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    zoned.sh(name, "echo mine > /mine; mkdir /d; ln /mine /d/hard; yes | head -c 3145728 > /d/big");
    zoned.zonectl(&["halt", name]).ok();
}

/// A layout of an image of two layers.
fn layout(dir: &Path) -> PathBuf {
    let (root, layout) = (dir.join("files"), dir.join("layout"));
    run(&["cp", "-a", text(&busybox_root()), text(&root)]);
    for i in 0..30 {
        fs::write(root.join(format!("file{i}")), format!("{i}").repeat(30_000)).expect("write a file");
    }
    let image = format!("{}:1", layout.display());
    run(&["umoci", "init", "--layout", text(&layout)]);
    run(&["umoci", "new", "--image", &image]);
    run(&["umoci", "insert", "--image", &image, text(&root), "/"]);
    run(&["umoci", "insert", "--image", &image, text(&root.join("etc")), "/opt"]);
    layout
}

/// The stream that these words of `send` write.
fn sent(zoned: &Zoned, path: &Path, words: &[&str]) {
    let mut command = zoned.command(&[&["send"], words].concat());
    let status = command.stdout(File::create(path).expect("make a file")).status().expect("run zonectl");
    assert!(status.success(), "send {words:?}");
}

#[test]
fn a_full_disk_fails_operations_cleanly_at_every_point() {
    operations_fail_cleanly(EXT4, 96, Lack::Room);
}

#[test]
fn a_full_xfs_fails_operations_cleanly() {
    operations_fail_cleanly(&["mkfs.xfs", "-q"], 320, Lack::MuchRoom);
}

#[test]
fn a_full_btrfs_fails_operations_cleanly() {
    // Mixed: a small one has no room for data that is not of its metadata.
    operations_fail_cleanly(&["mkfs.btrfs", "-q", "-M"], 128, Lack::MuchRoom);
}

#[test]
fn a_disk_without_inodes_fails_operations_cleanly() {
    operations_fail_cleanly(&[EXT4, &["-N", "8000"]].concat(), 96, Lack::Files);
}

fn operations_fail_cleanly(make: &[&str], mib: u64, lack: Lack) {
    let scratch = tempfile::tempdir_in(target()).expect("a folder");
    let layout = layout(scratch.path());
    let source = format!("oci:{}:1", layout.display());
    let (whole, change) = (scratch.path().join("whole"), scratch.path().join("change"));
    {
        let other = Zoned::start();
        installed(&other, "z");
        other.zonectl(&["snapshot", "z@a"]).ok();
        sent(&other, &whole, &["z@a"]);
        other.zonectl(&["boot", "z", "-i", "none"]).ok();
        other.sh("z", "yes | head -c 2097152 > /more");
        other.zonectl(&["snapshot", "z@b"]).ok();
        sent(&other, &change, &["z@b", "--base", "a"]);
    }
    let disk = Disk::new(scratch.path(), make, mib, lack);
    let zoned = Zoned::start_as(How { place: Some(disk.at.clone()), ..How::default() });
    let host = Host { zoned: &zoned, disk: &disk };
    installed(&zoned, "z");

    host.sweep("create", (&["create", "new"], None));
    host.sweep(
        "install from a folder",
        (&["install", "new", &format!("dir:{}", busybox_root().display())], None),
    );
    host.ok(&["delete", "new", "-F"]);
    host.sweep("import", (&["image", "import", &source, "one"], None));
    host.ok(&["image", "verify"]);
    host.ok(&["create", "new"]);
    host.sweep("install from an image", (&["install", "new", "image:one"], None));
    host.ok(&["delete", "new", "-F"]);

    host.sweep("snapshot", (&["snapshot", "z@still"], None));
    host.whole("z");
    host.sweep("clone", (&["clone", "z", "c"], None));
    host.whole("c");
    host.ok(&["delete", "c", "-F"]);
    host.ok(&["boot", "z", "-i", "none"]);
    host.zoned.sh("z", "yes | head -c 2097152 > /more; sync");
    host.sweep("snapshot of one that runs", (&["snapshot", "z@live"], None));
    host.sweep("clone of one that runs", (&["clone", "z", "c"], None));
    host.sweep("clone of a snapshot", (&["clone", "z@live", "cc"], None));
    host.whole("z");
    host.whole("cc");
    host.sweep("commit", (&["commit", "z", "mine"], None));
    host.sweep("rollback of one that runs", (&["rollback", "z@still"], None));
    host.ok(&["halt", "z"]);
    host.sweep("rollback", (&["rollback", "z@live"], None));
    host.whole("z");
    host.sweep("snapshot that goes", (&["snapshot", "-d", "z@live"], None));

    host.sweep("receive", (&["receive", "r"], Some(&whole)));
    host.whole("r");
    host.sweep("receive of a change", (&["receive", "r"], Some(&change)));
    host.whole("r");

    // Its layers are those of a clone, too, and must be copied.
    host.ok(&["snapshot", "z@shared"]);
    host.sweep("detach", (&["detach", "z"], None));
    host.sweep("attach", (&["attach", "z", text(&zoned.root().join("zones/z"))], None));
    host.whole("z");
    host.sweep("move", (&["move", "z", text(&disk.at.join("place"))], None));
    host.whole("z");
    host.sweep("name of an image that goes", (&["image", "rm", "mine"], None));
    host.sweep("prune", (&["image", "prune"], None));
    for name in ["z", "r", "c", "cc"] {
        host.sweep("uninstall", (&["uninstall", name, "-F"], None));
        host.sweep("delete", (&["delete", name], None));
    }
    host.ok(&["image", "verify"]);
    drop(zoned);
}

#[test]
fn a_zone_that_does_not_fit_stays_where_it_is() {
    let scratch = tempfile::tempdir_in(target()).expect("a folder");
    let disk = Disk::new(scratch.path(), EXT4, 32, Lack::Room);
    let zoned = Zoned::start();
    let host = Host { zoned: &zoned, disk: &disk };
    installed(&zoned, "z");
    let to = disk.at.join("z");
    host.sweep("move to another disk", (&["move", "z", text(&to)], None));
    host.whole("z");
    assert_eq!(
        fs::metadata(&to).expect("it is there").dev(),
        fs::metadata(&disk.at).expect("it is there").dev()
    );
    host.ok(&["snapshot", "z@far"]);
    host.sweep("detach with its layers", (&["detach", "z"], None));
    host.ok(&["attach", "z", text(&to)]);
    host.whole("z");
    host.ok(&["delete", "z", "-F"]);
    drop(zoned);
}
