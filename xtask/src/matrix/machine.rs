//! A machine of qemu that boots a kernel, runs the disk's job and is gone.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;
use super::programs::Programs;
use crate::counts::Counts;

pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) disk: &'a Path,
    pub(super) vsyscall: &'a str,
    pub(super) programs: &'a Programs,
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots it, passes on what it says, to `each` as well, and counts. A test program that did not end well counts as failed, if only
    /// by the count of those that did not come to their end.
    pub(super) fn run(&self, each: &mut dyn FnMut(&str)) -> Result<Counts> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", accelerator(), "-cpu", "max", "-smp", "2", "-m", "3G"]);
        qemu.args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(&self.kernel.initramfs);
        let drive = format!("file={},format=raw,if=virtio,cache=unsafe", self.disk.display());
        qemu.arg("-drive").arg(drive);
        let words = format!("console=ttyS0 quiet panic=-1 vsyscall={}", self.vsyscall);
        qemu.arg("-append").arg(words).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running(qemu.spawn().context("run qemu-system-x86_64")?);
        let said = running.0.stdout.take().context("qemu's output is a pipe")?;
        let mut counts = Counts::default();
        let mut ended = Vec::new();
        counts.hear(said, std::io::stdout(), |line| {
            each(line);
            if let Some((_, end)) = line.split_once("matrix: ") {
                ended.push(end.trim().to_owned());
            }
        })?;
        let status = running.0.wait().context("wait for qemu")?;
        ensure!(status.success(), "qemu ended with {status}");
        for (name, _) in &self.programs.job {
            let well = format!("{name} ended with 0");
            if !ended.contains(&well) {
                let how = ended.iter().find(|end| end.starts_with(&format!("{name} ")));
                println!("{}", how.map_or_else(|| format!("{name} did not end"), Clone::clone));
                counts.failed += u64::from(counts.failed == 0);
            }
        }
        Ok(counts)
    }
}

/// Emulation where the processor has no virtualization to give: /dev/kvm may be there all the same.
fn accelerator() -> &'static str {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = processor.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if can && Path::new("/dev/kvm").exists() { "kvm" } else { "tcg,thread=multi" }
}
