//! How a brand is declared: rows as data, keyed by the call's name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Answered, Call};
use crate::cond::Cond;
use crate::history::{self, Entry};
use crate::level::Level;
use crate::platform::{Platform, Request};
use crate::task::{Task, World};

/// Answers a notified call.
pub type Handler = fn(&mut dyn Task, &Call) -> Answered;

/// Who answers a call, and how.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// This handler, in the monitor.
    Emulate(Handler),
    /// The filter, with this error.
    Refuse(Errno),
    /// The filter: the call returns 0 and does nothing.
    Succeed,
}

/// Why a call is refused or does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It would change or show the host.
    HostState,
    /// The zone's kernel is told to have been built without it.
    NotBuilt,
    /// The zone set it when it booted, and programs would undo that.
    Pinned,
    /// It did nothing more in the kernel that the level names.
    NoEffectThen,
    /// The kernel that the level names does not have it, and the zone is strict.
    NotYet,
    /// The kernel that the level names does not have it, and what it is asked for stands in memory, where no filter looks.
    Unseen,
    /// The host's kernel does not have it.
    HostLacks,
}

impl Why {
    /// The reason as a clause for the reference page.
    pub const fn text(self) -> &'static str {
        match self {
            Self::HostState => "it belongs to the host",
            Self::NotBuilt => "as a kernel built without it",
            Self::Pinned => "the zone set it at boot",
            Self::NoEffectThen => "the kernel did no more then",
            Self::NotYet => "the level does not have it",
            Self::Unseen => "the level does not have it, and no filter sees its flags",
            Self::HostLacks => "the host does not have it",
        }
    }

    /// Whether some kernel has the call and guests are not to: our own code between the filter and a program may make it.
    pub const fn withholds(self) -> bool {
        matches!(self, Self::NotYet | Self::Unseen | Self::HostLacks)
    }
}

/// Which zones of a brand a row is for, beyond its levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Every,
    /// Those whose uname(2) differs from the host's.
    Renamed,
    /// Those that boot with a personality.
    Pinned,
    /// Those that boot with PER_LINUX32.
    Bits32,
    /// Those that are strict.
    Strict,
    /// Those on a host whose kernel lacks the row's call.
    Lacks,
    /// Those with file systems whose inode numbers may not fit 32 bits.
    WideInodes,
    /// Those with a `capped-disk` of which their file system does not tell programs (btrfs).
    Quota,
    /// Those whose calls into the vsyscall page are rewritten.
    Vsyscall,
    /// Those, and others whose programs are made fit before they run: strict ones, and 32-bit ones below level 2.6.
    MadeFit,
}

impl Scope {
    /// Whether a zone of this world is meant by a row for `name` of `abi`.
    pub fn covers(self, world: &World, abi: Abi, name: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Renamed => world.level.is_some() || world.machine != "x86_64" || world.machine32 != "i686",
            Self::Pinned => world.personality != 0,
            Self::Bits32 => crate::platform::is_linux32(world.personality),
            Self::Strict => world.strict,
            Self::Lacks => !crate::history::has(abi, name, world.host),
            Self::WideInodes => world.wide_inodes,
            Self::Quota => world.has_quota,
            Self::Vsyscall => world.rewrites_vsyscall,
            Self::MadeFit => {
                let is_old = world.level.is_some_and(|level| level < Level::new(2, 6, 0));
                let bits32 = crate::platform::is_linux32(world.personality);
                world.rewrites_vsyscall || bits32 && is_old || world.strict && world.level.is_some()
            }
        }
    }

    /// The zones in words; empty for all.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Every => "",
            Self::Renamed => "zones with a level or an arch",
            Self::Pinned => "zones with a pinned personality",
            Self::Bits32 => "32-bit zones",
            Self::Strict => "strict zones",
            Self::Lacks => "hosts without the call",
            Self::WideInodes => "zones with inodes above 32 bits",
            Self::Quota => "zones with a capped-disk on btrfs",
            Self::Vsyscall => "zones whose vsyscall calls are rewritten",
            Self::MadeFit => "strict zones, 32-bit zones below 2.6, zones whose vsyscall calls are rewritten",
        }
    }
}

