//! Zones in the host's own network, which have addresses of it and no others. All of it in network namespaces of the
//! test's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zones_tests::{Lab, Zoned, busybox_root, eventually, program};

fn sockets(abi: &str) -> PathBuf {
    program("sockets", abi, &[]).expect("compile")
}

/// A host on which zones may have the ports below 1024 (see docs/how-to/network.md).
fn lab() -> Lab {
    let lab = Lab::new();
    let release = nix::sys::utsname::uname().expect("uname").release().to_string_lossy().into_owned();
    if ["5.10.", "5.11."].iter().any(|old| release.starts_with(old)) {
        lab.host(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    }
    lab
}

/// A zone with these `[[net]]`, whose process 1 is our reaper, and in it the program as `sockets`.
fn zone(zoned: &Zoned, name: &str, nets: &[&str]) {
    zone_for(zoned, name, nets, "amd64");
}

fn zone_for(zoned: &Zoned, name: &str, nets: &[&str], abi: &str) {
    zoned.install(name, &format!("dir:{}", busybox_root().display()), &["ip-type=shared"]);
    for net in nets {
        zoned.zonectl(&[&["add", name, "net"], &net.split(' ').collect::<Vec<_>>()[..]].concat()).ok();
    }
    boot(zoned, name);
    let mut into =
        zoned.spawn(&["login", name, "--", "sh", "-c", "cat > /bin/sockets; chmod 755 /bin/sockets"]);
    into.send(&fs::read(sockets(abi)).expect("read the program"));
    into.finish().ok();
}

fn boot(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

/// What the program says in a zone; its words in one text.
#[track_caller]
fn says(zoned: &Zoned, name: &str, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let said = zoned.zonectl(&[&["login", name, "--", "sockets"], &words[..]].concat()).ok();
    said.trim_end().to_owned()
}

/// The same on the host.
#[track_caller]
fn host_says(lab: &Lab, words: &str) -> String {
    let program = sockets("amd64");
    let program = program.to_string_lossy();
    lab.host(&[&[&*program], &words.split(' ').collect::<Vec<_>>()[..]].concat()).trim_end().to_owned()
}

fn outside_says(lab: &Lab, words: &str) -> String {
    let program = sockets("amd64");
    let program = program.to_string_lossy();
    let said = lab.try_outside(&[&[&*program], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    said.expect("the program runs outside").trim_end().to_owned()
}

/// A server of the program's on the host or outside; ended when dropped.
struct Server(PathBuf);

impl Server {
    /// A copy of the program, by which its servers are found again.
    fn new(zoned: &Zoned) -> Self {
        let copy = zoned.scratch().join("server");
        fs::copy(sockets("amd64"), &copy).expect("copy the program");
        Self(copy)
    }

    fn on_host(&self, lab: &Lab, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        lab.host(&[&[&*self.0.to_string_lossy(), "serve"], &words[..]].concat());
    }

    fn outside(&self, lab: &Lab, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let program = self.0.to_string_lossy();
        lab.try_outside(&[&[&*program, "serve"], &words[..]].concat()).expect("a server outside");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_it = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.0);
            if let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).filter(|_| is_it) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// The host's addresses and routes, to be the same before and after.
fn addresses(lab: &Lab) -> BTreeSet<String> {
    let shown = ["addr", "route", "-6 route"].map(|what| {
        let words: Vec<&str> = ["-o"].into_iter().chain(what.split(' ')).collect();
        lab.host(&[&["ip"], &words[..]].concat())
    });
    shown.concat().lines().map(|line| line.trim_end().replace(" tentative", "")).collect()
}

/// Interfaces, rules, addresses and routes.
fn census(lab: &Lab) -> (String, BTreeSet<String>) {
    (lab.census(), addresses(lab))
}

const WEB: &str = "physical=up0 address=192.0.2.10/24 address6=2001:db8::10/64";

#[test]
fn its_program_compiles() {
    // Where there is no compiler it has been here before.
    for abi in ["amd64", "i386"] {
        assert!(sockets(abi).is_file());
    }
}

#[test]
fn only_its_addresses_can_be_bound() {
    let lab = lab();
    let zoned = lab.zoned();
    zone(&zoned, "web", &[WEB, "physical=up0 address=192.0.2.11/24"]);
    let listed = zoned.zonectl(&["list"]).ok();
    assert!(listed.contains("shared") && listed.contains("192.0.2.10"), "{listed}");
    for (asked, told) in [
        // Its own, the ports of root among them.
        ("tcp4 192.0.2.10 80", "bound 192.0.2.10"),
        ("udp4 192.0.2.11 53", "bound 192.0.2.11"),
        ("tcp6 2001:db8::10 80", "bound 2001:db8::10"),
        ("tcp6 ::ffff:192.0.2.11 80", "bound ::ffff:192.0.2.11"),
        // The host's, nobody's, and a group's.
        ("tcp4 192.0.2.1 8080", "bind EADDRNOTAVAIL"),
        ("udp4 192.0.2.1 8080", "bind EADDRNOTAVAIL"),
        ("tcp4 10.9.8.7 8080", "bind EADDRNOTAVAIL"),
        ("udp4 224.0.0.251 5353", "bind EADDRNOTAVAIL"),
        ("udp4 255.255.255.255 5353", "bind EADDRNOTAVAIL"),
        ("tcp6 2001:db8::1 8080", "bind EADDRNOTAVAIL"),
        ("udp6 2001:db8::1 8080", "bind EADDRNOTAVAIL"),
        ("tcp6 ::ffff:192.0.2.1 8080", "bind EADDRNOTAVAIL"),
        // All of them are the first; of a socket for both families that of IPv4.
        ("tcp4 0.0.0.0 8080", "bound 192.0.2.10"),
        ("udp4 0.0.0.0 8080", "bound 192.0.2.10"),
        ("tcp6 :: 8080", "bound ::ffff:192.0.2.10"),
        ("only6 :: 8080", "bound 2001:db8::10"),
        ("tcp6 ::ffff:0.0.0.0 8080", "bound ::ffff:192.0.2.10"),
        // Its own loopback, by the name that everybody has for it.
        ("tcp4 127.0.0.1 8080", "bound 127.0.0.1"),
        ("udp4 127.0.0.53 8080", "bound 127.0.0.53"),
        ("tcp6 ::1 8080", "bound ::1"),
        ("tcp6 ::ffff:127.0.0.1 8080", "bound ::ffff:127.0.0.1"),
    ] {
        assert_eq!(says(&zoned, "web", &format!("bind {asked}")), told, "{asked}");
    }
    // What no program at bind is asked about.
    let made = says(&zoned, "web", "make");
    let refused = ["raw EPERM", "raw6 EPERM", "packet EPERM", "mptcp E", "sctp E"];
    for (line, told) in made.lines().zip(refused) {
        assert!(line.starts_with(told), "{made}");
    }
    // The host's network cannot be changed from there.
    for change in [
        "ip addr add 192.0.2.77/24 dev up0",
        "ip link set up0 down",
        "ip route add 198.51.100.0/24 via 192.0.2.2",
        "echo 1 > /proc/sys/net/ipv4/conf/up0/arp_ignore",
    ] {
        let tried = zoned.zonectl(&["login", "web", "--", "sh", "-c", change]);
        assert_ne!(tried.status, Some(0), "{change}");
    }
}

#[test]
fn it_sends_from_its_addresses() {
    let lab = lab();
    let zoned = lab.zoned();
    zone(&zoned, "web", &[WEB]);
    let server = Server::new(&zoned);
    for words in
        ["tcp4 192.0.2.2 9000", "udp4 192.0.2.2 9000", "tcp6 2001:db8::2 9000", "udp6 2001:db8::2 9000"]
    {
        server.outside(&lab, words);
    }
    server.on_host(&lab, "tcp4 0.0.0.0 9000");
    for (asked, told) in [
        ("tcp4 192.0.2.2", "192.0.2.10 asks 192.0.2.2, which hears 192.0.2.10"),
        ("udp4 192.0.2.2", "192.0.2.10 asks 192.0.2.2, which hears 192.0.2.10"),
        ("send4 192.0.2.2", "0.0.0.0 asks 192.0.2.2, which hears 192.0.2.10"),
        ("tcp6 2001:db8::2", "2001:db8::10 asks 2001:db8::2, which hears 2001:db8::10"),
        ("udp6 2001:db8::2", "2001:db8::10 asks 2001:db8::2, which hears 2001:db8::10"),
        ("send6 2001:db8::2", ":: asks 2001:db8::2, which hears 2001:db8::10"),
        ("tcp6 ::ffff:192.0.2.2", "::ffff:192.0.2.10 asks ::ffff:192.0.2.2, which hears 192.0.2.10"),
        ("send6 ::ffff:192.0.2.2", ":: asks ::ffff:192.0.2.2, which hears 192.0.2.10"),
        ("tcp4 192.0.2.1", "192.0.2.10 asks 192.0.2.1, which hears 192.0.2.10"),
    ] {
        assert_eq!(says(&zoned, "web", &format!("ask {asked} 9000")), told, "{asked}");
    }
    // A source that it states itself.
    for (source, told) in [
        ("192.0.2.10", "sent"),
        ("192.0.2.1", "sendmsg E"),
        ("2001:db8::10", "sent"),
        ("2001:db8::1", "sendmsg E"),
    ] {
        let to = if source.contains(':') { "2001:db8::2" } else { "192.0.2.2" };
        let said = says(&zoned, "web", &format!("source {source} {to} 9000"));
        assert!(said.starts_with(told), "{source}: {said}");
    }
}

#[test]
fn two_zones_have_one_port() {
    let lab = lab();
    let zoned = lab.zoned();
    zone(&zoned, "one", &[WEB]);
    zone(&zoned, "two", &["physical=up0 address=192.0.2.20/24 address6=2001:db8::20/64"]);
    for name in ["one", "two"] {
        for kind in ["tcp4 0.0.0.0", "udp4 0.0.0.0", "only6 ::", "udp6 2001:db8::20"] {
            if kind != "udp6 2001:db8::20" || name == "two" {
                says(&zoned, name, &format!("serve {kind} 80"));
            }
        }
    }
    for own in ["192.0.2.10", "192.0.2.20"] {
        for kind in ["tcp4", "udp4"] {
            let told = format!("192.0.2.2 asks {own}, which hears 192.0.2.2");
            assert_eq!(outside_says(&lab, &format!("ask {kind} {own} 80")), told);
        }
    }
    for own in ["2001:db8::10", "2001:db8::20"] {
        let told = format!("2001:db8::2 asks {own}, which hears 2001:db8::2");
        assert_eq!(outside_says(&lab, &format!("ask tcp6 {own} 80")), told);
    }
    // From one to the other, and to itself.
    for to in ["192.0.2.10", "192.0.2.20"] {
        let told = format!("192.0.2.10 asks {to}, which hears 192.0.2.10");
        assert_eq!(says(&zoned, "one", &format!("ask tcp4 {to} 80")), told);
    }
    assert_eq!(
        says(&zoned, "one", "ask tcp4 192.0.2.1 80"),
        "connect ECONNREFUSED",
        "the host has no server"
    );
    // A socket that listens without having been bound is reached by its zone's addresses alone.
    let said = says(&zoned, "one", "serve tcp4 none 0");
    let port = said.lines().find_map(|line| line.strip_prefix("port ")).expect("it tells its port");
    let told = "192.0.2.2 asks 192.0.2.10, which hears 192.0.2.2";
    assert_eq!(outside_says(&lab, &format!("ask tcp4 192.0.2.10 {port}")), told);
    for other in ["192.0.2.1", "192.0.2.20"] {
        let said = outside_says(&lab, &format!("ask tcp4 {other} {port}"));
        assert!(said.starts_with("connect E"), "{other}: {said}");
    }
}

#[test]
fn its_loopback_is_its_own() {
    let lab = lab();
    let zoned = lab.zoned();
    zone(&zoned, "one", &[WEB]);
    zone(&zoned, "two", &[]);
    let server = Server::new(&zoned);
    for kind in ["tcp4", "udp4"] {
        server.on_host(&lab, &format!("{kind} 127.0.0.1 7001"));
        server.on_host(&lab, &format!("{kind} 0.0.0.0 7002"));
        says(&zoned, "one", &format!("serve {kind} 127.0.0.1 7003"));
        says(&zoned, "one", &format!("serve {kind} 0.0.0.0 7004"));
    }
    for kind in ["tcp6", "udp6"] {
        server.on_host(&lab, &format!("{kind} ::1 7001"));
        server.on_host(&lab, &format!("{kind} :: 7005"));
        says(&zoned, "one", &format!("serve {kind} ::1 7003"));
    }
    says(&zoned, "one", "serve only6 :: 7004");
    let own = "127.0.0.1 asks 127.0.0.1, which hears 127.0.0.1";
    let own6 = "::1 asks ::1, which hears ::1";
    for (asked, told) in [
        ("tcp4 127.0.0.1 7003", own),
        ("udp4 127.0.0.1 7003", own),
        ("send4 127.0.0.1 7003", "0.0.0.0 asks 127.0.0.1, which hears 127.0.0.1"),
        ("tcp4 0.0.0.0 7003", own),
        ("tcp4 127.0.0.9 7003", "connect ECONNREFUSED"),
        ("tcp6 ::1 7003", own6),
        ("udp6 ::1 7003", own6),
        ("send6 ::1 7003", ":: asks ::1, which hears ::1"),
        // Servers on all addresses are on the zone's first.
        ("tcp4 127.0.0.1 7004", "192.0.2.10 asks 192.0.2.10, which hears 192.0.2.10"),
        ("udp4 127.0.0.1 7004", "192.0.2.10 asks 192.0.2.10, which hears 192.0.2.10"),
        ("send4 127.0.0.1 7004", "0.0.0.0 asks 192.0.2.10, which hears 192.0.2.10"),
        ("tcp6 ::1 7004", "2001:db8::10 asks 2001:db8::10, which hears 2001:db8::10"),
        // The host's loopback, and its servers on all addresses.
        ("tcp4 127.0.0.1 7001", "connect ECONNREFUSED"),
        ("tcp6 ::1 7001", "connect ECONNREFUSED"),
        ("tcp4 127.0.0.1 7002", "connect ECONNREFUSED"),
        ("tcp6 ::1 7005", "connect ECONNREFUSED"),
    ] {
        assert_eq!(says(&zoned, "one", &format!("ask {asked}")), told, "{asked}");
    }
    for asked in [
        "udp4 127.0.0.1 7001",
        "udp4 127.0.0.1 7002",
        "send4 127.0.0.1 7002",
        "udp6 ::1 7005",
        "send6 ::1 7005",
    ] {
        let said = says(&zoned, "one", &format!("ask {asked}"));
        assert!(!said.contains("asks"), "{asked}: {said}");
    }
    // A zone without addresses has nothing else, and not the other's.
    for (asked, told) in [
        ("bind tcp4 0.0.0.0 7003", "bound 127.0.0.1"),
        ("bind tcp6 :: 7003", "bound ::ffff:127.0.0.1"),
        ("bind only6 :: 7003", "bound ::1"),
        ("bind tcp4 192.0.2.10 7003", "bind EADDRNOTAVAIL"),
        ("ask tcp4 127.0.0.1 7003", "connect ECONNREFUSED"),
        ("ask tcp6 ::1 7003", "connect ECONNREFUSED"),
    ] {
        assert_eq!(says(&zoned, "two", asked), told, "{asked}");
    }
    for asked in
        ["tcp4 192.0.2.10 7004", "tcp4 192.0.2.1 7002", "udp4 192.0.2.10 7004", "tcp6 2001:db8::1 7005"]
    {
        let said = says(&zoned, "two", &format!("ask {asked}"));
        assert!(said.starts_with("connect E"), "{asked}: {said}");
    }
    says(&zoned, "two", "serve tcp4 0.0.0.0 7003");
    assert_eq!(says(&zoned, "two", "ask tcp4 127.0.0.1 7003"), own);
    assert_eq!(says(&zoned, "one", "ask tcp4 127.0.0.1 7003"), own);
}

#[test]
fn a_program_of_32_bits_is_held_as_well() {
    let lab = lab();
    let zoned = lab.zoned();
    zone_for(&zoned, "old", &[WEB], "i386");
    let server = Server::new(&zoned);
    server.outside(&lab, "tcp4 192.0.2.2 9000");
    server.outside(&lab, "udp4 192.0.2.2 9000");
    for (asked, told) in [
        ("bind tcp4 192.0.2.10 80", "bound 192.0.2.10"),
        ("bind tcp4 192.0.2.1 80", "bind EADDRNOTAVAIL"),
        ("bind tcp4 0.0.0.0 80", "bound 192.0.2.10"),
        ("bind tcp6 :: 80", "bound ::ffff:192.0.2.10"),
        ("bind tcp6 2001:db8::1 80", "bind EADDRNOTAVAIL"),
        ("bind tcp4 127.0.0.1 80", "bound 127.0.0.1"),
        ("ask tcp4 192.0.2.2 9000", "192.0.2.10 asks 192.0.2.2, which hears 192.0.2.10"),
        ("ask send4 192.0.2.2 9000", "0.0.0.0 asks 192.0.2.2, which hears 192.0.2.10"),
    ] {
        assert_eq!(says(&zoned, "old", asked), told, "{asked}");
    }
    assert!(says(&zoned, "old", "source 192.0.2.1 192.0.2.2 9000").starts_with("sendmsg E"));
}

#[test]
fn nothing_is_left_of_its_addresses() {
    let lab = lab();
    // An address of the host's that is its network's second: the kernel would take it along with the first.
    lab.host(&["ip", "addr", "add", "198.51.100.1/24", "dev", "up0"]);
    lab.host(&["nft", "add table inet theirs; add chain inet theirs c"]);
    let before = census(&lab);
    let mut zoned = lab.zoned();
    // One of a network that the host is not in.
    zone(&zoned, "z", &[WEB, "physical=up0 address=198.51.100.9/24", "physical=up0 address=203.0.113.9/24"]);
    let inside = census(&lab);
    assert_eq!(inside.0, before.0, "no interface and no rule is a shared zone's");
    let more: Vec<_> = inside.1.difference(&before.1).cloned().collect();
    assert!(more.iter().any(|line| line.starts_with("203.0.113.0/24 dev up0")), "{more:#?}");
    assert!(before.1.is_subset(&inside.1), "{more:#?}");
    lab.host(&["ip", "addr", "add", "203.0.113.1/24", "dev", "up0"]);
    zoned.zonectl(&["halt", "z"]).ok();
    assert!(addresses(&lab).iter().any(|line| line.contains("203.0.113.1/24")), "the host's own stays");
    lab.host(&["ip", "addr", "del", "203.0.113.1/24", "dev", "up0"]);
    assert_eq!(before, census(&lab), "after a halt");

    let mut failed = 0;
    for step in 0..12 {
        zoned.start_again_with(vec![("ZONED_FAIL_STEP".into(), step.to_string())]);
        failed += u32::from(zoned.zonectl(&["boot", "z"]).status == Some(1));
        zoned.zonectl(&["halt", "z"]);
        assert_eq!(before, census(&lab), "after a failure at step {step}");
    }
    assert!(failed >= 6, "only {failed} boots failed: is ZONED_FAIL_STEP read?");
    zoned.start_again_with(Vec::new());

    boot(&zoned, "z");
    zoned.zonectl(&["reboot", "z"]).ok();
    assert_eq!(says(&zoned, "z", "bind tcp4 0.0.0.0 80"), "bound 192.0.2.10");
    kill(Pid::from_raw(zoned.monitor_of("z")), Signal::SIGKILL).expect("kill the monitor");
    zoned.wait_for("z", "installed");
    assert_eq!(before, census(&lab), "after the monitor's death");

    boot(&zoned, "z");
    let monitor = zoned.monitor_of("z");
    zoned.kill9();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill the monitor");
    zoned.start_again();
    zoned.wait_for("z", "installed");
    assert_eq!(before, census(&lab), "after the death of both");

    // The guest powers off while zoned is dead.
    boot(&zoned, "z");
    let init = zoned.init_of("z").to_string();
    zoned.kill9();
    let enter = ["-t", &init, "-U", "-p", "-m", "-S", "0", "-G", "0", "/bin/busybox", "poweroff", "-f"];
    Command::new("nsenter").args(enter).status().expect("run nsenter");
    eventually("nothing is left after a power-off without zoned", 10, || before == census(&lab));
    zoned.start_again();
}

#[test]
fn what_cannot_be_is_told() {
    let lab = lab();
    let zoned = lab.zoned();
    zone(&zoned, "web", &[WEB]);
    zoned.install("other", &format!("dir:{}", busybox_root().display()), &["ip-type=shared"]);
    for (net, says) in [
        ("physical=up0", &["net.address", "it is missing"][..]),
        ("physical=up0 address=127.0.0.1/8", &["net.address", "its own"]),
        ("physical=up0 address=192.0.2.30/24 mode=macvlan", &["net.mode", "exclusive"]),
        ("physical=up0 address=192.0.2.30/24 defrouter=192.0.2.2", &["net.defrouter", "exclusive"]),
    ] {
        let words: Vec<&str> = net.split(' ').collect();
        zoned.zonectl(&[&["add", "other", "net"], &words[..]].concat()).code(2).says(says);
    }
    for (net, says) in [
        ("physical=nowhere address=192.0.2.30/24", &["nowhere", "no such interface"][..]),
        ("physical=zones0 address=10.88.0.30/16", &["zones0", "exclusive"]),
        ("physical=up0 address=192.0.2.1/24", &["192.0.2.1", "host's own", "up0"]),
        ("physical=up0 address=192.0.2.10/24", &["192.0.2.10", "zone web's"]),
        ("physical=up0 address6=2001:db8::10/64", &["2001:db8::10", "zone web's"]),
    ] {
        let words: Vec<&str> = net.split(' ').collect();
        zoned.zonectl(&[&["add", "other", "net"], &words[..]].concat()).ok();
        let verified = zoned.zonectl(&["verify", "other"]).code(1);
        let text = format!("{verified}");
        assert!(says.iter().all(|word| text.contains(word)), "{net}: {text}");
        zoned.zonectl(&["boot", "other"]).code(1).says(says);
        zoned.zonectl(&["unset", "other", "net"]).ok();
    }
    zoned.zonectl(&["verify", "web"]).ok();
    zoned.zonectl(&["set", "other", "ip-type=host"]).ok();
    boot(&zoned, "other");
    let seen = zoned.zonectl(&["login", "other", "--", "ip", "-o", "addr"]).ok();
    assert!(
        seen.contains("192.0.2.1/24") && host_says(&lab, "bind tcp4 0.0.0.0 8099") == "bound 0.0.0.0",
        "{seen}"
    );
}
