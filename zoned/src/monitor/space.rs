//! A guest's address space, from the outside: what is mapped where, and where its break began.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use brands::abi::Abi;
use brands::call::GuestPtr;
use brands::task::Layout;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

use super::task::{GuestTask, gone};
use crate::sys::memory;

/// As many programs are remembered.
const MOST_PROGRAMS: usize = 4096;

/// What was found out about a caller's address space in the course of one call.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// /proc/PID/stat, whose fields count from 1 in proc_pid_stat(5), from 3 up.
    stat: Option<Vec<u64>>,
    maps: Option<File>,
    /// /proc/PID/mem
    memory: Option<File>,
}

/// Where programs end, by what tells a file's content from another's: device, inode, size, times of change.
#[derive(Debug, Default)]
pub struct Programs(Mutex<HashMap<[i64; 7], Program>>);

/// What a program's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// Unaligned end of its last segment.
    end: u64,
    /// Where it is entered, when it can be loaded anywhere.
    entry: Option<u64>,
}

impl Programs {
    fn get(&self, key: &[i64; 7]) -> Option<Program> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn keep(&self, key: [i64; 7], program: Program) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_PROGRAMS {
            known.clear();
        }
        known.insert(key, program);
    }
}

fn key(file: &FileStat) -> [i64; 7] {
    let changed = [file.st_mtime, file.st_mtime_nsec, file.st_ctime, file.st_ctime_nsec];
    let [a, b, c, d] = changed;
    [file.st_dev as i64, file.st_ino as i64, file.st_size, a, b, c, d]
}

impl GuestTask<'_> {
    /// Where its program and its break lie.
    pub(super) fn layout_of_space(&mut self) -> Result<Layout, Errno> {
        let start_brk = self.stat_field(47)?;
        let program = self.program_of_space()?;
        let is_32bit = self.notification.arch == Abi::I386.audit_arch();
        let program_end = program.end_at(is_32bit, || self.open_below("auxv", OFlag::O_RDONLY))?;
        let heap_end = self.mapping(start_brk)?.map_or(start_brk, |(_, end)| end);
        Ok(Layout { program_end, start_brk, heap_end })
    }

    fn program_of_space(&mut self) -> Result<Program, Errno> {
        let key = key(&self.stat_below("exe")?);
        if let Some(program) = self.zone.programs.get(&key) {
            return Ok(program);
        }
        let exe = self.open_below("exe", OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let program = Program::read(&exe)?;
        self.zone.programs.keep(key, program);
        Ok(program)
    }

    /// Where the state of the address space is kept: the word that exec leaves zero at the very
    /// top of the first stack, above everything that a program is told of (binfmt_elf).
    pub(super) fn space_address(&mut self) -> Result<u64, Errno> {
        let start_stack = self.stat_field(28)?;
        let (_, top) = self.mapping(start_stack)?.ok_or(Errno::EFAULT)?;
        Ok(top - 8)
    }

    fn stat_field(&mut self, n: usize) -> Result<u64, Errno> {
        if self.space.stat.is_none() {
            let text = self.read_below("stat")?;
            // The name in field 2 may hold anything; it ends with the last parenthesis.
            let rest = text.rsplit_once(')').ok_or(Errno::ESRCH)?.1;
            self.space.stat = Some(rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect());
        }
        self.space.stat.as_ref().and_then(|fields| fields.get(n - 3).copied()).ok_or(Errno::ESRCH)
    }

    fn maps(&mut self) -> Result<&File, Errno> {
        if self.space.maps.is_none() {
            self.space.maps = Some(self.open_below("maps", OFlag::O_RDONLY)?);
        }
        self.space.maps.as_ref().ok_or(Errno::ESRCH)
    }

    /// Begin and end of the mapping that an address lies in.
    fn mapping(&mut self, at: u64) -> Result<Option<(u64, u64)>, Errno> {
        if let Some(found) = memory::mapping(self.maps()?.as_fd(), at) {
            return Ok(found);
        }
        let mut all = self.mappings()?.into_iter().map(|(start, end, _)| (start, end));
        Ok(all.find(|&(start, end)| (start..end).contains(&at)))
    }

    /// Mappings of proc_pid_maps(5): start, end, whether writable.
    fn mappings(&mut self) -> Result<Vec<(u64, u64, bool)>, Errno> {
        Ok(parse_maps(&self.read_below("maps")?))
    }

    /// The guest's memory, pinned: a descriptor of this address space and no other, of which
    /// `len` bytes from `at` may be written. Writing there ignores page protections, which are
    /// therefore looked up.
    pub(super) fn writable(&mut self, at: GuestPtr, len: u64) -> Result<&File, Errno> {
        let writable = match memory::is_writable(self.maps()?.as_fd(), at.0, len) {
            Some(writable) => writable,
            None => is_writable(&self.mappings()?, at.0, len),
        };
        if !writable {
            return Err(Errno::EFAULT);
        }
        if self.space.memory.is_none() {
            self.space.memory = Some(self.open_below("mem", OFlag::O_RDWR)?);
        }
        self.still_there()?;
        self.space.memory.as_ref().ok_or(Errno::ESRCH)
    }
}

