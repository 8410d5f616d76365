//! The Debian package in a fresh Debian 12 under its own systemd: installed, used, upgraded, removed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{Machine, binary, busybox_root, compile, eventually, pack, target};

/// The machine with the package installed; those that follow share it, one after the other.
static HOST: Mutex<Option<Host>> = Mutex::new(None);

type Named = (&'static str, fn(&mut Host));

/// In this order: the last takes the package away.
const TRIALS: [Named; 12] = [
    ("units_are_in_order", units_are_in_order),
    ("the_first_request_starts_zoned", the_first_request_starts_zoned),
    ("systemd_waits_until_zoned_is_ready", systemd_waits_until_zoned_is_ready),
    ("a_zone_lives_and_ends", a_zone_lives_and_ends),
    ("guests_notice_nothing_of_the_unit", guests_notice_nothing_of_the_unit),
    ("systemd_leaves_the_groups_of_zones_alone", systemd_leaves_the_groups_of_zones_alone),
    ("a_killed_zoned_comes_back", a_killed_zoned_comes_back),
    ("a_zoned_that_hangs_is_started_anew", a_zoned_that_hangs_is_started_anew),
    ("an_upgrade_leaves_zones_running", an_upgrade_leaves_zones_running),
    ("zones_go_and_come_with_the_host", zones_go_and_come_with_the_host),
    ("pages_and_completions_are_found", pages_and_completions_are_found),
    ("nothing_is_left", nothing_is_left),
];

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let missing = Machine::missing();
    if let Some(why) = &missing {
        eprintln!("SKIPPED the package: {why}");
    }
    let mut trials = vec![Trial::test("lintian_finds_nothing", lintian_finds_nothing)];
    for (name, trial) in TRIALS {
        let run = move || {
            let mut host = host();
            if host.is_none() {
                *host = Some(Host::install().map_err(|e| format!("{e:#}"))?);
            }
            let host = host.as_mut().expect("it was just made");
            host.tidy();
            trial(host);
            Ok(())
        };
        trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
    }
    let ended = libtest_mimic::run(&arguments, trials);
    // What is static is not dropped.
    drop(host().take());
    ended.exit_code()
}

