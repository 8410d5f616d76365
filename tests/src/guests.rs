//! Old userlands that no one here wrote: tarballs in $ZONES_GUESTS, and Debian from its mirror.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::FlockArg;

use crate::host::{lock, target};

/// A guest by name.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// Its tarball is NAME.tar or NAME.tar.*.
    pub name: &'static str,
    /// The level of its time.
    pub kernel: &'static str,
    /// What `uname -m` says there.
    pub machine: &'static str,
    /// Whether its own init brings it to a login prompt.
    pub boots: bool,
}

/// Those that the tests know.
pub const GUESTS: [Guest; 6] = [
    Guest { name: "alpine-2.6", kernel: "2.6.32", machine: "x86_64", boots: false },
    Guest { name: "cirros-0.4-i386", kernel: "4.4", machine: "i686", boots: true },
    Guest { name: "tinycore-7-x86", kernel: "4.2", machine: "i686", boots: true },
    Guest { name: "buildroot-2014", kernel: "2.6.32", machine: "x86_64", boots: false },
    Guest { name: "alpine-3.6-x86", kernel: "4.9", machine: "i686", boots: false },
    Guest { name: "alpine-3.20", kernel: "5.10", machine: "x86_64", boots: false },
];

impl Guest {
    /// Where its tarball is.
    ///
    /// # Errors
    /// A sentence that says where it was looked for.
    pub fn tarball(&self) -> Result<PathBuf, String> {
        let dir = std::env::var_os("ZONES_GUESTS").ok_or("ZONES_GUESTS names no folder of guests")?;
        let mut entries = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path());
        let wanted = format!("{}.tar", self.name);
        let found = entries.find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&wanted)));
        found.ok_or_else(|| format!("no {wanted}* in {}", dir.display()))
    }
}

/// A Debian from the mirror (environment DEBIAN_MIRROR), as a tar that is made once.
pub fn debian(suite: &str, arch: &str) -> Result<PathBuf> {
    debian_with(suite, arch, &[])
}

/// The same with more packages.
pub fn debian_with(suite: &str, arch: &str, more: &[&str]) -> Result<PathBuf> {
    let _one_at_a_time = lock("zones-debian.lock", FlockArg::LockExclusive)?;
    let cache = target().join("zones-cache");
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let name = [&["debian", suite, arch], more].concat().join("-");
    let tar = cache.join(format!("{name}.tar"));
    if !tar.exists() {
        let new = cache.join(format!("new-{name}.tar"));
        let mut make = Command::new("mmdebstrap");
        // The host runs i386 by itself, and arch-test(1), which would look for that, may be missing.
        make.args(["--quiet", "--variant=minbase", "--skip=check/qemu"]);
        make.arg(format!("--include={}", [&["systemd-sysv", "procps"], more].concat().join(",")));
        make.arg(format!("--architectures={arch}")).arg(suite).arg(&new);
        // One mirror by name: mmdebstrap adds the security archive of a suite by itself, and that loses
        // the packages of suites that are no longer looked after.
        make.arg(std::env::var_os("DEBIAN_MIRROR").unwrap_or_else(|| "http://deb.debian.org/debian".into()));
        ensure!(make.status().context("run mmdebstrap")?.success(), "mmdebstrap {suite} {arch} failed");
        fs::rename(&new, &tar).context("rename the tar")?;
    }
    Ok(tar)
}
