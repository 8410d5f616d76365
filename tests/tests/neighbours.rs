//! One zone takes all that it can of what the host has for all: the host and another zone go on meanwhile.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use zones_tests::{
    Client, How, Lab, Mounted, Zoned, busybox_root, eventually, figure, is_machine, program, text,
};

fn exhaust() -> PathBuf {
    program("exhaust", "amd64", &[]).expect("exhaust.c compiles")
}

/// Memory of a zone, in MiB.
const CAP: u64 = 192;

/// Zones `greedy` and `other`, with the program as /bin/exhaust.
fn zones(settings: &[&str]) -> Zoned {
    let zoned = Zoned::start();
    for name in ["greedy", "other"] {
        zoned.install(name, &format!("dir:{}", busybox_root().display()), settings);
        zoned.zonectl(&["add", name, "capped-memory", &format!("physical={CAP}M"), "swap=0"]).ok();
        fs::copy(exhaust(), zoned.root().join(format!("zones/{name}/root/bin/exhaust")))
            .expect("copy the program");
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    zoned
}

/// Begins to take in `greedy`, and waits until there is no more.
fn takes(zoned: &Zoned, kind: &str) -> Client {
    // What was said before is still there.
    static TURN: AtomicU32 = AtomicU32::new(0);
    let file = format!("said-{}", TURN.fetch_add(1, Ordering::Relaxed));
    let script = format!("exhaust {kind} > /tmp/{file}; echo ended >> /tmp/{file}");
    let mut client = zoned.spawn(&["login", "greedy", "--", "sh", "-c", &script]);
    let said = zoned.root().join(format!("zones/greedy/upper/tmp/{file}"));
    let says = || fs::read_to_string(&said).is_ok_and(|text| text.contains(' '));
    // Where memory is at its end, its shell may be ended with it.
    eventually(&format!("all {kind} are taken"), 90, || says() || !client.runs());
    eprintln!("{kind}: {}", fs::read_to_string(&said).unwrap_or_default().trim());
    client
}

/// Takes the greedy zone down and boots it again; with its memory at an end it may have gone by itself.
fn end(zoned: &Zoned, client: Client) {
    zoned.zonectl(&["halt", "greedy"]);
    client.finish();
    zoned.wait_for("greedy", "installed");
    zoned.zonectl(&["boot", "greedy", "-i", "none"]).ok();
}

/// Megabytes that the host could give.
fn available() -> u64 {
    figure("/proc/meminfo", "MemAvailable").expect("a number") >> 10
}

/// The host, the other zone, and who comes into the greedy one.
fn others_go_on(zoned: &Zoned, kind: &str) {
    assert!(host_has(kind), "the host has no {kind}");
    zoned.zonectl(&["login", "other", "--", "exhaust", kind, "one"]).ok();
    let begun = Instant::now();
    zoned.zonectl(&["list", "-c"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "zoned answers after {:?}", begun.elapsed());
    zoned.zonectl(&["reboot", "other"]).ok();
    zoned.wait_for("other", "running");
}

#[test]
fn what_one_zone_takes_is_not_the_others() {
    let zoned = zones(&["max-processes=200"]);
    for kind in ["processes", "inotify", "keys", "mounts"] {
        let client = takes(&zoned, kind);
        others_go_on(&zoned, kind);
        end(&zoned, client);
    }
}

/// What the kernel keeps for a zone is memory of the zone.
fn leaves_the_host_its_memory(kind: &str) {
    let zoned = zones(&[]);
    let before = available();
    let client = takes(&zoned, kind);
    let taken = before.saturating_sub(available());
    assert!(taken < 600, "{kind} took {taken} MiB of the host, with {CAP} as the cap");
    others_go_on(&zoned, kind);
    zoned.zonectl(&["halt", "greedy"]);
    client.finish();
}

#[test]
fn full_pipes_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("pipes");
}

#[test]
fn unread_datagrams_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("sockets");
}

#[test]
fn files_in_memory_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("inodes");
}

#[test]
fn terminals_that_one_zone_took_are_left_to_the_host() {
    let zoned = zones(&[]);
    let client = takes(&zoned, "ptys");
    assert!(host_has("ptys"), "the host has no terminals");
    // Without one they go on.
    zoned.zonectl(&["login", "other", "--", "true"]).ok();
    zoned.zonectl(&["list", "-c"]).ok();
    // And end, whoever has their terminals.
    zoned.zonectl(&["halt", "other"]).ok();
    client.finish();
    zoned.zonectl(&["halt", "greedy"]).ok();
    zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
}

