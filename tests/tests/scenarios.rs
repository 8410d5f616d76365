//! A zone's life as its administrator sees it, with a small busybox guest that is always there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zones_tests::{Census, How, Mounted, Terminal, Zoned, busybox_root, compile, eventually, text};

fn busybox() -> String {
    format!("dir:{}", busybox_root().display())
}

#[test]
fn a_zone_goes_through_its_states_and_is_gone() {
    let zoned = Zoned::start();
    zoned.zonectl(&["create", "payroll", "kernel=2.6.18"]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("configured"));
    zoned.zonectl(&["boot", "payroll"]).code(4).says(&["payroll", "configured"]);
    zoned.zonectl(&["install", "payroll", &busybox()]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("installed"));
    zoned.zonectl(&["login", "payroll", "--", "true"]).code(4).says(&["payroll"]);
    zoned.zonectl(&["ready", "payroll"]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("ready"));
    zoned.zonectl(&["boot", "payroll"]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("running"));
    zoned.zonectl(&["uninstall", "payroll", "-F"]).code(4).says(&["payroll", "running"]);
    zoned.zonectl(&["halt", "payroll"]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("installed"));
    zoned.zonectl(&["uninstall", "payroll", "-F"]).ok();
    assert_eq!(zoned.state("payroll").as_deref(), Some("configured"));
    zoned.zonectl(&["delete", "payroll", "-F"]).ok();
    assert_eq!(zoned.state("payroll"), None);
    zoned.zonectl(&["boot", "payroll"]).code(3).says(&["payroll"]);
}

#[test]
fn a_program_sees_its_own_kernel_ids_processes_network_and_name() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &["kernel=2.6.18", "hostname=till"]);
    zoned.zonectl(&["boot", "z"]).ok();
    let inside = |script: &str| zoned.zonectl(&["login", "z", "--", "sh", "-c", script]).ok();
    assert_eq!(
        inside("uname -sr; hostname; id -u").lines().collect::<Vec<_>>(),
        ["Linux 2.6.18", "till", "0"]
    );
    assert!(inside("cat /proc/version").starts_with("Linux version 2.6.18 "));
    assert_eq!(inside("cat /proc/1/comm").trim(), "init");
    assert_eq!(inside("ls /sys/class/net").trim(), "lo");
    assert!(inside("ip addr show lo").contains("127.0.0.1"));
    assert_eq!(inside("awk '{print $3}' /proc/self/uid_map").trim(), "65536");
    assert_eq!(zoned.zonectl(&["login", "z", "-u", "guest", "--", "id", "-un"]).ok().trim(), "guest");
    // What stands on the disk is the guest's own number; who runs on the host is nobody of the host.
    inside("touch /root/mine && chown 33:33 /root/mine");
    assert_eq!(inside("stat -c %u:%g /root/mine").trim(), "33:33");
    let status = fs::read_to_string(format!("/proc/{}/status", zoned.init_of("z"))).expect("init runs");
    let uid = status.lines().find_map(|l| l.strip_prefix("Uid:\t")).and_then(|l| l.split('\t').next());
    let uid: u32 = uid.and_then(|u| u.parse().ok()).expect("a process has a uid");
    assert!(uid >= 65536, "init has uid {uid} on the host");
}

#[test]
fn a_login_keeps_stdout_stderr_and_status_apart() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &[]);
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let outcome = zoned.zonectl(&["login", "z", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).code(7);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    zoned.zonectl(&["login", "z", "--", "sh", "-c", "kill -TERM $$"]).code(143);
    zoned.zonectl(&["login", "z", "--", "no-such-program"]).code(127);
    zoned.zonectl(&["login", "z", "--", "/etc/passwd"]).code(126);
    zoned.zonectl(&["login", "z", "-u", "nobody-there", "--", "true"]).says(&["nobody-there"]);

    let mut cat = zoned.spawn(&["login", "z", "--", "sh", "-c", "cat; echo end"]);
    cat.send(b"first\n");
    cat.send(&vec![b'x'; 300_000]);
    let text = cat.finish().ok();
    assert!(
        text.starts_with("first\nxxx") && text.ends_with("end\n") && text.len() == 300_010,
        "{}",
        text.len()
    );

    let mut shell = Terminal::start(&zoned.command(&["login", "z"]));
    shell.expect("# ", 10);
    shell.send("tty; stty size\n");
    shell.expect("/dev/pts/", 10);
    shell.expect("24 80", 10);
    shell.send("exit 3\n");
    assert_eq!(shell.finish(10).code(), Some(3));
}

