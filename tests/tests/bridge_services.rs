//! What zones find on zoned's bridge: addresses by DHCP and by router advertisements, names by DNS. All of it in
//! network namespaces of the test's own.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use zones_tests::{Lab, Zoned, binary, busybox_root, eventually};

/// Addresses of names that are no zones', as the outside's name server gives them.
const ELSEWHERE: &str = "198.51.100.7";

fn zone(zoned: &Zoned, name: &str, properties: &[&str]) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&[&["add", name, "net", "physical=zones0"], properties].concat()).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

/// A name server at the outside's address, on a thread: it answers each question for an address with
/// [`ELSEWHERE`], until the test ends.
fn name_server(lab: &Lab) {
    let socket = lab.outside_socket("192.0.2.2:53");
    std::thread::spawn(move || serve(&socket));
}

fn serve(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let mut reply = buffer[..length].to_vec();
        // An answer, recursion is available; one record, and no EDNS.
        reply[2] |= 0x80;
        reply[3] = 0x80;
        reply[7] = 1;
        reply[11] = 0;
        let end = 12 + reply[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 5;
        reply.truncate(end);
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ELSEWHERE.split('.').map(|part| part.parse::<u8>().expect("a byte")));
        let _ = socket.send_to(&reply, from);
    }
}

#[test]
fn a_guest_that_asks_gets_what_it_has() {
    let lab = Lab::new();
    let zoned = lab.zoned();
    zone(&zoned, "web", &[]);
    let (own, own6) = zoned.addresses("web");
    // Everything that was set up for it is thrown away, as by the network scripts of a guest.
    let script = r#"
cat > /tmp/bound <<'END'
#!/bin/sh
[ "$1" = bound ] && env | grep -E '^(ip|subnet|router|dns|domain|hostname|lease|serverid|broadcast)=' > /tmp/lease
exit 0
END
chmod 755 /tmp/bound
ip addr flush dev eth0; ip link set eth0 down; ip link set eth0 up
udhcpc -i eth0 -f -q -n -t 8 -T 1 -s /tmp/bound >&2 || exit 1
sort /tmp/lease
"#;
    let lease = zoned.sh("web", script);
    let expected = format!(
        "broadcast=10.88.255.255\ndns=10.88.0.1\ndomain=zones.internal\nhostname=web\nip={own}\nlease=86400\n\
         router=10.88.0.1\nserverid=10.88.0.1\nsubnet=255.255.0.0\n"
    );
    assert_eq!(lease, expected);
    // The kernel solicits itself, and makes the address that the zone had.
    eventually("an address by advertisement", 20, || {
        let inside = zoned.sh("web", "ip -6 addr show eth0; ip -6 route");
        inside.contains(&own6) && inside.contains("default via fe80::")
    });
    zoned.zonectl(&["halt", "web"]).ok();
}

#[test]
fn zones_know_each_other_by_name_and_the_rest_by_the_hosts_resolvers() {
    let lab = Lab::new();
    name_server(&lab);
    let zoned = lab.zoned_with("[network]\nresolvers = [\"192.0.2.2\"]\ndomain = \"rack.internal\"\n");
    for name in ["web", "db"] {
        zone(&zoned, name, &[]);
    }
    let (web, web6) = zoned.addresses("web");
    for server in ["10.88.0.1", &gateway6(&zoned, "db")] {
        let look = |name: &str| zoned.sh("db", &format!("nslookup {name} {server} 2>&1; true"));
        for name in ["web", "web.rack.internal", "WEB.Rack.Internal"] {
            let found = look(name);
            assert!(found.contains(&web) && found.contains(&web6), "{name} by {server}: {found}");
        }
        let found = look(&web);
        assert!(found.contains("name = web.rack.internal"), "{found}");
        let found = look("nobody.rack.internal");
        assert!(found.contains("NXDOMAIN"), "{found}");
        let found = look("www.example.org");
        assert!(found.contains(ELSEWHERE), "{found}");
    }
    // As programs do it, by what DHCP says.
    let by_libc =
        "echo nameserver 10.88.0.1 > /etc/resolv.conf; echo search rack.internal >> /etc/resolv.conf
ping -c1 -W2 web.rack.internal";
    zoned.sh("db", by_libc);
    // The host asks the bridge, or reads the file.
    let found = lab.host(&["busybox", "nslookup", "db.rack.internal", "10.88.0.1"]);
    let (db, _) = zoned.addresses("db");
    assert!(found.contains(&db), "{found}");
    let hosts = fs::read_to_string(zoned.run_dir().join("hosts")).expect("there is a file of hosts");
    assert!(hosts.contains(&format!("{web}\tweb.rack.internal web\n")), "{hosts}");
    for name in ["web", "web.rack.internal"] {
        assert!(by_switch(&zoned, name).starts_with(&web6), "{name}: {}", by_switch(&zoned, name));
    }
    assert!(by_switch(&zoned, &web).contains("web.rack.internal web"));
    assert_eq!(by_switch(&zoned, "nobody"), "");
    // Of a zone that is halted nobody says anything any more.
    zoned.zonectl(&["halt", "web"]).ok();
    let found = zoned.sh("db", "nslookup web 10.88.0.1 2>&1; true");
    assert!(found.contains("NXDOMAIN"), "{found}");
    zoned.zonectl(&["halt", "db"]).ok();
    assert!(!zoned.run_dir().join("hosts").exists());
}