fn host() -> MutexGuard<'static, Option<Host>> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The package of the programs that cargo builds for tests, made once.
fn package() -> Result<PathBuf> {
    static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(package) = &*made {
        return Ok(package.clone());
    }
    let programs = binary("zoned")?;
    let programs = programs.parent().context("a program stands in a folder")?;
    let mut deb = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    deb.current_dir(env!("CARGO_MANIFEST_DIR"));
    deb.args(["run", "--quiet", "-p", "xtask", "--target-dir"])
        .arg(target())
        .args(["--", "deb"])
        .arg(programs);
    deb.env("DEBFULLNAME", "Tests of zones").env("DEBEMAIL", "tests@zones.example");
    let output = deb.output().context("run cargo xtask deb")?;
    ensure!(output.status.success(), "cargo xtask deb: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = PathBuf::from(said.lines().last().unwrap_or_default());
    ensure!(package.is_file(), "cargo xtask deb said {said:?}");
    *made = Some(package.clone());
    Ok(package)
}

/// Warnings that lintian may have of a package from the working copy, which is no upload to Debian.
const TAGS: [&str; 1] = ["initial-upload-closes-no-bugs"];

fn lintian_finds_nothing() -> Result<(), Failed> {
    if Command::new("lintian").arg("--version").output().is_err() {
        eprintln!("SKIPPED lintian: not installed here");
        return Ok(());
    }
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--suppress-tags", &TAGS.join(","), "--fail-on", "error,warning"]);
    let output = lintian.arg(package()?).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}

/// What there is of a host that a package could leave something in.
#[derive(Debug, PartialEq, Eq)]
struct Things(BTreeSet<String>);

impl Things {
    /// `dpkg`, apt, man-db and the journal keep books of their own, which are no part of the package; systemd has folders
    /// below /var/tmp for its own services, named after the boot.
    const OWN: &str = "/proc /sys /dev /run /tmp /var/tmp /job /var/cache /var/lib/apt /var/lib/dpkg /var/log /var/lib/systemd/random-seed";

    fn of(machine: &mut Machine) -> Self {
        let own = Self::OWN.split(' ').map(|path| format!("-path {path}")).collect::<Vec<_>>().join(" -o ");
        let mut list = machine.run(&format!("find / \\( {own} \\) -prune -o -print")).ok();
        for more in [
            "find /run -name '*zone*'; find /sys/fs/cgroup -name '*zone*'; find /var/lib/dpkg -name 'zones.*'",
            "getent passwd; getent group",
            "systemctl list-unit-files --no-legend; systemctl list-units --all --no-legend --plain '*zone*'",
            "ls /sys/class/net; nft list ruleset; cat /proc/self/mountinfo | cut -d ' ' -f 5",
            "systemctl --failed --no-legend --plain",
        ] {
            list += "\n";
            list += &machine.run(more).ok();
        }
        Self(list.lines().map(|line| line.trim().to_owned()).collect())
    }
}

/// The machine, and how it was before.
struct Host {
    machine: Machine,
    before: Things,
}

impl Host {
    fn install() -> Result<Self> {
        let scratch = tempfile::tempdir().context("make a folder")?;
        let guest = scratch.path().join("busybox.tar");
        pack(&busybox_root(), &guest);
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance");
        let i386 = compile(&sources.join("oldstat.c"), "i386", &[])?;
        let deb = package()?;
        let files = [("zones.deb", deb.as_path()), ("busybox.tar", &guest), ("i386", &i386)];
        let mut machine = Machine::boot(&files)?;
        machine.run("systemctl is-system-running").ok();
        let before = Things::of(&mut machine);
        machine.run("apt-get -qq install --yes --no-install-recommends ./zones.deb").ok();
        machine
            .run("getent group zones && systemctl is-enabled zoned.service zoned.socket zones.service")
            .ok();
        machine.run("systemctl is-active zoned.service zoned.socket zones.service").ok();
        Ok(Self { machine, before })
    }

    #[track_caller]
    fn ok(&mut self, command: &str) -> String {
        self.machine.run(command).ok()
    }

    /// A property of a unit.
    fn show(&mut self, unit: &str, property: &str) -> String {
        self.ok(&format!("systemctl show --property {property} --value {unit}"))
    }

    /// A running zone of busybox; pid of its process 1.
    fn zone(&mut self, name: &str, settings: &str) -> String {
        self.ok(&format!("zonectl create {name} {settings} && zonectl install {name} tar:/job/busybox.tar"));
        self.ok(&format!("zonectl boot {name}"));
        self.init_of(name)
    }

    fn init_of(&mut self, name: &str) -> String {
        let pid = self
            .ok(&format!("zonectl --json list {name} | grep -o '\"init_pid\": *[0-9]*' | grep -o '[0-9]*$'"));
        assert!(pid.parse::<u32>().is_ok(), "{pid}");
        pid
    }

    fn state_of(&mut self, name: &str) -> String {
        self.ok(&format!("zonectl list -cp {name} | cut -d: -f3"))
    }

    /// Takes away what a trial left that failed.
    fn tidy(&mut self) {
        let drop_in = "/run/systemd/system/zoned.service.d";
        self.ok(&format!(
            "[ ! -d {drop_in} ] || {{ rm -r {drop_in}; systemctl daemon-reload; systemctl restart zoned.service; }}"
        ));
        for zone in self.ok("zonectl list -cp | cut -d: -f2").lines() {
            self.forget(zone);
        }
    }

    fn forget(&mut self, name: &str) {
        self.machine.run(&format!("zonectl halt {name}"));
        self.ok(&format!("zonectl uninstall {name} -F && zonectl delete {name} -F"));
    }
}

fn units_are_in_order(host: &mut Host) {
    let units = "zoned.service zoned.socket zones.service";
    assert_eq!(host.ok(&format!("systemd-analyze verify {units}")), "");
    // Of 100; what is absent, and why, stands in the units. systemd of another release may count otherwise.
    let figures = host.ok("systemd-analyze security --no-pager zoned.service zones.service | grep Overall");
    println!("{figures}");
    host.ok("systemd-analyze security --no-pager --threshold=90 zoned.service");
    host.ok("systemd-analyze security --no-pager --threshold=10 zones.service");
    let text = host.ok("cat /proc/$(systemctl show --property MainPID --value zoned)/status");
    let bounds =
        text.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("the kernel tells the set");
    let bounds = u64::from_str_radix(bounds, 16).expect("it is a number");
    // linux/capability.h
    for (capability, number) in [("SYS_MODULE", 16), ("SYS_RAWIO", 17), ("SYS_BOOT", 22), ("SYS_TIME", 25)] {
        assert_eq!(bounds >> number & 1, 0, "CAP_{capability}");
    }
}

fn the_first_request_starts_zoned(host: &mut Host) {
    host.ok("systemctl stop zoned.service");
    assert_eq!(
        host.machine.run("systemctl is-active zoned.service zoned.socket").text.trim(),
        "inactive\nactive"
    );
    assert!(host.ok("zonectl list").starts_with("ID"));
    host.ok("systemctl is-active zoned.service");
    // Another user is let in too, and sees what he has a right to.
    host.ok("systemctl stop zoned.service; setpriv --reuid nobody --clear-groups zonectl list");
}

fn systemd_waits_until_zoned_is_ready(host: &mut Host) {
    let drop_in = "/run/systemd/system/zoned.service.d";
    let slow = "[Service]\\nExecStart=\\nExecStart=/bin/sh -c \"sleep 4; exec /usr/sbin/zoned\"\\n";
    host.ok(&format!("mkdir -p {drop_in}; printf '{slow}' > {drop_in}/slow.conf; systemctl daemon-reload"));
    host.ok("systemctl restart --no-block zoned.service; sleep 2");
    assert_eq!(host.show("zoned.service", "ActiveState"), "activating");
    // Who asks meanwhile waits.
    host.ok("zonectl list");
    host.ok("systemctl start zoned.service");
    assert_eq!(host.show("zoned.service", "ActiveState"), "active");
    host.ok(&format!("rm -r {drop_in}; systemctl daemon-reload; systemctl restart zoned.service"));
}

fn a_zone_lives_and_ends(host: &mut Host) {
    host.zone("web", "");
    assert_eq!(host.state_of("web"), "running");
    assert_eq!(host.ok("zonectl login web -- hostname"), "web");
    assert!(host.ok("zonectl login web -u guest -- id").starts_with("uid=1000(guest)"));
    host.ok("i=0; until grep -q 'login: ' /var/lib/zoned/zones/web/console.log; do sleep 1; i=$((i+1)); [ $i -lt 60 ]; done");
    host.ok("zonectl halt web");
    assert_eq!(host.state_of("web"), "installed");
    // On zoned's bridge, which makes the bridge and the rules.
    host.ok("zonectl add web net physical=zones0 && zonectl boot web");
    // By the module that the package put into the name service switch.
    host.ok("getent ahostsv4 web | grep -q '^10\\.88\\.' && getent hosts web.zones.internal");
    host.ok("zonectl login web -- ping -c 1 -W 20 10.88.0.1");
    host.forget("web");
}

/// Programs that are older than any sandbox: i386 with personalities of its own, realtime, set-user-id, a host name.
fn guests_notice_nothing_of_the_unit(host: &mut Host) {
    host.zone("old", "kernel=2.6.18");
    host.ok("zonectl login old -- sh -c 'cat > /bin/i386; chmod 755 /bin/i386' < i386");
    host.ok("zonectl login old -- /bin/i386 2.6.18");
    assert_eq!(host.ok("zonectl login old -- linux32 uname -m"), "i686");
    host.ok("zonectl login old -- hostname other");
    host.ok("zonectl login old -- sh -c 'rm /bin/su && cp /bin/busybox /bin/su && chmod 4755 /bin/su'");
    let whoami = host.ok("zonectl login old -u guest -- /bin/su -c id root");
    assert!(whoami.starts_with("uid=0(root)"), "{whoami}");
    // Under a zoned that no unit started: the same filters, capabilities, limits and scheduling.
    let seen = "egrep \"^(Cap|NoNewPrivs|Seccomp|SigIgn|Umask)\" /proc/self/status; cat /proc/self/limits; umask; \
                chrt -r 1 true 2>&1; cat /proc/self/oom_score_adj; cat /proc/1/status | grep Seccomp_filters";
    let under_systemd = host.ok(&format!("zonectl login old -- sh -c '{seen}'"));
    assert!(under_systemd.contains("Seccomp_filters:\t1"), "the brand's alone: {under_systemd}");
    assert!(under_systemd.contains("NoNewPrivs:\t0"), "{under_systemd}");
    host.ok("mkdir -p /tmp/hand /tmp/hand-zones");
    // As the unit starts it, but for its options: the limit on open files is inherited.
    host.ok("ulimit -n 1048576; zoned --root /tmp/hand --run /tmp/hand-run --zones /tmp/hand-zones --config /dev/null 2>/tmp/hand.log & \
             echo $! > /tmp/hand.pid; until [ -S /tmp/hand-run/zoned.sock ]; do sleep 1; done");
    let by_hand = "zonectl --socket /tmp/hand-run/zoned.sock";
    host.ok(&format!("{by_hand} create old kernel=2.6.18 && {by_hand} install old tar:/job/busybox.tar"));
    host.ok(&format!("{by_hand} boot old"));
    let without = host.ok(&format!("{by_hand} login old -- sh -c '{seen}'"));
    host.ok(&format!(
        "{by_hand} halt old; kill $(cat /tmp/hand.pid); rm -r /tmp/hand /tmp/hand-run /tmp/hand-zones"
    ));
    assert_eq!(under_systemd, without);
    host.forget("old");
}

/// systemd gives controllers to the groups that its units need, and takes them from others.
fn systemd_leaves_the_groups_of_zones_alone(host: &mut Host) {
    let init = host.zone("capped", "capped-memory.physical=64M capped-cpu.ncpus=0.5 max-processes=100");
    let limits = "cd /sys/fs/cgroup/zoned/capped@*/ && cat memory.max cpu.max pids.max cpuset.cpus; cd /job";
    let before = host.ok(limits);
    assert!(before.starts_with("67108864\n50000 100000\n100\n"), "{before}");
    host.ok("systemctl daemon-reload && systemctl daemon-reexec");
    host.ok(
        "systemd-run --wait --property CPUQuota=50% --property MemoryMax=64M --property AllowedCPUs=0 true",
    );
    host.ok("systemctl restart systemd-journald systemd-udevd");
    assert_eq!(host.ok(limits), before);
    assert_eq!(host.init_of("capped"), init);
    host.forget("capped");
}

fn a_killed_zoned_comes_back(host: &mut Host) {
    let init = host.zone("web", "");
    host.ok("zonectl login web -- sh -c 'while :; do sleep 1; done' & echo $! > /tmp/login");
    host.ok("until zonectl login web -- pidof sleep; do sleep 1; done");
    for _ in 0..3 {
        let zoned = host.show("zoned.service", "MainPID");
        host.ok(&format!("kill -9 {zoned}"));
        eventually("another zoned", 60, || {
            let now = host.show("zoned.service", "MainPID");
            now != "0" && now != zoned && host.show("zoned.service", "ActiveState") == "active"
        });
        assert_eq!(host.init_of("web"), init);
    }
    host.ok("kill -0 $(cat /tmp/login) && kill $(cat /tmp/login)");
    // Stopped and started by hand, it is the same.
    host.ok("systemctl stop zoned.service zoned.socket; sleep 1");
    host.ok(&format!("kill -0 {init}; systemctl start zoned.socket"));
    assert_eq!(host.init_of("web"), init);
    assert_eq!(host.ok("zonectl login web -- hostname"), "web");
    host.forget("web");
}

fn a_zoned_that_hangs_is_started_anew(host: &mut Host) {
    assert_eq!(host.show("zoned.service", "WatchdogUSec"), "1min");
    let init = host.zone("web", "");
    let drop_in = "/run/systemd/system/zoned.service.d";
    // An emulated processor beside other work takes some seconds for what takes none elsewhere.
    host.ok(&format!("mkdir -p {drop_in}; printf '[Service]\\nWatchdogSec=20\\n' > {drop_in}/soon.conf"));
    host.ok("systemctl daemon-reload; systemctl restart zoned.service");
    let zoned = host.show("zoned.service", "MainPID");
    // It answers itself, and so is left alone.
    host.ok("sleep 30");
    assert_eq!(host.show("zoned.service", "MainPID"), zoned);
    host.ok(&format!("kill -STOP {zoned}"));
    eventually("another zoned", 120, || {
        let now = host.show("zoned.service", "MainPID");
        now != "0" && now != zoned && host.show("zoned.service", "ActiveState") == "active"
    });
    host.ok("journalctl -q -b -u zoned.service | grep -q \"result 'watchdog'\"");
    assert_eq!(host.init_of("web"), init);
    host.ok(&format!("rm -r {drop_in}; systemctl daemon-reload; systemctl restart zoned.service"));
    host.forget("web");
}

fn an_upgrade_leaves_zones_running(host: &mut Host) {
    let init = host.zone("web", "");
    let zoned = host.show("zoned.service", "MainPID");
    host.ok("echo '# ours' >> /etc/zoned/zoned.toml; dpkg --install zones.deb");
    assert_ne!(host.show("zoned.service", "MainPID"), zoned, "it is the new one");
    assert_eq!(host.init_of("web"), init);
    assert_eq!(host.ok("zonectl login web -- hostname"), "web");
    assert_eq!(host.ok("tail -n 1 /etc/zoned/zoned.toml"), "# ours");
    host.forget("web");
}

fn zones_go_and_come_with_the_host(host: &mut Host) {
    host.zone("db", "autoboot=true");
    host.zone("app", "autoboot=true boot-after=db");
    host.zone("byhand", "");
    host.machine.reboot();
    host.ok("systemctl is-active zoned.service zones.service");
    for (zone, state) in [("db", "running"), ("app", "running"), ("byhand", "installed")] {
        eventually(zone, 60, || host.state_of(zone) == state);
        // What busybox's inittab says when it is asked to end, and not killed.
        host.ok(&format!("grep -q 'the zone goes down' /var/lib/zoned/zones/{zone}/console.log"));
    }
    let log = host.ok("journalctl -q -b -1 -o short-monotonic -u zones.service -u zoned.service");
    let at = |text: &str| log.rfind(text).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(at("Stopped zones.service") < at("Stopping zoned.service"), "{log}");
    assert!(!log.contains("timed out"), "{log}");
    // By hand it is the same unit.
    host.ok("systemctl stop zones.service");
    assert_eq!(host.state_of("db"), "installed");
    host.ok("systemctl start zones.service");
    for zone in ["app", "db", "byhand"] {
        host.forget(zone);
    }
}

fn pages_and_completions_are_found(host: &mut Host) {
    for page in ["8 zoned", "1 zonectl", "1 zonectl-boot", "1 zonectl-shutdown"] {
        let text = host.ok(&format!("man {page} | cat"));
        assert!(text.contains("SYNOPSIS"), "{page}: {text}");
    }
    let complete = ". /usr/share/bash-completion/completions/zonectl; COMP_WORDS=(zonectl shut); COMP_CWORD=1; \
                    _zonectl zonectl shut zonectl; echo ${COMPREPLY[@]}";
    assert_eq!(host.ok(&format!("bash -c '{complete}'")), "shutdown");
    // The book, and what it leads to.
    let links = host
        .ok("cd /usr/share/doc/zones/book && grep -ro '](\\.*[a-z0-9/.-]*\\.md' --include='*.md' .; cd /job");
    assert!(links.lines().count() > 20, "{links}");
    for link in links.lines() {
        let (page, to) = link.split_once(":](").expect("grep names the file");
        let folder = page.rsplit_once('/').expect("it has a folder").0;
        host.ok(&format!("test -f /usr/share/doc/zones/book/{folder}/{to} || {{ echo '{link}'; false; }}"));
    }
}

fn nothing_is_left(host: &mut Host) {
    // A zone that runs ends well, and is kept.
    let init = host.zone("web", "");
    host.ok("systemctl disable --quiet zones.service");
    host.ok("apt-get -qq remove --yes zones");
    assert_ne!(host.machine.run(&format!("kill -0 {init}")).status, 0, "nobody would be left to end it");
    host.ok(
        "grep -q 'the zone goes down' /var/lib/zoned/zones/web/console.log && test -f /etc/zones/web.toml",
    );
    assert_eq!(host.ok("ps ax | grep '[z]oned'; true"), "");
    let said = host.ok("apt-get -qq purge --yes zones 2>&1");
    assert!(said.contains("/var/lib/zoned holds zones and is left"), "{said}");
    host.ok("test -f /var/lib/zoned/zones/web/root/bin/busybox && test -f /etc/zones/web.toml");

    host.ok("dpkg --install zones.deb && zonectl boot web");
    host.forget("web");
    host.ok("apt-get -qq purge --yes zones");
    let after = Things::of(&mut host.machine);
    let more: Vec<_> = after.0.difference(&host.before.0).collect();
    let less: Vec<_> = host.before.0.difference(&after.0).collect();
    assert!(more.is_empty() && less.is_empty(), "left: {more:#?}\ngone: {less:#?}");
}
