//! What is told of files: statx(2), fstatfs(2), and getdents64(2) as the kernel answers 32-bit programs.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

/// `struct statx` of the file at `path` below `dir`, or of `dir` where it is empty; a link is followed.
pub fn statx(dir: BorrowedFd<'_>, path: &CStr, mask: u32) -> Result<[u8; 256], Errno> {
    #[repr(C, align(8))]
    struct Buffer([u8; 256]);
    let mut buffer = Buffer([0; 256]);
    let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT;
    let to = buffer.0.as_mut_ptr();
    // SAFETY: the path is NUL-terminated, and the buffer has the size and alignment of a statx.
    check(unsafe { libc::syscall(libc::SYS_statx, dir.as_raw_fd(), path.as_ptr(), flags, mask, to) })?;
    Ok(buffer.0)
}

/// The eleven words of `struct statfs` that are used, in their order, of the file system of `fd`.
pub fn statfs(fd: BorrowedFd<'_>) -> Result<[u64; 11], Errno> {
    let mut words = [0u64; 15];
    const { assert!(size_of::<libc::statfs>() == size_of::<[u64; 15]>()) };
    // SAFETY: the buffer has the size and alignment of a statfs.
    check(unsafe { libc::syscall(libc::SYS_fstatfs, fd.as_raw_fd(), words.as_mut_ptr()) })?;
    Ok(std::array::from_fn(|i| words[i]))
}

/// Memory below 4 GiB, as a 32-bit call can be given.
struct Low {
    at: *mut libc::c_void,
    len: usize,
}

impl Low {
    fn new(len: usize) -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new anonymous mapping at a place that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self { at, len }) }
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and not used after it.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

/// getdents64(2) of i386.
pub const I386_GETDENTS64: u32 = 220;

/// Up to `room` bytes of `struct linux_dirent64` from the open directory `fd`, asked for with the i386 call,
/// so that positions have the 32 bits that such programs can hold (ext4 hashes names into positions of 63
/// bits for others). Only for hosts that run i386 programs: where the kernel has IA32_EMULATION off, the call
/// is fatal.
pub fn list_as_i386(fd: BorrowedFd<'_>, room: usize) -> Result<Vec<u8>, Errno> {
    let memory = Low::new(room.max(1))?;
    let mut result = i64::from(I386_GETDENTS64);
    // SAFETY: getdents64 writes at most `room` bytes to `memory`, which is that large and lies below 4 GiB.
    // rbx, which the compiler keeps to itself, is put back; the kernel may clear r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd.as_raw_fd()) => _,
            inout("rax") result,
            in("rcx") memory.at,
            in("rdx") room,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // eax is the answer; whether the upper half is its sign, the kernel does not say.
    let result = result as i32;
    let len = usize::try_from(result).map_err(|_| Errno::from_raw(result.wrapping_neg()))?;
    // SAFETY: the kernel has just filled `len` bytes, no more than `room`.
    let filled = unsafe { std::slice::from_raw_parts(memory.at.cast::<u8>(), len.min(room)) };
    Ok(filled.to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_told_of_a_folder_is_true() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let open = File::open(folder.path()).unwrap();
        let told = statx(open.as_fd(), c"", 0x7ff).unwrap();
        assert_eq!(u64::from_le_bytes(told[32..40].try_into().unwrap()), open.metadata().unwrap().ino());
        let words = statfs(open.as_fd()).unwrap();
        let nix = nix::sys::statfs::fstatfs(&open).unwrap();
        assert_eq!([words[0] as i64, words[2] as i64], [nix.filesystem_type().0, nix.blocks() as i64]);
        assert_eq!(words[8], nix.maximum_name_length() as u64);
    }

    #[test]
    fn a_folder_is_listed_as_for_i386() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..100 {
            File::create(folder.path().join(format!("name{i}"))).unwrap();
        }
        let open = File::open(folder.path()).unwrap();
        let mut names = 0;
        loop {
            let bytes = list_as_i386(open.as_fd(), 400).unwrap();
            let mut rest = &bytes[..];
            while let [_, _, _, _, _, _, _, _, position @ ..] = rest {
                let position = i64::from_le_bytes(position[..8].try_into().unwrap());
                assert!((0..1 << 32).contains(&position), "{position:#x}");
                names += 1;
                rest = &rest[usize::from(u16::from_le_bytes([rest[16], rest[17]]))..];
            }
            if bytes.is_empty() {
                break;
            }
        }
        assert_eq!(names, 102);
        assert_eq!(list_as_i386(File::open("/dev/null").unwrap().as_fd(), 400), Err(Errno::ENOTDIR));
    }
}
