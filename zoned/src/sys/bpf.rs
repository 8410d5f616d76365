//! bpf(2): programs are loaded and attached to control groups.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::check;

/// Commands (linux/bpf.h).
const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const BTF_LOAD: libc::c_int = 18;

/// Beside programs that others attach, here and in groups above and below.
const ALLOW_MULTI: u32 = 1 << 1;

const MAP_TYPE_SK_STORAGE: u32 = 24;
const NO_PREALLOC: u32 = 1;

/// What a program is for: BPF_PROG_TYPE_*, and BPF_CGROUP_* where it will be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// BPF_PROG_TYPE_*
    pub program: u32,
    /// BPF_CGROUP_*
    pub attach: u32,
}

/// Why the kernel does not take a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its error.
    pub errno: Errno,
    /// The end of what its verifier says.
    pub verdict: String,
}

/// Loads a program of such instructions, under a name of up to 15 letters, digits and `_`.
pub fn load(kind: Kind, name: &str, program: &[u64]) -> Result<OwnedFd, Rejected> {
    match try_load(kind, name, program, &mut []) {
        Ok(fd) => Ok(fd),
        Err(errno) => {
            // To have the verdict written out each time would cost more than the load.
            let mut log = vec![0; 1 << 20];
            let _ = try_load(kind, name, program, &mut log);
            let text: Vec<u8> = log.into_iter().take_while(|byte| *byte != 0).collect();
            let text = String::from_utf8_lossy(&text);
            // Behind it stands how much work it was.
            let last = |line: &&str| !line.is_empty() && !line.starts_with("processed ");
            Err(Rejected { errno, verdict: text.lines().rfind(last).unwrap_or_default().to_owned() })
        }
    }
}

fn try_load(kind: Kind, name: &str, program: &[u64], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach: u32,
    }
    let mut short = [0; 16];
    let bytes = name.bytes().take(15);
    short.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let mut attributes = Attributes {
        program: kind.program,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel: 0,
        flags: 0,
        name: short,
        interface: 0,
        attach: kind.attach,
    };
    // SAFETY: the instructions, the license and the log are live and of the lengths that the attributes say; the log
    // alone is written to, and is borrowed mutably.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut attributes, size_of::<Attributes>())
    })?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a program to a control group, for as long as that exists.
pub fn attach(group: BorrowedFd<'_>, program: BorrowedFd<'_>, kind: Kind) -> Result<(), Errno> {
    let attributes = [group.as_raw_fd() as u32, program.as_raw_fd() as u32, kind.attach, ALLOW_MULTI, 0];
    // SAFETY: the attributes are live integers, of which the kernel is told the size; it only reads them.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_ATTACH, attributes.as_ptr(), size_of_val(&attributes))
    })?;
    Ok(())
}

/// Makes a map that keeps a number of 32 bits with each socket (BPF_MAP_TYPE_SK_STORAGE).
pub fn socket_storage() -> Result<OwnedFd, Errno> {
    let number = number_type()?;
    // map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name in four words,
    // map_ifindex, btf_fd, btf_key_type_id, btf_value_type_id.
    let types = number.as_raw_fd() as u32;
    let attributes = [MAP_TYPE_SK_STORAGE, 4, 4, 0, NO_PREALLOC, 0, 0, 0, 0, 0, 0, 0, types, 1, 1, 0];
    // SAFETY: the attributes are live integers, of which the kernel is told the size; it only reads them.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_bpf, MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes))
    })?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A description of one type, `int` (Documentation/bpf/btf.rst), which such a map must have for its values.
fn number_type() -> Result<OwnedFd, Errno> {
    let mut bytes = Vec::new();
    // Magic, version, flags; length of the header; place and length of the types, and of the strings.
    bytes.extend(0xeb9f_u16.to_ne_bytes());
    bytes.extend([1, 0]);
    for word in [24_u32, 0, 16, 16, 5] {
        bytes.extend(word.to_ne_bytes());
    }
    // Its name's place; that it is an integer; its size; that it is signed and has 32 bits.
    for word in [1_u32, 1 << 24, 4, 1 << 24 | 32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(b"\0int\0");
    // btf, btf_log_buf, btf_size with btf_log_size, btf_log_level.
    let attributes = [bytes.as_ptr() as u64, 0, bytes.len() as u64, 0];
    // SAFETY: the description is live and of that length; the kernel only reads it and the attributes.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_bpf, BTF_LOAD, attributes.as_ptr(), size_of_val(&attributes))
    })?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_program_is_told_why() {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("SKIPPED: loading programs needs root");
            return;
        }
        // It ends without having said anything.
        let rejected = load(Kind { program: 8, attach: 0 }, "unit", &[0x95]).unwrap_err();
        assert!(rejected.verdict.contains("R0"), "{rejected:?}");
        // `r0 = 1; exit`
        load(Kind { program: 8, attach: 0 }, "unit", &[0x1_0000_00b7, 0x95]).unwrap();
        socket_storage().unwrap();
    }
}
