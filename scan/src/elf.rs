//! Reads an ELF file by its program headers alone: sections may be stripped, and a hostile file may have any.

use std::collections::BTreeMap;
use std::ops::Range;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{
    DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_VERNEED, Dyn,
};
use goblin::elf::header::{ELFCLASS32, ELFCLASS64, ELFDATA2LSB};
use goblin::elf::program_header::{PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader};
use goblin::elf::{Elf, Header};
use serde::Serialize;

use crate::calls::{self, Calls};
use crate::libc::{self, Libc};
use crate::version::Version;
use crate::vsyscall::{self, Vsyscall};

/// No linker makes as many; e_phnum has room for 65535.
const MOST_HEADERS: usize = 256;
/// The same of entries of a table within the file.
const MOST_ENTRIES: usize = 4096;

/// What a program is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 32-bit x86.
    I686,
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// Another: e_machine, and whether it is big-endian.
    Other(u16, bool),
}

impl Machine {
    /// As `uname -m` says it, as far as known.
    pub fn name(self) -> String {
        let Self::Other(number, big) = self else {
            return match self {
                Self::I686 => "i686",
                Self::X32 => "x32",
                _ => "x86_64",
            }
            .to_owned();
        };
        let known = match number {
            2 | 18 | 43 => "sparc",
            4 => "m68k",
            8 if big => "mips",
            8 => "mipsel",
            15 => "parisc",
            20 => "ppc",
            21 if big => "ppc64",
            21 => "ppc64le",
            22 => "s390x",
            40 => "arm",
            42 => "sh4",
            50 => "ia64",
            183 => "aarch64",
            243 => "riscv",
            258 => "loongarch",
            0x9026 => "alpha",
            _ => return format!("machine number {number}"),
        };
        known.to_owned()
    }

    /// The name of its calling convention.
    pub fn abi(self) -> String {
        match self {
            Self::I686 => "i386".to_owned(),
            Self::X86_64 => "amd64".to_owned(),
            other => other.name(),
        }
    }

    /// From the first bytes of a file; none where that is no ELF file.
    pub fn of(head: &[u8]) -> Option<Self> {
        let field = |at: usize, big: bool| {
            let bytes = [*head.get(at)?, *head.get(at + 1)?];
            Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        if !head.starts_with(b"\x7fELF") {
            return None;
        }
        let (class, big) = (*head.get(4)?, *head.get(5)? == 2);
        Some(match (field(18, big)?, class, big) {
            // 6 was the 486's own number, for a while.
            (3 | 6, 1, false) => Self::I686,
            (62, 2, false) => Self::X86_64,
            (62, 1, false) => Self::X32,
            (other, _, big) => Self::Other(other, big),
        })
    }
}

/// How a file is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Linkage {
    /// A program that needs no other file.
    Static,
    /// A program that a loader starts.
    Dynamic,
    /// A library.
    Library,
    /// Not for execution: a relocatable object, a module, a core dump.
    Object,
}

/// What is in an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// `i386`, `amd64`, `x32`, or another machine's name.
    pub abi: String,
    /// How it is put together.
    pub linkage: Linkage,
    /// The loader that it names.
    pub interpreter: Option<String>,
    /// The C library that it is or needs, as far as it can be told.
    pub libc: Option<Libc>,
    /// Libraries that it needs.
    pub needed: Vec<String>,
    /// The oldest kernel that it runs on, by its own .note.ABI-tag.
    pub kernel: Option<Version>,
    /// The highest version that it needs of each set of symbols: GLIBC is 2.17.
    pub symbols: BTreeMap<String, Version>,
    /// Use of the vsyscall page, amd64 only.
    pub vsyscall: Vsyscall,
    /// System calls in the code of a static program.
    pub calls: Option<Calls>,
}

