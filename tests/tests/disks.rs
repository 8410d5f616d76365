//! What the file system below offers: btrfs with subvolumes and limits, xfs with shared blocks, and one that has neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use zones_tests::{How, Mounted, Zoned, busybox_root, program, run, shares_layers, target, text};

fn zoned(disk: &Mounted) -> Zoned {
    Zoned::start_as(How { root: Some(disk.at.join("root")), ..How::default() })
}

fn running(zoned: &Zoned, name: &str, settings: &[&str]) {
    zoned.zonectl(&[&["create", name], settings].concat()).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

/// Snapshot, rollback and clone of a zone that runs, with a file that is worth sharing.
fn cycle(zoned: &Zoned) {
    running(zoned, "z", &[]);
    zoned.sh("z", "dd if=/dev/urandom of=/big bs=1M count=40 2>/dev/null; md5sum /big > /sum; rm /bin/vi");
    zoned.snapshot("z", "one");
    zoned.sh("z", "rm /big; echo two > /two");
    zoned.snapshot("z", "two");
    zoned.zonectl(&["clone", "z@one", "c"]).ok();
    zoned.zonectl(&["boot", "c", "-i", "none"]).ok();
    assert_eq!(zoned.sh("c", "md5sum -c /sum; [ -e /bin/vi ] || echo gone"), "/big: OK\ngone\n");
    zoned.zonectl(&["rollback", "z@one"]).ok();
    assert_eq!(zoned.sh("z", "md5sum -c /sum; [ -e /two ] || echo none"), "/big: OK\nnone\n");
}

fn used(at: &Path) -> u64 {
    run(&["sync", "-f", text(at)]);
    let found = nix::sys::statvfs::statvfs(at).expect("statvfs");
    (found.blocks() - found.blocks_free()) * found.fragment_size()
}

fn left(zoned: &Zoned) -> usize {
    fs::read_dir(zoned.root().join("layers")).expect("the store").count()
}

#[test]
fn btrfs_has_subvolumes_and_limits() {
    let disk = Mounted::new(&["mkfs.btrfs", "-q"], "loop", 400);
    let zoned = zoned(&disk);
    cycle(&zoned);
    // Two snapshots of 40 MiB each, of which one is shared by three.
    assert!(used(&disk.at) < 140 << 20 || !shares_layers(), "{}", used(&disk.at));
    let list = Command::new("btrfs").args(["subvolume", "list"]).arg(&disk.at).output().expect("run btrfs");
    assert!(String::from_utf8_lossy(&list.stdout).contains("zones/z/own"));

    running(&zoned, "small", &["capped-disk.size=16M"]);
    let fill = "dd if=/dev/urandom of=/fill bs=1M count=64 2>&1 | tail -n 1; ls -l /fill | awk '{print $5}'";
    let size = |name: &str| {
        let said = zoned.zonectl(&["login", name, "--", "sh", "-c", fill]);
        let last = said.stdout.lines().last().unwrap_or_default().to_owned();
        last.parse::<u64>().unwrap_or_else(|_| panic!("{said}"))
    };
    // Its size is that, whoever asks; the other zone's is the disk's.
    assert_eq!(df(&zoned, "small").0, 16);
    assert!(df(&zoned, "z").0 > 300);
    let filled = size("small");
    assert!((4 << 20..=17 << 20).contains(&filled), "{filled}");
    run(&["sync", "-f", text(&disk.at)]);
    let (all, taken) = df(&zoned, "small");
    assert!(all == 16 && taken.abs_diff(filled >> 20) <= 2, "{taken} of {all}, {filled} bytes");
    // Live, and away.
    zoned.zonectl(&["set", "small", "capped-disk.size=48M"]).ok();
    let filled = size("small");
    assert!((30 << 20..=49 << 20).contains(&filled), "{filled}");
    assert_eq!(df(&zoned, "small").0, 48);
    zoned.zonectl(&["unset", "small", "capped-disk.size"]).ok();
    assert_eq!(size("small"), 64 << 20);
    assert!(df(&zoned, "small").0 > 300);
    for name in ["z", "c", "small"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(left(&zoned), 0);
    let list = Command::new("btrfs").args(["subvolume", "list"]).arg(&disk.at).output().expect("run btrfs");
    assert!(list.stdout.is_empty(), "{}", String::from_utf8_lossy(&list.stdout));
    drop(zoned);
}

#[test]
fn xfs_shares_blocks() {
    let disk = Mounted::new(&["mkfs.xfs", "-q", "-m", "reflink=1"], "loop", 400);
    let zoned = zoned(&disk);
    let before = used(&disk.at);
    cycle(&zoned);
    let took = used(&disk.at) - before;
    assert!(took < 80 << 20 || !shares_layers(), "{took}");
    for name in ["z", "c"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(left(&zoned), 0);
    drop(zoned);
}

fn project() -> PathBuf {
    program("project", "amd64", &[]).expect("compile")
}

#[test]
fn its_program_compiles() {
    // Where there is no compiler it has been here before.
    assert!(project().is_file());
}

const EXT4: [&str; 6] = ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"];
const XFS: [&str; 4] = ["mkfs.xfs", "-q", "-m", "reflink=1"];

/// Whether this kernel mounts such a file system so; that it does not is told.
fn mounts(test: &str, make: &[&str], options: &str) -> bool {
    let folder = tempfile::tempdir_in(target()).expect("a folder");
    let image = folder.path().join("image");
    fs::File::create(&image).and_then(|file| file.set_len(320 << 20)).expect("make a disk");
    let (image, at) = (text(&image), text(folder.path()));
    run(&[make, &[image]].concat());
    let tried = Command::new("mount").args(["-o", options, image, at]).output().expect("run mount");
    if tried.status.success() {
        run(&["umount", at]);
    } else {
        eprintln!("SKIPPED {test}: this kernel mounts no {} with {options}", make[0]);
    }
    tried.status.success()
}

fn refused(make: &[&str], options: &str) {
    let disk = Mounted::new(make, options, 320);
    let zoned = zoned(&disk);
    zoned.zonectl(&["create", "z", "capped-disk.size=16M"]).ok();
    zoned.zonectl(&["install", "z", &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["verify", "z"]).code(1);
    let why = if shares_layers() { "project quotas" } else { "linux 5.19" };
    zoned.zonectl(&["boot", "z", "-i", "none"]).code(1).says(&[why, "use btrfs", "unset z capped-disk"]);
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));
    zoned.zonectl(&["unset", "z", "capped-disk.size"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.zonectl(&["create", "y", "capped-disk.size=16"]).code(2).says(&["1M at least"]);
    drop(zoned);
}

#[test]
fn a_limit_that_cannot_be_held_is_refused() {
    refused(&["mkfs.ext4", "-q"], "loop");
}

#[test]
fn usage_that_is_only_counted_is_no_limit() {
    // ext4 counts what the feature says; xfs where it is told not to hold anybody to it.
    for (make, options) in [(&EXT4[..], "loop"), (&XFS[..], "loop,pqnoenforce")] {
        if mounts("usage_that_is_only_counted", make, options) {
            refused(make, options);
        }
    }
}

#[test]
fn project_quotas_of_ext4_hold() {
    if mounts("project_quotas_of_ext4", &EXT4, "loop,prjquota") {
        quotas_hold(&EXT4);
    }
}

#[test]
fn project_quotas_of_xfs_hold() {
    if mounts("project_quotas_of_xfs", &XFS, "loop,prjquota") {
        quotas_hold(&XFS);
    }
}

#[test]
fn df_lists_no_file_that_is_shown_in_proc() {
    let zoned = Zoned::start();
    let source = format!("dir:{}", busybox_root().display());
    for (name, settings) in [("old", &["kernel=2.6.18"][..]), ("new", &[]), ("plain", &["brand=native"])] {
        zoned.install(name, &source, settings);
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
        // The log can be read all the same.
        let first = zoned.sh(name, "head -n 1 /proc/kmsg");
        assert!(first.contains("Linux version "), "{name}: {first}");
        let shown = zoned.sh(name, "grep -c '^[^ ]* /proc/.' /proc/mounts");
        assert_ne!(shown, "0\n", "{name}");
        let listed = zoned.sh(name, "df");
        assert!(listed.contains(" /dev\n") && !listed.contains(" /proc"), "{name}: {listed}");
        zoned.zonectl(&["halt", name]).ok();
    }
}

/// MiB that a zone sees as its disk, and those that are taken.
fn df(zoned: &Zoned, name: &str) -> (u64, u64) {
    let said = zoned.sh(name, "df -m / | tail -n 1");
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

/// MiB that a zone can write.
fn room(zoned: &Zoned, name: &str) -> u64 {
    let script = "dd if=/dev/zero of=/fill bs=64k count=2048 2>/dev/null; sync; stat -c %s /fill; rm /fill";
    let said = zoned.sh(name, script);
    said.trim().parse::<u64>().unwrap_or_else(|_| panic!("{said}")) >> 20
}

fn quotas_hold(make: &[&str]) {
    if !shares_layers() {
        return refused(make, "loop,prjquota");
    }
    let disk = Mounted::new(make, "loop,prjquota", 400);
    let zoned = zoned(&disk);
    // It has written before: whiteouts of files that are gone, and what cannot be opened to be told its project.
    running(&zoned, "z", &[]);
    let odd = "rm /bin/vi /bin/awk; mkdir /d /d/e; ln -s somewhere /link; mkfifo -m 620 /fifo; touch -h -d @1000000000 /link; \
               chown -h 5:6 /link /fifo; echo old > /d/old; ln -s x /two; ln /two /d/two";
    zoned.sh("z", odd);
    let refused = zoned.zonectl(&["set", "z", "capped-disk.size=64M"]).code(1);
    refused.says(&["it is written", "halted and booted"]);
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let as_it_was = "stat -c '%F %a %u:%g' /link /fifo; stat -c %Y /link; readlink /link; cat /d/old; stat -c %h /d/two; \
                     ls /bin/vi /bin/awk 2>&1 | grep -c 'No such'";
    assert_eq!(
        zoned.sh("z", as_it_was),
        "symbolic link 777 5:6\nfifo 620 5:6\n1000000000\nsomewhere\nold\n2\n2\n"
    );
    // All of it can be renamed, which a copy would not be taken for.
    let renamed = "for f in /link /fifo /d/old /d/e; do a=$(stat -c %i $f); mv $f /moved; \
                   [ $a = $(stat -c %i /moved) ] || echo $f; mv /moved $f; done; \
                   echo new > /bin/vi; mkdir /bin/awk; cat /bin/vi; rm -r /d; mkdir /d; rm /bin/ls; ln -s busybox /bin/ls";
    assert_eq!(zoned.sh("z", renamed), "new\n");

    assert_eq!(df(&zoned, "z").0, 64);
    let said = zoned.zonectl(&["login", "z", "--", "dd", "if=/dev/zero", "of=/fill", "bs=64k", "count=2048"]);
    let why = if make[0] == "mkfs.xfs" { "No space left" } else { "quota exceeded" };
    assert!(said.status == Some(1) && said.stderr.contains(why), "{said}");
    assert!((60..=64).contains(&df(&zoned, "z").1), "{:?}", df(&zoned, "z"));
    zoned.sh("z", "rm /fill");
    assert!((55..=64).contains(&room(&zoned, "z")));
    // Live, down and up.
    zoned.zonectl(&["set", "z", "capped-disk.size=16M"]).ok();
    assert_eq!(df(&zoned, "z").0, 16);
    assert!((8..=16).contains(&room(&zoned, "z")));
    // Nor can it take all files that the disk has.
    let many = "mkdir /many; i=0; while [ $i -lt 20000 ]; do true > /many/$i || break; i=$((i+1)); done 2>/dev/null; echo $i; rm -r /many";
    let made: u64 = zoned.sh("z", many).trim().parse().expect("a number");
    assert!((3000..=4096).contains(&made), "{made}");

    // Root of a zone cannot leave it.
    let mut put =
        zoned.command(&["login", "z", "--", "sh", "-c", "cat > /project; chmod 755 /project; mkdir /at"]);
    let put = put.stdin(fs::File::open(project()).expect("open the program")).status().expect("run zonectl");
    assert!(put.success());
    let told = zoned.zonectl(&["login", "z", "--", "/project", "/at"]);
    assert_eq!(told.status, Some(0), "{told}");
    eprintln!("{told}");
    assert!(!told.stdout.contains("ESCAPED"), "{told}");
    assert!((8..=16).contains(&room(&zoned, "z")));

    // What a snapshot keeps is not the zone's own any more.
    zoned.sh("z", "dd if=/dev/urandom of=/kept bs=1M count=10 2>/dev/null; md5sum /kept > /sum; mkfifo /p; ln -s kept /l");
    zoned.zonectl(&["snapshot", "z@live"]).ok();
    assert!((10..=16).contains(&df(&zoned, "z").1), "{:?}", df(&zoned, "z"));
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["snapshot", "z@still"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(zoned.sh("z", "md5sum -c /sum; stat -c %F /p; readlink /l"), "/kept: OK\nfifo\nkept\n");
    assert!(df(&zoned, "z").1 <= 2, "{:?}", df(&zoned, "z"));
    assert!((8..=16).contains(&room(&zoned, "z")));
    zoned.sh("z", "echo more >> /kept");
    assert!((10..=16).contains(&df(&zoned, "z").1), "it was copied up: {:?}", df(&zoned, "z"));
    zoned.zonectl(&["rollback", "z@live"]).ok();
    assert_eq!(zoned.sh("z", "md5sum -c /sum"), "/kept: OK\n");
    assert!(df(&zoned, "z").0 == 16 && df(&zoned, "z").1 <= 2, "{:?}", df(&zoned, "z"));
    zoned.zonectl(&["clone", "z@still", "c"]).ok();
    zoned.zonectl(&["boot", "c", "-i", "none"]).ok();
    assert_eq!(zoned.sh("c", "md5sum -c /sum"), "/kept: OK\n");
    assert!(df(&zoned, "c").0 == 16 && df(&zoned, "c").1 <= 2, "{:?}", df(&zoned, "c"));
    // One has its own, whatever the other has.
    zoned.sh("z", "dd if=/dev/zero of=/fill bs=64k 2>/dev/null; true");
    assert!((8..=16).contains(&room(&zoned, "c")));
    // A stream brings layers, too.
    let stream = zoned.scratch().join("stream");
    let mut send = zoned.command(&["send", "z@still"]);
    assert!(send.stdout(fs::File::create(&stream).expect("a file")).status().expect("send").success());
    zoned.zonectl(&["create", "r", "capped-disk.size=8M"]).ok();
    let mut receive = zoned.command(&["receive", "r"]);
    assert!(receive.stdin(fs::File::open(&stream).expect("a file")).status().expect("receive").success());
    zoned.zonectl(&["boot", "r", "-i", "none"]).ok();
    assert_eq!(zoned.sh("r", "md5sum -c /sum"), "/kept: OK\n");
    assert_eq!(df(&zoned, "r").0, 8);
    assert!((3..=8).contains(&room(&zoned, "r")));

    // A number that was given back is nobody's: who has it next begins at nothing, also while layers of the last are there.
    for name in ["z", "r"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    running(&zoned, "next", &["capped-disk.size=16M"]);
    assert!(df(&zoned, "next").0 == 16 && df(&zoned, "next").1 <= 1, "{:?}", df(&zoned, "next"));
    assert!((8..=16).contains(&room(&zoned, "next")));
    zoned.zonectl(&["unset", "next", "capped-disk.size"]).ok();
    assert!(df(&zoned, "next").0 > 100, "{:?}", df(&zoned, "next"));
    assert!(room(&zoned, "next") > 100);
    for name in ["c", "next"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(left(&zoned), 0);
    drop(zoned);
}
