//! What a configuration allows a zone to use.

use std::io;

use super::Failure;
use crate::config::Config;
use crate::sys::child::{Plan, Step};

/// Limits of a zone; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of swap beside it.
    pub swap: Option<u64>,
    /// CPUs.
    pub cpus: Option<f64>,
    /// Tasks.
    pub processes: Option<u64>,
}

impl Limits {
    /// The limits that a validated configuration states.
    pub fn of(config: &Config) -> Self {
        let size = |text: &Option<String>| text.as_deref().and_then(parse_size);
        let memory = config.capped_memory.as_ref();
        Self {
            memory: memory.and_then(|m| size(&m.physical)),
            swap: memory.and_then(|m| size(&m.swap)),
            cpus: config.capped_cpu.as_ref().map(|c| c.ncpus),
            processes: config.max_processes,
        }
    }
}

/// Bytes of `512M`: a number, alone or with K, M, G or T for powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// RLIMIT_* of a name in an `[[rctl]]`: `nofile` and so on (getrlimit(2)).
pub fn resource(name: &str) -> Option<u32> {
    Some(match name {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

/// Soft and hard limit of an `[[rctl]]` value: `SOFT:HARD` or one number; `unlimited` is a number.
pub fn parse_limit(value: &str) -> Option<(u64, u64)> {
    let number = |text: &str| match text {
        "unlimited" | "infinity" => Some(libc::RLIM_INFINITY),
        _ => text.parse().ok(),
    };
    let (soft, hard) = match value.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(value)?, number(value)?),
    };
    (soft <= hard).then_some((soft, hard))
}

/// Adds the limits of a configuration to a plan, and `nofile` where that says nothing of it.
pub fn plan(plan: &mut Plan, config: &Config, nofile: Option<(u64, u64)>) -> Result<(), Failure> {
    if let Some((soft, hard)) = nofile
        && !config.rctl.iter().any(|r| r.name == "nofile")
    {
        plan.then("limit nofile", Step::Limit { resource: libc::RLIMIT_NOFILE, soft, hard });
    }
    for rctl in &config.rctl {
        let bad = || {
            let why = io::Error::other(format!("bad value {}", rctl.value));
            Failure::new("apply", format!("rctl {}", rctl.name), why)
        };
        let resource = resource(&rctl.name).ok_or_else(bad)?;
        let (soft, hard) = parse_limit(&rctl.value).ok_or_else(bad)?;
        plan.then(format!("limit {} to {}", rctl.name, rctl.value), Step::Limit { resource, soft, hard });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512M"), Some(512 << 20));
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(parse_size("3t"), Some(3 << 40));
        for bad in ["", "M", "-1", "1.5G", "99999999999T", "1MB", "１"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn limit_values() {
        assert_eq!(parse_limit("1024:4096"), Some((1024, 4096)));
        assert_eq!(parse_limit("7"), Some((7, 7)));
        assert_eq!(parse_limit("0:unlimited"), Some((0, u64::MAX)));
        for bad in ["", ":", "2:1", "unlimited:5", "x"] {
            assert_eq!(parse_limit(bad), None, "{bad}");
        }
    }
}
