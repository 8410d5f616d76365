//! mknod(2) of device nodes, which the kernel refuses in a user namespace.

use nix::errno::Errno;

use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::cond::{Cond, int};
use crate::task::{At, Task};

/// CAP_MKNOD of capabilities(7).
const CAP_MKNOD: u32 = 27;

/// File types of inode(7).
const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// AT_FDCWD of openat(2).
const AT_FDCWD: i32 = -100;

/// PATH_MAX of the kernel, the NUL included.
pub(super) const PATH_MAX: usize = 4096;

/// Nodes that reach nothing but the zone: null, zero, full, random, urandom, tty, console, ptmx.
const SAFE: &[(u32, u32)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];

const fn devices(mode: u8) -> [Cond; 2] {
    [int(mode).bits(S_IFMT as u64, S_IFCHR as u64), int(mode).bits(S_IFMT as u64, S_IFBLK as u64)]
}

/// The mknod calls that make a device; the others are the kernel's.
pub(super) const MKNOD_DEVICE: Cond = Cond::Any(&devices(1));

/// The same for mknodat.
pub(super) const MKNODAT_DEVICE: Cond = Cond::Any(&devices(2));

/// `mknod(path, mode, dev)`
pub(super) fn mknod(task: &mut dyn Task, call: &Call) -> Answered {
    make(task, At::Cwd, call.ptr(0), call.int(1) as u32, call.int(2) as u32)
}

/// `mknodat(dirfd, path, mode, dev)`. Since Linux 2.6.16.
pub(super) fn mknodat(task: &mut dyn Task, call: &Call) -> Answered {
    let at = match call.int(0) {
        AT_FDCWD => At::Cwd,
        fd => At::Fd(fd),
    };
    make(task, at, call.ptr(1), call.int(2) as u32, call.int(3) as u32)
}

fn make(task: &mut dyn Task, at: At, path: GuestPtr, mode: u32, dev: u32) -> Answered {
    let dev = decode(dev);
    // The kernel takes a `umode_t`, which has 16 bits.
    let mode = mode & 0xffff;
    // Whiteouts are everyone's to make since Linux 5.8, where the file system has them.
    if mode & S_IFMT == S_IFCHR && dev == (0, 0) {
        return Ok(Reply::Continue);
    }
    let allowed = mode & S_IFMT == S_IFCHR && SAFE.contains(&dev);
    if !allowed || task.ids()?.effective >> CAP_MKNOD & 1 == 0 {
        return Err(Errno::EPERM);
    }
    let path = task.read_cstr(path, PATH_MAX)?;
    task.mknod(at, &path, mode, dev)?;
    Ok(Reply::Value(0))
}

/// Major and minor of what a guest passes: eight bits of minor, twelve of major, and since Linux
/// 2.6 the rest of the minor above them. The 16 bits of older programs mean the same in it.
fn decode(dev: u32) -> (u32, u32) {
    ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;

    fn fake() -> Fake {
        let mut fake = Fake::linux(Some("2.6.18"), None);
        fake.put(AT, b"/dev/x\0");
        fake
    }

    fn ask(fake: &mut Fake, mode: u32, dev: u32) -> Answered {
        mknod(fake, &call(Abi::I386, "mknod", &[AT, mode.into(), dev.into()]))
    }

    #[test]
    fn safe_nodes_are_made() {
        let mut fake = fake();
        assert_eq!(ask(&mut fake, S_IFCHR | 0o666, 0x103), Ok(Reply::Value(0)));
        assert_eq!(fake.nodes, [(At::Cwd, b"/dev/x".to_vec(), S_IFCHR | 0o666, (1, 3))]);
    }

    #[test]
    fn mknodat_takes_a_directory() {
        let mut fake = fake();
        let at = |fd: i32| [fd as u32 as u64, AT, u64::from(S_IFCHR), 0x502];
        mknodat(&mut fake, &call(Abi::X86_64, "mknodat", &at(7))).unwrap();
        mknodat(&mut fake, &call(Abi::X86_64, "mknodat", &at(AT_FDCWD))).unwrap();
        assert_eq!(fake.nodes[0].0, At::Fd(7));
        assert_eq!(fake.nodes[1].0, At::Cwd);
        assert_eq!(fake.nodes[1].3, (5, 2));
    }

    #[test]
    fn other_nodes_and_other_users_are_refused() {
        let mut root = fake();
        // kmem; sda; null as a block device; a minor beyond 16 bits that ends like null's.
        for (mode, dev) in
            [(S_IFCHR, 0x102), (S_IFBLK, 0x800), (S_IFBLK, 0x103), (S_IFCHR, 0x10_0103), (S_IFBLK, 0)]
        {
            assert_eq!(ask(&mut root, mode, dev), Err(Errno::EPERM), "{mode:o} {dev:#x}");
        }
        let mut user = fake().unprivileged();
        assert_eq!(ask(&mut user, S_IFCHR, 0x103), Err(Errno::EPERM));
        assert!(root.nodes.is_empty() && user.nodes.is_empty());
    }

    #[test]
    fn whiteouts_are_the_kernels() {
        assert_eq!(ask(&mut fake(), S_IFCHR, 0), Ok(Reply::Continue));
    }

    #[test]
    fn bad_paths() {
        let mut fake = Fake::linux(Some("2.6.18"), None);
        assert_eq!(ask(&mut fake, S_IFCHR, 0x103), Err(Errno::EFAULT));
        fake.put(AT, &[b'x'; 5000]);
        assert_eq!(ask(&mut fake, S_IFCHR, 0x103), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn only_devices_are_notified() {
        for (mode, notified) in [
            (0o100_644, false),
            (0o010_644, false),
            (0o140_644, false),
            (0o644, false),
            (0o020_644, true),
            (0o060_644, true),
        ] {
            assert_eq!(MKNOD_DEVICE.holds(Abi::I386, &[0, mode, 0, 0, 0, 0]), notified, "{mode:o}");
            assert_eq!(MKNODAT_DEVICE.holds(Abi::I386, &[0, 0, mode, 0, 0, 0]), notified, "{mode:o}");
        }
    }

    #[test]
    fn device_numbers() {
        assert_eq!(decode(0x103), (1, 3));
        assert_eq!(decode(0x1234_5678), (0x456, 0x1_2378));
    }
}
