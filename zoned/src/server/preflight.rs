//! What zoned must have to be of any use, looked at before anything is done.

use std::fs;

use crate::confine::privileges::NAMES;

/// capabilities(7) that making a zone takes.
const NEEDED: [&str; 10] = [
    "chown",
    "dac_override",
    "fowner",
    "kill",
    "setgid",
    "setuid",
    "sys_chroot",
    "sys_ptrace",
    "sys_admin",
    "mknod",
];

/// Says in a sentence what is missing.
pub(super) fn check() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc is not mounted or cannot be read: {error}"))?;
    let lacking = lacking(effective(&status).ok_or("/proc/self/status tells no capabilities")?);
    if !lacking.is_empty() {
        return Err(format!("it lacks the capabilities {}; run it as root", lacking.join(", ")));
    }
    // A kernel without CONFIG_USER_NS has no such file.
    if fs::symlink_metadata("/proc/self/ns/user").is_err() {
        return Err("this kernel has no user namespaces".into());
    }
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if most.trim() == "0" {
        return Err("user namespaces are off: set the sysctl user.max_user_namespaces above 0".into());
    }
    Ok(())
}

/// proc_pid_status(5), CapEff.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lacking(have: u64) -> Vec<&'static str> {
    let number = |name: &str| NAMES.iter().position(|known| *known == name);
    NEEDED.into_iter().filter(|name| number(name).is_none_or(|bit| have & (1 << bit) == 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_and_named() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
        assert!(lacking(0x1ff_ffff_ffff).is_empty());
        assert_eq!(lacking(0), NEEDED);
        // CAP_SYS_ADMIN is 21, CAP_MKNOD 27 in linux/capability.h.
        assert_eq!(lacking(!(1 << 21 | 1 << 27)), ["sys_admin", "mknod"]);
    }
}
