//! A guest whose systemd is older than 230: it finds the v1 hierarchy of its name, also where zoned sees none mounted.
//!
//! No mirror has such a system with its packages any more. A script stands for it, with systemd 204's greeting in it, and
//! does to the hierarchy what that does (src/core/mount-setup.c, src/shared/cgroup-util.c of systemd 204).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use zones_tests::{Zoned, busybox_root, eventually};

const INIT: &str = r#"#!/bin/sh
# systemd 204 running in system mode
fail() { echo "$*" > /result; exec sleep 100000; }
grep -q ' /sys/fs/cgroup tmpfs ' /proc/mounts || fail "no tmpfs at /sys/fs/cgroup"
grep -q ' /sys/fs/cgroup/systemd cgroup ' /proc/mounts || fail "no hierarchy of systemd's"
ln -s cpu,cpuacct /sys/fs/cgroup/cpu || fail "no link for a joined controller"
mkdir -p /sys/fs/cgroup/systemd/system.slice/a.service || fail "no group for a service"
echo $$ > /sys/fs/cgroup/systemd/system.slice/a.service/cgroup.procs || fail "does not enter a group"
grep name=systemd: /proc/self/cgroup > /result
exec sleep 100000
"#;

/// A zone with such a guest, installed.
fn old_guest() -> Zoned {
    let zoned = Zoned::start();
    let root = zoned.scratch().join("old");
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(busybox_root())
            .arg(&root)
            .status()
            .expect("the root of an old guest can be made")
            .success()
    );
    fs::create_dir_all(root.join("lib/systemd")).expect("the root of an old guest can be made");
    let program = root.join("lib/systemd/systemd");
    fs::write(&program, INIT).expect("the root of an old guest can be made");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .expect("the root of an old guest can be made");
    let _ = fs::remove_file(root.join("sbin/init"));
    fs::create_dir_all(root.join("sbin")).expect("the root of an old guest can be made");
    symlink("/lib/systemd/systemd", root.join("sbin/init")).expect("the root of an old guest can be made");
    zoned.install("g", &format!("dir:{}", root.display()), &[]);
    zoned
}

fn boots_and_leaves_nothing() {
    let zoned = old_guest();
    for _ in 0..2 {
        zoned.zonectl(&["boot", "g"]).ok();
        let told = || zoned.zonectl(&["login", "g", "--", "cat", "/result"]).stdout;
        eventually("the init told what it found", 20, || !told().is_empty());
        let told = told();
        assert!(told.trim_end().ends_with("name=systemd:/system.slice/a.service"), "{told}");
        // A login is in the zone's group of it, and sees no others.
        let login = zoned.zonectl(&["login", "g", "--", "cat", "/proc/self/cgroup"]).ok();
        assert!(login.lines().any(|line| line.ends_with(":name=systemd:/")), "{login}");
        zoned.zonectl(&["login", "g", "--", "rm", "/result"]).ok();
        zoned.zonectl(&["halt", "g"]).ok();
        zoned.wait_for("g", "installed");
    }
    zoned.forget("g");
}

/// The kernel bounds them in v2 alone.
#[test]
fn a_guest_that_makes_groups_without_end_is_ended() {
    let zoned = old_guest();
    zoned.zonectl(&["boot", "g"]).ok();
    let told = || zoned.zonectl(&["login", "g", "--", "cat", "/result"]).stdout;
    eventually("the init told what it found", 20, || !told().is_empty());
    let makes = |range: &str| {
        format!("cd /sys/fs/cgroup/systemd && mkdir $(seq {range}) && rmdir $(seq {range}) && echo done")
    };
    assert_eq!(zoned.sh("g", &makes("1 4000")), "done\n");
    assert_eq!(zoned.sh("g", &makes("1 4000")), "done\n");
    zoned.zonectl(&[
        "login",
        "g",
        "--",
        "sh",
        "-c",
        "cd /sys/fs/cgroup/systemd && mkdir -p deep && mkdir $(seq 1 5000); sleep 60",
    ]);
    zoned.wait_for("g", "installed");
    assert!(zoned.log().contains("more than 4096 groups"), "{}", zoned.log());
    zoned.zonectl(&["boot", "g"]).ok();
    zoned.forget("g");
}

#[test]
fn an_old_systemd_finds_its_hierarchy() {
    boots_and_leaves_nothing();
}

#[test]
fn an_old_systemd_finds_its_hierarchy_where_none_is_mounted() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    for line in table.lines().filter(|line| line.contains(" - cgroup ") && line.contains("name=systemd")) {
        umount2(line.split(' ').nth(4).unwrap(), MntFlags::MNT_DETACH).unwrap();
    }
    boots_and_leaves_nothing();
}