/// What one call meets, on some ABIs, at some levels and under some condition. The first row of a
/// table that fits a call answers it; a call that no row fits goes to the host kernel.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The call, as asm/unistd.h spells it. An ABI without such a call has no such row.
    pub name: &'static str,
    /// The only ABI; `None` means all.
    pub abi: Option<Abi>,
    /// First level that has the row.
    pub since: Option<Level>,
    /// First level that no longer has it.
    pub before: Option<Level>,
    /// The release that brought what the row refuses, where that is not `before`: kernels between them have
    /// another error for it.
    pub came: Option<Level>,
    /// Which zones have it.
    pub scope: Scope,
    /// Condition on the arguments.
    pub cond: Cond,
    /// Who answers.
    pub answer: Answer,
    /// The reason, where a kernel would have done more.
    pub why: Option<Why>,
    /// What the row does, for the reference page.
    pub about: &'static str,
    /// What it does not do.
    pub gap: Option<&'static str>,
}

const fn row(name: &'static str, answer: Answer, why: Option<Why>) -> Row {
    Row {
        name,
        abi: None,
        since: None,
        before: None,
        came: None,
        scope: Scope::Every,
        cond: Cond::Always,
        answer,
        why,
        about: "",
        gap: None,
    }
}

/// A call that a handler answers.
pub const fn emulate(name: &'static str, handler: Handler) -> Row {
    row(name, Answer::Emulate(handler), None)
}

/// A call that fails.
pub const fn refuse(name: &'static str, errno: Errno, why: Why) -> Row {
    row(name, Answer::Refuse(errno), Some(why))
}

/// A call that returns 0 and does nothing.
pub const fn succeed(name: &'static str, why: Why) -> Row {
    row(name, Answer::Succeed, Some(why))
}

impl Row {
    /// Only for this ABI.
    pub const fn on(self, abi: Abi) -> Self {
        Self { abi: Some(abi), ..self }
    }

    /// Only for calls whose arguments fit.
    pub const fn when(self, cond: Cond) -> Self {
        Self { cond, ..self }
    }

    /// Only at levels below this one. A zone without a level has the host's, which is above all.
    pub const fn before(self, level: Level) -> Self {
        Self { before: Some(level), ..self }
    }

    /// Only at this level and above, and without a level.
    pub const fn since(self, level: Level) -> Self {
        Self { since: Some(level), ..self }
    }

    /// What it refuses came with this release, later than the error changed.
    pub const fn came(self, level: Level) -> Self {
        Self { came: Some(level), ..self }
    }

    /// Only in these zones.
    pub const fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Says what the row does.
    pub const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Says what the row does not do.
    pub const fn gap(self, gap: &'static str) -> Self {
        Self { gap: Some(gap), ..self }
    }

    /// Whether zones of this world have the row for calls of `abi`.
    pub fn covers(&self, world: &World, abi: Abi) -> bool {
        let since = self.since.is_none_or(|since| world.level.is_none_or(|level| level >= since));
        let before = self.before.is_none_or(|before| world.level.is_some_and(|level| level < before));
        since && before && self.scope.covers(world, abi, self.name)
    }

    /// The row's number in `abi`, when it is for that ABI and the ABI has the call.
    pub fn number(&self, abi: Abi) -> Option<u32> {
        if self.abi.is_some_and(|only| only != abi) {
            return None;
        }
        abi.number(self.name)
    }
}

