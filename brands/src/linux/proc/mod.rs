//! Files of /proc in the form that they had at a level. Each is made from the host's own text of today, so its
//! values are live; what a level did not have yet is left out, what it had in another place stands there.

mod cpuinfo;
mod lists;
mod meminfo;
mod stat;

use crate::level::Level;
use crate::task::World;

/// The host's text of a file of /proc; empty where it has none.
pub type Host<'a> = &'a dyn Fn(&str) -> String;

/// One file that a zone with a level sees in its level's form.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Below /proc.
    pub path: &'static str,
    /// Whether its content changes while the zone runs.
    pub live: bool,
    /// What it does, for the reference page.
    pub about: &'static str,
    /// First level at which the host's own file is right again.
    before: Level,
    make: fn(&World, Level, Host<'_>) -> String,
}

const fn live(path: &'static str, make: fn(&World, Level, Host<'_>) -> String, about: &'static str) -> File {
    File { path, live: true, about, before: Level::newest(), make }
}

const fn fixed(path: &'static str, make: fn(&World, Level, Host<'_>) -> String, about: &'static str) -> File {
    File { path, live: false, about, before: Level::newest(), make }
}

impl File {
    const fn before(self, before: Level) -> Self {
        Self { before, ..self }
    }

    /// Its content in a zone; empty in one without a level, which has the host's own.
    pub fn content(&self, world: &World, host: Host<'_>) -> String {
        world.level.map_or_else(String::new, |level| (self.make)(world, level, host))
    }
}

static FILES: &[File] = &[
    live(
        "meminfo",
        meminfo::meminfo,
        "the table of bytes before 2.6; no field that is younger than the level",
    ),
    live(
        "stat",
        stat::stat,
        "page, swap and disk lines before 2.6; as many columns and lines as the level had",
    ),
    fixed("swaps", lists::swaps, "the host's swap is not the zone's"),
    fixed("cpuinfo", cpuinfo::cpuinfo, "the lines and, before 2.6, the flags that the level knew"),
    fixed("partitions", lists::partitions, "the zone has no disks"),
    fixed("filesystems", lists::filesystems, "what a zone can mount, of what the level had"),
    fixed("cgroups", lists::cgroups, "the controllers that the level had; empty before 2.6.24")
        .before(Level::new(6, 12, 0)),
    fixed("sys/fs/file-max", lists::file_max, "a tenth of memory in KiB as since 2.6; fixed numbers before")
        .before(Level::new(5, 4, 0)),
    live("sys/fs/file-nr", lists::file_nr, "the same number of files at most").before(Level::new(5, 4, 0)),
];

/// The files that a zone of this world sees in place of the host's.
pub fn files(world: &World) -> impl Iterator<Item = &'static File> {
    let level = world.level;
    FILES.iter().filter(move |file| level.is_some_and(|level| level < file.before))
}

/// Every file, for the reference page.
pub fn all() -> &'static [File] {
    FILES
}

/// Keys of lines that came with a release.
type Arrival = (Level, &'static [&'static str]);

/// Whether a line came after the level.
fn is_younger(arrivals: &[Arrival], key: &str, level: Level) -> bool {
    arrivals.iter().any(|(since, keys)| level < *since && keys.contains(&key))
}

/// The number after `key` in a text of lines `key: number …` or `key number …`.
fn number(text: &str, key: &str) -> u64 {
    let rest = text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        rest.strip_prefix([':', ' '])
    });
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Whether programs of the zone keep such numbers in 32 bits, with a sign.
fn narrow(world: &World, level: Level) -> bool {
    crate::platform::is_linux32(world.personality) && level < Level::new(2, 4, 0)
}

#[cfg(test)]
pub(super) fn world(level: &str, arch: &str) -> World {
    crate::fake::Fake::linux(Some(level), Some(arch)).world
}
