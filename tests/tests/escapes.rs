//! The known ways out of a zone, tried by programs of `escapes/` as its root: none leads out. Each is shown to be a real
//! attempt by working where its guard is taken away: outside of any zone, in a zone that is given what it takes, or, where
//! that would harm, in a machine of qemu (`cargo xtask hold`).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{How, Zoned, busybox_root, compile, is_machine, text};

/// What shows that an attempt is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Real {
    /// It works for root of the host, in a chroot and in these new namespaces (options of unshare(1)).
    Outside(&'static [&'static str]),
    /// It works in a zone with these settings.
    Given(&'static [&'static str]),
    /// It works for root of a machine that is there for this.
    Machine,
    /// It is a race, which both sides of won at times.
    Met,
}

/// An attempt, by the name of its program.
#[derive(Debug)]
struct Attempt {
    name: &'static str,
    /// What holds.
    guard: &'static str,
    real: Real,
    /// Whether a kernel may lack what it is about.
    may_lack: bool,
    /// Where it works, as the documentation says.
    told: Option<(&'static str, &'static str)>,
}

const ALL: &[&str] = &["--pid", "--ipc", "--net", "--uts"];
const NO_PID: &[&str] = &["--ipc", "--net", "--uts"];
const NO_IPC: &[&str] = &["--pid", "--net", "--uts"];
const NO_NET: &[&str] = &["--pid", "--ipc", "--uts"];

const fn attempt(name: &'static str, guard: &'static str, real: Real) -> Attempt {
    Attempt { name, guard, real, may_lack: false, told: None }
}

impl Attempt {
    const fn may_lack(mut self) -> Self {
        self.may_lack = true;
        self
    }

    const fn told(mut self, place: &'static str, why: &'static str) -> Self {
        self.told = Some((place, why));
        self
    }
}

static ATTEMPTS: &[Attempt] = &[
    attempt("chroot_break", "pivot_root(2): nothing of the host's is above the root", Real::Outside(ALL)),
    attempt(
        "pivot_away",
        "the host's root is let go, and the mount namespace is the zone's",
        Real::Outside(ALL),
    ),
    attempt(
        "mounts",
        "the user namespace does not own these file systems; the zone's root has no above",
        Real::Machine,
    ),
    attempt(
        "leaks",
        "descriptors are close-on-exec; our processes cannot be looked into",
        Real::Outside(ALL),
    ),
    attempt("self_exe", "the file of zoned belongs to no id of the zone", Real::Outside(ALL)),
    attempt("handles", "CAP_DAC_READ_SEARCH counts in the zone's user namespace only", Real::Outside(ALL)),
    attempt(
        "ns_handles",
        "the kernel opens only namespaces that the caller is in or owns",
        // In a pid namespace of its own root of the host opens none either (Linux 7.0, "nsfs: tighten permission checks for
        // handle opening").
        Real::Outside(NO_PID),
    )
    .may_lack(),
    attempt("setns_host", "capabilities over the host's namespaces", Real::Outside(ALL)),
    attempt("processes", "pid and user namespaces", Real::Outside(NO_PID)),
    attempt("keyrings", "keys belong to ids, of which the zone has its own", Real::Outside(ALL)).may_lack(),
    attempt("ipc", "an ipc namespace", Real::Outside(NO_IPC)),
    attempt("abstract", "a network namespace", Real::Given(&["ip-type=host"]))
        .told("shared", "abstract sockets belong to the host's network (docs/how-to/network.md)"),
    attempt("netlink", "CAP_NET_ADMIN counts in the zone's own network only", Real::Outside(NO_NET)),
    attempt("bpf", "CAP_BPF and CAP_PERFMON count in the zone's user namespace only", Real::Outside(ALL)),
    attempt("perf", "CAP_PERFMON counts in the zone's user namespace only", Real::Outside(ALL)),
    attempt("userfault", "CAP_SYS_PTRACE counts in the zone's user namespace only", Real::Outside(ALL))
        .may_lack(),
    attempt("uring", "no guard is in the filter", Real::Outside(ALL)).may_lack(),
    attempt(
        "devices",
        "no node is made in a user namespace, nor opened that was; /dev has the listed ones",
        Real::Outside(ALL),
    ),
    attempt("ids", "the id map", Real::Outside(ALL)),
    attempt("nested", "a user namespace has capabilities over what it made only", Real::Outside(ALL)),
    attempt("limits", "control groups belong to root of the host", Real::Outside(ALL)),
    attempt("proc_writes", "files of /proc/sys belong to root of the host", Real::Outside(ALL)),
    attempt("sys_writes", "files of /sys belong to root of the host", Real::Outside(ALL)),
    attempt("helpers", "files of /proc/sys and /sys belong to root of the host", Real::Machine),
    attempt("release_agent", "v1 hierarchies belong to root of the host", Real::Machine),
    attempt("binfmt", "the kinds of a user namespace are its own (Linux 6.7), or none", Real::Machine),
    attempt("modules", "CAP_SYS_MODULE is no zone's", Real::Machine),
    attempt("kexec", "CAP_SYS_BOOT counts in the zone's user namespace only", Real::Machine),
    attempt(
        "host_calls",
        "capabilities of the host's user namespace; CAP_SYS_TIME is no zone's",
        Real::Machine,
    ),
    attempt("handler_races", "handlers act on what they opened, as the caller, in its root", Real::Met),
];

