//! A guest that means harm, where more than one program must play its part: what it does to those who enter, end, show or
//! look at it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zones_tests::{How, Zoned, busybox_root, compile, text};

fn program(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("escapes/{name}.c"));
    compile(&source, "amd64", &["-pthread".to_owned()]).expect("it compiles")
}

/// A zoned with zone `z` over busybox, running, in which the programs are in /bin.
fn zone(settings: &[&str], programs: &[&str]) -> Zoned {
    let zoned = Zoned::start();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), settings);
    for name in programs {
        let there = zoned.root().join("zones/z/root/bin").join(name);
        fs::copy(program(name), &there).expect("copy the program");
    }
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned
}

/// A line for the table of `cargo xtask hold`.
fn row(attempt: &str, result: &str, guard: &str) {
    println!("hold:\t{attempt}\tnative 2.6.18\t{result}\t{guard}");
}

/// The same of one that was seen to work where its guard is not.
fn real_row(attempt: &str, by: &str, guard: &str) {
    row(attempt, "held", guard);
    println!("hold:\t{attempt}\treal\tworks: {by}\t{guard}");
}

/// A file that no zone has a way to.
fn secret(zoned: &Zoned) -> PathBuf {
    let path = zoned.scratch().join("secret");
    fs::write(&path, format!("secret:{}\n", std::process::id())).expect("write the secret");
    fs::set_permissions(zoned.scratch(), fs::Permissions::from_mode(0o755)).expect("open the folder");
    path
}

#[test]
fn a_run_over_the_hosts_files_sees_none_of_zoneds() {
    for env in [Vec::new(), vec![("ZONED_GIVE_FILES".to_owned(), "1".to_owned())]] {
        let zoned = Zoned::start_as(How { env, ..How::default() });
        zoned.install("z", &format!("dir:{}", busybox_root().display()), &[]);
        fs::set_permissions(zoned.scratch(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let (root, folder) = (zoned.root(), zoned.scratch().to_owned());
        let script = format!(
            "ls {folder}; umount {root}; umount -l {root}; mount -t tmpfs none /mnt; ls -a {root} {root}/zones; \
             ls {folder}",
            folder = text(&folder),
            root = text(&root)
        );
        let said = zoned.zonectl(&["run", "--", "sh", "-c", &script]);
        assert!(said.stdout.contains("zoned.log"), "the folder beside it is there\n{said}");
        assert!(!said.stdout.contains("layers") && !said.stdout.lines().any(|l| l == "root"), "{said}");
    }
    // Another zoned hides its own folder, and not this one's.
    let zoned = Zoned::start();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), &[]);
    fs::set_permissions(zoned.scratch(), fs::Permissions::from_mode(0o755)).expect("open the folder");
    let other = Zoned::start();
    let said = other.zonectl(&["run", "--", "sh", "-c", &format!("ls -a {}", text(&zoned.root()))]);
    assert!(said.stdout.lines().any(|line| line == "layers"), "{said}");
    real_row("uncover", "in a run of another zoned", "a whiteout in a layer over the host's files");
}

#[test]
fn children_given_to_the_monitor_do_not_keep_a_zone() {
    for settings in [&["brand=native"][..], &["kernel=2.6.18"]] {
        let zoned = zone(settings, &["clone_parent"]);
        let monitor = zoned.monitor_of("z");
        for _ in 0..3 {
            // They were made: the attempt is a real one.
            let said = zoned.zonectl(&["login", "z", "--", "/bin/clone_parent"]).code(0);
            assert!(said.stdout.contains("escaped clone"), "{said}");
        }
        assert_eq!(zoned.zonectl(&["login", "z", "--", "sh", "-c", "exit 7"]).status, Some(7));
        let children =
            fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).expect("its children");
        assert_eq!(children.split_whitespace().count(), 1, "process 1 alone is left of {children}");
        let begun = Instant::now();
        zoned.zonectl(&["login", "z", "--", "/bin/clone_parent"]);
        zoned.zonectl(&["login", "z", "--", "/bin/clone_parent", "stay"]);
        zoned.zonectl(&["halt", "z"]).ok();
        assert!(begun.elapsed() < Duration::from_secs(5), "the halt took {:?}", begun.elapsed());
        // By the guest's own hand as well.
        zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        zoned.zonectl(&["login", "z", "--", "/bin/clone_parent", "stay"]);
        zoned.zonectl(&["login", "z", "--", "sh", "-c", "kill -TERM 1"]);
        zoned.wait_for("z", "installed");
    }
    real_row("clone_parent", "the children were made", "the monitor reaps whom it does not know");
}

