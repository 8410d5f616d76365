//! Tries whether the kernel runs programs of an ABI: made here, they do nothing but exit with 42.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;

/// `mov $1,%eax; mov $42,%ebx; int $0x80`: exit(42).
const EXIT_I386: &[u8] = &[0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
/// `mov $0x4000003c,%eax; mov $42,%edi; syscall`: exit(42), the x32 bit set.
const EXIT_X32: &[u8] = &[0xb8, 0x3c, 0, 0, 0x40, 0xbf, 42, 0, 0, 0, 0x0f, 0x05];

/// Whether an i386 program runs; none where that could not be tried.
pub(super) fn runs_i386() -> Option<bool> {
    runs(3, EXIT_I386)
}

/// The same of an x32 program.
pub(super) fn runs_x32() -> Option<bool> {
    runs(62, EXIT_X32)
}

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