/// Reads `bytes`; none where that is no ELF file of sense. `name` is the file's own, without folders.
pub fn read(bytes: &[u8], name: &str) -> Option<Program> {
    let machine = Machine::of(bytes)?;
    let mut program = Program {
        abi: machine.abi(),
        linkage: Linkage::Object,
        interpreter: None,
        libc: None,
        needed: Vec::new(),
        kernel: None,
        symbols: BTreeMap::new(),
        vsyscall: Vsyscall::default(),
        calls: None,
    };
    let header = Elf::parse_header(bytes).ok()?;
    let image = Image::new(bytes, &header)?;
    if !matches!(header.e_type, goblin::elf::header::ET_EXEC | goblin::elf::header::ET_DYN) {
        return Some(program);
    }
    program.interpreter = image.of_type(PT_INTERP).next().map(|at| text(&bytes[at]));
    let dynamic = image.dynamic();
    let soname = dynamic.as_ref().and_then(|d| d.soname.clone());
    program.linkage = match (&program.interpreter, &dynamic) {
        // libc.so.6 and the loaders are programs too; they are for others to use.
        (Some(_), _) if soname.is_none() => Linkage::Dynamic,
        (_, Some(dynamic)) if soname.is_some() || !dynamic.needed.is_empty() => Linkage::Library,
        // A static program that may lie anywhere has a dynamic section, and says that it is no library.
        (_, Some(dynamic)) if !dynamic.is_program => Linkage::Library,
        _ => Linkage::Static,
    };
    if let Some(dynamic) = dynamic {
        program.needed = dynamic.needed;
        program.symbols = dynamic.symbols;
    }
    let notes = image.notes();
    program.kernel = notes.kernel;
    program.libc = libc::of(&program, name, bytes, notes.go);
    if machine == Machine::X86_64 {
        program.vsyscall = vsyscall::of(bytes);
    }
    if program.linkage == Linkage::Static {
        let bits = match machine {
            Machine::I686 => Some(32),
            Machine::X86_64 => Some(64),
            _ => None,
        };
        program.calls = bits.map(|bits| {
            let code = image.code().map(|(at, address)| (&bytes[at], address));
            calls::of(code, bits)
        });
    }
    Some(program)
}

/// Bytes as text, up to a zero byte and of a length that is fit to print.
fn text(bytes: &[u8]) -> String {
    let until = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()).min(256);
    crate::printable(&bytes[..until])
}

struct Image<'a> {
    bytes: &'a [u8],
    headers: Vec<ProgramHeader>,
    context: Ctx,
}

#[derive(Default)]
struct Dynamic {
    needed: Vec<String>,
    soname: Option<String>,
    /// DF_1_PIE of DT_FLAGS_1 (elf.h).
    is_program: bool,
    symbols: BTreeMap<String, Version>,
}

#[derive(Default)]
struct Notes {
    kernel: Option<Version>,
    go: bool,
}

impl<'a> Image<'a> {
    fn new(bytes: &'a [u8], header: &Header) -> Option<Self> {
        let container = match header.e_ident[4] {
            ELFCLASS32 => Container::Little,
            ELFCLASS64 => Container::Big,
            _ => return None,
        };
        let endian = if header.e_ident[5] == ELFDATA2LSB { Endian::Little } else { Endian::Big };
        let context = Ctx::new(container, endian);
        let count = usize::from(header.e_phnum);
        if count > MOST_HEADERS {
            return None;
        }
        let at = usize::try_from(header.e_phoff).ok()?;
        let size = if container.is_big() { 56 } else { 32 };
        if count > 0 && at.checked_add(count.checked_mul(size)?)? > bytes.len() {
            return None;
        }
        let headers = ProgramHeader::parse(bytes, at, count, context).ok()?;
        Some(Self { bytes, headers, context })
    }

    /// Where the segment lies in the file, as much of it as is there.
    fn range(&self, header: &ProgramHeader) -> Option<Range<usize>> {
        let from = usize::try_from(header.p_offset).ok()?;
        let len = usize::try_from(header.p_filesz).ok()?;
        let to = from.checked_add(len)?.min(self.bytes.len());
        (from < to).then_some(from..to)
    }

    fn of_type(&self, kind: u32) -> impl Iterator<Item = Range<usize>> {
        self.headers.iter().filter(move |h| h.p_type == kind).filter_map(|h| self.range(h))
    }

