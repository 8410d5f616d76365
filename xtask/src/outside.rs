//! `cargo xtask outside`: builds the kernel's selftests from Debian's linux-source and compares what each says in a
//! zone with what it says outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The package: the selftests of Debian 12's kernel compile with Debian 12's headers.
const PACKAGE: &str = "linux-source-6.1";

/// Folders of tools/testing/selftests whose programs need nothing but a kernel. Not timers' destructive ones, which
/// set the clock, nor what suspends the machine.
const FOLDERS: &[&str] = &[
    "breakpoints",
    "capabilities",
    "clone3",
    "core",
    "exec",
    "filesystems",
    "futex/functional",
    "ipc",
    "kcmp",
    "landlock",
    "membarrier",
    "mincore",
    "mount",
    "mount_setattr",
    "move_mount_set_group",
    "mqueue",
    "nsfs",
    "openat2",
    "pid_namespace",
    "pidfd",
    "proc",
    "ptrace",
    "rlimits",
    "rseq",
    "seccomp",
    "sigaltstack",
    "size",
    "splice",
    "sync",
    "syscall_user_dispatch",
    "timens",
    "timers",
    "tmpfs",
    "vDSO",
    "x86",
];

/// Programs that are left out.
const NOT: &[&str] = &["step_after_suspend_test"];

pub(crate) fn run() -> Result<()> {
    crate::be_root()?;
    crate::packages::for_outside()?;
    crate::build()?;
    let cache = crate::top().join("target/zones-cache/selftests");
    let source = cache.join("source");
    if !source.join("tools/testing/selftests").is_dir() {
        unpack(&cache, &source)?;
    }
    let built = cache.join("built");
    for folder in FOLDERS {
        build(&source, folder, &built)?;
    }
    println!("run them; this takes some minutes");
    let mut tests = crate::cargo();
    tests.args(["test", "--workspace", "--test", "outside"]).env("ZONES_SELFTESTS", &built);
    let status = tests.status().context("run cargo test")?;
    ensure!(status.success(), "what they say differs from outside/differences.txt");
    Ok(())
}

fn unpack(cache: &Path, source: &Path) -> Result<()> {
    println!("fetch {PACKAGE}");
    fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let status = Command::new("apt-get").args(["download", "-q", PACKAGE]).current_dir(cache).status();
    ensure!(status.context("run apt-get")?.success(), "apt-get download {PACKAGE} failed");
    let new = cache.join("source.new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new).with_context(|| format!("make {}", new.display()))?;
    // The tree is a packed tar within the package's; of it only what the selftests include.
    let script = format!(
        "set -e; dpkg-deb --fsys-tarfile {PACKAGE}_*.deb | tar -xO ./usr/src/{PACKAGE}.tar.xz | xz -dc | \
         tar -x -C source.new --strip-components=1 --wildcards '{PACKAGE}/tools/testing/selftests/*' \
         '{PACKAGE}/tools/include/*' '{PACKAGE}/scripts/*'; rm -f {PACKAGE}_*.deb"
    );
    let status = Command::new("sh").args(["-c", &script]).current_dir(cache).status().context("run tar")?;
    ensure!(status.success(), "unpack {PACKAGE}");
    fs::rename(&new, source).with_context(|| format!("rename to {}", source.display()))
}

/// Builds one folder's programs and lists those that it calls its tests. What does not compile is told and left.
fn build(source: &Path, folder: &str, built: &Path) -> Result<()> {
    let name = folder.split('/').next().unwrap_or(folder);
    let out = built.join(name);
    if out.join("list").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let tests = source.join("tools/testing/selftests").join(folder);
    let make = |more: &[&str]| {
        let mut make = Command::new("make");
        make.arg("-s").arg("-k").arg("-C").arg(&tests).arg(format!("OUTPUT={}", out.display()));
        make.args(["KHDR_INCLUDES=", "CC=gcc"]).args(more).stderr(Stdio::null());
        make
    };
    let done = make(&[]).stdout(Stdio::null()).status().context("run make")?;
    if !done.success() {
        println!("{folder}: not all of it compiles");
    }
    let listed = make(&["--no-print-directory", "emit_tests"]).output().context("run make emit_tests")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.rsplit_once(':')).map(|(_, name)| name);
    let there = |name: &&str| !NOT.contains(name) && out.join(name).is_file() && !name.ends_with(".sh");
    let names: Vec<_> = names.filter(there).collect();
    println!("{folder}: {} programs", names.len());
    fs::write(out.join("list"), names.join("\n")).with_context(|| format!("write the list of {folder}"))
}