#[test]
fn what_is_written_to_a_console_does_not_fill_the_disk_nor_the_monitor() {
    let zoned = zones(&[]);
    let resident = || {
        let status = format!("/proc/{}/status", zoned.monitor_of("greedy"));
        figure(&status, "VmRSS").expect("its status") >> 10
    };
    let before = resident();
    let script = "i=0; while [ $i -lt 24 ]; do yes 'a line of the console that says next to nothing' | head -c 1048576 > /dev/console; \
                  i=$((i+1)); done";
    zoned.sh("greedy", script);
    let folder = zoned.root().join("zones/greedy");
    let logs = fs::read_dir(&folder).expect("list the zone's folder").flatten();
    let logs = logs.filter(|e| e.file_name().to_string_lossy().starts_with("console"));
    let size: u64 = logs.filter_map(|e| Some(e.metadata().ok()?.len())).sum();
    assert!(size < 8 << 20, "24 MiB to the console are {size} bytes of log");
    assert!(resident() < before + 16, "the monitor had {before} MiB and has {}", resident());
    zoned.zonectl(&["login", "other", "--", "true"]).ok();
}

/// Most groups that a zone can have below its own.
const GROUPS: u64 = 4096;

#[test]
fn groups_of_one_zone_are_bounded() {
    let zoned = zones(&["kernel=2.6.18"]);
    let made = |script: &str| {
        let said = zoned.sh("greedy", script);
        said.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    let all = "exhaust groups < /dev/null; rmdir /sys/fs/cgroup/exhaust-*";
    assert_eq!(made(all), GROUPS, "groups below the zone's own");
    // By v1 there is no bound, so the zone makes none.
    let named = "mkdir -p /tmp/v1; mount -t cgroup -o none,name=systemd cgroup /tmp/v1 && cd /tmp/v1 || exit 0; \
                 mkdir a && rmdir a && echo made; cd /; umount /tmp/v1";
    let said = zoned.zonectl(&["login", "greedy", "--", "sh", "-c", named]);
    assert!(!said.stdout.contains("made"), "{said}");
    others_go_on(&zoned, "groups");

    // Where their guards are not, there are more.
    let process = PathBuf::from(format!("/proc/{}", zoned.init_of("greedy")));
    let root = fs::metadata(&process).expect("look at process 1").uid();
    for line in fs::read_to_string(process.join("cgroup")).expect("its groups").lines() {
        let Some((hierarchy, path)) = line.split_once(":/").map(|(h, path)| (h.trim_matches(':'), path))
        else {
            continue;
        };
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|point| Path::new(point).join(path));
        for group in unified.iter().filter(|path| hierarchy == "0" && path.is_dir()) {
            fs::write(group.join("cgroup.max.descendants"), "max").expect("take the bound away");
            assert_eq!(made("exhaust groups 6000 < /dev/null; rmdir /sys/fs/cgroup/exhaust-*"), 6000);
        }
        let group = Path::new("/sys/fs/cgroup/systemd").join(path);
        if hierarchy.ends_with("name=systemd") && group.is_dir() {
            chown(group, Some(root), Some(root)).expect("give it to the zone");
            let said = zoned.zonectl(&["login", "greedy", "--", "sh", "-c", named]);
            assert!(said.stdout.contains("made"), "{said}");
        }
    }
    zoned.zonectl(&["halt", "greedy"]).ok();
}

/// A zone on the bridge, with the program as /bin/flood.
fn on_the_bridge(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&["add", name, "net", "physical=zones0"]).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    let there = zoned.root().join(format!("zones/{name}/root/bin/flood"));
    fs::copy(flood(), there).expect("copy the program");
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

fn flood() -> PathBuf {
    program("flood", "amd64", &[]).expect("flood.c compiles")
}

/// What zones of a test on connections stand in.
struct Crowd {
    zoned: Zoned,
    lab: Lab,
    server: Child,
}

impl Crowd {
    /// A zone may have 200.
    fn new() -> Self {
        let lab = Lab::new();
        let zoned = lab.zoned_with("[network]\nconnections = 200\n");
        let server = lab.start_outside(&[text(&flood()), "serve", "7"]);
        for name in ["greedy", "other"] {
            on_the_bridge(&zoned, name);
        }
        Self { zoned, lab, server }
    }

