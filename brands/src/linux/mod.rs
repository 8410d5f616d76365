//! The linux brand: Linux of another age, told by a level.

mod boot;
mod brk;
mod clock;
mod dirents;
mod era;
mod forward;
mod mknod;
mod mount;
pub mod proc;
mod programs;
mod sigaltstack;
mod stat;
mod statfs;
mod strict;
mod sysctl;
mod sysinfo;
mod syslog;
mod uname;
mod vsyscall;

use nix::errno::Errno;

use crate::abi::Abi::{I386, X86_64};
use crate::cond::{Cond, int, long};
use crate::level::{Level, OLDEST};
use crate::table::{Brand, Handler, Row, Scope, Why, emulate, refuse, succeed};

/// Linux at a level, or the host's own release.
pub(crate) static LINUX: Brand = Brand {
    name: "linux",
    summary: "Linux as it was at a level, from 2.0 on",
    about: "Programs run on the host kernel. What changed between the level and the host and breaks \
            them is answered by the rows below; a call that the host kernel does not know is ENOSYS.",
    levels: Some((OLDEST, Level::newest())),
    tables: &[
        strict::TASKS,
        strict::FILES,
        strict::SOCKETS,
        strict::OPTIONS,
        strict::FACILITIES,
        forward::ROWS,
        ROWS,
        FILES,
        programs::ROWS,
        vsyscall::ROWS,
    ],
    platform: boot::platform,
};

/// personality(0xffffffff) asks and changes nothing.
const SETS: Cond = int(0).is_not(0xffff_ffff);

/// The same, but for PER_LINUX32, which setarch(8) wants in 64-bit zones.
const SETS_OTHER: Cond = Cond::All(&[SETS, int(0).bits_not(0xff, 8)]);

/// CLONE_NEWUTS
const NEWUTS: u64 = 0x0400_0000;

/// Linux 5.3 has clone3(2).
const CLONE3: Level = Level::new(5, 3, 0);

/// setns(2) to a UTS namespace, or to one of any kind.
const ENTERS_NAMES: Cond = Cond::Any(&[int(1).is(0), int(1).any_of(NEWUTS)]);

/// CLOCK_REALTIME of clock_settime(2), the only clock that is the host's and can be set.
const REALTIME: Cond = int(0).is(0);

/// reboot(2) with its magic numbers, to switch Ctrl-Alt-Del on or off. To stop the zone is the
/// kernel's: in a pid namespace it ends init (since Linux 3.4).
const CAD: Cond = Cond::All(&[
    int(0).is(0xfee1_dead),
    Cond::Any(&[
        int(1).is(672_274_793),
        int(1).is(85_072_278),
        int(1).is(369_367_448),
        int(1).is(537_993_216),
    ]),
    Cond::Any(&[int(2).is(0x89ab_cdef), int(2).is(0)]),
]);

const NO_EPERM: &str = "callers without CAP_SYS_TIME are not told EPERM";
const UNCHECKED: &str = "callers without CAP_SYS_TIME are not told EPERM, nor of bad pointers and values";