/// One of them has zoned's folder, of which nothing is to be seen; also where the kernel cannot map ids for overlays.
#[test]
fn run_shows_the_hosts_other_file_systems_and_changes_none() {
    for (own, old) in [(false, false), (true, false), (false, true), (true, true)] {
        let disk = Mounted::new(&["mkfs.ext4", "-q"], "loop", 64);
        let (file, kept) = (disk.at.join("file"), disk.at.join("below/zoned"));
        std::fs::write(&file, "there\n").expect("write a file");
        std::fs::create_dir_all(&kept).expect("make folders");
        std::fs::write(disk.at.join("below/beside"), "").expect("write a file");
        let zoned = Zoned::start_as(How {
            root: own.then_some(kept),
            env: if old { vec![("ZONED_GIVE_FILES".into(), "1".into())] } else { Vec::new() },
            ..How::default()
        });
        let at = text(&disk.at);
        assert_eq!(zoned.zonectl(&["run", "--", "cat", text(&file)]).ok(), "there\n");
        let seen = zoned.zonectl(&["run", "--", "ls", &format!("{at}/below")]).ok();
        assert_eq!(seen, if own { "beside\n" } else { "beside\nzoned\n" });
        let attack = format!(
            "mount -o remount,bind,rw {at}; umount {at}; umount -l {at}; mount -o remount,rw /; \
             echo x > {at}/written; ls {at}/below/zoned/zones"
        );
        assert_ne!(zoned.zonectl(&["run", "--", "sh", "-c", &attack]).status, Some(0));
        assert!(!disk.at.join("written").exists());
    }
}

#[test]
fn run_over_the_hosts_own_files_leaves_nothing() {
    let zoned = Zoned::start_alone();
    // The first makes what stays: the folder of zones, a cgroup of zoned's own.
    zoned.zonectl(&["run", "--", "true"]).ok();
    let before = Census::settled(&zoned);
    assert_eq!(zoned.zonectl(&["run", "--kernel", "2.6.18", "--", "uname", "-r"]).ok(), "2.6.18\n");
    zoned.zonectl(&["run", "--", "sh", "-c", "exit 9"]).code(9);
    zoned.zonectl(&["run", "--", "sh", "-c", "kill -9 $$"]).code(137);
    zoned.zonectl(&["run", "--", "no-such-program"]).code(127);
    let refused = zoned.zonectl(&["run", "--", "sh", "-c", "echo x > /usr/written-by-a-test"]);
    assert_ne!(refused.status, Some(0), "the host's files are read-only\n{refused}");
    assert!(!std::path::Path::new("/usr/written-by-a-test").exists());
    before.assert_same(&zoned);

    // A client that is killed takes its zone along.
    let client = zoned.spawn(&["run", "--", "sleep", "1000"]);
    eventually("the zone runs", 10, || zoned.zonectl(&["list", "-p"]).ok().contains(":running:"));
    client.signal(Signal::SIGKILL);
    client.finish();
    before.assert_same(&zoned);
}

