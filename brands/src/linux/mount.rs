//! mount(2) of what every zone has already, and remounts by rc scripts.

use nix::errno::Errno;

use crate::call::{Answered, Call, GuestPtr, Reply, Watch};
use crate::cond::{Cond, int};
use crate::task::{Pseudo, Task};

use super::mknod::PATH_MAX;

/// CAP_SYS_ADMIN of capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// Flags of mount(2).
const MS_REMOUNT: u32 = 1 << 5;
const MS_BIND: u32 = 1 << 12;
const MS_MOVE: u32 = 1 << 13;
const MS_UNBINDABLE: u32 = 1 << 17;
const MS_PRIVATE: u32 = 1 << 18;
const MS_SLAVE: u32 = 1 << 19;
const MS_SHARED: u32 = 1 << 20;

/// Flags of umount2(2).
const MNT_FORCE: u32 = 1;
const MNT_DETACH: u32 = 2;
const MNT_EXPIRE: u32 = 4;

/// Programs from before Linux 2.4 put this into the upper half of the flags, which then holds
/// nothing else; the kernel still takes it off.
const MS_MGC_VAL: u32 = 0xc0ed_0000;
const MS_MGC_MSK: u32 = 0xffff_0000;

const LOW: u64 = (MS_BIND | MS_MOVE) as u64;
const ALL: u64 = LOW | (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED) as u64;

/// Mounts that may concern us: neither binds nor moves nor changes of propagation. The magic of
/// old programs has MS_PRIVATE's and MS_SLAVE's bits, and needs a look of its own.
pub(super) const MAKES_OR_REMOUNTS: Cond =
    Cond::Any(&[int(3).bits(ALL, 0), int(3).bits(MS_MGC_MSK as u64 | LOW, MS_MGC_VAL as u64)]);

/// Who may not is told so by the kernel.
fn may_mount(task: &mut dyn Task) -> Result<bool, Errno> {
    Ok(task.ids()?.effective >> CAP_SYS_ADMIN & 1 != 0)
}

/// Answers a mount that is there already, has a new proc made fit for the zone, and answers a remount that would reach the host; everything else,
/// and every mistake, is the kernel's to answer.
pub(super) fn mount(task: &mut dyn Task, call: &Call) -> Answered {
    if !may_mount(task)? {
        return Ok(Reply::Continue);
    }
    let Ok(target) = task.read_cstr(call.ptr(1), PATH_MAX) else { return Ok(Reply::Continue) };
    if call.int(3) as u32 & MS_REMOUNT != 0 {
        if remount_has_no_effect(task, &target) {
            return Ok(Reply::Value(0));
        }
        // As it stands where it cannot be read or written: the kernel says what it thinks of it.
        let _ = put_own_ids(task, call.ptr(4));
        return Ok(Reply::Continue);
    }
    let Ok(kind) = task.read_cstr(call.ptr(2), PATH_MAX) else { return Ok(Reply::Continue) };
    let what = match kind.as_slice() {
        b"proc" => Pseudo::Proc,
        b"sysfs" => Pseudo::Sysfs,
        b"devtmpfs" => Pseudo::Dev,
        b"devpts" => Pseudo::Devpts,
        kind if ELSEWHERES.contains(&kind) => Pseudo::Empty,
        _ => return Ok(Reply::Continue),
    };
    // The kernel reads the source too, whatever the file system makes of it.
    if !call.ptr(0).is_null() && task.read_cstr(call.ptr(0), PATH_MAX).is_err() {
        return Ok(Reply::Continue);
    }
    let nested = what == Pseudo::Proc && !task.in_zones_pids()?;
    let is_other = what == Pseudo::Proc && has_options(task, call)? || nested;
    match task.mounted_at(&target) {
        Ok(Some(there)) if there == what && !is_other => Ok(Reply::Value(0)),
        // A new instance shows the caller's pid namespace, with the options that were given.
        Ok(_) if what == Pseudo::Proc => Ok(Reply::Watch(Watch::Proc)),
        // A new instance of devpts is the zone's own wherever it is.
        Ok(_) if what != Pseudo::Devpts => {
            task.show(what, &target)?;
            Ok(Reply::Value(0))
        }
        _ => Ok(Reply::Continue),
    }
}