static ROWS: &[Row] = &[
    // One story about the kernel.
    emulate("uname", uname::uname).within(Scope::Renamed).about("tells the zone's release and machine"),
    emulate("olduname", uname::olduname)
        .on(I386)
        .within(Scope::Renamed)
        .about("the same without domainname"),
    emulate("oldolduname", uname::oldolduname)
        .on(I386)
        .within(Scope::Renamed)
        .about("the same in eight letters a field"),
    emulate("unshare", uname::other_names)
        .within(Scope::Renamed)
        .when(int(0).any_of(NEWUTS))
        .about("the kernel's; uname then asks for each caller's names"),
    emulate("clone", uname::other_names).within(Scope::Renamed).when(int(0).any_of(NEWUTS)).about("likewise"),
    emulate("setns", uname::other_names).within(Scope::Renamed).when(ENTERS_NAMES).about("likewise"),
    refuse("clone3", Errno::ENOSYS, Why::Unseen)
        .within(Scope::Renamed)
        .before(CLONE3)
        .about("callers then take clone, whose flags are looked at"),
    emulate("sethostname", uname::sets_names)
        .within(Scope::Renamed)
        .since(CLONE3)
        .about("likewise, in a namespace that clone3 made")
        .gap("names set there by /proc/sys/kernel alone are not seen by uname"),
    emulate("setdomainname", uname::sets_names).within(Scope::Renamed).since(CLONE3).about("likewise"),
    emulate("_sysctl", sysctl::sysctl)
        .before(Level::new(5, 5, 0))
        .about("the names ostype, osrelease, version, nodename and domainname of CTL_KERN")
        .gap("all other names are ENOTDIR; nothing can be set"),
    emulate("sysinfo", sysinfo::sysinfo)
        .about("the zone's figures; before 2.3.23 in bytes below 2 GiB for i386"),
    emulate("syslog", syslog::syslog)
        .about("the zone's own kernel log")
        .gap("console levels are accepted and forgotten"),
    // The address space.
    emulate("brk", brk::brk)
        .on(I386)
        .about("the break can stand between the program's end and the next page, as up to 2.4")
        .gap("a refused request above that page is answered with the host's break, not the one in the page"),
    succeed("personality", Why::Pinned)
        .on(I386)
        .when(SETS)
        .about("libc5's ld.so would undo what the layout needs")
        .gap("32-bit programs cannot change their personality in any zone"),
    succeed("personality", Why::Pinned).on(X86_64).within(Scope::Bits32).when(SETS).about("likewise"),
    succeed("personality", Why::Pinned)
        .on(X86_64)
        .within(Scope::Pinned)
        .when(SETS_OTHER)
        .about("likewise, but for PER_LINUX32")
        .gap("PER_LINUX32 is taken as it is, and brings randomisation back unless its flag is added"),
    emulate("personality", uname::other_personality)
        .on(X86_64)
        .when(SETS)
        .about("the kernel's; uname and brk then ask for each caller's personality"),
    // The host's clock.
    succeed("stime", Why::HostState).on(I386).about("the clock stays").gap(UNCHECKED),
    succeed("settimeofday", Why::HostState).about("the clock stays").gap(UNCHECKED),
    succeed("clock_settime", Why::HostState).when(REALTIME).about("the clock stays").gap(UNCHECKED),
    succeed("clock_settime64", Why::HostState)
        .on(I386)
        .when(REALTIME)
        .about("the clock stays")
        .gap(UNCHECKED),
    emulate("adjtimex", clock::adjtimex).about("reports the clock and sets nothing").gap(NO_EPERM),
    emulate("clock_adjtime", clock::clock_adjtime).when(REALTIME).about("likewise").gap(NO_EPERM),
    emulate("clock_adjtime64", clock::clock_adjtime64)
        .on(I386)
        .when(REALTIME)
        .about("likewise")
        .gap(NO_EPERM),
    // Nodes and mounts.
    emulate("mknod", mknod::mknod)
        .when(mknod::MKNOD_DEVICE)
        .about("null, zero, full, random, urandom, tty, console and ptmx for CAP_MKNOD")
        .gap("other devices are EPERM"),
    emulate("mknodat", mknod::mknodat)
        .when(mknod::MKNODAT_DEVICE)
        .about("likewise")
        .gap("other devices are EPERM"),
    emulate("mount", mount::mount)
        .when(mount::MAKES_OR_REMOUNTS)
        .about("proc, sysfs, devtmpfs and devpts are there already; their remounts, and a root's that is the host's, do nothing; securityfs, debugfs, tracefs, configfs, pstore and fusectl are empty")
        .gap("a new sysfs is the zone's own, whatever options are given; a new proc has the host's forms of files while a debugger has the caller"),
    emulate("umount2", mount::umount2)
        .about("of a proc, sysfs or devtmpfs that was mounted elsewhere; MNT_FORCE does no more than none")
        .gap("MNT_FORCE cuts off no server of FUSE that hangs, and is the kernel's while a debugger has the caller or 512 others are held"),
    emulate("umount", mount::umount).about("likewise"),
    // The machine.
    succeed("reboot", Why::HostState)
        .when(CAD)
        .about("Ctrl-Alt-Del can be switched on and off; restart, halt and power-off are the kernel's, for the zone")
        .gap("callers without CAP_SYS_BOOT are not told EPERM"),
    succeed("vhangup", Why::HostState)
        .about("mingetty and others end where their terminal cannot be hung up")
        .gap("who has the terminal keeps it; callers without CAP_SYS_TTY_CONFIG are not told EPERM"),
    refuse("create_module", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    refuse("init_module", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    refuse("finit_module", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    refuse("delete_module", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    refuse("get_kernel_syms", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    refuse("query_module", Errno::ENOSYS, Why::NotBuilt).about("no modules"),
    succeed("bdflush", Why::NoEffectThen)
        .on(I386)
        .before(Level::new(5, 15, 0))
        .about("update(8) goes on calling it; the host writes back by itself")
        .gap("callers without CAP_SYS_ADMIN are not told EPERM; function 1 does not end its caller, as since 2.4"),
];

/// A row of the stat and getdents families: hot calls, so only where an inode may not fit.
const fn wide(name: &'static str, handler: Handler) -> Row {
    emulate(name, handler)
        .on(I386)
        .within(Scope::WideInodes)
        .about("inodes above 32 bits fold into them instead of EOVERFLOW, the same for stat and readdir")
}

const STAT_GAP: &str = "for a caller in a user namespace of its own it is still EOVERFLOW, and where only a capability opens the way and a link or .. is on it";
const LIST_GAP: &str = "two files may fold to one number";

/// What is told of files.
static FILES: &[Row] = &[
    emulate("oldstat", stat::oldstat).on(I386).about(OLDSTAT).gap(STAT_GAP),
    emulate("oldlstat", stat::oldlstat).on(I386).about(OLDSTAT).gap(STAT_GAP),
    emulate("oldfstat", stat::oldfstat).on(I386).about(OLDSTAT),
    wide("stat", stat::stat).gap(STAT_GAP),
    wide("lstat", stat::lstat).gap(STAT_GAP),
    wide("fstat", stat::fstat),
    wide("stat64", stat::stat64).gap(STAT_GAP),
    wide("lstat64", stat::lstat64).gap(STAT_GAP),
    wide("fstat64", stat::fstat64),
    wide("fstatat64", stat::fstatat64).gap(STAT_GAP),
    wide("statx", stat::statx).gap(STAT_GAP),
    wide("getdents", dirents::getdents).gap(LIST_GAP),
    wide("getdents64", dirents::getdents64).gap(LIST_GAP),
    wide("readdir", dirents::readdir).gap(LIST_GAP),
    emulate("statfs", statfs::share)
        .on(X86_64)
        .within(Scope::Quota)
        .about("tells of what the zone may write: btrfs has quotas of subvolumes and does not tell of them")
        .gap(QUOTA_GAP),
    emulate("fstatfs", statfs::open_share).on(X86_64).within(Scope::Quota).about("likewise").gap(QUOTA_GAP),
    emulate("statfs", statfs::statfs).on(I386).about(STATFS).gap(STATFS_GAP),
    emulate("fstatfs", statfs::fstatfs).on(I386).about(STATFS).gap(STATFS_GAP),
    emulate("statfs64", statfs::statfs64).on(I386).about(STATFS).gap(STATFS_GAP),
    emulate("fstatfs64", statfs::fstatfs64).on(I386).about(STATFS).gap(STATFS_GAP),
    emulate("sigaltstack", sigaltstack::sigaltstack)
        .before(Level::new(5, 14, 0))
        .when(long(0).is_not(0))
        .about("a stack too small for the frame of today's CPU is accepted and not installed, so that signals come on the stack that there is")
        .gap("asked for the stack before it, it says that there was none; one that was installed stays"),
    refuse("uselib", Errno::ENOEXEC, Why::NotBuilt)
        .on(I386)
        .before(Level::new(5, 18, 0))
        .about("no libraries in a.out, which Linux 5.18 gave up")
        .gap("a path that is not there is not told ENOENT"),
];

const QUOTA_GAP: &str = "what was written shows once btrfs has committed it, after 30 s at most; a limit that is set first while the zone runs shows from its next boot on";
const OLDSTAT: &str = "the inode is cut to 16 bits, as before 2.6.19, instead of EOVERFLOW";
const STATFS: &str =
    "blocks grow until their count fits 32 bits, instead of EOVERFLOW; before 2.4 below 2 TiB";
const STATFS_GAP: &str = "before 2.4 free and all of more than 2 TiB are both 2 TiB";
