//! A distribution of today where the kernel is older than it, or is taken for one that is.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use zones_tests::{Zoned, debian};

/// The level that its packages were made for.
const LEVEL: &str = "kernel=6.12";

/// What people do all day, each a program with libraries of its own.
const SESSION: &str = r#"set -e
cd /root
echo text > a; cp a b; cmp a b; cp -a b k; mv b c; ln -s c l; ls -l | grep -q 'l -> c'
mkdir x; tar cf t.tar a c l; tar xf t.tar -C x; cmp x/a c; test "$(readlink x/l)" = c
install -m 751 a d; test "$(stat -c %a d)" = 751; chmod -h 777 l 2>/dev/null || true
test "$(stat -c %Y a)" -gt 1700000000
find / -xdev -name passwd -path '/etc/*' | grep -qx /etc/passwd
seq 1 20000 | sort -R | sort -n | tail -1 | grep -qx 20000
timeout 5 sleep 0.1; nice -n 5 true; mktemp > /dev/null
perl -e 'print 6*7, "\n"' | grep -qx 42
dpkg -l libc6 | grep -q ^ii; dpkg --verify libc6; dpkg --configure -a; apt-get check -q > /dev/null
ps -e -o comm= | grep -qx ps
su nobody -s /bin/sh -c 'id -un' | grep -qx nobody
rm -r x a c d k l t.tar
echo through"#;

/// The root as a tar: $ZONES_CURRENT, or made here.
fn root() -> Option<PathBuf> {
    if let Some(tar) = std::env::var_os("ZONES_CURRENT") {
        return Some(tar.into());
    }
    debian("trixie", "amd64").map_err(|e| eprintln!("SKIPPED Debian trixie: {e:#}")).ok()
}

fn works(more: &[&str]) {
    let Some(root) = root() else { return };
    let zoned = Zoned::start();
    let words = [&[LEVEL], more].concat();
    zoned.install("g", &format!("tar:{}", root.display()), &words);
    zoned.zonectl(&["boot", "g"]).ok();
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        let said = zoned.zonectl(&["login", "g", "--", "systemctl", "is-system-running"]);
        if said.stdout.contains("running") || said.stdout.contains("degraded") {
            break;
        }
        let log = || fs::read_to_string(zoned.root().join("zones/g/console.log")).unwrap_or_default();
        assert!(Instant::now() < end, "systemd is not up within 240 s: {said}\n{}", log());
        sleep(Duration::from_millis(200));
    }
    let said = zoned.zonectl(&["login", "g", "--", "bash", "-c", SESSION]);
    assert_eq!(said.clone().ok(), "through\n", "{said}\n{}", zoned.zonectl(&["ledger", "g"]));
    zoned.zonectl(&["shutdown", "g", "-t", "60"]).ok();
    zoned.wait_for("g", "installed");
}

#[test]
fn a_debian_of_today_works_here() {
    works(&[]);
}

#[test]
fn a_debian_of_today_works_where_the_host_is_taken_for_5_10() {
    works(&["host-kernel=5.10"]);
}