/// File systems through which parts of the kernel show themselves that are the host's alone: no user namespace may mount
/// them. rc scripts do, and a zone's shows them empty.
const ELSEWHERES: [&[u8]; 6] = [b"securityfs", b"debugfs", b"tracefs", b"configfs", b"pstore", b"fusectl"];

/// The kernel tells a tmpfs's owners by the host's ids (proc_pid_mounts(5)), and mount(8) hands them back with a remount, to
/// a kernel that expects the zone's. They are changed where they stand, in as many digits.
fn put_own_ids(task: &mut dyn Task, at: GuestPtr) -> Result<(), Errno> {
    if at.is_null() {
        return Ok(());
    }
    let old = task.read_cstr(at, 4096)?;
    let own = |option: &[u8]| {
        let key = [&b"uid="[..], b"gid="].into_iter().find(|key| option.starts_with(key))?;
        let digits = std::str::from_utf8(&option[key.len()..]).ok()?;
        let id = task.own_id(digits.parse().ok()?)?;
        Some([key, format!("{id:0width$}", width = digits.len()).as_bytes()].concat())
    };
    let options = old.split(|&b| b == b',').map(|option| own(option).unwrap_or_else(|| option.to_vec()));
    let new = options.collect::<Vec<_>>().join(&b',');
    if new == old || new.len() != old.len() { Ok(()) } else { task.write(at, &new) }
}

/// Whether options are given: then what is there already is not what is asked for.
fn has_options(task: &mut dyn Task, call: &Call) -> Result<bool, Errno> {
    let mut first = [0];
    if !call.ptr(4).is_null() {
        task.read(call.ptr(4), &mut first)?;
    }
    Ok(first != [0])
}

/// Takes away what was mounted or shown elsewhere, with the files that the brand lays over it, which
/// would make it busy; every other umount, and every mistake, is the kernel's to answer.
pub(super) fn umount(task: &mut dyn Task, call: &Call) -> Answered {
    if !may_mount(task)? {
        return Ok(Reply::Continue);
    }
    let Ok(target) = task.read_cstr(call.ptr(0), PATH_MAX) else { return Ok(Reply::Continue) };
    Ok(if task.unshow(&target).unwrap_or(false) { Reply::Value(0) } else { Reply::Continue })
}

/// The same of umount2(2). The kernel takes MNT_FORCE from root of the host alone, older ones even where the zone mounted it
/// (can_umount of fs/namespace.c). All that it does more is to cut off a server that others wait for: rc scripts that end
/// a system ask for it of everything, and have it without.
///
/// The call that the guest performs is notified like its own, and answered here too: without the flag it is passed on.
pub(super) fn umount2(task: &mut dyn Task, call: &Call) -> Answered {
    let answered = umount(task, call)?;
    let flags = call.int(1) as u32;
    if answered != Reply::Continue || flags & MNT_FORCE == 0 || !may_mount(task)? {
        return Ok(answered);
    }
    // Beside MNT_EXPIRE it is a mistake, as MNT_DETACH is.
    let instead = if flags & MNT_EXPIRE == 0 { 0 } else { MNT_DETACH };
    match task.perform("umount2", [call.word(0), u64::from(flags & !MNT_FORCE | instead), 0, 0, 0, 0]) {
        // A debugger has the caller, or too many are held.
        Err(Errno::ENOSYS) => Ok(Reply::Continue),
        done => done.map(Reply::Value),
    }
}

