//! Zones on a network: with each other, with the outside, and against a zone that lies about itself. All of it in
//! network namespaces of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use zones_tests::{Lab, Zoned, busybox_root, eventually, program};

fn busybox() -> String {
    format!("dir:{}", busybox_root().display())
}

/// A zone with one interface, whose process 1 is our reaper.
fn zone(zoned: &Zoned, name: &str, properties: &[&str]) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&[&["add", name, "net", "physical=zones0"], properties].concat()).ok();
    zoned.zonectl(&["install", name, &busybox()]).ok();
    boot(zoned, name);
}

fn boot(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

/// A script that prints the last line of what a web server gives. Not by wget: in a static busybox it dies of a port by
/// number where there is no C library to load.
fn fetch(host: &str, port: u16, path: &str) -> String {
    format!("printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | tail -n 1")
}

fn leases(zoned: &Zoned) -> Vec<Value> {
    let text = fs::read_to_string(zoned.root().join("network/leases.json")).expect("there are leases");
    serde_json::from_str(&text).expect("leases are JSON")
}

fn frames() -> PathBuf {
    program("frames", "amd64", &[]).expect("compile")
}

/// Kinds of frames that a listener tells of within a second and a half.
struct Listener(Child, BufReader<std::process::ChildStdout>);

impl Listener {
    fn new(mut child: Child) -> Self {
        let mut out = BufReader::new(child.stdout.take().expect("it writes to a pipe"));
        let mut first = String::new();
        out.read_line(&mut first).expect("it says that it listens");
        assert_eq!(first, "listening\n");
        Self(child, out)
    }

    fn heard(mut self) -> BTreeSet<String> {
        let mut text = String::new();
        self.1.read_to_string(&mut text).expect("it tells what it heard");
        assert!(self.0.wait().expect("it ends").success());
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn ten_zones_talk_to_each_other_and_to_the_outside() {
    let lab = Lab::new();
    let before = lab.census();
    let zoned = lab.zoned();
    let names: Vec<String> = (0..10).map(|n| format!("z{n}")).collect();
    for name in &names {
        zone(&zoned, name, &[]);
    }
    let all: Vec<(String, String)> = names.iter().map(|name| zoned.addresses(name)).collect();
    assert_eq!(all.iter().map(|(four, _)| four).collect::<BTreeSet<_>>().len(), 10, "{all:?}");
    assert_eq!(all.iter().map(|(_, six)| six).collect::<BTreeSet<_>>().len(), 10, "{all:?}");
    for (name, (own, _)) in names.iter().zip(&all) {
        let others = all.iter().filter(|(four, _)| four != own);
        let script: String = others
            .map(|(four, six)| {
                format!("ping -c1 -W2 {four} >&2 || echo {four}\nping6 -c1 -W2 {six} >&2 || echo {six}\n")
            })
            .collect();
        assert_eq!(zoned.sh(name, &script), "", "{name} does not reach these");
        // The outside knows the way to the host alone: that it answers is the address translation's doing.
        zoned.sh(name, "ping -c1 -W2 192.0.2.2 && ping6 -c1 -W2 2001:db8::2");
    }
    // From the host, too, and by what the zone was given before its process 1 began.
    lab.host(&["busybox", "ping", "-c1", "-W2", &all[3].0]);
    let inside = zoned.sh("z0", "ip addr show eth0; ip route");
    assert!(inside.contains(&format!("inet {}/16", all[0].0)), "{inside}");
    assert!(inside.contains("default via 10.88.0.1 dev eth0"), "{inside}");
    for name in &names {
        zoned.zonectl(&["halt", name]).ok();
    }
    assert_eq!(before, lab.census());
}

#[test]
fn a_zone_that_lies_is_heard_by_nobody() {
    let lab = Lab::new();
    let zoned = lab.zoned();
    for name in ["liar", "victim", "other"] {
        zone(&zoned, name, &[]);
    }
    let program = frames();
    let bytes = fs::read(&program).expect("read the program");
    for name in ["liar", "other"] {
        let mut into =
            zoned.spawn(&["login", name, "--", "sh", "-c", "cat > /bin/frames; chmod 755 /bin/frames"]);
        into.send(&bytes);
        into.finish().ok();
    }
    let ((own, own6), (victim, victim6)) = (zoned.addresses("liar"), zoned.addresses("victim"));
    let leases = leases(&zoned);
    let mac = leases.iter().find(|l| l["zone"] == "victim").and_then(|l| l["mac"].as_str()).expect("a MAC");
    let say = || {
        let mut zone = zoned.command(&["login", "other", "--", "frames", "hear", "eth0", "1.5"]);
        let zone = zone.stdout(std::process::Stdio::piped()).spawn().expect("listen in a zone");
        let host = lab.start_on_host(&[&program.to_string_lossy(), "hear", "zones0", "1.5"]);
        let (zone, host) = (Listener::new(zone), Listener::new(host));
        let words = ["login", "liar", "--", "frames", "send", "eth0", &own, &own6, mac, &victim, &victim6];
        zoned.zonectl(&words).ok();
        (zone.heard(), host.heard())
    };
    let honest: BTreeSet<String> = ["own", "own6"].map(str::to_owned).into();
    let (zone, host) = say();
    assert_eq!((&zone, &host), (&honest, &honest), "what a zone and the host heard of a guarded one");

    // The same without the guard: so all of it would have been heard.
    let chains = lab.host(&["nft", "list", "table", "netdev", "zoned_zones0"]);
    let alias = lab.host(&["ip", "-o", "link"]);
    let port = alias.lines().find(|l| l.contains("zone liar eth0")).expect("the liar's port");
    let port = port.split([' ', '@']).nth(1).expect("it has a name");
    assert!(chains.contains(&format!("chain {port} ")), "{chains}");
    lab.host(&["nft", "delete", "chain", "netdev", "zoned_zones0", port]);
    let (zone, host) = say();
    assert_eq!(zone, host);
    assert_eq!(zone.len(), 18, "what would be heard: {zone:?}");
    for kind in ["mac", "ipv4", "arp", "ipv6", "nd", "dhcp", "ra"] {
        assert!(zone.contains(kind), "{kind} in {zone:?}");
    }
}

#[test]
fn addresses_are_remembered() {
    let lab = Lab::new();
    let mut zoned = lab.zoned();
    zone(&zoned, "a", &[]);
    let first = zoned.addresses("a");
    zoned.zonectl(&["halt", "a"]).ok();
    zone(&zoned, "b", &[]);
    let second = zoned.addresses("b");
    assert_ne!(first, second);
    zoned.start_again();
    assert_eq!(zoned.addresses("b"), second, "found again");
    zoned.zonectl(&["boot", "a"]).ok();
    assert_eq!(zoned.addresses("a"), first);

    // A guest's own reboot while zoned is dead is its monitor's doing alone.
    let init = zoned.init_of("a");
    zoned.kill9();
    let rebooted = Command::new("nsenter")
        .args([
            "-t",
            &init.to_string(),
            "-U",
            "-p",
            "-m",
            "-S",
            "0",
            "-G",
            "0",
            "/bin/busybox",
            "reboot",
            "-f",
        ])
        .status();
    rebooted.expect("run nsenter");
    eventually("process 1 is gone", 10, || !Path::new(&format!("/proc/{init}")).exists());
    zoned.start_again();
    zoned.wait_for("a", "running");
    assert_ne!(zoned.init_of("a"), init);
    assert_eq!(zoned.addresses("a"), first);
    zoned.sh("a", &format!("ping -c1 -W2 {}", second.0));

    // One that is no more gives its address back; one that asks for another's is told whose it is.
    zoned.zonectl(&["create", "c"]).ok();
    let wanted = format!("address={}/16", first.0);
    zoned.zonectl(&["add", "c", "net", "physical=zones0", &wanted]).ok();
    zoned.zonectl(&["install", "c", &busybox()]).ok();
    let refused = zoned.zonectl(&["boot", "c"]).code(1);
    refused.says(&[&first.0, "zone a's"]);
    assert_ne!(zoned.zonectl(&["verify", "c"]).status, Some(0));
    zoned.forget("a");
    zoned.zonectl(&["verify", "c"]).ok();
    boot(&zoned, "c");
    assert_eq!(zoned.addresses("c").0, first.0);
}

#[test]
fn published_ports_lead_to_a_zone() {
    let lab = Lab::new();
    let before = lab.census();
    let zoned = lab.zoned();
    zone(&zoned, "web", &["publish=8080:80/tcp"]);
    zone(&zoned, "other", &[]);
    zoned.sh("web", "mkdir -p /tmp/www && echo here > /tmp/www/index.html && httpd -p 80 -h /tmp/www");
    let get = |place: &str| format!("http://{place}:8080/");
    for place in ["192.0.2.1", "[2001:db8::1]"] {
        let got = lab.try_outside(&["wget", "-qO-", "-T", "5", "-t1", &get(place)]);
        assert_eq!(got.as_deref(), Some("here\n"), "from the outside by {place}");
    }
    for place in ["127.0.0.1", "192.0.2.1", "10.88.0.1", "[2001:db8::1]"] {
        let got = lab.try_host(&["wget", "-qO-", "-T", "5", "-t1", &get(place)]);
        assert_eq!(got.as_deref(), Some("here\n"), "from the host by {place}");
    }
    for place in ["192.0.2.1", "10.88.0.1", "[2001:db8::1]"] {
        for name in ["other", "web"] {
            let got = zoned.sh(name, &fetch(place.trim_matches(['[', ']']), 8080, "/"));
            assert_eq!(got, "here\n", "from {name} by {place}");
        }
    }
    // The host's loopback is open to published ports and not to zones.
    let mut server =
        lab.start_on_host(&["busybox", "httpd", "-f", "-p", "127.0.0.1:9999", "-h", "/proc/sys/kernel"]);
    eventually("the host serves its loopback", 10, || {
        lab.try_host(&["wget", "-qO-", "-t1", "http://127.0.0.1:9999/ostype"]).is_some()
    });
    let script = "ip route add 127.0.0.1 via 10.88.0.1 table 7; ip rule add to 127.0.0.1 table 7 pref 0
        ip rule del pref 0 lookup local; ip rule add pref 9 lookup local
        echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
        ";
    let script = format!("{script}\n{} || true", fetch("127.0.0.1", 9999, "/ostype"));
    let got = zoned.zonectl(&["login", "other", "--", "sh", "-c", &script]).stdout;
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(got, "", "a zone got at the host's loopback");

    // No port leads to two zones, and none to one that is halted.
    zoned.zonectl(&["create", "thief"]).ok();
    zoned.zonectl(&["add", "thief", "net", "physical=zones0", "publish=8080:90"]).ok();
    zoned.zonectl(&["install", "thief", &busybox()]).ok();
    zoned.zonectl(&["boot", "thief"]).code(1).says(&["8080/tcp", "zone web"]);
    zoned.zonectl(&["halt", "web"]).ok();
    assert_eq!(lab.try_host(&["wget", "-qO-", "-T", "2", "-t1", &get("10.88.0.1")]), None);
    for name in ["other", "thief"] {
        zoned.forget(name);
    }
    assert_eq!(before, lab.census());
}

#[test]
fn nothing_is_left_of_a_network() {
    let lab = Lab::new();
    let before = lab.census();
    let mut zoned = lab.zoned();
    zone(&zoned, "z", &["publish=8080:80", "bandwidth=10mbit"]);
    zoned.zonectl(&["halt", "z"]).ok();
    assert_eq!(before, lab.census(), "after a halt");

    let mut failed = 0;
    for step in 0..12 {
        zoned.start_again_with(vec![("ZONED_FAIL_STEP".into(), step.to_string())]);
        failed += u32::from(zoned.zonectl(&["boot", "z"]).status == Some(1));
        zoned.zonectl(&["halt", "z"]);
        assert_eq!(before, lab.census(), "after a failure at step {step}");
    }
    assert!(failed >= 6, "only {failed} boots failed: is ZONED_FAIL_STEP read?");
    zoned.start_again_with(Vec::new());

    boot(&zoned, "z");
    kill(Pid::from_raw(zoned.monitor_of("z")), Signal::SIGKILL).expect("kill the monitor");
    zoned.wait_for("z", "installed");
    assert_eq!(before, lab.census(), "after the monitor's death");

    boot(&zoned, "z");
    let monitor = zoned.monitor_of("z");
    zoned.kill9();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill the monitor");
    zoned.start_again();
    zoned.wait_for("z", "installed");
    assert_eq!(before, lab.census(), "after the death of both");

    // The guest powers off while zoned is dead.
    zoned.zonectl(&["boot", "z"]).ok();
    let init = zoned.init_of("z");
    zoned.kill9();
    let off = Command::new("nsenter")
        .args([
            "-t",
            &init.to_string(),
            "-U",
            "-p",
            "-m",
            "-S",
            "0",
            "-G",
            "0",
            "/bin/busybox",
            "poweroff",
            "-f",
        ])
        .status();
    off.expect("run nsenter");
    eventually("nothing is left after a power-off without zoned", 10, || before == lab.census());
    zoned.start_again();

    // A flush of the packet filter by somebody else is repaired, and their rules are left alone.
    lab.host(&["nft", "add table inet theirs; add chain inet theirs c"]);
    boot(&zoned, "z");
    let whole = lab.census();
    lab.host(&["nft", "delete table inet zoned_zones0; delete table netdev zoned_zones0"]);
    zoned.start_again();
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    eventually("a flush is repaired by the next zoned", 10, || sorted(&whole) == sorted(&lab.census()));
    zoned.zonectl(&["halt", "z"]).ok();
    assert!(
        lab.census().contains("table inet theirs") && !lab.census().contains("zoned_"),
        "{}",
        lab.census()
    );
}

#[test]
fn interfaces_of_the_host_are_lent() {
    let lab = Lab::new();
    for words in [
        "link add lent type veth peer name partner",
        "addr add 198.51.100.1/24 dev partner",
        "link set partner up",
        "link add br7 type bridge",
        "addr add 203.0.113.1/24 dev br7",
        "link set br7 up",
    ] {
        lab.host(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    }
    let before = lab.census();
    let mut zoned = lab.zoned();
    zoned.zonectl(&["create", "z"]).ok();
    for net in [
        "physical=up0 name=mac0 address=192.0.2.50/24 address6=2001:db8::50/64 defrouter=192.0.2.2",
        "physical=lent mode=move name=moved address=198.51.100.2/24",
        "physical=br7 address=203.0.113.2/24",
    ] {
        zoned.zonectl(&[&["add", "z", "net"], &net.split(' ').collect::<Vec<_>>()[..]].concat()).ok();
    }
    zoned.zonectl(&["install", "z", &busybox()]).ok();
    zoned.zonectl(&["verify", "z"]).ok();
    boot(&zoned, "z");
    zoned.sh("z", "ping -c1 -W2 192.0.2.2 && ping6 -c1 -W2 2001:db8::2 && ping -c1 -W2 198.51.100.1");
    zoned.sh("z", "ping -c1 -W2 203.0.113.1 && ip route | grep 'default via 192.0.2.2 dev mac0'");
    assert!(!lab.census().contains("lent"), "{}", lab.census());
    zoned.zonectl(&["reboot", "z"]).ok();
    zoned.sh("z", "ping -c1 -W2 198.51.100.1");
    // The guest hides it behind another name, and calls another one by its.
    zoned.sh("z",
        "ip link set moved down; ip link set moved name hidden; ip link set eth0 down; ip link set eth0 name moved",
    );
    zoned.zonectl(&["halt", "z"]).ok();
    assert_eq!(before, lab.census(), "after a halt");
    let partner = lab.host(&["ip", "-o", "link", "show", "lent"]);
    assert!(partner.contains("lent@partner"), "{partner}");

    boot(&zoned, "z");
    kill(Pid::from_raw(zoned.monitor_of("z")), Signal::SIGKILL).expect("kill the monitor");
    zoned.wait_for("z", "installed");
    assert_eq!(before, lab.census(), "after the monitor's death");
    boot(&zoned, "z");
    let monitor = zoned.monitor_of("z");
    zoned.kill9();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill the monitor");
    zoned.start_again();
    zoned.wait_for("z", "installed");
    assert_eq!(before, lab.census(), "after the death of both");

    let ipvlan = ["add", "v", "net", "physical=up0", "mode=ipvlan", "address=192.0.2.51/24"];
    zoned.zonectl(&["create", "v"]).ok();
    zoned.zonectl(&ipvlan).ok();
    zoned.zonectl(&["install", "v", &busybox()]).ok();
    let booted = zoned.zonectl(&["boot", "v", "-i", "none"]);
    if booted.status == Some(0) {
        zoned.sh("v", "ping -c1 -W2 192.0.2.2");
    } else {
        booted.code(1).says(&["this kernel has no ipvlan"]);
        eprintln!("SKIPPED: this kernel has no ipvlan");
    }
    zoned.forget("v");
    zoned.zonectl(&["create", "lost"]).ok();
    zoned.zonectl(&["add", "lost", "net", "physical=nowhere"]).ok();
    let findings = zoned.zonectl(&["verify", "lost"]);
    assert_eq!(findings.status, Some(1), "{findings}");
    assert!(format!("{findings}").contains("no such interface"), "{findings}");
}

#[test]
fn two_zoneds_have_two_bridges() {
    let lab = Lab::new();
    let one = lab.zoned();
    zone(&one, "z", &[]);
    let same = lab.zoned();
    same.zonectl(&["create", "z"]).ok();
    same.zonectl(&["add", "z", "net", "physical=zones0"]).ok();
    same.zonectl(&["install", "z", &busybox()]).ok();
    same.zonectl(&["boot", "z"]).code(1).says(&["belongs to the zoned of", "zoned.toml"]);
    one.sh("z", "ping -c1 -W2 192.0.2.2");
    let settings =
        "[network]\nbridge = \"second\"\nsubnet = \"10.99.0.0/24\"\nsubnet6 = \"fd99::/64\"\nnat = false\n";
    let two = lab.zoned_with(settings);
    zone(&two, "z", &[]);
    assert_eq!(two.addresses("z").0, "10.99.0.128");
    assert!(two.addresses("z").1.starts_with("fd99::"));
    two.sh("z", "ping -c1 -W2 10.99.0.1");
    assert_ne!(two.zonectl(&["login", "z", "--", "ping", "-c1", "-W1", "192.0.2.2"]).status, Some(0));
    two.zonectl(&["halt", "z"]).ok();
    let left = lab.census();
    assert!(!left.contains("second") && left.contains("zones0"), "{left}");
    one.sh("z", "ping -c1 -W2 192.0.2.2");
}

#[test]
fn bandwidth_is_capped_both_ways() {
    let lab = Lab::new();
    let zoned = lab.zoned();
    zone(&zoned, "slow", &["bandwidth=16mbit"]);
    zone(&zoned, "fast", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("block"), vec![7; 6 << 20]).expect("write a block");
    let served = folder.path().to_string_lossy().into_owned();
    let mut server = lab.start_on_host(&["busybox", "httpd", "-f", "-p", "10.88.0.1:8000", "-h", &served]);
    let time = |script: &str, name: &str| {
        let start = Instant::now();
        zoned.sh(name, script);
        start.elapsed()
    };
    let fetch = "wget -qO /tmp/block http://10.88.0.1:8000/block";
    eventually("the host serves", 10, || {
        lab.try_host(&["wget", "-qO/dev/null", "-T", "20", "-t1", "http://10.88.0.1:8000/block"]).is_some()
    });
    // 6 MiB at 2 MB/s are 3.1 s, less what passes at once.
    let (slow, fast) = (time(fetch, "slow"), time(fetch, "fast"));
    eprintln!("6 MiB into a zone: {slow:?} at 16 Mbit/s, {fast:?} without a cap");
    assert!(slow > Duration::from_millis(2700) && slow < Duration::from_secs(12), "{slow:?}");
    assert!(fast < Duration::from_millis(1500), "{fast:?}");
    let _ = server.kill();
    let _ = server.wait();
    // What is sent is not queued but dropped; a second's worth may pass at once.
    for (name, least) in [("slow", 1900), ("fast", 0)] {
        zoned.sh(name, "httpd -p 80 -h /tmp");
        let url = format!("http://{}/block", zoned.addresses(name).0);
        let start = Instant::now();
        lab.host(&["wget", "-qO/dev/null", "-T", "20", "-t1", &url]);
        let took = start.elapsed();
        eprintln!("6 MiB out of zone {name}: {took:?}");
        assert!(took > Duration::from_millis(least) && took < Duration::from_secs(20), "{name}: {took:?}");
    }
}