/// What programs of the host are told by the module of the name service switch, with this zoned's file in its place.
fn by_switch(zoned: &Zoned, name: &str) -> String {
    let modules = zoned.scratch().join("nss");
    fs::create_dir_all(&modules).expect("make a folder");
    let module = binary("libnss_zones.so").expect("build the module");
    fs::copy(module, modules.join("libnss_zones.so.2")).expect("copy the module");
    let script = "mount -t tmpfs none /run && mkdir /run/zoned && cat > /run/zoned/hosts
LD_LIBRARY_PATH=$1 exec getent -s hosts:zones hosts $2";
    let hosts = fs::File::open(zoned.run_dir().join("hosts")).expect("open the file of hosts");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([modules.as_os_str(), name.as_ref()])
        .stdin(hosts)
        .output()
        .expect("run getent");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The bridge's IPv6 address, by a zone's route.
fn gateway6(zoned: &Zoned, name: &str) -> String {
    let routes = zoned.sh(name, "ip -6 route");
    let line =
        routes.lines().find(|line| line.starts_with("default via fd")).unwrap_or_else(|| panic!("{routes}"));
    line.split(' ').nth(2).expect("an address").to_owned()
}

#[test]
fn the_services_come_and_go_with_the_bridge_and_are_refused_to_strangers() {
    let lab = Lab::new();
    let before = lab.census();
    let zoned = lab.zoned_with("[network]\nresolvers = [\"192.0.2.2\"]\n");
    for _ in 0..2 {
        zone(&zoned, "web", &["publish=53:5353/udp"]);
        let found = zoned.sh("web", "nslookup web 10.88.0.1 2>&1; true");
        let (own, _) = zoned.addresses("web");
        // Although the zone has the host's port 53: that is not the bridge's.
        assert!(found.contains(&own), "{found}");
        // From outside the bridge's own address says nothing, nor does a resolver of ours stand open there.
        lab.try_outside(&["ip", "route", "replace", "10.88.0.0/16", "via", "192.0.2.1"]);
        let refused = lab.try_outside(&["timeout", "5", "busybox", "nslookup", "web", "10.88.0.1"]);
        assert!(refused.is_none_or(|said| !said.contains(&own)));
        zoned.zonectl(&["halt", "web"]).ok();
        assert_eq!(before, lab.census());
        let listening = lab.host(&["ss", "-Hlnu"]);
        assert!(!listening.contains(":53 ") && !listening.contains(":67 "), "{listening}");
        zoned.zonectl(&["uninstall", "web", "-F"]).ok();
        zoned.zonectl(&["delete", "web", "-F"]).ok();
    }
}

#[test]
fn a_zone_that_asks_without_end_leaves_room_for_others() {
    let lab = Lab::new();
    // Nobody is there to answer.
    let zoned = lab.zoned_with("[network]\nresolvers = [\"192.0.2.77\"]\n");
    for name in ["loud", "web"] {
        zone(&zoned, name, &[]);
    }
    let (web, _) = zoned.addresses("web");
    let flood = "for n in $(seq 200); do nslookup n$n.example.org 10.88.0.1 >/dev/null 2>&1 & done; sleep 1";
    zoned.sh("loud", flood);
    let found = zoned.sh("web", "nslookup web 10.88.0.1 2>&1; true");
    assert!(found.contains(&web), "{found}");
    let mut rubbish =
        "for n in $(seq 50); do head -c $((n * 25)) /dev/urandom | nc -u -w 1 10.88.0.1 ".to_owned();
    rubbish.push_str("$port & done; wait");
    for port in ["53", "67"] {
        zoned.sh("loud", &format!("port={port}; {rubbish}"));
    }
    let found = zoned.sh("web", "nslookup web 10.88.0.1 2>&1; true");
    assert!(found.contains(&web), "{found}");
    for name in ["loud", "web"] {
        zoned.zonectl(&["halt", name]).ok();
    }
}
