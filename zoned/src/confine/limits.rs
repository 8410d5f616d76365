//! What a configuration allows a zone to use.

use std::io;

use super::Failure;
use crate::config::{self, Config, size_in_bytes};
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
        let size = |text: &Option<String>| text.as_deref().and_then(|text| size_in_bytes(text).ok());
        let memory = config.capped_memory.as_ref();
        Self {
            memory: memory.and_then(|m| size(&m.physical)),
            swap: memory.and_then(|m| size(&m.swap)),
            cpus: config.capped_cpu.as_ref().map(|c| c.ncpus),
            processes: config.max_processes,
        }
    }
}

/// Names of an `[[rctl]]`: RLIMIT_* of getrlimit(2) in lower case.
pub const RESOURCES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Adds the limits of a configuration to a plan, and `nofile` where that says nothing of it, as far as zoned's own limit
/// allows.
pub fn plan(plan: &mut Plan, config: &Config, nofile: Option<(u64, u64)>) -> Result<(), Failure> {
    if let Some((soft, hard)) = nofile
        && !config.rctl.iter().any(|r| r.name == "nofile")
    {
        let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let (_, most) = own.map_err(|e| Failure::new("ask for", "the limit of open files", e))?;
        let (soft, hard) = (soft.min(most), hard.min(most));
        plan.then("limit nofile", Step::Limit { resource: libc::RLIMIT_NOFILE, soft, hard });
    }
    for rctl in &config.rctl {
        let fail = |why: String| Failure::new("apply", format!("rctl {}", rctl.name), io::Error::other(why));
        let resource = RESOURCES.iter().find(|(name, _)| *name == rctl.name);
        let (_, resource) = *resource.ok_or_else(|| fail("there is no such limit".to_owned()))?;
        let (soft, hard) = config::limit(&rctl.value).map_err(fail)?;
        plan.then(format!("limit {} to {}", rctl.name, rctl.value), Step::Limit { resource, soft, hard });
    }
    Ok(())
}