    /// How many are in the host's table.
    fn table(&self) -> u64 {
        let text = self.lab.host(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]);
        text.trim().parse().expect("a number")
    }

    /// How many a zone opens of those that it tries to; they are open until the client is at its end.
    fn opens(&self, number: u32) -> (u64, Client) {
        let said = self.zoned.root().join(format!("zones/greedy/upper/tmp/opened-{number}"));
        let script = format!("flood open 192.0.2.2 7 {number} > /tmp/opened-{number}");
        let client = self.zoned.spawn(&["login", "greedy", "--", "sh", "-c", &script]);
        let read = || fs::read_to_string(&said).ok()?.trim().parse().ok();
        eventually("connections are made", 60, || read().is_some());
        (read().unwrap_or_default(), client)
    }

    /// How many of ten the other zone and the host can make.
    fn others(&self) -> (u64, u64) {
        let words = ["many", "192.0.2.2", "7", "10"];
        let zone = self.zoned.zonectl(&[&["login", "other", "--", "flood"], &words[..]].concat()).ok();
        let host = self.lab.host(&[&[text(&flood())], &words[..]].concat());
        (zone.trim().parse().expect("a number"), host.trim().parse().expect("a number"))
    }

    fn end(mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
        drop(self.zoned);
    }
}

#[test]
fn connections_of_one_zone_leave_the_hosts_table_to_others() {
    let crowd = Crowd::new();
    // All network namespaces of a host have one bound, which a machine is there to have changed.
    let most = Path::new("/proc/sys/net/netfilter/nf_conntrack_max");
    if is_machine() {
        fs::write(most, "1000").expect("set the bound");
    }
    let before = crowd.table();
    let (opened, client) = crowd.opens(1400);
    let table = crowd.table() - before;
    eprintln!("{opened} of 1400 connections are open, {table} in the table");
    assert!((150..=200).contains(&opened), "{opened} are open, of 200");
    assert!(table <= 300, "{table} in the host's table");
    assert_eq!(crowd.others(), (10, 10));
    // Datagrams that nobody answers, and connections that are closed, are in the table as well.
    crowd.zoned.zonectl(&["login", "greedy", "--", "flood", "send", "192.0.2.2", "1500"]).ok();
    client.finish();
    crowd.zoned.zonectl(&["login", "greedy", "--", "flood", "many", "192.0.2.2", "7", "1500"]).ok();
    let table = crowd.table() - before;
    eprintln!("{table} in the table");
    assert!(table <= 700, "{table} in the host's table");
    assert_eq!(crowd.others(), (10, 10));

    // The same without the guard.
    crowd.lab.host(&["nft", "delete", "chain", "inet", "zoned_zones0", "connections"]);
    let (opened, client) = crowd.opens(1500);
    let table = crowd.table() - before;
    eprintln!("without the guard {opened} of 1500 connections are open, {table} in the table");
    if is_machine() {
        assert!(opened < 1000, "{opened} are open, of 1000 that there can be");
        assert_eq!(crowd.others(), (0, 0), "others have what is left of a full table");
    } else {
        assert!(opened == 1500 && table > 1500, "{opened} are open, {table} in the table");
    }
    client.finish();
    crowd.end();
}

