//! zone.toml → validated [`Config`].
//!
//! [`schema`] holds every key as data; parsing, editing and the list of what takes effect at once
//! are made from it.

pub mod daemon;
pub mod edit;
mod error;
mod facts;
mod load;
pub mod network;
pub mod resources;
mod rules;
mod schema;
mod shared;

use serde::{Deserialize, Serialize};

pub use edit::{apply, changes, get};
pub use error::ConfigError;
pub use facts::{check_kernel, has_levels, known_brands};
pub use network::Net;
pub use rules::{
    bytes as size_in_bytes, check_init, limit, name_rule as check_name, signal_number,
    variable as check_variable,
};

/// What a zone's file says, validated. Keys are those of `docs/reference/configuration.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Zone name.
    pub name: String,
    /// Brand name; see `zonectl brand list`.
    #[serde(default = "default_brand")]
    pub brand: String,
    /// Kernel level, for brands that have levels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What uname -m says; `None`: from the root's own programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Calls younger than the level fail as they did then.
    #[serde(default)]
    pub strict: bool,
    /// Who serves calls into the vsyscall page.
    #[serde(default)]
    pub vsyscall: Vsyscall,
    /// The older release that the host's kernel is taken for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_kernel: Option<String>,
    /// Boot when the host has booted.
    #[serde(default)]
    pub autoboot: bool,
    /// Zones that must run before it is booted with the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_after: Vec<String>,
    /// Whether it is booted again when it ended and nobody asked for that.
    #[serde(default)]
    pub restart: Restart,
    /// Restarts in a row after which it is left alone.
    #[serde(default = "default_restart_limit")]
    pub restart_limit: u32,
    /// What process 1 is.
    #[serde(default)]
    pub init: Init,
    /// Words for /proc/cmdline and init's arguments.
    #[serde(default)]
    pub bootargs: Vec<String>,
    /// Variables that process 1 and logins get beside their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Who process 1 runs as: `USER[:GROUP]`; `None`: root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where process 1 starts; `None`: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Signal that ends process 1 at a shutdown; `None`: its poweroff(8) does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// uname -n; `None`: the zone's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// gethostid(3), as `0x` and up to eight hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostid: Option<String>,
    /// Whether install adapts the root's own files to a zone.
    #[serde(default = "default_profile")]
    pub profile: bool,
    /// What network the zone has.
    #[serde(default)]
    pub ip_type: IpType,
    /// Most processes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_processes: Option<u64>,
    /// Most tasks at once: threads are counted too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lwps: Option<u64>,
    /// Weight among zones that want more CPU time than there is; 100 is that of a zone which says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Weight among zones that want more of a disk than it gives; 100 is that of a zone which says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
    /// Capabilities: `default`, `NAME` to add, `!NAME` to take away.
    #[serde(default = "default_privileges")]
    pub limit_privileges: Vec<String>,
    /// CPU limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_cpu: Option<CappedCpu>,
    /// CPUs that no other zone runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedicated_cpu: Option<resources::DedicatedCpu>,
    /// Memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_memory: Option<CappedMemory>,
    /// Disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capped_disk: Option<CappedDisk>,
    /// Limits of disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capped_io: Vec<resources::CappedIo>,
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<Net>,
    /// Mounts from the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fs: Vec<Fs>,
    /// Host devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device: Vec<Device>,
    /// Resource limits (setrlimit(2)): name in lower case, `SOFT:HARD` or one number for both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rctl: Vec<Rctl>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attr: Vec<Attr>,
    /// Users with rights on the zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<Admin>,
}

impl Config {
    /// uname -n.
    pub fn nodename(&self) -> &str {
        self.hostname.as_deref().unwrap_or(&self.name)
    }
}

fn default_brand() -> String {
    "linux".into()
}

fn default_profile() -> bool {
    true
}

fn default_restart_limit() -> u32 {
    10
}

fn default_privileges() -> Vec<String> {
    vec!["default".into()]
}

/// `init =`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Init {
    /// The guest's own if it has one, else our reaper.
    #[default]
    Auto,
    /// Only our reaper.
    None,
    /// A program of the guest, absolute.
    Path(String),
}

impl From<String> for Init {
    fn from(s: String) -> Self {
        match s.as_str() {
            "auto" => Self::Auto,
            "none" => Self::None,
            _ => Self::Path(s),
        }
    }
}

impl From<Init> for String {
    fn from(i: Init) -> Self {
        match i {
            Init::Auto => "auto".into(),
            Init::None => "none".into(),
            Init::Path(p) => p,
        }
    }
}

/// `restart =`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its monitor or process 1 died.
    OnFailure,
    /// When its guest powered it off, too.
    Always,
}

/// `vsyscall =`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vsyscall {
    /// The host where it has the page; else they are rewritten at levels below 5.0 and in roots with a C library of that age.
    #[default]
    Auto,
    /// They are rewritten.
    Rewrite,
    /// The host, whether it has the page or not.
    Host,
}

/// `ip-type =`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpType {
    /// A network namespace of its own, with `[[net]]` interfaces.
    #[default]
    Exclusive,
    /// The host's network, of which it has the addresses of `[[net]]` and a loopback of its own.
    Shared,
    /// The host's network, all of it.
    Host,
    /// A network namespace with loopback only.
    None,
}

impl IpType {
    /// Whether the zone has a network namespace of its own.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Exclusive | Self::None)
    }
}

/// `[capped-cpu]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CappedCpu {
    /// CPUs, fractions allowed; above 0.
    pub ncpus: f64,
}

/// `[capped-memory]`; sizes are bytes, or a number with K, M, G or T (powers of 1024).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CappedMemory {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical: Option<String>,
    /// Swap beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<String>,
    /// Memory that a process may lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<String>,
}

/// `[capped-disk]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CappedDisk {
    /// Most that the zone's own files take, without what it shares; bytes, or a number with K, M, G or T.
    pub size: String,
}

/// `[[fs]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fs {
    /// Where in the zone, absolute.
    pub dir: String,
    /// Where on the host, absolute.
    pub special: String,
    /// `bind`.
    #[serde(rename = "type", default = "bind")]
    pub kind: String,
    /// `ro`, `rw`, `nosuid`, `nodev`, `noexec`.
    #[serde(default)]
    pub options: Vec<String>,
}

fn bind() -> String {
    "bind".into()
}

/// `[[device]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path under /dev on the host.
    #[serde(rename = "match")]
    pub path: String,
}

/// `[[rctl]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rctl {
    /// `nofile`, `nproc`, `core`…, or `zone.max-processes` and others of illumos.
    pub name: String,
    /// `SOFT:HARD` or one number; `unlimited` is a number. Of a `zone.` one: a number or a size.
    pub value: String,
}

/// `[[attr]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attr {
    /// Name.
    pub name: String,
    /// `string`, `int`, `uint` or `boolean`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Value, as text.
    pub value: String,
}

/// `[[admin]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Host user.
    pub user: String,
    /// `login`, `manage`, `clonefrom`.
    pub auths: Vec<String>,
}

#[cfg(test)]
mod tests;
