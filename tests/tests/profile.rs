//! What install changes in the files of a root that comes from a machine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use zones_tests::{Lab, Zoned, busybox_root};

/// A busybox root with the settings of a server that had disks, a serial line and an address of its own.
fn server(zoned: &Zoned) -> PathBuf {
    let root = zoned.scratch().join("server");
    let copied = Command::new("cp").arg("-a").arg(busybox_root()).arg(&root).status().expect("run cp");
    assert!(copied.success());
    let etc = root.join("etc");
    fs::create_dir_all(etc.join("network")).expect("make a folder");
    for (file, text) in [
        ("fstab", "/dev/sda1 / ext3 defaults 0 1\ntmpfs /mnt tmpfs size=1m 0 0\n"),
        ("hostname", "srv17\n"),
        ("hosts", "127.0.0.1 localhost\n192.168.7.4 srv17\n"),
        ("resolv.conf", "search example.org\nnameserver 192.168.7.1\n"),
        (
            "network/interfaces",
            "auto eth0\niface eth0 inet static\n  address 192.168.7.4\n  netmask 255.255.255.0\n",
        ),
    ] {
        fs::write(etc.join(file), text).unwrap_or_else(|e| panic!("write {file}: {e}"));
    }
    // As old scripts begin.
    let rc = "#!/bin/sh\nhostname -F /etc/hostname\nifup -a\nmount -a\n";
    fs::write(etc.join("rc"), rc).expect("write rc");
    root
}

fn changes(zoned: &Zoned, words: &[&str]) -> Vec<Value> {
    let text = zoned.zonectl(&[&["--json", "profile", "old"], words].concat()).ok();
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_servers_root_becomes_a_zones_and_back() {
    let lab = Lab::new();
    let zoned = lab.zoned();
    let root = server(&zoned);
    zoned.zonectl(&["create", "old"]).ok();
    zoned.zonectl(&["add", "old", "net", "physical=zones0"]).ok();
    let installed = zoned.zonectl(&["install", "old", &format!("dir:{}", root.display())]);
    assert!(installed.stderr.contains("zonectl profile old"), "{installed}");
    installed.ok();
    let all = changes(&zoned, &[]);
    let files: Vec<&str> = all.iter().filter_map(|change| change["file"].as_str()).collect();
    assert_eq!(
        files,
        ["/etc/fstab", "/etc/hostname", "/etc/hosts", "/etc/network/interfaces", "/etc/resolv.conf"]
    );
    let told = zoned.zonectl(&["profile", "old"]).ok();
    assert!(told.contains("  - srv17\n") && told.contains("  + old\n"), "{told}");

    zoned.zonectl(&["boot", "old", "-i", "none"]).ok();
    zoned.zonectl(&["profile", "old", "--undo"]).code(4).says(&["halt it first"]);
    let in_zone = |script: &str| zoned.zonectl(&["login", "old", "--", "sh", "-c", script]).ok();
    // The guest's own scripts leave it as it is to be.
    let seen = in_zone(
        "sh /etc/rc >&2; hostname; ip -4 addr show eth0; mount; cat /etc/resolv.conf; ping -c1 -W2 old",
    );
    let zone = zoned.zone("old").expect("the zone");
    let address = zone["addresses"][0].as_str().expect("an address");
    assert!(seen.starts_with("old\n"), "{seen}");
    assert!(seen.contains(&format!("inet {address}")) && !seen.contains("192.168.7.4"), "{seen}");
    assert!(seen.contains(" on /mnt type tmpfs"), "{seen}");
    assert!(seen.contains("nameserver 10.88.0.1\nsearch example.org zones.internal\n"), "{seen}");
    in_zone("echo 10.9.9.9 other >> /etc/hosts");
    zoned.zonectl(&["halt", "old"]).ok();

    // What the zone wrote itself stays; the rest is as it came.
    let kept = changes(&zoned, &["--undo"]);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["file"], "/etc/hosts");
    zoned.zonectl(&["boot", "old", "-i", "none"]).ok();
    let seen = in_zone("cat /etc/hostname /etc/fstab /etc/resolv.conf; tail -n 1 /etc/hosts");
    let old = |file: &str| fs::read_to_string(root.join("etc").join(file)).expect("read");
    assert_eq!(seen, [old("hostname"), old("fstab"), old("resolv.conf"), "10.9.9.9 other\n".into()].concat());
    zoned.zonectl(&["halt", "old"]).ok();
}

#[test]
fn a_root_may_be_left_as_it_is() {
    let zoned = Zoned::start();
    let root = server(&zoned);
    zoned.zonectl(&["create", "old", "profile=false"]).ok();
    zoned.zonectl(&["install", "old", &format!("dir:{}", root.display())]).ok();
    assert_eq!(changes(&zoned, &[]), Vec::<Value>::new());
    let root = zoned.root().join("zones/old/root");
    assert_eq!(fs::read_to_string(root.join("etc/hostname")).expect("read"), "srv17\n");
    // Without a network of zoned's the guest's servers of names stay, and with none of its own so do its scripts.
    zoned.zonectl(&["uninstall", "old", "-F"]).ok();
    zoned.zonectl(&["set", "old", "profile=true", "ip-type=none"]).ok();
    zoned.zonectl(&["install", "old", &format!("dir:{}", zoned.scratch().join("server").display())]).ok();
    let files: Vec<Value> = changes(&zoned, &[]).iter().map(|change| change["file"].clone()).collect();
    assert_eq!(files, ["/etc/fstab", "/etc/hostname", "/etc/hosts"]);
}
