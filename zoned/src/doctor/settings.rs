//! Devices and sysctls that some guests depend on.

use std::fs::{File, OpenOptions};
use std::path::Path;

use zone_api::{Finding, Verdict};

use super::{finding, line, ok_or};

pub(super) fn examine() -> Vec<Finding> {
    vec![
        device("fuse", "/dev/fuse", "files of /proc in the form of a level are served by it: modprobe fuse"),
        device("tun", "/dev/net/tun", "programs of a guest that make tunnels need it: modprobe tun"),
        unprivileged(),
        number("process numbers", "kernel.pid_max", 32768, "all zones share them: raise kernel.pid_max"),
        low_addresses(),
        overcommit(line("/proc/sys/vm/overcommit_memory").as_deref()),
        modules(),
    ]
}

/// Opened, and closed at once: neither device does anything until it is asked to.
fn device(what: &str, path: &str, why: &str) -> Finding {
    let opened: Result<File, _> = OpenOptions::new().read(true).write(true).open(path);
    let found = opened.as_ref().map_or_else(ToString::to_string, |_| format!("{path} opens"));
    finding(what, ok_or(opened.is_ok(), Verdict::Missing), found, why)
}

/// Sysctls of Debian and of AppArmor (Ubuntu 23.10) keep namespaces from those who are not root: zoned is root,
/// programs in a zone are not.
fn unprivileged() -> Finding {
    let is = |path: &str, value: &str| line(path).as_deref() == Some(value);
    let mut set = Vec::new();
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        set.push("kernel.unprivileged_userns_clone is 0");
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        set.push("kernel.apparmor_restrict_unprivileged_userns is 1");
    }
    let found = if set.is_empty() { "not restricted".to_owned() } else { set.join(", ") };
    let why = "sandboxes of programs in a zone make namespaces of their own: change that sysctl";
    finding("user namespaces for all", ok_or(set.is_empty(), Verdict::Missing), found, why)
}

fn sysctl(name: &str) -> Option<u64> {
    line(Path::new("/proc/sys").join(name.replace('.', "/")))?.parse().ok()
}

fn number(what: &str, name: &str, least: u64, why: &str) -> Finding {
    let value = sysctl(name);
    let found = value.map_or_else(|| "not known".to_owned(), |value| format!("{name} is {value}"));
    finding(what, ok_or(value.is_some_and(|value| value >= least), Verdict::Missing), found, why)
}

/// 65536 is what distributions set (security/Kconfig suggests it); more is kept from programs only by choice.
fn low_addresses() -> Finding {
    let value = sysctl("vm.mmap_min_addr");
    let found = value.map_or_else(|| "not known".to_owned(), |value| format!("vm.mmap_min_addr is {value}"));
    let why = "programs of a guest that run 16-bit code map low addresses: lower vm.mmap_min_addr";
    finding("low addresses", ok_or(value.is_some_and(|value| value <= 65536), Verdict::Missing), found, why)
}

/// See proc_sys_vm(5): 2 never promises more than there is.
fn overcommit(mode: Option<&str>) -> Finding {
    let found = mode.map_or_else(|| "not known".to_owned(), |mode| format!("vm.overcommit_memory is {mode}"));
    let why = "programs that reserve far more memory than they use (Go, Java, sanitizers) fail under 2: sysctl vm.overcommit_memory=0";
    finding("promised memory", ok_or(matches!(mode, Some("0" | "1")), Verdict::Missing), found, why)
}

fn modules() -> Finding {
    let names = line("/sys/kernel/security/lsm").filter(|names| !names.is_empty());
    let found = names.unwrap_or_else(|| "not known: securityfs is not mounted".to_owned());
    finding("security modules", Verdict::Ok, found, "each may forbid a zone more than this page knows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_never_promised_twice_is_told() {
        assert_eq!(overcommit(Some("2")).verdict, Verdict::Missing);
        assert!([Some("0"), Some("1")].into_iter().all(|mode| overcommit(mode).verdict == Verdict::Ok));
        assert_eq!(overcommit(None).found, "not known");
    }
}
