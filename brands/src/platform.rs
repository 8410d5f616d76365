//! What a zone is booted with: facts of its kernel that are not calls.

use crate::level::Level;
use crate::task::World;

/// What a zone's configuration and its host say about its kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The level and the release text as typed ([`Level::parse_release`]).
    pub level: Option<(Level, String)>,
    /// The machine that uname(2) shows, one of [`ARCHES`]; `None` means x86_64.
    pub arch: Option<String>,
    /// uname(2) `release` of the host.
    pub host_release: String,
    /// uname(2) `version` of the host.
    pub host_version: String,
    /// Whether calls younger than the level fail as they did then.
    pub strict: bool,
    /// The release that the host's kernel is taken for, where that is not its own: calls that it did
    /// not have yet are answered as on such a host.
    pub host: Option<Level>,
    /// Whether file systems of the zone may number inodes above 32 bits.
    pub wide_inodes: bool,
    /// Whether what the zone writes is limited, and its file system does not tell programs so.
    pub has_quota: bool,
    /// Which zones have their calls into the vsyscall page rewritten.
    pub vsyscall: Vsyscall,
    /// What the zone's /proc/cmdline shows.
    pub bootargs: Vec<String>,
}

/// Who serves calls into the vsyscall page of x86_64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Vsyscall {
    /// The host, which has the page.
    #[default]
    Host,
    /// The host has none: calls are rewritten in zones whose programs may make them.
    RewriteOld,
    /// Calls are rewritten in every 64-bit zone.
    Rewrite,
}

/// A zone's kernel: what handlers tell of it and what its boot sets up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// For handlers.
    pub world: World,
    /// For the boot.
    pub boot: Boot,
}

/// What the boot of a zone sets up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// Personality of init (personality(2)); 0 leaves it alone.
    pub personality: u32,
    /// Soft and hard RLIMIT_NOFILE; `None` leaves them alone.
    pub nofile: Option<(u64, u64)>,
    /// Files that take the place of the host's: path under /proc, content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What is written to files of /proc/sys that are the zone's own: path below it, content.
    pub sysctls: Vec<(&'static str, &'static str)>,
}

/// uname(2) `machine` of 32-bit processes on an x86_64 host (COMPAT_UTS_MACHINE).
pub const COMPAT_MACHINE: &str = "i686";

/// PER_LINUX32 of personality(2).
pub const PER_LINUX32: u32 = 0x0008;

/// ADDR_NO_RANDOMIZE of personality(2).
pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

/// Whether a personality is PER_LINUX32, whatever flags go with it (PER_MASK).
pub const fn is_linux32(personality: u32) -> bool {
    personality & 0xff == PER_LINUX32
}

/// What [`Request::arch`] can be.
pub const ARCHES: [&str; 5] = ["x86_64", "i386", "i486", "i586", "i686"];

/// Whether `arch` names a 32-bit machine: i386 to i686.
pub fn is_32bit(arch: &str) -> bool {
    ARCHES[1..].contains(&arch)
}

/// The host's kernel as it is.
pub fn host_world(request: &Request) -> World {
    World {
        level: None,
        release: request.host_release.clone(),
        version: request.host_version.clone(),
        machine: "x86_64".to_owned(),
        machine32: COMPAT_MACHINE.to_owned(),
        personality: 0,
        strict: false,
        host: request.host_level(),
        wide_inodes: request.wide_inodes,
        has_quota: request.has_quota,
        rewrites_vsyscall: false,
    }
}

impl Request {
    /// The release of the kernel that the zone's calls are taken to reach.
    pub fn host_level(&self) -> Level {
        self.host.unwrap_or_else(|| Level::of_host(&self.host_release))
    }
}
