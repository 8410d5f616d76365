//! Capability sets of a zone. They count in the zone's own user namespace only.

/// Names of capabilities(7), by number.
pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Never given: the host's modules, ports, clock, security policy and power.
pub const PROHIBITED: [&str; 6] =
    ["sys_module", "sys_rawio", "sys_time", "mac_override", "mac_admin", "wake_alarm"];

/// Without these no init and no login works.
pub const REQUIRED: [&str; 4] = ["chown", "kill", "setgid", "setuid"];

/// Not given unless asked for. The kernel's audit log is the host's alone, and systemd does without it where it may not
/// read it.
const NOT_DEFAULT: [&str; 4] = ["perfmon", "bpf", "block_suspend", "audit_read"];

/// Bit of a capability by its name, with or without `cap_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
    NAMES.iter().position(|n| *n == bare).map(|n| 1 << n)
}

/// What zoned itself needs to make zones.
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

/// What zoned needs and does not have in `set`, its effective capabilities.
pub fn lacking(set: u64) -> Vec<&'static str> {
    NEEDED.into_iter().filter(|name| bit(name).is_none_or(|bit| set & bit == 0)).collect()
}

fn bits(names: &[&str]) -> u64 {
    names.iter().filter_map(|n| bit(n)).sum()
}

/// The set that `limit-privileges` describes: `default`, `NAME` to add, `!NAME` to take away; the
/// first word that cannot be is the error.
pub fn resolve(words: &[String]) -> Result<u64, String> {
    let all = (1 << NAMES.len()) - 1;
    let mut set = 0;
    for word in words {
        if word == "default" {
            set |= all & !bits(&PROHIBITED) & !bits(&NOT_DEFAULT);
        } else if let Some(name) = word.strip_prefix('!') {
            let bit = bit(name).ok_or_else(|| format!("no such privilege: {name}"))?;
            if bits(&REQUIRED) & bit != 0 {
                return Err(format!("a zone cannot do without {name}"));
            }
            set &= !bit;
        } else {
            let bit = bit(word).ok_or_else(|| format!("no such privilege: {word}"))?;
            if bits(&PROHIBITED) & bit != 0 {
                return Err(format!("no zone may have {word}"));
            }
            set |= bit;
        }
    }
    Ok(set | bits(&REQUIRED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn sets() {
        let default = resolve(&words("default")).unwrap();
        assert_eq!(default & bit("sys_time").unwrap(), 0);
        assert_ne!(default & bit("CAP_NET_RAW").unwrap(), 0);
        assert_eq!(resolve(&words("default !net_raw")).unwrap(), default & !bit("net_raw").unwrap());
        assert!(resolve(&words("default bpf")).unwrap() & bit("bpf").unwrap() != 0);
    }

    #[test]
    fn what_zoned_lacks_is_named() {
        assert!(lacking(0x1ff_ffff_ffff).is_empty());
        assert_eq!(lacking(0), NEEDED);
        // CAP_SYS_ADMIN is 21, CAP_MKNOD 27 in linux/capability.h.
        assert_eq!(lacking(!(1 << 21 | 1 << 27)), ["sys_admin", "mknod"]);
    }

    #[test]
    fn refusals_name_the_word() {
        for (text, part) in
            [("default sys_time", "sys_time"), ("!setuid", "setuid"), ("nonsense", "nonsense")]
        {
            assert!(resolve(&words(text)).unwrap_err().contains(part));
        }
    }
}
