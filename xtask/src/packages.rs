//! Debian packages that the chores need: looked for by what they bring, and installed where it is missing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A package and how to tell that it is there.
struct Package {
    name: &'static str,
    is_there: fn() -> bool,
}

/// For the demo.
pub(crate) fn for_demo() -> Result<()> {
    install(&[
        Package { name: "mmdebstrap", is_there: || program("mmdebstrap") },
        Package { name: "util-linux", is_there: || program("unshare") && program("setpriv") },
    ])
}

/// For every test; for the benchmark what it compares with.
pub(crate) fn for_tests() -> Result<()> {
    install(&[
        Package { name: "gcc", is_there: || program("gcc") },
        Package { name: "libc6-dev", is_there: || compiles("-m64") },
        Package { name: "gcc-multilib", is_there: || compiles("-m32") },
        Package { name: "libc6-dev-i386", is_there: || compiles("-m32") },
        Package { name: "mmdebstrap", is_there: || program("mmdebstrap") },
        Package {
            name: "manpages-dev",
            is_there: || Path::new("/usr/share/man/man2/syscalls.2.gz").is_file(),
        },
        Package { name: "busybox-static", is_there: static_busybox },
        Package { name: "binutils", is_there: || program("readelf") && program("strip") },
        Package { name: "dpkg-dev", is_there: || program("dpkg-shlibdeps") },
        Package { name: "e2fsprogs", is_there: || program("mkfs.ext4") },
        Package { name: "xfsprogs", is_there: || program("mkfs.xfs") },
        // Images that others made.
        Package { name: "umoci", is_there: || program("umoci") },
        Package { name: "skopeo", is_there: || program("skopeo") },
        Package { name: "buildah", is_there: || program("buildah") },
        Package { name: "podman", is_there: || program("podman") },
        Package { name: "docker-registry", is_there: || program("docker-registry") },
        Package { name: "openssl", is_there: || program("openssl") },
        // Readers of archives and trees that others made.
        Package { name: "libarchive-tools", is_there: || program("bsdtar") },
        Package { name: "mtree-netbsd", is_there: || program("mtree") },
        Package { name: "libcap2-bin", is_there: || program("setcap") },
        Package { name: "python3-minimal", is_there: || program("python3") },
        Package { name: "attr", is_there: || program("setfattr") },
        // A file system with subvolumes.
        Package { name: "btrfs-progs", is_there: || program("mkfs.btrfs") && program("btrfs") },
        Package { name: "tar", is_there: || program("tar") },
        Package { name: "iproute2", is_there: || program("ip") },
        Package { name: "nftables", is_there: || program("nft") },
        Package { name: "wget", is_there: || program("wget") },
        Package { name: "procps", is_there: || program("ps") },
        Package {
            name: "util-linux",
            is_there: || program("unshare") && program("setpriv") && program("setsid"),
        },
        Package { name: "mount", is_there: || program("mount") && program("losetup") },
        // The machine that the Debian package is tried in, and what Debian looks for in one.
        Package { name: "qemu-system-x86", is_there: || program("qemu-system-x86_64") },
        Package { name: "lintian", is_there: || program("lintian") },
        Package { name: "crun", is_there: || program("crun") },
        Package { name: "bubblewrap", is_there: || program("bwrap") },
    ])
}

/// What zones are compared with.
pub(crate) fn for_bench() -> Result<()> {
    for_tests()?;
    install(&[
        Package { name: "runc", is_there: || program("runc") },
        Package { name: "systemd-container", is_there: || program("systemd-nspawn") },
        Package { name: "lxc", is_there: || program("lxc-execute") },
        Package { name: "containerd", is_there: || program("containerd") },
        Package { name: "proot", is_there: || program("proot") },
        Package { name: "git", is_there: || program("git") },
    ])
}

/// For the fuzz targets: libFuzzer is C++, and they run in cages.
pub(crate) fn for_fuzz() -> Result<()> {
    install(&[
        Package { name: "gcc", is_there: || program("gcc") },
        Package { name: "g++", is_there: || program("g++") },
        Package { name: "bubblewrap", is_there: || program("bwrap") },
    ])
}

/// For the kernel's selftests.
pub(crate) fn for_outside() -> Result<()> {
    for_tests()?;
    install(&[
        Package { name: "make", is_there: || program("make") },
        Package { name: "xz-utils", is_there: || program("xz") },
        Package { name: "rsync", is_there: || program("rsync") },
        Package { name: "libcap-dev", is_there: || Path::new("/usr/include/sys/capability.h").is_file() },
        Package { name: "libcap-ng-dev", is_there: || Path::new("/usr/include/cap-ng.h").is_file() },
        Package { name: "libpopt-dev", is_there: || Path::new("/usr/include/popt.h").is_file() },
    ])
}

/// For the kernels in qemu.
pub(crate) fn for_matrix() -> Result<()> {
    for_tests()?;
    install(&[
        Package { name: "kmod", is_there: || program("depmod") },
        Package { name: "cpio", is_there: || program("cpio") },
        Package { name: "xz-utils", is_there: || program("xz") },
        Package { name: "uidmap", is_there: || program("newuidmap") },
    ])
}

fn program(name: &str) -> bool {
    let dirs = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    dirs.split(':').any(|dir| Path::new(dir).join(name).is_file())
}

fn compiles(abi: &str) -> bool {
    let mut gcc = Command::new("gcc");
    gcc.args([abi, "-static", "-x", "c", "-o", "/dev/null", "-"]);
    let Ok(mut gcc) = gcc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let written = gcc.stdin.take().is_some_and(|mut text| {
        text.write_all(b"#include <stdio.h>\nint main(void) { return puts(\"\"); }\n").is_ok()
    });
    gcc.wait().is_ok_and(|status| written && status.success())
}

/// A busybox that needs no libraries can be the whole of a root.
fn static_busybox() -> bool {
    let names = ["/bin/busybox", "/usr/bin/busybox"];
    let interpreter = b"/ld-linux";
    let is_static =
        |bytes: Vec<u8>| !bytes.windows(interpreter.len()).take(4096).any(|part| part == interpreter);
    names.iter().any(|name| std::fs::read(name).is_ok_and(is_static))
}

fn install(wanted: &[Package]) -> Result<()> {
    let missing: Vec<&str> = wanted.iter().filter(|p| !(p.is_there)()).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    crate::be_root().with_context(|| format!("{} to be installed", missing.join(" ")))?;
    if !program("apt-get") {
        bail!("missing here: {}; without apt-get they have to be installed by hand", missing.join(" "));
    }
    eprintln!("installing {}", missing.join(" "));
    // The packages' lists may be of yesterday, or not there yet.
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat())?;
    let still: Vec<&str> = wanted.iter().filter(|p| !(p.is_there)()).map(|p| p.name).collect();
    if !still.is_empty() {
        bail!("installed, and what they are for is still missing: {}", still.join(" "));
    }
    Ok(())
}

/// Mirrors fail now and then.
fn apt(words: &[&str]) -> Result<()> {
    for pause in [5, 20, 0] {
        let mut command = Command::new("apt-get");
        // -qq keeps the log short; errors are told all the same.
        command.args(["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        if command.status().context("run apt-get")?.success() {
            return Ok(());
        }
        sleep(Duration::from_secs(pause));
    }
    bail!("apt-get {} failed three times", words.join(" "))
}