/// A zone to try in: its label, ABI of the programs, and settings.
#[derive(Debug)]
struct Place {
    label: &'static str,
    abi: &'static str,
    settings: &'static [&'static str],
}

static PLACES: &[Place] = &[
    Place { label: "native", abi: "amd64", settings: &["--brand", "native"] },
    Place { label: "native-i386", abi: "i386", settings: &["--brand", "native"] },
    Place { label: "native-shared", abi: "amd64", settings: &["--brand", "native", "ip-type=shared"] },
    Place { label: "2.6.18", abi: "amd64", settings: &["--kernel", "2.6.18"] },
    Place { label: "2.6.18-i386", abi: "i386", settings: &["--kernel", "2.6.18", "arch=i686"] },
    Place { label: "2.6.18-shared", abi: "amd64", settings: &["--kernel", "2.6.18", "ip-type=shared"] },
    Place { label: "host-level", abi: "amd64", settings: &["--brand", "linux"] },
    Place { label: "forwarding", abi: "amd64", settings: &["--kernel", "6.1", "host-kernel=4.4"] },
];

/// In a machine, whose processor is emulated, these two.
const IN_MACHINE: [&str; 2] = ["native", "2.6.18-i386"];

/// What a program said, and how it ended.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    said: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Self { code: output.status.code(), said: said.replace('\r', "") }
    }

    /// The errors that its ways met, each once.
    fn errors(&self) -> String {
        let mut all: Vec<&str> = Vec::new();
        for line in self.said.lines() {
            let mut words = line.split(' ');
            if words.next() == Some("held")
                && let Some(error) = words.next_back()
                && !all.contains(&error)
            {
                all.push(error);
            }
        }
        all.join(" ")
    }
}

/// A zoned for all, with a secret that no zone has a way to, beside the folder that all are shown.
struct Stage {
    zoned: Zoned,
    secret: PathBuf,
    folder: PathBuf,
}

impl Stage {
    fn new() -> Result<Self, String> {
        let zoned = Zoned::try_start(How::default()).map_err(|e| format!("start zoned: {e:#}"))?;
        let (secret, folder) = (zoned.scratch().join("secret"), zoned.scratch().join("shown"));
        let made = fs::create_dir(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)))
            .and_then(|()| fs::write(&secret, format!("secret:{}\n", std::process::id())));
        made.map_err(|e| format!("make the stage: {e}"))?;
        // Whoever found it could read it.
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        open(&secret, 0o644).and_then(|()| open(zoned.scratch(), 0o755)).map_err(|e| format!("open: {e}"))?;
        if is_machine() {
            // No kernel of a machine finds its modprobe(8).
            let _ = Command::new("modprobe").arg("binfmt_misc").status();
        }
        Ok(Self { zoned, secret, folder })
    }

    /// The program where zones are shown it; its path there.
    fn show(&self, name: &str, abi: &str) -> Result<String, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("escapes/{name}.c"));
        let program = compile(&source, abi, &FLAGS.map(str::to_owned)).map_err(|e| format!("{e:#}"))?;
        let file = format!("{name}-{abi}");
        let there = self.folder.join(&file);
        if !there.exists() {
            // A link, since a file that was just written may be open in a child of another thread's (ETXTBSY of execve(2)).
            fs::hard_link(&program, &there)
                .or_else(|e| if there.exists() { Ok(()) } else { Err(e) })
                .map_err(|e| format!("show {name}: {e}"))?;
        }
        Ok(format!("/mnt/{file}"))
    }

    /// Runs a program in a zone over busybox.
    fn in_zone(&self, settings: &[&str], program: &str, words: &[String]) -> Told {
        let (root, bind) = (busybox_root(), format!("{}:/mnt", text(&self.folder)));
        let mut all = vec!["run", "--root", text(&root), "--bind", &bind];
        all.extend(settings);
        all.extend(["--", program, text(&self.secret)]);
        all.extend(words.iter().map(String::as_str));
        let mut command = self.zoned.command(&all);
        Told::of(&command.stdin(Stdio::null()).output().expect("zonectl runs"))
    }

    /// Runs it as root of the host, below a folder that is only its root directory, in a mount namespace of its own. Its
    /// shell, whose program no one else runs, stays with a descriptor of the host's root.
    fn outside(&self, new: &[&str], program: &str, words: &[String]) -> Told {
        let root = tempfile::tempdir_in(self.zoned.scratch()).expect("make a folder");
        let shell = root.path().join("busybox-of-the-host");
        fs::copy(busybox_root().join("bin/busybox"), &shell).expect("copy busybox");
        let script = "mount -o bind \"$1\" \"$2\" && mount -t tmpfs tmpfs \"$2/tmp\" && mount -t proc proc \"$2/proc\" && \
                      mount -t sysfs sysfs \"$2/sys\" && mount -o bind \"$3\" \"$2/mnt\" || exit 9; \
                      mount -t tmpfs tmpfs \"$2/dev\"; r=$2; shift 3; chroot \"$r\" \"$@\" 3</; exit $?";
        let inside = root.path().join("root");
        fs::create_dir(&inside).expect("make a folder");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--fork"]).args(new).arg(&shell);
        command.args(["sh", "-c", script, "sh", text(&busybox_root()), text(&inside), text(&self.folder)]);
        command.arg(program).arg(&self.secret).args(words).stdin(Stdio::null());
        Told::of(&command.output().expect("unshare runs"))
    }
}

