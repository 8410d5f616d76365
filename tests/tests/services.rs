//! What people run: services of a distribution, installed inside a zone from a mirror, asked from the host and from
//! another zone; and a zoned that dies while they are asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use zones_tests::{Lab, Terminal, Zoned, busybox_root, debian, eventually};

fn address(zoned: &Zoned, name: &str) -> String {
    let zone = zoned.zone(name).unwrap_or_else(|| panic!("no zone {name}"));
    let first = zone["addresses"].as_array().and_then(|all| all.first()).and_then(Value::as_str);
    let first = first.unwrap_or_else(|| panic!("{name} has no address: {zone}"));
    first.split('/').next().unwrap_or_default().to_owned()
}

fn is_up(zoned: &Zoned, name: &str) {
    eventually("systemd is up", 240, || {
        let said = zoned.zonectl(&["login", name, "--", "systemctl", "is-system-running"]).stdout;
        said.contains("running") || said.contains("degraded")
    });
}

const INSTALL: &str = r#"set -e
export DEBIAN_FRONTEND=noninteractive
echo 'Acquire::http { Proxy "http://192.0.2.2:3128"; Pipeline-Depth "0"; }' > /etc/apt/apt.conf.d/90proxy
apt-get -qq update
apt-get -qq install --yes --no-install-recommends nginx-light postgresql openssh-server > /root/apt.log
echo "this is server" > /var/www/html/index.html
su postgres -c "psql -qc 'create table t (n int)' -c 'insert into t values (42)'"
useradd -m -s /bin/bash anna
ssh-keygen -q -t ed25519 -N '' -f /root/key
mkdir /home/anna/.ssh; cp /root/key.pub /home/anna/.ssh/authorized_keys; chown -R anna: /home/anna/.ssh"#;

const LOGIN: &str = r#"ssh -tt -i /root/key -o StrictHostKeyChecking=no -o LogLevel=ERROR anna@localhost \
 'cat /proc/self/loginuid; echo; tty; who | grep -c "^anna .*pts/"; id -un' < /dev/null | tr -d '\r'
su - anna -c 'id -un; echo $HOME'"#;

