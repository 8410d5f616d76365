//! The machine's disk: an ext4 with busybox, our programs with what they need at their own paths, and the kernel's modules.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernel::{Kernel, busybox};
use super::programs::Programs;

/// Where the guests of $ZONES_GUESTS are.
const GUESTS: &str = "/matrix/guests";

/// Where the roots of $ZONES_ROOTS are.
const ROOTS: &str = "/matrix/roots";

/// Where the tests are found by their names.
const TESTS: &str = "/matrix/tests";

/// Tools of the host that the tests use and busybox has not, or not so.
const TOOLS: &[&str] = &[
    "unshare",
    "setpriv",
    "timeout",
    "setsid",
    "newuidmap",
    "nsenter",
    "ip",
    "nft",
    "mount",
    "umount",
    "losetup",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "btrfs",
    "cp",
    "find",
    "stat",
    "tar",
    "setfattr",
    "umoci",
    "skopeo",
];

/// What is loaded before the tests.
const MODULES: &[&str] = &[
    "overlay",
    "fuse",
    "veth",
    "loop",
    "tun",
    "bridge",
    "nf_tables",
    "nft_ct",
    "nft_connlimit",
    "nft_limit",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_fib_inet",
    "xfs",
    "btrfs",
    "quota_v2",
];

const SIZE: u64 = 8 << 30;

/// Makes the disk's image.
pub(super) fn make(image: &Path, kernel: &Kernel, programs: &Programs, current: &Path) -> Result<()> {
    let stage = tempfile::Builder::new().prefix("zones-matrix-").tempdir().context("make a folder")?;
    let root = stage.path();
    for dir in ["bin", "sbin", "dev", "proc", "sys", "run", "tmp", "var/tmp", "mnt", "root", "etc", "matrix"]
    {
        fs::create_dir_all(root.join(dir)).with_context(|| format!("make {dir}"))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))
            .with_context(|| format!("open {dir} to all"))?;
    }
    for (file, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
        ("etc/os-release", "ID=matrix\n"),
    ] {
        fs::write(root.join(file), text).with_context(|| format!("write {file}"))?;
    }
    let shadow = root.join("etc/shadow");
    fs::write(&shadow, "root:*:::::::\n").context("write etc/shadow")?;
    fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600)).context("close etc/shadow")?;
    add_tools(root)?;
    for program in programs.all() {
        add_program(root, &program)?;
        // What only a debugger needs is ten times the rest.
        let there = at(root, &program)?;
        let strip = Command::new("strip").arg("--strip-debug").arg(&there).status().context("run strip")?;
        ensure!(strip.success(), "strip {}", program.display());
    }
    for (name, program) in &programs.tests {
        let link = at(root, &Path::new(TESTS).join(name))?;
        symlink(program, link).with_context(|| format!("link {name}"))?;
    }
    // The tests find their programs compiled; the conformance reads in the sources what is expected of them.
    let top = crate::top();
    for folder in ["tests/conformance", "tests/escapes", "tests/programs", "target/conformance"] {
        let from = top.join(folder);
        let files = fs::read_dir(&from).with_context(|| format!("read {}", from.display()))?.flatten();
        for file in files.filter(|e| e.file_type().is_ok_and(|t| t.is_file())) {
            add(root, &file.path(), &file.path())?;
        }
    }
    for (variable, there) in [("ZONES_GUESTS", GUESTS), ("ZONES_ROOTS", ROOTS)] {
        for tarball in files_of(variable) {
            let name = tarball.file_name().context("a tarball has a name")?;
            add(root, &tarball, &Path::new(there).join(name))?;
        }
    }
    add(root, current, Path::new("/matrix/current.tar"))?;
    let modules = Path::new("/lib/modules").join(&kernel.release);
    let copy = Command::new("cp").arg("-a").arg(&kernel.modules).arg(at(root, &modules)?).status();
    ensure!(copy.context("run cp")?.success(), "copy the modules");
    let init = root.join("matrix/init");
    fs::write(&init, script(programs)).context("write the job")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("write the job")?;

    let file =
        File::options().write(true).open(image).with_context(|| format!("open {}", image.display()))?;
    file.set_len(SIZE).with_context(|| format!("size {}", image.display()))?;
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]).arg(root).arg(image);
    ensure!(make.status().context("run mke2fs")?.success(), "mke2fs failed");
    Ok(())
}

/// The files in the folder that a variable names; none where it is not set.
fn files_of(variable: &str) -> Vec<PathBuf> {
    let folder = std::env::var_os(variable);
    let files = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    files.map(|e| e.path()).filter(|p| p.is_file()).collect()
}

/// Path of the machine below `root`, with the folders above it.
fn at(root: &Path, path: &Path) -> Result<PathBuf> {
    let there =
        root.join(path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?);
    let folder = there.parent().context("it stands in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(there)
}

fn add(root: &Path, file: &Path, path: &Path) -> Result<()> {
    fs::copy(file, at(root, path)?).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}

/// A program at its own path, with its libraries as ldd(1) tells them.
fn add_program(root: &Path, program: &Path) -> Result<()> {
    add(root, program, program)?;
    let told = Command::new("ldd").arg(program).output().context("run ldd")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
        add(root, Path::new(library), Path::new(library))?;
    }
    Ok(())
}

/// busybox under all of its names, and the host's own tools where theirs are better.
fn add_tools(root: &Path) -> Result<()> {
    let from = busybox()?;
    add(root, from, Path::new("/bin/busybox"))?;
    let names = Command::new(from).arg("--list").output().context("run busybox --list")?;
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    for name in names.lines().filter(|name| *name != "busybox" && !TOOLS.contains(name)) {
        symlink("/bin/busybox", root.join("bin").join(name)).with_context(|| format!("link {name}"))?;
    }
    for name in TOOLS {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|folder| Path::new(folder).join(name));
        let path =
            places.iter().find(|path| path.is_file()).with_context(|| format!("{name} is not there"))?;
        add_program(root, path)?;
    }
    Ok(())
}

/// Process 1 of the machine: what systemd would have mounted, then the tests, each with its end told.
fn script(programs: &Programs) -> String {
    let mut script = String::from(
        "#!/bin/busybox sh\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp\n\
         mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup; ip link set lo up; hostname matrix\n\
         ulimit -n 65536; chmod 1777 /tmp /dev/shm\n",
    );
    script += &format!("for m in {}; do modprobe $m; done\n", MODULES.join(" "));
    let folder = programs.folder.display();
    script += &format!("export PATH={TESTS}:$PATH\n");
    script += &format!(
        "export ZONED_BIN={folder}/zoned ZONECTL_BIN={folder}/zonectl ZONES_GUESTS={GUESTS} ZONES_ROOTS={ROOTS}\n"
    );
    script += "export ZONES_CURRENT=/matrix/current.tar ZONES_MACHINE=1\n";
    for (name, line) in &programs.job {
        script += &format!("{line}\necho \"matrix: {name} ended with $?\"\n");
    }
    script + "poweroff -f\n"
}