const FLAGS: [&str; 1] = ["-pthread"];

/// What an attempt wants on the host, from `ATTEMPT plant`.
struct Plant {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
    words: Vec<String>,
}

impl Plant {
    /// `None` for an attempt that wants nothing.
    fn set(stage: &Stage, attempt: &Attempt) -> Result<Option<Self>, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("escapes/{}.c", attempt.name));
        if !fs::read_to_string(&source).is_ok_and(|text| text.contains("is_plant(argc, argv)")) {
            return Ok(None);
        }
        stage.show(attempt.name, "amd64")?;
        let program = stage.folder.join(format!("{}-amd64", attempt.name));
        let mut command = Command::new(program);
        command.arg("plant").arg(&stage.secret).arg(&stage.folder);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("run {command:?}: {e}"))?;
        let mut output = BufReader::new(child.stdout.take().ok_or("its output is a pipe")?);
        let mut line = String::new();
        output.read_line(&mut line).map_err(|e| e.to_string())?;
        let words = line.split_whitespace().map(str::to_owned).collect();
        Ok(Some(Self { child, output, words }))
    }

    /// Ends it; what it found on the host.
    fn pull(mut self) -> String {
        drop(self.child.stdin.take());
        let mut said = String::new();
        let _ = self.output.read_to_string(&mut said);
        let _ = self.child.wait();
        said
    }
}

/// What all trials share.
#[derive(Clone, Default)]
struct Shared(Arc<OnceLock<Result<Stage, String>>>);

impl Shared {
    fn get(&self) -> Result<&Stage, String> {
        self.0.get_or_init(Stage::new).as_ref().map_err(Clone::clone)
    }
}

/// Tries, with what it wants planted: `extra` follows the planted words.
fn try_it(
    stage: &Stage,
    attempt: &Attempt,
    extra: &[&str],
    run: impl FnOnce(&[String]) -> Told,
) -> Result<Told, String> {
    let plant = Plant::set(stage, attempt)?;
    let mut words = plant.as_ref().map(|p| p.words.clone()).unwrap_or_default();
    words.extend(extra.iter().map(|w| (*w).to_owned()));
    let mut told = run(&words);
    if let Some(plant) = plant {
        let found = plant.pull();
        if found.contains("escaped ") {
            told.code = Some(0);
        }
        told.said += &found;
    }
    Ok(told)
}

/// One line for the table of `cargo xtask hold`.
fn line(attempt: &Attempt, place: &str, result: &str) {
    println!("hold:\t{}\t{place}\t{result}\t{}", attempt.name, attempt.guard);
}