#[test]
fn nginx_postgresql_and_sshd_serve_from_a_debian_11() {
    let root = match debian("bullseye", "amd64") {
        Ok(root) => format!("tar:{}", root.display()),
        Err(error) => return eprintln!("SKIPPED services: {error:#}"),
    };
    let lab = Lab::new();
    let _proxy = lab.proxy();
    let zoned = lab.zoned();
    for name in ["server", "client"] {
        zoned.zonectl(&["create", name]).ok();
        zoned.zonectl(&["add", name, "net", "physical=zones0"]).ok();
    }
    zoned.zonectl(&["install", "server", &root]).ok();
    zoned.zonectl(&["install", "client", &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", "server"]).ok();
    zoned.zonectl(&["boot", "client", "-i", "none"]).ok();
    is_up(&zoned, "server");
    let installed = zoned.zonectl(&["login", "server", "--", "bash", "-c", INSTALL]);
    assert_eq!(installed.status, Some(0), "{installed}");
    let address = address(&zoned, "server");
    let serves = |when: &str| {
        let url = format!("http://{address}/");
        eventually(&format!("the host is answered {when}"), 60, || {
            let said = lab.try_host(&["wget", "-qO-", "-T", "5", "-t1", &url]);
            said.as_deref() == Some("this is server\n")
        });
        let fetch = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 80 | tail -n 1");
        let said = zoned.zonectl(&["login", "client", "--", "sh", "-c", &fetch]).ok();
        assert_eq!(said, "this is server\n", "another zone is answered {when}");
        let query = ["login", "server", "--", "su", "postgres", "-c", "psql -Atc 'select n from t'"];
        eventually(&format!("the database answers {when}"), 60, || zoned.zonectl(&query).stdout == "42\n");
    };
    serves("at first");
    let said = zoned.zonectl(&["login", "server", "--", "bash", "-c", LOGIN]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1000", "the login uid is anna's\n{said}");
    assert!(lines[1].starts_with("/dev/pts/"), "{said}");
    assert_eq!(lines[2..], ["1", "anna", "anna", "/home/anna"], "{said}");
    zoned.zonectl(&["reboot", "server"]).ok();
    is_up(&zoned, "server");
    serves("after a reboot");
    let failed = zoned.zonectl(&["login", "server", "--", "systemctl", "--failed", "--no-legend"]).ok();
    assert_eq!(failed, "", "no unit failed");
    no_committed_row_is_lost(&zoned);
    zoned.zonectl(&["shutdown", "server", "-t", "60"]).ok();
    zoned.wait_for("server", "installed");
}

/// Rows are written, one a transaction, while snapshots are made of the zone; after rolling back to one the database
/// starts, and has every row that was told to be committed before the snapshot began.
fn no_committed_row_is_lost(zoned: &Zoned) {
    let query = |text: &str| {
        let words = ["login", "server", "--", "su", "postgres", "-c", &format!("psql -Atc '{text}'")];
        zoned.zonectl(&words).stdout.trim().to_owned()
    };
    query("create table c (n int primary key)");
    let told = zoned.scratch().join("told");
    let script = "for i in $(seq 100000); do echo \"insert into c values ($i) returning n;\"; done | \
                  su postgres -c 'psql -qAt --set ON_ERROR_STOP=1'";
    let mut writer = zoned.command(&["login", "server", "--", "sh", "-c", script]);
    let file = std::fs::File::create(&told).expect("make a file");
    let mut writer = writer.stdout(file).stderr(std::process::Stdio::null()).spawn().expect("run zonectl");
    let committed = || {
        let text = std::fs::read_to_string(&told).expect("read what was told");
        // The last line may not be whole yet.
        text.lines().rev().nth(1).and_then(|line| line.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut before = Vec::new();
    for i in 0..2 {
        let mark = committed();
        eventually("rows come", 60, || committed() > mark + 200);
        before.push(committed());
        let made = zoned.zonectl(&["snapshot", &format!("server@db{i}")]);
        eprintln!("{}{}", made.stdout, made.stderr);
        made.ok();
    }
    for (i, before) in before.into_iter().enumerate().rev() {
        zoned.zonectl(&["rollback", &format!("server@db{i}")]).ok();
        is_up(zoned, "server");
        eventually("the database answers", 60, || query("select 1") == "1");
        let seen = query("select max(n), count(*), min(n) from c");
        let numbers: Vec<u64> = seen.split('|').filter_map(|n| n.parse().ok()).collect();
        let [most, count, 1] = numbers[..] else { panic!("rows at snapshot {i}: {seen}") };
        assert!(most >= before && count == most, "snapshot {i}: {before} were committed, {seen} are there");
    }
    writer.wait().expect("wait for the writer");
}

/// Asks a web server, once.
fn ask(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn no_request_is_lost_when_zoned_is_killed() {
    let lab = Lab::new();
    let mut zoned = lab.zoned();
    let names = ["a", "b", "c"];
    for name in names {
        zoned.zonectl(&["create", name]).ok();
        zoned.zonectl(&["add", name, "net", "physical=zones0"]).ok();
        zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
        let serve =
            format!("mkdir /tmp/www; echo here is {name} > /tmp/www/index.html; httpd -p 80 -h /tmp/www");
        zoned.zonectl(&["login", name, "--", "sh", "-c", &serve]).ok();
    }
    let servers: Vec<(&str, SocketAddr)> = names
        .iter()
        .map(|name| (*name, format!("{}:80", address(&zoned, name)).parse().expect("an address")))
        .collect();
    let mut console = Terminal::start(&zoned.command(&["login", "a", "--", "sh"]));
    console.send("echo at the $((6 * 7))nd\n");
    console.expect("at the 42nd", 10);

    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let lost: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = servers
            .iter()
            .map(|&(name, at)| {
                let (over, answered, lab) = (&over, &answered, &lab);
                scope.spawn(move || {
                    lab.enter_host();
                    let mut lost = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        match ask(at) {
                            Ok(text) if text.ends_with(&format!("here is {name}\n")) => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            other => lost.push(format!("{name}: {other:?}")),
                        }
                    }
                    lost
                })
            })
            .collect();
        for _ in 0..5 {
            let before = answered.load(Ordering::Relaxed);
            zoned.kill9();
            eventually("requests are answered without zoned", 30, || {
                answered.load(Ordering::Relaxed) > before + 50
            });
            zoned.start_again();
            eventually("zoned knows its zones again", 30, || {
                names.iter().all(|name| zoned.state(name).as_deref() == Some("running"))
            });
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    });
    assert!(lost.is_empty(), "{} requests were lost: {:?}", lost.len(), lost.first());
    assert!(answered.into_inner() > 250);
    console.send("echo still at the $((6 * 7))nd\n");
    console.expect("still at the 42nd", 10);
    console.send("exit\n");
    assert!(console.finish(10).success());
}
