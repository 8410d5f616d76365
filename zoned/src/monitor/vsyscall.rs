//! Uses of the vsyscall page in the files that a guest maps, and their rewriting in its memory.
//!
//! What is rewritten in data is what the loader took for a program's or library's own: a file that a debugger or a
//! linker maps to look at it stays as it is.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, PoisonError};

use brands::vsyscall::{self, CONTEXT, Site};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::ProgramHeader;
use goblin::elf::header::{EI_CLASS, ELFCLASS64, EM_X86_64};
use goblin::elf::program_header::{PF_X, PT_LOAD};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::stubs;
use crate::sys::ptrace::{self, Stop};

/// Files above this are not searched.
const LARGEST: u64 = 256 << 20;

/// As many files are remembered.
const MOST_FILES: usize = 4096;

/// A file with more uses was made by no compiler, and is taken for one without. Of all files together sixteen times as
/// many are remembered.
const MOST_USES: usize = 1 << 16;

/// As many segments of a file are looked at; linkers make a dozen.
const MOST_SEGMENTS: u16 = 128;

const WINDOW: usize = 256 * 1024;

/// What tells a file's content from another's: device, inode, size, times of change.
type Key = (u64, u64, u64, (i64, i64), (i64, i64));

/// Files whose uses of the page are known.
#[derive(Debug, Default)]
pub struct Files {
    known: Mutex<HashMap<Key, Arc<Program>>>,
}

/// What is known of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    sites: Vec<Site>,
    has_words: bool,
    segments: Vec<Segment>,
}

/// A part of a file that is loaded (PT_LOAD).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    offset: u64,
    end: u64,
    /// Address less offset.
    delta: u64,
    is_code: bool,
}

impl Files {
    /// Whether a file that a link of /proc leads to has what [`rewrite`] looks for in code, or only in data.
    pub(super) fn is_to_be_rewritten(&self, link: &str, is_code: bool) -> bool {
        self.program(link).is_some_and(|program| program.has_words || is_code && !program.sites.is_empty())
    }