#[test]
fn the_busybox_guest_boots_to_its_prompt_reboots_and_powers_off() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &["kernel=2.6.32"]);
    let mut console = Terminal::start(&zoned.command(&["console", "z"]));
    zoned.zonectl(&["boot", "z"]).ok();
    log_in(&mut console);
    let first = zoned.init_of("z");
    console.send("reboot\n");
    // What a guest's last programs write may be lost with the hang-up of their terminal, as on any line.
    console.expect("z is running", 30);
    // zoned hears of it when the console's viewers do.
    eventually("a reboot makes another process 1", 10, || zoned.init_of("z") != first);
    log_in(&mut console);
    let second = zoned.init_of("z");
    zoned.zonectl(&["ctrl-alt-del", "z"]).ok();
    console.expect("the zone comes up", 30);
    eventually("Ctrl-Alt-Del makes another process 1", 10, || zoned.init_of("z") != second);
    log_in(&mut console);
    console.send("poweroff\n");
    zoned.wait_for("z", "installed");
    zoned.zonectl(&["ctrl-alt-del", "z"]).code(4).says(&["boot it first"]);
    // ~. leaves.
    console.send("\r~.");
    assert!(console.finish(10).success());
}

fn log_in(console: &mut Terminal) {
    console.expect("login: ", 20);
    console.send("root\n");
    console.expect("# ", 10);
}

/// The jobs of upstart by which Ubuntu 12.04 to 14.04, and those before 9.10, decide where logins begin.
#[test]
fn a_guest_of_upstart_has_its_terminals_and_hears_a_word_that_it_knows() {
    let zoned = Zoned::start();
    let told = |zone: &str| {
        zoned.zonectl(&["boot", zone]).ok();
        let script = "tr '\\0' '\\n' < /proc/1/environ | grep ^container; ls /dev | grep ^tty[2-9]";
        let said = zoned.zonectl(&["login", zone, "--", "sh", "-c", script]).ok();
        zoned.zonectl(&["halt", zone]).ok();
        said
    };
    for (zone, jobs, wanted) in [
        ("trusty", &["init/container-detect.conf", "init/tty4.conf"][..], ["container=lxc-libvirt", "tty4"]),
        ("hardy", &["event.d/tty1", "event.d/tty3"], ["container=zone", "tty3"]),
    ] {
        zoned.install(zone, &busybox(), &[]);
        let etc = zoned.root().join("zones").join(zone).join("root/etc");
        // The root's own says which screens it uses.
        fs::remove_file(etc.join("inittab")).expect("remove inittab");
        for job in jobs {
            let path = etc.join(job);
            fs::create_dir_all(path.parent().expect("it has one")).expect("make a folder");
            fs::write(path, "exec /sbin/getty 38400 tty\n").expect("write a job");
        }
        let said = told(zone);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines, wanted, "{zone}");
    }
}

#[test]
fn when_zoned_dies_no_zone_notices() {
    let mut zoned = Zoned::start();
    zoned.install("z", &busybox(), &["kernel=2.6.18"]);
    zoned.zonectl(&["boot", "z"]).ok();
    let mut console = Terminal::start(&zoned.command(&["console", "z"]));
    console.send("\n");
    log_in(&mut console);
    let mut login = zoned.spawn(&["login", "z", "--", "sh", "-c", "read a; uname -r; echo \"$a\""]);
    let mut shell = Terminal::start(&zoned.command(&["login", "z"]));
    shell.expect("# ", 10);
    let init = zoned.init_of("z");

    zoned.kill9();
    zoned.zonectl(&["list"]).code(5).says(&[]);
    console.send("echo console-$((40+2)); uname -r\n");
    console.expect("console-42", 10);
    console.expect("2.6.18", 10);
    shell.send("echo shell-$((40+2))\n");
    shell.expect("shell-42", 10);
    assert!(login.runs(), "a login goes on without zoned");
    login.send(b"word\n");
    assert_eq!(login.finish().ok(), "2.6.18\nword\n");

    zoned.start_again();
    assert_eq!(zoned.state("z").as_deref(), Some("running"));
    assert_eq!(init, zoned.init_of("z"), "it is the same process 1");
    shell.send("exit 5\n");
    assert_eq!(shell.finish(10).code(), Some(5));
    assert_eq!(zoned.zonectl(&["login", "z", "--", "uname", "-r"]).ok().trim(), "2.6.18");
    zoned.zonectl(&["halt", "z"]).ok();
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));
}

