//! Which CPUs a zone's programs run on: of their own, as many as a cap comes to, or those that nobody has for himself.
//!
//! Every zone is in a cpuset. What it asked for is written to its group as an extended attribute, so that monitors, who
//! know nothing of each other, agree: whoever changes something holds a lock of the folder of all zones and sets all
//! of them right.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::XattrFlags;

use super::Failure;
use super::cgroup::subgroups;
use super::control::{is_marked, lock, mark, set, unmark};
use super::limits::Limits;

/// Numbers of CPUs.
pub type Set = BTreeSet<u32>;

/// What a zone asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that no other zone has for itself.
    Any,
    /// As many of them.
    Some(usize),
    /// From so many to so many for itself.
    Own(usize, usize),
}

impl Wanted {
    /// A cap of 1.5 CPUs comes to two, as Java and LXCFS have it.
    pub fn of(limits: &Limits) -> Self {
        match (limits.dedicated, limits.cpus) {
            (Some((least, most)), _) => Self::Own(least, most),
            (None, Some(cpus)) => Self::Some((cpus.ceil() as usize).max(1)),
            (None, None) => Self::Any,
        }
    }
}

/// On a group, what its zone asked for; on the folder of all zones, that one asks for something.
const ATTRIBUTE: &str = "trusted.zones.cpus";

/// Whether a group is in a cpuset hierarchy.
pub fn is_cpuset(group: &Path) -> bool {
    group.join("cpuset.cpus").exists()
}

/// Whether a group has CPUs for itself.
pub fn is_dedicated(group: &Path) -> bool {
    matches!(asked(group), Wanted::Own(..))
}

/// Gives a group, new or not, CPUs as it wants them, and sets the others right.
pub fn assign(group: &Path, wanted: Wanted) -> Result<(), Failure> {
    let Some(parent) = group.parent() else { return Ok(()) };
    let _lock = lock(parent)?;
    prepare(parent)?;
    fill(group, "cpuset.mems", parent)?;
    // Until one wants others than all they need not be looked at one by one.
    if wanted == Wanted::Any && !is_marked(parent, ATTRIBUTE) {
        return fill(group, "cpuset.cpus", parent);
    }
    mark(parent, ATTRIBUTE);
    if let Wanted::Own(least, most) = wanted {
        let all = all(parent);
        let taken: Set =
            others(parent, group).iter().filter(|g| is_dedicated(g)).flat_map(|g| own(g)).collect();
        let free: Vec<u32> = all.difference(&taken).copied().collect();
        // One is left for all the others; the first, which does more for the host than its fellows.
        let most_there = free.len().saturating_sub(1);
        if least > most_there {
            let why = format!(
                "it wants {least} for itself; of this host's {} CPUs {most_there} can be given, and one stays for all others",
                all.len()
            );
            return Err(Failure::new("give it", "CPUs (dedicated-cpu)", io::Error::other(why)));
        }
        let mine: Set = free.iter().rev().take(most.min(most_there)).copied().collect();
        remember(group, wanted)?;
        // v2 and v1 alike: those that shared them are moved before anything else happens here.
        settle_but(parent, &taken.union(&mine).copied().collect(), Some(group))?;
        return put(group, &mine);
    }
    remember(group, wanted)?;
    settle_locked(parent)
}

/// Sets all groups right after one with CPUs of its own has gone.
pub fn settle(parent: &Path) -> Result<(), Failure> {
    let _lock = lock(parent)?;
    settle_locked(parent)
}

fn settle_locked(parent: &Path) -> Result<(), Failure> {
    let groups = subgroups(parent);
    let taken = groups.iter().filter(|group| is_dedicated(group)).flat_map(|group| own(group)).collect();
    settle_but(parent, &taken, None)?;
    if groups.iter().all(|group| asked(group) == Wanted::Any) {
        unmark(parent, ATTRIBUTE);
    }
    Ok(())
}