    /// The uses in the file that a link of /proc leads to; `None` where it cannot be searched.
    fn program(&self, link: &str) -> Option<Arc<Program>> {
        // Nothing but a regular file is opened: to open a device can do things.
        let path = open(link, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let path = File::from(path);
        let meta = path.metadata().ok()?;
        // Those of proc(5) have no size, and some no end.
        if !meta.is_file() || meta.len() == 0 || meta.len() > LARGEST {
            return None;
        }
        let changed = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        let key = (meta.dev(), meta.ino(), meta.len(), changed.0, changed.1);
        if let Some(program) = self.lock().get(&key) {
            return Some(Arc::clone(program));
        }
        let file = File::open(format!("/proc/self/fd/{}", path.as_raw_fd())).ok()?;
        let program = Arc::new(Program::of(&file).ok()?);
        let mut known = self.lock();
        let uses: usize = known.values().map(|program| program.sites.len()).sum();
        if known.len() >= MOST_FILES || uses + program.sites.len() > 16 * MOST_USES {
            known.clear();
        }
        known.insert(key, Arc::clone(&program));
        Some(program)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Program>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Program {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        // What is no program at all may hold code that somebody maps.
        let segments = match elf(file) {
            Elf::Amd64(segments) => segments,
            Elf::Other => return Ok(Self::default()),
            Elf::None => Vec::new(),
        };
        let sites = search(file.take(LARGEST))?;
        let has_words = !segments.is_empty() && sites.iter().any(|site| !site.form.is_code());
        Ok(Self { sites, has_words, segments })
    }
}

/// The uses in all that `from` gives.
fn search(mut from: impl Read) -> io::Result<Vec<Site>> {
    let mut sites = Vec::new();
    let mut bytes = vec![0; WINDOW];
    // How much of `bytes` was read, and where in the file they begin: at a multiple of 8.
    let (mut filled, mut start) = (0, 0);
    loop {
        let got = from.read(&mut bytes[filled..])?;
        filled += got;
        if got > 0 && filled < bytes.len() {
            continue;
        }
        // What an address stands in is seen from its context; the last ones are looked at with what follows.
        let passed = filled.saturating_sub(2 * CONTEXT) / 8 * 8;
        let first = if start == 0 { 0 } else { CONTEXT };
        let end = if got == 0 { filled } else { passed + CONTEXT };
        vsyscall::sites(&bytes[..filled], &mut |site| {
            if (first..end).contains(&site.address_offset()) {
                sites.push(Site { offset: start + site.offset, ..site });
            }
        });
        if sites.len() > MOST_USES {
            return Ok(Vec::new());
        }
        if got == 0 {
            return Ok(sites);
        }
        bytes.copy_within(passed..filled, 0);
        start += passed;
        filled -= passed;
    }
}

/// What a file is for the kernel.
#[derive(Debug, PartialEq, Eq)]
enum Elf {
    /// Of this processor in 64 bits, with what is loaded of it.
    Amd64(Vec<Segment>),
    /// Of another, or of no sense.
    Other,
    /// No ELF file.
    None,
}

fn elf(file: &File) -> Elf {
    const HEADER: usize = 64;
    let mut head = [0; HEADER];
    // One that is shorter is no program either.
    match file.read_exact_at(&mut head, 0) {
        Ok(()) if head.starts_with(b"\x7fELF") => segments(file, &head).map_or(Elf::Other, Elf::Amd64),
        _ => Elf::None,
    }
}

fn segments(file: &File, head: &[u8]) -> Option<Vec<Segment>> {
    const ENTRY: usize = 56;
    let header = goblin::elf::Elf::parse_header(head).ok()?;
    let is_amd64 = header.e_machine == EM_X86_64 && header.e_ident[EI_CLASS] == ELFCLASS64;
    if !is_amd64 || header.e_phnum > MOST_SEGMENTS {
        return None;
    }
    let count = usize::from(header.e_phnum);
    let mut table = vec![0; count * ENTRY];
    file.read_exact_at(&mut table, header.e_phoff).ok()?;
    let table = ProgramHeader::parse(&table, 0, count, Ctx::new(Container::Big, Endian::Little)).ok()?;
    let segment = |header: ProgramHeader| Segment {
        offset: header.p_offset,
        end: header.p_offset.saturating_add(header.p_filesz),
        delta: header.p_vaddr.wrapping_sub(header.p_offset),
        is_code: header.p_flags & PF_X != 0,
    };
    Some(table.into_iter().filter(|header| header.p_type == PT_LOAD).map(segment).collect())
}

/// Part of a file in a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    start: u64,
    len: u64,
    /// Where in the file it begins.
    offset: u64,
    is_code: bool,
    /// Device and inode, as the kernel writes them.
    file: (&'a str, &'a str),
}

impl<'a> Mapping<'a> {
    /// A line of proc_pid_maps(5) that is a private mapping of a file which can be used.
    fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (range, rights, offset, dev, inode) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if rights.starts_with("---") || rights.as_bytes().get(3) != Some(&b'p') || inode == "0" {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let start = hex(start)?;
        Some(Self {
            start,
            len: hex(end)?.checked_sub(start)?,
            offset: hex(offset)?,
            is_code: rights.as_bytes().get(2) == Some(&b'x'),
            file: (dev, inode),
        })
    }

    /// Address of a use that lies in the mapping.
    fn address(&self, site: &Site) -> Option<u64> {
        let at = (site.offset as u64).checked_sub(self.offset)?;
        (at + site.form.size() as u64 <= self.len).then(|| self.start + at)
    }
}

/// A program or library, and how far from the addresses that it names it was loaded.
#[derive(Debug)]
struct Loaded {
    program: Arc<Program>,
    by: Vec<u64>,
}

impl Loaded {
    /// Notes that part of the program was mapped as code.
    fn add(&mut self, mapping: &Mapping<'_>) {
        let begins_in = |segment: &&Segment| {
            segment.is_code && (segment.offset & !0xfff..segment.end).contains(&mapping.offset)
        };
        let delta = mapping.start.wrapping_sub(mapping.offset);
        let segments = self.program.segments.iter().filter(begins_in);
        self.by.extend(segments.map(|segment| delta.wrapping_sub(segment.delta)));
    }