#[test]
fn zoned_that_is_told_to_stop_leaves_its_zones_running() {
    let mut zoned = Zoned::start();
    zoned.install("z", &busybox(), &[]);
    zoned.zonectl(&["boot", "z"]).ok();
    let init = zoned.init_of("z");
    kill(Pid::from_raw(zoned.pid()), Signal::SIGTERM).expect("zoned runs");
    eventually("zoned ends", 10, || zoned.zonectl(&["list"]).status == Some(5));
    assert!(std::path::Path::new(&format!("/proc/{init}")).exists(), "its zone runs on");
    zoned.start_again();
    assert_eq!(init, zoned.init_of("z"));
}

#[test]
fn when_a_monitor_dies_its_zone_goes_with_it_and_list_says_why() {
    let zoned = Zoned::start_alone();
    zoned.install("z", &busybox(), &[]);
    zoned.zonectl(&["boot", "z"]).ok();
    zoned.zonectl(&["halt", "z"]).ok();
    let before = Census::settled(&zoned);
    zoned.zonectl(&["boot", "z"]).ok();
    let (init, monitor) = (zoned.init_of("z"), zoned.monitor_of("z"));
    assert_ne!(monitor, zoned.pid(), "the parent of init is the monitor");
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("the monitor runs");
    zoned.wait_for("z", "installed");
    eventually("init is gone", 10, || !std::path::Path::new(&format!("/proc/{init}/root")).exists());
    before.assert_same(&zoned);
    let list = zoned.zonectl(&["list", "-c"]).ok();
    assert!(list.contains("monitor") && list.contains("signal 9"), "list -c says why:\n{list}");
    zoned.zonectl(&["boot", "z"]).ok();
    assert_eq!(zoned.state("z").as_deref(), Some("running"));
}

#[test]
fn when_init_dies_the_zone_is_installed_again() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &[]);
    zoned.zonectl(&["boot", "z"]).ok();
    kill(Pid::from_raw(zoned.init_of("z")), Signal::SIGKILL).expect("init runs");
    zoned.wait_for("z", "installed");
}

#[test]
fn when_process_1_of_a_run_dies_its_client_is_told_so() {
    let zoned = Zoned::start();
    let place = zoned.scratch().join("place");
    fs::create_dir(&place).expect("make a folder");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("change its mode");
    let bind = format!("{}:/mnt", place.display());
    let script = "echo written; : > /mnt/there; sleep 1000";
    let run = zoned.spawn(&["run", "--root", &busybox(), "--bind", &bind, "--", "sh", "-c", script]);
    eventually("the program runs", 30, || place.join("there").exists());
    let listed = zoned.listed();
    let init = listed[0]["init_pid"].as_i64().unwrap_or_else(|| panic!("no init_pid in {listed:?}"));
    kill(Pid::from_raw(init as i32), Signal::SIGKILL).expect("it runs");
    let ended = run.finish().code(137).says(&["process 1 of its zone was killed"]);
    assert_eq!(ended.stdout, "written\n");
}

#[test]
fn fifty_boots_and_halts_leave_the_host_as_it_was() {
    let zoned = Zoned::start_alone();
    zoned.install("z", &busybox(), &["kernel=2.6.18"]);
    let once = || {
        zoned.zonectl(&["boot", "z"]).ok();
        zoned.zonectl(&["halt", "z"]).ok();
        assert_eq!(zoned.state("z").as_deref(), Some("installed"));
    };
    // The first makes what stays: console.log, what a guest's first boot writes.
    once();
    let before = Census::settled(&zoned);
    (0..50).for_each(|_| once());
    before.assert_same(&zoned);
}

