//! What this host lacks for what was found.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;
use serde::Serialize;

use crate::report::Report;

/// What a root needs and the host has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// What it is.
    pub what: &'static str,
    /// What mends it.
    pub remedy: &'static str,
}

/// What a host offers to programs.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Whether an i386 program runs; none where that could not be tried.
    pub i386: Option<bool>,
    /// The same of an x32 program.
    pub x32: Option<bool>,
    /// `none`, `xonly` or `emulate`.
    pub vsyscall: &'static str,
}

impl Host {
    /// This one: programs that do nothing are tried.
    pub fn here() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self { i386: runs(3, EXIT_I386), x32: runs(62, EXIT_X32), vsyscall: vsyscall_mode(&maps) }
    }

    pub(crate) fn lacks(self, report: &Report) -> Vec<Lack> {
        let has = |abi| report.abis.contains_key(abi);
        let others = |abi: &String| !matches!(&abi[..], "i386" | "amd64" | "x32");
        let rules = [
            (
                has("i386") && self.i386 == Some(false),
                "32-bit programs",
                "a kernel with CONFIG_IA32_EMULATION, and no ia32_emulation=0 at boot",
            ),
            (
                has("x32") && self.x32 == Some(false),
                "x32 programs",
                "a kernel with CONFIG_X86_X32_ABI; zones refuse its calls in any case",
            ),
            (
                report.vsyscall.count > 0 && self.vsyscall == "none",
                "the vsyscall page",
                "zones of brand linux have such calls rewritten, at levels below 5.0 and in roots with a C library of that age; else vsyscall=xonly at boot",
            ),
            (report.aout.count > 0, "a.out programs", "none: no kernel runs them since 6.1"),
            (
                !report.abis.is_empty() && report.abis.keys().all(others),
                "its machine",
                "none: zones run programs of the host's own processor",
            ),
        ];
        rules
            .into_iter()
            .filter(|(lacks, ..)| *lacks)
            .map(|(_, what, remedy)| Lack { what, remedy })
            .collect()
    }
}

/// The kernel shows the page with the rights that its mode gives (vsyscall_64.c).
pub fn vsyscall_mode(maps: &str) -> &'static str {
    match maps.lines().find(|line| line.ends_with("[vsyscall]")).and_then(|line| line.split(' ').nth(1)) {
        None => "none",
        Some(rights) if rights.starts_with('r') => "emulate",
        Some(_) => "xonly",
    }
}

/// `mov $1,%eax; mov $42,%ebx; int $0x80`: exit(42).
const EXIT_I386: &[u8] = &[0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
/// `mov $0x4000003c,%eax; mov $42,%edi; syscall`: exit(42), the x32 bit set.
const EXIT_X32: &[u8] = &[0xb8, 0x3c, 0, 0, 0x40, 0xbf, 42, 0, 0, 0, 0x0f, 0x05];

fn runs(machine: u16, code: &[u8]) -> Option<bool> {
    let mut file: File = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC).ok()?.into();
    file.write_all(&program(machine, code)).ok()?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let quiet = || Stdio::null();
    match Command::new(path).env_clear().stdin(quiet()).stdout(quiet()).stderr(quiet()).status() {
        Ok(status) => Some(status.code() == Some(42)),
        Err(error) => refused(&error),
    }
}

/// ENOEXEC is the answer of a kernel without the ABI; another is about the file, as where vm.memfd_noexec is 2.
fn refused(error: &io::Error) -> Option<bool> {
    (error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())).then_some(false)
}

/// A 32-bit ELF program of one segment (elf.h: Elf32_Ehdr and Elf32_Phdr).
fn program(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let size = HEADERS + code.len() as u32;
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let word = |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    half(&mut out, &[2, machine]);
    // e_version, e_entry, e_phoff, e_shoff, e_flags
    word(&mut out, &[1, BASE + HEADERS, 52, 0, 0]);
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    half(&mut out, &[52, 32, 1, 0, 0, 0]);
    // PT_LOAD, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, PF_R | PF_X, p_align
    word(&mut out, &[1, 0, BASE, BASE, size, size, 5, 4096]);
    out.extend_from_slice(code);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vsyscall_page_is_read_as_the_kernel_shows_it() {
        let line = |rights| {
            format!(
                "ffffffffff600000-ffffffffff601000 {rights} 00000000 00:00 0                  [vsyscall]\n"
            )
        };
        assert_eq!(vsyscall_mode(&line("--xp")), "xonly");
        assert_eq!(vsyscall_mode(&line("r-xp")), "emulate");
        assert_eq!(vsyscall_mode("7ff-800 r-xp 0 00:00 0 [vdso]\n"), "none");
    }
}