    /// Whether data of the program lies where its loader puts it.
    fn is_own(&self, site: &Site, address: u64) -> bool {
        let (from, to) = (site.offset as u64, (site.offset + site.form.size()) as u64);
        let delta = address.wrapping_sub(from);
        let mut segments = self.program.segments.iter().filter(|s| s.offset <= from && to <= s.end);
        segments.any(|segment| self.by.contains(&delta.wrapping_sub(segment.delta)))
    }
}

/// The uses in what is mapped, at their addresses; of one file alone where an address in it is given. `search` gives what
/// is known of a mapping's file.
pub(super) fn uses(
    maps: &str,
    of: Option<u64>,
    mut search: impl FnMut(&Mapping<'_>) -> Option<Arc<Program>>,
) -> Vec<(u64, Site)> {
    let mut mappings: Vec<_> = maps.lines().filter_map(Mapping::of).collect();
    if let Some(address) = of {
        let there = |mapping: &&Mapping<'_>| address.wrapping_sub(mapping.start) < mapping.len;
        let file = mappings.iter().find(there).map(|mapping| mapping.file);
        mappings.retain(|mapping| Some(mapping.file) == file);
    }
    let mut loaded: HashMap<(&str, &str), Option<Loaded>> = HashMap::new();
    for mapping in mappings.iter().filter(|mapping| mapping.is_code) {
        let loaded = loaded.entry(mapping.file).or_insert_with(|| {
            let program = search(mapping).filter(|program| !program.sites.is_empty())?;
            Some(Loaded { program, by: Vec::new() })
        });
        if let Some(loaded) = loaded {
            loaded.add(mapping);
        }
    }
    let mut uses = Vec::new();
    for mapping in &mappings {
        let Some(Some(loaded)) = loaded.get(&mapping.file) else { continue };
        let found = loaded.program.sites.iter().filter_map(|site| {
            let address = mapping.address(site)?;
            let counts = if site.form.is_code() { mapping.is_code } else { loaded.is_own(site, address) };
            counts.then_some((address, *site))
        });
        uses.extend(found.take(MOST_USES - uses.len()));
    }
    uses
}

/// Rewrites the uses of the page in all that a stopped task has mapped, and that still are what they were. Of a task that
/// stands at the end of mmap, in the file that it mapped: what its other threads have mapped, they may be unmapping.
pub(super) fn rewrite(files: &Files, stop: &mut Stop) -> io::Result<()> {
    let task = stop.task().ok_or(Errno::ESRCH)?;
    let mapped = match stop {
        Stop::Executed(_) => None,
        _ => Some(ptrace::registers(task)?.rax),
    };
    let maps = std::fs::read_to_string(format!("/proc/{task}/maps"))?;
    let mut uses = uses(&maps, mapped, |mapping| {
        let (start, end) = (mapping.start, mapping.start + mapping.len);
        files.program(&format!("/proc/{task}/map_files/{start:x}-{end:x}"))
    });
    if uses.is_empty() {
        return Ok(());
    }
    let memory = File::options().read(true).write(true).open(format!("/proc/{task}/mem"))?;
    uses.retain(|(address, site)| {
        let mut there = [0; 9];
        let len = site.form.size();
        memory.read_exact_at(&mut there[..len], *address).is_ok() && there == site.original()
    });
    let needs_page = uses.iter().any(|(_, site)| site.form.needs_page()) && !serves_page(task);
    let page = if needs_page { stubs::place(stop, &memory).map(Some) } else { Ok(None) };
    for (address, site) in uses {
        let place = match page {
            Ok(Some(place)) => place,
            _ if site.form.needs_page() => continue,
            _ => 0,
        };
        // Past the page's protection, as a debugger sets a breakpoint; the page becomes private. Another thread may
        // have unmapped it meanwhile.
        let _ = memory.write_all_at(&site.rewritten(place)[..site.form.size()], address);
    }
    page.map(|_| ())
}

/// Whether a task runs programs that it answers the page's calls of itself, known by its addresses, and that it lets jump
/// into nothing else that it has not mapped. So does valgrind, and nobody else that we know of.
fn serves_page(task: Pid) -> bool {
    let exe = std::fs::read_link(format!("/proc/{task}/exe"));
    exe.is_ok_and(|exe| exe.parent().is_some_and(|folder| folder.ends_with("valgrind")))
}

#[cfg(test)]
mod tests {
    use brands::vsyscall::{Form, Function};

    use super::*;

    fn site(offset: usize, form: Form) -> Site {
        Site { offset, function: Function::Time, form }
    }

    #[test]
    fn uses_are_found_across_reads() {
        for form in [Form::Call, Form::Tail, Form::Immediate, Form::Wide, Form::Word] {
            for at in
                [0, WINDOW - 40, WINDOW - 24, WINDOW - 16, WINDOW - 8, WINDOW, WINDOW + 8, 2 * WINDOW - 8]
            {
                for more in [0, 1, 3, 4, 7] {
                    let at = if form == Form::Word { at } else { at + more };
                    let mut bytes = vec![0x90; 2 * WINDOW + 32];
                    let before: &[u8] = match form {
                        Form::Immediate => &[0x48, 0xc7, 0x84, 0x24, 0, 1, 0, 0],
                        Form::Wide => &[0x49, 0xba],
                        _ => &[],
                    };
                    bytes[at..at + before.len()].copy_from_slice(before);
                    let own = site(at + before.len(), form);
                    bytes[own.offset..own.offset + form.size()]
                        .copy_from_slice(&own.original()[..form.size()]);
                    assert_eq!(search(&bytes[..]).unwrap(), [own], "{at}");
                }
            }
        }
    }

    #[test]
    fn a_file_of_nothing_else_is_no_program() {
        let word = site(0, Form::Word).original();
        let bytes = word[..8].repeat(MOST_USES + 1);
        assert_eq!(search(&bytes[..]).unwrap(), []);
        assert_eq!(search(&bytes[8..]).unwrap().len(), MOST_USES);
    }

    #[test]
    fn private_mappings_of_files_are_told_from_other_memory() {
        let line = "00400000-00401000 r-xp 00002000 08:01 77   /bin/true";
        let mapping =
            Mapping { start: 0x400000, len: 0x1000, offset: 0x2000, is_code: true, file: ("08:01", "77") };
        assert_eq!(Mapping::of(line), Some(mapping));
        let data = Mapping { is_code: false, ..mapping };
        assert_eq!(Mapping::of("00400000-00401000 r--p 00002000 08:01 77   /bin/true"), Some(data));
        for other in [
            "00400000-00401000 ---p 00002000 08:01 77   /bin/true",
            "00400000-00401000 r-xs 00002000 08:01 77   /bin/true",
            "7ff000000000-7ff000001000 r-xp 00000000 00:00 0   [vdso]",
            "nonsense",
            "",
        ] {
            assert_eq!(Mapping::of(other), None, "{other}");
        }
    }

    #[test]
    fn hostile_headers_are_no_program() {
        let mut head = std::fs::read("/proc/self/exe").unwrap();
        head.truncate(8192);
        let path = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(path.path(), bytes).unwrap();
            elf(&File::open(path.path()).unwrap())
        };
        assert!(matches!(read(&head), Elf::Amd64(segments) if segments.len() > 1));
        assert_eq!(read(&[]), Elf::None);
        assert_eq!(read(&head[1..]), Elf::None);
        // Another class, another machine, a table beyond the end, too long a one.
        for (at, bytes) in [(4, &[1][..]), (18, &[183]), (32, &[0xff; 8]), (56, &[0xff, 0xff])] {
            let mut head = head.clone();
            head[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(read(&head), Elf::Other, "{at}");
        }
        // Segments that wrap around are compared and nothing else.
        let segment = Segment { offset: u64::MAX - 8, end: u64::MAX, delta: u64::MAX, is_code: true };
        let program = Program { segments: vec![segment; 3], ..(*library()).clone() };
        let maps = "00001000-ffffffffffffffff r-xp ffffffffffffff00 00:00 1 a\n0-1 r-xp ffffffffffffffff 00:00 1 a\n";
        uses(maps, None, |_| Some(Arc::new(program.clone())));
        uses("ff-1 r-xp 0 00:00 1 a", Some(u64::MAX), |_| Some(library()));
    }

    /// A library with code at 0 and data at 0x2000, which belongs 0x200000 further up, as binutils laid them out.
    fn library() -> Arc<Program> {
        let segment = |offset, end, delta, is_code| Segment { offset, end, delta, is_code };
        Arc::new(Program {
            sites: vec![
                site(0x100, Form::Immediate),
                site(0x800, Form::Word),
                site(0x2100, Form::Word),
                site(0x5000, Form::Word),
            ],
            has_words: true,
            segments: vec![segment(0, 0x1800, 0, true), segment(0x2010, 0x2800, 0x200000, false)],
        })
    }

    fn found(maps: &str) -> Vec<(u64, usize)> {
        found_at(maps, None)
    }

    fn found_at(maps: &str, of: Option<u64>) -> Vec<(u64, usize)> {
        uses(maps, of, |_| Some(library())).into_iter().map(|(at, site)| (at, site.offset)).collect()
    }

    #[test]
    fn data_is_rewritten_where_its_loader_put_it() {
        let code = "7f0000000000-7f0000002000 r-xp 00000000 08:01 77 /lib/a\n";
        let data = "7f0000202000-7f0000203000 rw-p 00002000 08:01 77 /lib/a\n";
        let in_code = [(0x7f00_0000_0100, 0x100), (0x7f00_0000_0800, 0x800)];
        assert_eq!(found(code), in_code);
        let all = [&in_code[..], &[(0x7f00_0020_2100, 0x2100)]].concat();
        assert_eq!(found(&format!("{code}{data}")), all);
        // Before the data is put in its place, all of the file lies there as code.
        assert_eq!(found("7f0000000000-7f0000203000 r-xp 00000000 08:01 77 /lib/a\n"), in_code);
        // A linker looks at it; another file; nobody executes it.
        let seen = "7f0000300000-7f0000306000 r--p 00000000 08:01 77 /lib/a\n";
        assert_eq!(found(&format!("{code}{data}{seen}")), all);
        assert_eq!(found(&format!("{code}{}", data.replace(" 77 ", " 78 "))), in_code);
        assert_eq!(found(&format!("{seen}{data}")), []);
        // Loaded twice, as dlmopen(3) does.
        let twice = format!("{code}{data}{}", format!("{code}{data}").replace("7f00", "7e00"));
        assert_eq!(found(&twice).len(), 6);
        // By one of its mappings; by what is none.
        let two = format!("{code}{}", code.replace("7f00", "7e00").replace(" 77 ", " 78 "));
        assert_eq!(found(&two).len(), 4);
        assert_eq!(found_at(&two, Some(0x7f00_0000_0000)), in_code);
        assert_eq!(found_at(&format!("{code}{data}"), Some(0x7f00_0020_2fff)), all);
        assert_eq!(found_at(&two, Some(0x7f00_0000_2000)), []);
        assert_eq!(found_at(&two, Some(-12_i64 as u64)), []);
    }
}