fn held(stage: &Stage, attempt: &Attempt, place: &Place) -> Result<(), Failed> {
    let program = stage.show(attempt.name, place.abi)?;
    let shared: &[&str] = if place.label.contains("shared") { &["shared"] } else { &[] };
    let told = try_it(stage, attempt, shared, |words| stage.in_zone(place.settings, &program, words))?;
    let known = attempt.told.filter(|(part, _)| place.label.contains(part));
    match (told.code, known) {
        (Some(0), Some((_, why))) => line(attempt, place.label, &format!("told: {why}")),
        (Some(1), Some((_, why))) => return Err(format!("documented, and held: {why}\n{}", told.said).into()),
        (Some(1), None) => line(attempt, place.label, &format!("held: {}", told.errors())),
        // The filter's answer or that of a kernel that was built without; the machine's has them.
        (Some(2), _) if told.said.contains(" ENOSYS") => line(attempt, place.label, "held: ENOSYS"),
        (Some(2), _) if attempt.may_lack => line(attempt, place.label, "not there"),
        (Some(0), None) => {
            return Err(format!("a way out of a zone ({}):\n{}", place.label, told.said).into());
        }
        _ => return Err(format!("expected a verdict, got {:?}\n{}", told.code, told.said).into()),
    }
    Ok(())
}

/// The same program where its guard is not.
fn real(stage: &Stage, attempt: &Attempt) -> Result<(), Failed> {
    let program = stage.show(attempt.name, "amd64")?;
    let (told, by) = match attempt.real {
        Real::Outside(new) => {
            let told = try_it(stage, attempt, &["bare"], |words| stage.outside(new, &program, words))?;
            (told, "outside".to_owned())
        }
        Real::Given(settings) => {
            let told = try_it(stage, attempt, &[], |words| stage.in_zone(settings, &program, words))?;
            (told, settings.join(" "))
        }
        // An emulated processor is too slow to win.
        Real::Met if is_machine() => return Ok(()),
        Real::Met => {
            let settings = ["--kernel", "2.6.18"];
            let mut told = try_it(stage, attempt, &[], |words| stage.in_zone(&settings, &program, words))?;
            let met = told
                .said
                .lines()
                .find_map(|line| line.strip_prefix("untried met "))
                .unwrap_or_default()
                .to_owned();
            let numbers: Vec<u64> = met.split(' ').filter_map(|word| word.parse().ok()).collect();
            told.code = (numbers.len() == 2 && !numbers.contains(&0)).then_some(0);
            (told, met)
        }
        Real::Machine if is_machine() => {
            let program = stage.folder.join(format!("{}-amd64", attempt.name));
            // What it mounts over "/" would make every process of the machine one that is in a chroot, which gets no user
            // namespace (EPERM of clone(2)).
            let run = |words: &[String]| {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private"]).arg(&program).arg(&stage.secret);
                Told::of(&command.args(words).stdin(Stdio::null()).output().expect("unshare runs"))
            };
            (try_it(stage, attempt, &["machine"], run)?, "root of a machine".to_owned())
        }
        Real::Machine => return Ok(()),
    };
    match told.code {
        Some(0) => line(attempt, "real", &format!("works: {by}")),
        Some(2) if attempt.may_lack => line(attempt, "real", "not there"),
        _ => {
            return Err(format!("it does not work without its guard ({:?})\n{}", told.code, told.said).into());
        }
    }
    Ok(())
}

fn trials(shared: &Shared) -> Vec<Trial> {
    let mut trials = Vec::new();
    for attempt in ATTEMPTS {
        // What is planted has one name, so the tries of one attempt come one after the other.
        let turn = Arc::new(Mutex::new(()));
        for place in PLACES.iter().filter(|p| !is_machine() || IN_MACHINE.contains(&p.label)) {
            let (shared, turn) = (shared.clone(), Arc::clone(&turn));
            trials.push(Trial::test(format!("{}::{}", attempt.name, place.label), move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                held(shared.get()?, attempt, place)
            }));
        }
        let (shared, turn) = (shared.clone(), Arc::clone(&turn));
        let elsewhere = attempt.real == Real::Machine && !is_machine();
        let trial = Trial::test(format!("{}::real", attempt.name), move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            real(shared.get()?, attempt)
        });
        trials.push(trial.with_ignored_flag(elsewhere));
    }
    trials
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    if std::env::var_os("ZONES_COMPILE_ONLY").is_some() {
        for attempt in ATTEMPTS {
            for abi in ["amd64", "i386"] {
                let source =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("escapes/{}.c", attempt.name));
                if let Err(e) = compile(&source, abi, &FLAGS.map(str::to_owned)) {
                    eprintln!("{} {abi}: {e:#}", attempt.name);
                    return ExitCode::FAILURE;
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    let shared = Shared::default();
    let conclusion = libtest_mimic::run(&arguments, trials(&shared));
    // Its Drop fails the run when a zone left something behind.
    drop(shared);
    conclusion.exit_code()
}