#[test]
fn boots_that_fail_at_any_step_leave_the_host_as_it_was() {
    let mut zoned = Zoned::start_alone();
    zoned.install("z", &busybox(), &["kernel=2.6.18"]);
    zoned.zonectl(&["boot", "z"]).ok();
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.start_again();
    zoned.zonectl(&["list"]).ok();
    let before = Census::settled(&zoned);
    let mut failed = 0;
    for step in 0..20 {
        zoned.start_again_with(vec![("ZONED_FAIL_STEP".into(), step.to_string())]);
        let outcome = zoned.zonectl(&["boot", "z"]);
        if outcome.status == Some(0) {
            // Beyond the last step.
            zoned.zonectl(&["halt", "z"]).ok();
        } else {
            failed += 1;
            outcome.code(1).says(&["z"]);
        }
        assert_eq!(zoned.state("z").as_deref(), Some("installed"), "after a failure at step {step}");
        before.assert_same(&zoned);
    }
    assert!(failed >= 5, "only {failed} boots failed: is ZONED_FAIL_STEP read?");
    zoned.start_again_with(Vec::new());
    zoned.zonectl(&["boot", "z"]).ok();
}

#[test]
fn a_zone_moves_no_clock_of_the_host() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &["kernel=2.6.18"]);
    zoned.zonectl(&["boot", "z"]).ok();
    let year = || {
        let output = Command::new("date").arg("+%Y").output().expect("date runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = year();
    zoned.zonectl(&["login", "z", "--", "date", "-s", "1999-12-31 23:59:00"]).ok();
    assert_eq!(before, year());
}

#[test]
fn shutdown_asks_and_halt_does_not() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &[]);
    let mut console = Terminal::start(&zoned.command(&["console", "z"]));
    zoned.zonectl(&["boot", "z"]).ok();
    console.expect("login: ", 20);
    zoned.zonectl(&["shutdown", "z", "-t", "20"]).ok();
    console.expect("z is installed", 20);
    zoned.wait_for("z", "installed");
    zoned.zonectl(&["boot", "z"]).ok();
    zoned.zonectl(&["reboot", "z"]).ok();
    assert_eq!(zoned.state("z").as_deref(), Some("running"));
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["halt", "z"]).code(4).says(&["z"]);
}

#[test]
fn what_a_zone_may_only_read_it_cannot_write() {
    let zoned = Zoned::start();
    let shared = zoned.scratch().join("shared");
    std::fs::create_dir(&shared).expect("create");
    std::fs::write(shared.join("file"), "as it was").expect("write");
    let (folder, file) = (shared.display().to_string(), shared.join("file").display().to_string());
    zoned.install("z", &busybox(), &[]);
    zoned.zonectl(&["add", "z", "fs", "dir=/ro", &format!("special={folder}"), "options=ro"]).ok();
    zoned.zonectl(&["add", "z", "fs", "dir=/file", &format!("special={file}"), "options=ro"]).ok();
    zoned.zonectl(&["add", "z", "fs", "dir=/rw", &format!("special={folder}")]).ok();
    zoned.zonectl(&["boot", "z"]).ok();
    let script = "mount -o remount,bind,rw /ro; mount -o remount,rw /ro; mount -o remount,bind,rw /file; \
                  echo changed > /ro/file; echo changed > /file; echo more > /rw/more; cat /ro/file /file";
    let said = zoned.zonectl(&["login", "z", "--", "sh", "-c", script]).ok();
    assert_eq!(said, "as it wasas it was");
    assert_eq!(std::fs::read_to_string(shared.join("file")).expect("read"), "as it was");
    assert!(shared.join("more").exists());
}

/// `done`, `count` and `program` of a call in a zone's ledger.
fn counted(zoned: &Zoned, zone: &str, call: &str) -> Option<(String, u64, String)> {
    let entries: serde_json::Value =
        serde_json::from_str(&zoned.zonectl(&["--json", "ledger", zone]).ok()).expect("it is JSON");
    let entry = entries.as_array().expect("an array").iter().find(|e| e["call"] == call)?;
    let text = |key: &str| entry[key].as_str().expect("text").to_owned();
    Some((text("done"), entry["count"].as_u64().expect("a number"), text("program")))
}