/// start, end and writability of each line of proc_pid_maps(5).
pub(super) fn parse_maps(text: &str) -> Vec<(u64, u64, bool)> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let hex = |s| u64::from_str_radix(s, 16).ok();
        Some((hex(start)?, hex(end)?, rest.as_bytes().get(1) == Some(&b'w')))
    };
    text.lines().filter_map(parse).collect()
}

/// Whether `len` bytes from `at` all lie in writable mappings.
pub(super) fn is_writable(mappings: &[(u64, u64, bool)], at: u64, len: u64) -> bool {
    let Some(end) = at.checked_add(len) else { return false };
    let mut next = at;
    for &(start, stop, writable) in mappings {
        if next >= end {
            break;
        }
        if (start..stop).contains(&next) {
            if !writable {
                return false;
            }
            next = stop;
        }
    }
    next >= end
}

impl Program {
    /// From its file's first page.
    pub(super) fn read(exe: &File) -> Result<Self, Errno> {
        use goblin::container::{Container, Ctx, Endian};
        use goblin::elf::{Elf, ProgramHeader, header, program_header};

        let mut head = vec![0; 4096];
        let got = exe.read_at(&mut head, 0).map_err(|e| gone(&e))?;
        head.truncate(got);
        let elf = Elf::parse_header(&head).map_err(|_| Errno::ENOEXEC)?;
        let is_32bit = elf.e_ident[header::EI_CLASS] == header::ELFCLASS32;
        let container = if is_32bit { Container::Little } else { Container::Big };
        let table = usize::try_from(elf.e_phoff).map_err(|_| Errno::ENOEXEC)?;
        let ctx = Ctx::new(container, Endian::Little);
        let segments = ProgramHeader::parse(&head, table, usize::from(elf.e_phnum), ctx);
        let segments = segments.map_err(|_| Errno::ENOEXEC)?;
        let loaded = segments.iter().filter(|s| s.p_type == program_header::PT_LOAD);
        let end = loaded.map(|s| s.p_vaddr.wrapping_add(s.p_memsz)).max().ok_or(Errno::ENOEXEC)?;
        let entry = (elf.e_type == header::ET_DYN).then_some(elf.e_entry);
        Ok(Self { end, entry })
    }

    /// Where it ends in memory: moved by as much as its entry was (AT_ENTRY of getauxval(3)). `auxv` opens
    /// /proc/PID/auxv.
    pub(super) fn end_at(
        self,
        is_32bit: bool,
        auxv: impl FnOnce() -> Result<File, Errno>,
    ) -> Result<u64, Errno> {
        let Some(entry) = self.entry else { return Ok(self.end) };
        let mut bytes = Vec::new();
        auxv()?.read_to_end(&mut bytes).map_err(|e| gone(&e))?;
        let entered = auxv_entry(&bytes, is_32bit).ok_or(Errno::ENOEXEC)?;
        Ok(self.end.wrapping_add(entered.wrapping_sub(entry)))
    }
}

/// AT_ENTRY of an auxiliary vector with words of the guest's size.
pub(super) fn auxv_entry(bytes: &[u8], is_32bit: bool) -> Option<u64> {
    const AT_ENTRY: u64 = 9;
    let size = if is_32bit { 4 } else { 8 };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &b| word << 8 | u64::from(b));
    bytes
        .chunks_exact(2 * size)
        .map(|pair| (word(&pair[..size]), word(&pair[size..])))
        .find(|&(key, _)| key == AT_ENTRY)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_ranges_may_span_mappings() {
        let maps =
            parse_maps("1000-2000 rw-p 0 0:0 0\n2000-3000 rw-p 0\n3000-4000 r--p 0\n5000-6000 rw-p 0\n");
        assert!(is_writable(&maps, 0x1800, 0x1000));
        assert!(!is_writable(&maps, 0x2fff, 2));
        assert!(!is_writable(&maps, 0x5fff, 2));
        assert!(!is_writable(&maps, u64::MAX, 2));
        assert!(is_writable(&maps, 0x5fff, 1));
    }

    #[test]
    fn entries_of_both_sizes() {
        let mut narrow = Vec::new();
        for word in [6u32, 4096, 9, 0x8048000, 0, 0] {
            narrow.extend(word.to_le_bytes());
        }
        assert_eq!(auxv_entry(&narrow, true), Some(0x8048000));
        let wide: Vec<u8> = [9u64, 0x40_1000, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(auxv_entry(&wide, false), Some(0x40_1000));
    }
}