#[test]
fn who_enters_a_zone_cannot_be_looked_into() {
    for settings in [&["brand=native"][..], &["kernel=2.6.18"]] {
        let zoned = zone(settings, &["entrants"]);
        let secret = secret(&zoned);
        let look = |milliseconds: &str, wanted: &str| {
            zoned.spawn(&["login", "z", "--", "/bin/entrants", text(&secret), milliseconds, wanted])
        };
        let mut looking = look("60000", "8");
        while looking.runs() {
            zoned.zonectl(&["login", "z", "--", "true"]).ok();
        }
        let said = looking.finish().code(1);
        assert!(said.stdout.contains("untried seen 8\n"), "it saw few of those who entered\n{said}");
        // Whoever enters with a folder of the host's open, and lets itself be looked into, is lost.
        let looking = look("30000", "1000000");
        std::thread::sleep(Duration::from_millis(200));
        let badly =
            Command::new(program("entrants")).arg("badly").arg(zoned.init_of("z").to_string()).status();
        assert!(badly.expect("it runs").success());
        let said = looking.finish().code(0);
        assert!(said.stdout.contains("secret:"), "{said}");
    }
    real_row("entrants", "one who can be dumped", "who enters cannot be dumped");
}

#[test]
fn a_guest_types_into_no_terminal_but_its_own() {
    let zoned = zone(&["kernel=2.6.18"], &["tiocsti"]);
    let tiocsti = program("tiocsti");
    let around = |words: Vec<String>| {
        let output =
            Command::new(&tiocsti).arg("around").args(words).stdin(Stdio::null()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let words = |command: Command| {
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let root = busybox_root();
    let bind = format!("{}:/mnt", tiocsti.parent().map(text).unwrap_or_default());
    let inside = format!("/mnt/{}", tiocsti.file_name().unwrap_or_default().to_string_lossy());
    for command in [
        &["login", "z", "--", "/bin/tiocsti"][..],
        &["run", "--root", text(&root), "--bind", &bind, "--", &inside],
        &["run", "--brand", "native", "--root", text(&root), "--bind", &bind, "--", &inside],
    ] {
        let (code, said) = around(words(zoned.command(command)));
        assert_eq!(code, Some(1), "{command:?}\n{said}");
        assert!(said.contains("held stdin"), "it was tried: {said}");
    }
    // With the terminal of its caller, it does.
    let (code, said) = around(vec![text(&tiocsti).to_owned(), "bare".to_owned()]);
    assert_eq!(code, Some(0), "{said}");
    real_row("tiocsti", "with its caller's terminal", "a terminal of the zone's own");
}

#[test]
fn a_monitor_listens_to_the_host_alone() {
    let zoned = zone(&[], &[]);
    let socket = zoned.run_dir().join("z/monitor.sock");
    let program = program("monitor_socket");
    let real = Command::new(&program).arg(&socket).status().expect("it runs");
    assert_eq!(real.code(), Some(0), "root of the host is listened to at {}", socket.display());
    let shown = format!("{}:/run/z", zoned.run_dir().join("z").display());
    let programs = format!("{}:/mnt", program.parent().map(text).unwrap_or_default());
    let inside = format!("/mnt/{}", program.file_name().unwrap_or_default().to_string_lossy());
    let root = busybox_root();
    let said = zoned.zonectl(&[
        "run",
        "--brand",
        "native",
        "--root",
        text(&root),
        "--bind",
        &shown,
        "--bind",
        &programs,
        "--",
        &inside,
        "/run/z/monitor.sock",
    ]);
    assert!(said.stdout.contains("held talk EPIPE"), "{said}");
    real_row("monitor_socket", "root of the host", "SO_PEERCRED");
}

/// Links and pipes of a guest's where the platform is put.
#[test]
fn a_root_full_of_traps_is_booted_or_refused_and_the_host_is_as_before() {
    let zoned = Zoned::start();
    let secret = secret(&zoned);
    let folder = zoned.scratch().join("host");
    fs::create_dir(&folder).expect("make a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("open it to all");
    let up = format!("/..{}", folder.display());
    let root = zoned.scratch().join("guest");
    for (place, target) in [
        ("proc", up.as_str()),
        ("proc", "/.."),
        ("sys", &up),
        ("dev", &up),
        ("dev", "/../dev"),
        ("run", &up),
        ("etc", &up),
        ("mnt", &up),
        ("mnt", "/proc/1/root/.."),
        ("etc/hostid", &up),
        ("etc/hostid", "fifo"),
        ("etc/passwd", "fifo"),
        ("sbin/init", "fifo"),
        ("etc/inittab", "/dev/zero"),
        ("etc/os-release", "/proc/kmsg"),
    ] {
        let _ = fs::remove_dir_all(&root);
        let copied = Command::new("cp").arg("-a").arg(busybox_root()).arg(&root).status();
        assert!(copied.expect("cp runs").success());
        let trap = root.join(place);
        let _ = if trap.is_dir() { fs::remove_dir_all(&trap) } else { fs::remove_file(&trap) };
        if target == "fifo" {
            nix::unistd::mkfifo(&trap, nix::sys::stat::Mode::from_bits_truncate(0o644)).expect("make a fifo");
        } else {
            symlink(target, &trap).expect("make a link");
        }
        eprintln!("{place} -> {target}");
        let source = format!("dir:{}", root.display());
        zoned.zonectl(&["create", "t", "hostid=0x1234", "kernel=2.6.18"]).ok();
        zoned
            .zonectl(&[
                "add",
                "t",
                "fs",
                "dir=/mnt/in",
                &format!("special={}", zoned.scratch().display()),
                "options=ro",
            ])
            .ok();
        zoned.zonectl(&["remove", "t", "fs", "dir=/mnt/in"]).ok();
        zoned.zonectl(&["add", "t", "fs", "dir=/mnt/in", &format!("special={}", folder.display())]).ok();
        let begun = Instant::now();
        let installed = zoned.zonectl(&["install", "t", &source]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{place} -> {target}: {installed}");
        if installed.status == Some(0) {
            let booted = zoned.zonectl(&["boot", "t", "-i", "none"]);
            if booted.status == Some(0) {
                let climb = format!("cat /../../../..{0} {0} /proc/../..{0}; echo end", secret.display());
                let said = zoned.zonectl(&["login", "t", "--", "/bin/sh", "-c", &climb]);
                assert!(!said.stdout.contains("secret:"), "{place} -> {target}\n{said}");
            } else {
                booted.clone().says(&["boot t"]);
            }
            zoned.zonectl(&["halt", "t"]);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{place} -> {target} took {:?}", begun.elapsed());
        let left: Vec<_> = fs::read_dir(&folder).expect("list it").flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty(), "{place} -> {target} left {left:?} on the host");
        zoned.forget("t");
    }
    a_late_root_is_left();
    real_row(
        "traps",
        "where it is let go after",
        "the host's root is let go before a guest's path is followed",
    );
}

/// A link of a guest's leads to the host where its root is there a step longer.
fn a_late_root_is_left() {
    let folder = tempfile::tempdir_in(zones_tests::target()).expect("a folder");
    let (root, secret) = (folder.path().join("root"), folder.path().join("secret"));
    fs::create_dir(&root).and_then(|()| symlink("/..", root.join("proc"))).expect("make a root");
    fs::write(&secret, "secret:late\n").expect("write the secret");
    for (word, code) in [("at-once", 1), ("late", 0)] {
        let ended = Command::new(program("late_root")).args([&secret, &root]).arg(word).status();
        assert_eq!(ended.expect("it runs").code(), Some(code), "{word}");
    }
}

#[test]
fn a_link_at_proc_that_leads_above_the_root_leads_nowhere_after_a_reboot() {
    for settings in [&["brand=native"][..], &["kernel=2.6.18"]] {
        let zoned = zone(settings, &[]);
        let secret = secret(&zoned);
        for place in ["proc", "sys", "dev"] {
            let trap = format!(
                "umount -l /{place}; rmdir /{place} || mv /{place} /old-{place}; ln -s /.. /{place}; ls -ld /{place}"
            );
            let laid = zoned.zonectl(&["login", "z", "--", "sh", "-c", &trap]);
            // It need not come up: what it has at `dev` now is its own root.
            if laid.stdout.contains("-> /..") {
                zoned.zonectl(&["reboot", "z"]);
            } else {
                // A level does not let go of what it is told to unmount; the link is there all the same.
                assert_ne!(settings, ["brand=native"], "{laid}");
                zoned.zonectl(&["halt", "z"]).ok();
                let link = zoned.root().join("zones/z/upper").join(place);
                let _ = fs::remove_dir_all(&link);
                symlink("/..", &link).expect("make a link");
                zoned.zonectl(&["boot", "z", "-i", "none"]);
            }
            let climb = format!("cat /..{0} {0}; ls /../proc; rm /{place}; mkdir /{place}", secret.display());
            let said = zoned.zonectl(&["login", "z", "--", "/bin/sh", "-c", &climb]);
            assert!(!said.stdout.contains("secret:"), "{place}\n{said}");
            if zoned.state("z").as_deref() != Some("running") {
                let link = zoned.root().join("zones/z/upper").join(place);
                fs::remove_file(&link).unwrap_or_else(|e| panic!("remove {}: {e}", link.display()));
            }
            zoned.zonectl(&["halt", "z"]);
            zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        }
    }
    a_late_root_is_left();
    let guard = "the host's root is let go before a guest's path is followed";
    real_row("link_and_reboot", "where it is let go after", guard);
}

#[test]
fn threads_that_hear_a_guest_are_confined() {
    // Files of its /proc are served, and its uname is answered.
    let zoned = zone(&["kernel=2.6.18"], &[]);
    zoned.sh("z", "uname -r; cat /proc/meminfo; mknod /tmp/null c 1 3");
    let tasks = format!("/proc/{}/task", zoned.monitor_of("z"));
    let mut seen = Vec::new();
    for task in fs::read_dir(tasks).expect("its threads").flatten() {
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let of = |key: &str| status.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let capabilities = u64::from_str_radix(&of("CapPrm:").unwrap_or_default(), 16).expect("a set");
        // CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_BPF and the like.
        let is_bounded = capabilities & !0x082c_00ff == 0;
        let confined = (of("Seccomp:").as_deref(), of("NoNewPrivs:").as_deref()) == (Some("2"), Some("1"));
        match name.trim() {
            "brand" => assert!(is_bounded && confined, "{name}{status}"),
            "procfs" | "procfs-open" | "fuser-0" => assert!(capabilities == 0 && confined, "{name}{status}"),
            "tracers" => assert!(is_bounded, "{name}{status}"),
            // It makes the zone, and those who enter it are its children.
            "zone-monitor" => assert!(!confined, "{name}{status}"),
            _ => panic!("what is this thread for? {name}{status}"),
        }
        seen.push(name.trim().to_owned());
    }
    for name in ["brand", "procfs", "procfs-open", "tracers", "zone-monitor"] {
        assert!(seen.iter().any(|one| one == name), "no thread {name} in {seen:?}");
    }
    // No guest has a filter but its brand's.
    let own = zoned.sh("z", "grep -E '^(Seccomp_filters|NoNewPrivs)' /proc/self/status");
    assert_eq!(own.split_whitespace().collect::<Vec<_>>(), ["NoNewPrivs:", "0", "Seccomp_filters:", "1"]);
    row("confined", "held", "seccomp and capabilities of each thread");
}

#[test]
fn what_root_of_a_zone_makes_set_user_id_no_user_of_the_host_can_run() {
    let zoned = zone(&[], &["effective"]);
    zoned.sh("z", "cp /bin/effective /bin/as-root && chmod 4755 /bin/as-root");
    let upper = zoned.root().join("zones/z/upper/bin");
    let file = upper.join("as-root");
    let as_nobody = |shell: &str| {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", shell, "sh", text(&upper), text(&file)])
            .output()
            .expect("unshare runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for folder in [zoned.scratch(), &zoned.root(), Path::new("/")] {
        // Whatever lies above.
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    }
    assert_eq!(
        as_nobody("setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'exec \"$0\"' \"$2\""),
        ""
    );
    // It is what it seems to be: where he can reach it he is root, unless the files are given to the zone's ids.
    let who = as_nobody(
        "mount --bind \"$1\" /mnt && setpriv --reuid 65534 --regid 65534 --clear-groups /mnt/as-root",
    );
    assert!(who.parse::<u32>().is_ok_and(|who| who == 0 || who >= 65536), "{who:?}");
    real_row("set_user_id", "shown to him elsewhere", "zoned's folders are closed");
}

#[test]
fn names_of_a_guest_do_nothing_to_a_terminal() {
    let zoned = zone(&["kernel=2.6.18"], &[]);
    let name = "x\u{1b}]0;title\u{7}\u{9b}5n";
    let folder = zoned.scratch().join("tree");
    fs::create_dir(&folder).expect("make a folder");
    fs::copy(busybox_root().join("bin/busybox"), folder.join(name)).expect("copy busybox");
    let script = format!(
        "cp /bin/busybox '/bin/{name}' && '/bin/{name}' true; cd /bin && './{name}' uname -r; hostname '{name}'"
    );
    zoned.zonectl(&["login", "z", "--", "sh", "-c", &script]);
    let mut said = vec![
        zoned.zonectl(&["scan", text(&folder)]),
        zoned.zonectl(&["--json", "scan", text(&folder)]),
        zoned.zonectl(&["ledger", "z"]),
        zoned.zonectl(&["log", "z"]),
        zoned.zonectl(&["list", "-c"]),
        zoned.zonectl(&["login", "z", "-u", name, "--", "true"]),
        zoned.zonectl(&["boot", "z", "-i", &format!("/{name}")]),
    ];
    zoned.zonectl(&["halt", "z"]);
    said.push(zoned.zonectl(&["boot", "z", "-i", &format!("/{name}")]));
    for outcome in said {
        let all = outcome.stdout.clone() + &outcome.stderr;
        let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
        assert!(!all.contains(acts), "{:?}", all);
    }
    match terminal_answers(name) {
        Some(answer) => {
            assert_eq!(answer, "\u{1b}[0n", "it is asked how it is");
            real_row("terminal", "as it is, to a terminal of the kernel's", "control bytes are shown");
        }
        None => {
            eprintln!("SKIPPED: the kernel has no terminal");
            row("terminal", "held", "control bytes are shown");
        }
    }
}

/// What a terminal types when this is printed on it.
fn terminal_answers(text: &str) -> Option<String> {
    let script = "exec 3<>/dev/tty59 || exit 9; stty raw -echo min 0 time 20 <&3 && printf %s \"$0\" >&3 && head -c 4 <&3";
    let output = Command::new("sh").args(["-c", script, text]).output().expect("sh runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn kinds_of_programs_that_a_zone_registers_are_its_own() {
    let zoned = zone(&["brand=native"], &[]);
    zoned.install("other", &format!("dir:{}", busybox_root().display()), &["brand=native"]);
    zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
    let run = "echo ZONESECRET > /tmp/kind; chmod 755 /tmp/kind; /tmp/kind && echo it runs";
    let runs = |name: &str| {
        let said = zoned.zonectl(&["login", name, "--", "sh", "-c", run]);
        said.stdout.contains("it runs")
    };
    let register = "mkdir -p /tmp/bm; mount -t binfmt_misc binfmt_misc /tmp/bm || exit 77; \
                    echo ':zones-hold:M::ZONESECRET::/bin/true:' > /tmp/bm/register";
    let guard = "the kinds of a user namespace are its own (Linux 6.7), or none";
    let said = zoned.zonectl(&["login", "z", "--", "sh", "-c", register]);
    if said.status == Some(77) {
        assert!(!runs("z"));
        return row("own_binfmt", "held: it is not mounted", guard);
    }
    said.ok();
    assert!(runs("z"), "its own kind");
    assert!(!runs("other"), "a kind of another zone's");
    let host = zoned.scratch().join("kind");
    fs::write(&host, "ZONESECRET\n").expect("write a file");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).expect("make it a program");
    let ended = Command::new(&host).status();
    assert_eq!(ended.expect_err("the host ran it").raw_os_error(), Some(nix::libc::ENOEXEC));
    // It goes with the zone, and a new life has none.
    zoned.zonectl(&["reboot", "z"]).ok();
    zoned.wait_for("z", "running");
    assert!(!runs("z"), "a kind of its last life");
    real_row("own_binfmt", "in the zone itself", guard);
}

#[test]
fn signals_to_all_that_a_zone_reaches_do_not_reach_its_monitor() {
    for settings in [&["brand=native"][..], &["kernel=2.6.18"]] {
        let zoned = zone(settings, &[]);
        let (monitor, init) = (zoned.monitor_of("z"), zoned.init_of("z"));
        for signal in ["TERM", "HUP", "KILL", "STOP"] {
            for target in ["0", "-1"] {
                let mut client =
                    zoned.spawn(&["login", "z", "--", "sh", "-c", &format!("kill -{signal} {target}")]);
                // One that it held still itself waits to be ended.
                let end = Instant::now() + Duration::from_secs(2);
                while client.runs() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(20));
                }
                client.signal(nix::sys::signal::Signal::SIGKILL);
                client.finish();
            }
        }
        zoned.zonectl(&["login", "z", "--", "true"]).ok();
        assert_eq!((zoned.monitor_of("z"), zoned.init_of("z")), (monitor, init));
    }
    // In a pid namespace of its own, but with the host's ids, it does.
    let script = "trap 'echo hit' TERM; unshare --pid --fork sh -c 'kill -TERM 0'";
    let said = Command::new("setsid").args(["--wait", "sh", "-c", script]).output().expect("setsid runs");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "hit\n");
    real_row("signals", "with the host's ids", "the monitor's ids are none of the zone's");
}