#[test]
fn a_ledger_counts_through_reboot_and_halt_until_it_is_reset() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &["kernel=2.6.18"]);
    assert_eq!(counted(&zoned, "z", "uname"), None);
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let uname = || zoned.zonectl(&["login", "z", "--", "uname", "-r"]).ok();
    uname();
    assert_eq!(counted(&zoned, "z", "uname"), Some(("emulated".into(), 1, "uname".into())));
    zoned.zonectl(&["reboot", "z"]).ok();
    uname();
    assert_eq!(counted(&zoned, "z", "uname"), Some(("emulated".into(), 2, "uname".into())));
    zoned.zonectl(&["halt", "z"]).ok();
    assert_eq!(counted(&zoned, "z", "uname"), Some(("emulated".into(), 2, "uname".into())));
    zoned.zonectl(&["ledger", "z", "--reset"]).ok();
    assert_eq!(counted(&zoned, "z", "uname"), None);
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    uname();
    assert_eq!(counted(&zoned, "z", "uname"), Some(("emulated".into(), 1, "uname".into())));
    zoned.zonectl(&["ledger", "z", "--reset"]).ok();
    assert_eq!(counted(&zoned, "z", "uname"), None);
    zoned.zonectl(&["ledger", "nobody"]).code(3);
}

/// Without `arch` a run is for what its program is made for, which may stand in a bind, or for its root's programs.
#[test]
fn a_run_is_for_the_machine_of_its_program() {
    let zoned = Zoned::start();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/uname.c");
    for abi in ["i386", "amd64"] {
        let program = compile(&source, abi, &[]).expect("compile");
        let folder = program.parent().expect("it stands in a folder").to_string_lossy().into_owned();
        let name = program.file_name().expect("it has a name").to_string_lossy().into_owned();
        let run = |bind: &str, path: &str| {
            zoned.zonectl(&["run", "--kernel", "2.6.18", "--bind", bind, "--", path, "2.6.18"]).ok();
        };
        run(&format!("{folder}:/mnt"), &format!("/mnt/{name}"));
        run(&format!("{}:/mnt/program", program.display()), "/mnt/program");
    }
}

/// A program of the host's own glibc registers rseq(2), of Linux 4.18, and does without.
#[test]
fn a_strict_run_names_what_its_level_did_not_have() {
    let zoned = Zoned::start();
    let run = |more: &[&str]| zoned.zonectl(&[&["run", "--strict"], more, &["--", "/bin/true"]].concat());
    run(&["--kernel", "3.10"]).code(0).says(&["rseq", "4.18", "younger than 3.10"]);
    run(&["--kernel", "3.10", "--gate"]).code(1).says(&["3.10 did not have"]);
    run(&[]).code(2).says(&["strict", "set kernel"]);
}

#[test]
fn programs_that_call_the_vsyscall_page_run_without_a_level() {
    let maps = fs::read_to_string("/proc/self/maps").expect("this process has maps");
    if maps.contains("[vsyscall]") {
        eprintln!("SKIPPED programs_that_call_the_vsyscall_page_run_without_a_level: this host has the page");
        return;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/vsyscall_static.c");
    let flags = ["-static", "-pthread"].map(str::to_owned);
    let program = compile(&source, "amd64", &flags).expect("it compiles");
    let name = program.file_name().expect("it has a name").to_string_lossy();
    let bind = format!("{}:/mnt", program.parent().expect("it stands in a folder").display());
    let zoned = Zoned::start();
    let words = ["run", "--root", &busybox(), "--bind", &bind, "--", &format!("/mnt/{name}"), "host"];
    zoned.zonectl(&words).ok();
    // Brand native leaves it as it is, and tells of roots whose shell is such a program.
    let root = zoned.scratch().join("old");
    let copied = Command::new("cp").arg("-a").args([&busybox_root(), &root]).status().expect("cp runs");
    assert!(copied.success());
    let shell = root.join("bin/sh");
    let _ = fs::remove_file(&shell);
    fs::copy(&program, &shell).expect("copy the program");
    let root = root.display().to_string();
    zoned.zonectl(&["run", "--brand", "native", "--root", &root, "--", "/bin/sh", "host"]).code(1);
    let told = || zoned.log().contains("into the vsyscall page, which this host has not");
    eventually("the zone's log tells of it", 30, told);
}
