//! Notes of a program about kernels. The vDSO has one with the kernel's release, which C libraries ask before
//! uname(2) (glibc until 2.36, dl-sysdep): in a strict zone it is the level's. Programs and libraries have one with the
//! oldest kernel that they run on, .note.ABI-tag, below which glibc ends with "kernel too old".

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use brands::level::Level;
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::{Elf, ProgramHeader, header};
use nix::unistd::Pid;

/// As much of an image is looked at: where notes stand in the files of compilers, and the whole of a vDSO.
const HEAD: usize = 8192;

/// Most mappings of a program that are looked at.
const MOST_IMAGES: usize = 64;

/// Tells the vDSO of a stopped task `level` as the kernel's release, and gives the oldest kernel that the task's program
/// and its loader run on.
pub(super) fn tell(task: Pid, level: Level) -> io::Result<Option<Level>> {
    let maps = std::fs::read_to_string(format!("/proc/{task}/maps"))?;
    let memory = File::options().read(true).write(true).open(format!("/proc/{task}/mem"))?;
    let mut wanted = None;
    for (start, is_vdso) in images(&maps).take(MOST_IMAGES) {
        let mut head = vec![0; HEAD];
        // Less than that may be mapped.
        let got = memory.read_at(&mut head, start).or_else(|_| memory.read_at(&mut head[..HEAD / 2], start));
        head.truncate(got.unwrap_or(0));
        if is_vdso {
            if let Some(at) = find(&head, b"Linux\0", 0).filter(|at| at.len() == 4) {
                // Past the page's protection; the page becomes private.
                memory.write_all_at(&code(level).to_le_bytes(), start + at.start as u64)?;
            }
        } else if let Some(at) = find(&head, b"GNU\0", 1) {
            wanted = wanted.max(abi_tag(&head[at]));
        }
    }
    Ok(wanted)
}

/// Where files and the vDSO begin in memory, by the lines of proc_pid_maps(5).
pub(super) fn images(maps: &str) -> impl Iterator<Item = (u64, bool)> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let start = u64::from_str_radix(fields.next()?.split_once('-')?.0, 16).ok()?;
        let (offset, inode) = (fields.nth(1)?, fields.nth(1)?);
        let is_vdso = fields.next() == Some("[vdso]");
        let begins = inode != "0" && u64::from_str_radix(offset, 16) == Ok(0);
        (is_vdso || begins).then_some((start, is_vdso))
    })
}

/// LINUX_VERSION_CODE of linux/version.h.
fn code(level: Level) -> u32 {
    let [a, b, c] = level.numbers().map(u32::from);
    a << 16 | b << 8 | c.min(255)
}

/// The kernel of an ABI tag: the system, 0 for Linux, and three numbers.
pub(super) fn abi_tag(descriptor: &[u8]) -> Option<Level> {
    let word = |i: usize| Some(u32::from_le_bytes(descriptor.get(4 * i..4 * i + 4)?.try_into().ok()?));
    let number = |i| word(i).and_then(|n| u16::try_from(n).ok());
    (word(0)? == 0).then_some(())?;
    Some(Level::new(number(1)?, number(2)?, number(3)?))
}

/// The descriptor of the first note of that name and type in the head of an ELF image.
pub(super) fn find(head: &[u8], name: &[u8], kind: u32) -> Option<Range<usize>> {
    let elf = Elf::parse_header(head).ok()?;
    let container =
        if elf.e_ident[header::EI_CLASS] == header::ELFCLASS32 { Container::Little } else { Container::Big };
    let size = if container == Container::Little { 32 } else { 56 };
    let (table, count) = (usize::try_from(elf.e_phoff).ok()?, usize::from(elf.e_phnum));
    head.get(table..table.checked_add(count * size)?)?;
    let segments = ProgramHeader::parse(head, table, count, Ctx::new(container, Endian::Little)).ok()?;
    segments.iter().filter(|s| s.p_type == PT_NOTE).find_map(|segment| {
        let mut at = usize::try_from(segment.p_offset).ok()?;
        let end = at.checked_add(usize::try_from(segment.p_filesz).ok()?)?.min(head.len());
        let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?));
        while at < end {
            let (name_len, len) = (word(at)? as usize, word(at + 4)? as usize);
            let named = at.checked_add(12)?;
            let described = named.checked_add(name_len)?.checked_next_multiple_of(4)?;
            let after = described.checked_add(len)?;
            if after > end {
                return None;
            }
            if word(at + 8)? == kind && head.get(named..named.checked_add(name_len)?)? == name {
                return Some(described..after);
            }
            at = after.checked_next_multiple_of(4)?;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_and_the_vdso_begin_where_maps_say() {
        let maps = "08048000-0804a000 r-xp 00000000 08:01 77 /bin/x\n\
                    0804a000-0804b000 rw-p 00002000 08:01 77 /bin/x\n\
                    f7fc0000-f7fc4000 r--p 00000000 00:00 0 [vvar]\n\
                    f7fc4000-f7fc6000 r-xp 00000000 00:00 0 [vdso]\nnonsense\n";
        assert_eq!(images(maps).collect::<Vec<_>>(), [(0x0804_8000, false), (0xf7fc_4000, true)]);
    }

    #[test]
    fn this_programs_own_vdso_tells_this_kernel() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let (start, _) = images(&maps).find(|(_, is_vdso)| *is_vdso).unwrap();
        let mut head = vec![0; HEAD];
        File::open("/proc/self/mem").unwrap().read_at(&mut head, start).unwrap();
        let at = find(&head, b"Linux\0", 0).unwrap();
        let told = u32::from_le_bytes(head[at].try_into().unwrap());
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        assert_eq!(told >> 8, code(Level::of_host(&release)) >> 8);
    }

    #[test]
    fn this_programs_own_tag_is_found() {
        let mut head = vec![0; HEAD];
        File::open("/proc/self/exe").unwrap().read_at(&mut head, 0).unwrap();
        let at = find(&head, b"GNU\0", 1).unwrap();
        assert!(abi_tag(&head[at]).is_some_and(|level| level >= Level::new(2, 6, 0)));
    }

    proptest! {
        #[test]
        fn whatever_a_guest_maps_is_looked_through(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            offset in any::<u32>(), count in any::<u16>(), at in 0usize..80,
        ) {
            let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
            head.extend(&bytes);
            head.resize(400, 0);
            head[32..36].copy_from_slice(&offset.to_le_bytes());
            head[54..56].copy_from_slice(&56u16.to_le_bytes());
            head[56..58].copy_from_slice(&count.to_le_bytes());
            head[64 + at..68 + at].copy_from_slice(&4u32.to_le_bytes());
            if let Some(found) = find(&head, b"GNU\0", 1) {
                prop_assert!(found.end <= head.len());
            }
        }
    }
}