/// What a guest is told about its kernel.
#[derive(Debug)]
pub struct Brand {
    /// Name in a zone's configuration.
    pub name: &'static str,
    /// One line for `brand list`.
    pub summary: &'static str,
    /// A page's worth of words for its reference.
    pub about: &'static str,
    /// Oldest and newest level, for a brand that has levels.
    pub levels: Option<(Level, Level)>,
    /// The table, in parts; of two rows that fit a call the one that stands first answers it.
    pub(crate) tables: &'static [&'static [Row]],
    pub(crate) platform: fn(&Request) -> Platform,
}

impl Brand {
    /// What a zone of this brand is booted with.
    pub fn platform(&self, request: &Request) -> Platform {
        (self.platform)(request)
    }

    /// Every row, in its order.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.tables.iter().copied().flatten()
    }

    /// The rows for one call in a zone of this world: those of the table, in their order, unless the
    /// history of the call says it all.
    pub fn rows_for(&self, world: &World, abi: Abi, call: &Entry) -> Vec<Row> {
        let own = self.rows().filter(|row| row.number(abi) == Some(call.nr));
        self.rows_of_call(world, abi, call, own)
    }

    /// The same for each call of an ABI, in their order. A boot waits for it.
    pub fn rows_of_calls(&self, world: &World, abi: Abi) -> Vec<(u32, Vec<Row>)> {
        let made;
        let own = match INDEX.iter().find(|(brand, _)| std::ptr::eq(*brand, self)) {
            Some((_, by_abi)) => &by_abi[abi as usize],
            None => {
                made = self.by_number(abi);
                &made
            }
        };
        let rows = |call: &Entry| {
            let own = own.get(&call.nr).into_iter().flatten().copied();
            (call.nr, self.rows_of_call(world, abi, call, own))
        };
        history::entries(abi).iter().map(rows).collect()
    }

    fn by_number(&self, abi: Abi) -> ByNumber {
        let mut own = ByNumber::new();
        for row in self.rows() {
            if let Some(nr) = row.number(abi) {
                own.entry(nr).or_default().push(row);
            }
        }
        own
    }

    fn rows_of_call<'a>(
        &self,
        world: &World,
        abi: Abi,
        call: &Entry,
        own: impl Iterator<Item = &'a Row>,
    ) -> Vec<Row> {
        if self.rows().next().is_none() {
            return Vec::new();
        }
        if let Some(row) = masked(world, call) {
            return vec![row];
        }
        let mut rows: Vec<Row> = own.filter(|row| row.covers(world, abi)).copied().collect();
        if call.since > world.host && rows.iter().all(|row| row.cond != Cond::Always) {
            rows.push(refuse(call.name, Errno::ENOSYS, Why::HostLacks).about(LACKED));
        }
        rows
    }
}

const MASKED: &str = "as on the kernel of the level";
const LACKED: &str = "as on a host of that age";

/// What a strict zone says to a call that its level did not have yet, or not any more.
fn masked(world: &World, call: &Entry) -> Option<Row> {
    let level = world.level.filter(|_| world.strict)?;
    let in_page = call.name == "getcpu" && level >= crate::vsyscall::GETCPU;
    if call.lives_in(level) || in_page {
        return None;
    }
    let row = refuse(call.name, Errno::ENOSYS, Why::NotYet).within(Scope::Strict).about(MASKED);
    Some(if call.since > level { row.before(call.since) } else { row })
}

static ALL: &[&Brand] = &[&crate::linux::LINUX, &crate::native::NATIVE];

/// The rows of a brand for each number that they have in an ABI.
type ByNumber = BTreeMap<u32, Vec<&'static Row>>;

/// That of each brand and ABI, for names are looked up once.
static INDEX: LazyLock<Vec<(&'static Brand, [ByNumber; Abi::ALL.len()])>> =
    LazyLock::new(|| ALL.iter().map(|brand| (*brand, Abi::ALL.map(|abi| brand.by_number(abi)))).collect());

/// All brands.
pub fn all() -> &'static [&'static Brand] {
    ALL
}

/// The brand of this name.
pub fn brand(name: &str) -> Option<&'static Brand> {
    all().iter().copied().find(|brand| brand.name == name)
}
