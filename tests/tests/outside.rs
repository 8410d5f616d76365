//! Tests that others wrote: each program of the kernel's own selftests, built by `cargo xtask outside`, says
//! in a zone at the host's level what it says in bare namespaces. `outside/differences.txt` has what differs, and
//! why; a line of it that no longer holds is an error too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{How, Zoned, eventually};

/// A program that runs longer is ended, inside and outside.
const SECONDS: &str = "45";

/// The ids of the namespace outside; a zone's are other ones.
const IDS: &str = "0 1879048192 65536\n";

/// What a program says of itself: each verdict, without the numbers that differ from run to run, and how
/// often it stands there.
type Verdicts = BTreeMap<String, usize>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(folder) = std::env::var_os("ZONES_SELFTESTS").map(PathBuf::from) else {
        eprintln!("SKIPPED outside: ZONES_SELFTESTS names no folder; cargo xtask outside makes it");
        let nothing = Trial::test("selftests", || Ok(())).with_ignored_flag(true);
        return libtest_mimic::run(&arguments, vec![nothing]).exit_code();
    };
    let zoned = Arc::new(OnceLock::new());
    let differences = Arc::new(differences());
    let programs = programs(&folder);
    let names: BTreeSet<_> = programs.iter().map(|(name, _)| name.clone()).collect();
    let strangers: Vec<_> = differences.keys().filter(|name| !names.contains(*name)).cloned().collect();
    let mut trials: Vec<_> = programs
        .into_iter()
        .map(|(name, path)| {
            let (zoned, differences) = (Arc::clone(&zoned), Arc::clone(&differences));
            Trial::test(name.clone(), move || {
                let zoned =
                    zoned.get_or_init(|| Zoned::try_start(How::default()).map_err(|e| format!("{e:#}")));
                let zoned = zoned.as_ref().map_err(|e| Failed::from(e.as_str()))?;
                compare(&name, &path, zoned, differences.get(&name))
            })
        })
        .collect();
    trials.push(Trial::test("every_difference_is_of_a_program", move || match strangers.as_slice() {
        [] => Ok(()),
        some => Err(format!("outside/differences.txt names what is not built: {some:?}").into()),
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(zoned);
    conclusion.exit_code()
}

/// FOLDER/WHAT/PROGRAM, for every name in FOLDER/WHAT/list.
fn programs(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for what in fs::read_dir(folder).expect("ZONES_SELFTESTS is a folder").flatten() {
        let list = fs::read_to_string(what.path().join("list")).unwrap_or_default();
        for program in list.lines() {
            let path = what.path().join(program);
            if fs::metadata(&path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0) {
                found.push((format!("{}/{program}", what.file_name().to_string_lossy()), path));
            }
        }
    }
    found.sort();
    found
}

/// Known differences by program: a verdict that only one side has.
fn differences() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside/differences.txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut program = String::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.strip_prefix('\t') {
            Some(verdict) => {
                known.entry(program.clone()).or_default().insert(verdict.to_owned());
            }
            None => line.clone_into(&mut program),
        }
    }
    known
}

fn compare(
    name: &str,
    program: &Path,
    zoned: &Zoned,
    known: Option<&BTreeSet<String>>,
) -> Result<(), Failed> {
    let mut last = String::new();
    // A difference counts when it comes again: some of these programs measure time.
    for _ in 0..3 {
        let outside = run_outside(program)?;
        let inside = run_inside(program, zoned);
        let found = differing(&verdicts(&outside), &verdicts(&inside));
        let empty = BTreeSet::new();
        let known = known.unwrap_or(&empty);
        if &found == known {
            return Ok(());
        }
        let list = |set: Vec<&String>| set.iter().map(|v| format!("\t{v}\n")).collect::<String>();
        last = format!(
            "{name}\nnot in outside/differences.txt:\n{}there, but not found:\n{}--- outside\n{}\n--- inside\n{}",
            list(found.difference(known).collect()),
            list(known.difference(&found).collect()),
            text(&outside),
            text(&inside),
        );
    }
    Err(last.into())
}

/// `-` before what only the zone lacks, `+` before what only the zone has.
fn differing(outside: &Verdicts, inside: &Verdicts) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (sign, here, there) in [('-', outside, inside), ('+', inside, outside)] {
        for (verdict, count) in here {
            if there.get(verdict).unwrap_or(&0) < count {
                found.insert(format!("{sign} {verdict}"));
            }
        }
    }
    found
}

/// The lines of TAP (`ok`, `not ok`), or those of the older form (`[OK]`, `[FAIL]`), and the status.
fn verdicts(output: &Output) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let status = output.status.code().or(output.status.signal().map(|s| 128 + s)).unwrap_or(-1);
    verdicts.insert(format!("status {status}"), 1);
    let text = String::from_utf8_lossy(&output.stdout);
    let tap = text.lines().any(|line| line.starts_with("TAP version"));
    let words: &[&str] = if tap {
        &["ok ", "not ok "]
    } else {
        &["ok ", "not ok ", "[OK]", "[FAIL]", "[SKIP]", "FAIL", "PASS"]
    };
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ', '\t']);
        if words.iter().any(|word| line.starts_with(word)) {
            let masked = mask(line);
            *verdicts.entry(masked.trim_end().to_owned()).or_default() += 1;
        }
    }
    verdicts
}

/// Numbers, addresses and times differ from run to run.
fn mask(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.split_once("0x") {
        Some((before, _)) => format!("{before}N"),
        None => word.replace(|c: char| c.is_ascii_digit(), "N"),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn text(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&said))
}

/// Where it finds its neighbours, in a tmpfs that it can write to.
const START: &str = "cp -r \"$1/.\" /tmp && cd /tmp && exec timeout -k 1 \"$2\" \"./$3\"";

fn words(program: &Path) -> [String; 3] {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = program.parent().unwrap_or(Path::new("/")).display().to_string();
    [folder, SECONDS.to_owned(), name]
}

fn run_inside(program: &Path, zoned: &Zoned) -> Output {
    let [folder, seconds, name] = words(program);
    let bind = format!("{folder}:/mnt");
    let mut zonectl = zoned.command(&["run", "--bind", &bind, "--", "sh", "-c", START, "sh", "/mnt"]);
    zonectl.args([seconds, name]).stdin(Stdio::null());
    zonectl.output().expect("zonectl runs")
}

/// In namespaces of its own, with as many ids as a zone has.
fn run_outside(program: &Path) -> Result<Output, Failed> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--keep-caps", "sh", "-c"]);
    command.arg(
        "read -r mapped && exec setpriv --reuid 0 --regid 0 --clear-groups \
         unshare --mount --pid --fork --kill-child --uts --ipc --net --mount-proc sh -c \
         'mount -t tmpfs tmpfs /tmp && ip link set lo up && exec setsid sh -c \"$0\" \"$@\"' \"$@\" </dev/null",
    );
    command.arg("sh").arg(START).arg("sh").args(words(program));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("run unshare: {e}"))?;
    let own = fs::read_link("/proc/self/ns/user").map_err(|e| format!("read own namespace: {e}"))?;
    let theirs = format!("/proc/{}/ns/user", child.id());
    eventually("a user namespace of its own", 10, || fs::read_link(&theirs).is_ok_and(|there| there != own));
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", child.id()), IDS).map_err(|e| format!("write {map}: {e}"))?;
    }
    let mut stdin = child.stdin.take().ok_or("it has a standard input")?;
    stdin.write_all(b"mapped\n").map_err(|e| format!("tell it so: {e}"))?;
    drop(stdin);
    Ok(child.wait_with_output().map_err(|e| format!("wait: {e}"))?)
}