#[test]
fn a_disk_that_one_zone_filled_lets_others_boot_and_end() {
    let disk = Mounted::new(&["mkfs.ext4", "-q", "-m", "0"], "loop", 64);
    let mut zoned = Zoned::start_as(How { place: Some(disk.at.clone()), ..How::default() });
    for name in ["greedy", "other"] {
        zoned.install(name, &format!("dir:{}", busybox_root().display()), &[]);
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    let mut own = fs::File::create(disk.at.join("own")).expect("create a file");
    // Whatever becomes free it takes, names of files as well.
    let script = "i=0; (while cat /dev/zero >> /fill || sleep 0.01; do :; done) 2> /dev/null & \
                  while : > /names$i || sleep 0.01; do i=$((i+1)); done 2> /dev/null";
    let client = zoned.spawn(&["login", "greedy", "--", "sh", "-c", script]);
    eventually("the disk is full", 60, || free(&disk.at) < 64 << 10);
    for _ in 0..2 {
        zoned.zonectl(&["login", "other", "--", "true"]).ok();
        zoned.zonectl(&["halt", "other"]).ok();
        zoned.wait_for("other", "installed");
        zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
        zoned.zonectl(&["reboot", "other"]).ok();
        zoned.wait_for("other", "running");
        zoned.zonectl(&["list", "-c"]).ok();
    }
    zoned.zonectl(&["create", "new"]).code(1).says(&["No space left"]);
    zoned.start_again();
    zoned.wait_for("other", "running");
    zoned.zonectl(&["halt", "greedy"]).ok();
    client.finish();
    // Its owner makes room. The record goes to a block that no zone could take; without that there is none.
    let reserve = zoned.root().join("zones/.reserve");
    let (kept, away) = (reserve.join("record"), disk.at.join("away"));
    fs::rename(&kept, &away).expect("take it away");
    // Of what the zone's end let go of the rest of the reserve may have got some.
    fs::write(reserve.join("0"), "").expect("empty it");
    fill(&mut own);
    assert_eq!(free(&disk.at), 0);
    zoned.zonectl(&["uninstall", "greedy", "-F"]).code(1).says(&["no space left"]);
    fs::rename(&away, &kept).expect("give it back");
    zoned.zonectl(&["uninstall", "greedy", "-F"]).ok();
    zoned.zonectl(&["create", "new"]).ok();
    drop(zoned);
}

/// Takes what the file's file system can take, also once it has written down what went before.
fn fill(file: &mut fs::File) {
    loop {
        nix::unistd::syncfs(&*file).expect("syncfs");
        if file.write(&[0; 1024]).is_err() {
            break;
        }
        while file.write(&[0; 1024]).is_ok() {}
    }
}

/// Bytes that a file system can take.
fn free(at: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(at).expect("statvfs");
    found.blocks_available() * found.fragment_size()
}

#[test]
fn its_programs_compile() {
    assert!(exhaust().is_file() && flood().is_file());
}

fn set(setting: &str, value: &str) {
    let path = Path::new("/proc/sys").join(setting);
    fs::write(&path, value).unwrap_or_else(|e| panic!("set {setting}: {e}"));
}

/// Whether the host can have one.
fn host_has(kind: &str) -> bool {
    let ended = Command::new(exhaust()).args([kind, "one"]).stdin(Stdio::null()).status();
    ended.expect("it runs").success()
}

/// Each kind where what keeps it from harm is taken away, in a machine that is there to be harmed.
#[test]
fn without_a_guard_each_kind_harms() {
    if !is_machine() {
        eprintln!("SKIPPED: it is for a machine");
        return;
    }
    let zoned = Zoned::start();
    zoned.install("greedy", &format!("dir:{}", busybox_root().display()), &["max-processes=100000"]);
    fs::copy(exhaust(), zoned.root().join("zones/greedy/root/bin/exhaust")).expect("copy the program");
    zoned.zonectl(&["boot", "greedy", "-i", "none"]).ok();

    // Without a number of its own a zone takes all that the kernel has.
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").expect("a number");
    set("kernel/pid_max", "1200");
    let client = takes(&zoned, "processes");
    let left = host_has("processes");
    set("kernel/pid_max", &most);
    assert!(!left, "processes");
    end(&zoned, client);

    // Without a reserve terminals are all for zones.
    set("kernel/pty/max", "100");
    for (reserve, left) in [("50", true), ("0", false)] {
        set("kernel/pty/reserve", reserve);
        let client = takes(&zoned, "ptys");
        assert_eq!(host_has("ptys"), left, "terminals with a reserve of {reserve}");
        end(&zoned, client);
    }
    set("kernel/pty/max", "4096");
    set("kernel/pty/reserve", "1024");

    // With the host's ids, and in its mounts, they are the host's.
    set("kernel/keys/root_maxkeys", "200");
    set("fs/mount-max", "2000");
    for kind in ["inotify", "keys", "mounts"] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.args([
            "(\"$0\" $1; :) < /dev/zero > /dev/null & sleep 3; \"$0\" $1 one; r=$?; kill $!; exit $r",
        ]);
        let ended = command.arg(exhaust()).arg(kind).status().expect("unshare runs");
        assert_eq!(ended.code(), Some(1), "{kind}");
    }

    // Without a cap what the kernel keeps for a zone is the host's memory: more than the cap of the others here.
    for (kind, number) in [("sockets", 1000), ("pipes", 30000), ("inodes", 250_000)] {
        let before = available();
        let client = takes(&zoned, &format!("{kind} {number}"));
        let taken = before.saturating_sub(available());
        eprintln!("{kind}: {taken} MiB");
        assert!(taken > CAP, "{kind} took {taken} MiB");
        end(&zoned, client);
    }
}
