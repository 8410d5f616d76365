//! When each call of each ABI came and went.

use crate::abi::Abi;
use crate::level::Level;

/// The life of one call on one ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As asm/unistd.h spells it.
    pub name: &'static str,
    /// Number on the ABI.
    pub nr: u32,
    /// First release that has it.
    pub since: Level,
    /// First release that answers ENOSYS again.
    pub until: Option<Level>,
    /// Where these facts are from.
    pub source: &'static str,
}

/// Every call that `abi` ever had, by number.
pub fn entries(_abi: Abi) -> &'static [Entry] {
    &[]
}

/// The life of the call of this name.
pub fn entry(abi: Abi, name: &str) -> Option<&'static Entry> {
    entries(abi).iter().find(|entry| entry.name == name)
}

/// Whether a kernel of this release has the call; true for calls of which nothing is known.
pub fn has(abi: Abi, name: &str, release: Level) -> bool {
    entry(abi, name).is_none_or(|e| e.since <= release && e.until.is_none_or(|until| release < until))
}
