//! What strict zones answer to flags and operations, around the release that brought them: the facts that were once
//! wrong in the table, and some of each family. Their sources stand beside the rows.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, outside its function too")]

use brands::abi::Abi::{self, I386, X86_64};
use brands::call::Call;
use brands::engine::Compiled;
use brands::level::Level;
use brands::platform::Request;
use brands::table::{self, Answer};
use nix::errno::Errno::{self, *};

/// A call at two levels: the error, and none but the host's own.
type Fact = (Abi, &'static str, &'static [u64], Option<(&'static str, Errno)>, &'static str);

const fn fact(
    abi: Abi,
    name: &'static str,
    args: &'static [u64],
    then: (&'static str, Errno),
    since: &'static str,
) -> Fact {
    (abi, name, args, Some(then), since)
}

/// A call that no old kernel refused.
const fn ignored(abi: Abi, name: &'static str, args: &'static [u64], at: &'static str) -> Fact {
    (abi, name, args, None, at)
}

#[rustfmt::skip]
static FACTS: &[Fact] = &[
    // fs/namespace.c: 2.6.32 does not look at other flags.
    ignored(X86_64, "umount2", &[0, 8], "2.6.32"),
    // fs/open.c: 2.6.37 takes any mode beside FALLOC_FL_KEEP_SIZE; 3.0 knows its modes.
    ignored(X86_64, "fallocate", &[0, 3], "2.6.32"),
    ignored(X86_64, "fallocate", &[0, 0x11], "2.6.32"),
    fact(X86_64, "fallocate", &[0, 2], ("2.6.37", EOPNOTSUPP), "2.6.38"),
    fact(X86_64, "fallocate", &[0, 0x11], ("2.6.38", EOPNOTSUPP), "3.15"),
    fact(X86_64, "fallocate", &[0, 0x10], ("2.6.32", EOPNOTSUPP), "3.15"),
    fact(X86_64, "fallocate", &[0, 0x40], ("4.8", EOPNOTSUPP), "4.9"),
    // fs/read_write.c: EINVAL in 4.12; include/linux/fs.h: EOPNOTSUPP in 4.15.
    fact(X86_64, "pwritev2", &[0, 0, 0, 0, 0, 0x10], ("4.12", EINVAL), "4.16"),
    fact(X86_64, "pwritev2", &[0, 0, 0, 0, 0, 0x10], ("4.15", EOPNOTSUPP), "4.16"),
    fact(I386, "preadv2", &[0, 0, 0, 0, 0, 0x2], ("4.6", EINVAL), "4.7"),
    fact(X86_64, "preadv2", &[0, 0, 0, 0, 0, 0x8], ("4.12", EINVAL), "4.14"),
    fact(X86_64, "preadv2", &[0, 0, 0, 0, 0, 0x80], ("6.13", EOPNOTSUPP), "6.14"),
    ignored(X86_64, "preadv2", &[0, 0, 0, 0, 0, 0x1], "4.6"),
    // open(2): without O_DIRECTORY, or to be read, the flag alone meant nothing.
    fact(X86_64, "open", &[0, 0x41_0002], ("3.10", EISDIR), "3.11"),
    fact(I386, "openat", &[0, 0, 0x41_0001], ("2.6.18", EISDIR), "3.11"),
    ignored(X86_64, "open", &[0, 0x40_0002], "3.10"),
    ignored(X86_64, "open", &[0, 0x41_0000], "3.10"),
    // FUTEX_LOCK_PI2, and FUTEX_WAIT_BITSET by CLOCK_REALTIME.
    fact(X86_64, "futex", &[0, 0x8d], ("5.13", ENOSYS), "5.14"),
    fact(I386, "futex_time64", &[0, 13], ("5.13", ENOSYS), "5.14"),
    ignored(X86_64, "futex", &[0, 0x189], "4.4"),
    // fs/timerfd.c.
    fact(X86_64, "timerfd_settime", &[0, 2], ("2.6.31", EINVAL), "3.0"),
    fact(X86_64, "timerfd_create", &[0, 0x800], ("2.6.26", EINVAL), "2.6.27"),
    // Both ways to the same locks.
    fact(I386, "fcntl", &[0, 36], ("3.14", EINVAL), "3.15"),
    fact(I386, "fcntl64", &[0, 36], ("3.14", EINVAL), "3.15"),
    // CPU time and dynamic clocks, by number.
    fact(X86_64, "clock_gettime", &[2], ("2.6.9", EINVAL), "2.6.12"),
    fact(I386, "clock_gettime", &[0xffff_fffe], ("2.6.9", EINVAL), "2.6.12"),
    fact(X86_64, "clock_getres", &[0xffff_fffb], ("2.6.38", EINVAL), "2.6.39"),
    // Options of sockets; what stands below them is old.
    fact(X86_64, "setsockopt", &[3, 1, 15], ("3.8", ENOPROTOOPT), "3.9"),
    fact(X86_64, "getsockopt", &[3, 1, 77], ("6.4", ENOPROTOOPT), "6.5"),
    fact(X86_64, "setsockopt", &[3, 6, 23], ("3.6", ENOPROTOOPT), "3.7"),
    fact(X86_64, "setsockopt", &[3, 6, 18], ("2.6.32", ENOPROTOOPT), "2.6.37"),
    fact(X86_64, "setsockopt", &[3, 17, 103], ("4.17", ENOPROTOOPT), "4.18"),
    fact(X86_64, "setsockopt", &[3, 0, 24], ("4.1", ENOPROTOOPT), "4.2"),
    fact(X86_64, "setsockopt", &[3, 41, 78], ("4.14", ENOPROTOOPT), "4.15"),
    ignored(X86_64, "setsockopt", &[3, 1, 30], "2.6.0"),
    ignored(X86_64, "setsockopt", &[3, 0, 64], "2.6.18"),
    fact(X86_64, "socket", &[2, 1, 262], ("4.3", EPROTONOSUPPORT), "5.6"),
    fact(X86_64, "socket", &[10, 0x8_0801, 262], ("4.4", EINVAL), "5.6"),
    fact(X86_64, "socket", &[16, 3, 15], ("2.6.9", EPROTONOSUPPORT), "2.6.10"),
    // Chains of operations.
    fact(X86_64, "bpf", &[10], ("4.11", EINVAL), "4.12"),
    fact(X86_64, "bpf", &[28], ("5.6", EINVAL), "5.7"),
    ignored(X86_64, "bpf", &[5], "3.19"),
    fact(X86_64, "keyctl", &[29], ("4.11", EOPNOTSUPP), "4.12"),
    fact(X86_64, "keyctl", &[24], ("4.19", EOPNOTSUPP), "4.20"),
    fact(X86_64, "io_uring_register", &[3, 8], ("5.5", EINVAL), "5.6"),
    fact(X86_64, "io_uring_register", &[3, 31], ("6.12", EINVAL), "6.13"),
    ignored(X86_64, "io_uring_register", &[3, 0x8000_0004], "6.3"),
    fact(X86_64, "prctl", &[22, 2], ("3.4", EINVAL), "3.5"),
    ignored(X86_64, "prctl", &[22, 1], "3.4"),
    fact(X86_64, "ptrace", &[0x4200, 0, 0, 0x10_0001], ("3.7", EINVAL), "3.8"),
    fact(X86_64, "ptrace", &[0x420e], ("5.2", EIO), "5.3"),
    // ipc(2) with its version, and IPC_64 beside the command.
    fact(I386, "ipc", &[24, 0, 0x10f], ("4.16", EINVAL), "4.17"),
    fact(I386, "ipc", &[0x1_0003, 0, 0, 0x114], ("2.6.18", EINVAL), "4.17"),
    // fs/ioctl.c and drivers/tty/tty_io.c.
    fact(X86_64, "ioctl", &[3, 0x4004_9409], ("2.6.18", ENOTTY), "4.5"),
    fact(I386, "ioctl", &[3, 0x5441], ("3.6", EINVAL), "4.13"),
    fact(X86_64, "ioctl", &[3, 0x5441], ("3.10", ENOTTY), "4.13"),
    fact(X86_64, "lseek", &[3, 0, 3], ("3.0", EINVAL), "3.1"),
    fact(I386, "_llseek", &[3, 0, 0, 0, 4], ("2.6.32", EINVAL), "3.1"),
];

/// The error, and the release that it is told to need.
fn said(level: &str, abi: Abi, name: &str, args: &[u64]) -> Option<(Errno, Option<Level>)> {
    let linux = table::brand("linux").unwrap();
    let platform = linux.platform(&Request {
        level: Some(Level::parse_release(level).unwrap()),
        host_release: "6.18.2".to_owned(),
        strict: true,
        ..Request::default()
    });
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let compiled = Compiled::new(linux, &platform.world).unwrap();
    let call = Call { abi, nr: abi.number(name).unwrap(), args: all, ip: 0 };
    compiled.row(&call).and_then(|row| match row.answer {
        Answer::Refuse(errno) => Some((errno, compiled.needs(&call))),
        _ => None,
    })
}

#[test]
fn facts_hold_around_their_release() {
    for &(abi, name, args, then, since) in FACTS {
        if let Some((level, errno)) = then {
            let wanted = Some((errno, Some(Level::parse_release(since).unwrap().0)));
            assert_eq!(said(level, abi, name, args), wanted, "{abi} {name} {args:x?} at {level}");
        }
        assert_eq!(said(since, abi, name, args), None, "{abi} {name} {args:x?} at {since}");
    }
}

/// A filter of more is refused by the kernel, seccomp(2).
#[test]
fn filters_of_every_release_fit() {
    let linux = table::brand("linux").unwrap();
    let rows = linux.rows().flat_map(|row| [row.since, row.before]).flatten();
    let levels: std::collections::BTreeSet<_> =
        rows.filter(|level| *level >= brands::level::OLDEST).collect();
    assert!(levels.len() > 60, "{levels:?}");
    let mut longest = (0, Level::newest());
    for level in levels {
        for host in [None, Some("5.10")] {
            let platform = linux.platform(&Request {
                level: Some((level, level.to_string())),
                host_release: "6.18.2".to_owned(),
                strict: true,
                wide_inodes: true,
                has_quota: true,
                host: host.map(|text| text.parse().unwrap()),
                ..Request::default()
            });
            let compiled = Compiled::new(linux, &platform.world).unwrap();
            longest = longest.max((compiled.program().unwrap().len(), level));
        }
    }
    assert!(longest.0 <= 3600, "{} instructions at {}", longest.0, longest.1);
}