fn settle_but(parent: &Path, taken: &Set, but: Option<&Path>) -> Result<(), Failure> {
    let all = all(parent);
    let free: Set = all.difference(taken).copied().collect();
    let groups: Vec<_> = subgroups(parent).into_iter().filter(|group| Some(group.as_path()) != but).collect();
    for group in &groups {
        let have = own(group);
        let wants = match asked(group) {
            Wanted::Own(..) => continue,
            Wanted::Any => free.clone(),
            Wanted::Some(count) if count >= free.len() => free.clone(),
            Wanted::Some(count) if have.len() == count && have.is_subset(&free) => continue,
            Wanted::Some(count) => {
                // Those that the fewest others with a cap are on.
                let capped: Vec<Set> = groups
                    .iter()
                    .filter(|g| *g != group && matches!(asked(g), Wanted::Some(_)))
                    .map(|g| own(g))
                    .collect();
                let mut by_use: Vec<(usize, u32)> = free
                    .iter()
                    .map(|cpu| (capped.iter().filter(|set| set.contains(cpu)).count(), *cpu))
                    .collect();
                by_use.sort_unstable();
                by_use.into_iter().take(count).map(|(_, cpu)| cpu).collect()
            }
        };
        if wants != have {
            match put(group, &wants) {
                // It went in the meantime.
                Err(failure) if group.exists() => return Err(failure),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A cpuset of v1 begins empty, and nothing can enter it like that (cgroup-v1/cpusets.rst).
fn prepare(parent: &Path) -> Result<(), Failure> {
    let Some(above) = parent.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fill(parent, file, above)?;
    }
    Ok(())
}

fn fill(group: &Path, file: &str, from: &Path) -> Result<(), Failure> {
    let text = |dir: &Path| fs::read_to_string(dir.join(file)).unwrap_or_default().trim().to_owned();
    if group.join("tasks").exists() && text(group).is_empty() {
        set(group, file, &text(from))?;
    }
    Ok(())
}

fn others(parent: &Path, group: &Path) -> Vec<std::path::PathBuf> {
    subgroups(parent).into_iter().filter(|other| other != group).collect()
}

/// All CPUs that zones can run on.
fn all(parent: &Path) -> Set {
    let read = |file: &str| fs::read_to_string(parent.join(file)).ok();
    let text = read("cpuset.cpus.effective").or_else(|| read("cpuset.effective_cpus"));
    parse(&text.or_else(|| read("cpuset.cpus")).unwrap_or_default())
}

/// CPUs of a group; in v2 one of which nothing was said has its parent's.
pub fn own(group: &Path) -> Set {
    let set = parse(&fs::read_to_string(group.join("cpuset.cpus")).unwrap_or_default());
    match group.parent() {
        Some(parent) if set.is_empty() && !group.join("tasks").exists() => all(parent),
        _ => set,
    }
}

fn put(group: &Path, cpus: &Set) -> Result<(), Failure> {
    set(group, "cpuset.cpus", &show(cpus)).map(drop)
}

fn remember(group: &Path, wanted: Wanted) -> Result<(), Failure> {
    let text = match wanted {
        Wanted::Any => String::new(),
        Wanted::Some(count) => count.to_string(),
        Wanted::Own(least, most) => format!("{least}-{most}"),
    };
    let fail = |e: rustix::io::Errno| Failure::new("mark", group.display(), e);
    if text.is_empty() {
        unmark(group, ATTRIBUTE);
        return Ok(());
    }
    rustix::fs::setxattr(group, ATTRIBUTE, text.as_bytes(), XattrFlags::empty()).map_err(fail)
}

fn asked(group: &Path) -> Wanted {
    let mut buffer = [0u8; 64];
    let Ok(len) = rustix::fs::getxattr(group, ATTRIBUTE, &mut buffer[..]) else { return Wanted::Any };
    let text = std::str::from_utf8(&buffer[..len]).unwrap_or_default();
    match text.split_once('-') {
        Some((least, most)) => Wanted::Own(least.parse().unwrap_or(1), most.parse().unwrap_or(1)),
        None => text.parse().map_or(Wanted::Any, Wanted::Some),
    }
}

/// No kernel numbers a processor higher: NR_CPUS of x86 is 8192 at most (arch/x86/Kconfig).
const LAST: u32 = 65_535;

/// A list as the kernel writes it: `0-2,5`.
pub fn parse(text: &str) -> Set {
    let mut set = Set::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            set.extend(first..=last.min(LAST));
        }
    }
    set
}

/// The same way back.
pub fn show(set: &Set) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &cpu in set {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let part = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_the_kernel_writes_them() {
        for text in ["", "0", "0-3", "0-2,5", "1,3,5-7"] {
            assert_eq!(show(&parse(text)), text);
        }
        assert_eq!(parse("0-1,4\n"), Set::from([0, 1, 4]));
        // What no kernel writes takes no memory, and is one set however it is told.
        let set = parse("0-1544,590-129544,4294967295,4294967295-4294967295");
        assert_eq!(show(&set), "0-65535");
    }

    /// Files of a group as v1 has them.
    fn group(at: &Path, cpus: &str) {
        fs::create_dir(at).unwrap();
        for (file, text) in
            [("cpuset.cpus", cpus), ("cpuset.mems", if cpus.is_empty() { "" } else { "0" }), ("tasks", "")]
        {
            fs::write(at.join(file), text).unwrap();
        }
    }

    #[test]
    fn others_are_looked_at_only_while_one_wants_something() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let parent = dir.path().join("top/zoned");
        group(&dir.path().join("top"), "0-3");
        group(&parent, "0-3");
        let [capped, plain, later] = ["capped", "plain", "later"].map(|name| parent.join(name));
        group(&plain, "");
        assign(&plain, Wanted::Any).unwrap();
        assert!(!is_marked(&parent, ATTRIBUTE));
        group(&capped, "");
        assign(&capped, Wanted::Own(2, 2)).unwrap();
        assert!(is_marked(&parent, ATTRIBUTE));
        assert_eq!((show(&own(&capped)), show(&own(&plain))), ("2-3".to_owned(), "0-1".to_owned()));
        fs::remove_dir_all(&capped).unwrap();
        settle(&parent).unwrap();
        assert!(!is_marked(&parent, ATTRIBUTE));
        group(&later, "");
        assign(&later, Wanted::Any).unwrap();
        assert_eq!((show(&own(&later)), show(&own(&plain))), ("0-3".to_owned(), "0-3".to_owned()));
    }

    #[test]
    fn caps_round_up() {
        let of = |cpus: f64| Wanted::of(&Limits { cpus: Some(cpus), ..Limits::default() });
        assert_eq!((of(0.1), of(1.0), of(1.5)), (Wanted::Some(1), Wanted::Some(1), Wanted::Some(2)));
    }
}