    fn code(&self) -> impl Iterator<Item = (Range<usize>, u64)> {
        let code = self.headers.iter().filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_X != 0);
        code.filter_map(|h| Some((self.range(h)?, h.p_vaddr)))
    }

    /// The file's bytes from an address of the loaded image on.
    fn at(&self, address: u64) -> Option<&'a [u8]> {
        let load = self.headers.iter().find(|h| {
            h.p_type == PT_LOAD && address.checked_sub(h.p_vaddr).is_some_and(|inside| inside < h.p_filesz)
        })?;
        let range = self.range(load)?;
        let skip = usize::try_from(address - load.p_vaddr).ok()?;
        self.bytes[range].get(skip..)
    }

    fn dynamic(&self) -> Option<Dynamic> {
        let section = &self.bytes[self.of_type(PT_DYNAMIC).next()?];
        let size = if self.context.is_big() { 16 } else { 8 };
        let mut entries: Vec<Dyn> = Vec::new();
        for chunk in section.chunks_exact(size).take(MOST_ENTRIES) {
            let (tag, value) = if size == 16 {
                (self.word(chunk, 0, 8)?, self.word(chunk, 8, 8)?)
            } else {
                (self.word(chunk, 0, 4)?, self.word(chunk, 4, 4)?)
            };
            if tag == 0 {
                break;
            }
            entries.push(Dyn { d_tag: tag, d_val: value });
        }
        let value = |tag| entries.iter().find(|e| e.d_tag == tag).map(|e| e.d_val);
        let strings = value(DT_STRTAB).and_then(|at| self.at(at)).unwrap_or_default();
        let length = value(DT_STRSZ).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let strings = &strings[..length.min(strings.len())];
        let name = |at: u64| {
            let found = strings.get(usize::try_from(at).ok()?..)?;
            Some(text(found)).filter(|name| !name.is_empty())
        };
        let needed = entries.iter().filter(|e| e.d_tag == DT_NEEDED).take(256);
        Some(Dynamic {
            needed: needed.filter_map(|e| name(e.d_val)).collect(),
            is_program: value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE != 0),
            soname: value(DT_SONAME).and_then(name),
            symbols: value(DT_VERNEED)
                .and_then(|at| self.at(at))
                .map(|table| self.versions(table, &name))
                .unwrap_or_default(),
        })
    }

    /// Walks Elf_Verneed and Elf_Vernaux (elf.h), which are the same in both classes.
    fn versions(&self, table: &[u8], name: &dyn Fn(u64) -> Option<String>) -> BTreeMap<String, Version> {
        let mut found: BTreeMap<String, Version> = BTreeMap::new();
        let (mut file, mut left) = (0usize, MOST_ENTRIES);
        let field = |at: usize, by: usize, size| self.word(table, at.checked_add(by)?, size);
        while let (Some(aux), Some(next)) = (field(file, 8, 4), field(file, 12, 4)) {
            let mut one = file.saturating_add(aux as usize);
            while let (Some(text), Some(step)) = (field(one, 8, 4), field(one, 12, 4)) {
                if let Some((set, version)) = name(text).as_deref().and_then(|n| n.split_once('_'))
                    && let Some(version) = Version::parse(version)
                {
                    let highest = found.entry(set.to_owned()).or_insert(version);
                    *highest = version.max(*highest);
                }
                left = left.saturating_sub(1);
                if step == 0 || left == 0 {
                    break;
                }
                one = one.saturating_add(step as usize);
            }
            left = left.saturating_sub(1);
            if next == 0 || left == 0 {
                break;
            }
            file = file.saturating_add(next as usize);
        }
        found
    }

    fn notes(&self) -> Notes {
        let mut notes = Notes::default();
        for segment in self.of_type(PT_NOTE) {
            let mut rest = &self.bytes[segment];
            for _ in 0..64 {
                let (Some(names), Some(size), Some(kind)) =
                    (self.word(rest, 0, 4), self.word(rest, 4, 4), self.word(rest, 8, 4))
                else {
                    break;
                };
                let body = 12usize.saturating_add((names as usize).next_multiple_of(4));
                let end = body.saturating_add((size as usize).next_multiple_of(4));
                let name = rest.get(12..12usize.saturating_add(names as usize)).unwrap_or_default();
                match (name, kind) {
                    // NT_GNU_ABI_TAG; the first word is the system, 0 is Linux (elf.h).
                    (b"GNU\0", 1) if self.word(rest, body, 4) == Some(0) => {
                        let part = |n: usize| self.word(rest, body.checked_add(4 * n)?, 4)?.try_into().ok();
                        if let (Some(a), Some(b), Some(c)) = (part(1), part(2), part(3)) {
                            notes.kernel = Some(Version([a, b, c]));
                        }
                    }
                    (b"Go\0\0", 4) => notes.go = true,
                    _ => {}
                }
                let Some(after) = rest.get(end..) else { break };
                rest = after;
            }
        }
        notes
    }

    fn word(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.context.is_little_endian() {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    }
}
