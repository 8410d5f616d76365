//! What the file system below offers: btrfs with subvolumes and limits, xfs with shared blocks, and one that has neither.

use std::fs;
use std::path::Path;
use std::process::Command;

use zones_tests::{How, Mounted, Zoned, busybox_root, run, target, text};

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
    zoned.zonectl(&["snapshot", "z@one"]).ok();
    zoned.sh("z", "rm /big; echo two > /two");
    zoned.zonectl(&["snapshot", "z@two"]).ok();
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
    assert!(used(&disk.at) < 140 << 20, "{}", used(&disk.at));
    let list = Command::new("btrfs").args(["subvolume", "list"]).arg(&disk.at).output().expect("run btrfs");
    assert!(String::from_utf8_lossy(&list.stdout).contains("zones/z/own"));

    running(&zoned, "small", &["capped-disk.size=16M"]);
    let fill = "dd if=/dev/urandom of=/fill bs=1M count=64 2>&1 | tail -n 1; ls -l /fill | awk '{print $5}'";
    let size = |name: &str| {
        let said = zoned.zonectl(&["login", name, "--", "sh", "-c", fill]);
        let last = said.stdout.lines().last().unwrap_or_default().to_owned();
        last.parse::<u64>().unwrap_or_else(|_| panic!("{said}"))
    };
    let filled = size("small");
    assert!((4 << 20..=17 << 20).contains(&filled), "{filled}");
    // Live, and away.
    zoned.zonectl(&["set", "small", "capped-disk.size=48M"]).ok();
    let filled = size("small");
    assert!((30 << 20..=49 << 20).contains(&filled), "{filled}");
    zoned.zonectl(&["unset", "small", "capped-disk.size"]).ok();
    assert_eq!(size("small"), 64 << 20);
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
    assert!(took < 80 << 20, "{took}");
    for name in ["z", "c"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(left(&zoned), 0);
    drop(zoned);
}

#[test]
fn a_limit_that_cannot_be_held_is_refused() {
    let disk = Mounted::new(&["mkfs.ext4", "-q"], "loop", 100);
    let zoned = zoned(&disk);
    zoned.zonectl(&["create", "z", "capped-disk.size=16M"]).ok();
    zoned.zonectl(&["install", "z", &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["verify", "z"]).code(1);
    zoned.zonectl(&["boot", "z", "-i", "none"]).code(1).says(&["project quotas", "unset z capped-disk"]);
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));
    zoned.zonectl(&["unset", "z", "capped-disk.size"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.zonectl(&["create", "y", "capped-disk.size=16"]).code(2).says(&["1M at least"]);
    drop(zoned);
}

#[test]
fn project_quotas_hold_where_the_kernel_has_them() {
    let quotas = ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"];
    let folder = tempfile::tempdir_in(target()).expect("a folder");
    let image = folder.path().join("image");
    fs::File::create(&image).and_then(|file| file.set_len(100 << 20)).expect("make a disk");
    let (image, at) = (image.to_str().expect("UTF-8"), folder.path().to_str().expect("UTF-8"));
    run(&[&quotas[..], &[image]].concat());
    let tried = Command::new("mount").args(["-o", "loop,prjquota", image, at]).output().expect("run mount");
    if !tried.status.success() {
        eprintln!("this kernel has no quotas of ext4");
        return;
    }
    run(&["umount", at]);
    let disk = Mounted::new(&quotas, "loop,prjquota", 200);
    let zoned = zoned(&disk);
    running(&zoned, "z", &["capped-disk.size=16M"]);
    let fill = "dd if=/dev/urandom of=/fill bs=1M count=64 2>&1 | tail -n 1; ls -l /fill | awk '{print $5}'; df -m / | tail -n 1";
    let said = zoned.zonectl(&["login", "z", "--", "sh", "-c", fill]).stdout;
    let lines: Vec<&str> = said.lines().rev().collect();
    let filled: u64 = lines[1].parse().unwrap_or_else(|_| panic!("{said}"));
    assert!((4 << 20..=17 << 20).contains(&filled), "{said}");
    // And it sees its own size.
    assert!(lines[0].split_whitespace().any(|word| word == "16"), "{said}");
    zoned.zonectl(&["delete", "z", "-F"]).ok();
    drop(zoned);
}
