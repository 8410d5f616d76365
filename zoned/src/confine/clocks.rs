//! A zone's own clocks of the time since boot: its boot, not the host's (time_namespaces(7), Linux 5.6).

use std::path::Path;

use nix::time::{ClockId, clock_gettime};

/// How far the host's clocks are ahead of a zone's that is booted now, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// CLOCK_MONOTONIC.
    pub monotonic: u64,
    /// CLOCK_BOOTTIME, /proc/uptime and the start times of processes.
    pub boottime: u64,
}

/// Whether zones have clocks of their own here.
pub fn are_own() -> bool {
    Path::new("/proc/self/ns/time").exists()
}

impl Clocks {
    /// Those of a zone whose boot begins now; `None` where it has the host's.
    pub fn now() -> Option<Self> {
        let read = |clock| u64::try_from(clock_gettime(clock).ok()?.tv_sec()).ok();
        let (monotonic, boottime) = (read(ClockId::CLOCK_MONOTONIC)?, read(ClockId::CLOCK_BOOTTIME)?);
        are_own().then_some(Self { monotonic, boottime })
    }

    /// What `timens_offsets` of proc(5) is told; by number, as clocks have no names there before Linux 5.7.
    pub(super) fn offsets(self) -> Vec<u8> {
        let Self { monotonic, boottime } = self;
        format!("{} -{monotonic} 0\n{} -{boottime} 0\n", libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME)
            .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_lead_back_to_nothing() {
        let clocks = Clocks { monotonic: 5, boottime: 70 };
        assert_eq!(clocks.offsets(), b"1 -5 0\n7 -70 0\n");
    }
}