/// The zone's own proc, sysfs, /dev and devpts stay as the boot made them. So does a root that is
/// a part of a host's file system: its superblock is the host's.
fn remount_has_no_effect(task: &mut dyn Task, target: &[u8]) -> bool {
    if task.is_root(target).unwrap_or(false) {
        return !task.root_is_own();
    }
    matches!(task.mounted_at(target), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    fn fake() -> Fake {
        let mut fake = Fake::linux(Some("2.6.18"), None);
        for (path, what) in [
            ("/proc", Pseudo::Proc),
            ("/sys", Pseudo::Sysfs),
            ("/dev", Pseudo::Dev),
            ("/dev/pts", Pseudo::Devpts),
        ] {
            fake.mounts.insert(path.into(), what);
        }
        fake
    }

    fn ask(fake: &mut Fake, target: &str, kind: &str, flags: u32) -> Answered {
        let target = fake.put(0x5000, format!("{target}\0").as_bytes());
        let kind = fake.put(0x6000, format!("{kind}\0").as_bytes());
        mount(fake, &call(Abi::I386, "mount", &[kind, target, kind, flags.into(), 0]))
    }

    #[test]
    fn what_is_there_is_not_mounted_again() {
        let mut fake = fake();
        for (target, kind) in
            [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs"), ("/dev/pts", "devpts")]
        {
            for flags in [0, MS_MGC_VAL] {
                assert_eq!(ask(&mut fake, target, kind, flags), Ok(Reply::Value(0)), "{kind}");
            }
        }
        assert!(fake.shown.is_empty());
    }

    #[test]
    fn elsewhere_the_zones_own_is_shown() {
        let mut fake = fake();
        assert_eq!(ask(&mut fake, "/mnt/sys", "sysfs", 0), Ok(Reply::Value(0)));
        assert_eq!(ask(&mut fake, "/mnt/dev", "devtmpfs", 0), Ok(Reply::Value(0)));
        assert_eq!(ask(&mut fake, "/proc", "sysfs", 0), Ok(Reply::Value(0)));
        let shown: Vec<_> = fake.shown.iter().map(|(what, path)| (*what, path.as_slice())).collect();
        assert_eq!(
            shown,
            [(Pseudo::Sysfs, &b"/mnt/sys"[..]), (Pseudo::Dev, b"/mnt/dev"), (Pseudo::Sysfs, b"/proc")]
        );
        assert_eq!(ask(&mut fake, "/mnt/pts", "devpts", 0), Ok(Reply::Continue));
        assert_eq!(ask(&mut fake, "/tmp", "tmpfs", 0), Ok(Reply::Continue));
    }

    #[test]
    fn a_new_proc_is_the_kernels_and_is_made_fit() {
        let mut fake = fake();
        let watched = Ok(Reply::Watch(Watch::Proc));
        assert_eq!(ask(&mut fake, "/mnt/proc", "proc", 0), watched);
        fake.nested = true;
        assert_eq!(ask(&mut fake, "/proc", "proc", 0), watched);
        assert_eq!(ask(&mut fake, "/sys", "sysfs", 0), Ok(Reply::Value(0)));
        assert!(fake.shown.is_empty());
    }

    #[test]
    fn an_umount_with_force_is_one_without() {
        let mut fake = fake();
        let target = fake.put(0x5000, b"/mnt\0");
        let ask = |fake: &mut Fake, flags| umount2(fake, &call(Abi::I386, "umount2", &[target, flags]));
        assert_eq!(ask(&mut fake, 8), Ok(Reply::Continue));
        assert_eq!(ask(&mut fake, 1 | 8), Ok(Reply::Value(0)));
        assert_eq!(fake.performed.last().map(|(name, args)| (name.as_str(), args[1])), Some(("umount2", 8)));
        ask(&mut fake, 1 | 4).unwrap();
        assert_eq!(fake.performed.last().map(|(_, args)| args[1]), Some(2 | 4), "EINVAL, as with both");
        fake.debugged = true;
        assert_eq!(ask(&mut fake, 1), Ok(Reply::Continue));
        fake.debugged = false;
        fake.ids.effective = 0;
        assert_eq!(ask(&mut fake, 1), Ok(Reply::Continue), "who may not is told so by the kernel");
    }

    #[test]
    fn a_proc_with_options_is_another_one() {
        let mut fake = fake();
        let (kind, target) = (fake.put(0x5000, b"proc\0"), fake.put(0x6000, b"/proc\0"));
        for (options, want) in [(&b"subset=pid\0"[..], Reply::Watch(Watch::Proc)), (b"\0", Reply::Value(0))] {
            let options = fake.put(0x7000, options);
            let call = call(Abi::X86_64, "mount", &[kind, target, kind, 0, options]);
            assert_eq!(mount(&mut fake, &call), Ok(want));
        }
    }

    #[test]
    fn what_was_shown_can_be_unmounted() {
        let mut fake = fake();
        ask(&mut fake, "/mnt/sys", "sysfs", 0).unwrap();
        let mut gone = |path: &str| {
            let path = fake.put(0x7000, format!("{path}\0").as_bytes());
            umount(&mut fake, &call(Abi::X86_64, "umount2", &[path, 0]))
        };
        assert_eq!(gone("/sys"), Ok(Reply::Continue));
        assert_eq!(gone("/mnt/sys"), Ok(Reply::Value(0)));
        assert_eq!(gone("/mnt/sys"), Ok(Reply::Continue));
    }

    #[test]
    fn remounts() {
        let mut fake = fake();
        for flags in [MS_REMOUNT | 1, MS_REMOUNT | MS_MGC_VAL] {
            for target in ["/proc", "/sys", "/dev", "/dev/pts"] {
                assert_eq!(ask(&mut fake, target, "none", flags), Ok(Reply::Value(0)), "{target}");
            }
            fake.root_is_own = true;
            assert_eq!(ask(&mut fake, "/", "none", flags), Ok(Reply::Continue));
            fake.root_is_own = false;
            assert_eq!(ask(&mut fake, "/", "none", flags), Ok(Reply::Value(0)));
            assert_eq!(ask(&mut fake, "/home", "none", flags), Ok(Reply::Continue));
        }
    }

    #[test]
    fn a_remount_has_the_zones_ids() {
        let mut fake = fake();
        let target = fake.put(0x5000, b"/run\0");
        let options = fake.put(0x7000, b"size=10%,uid=100000,gid=100005,mode=755,uid=7\0");
        let call = call(Abi::X86_64, "mount", &[target, target, 0, MS_REMOUNT.into(), options]);
        assert_eq!(mount(&mut fake, &call), Ok(Reply::Continue));
        let now = fake.read_cstr(GuestPtr(options), 100).unwrap();
        assert_eq!(now, b"size=10%,uid=000000,gid=000005,mode=755,uid=7");
    }

    #[test]
    fn parts_of_the_kernel_that_are_the_hosts_are_empty() {
        let mut fake = fake();
        assert_eq!(ask(&mut fake, "/sys/kernel/debug", "debugfs", 0), Ok(Reply::Value(0)));
        assert_eq!(fake.shown, [(Pseudo::Empty, b"/sys/kernel/debug".to_vec())]);
        assert_eq!(ask(&mut fake, "/selinux", "selinuxfs", 0), Ok(Reply::Continue));
    }

    #[test]
    fn mistakes_and_other_users_are_the_kernels() {
        let mut root = fake();
        let nowhere = call(Abi::I386, "mount", &[0, 0x99_0000, 0, 0, 0]);
        assert_eq!(mount(&mut root, &nowhere), Ok(Reply::Continue));
        let mut user = fake().unprivileged();
        assert_eq!(ask(&mut user, "/proc", "proc", 0), Ok(Reply::Continue));
    }

    #[test]
    fn binds_moves_and_propagation_are_not_notified() {
        let notified = |flags: u32| MAKES_OR_REMOUNTS.holds(Abi::I386, &[0, 0, 0, flags.into(), 0, 0]);
        for flags in [0, 1, MS_REMOUNT, MS_MGC_VAL, MS_MGC_VAL | MS_REMOUNT | 1] {
            assert!(notified(flags), "{flags:#x}");
        }
        for flags in [MS_BIND, MS_MOVE, MS_PRIVATE | 1 << 14, MS_SLAVE, MS_SHARED, MS_MGC_VAL | MS_BIND] {
            assert!(!notified(flags), "{flags:#x}");
        }
    }
}
