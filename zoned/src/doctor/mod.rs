//! What this host offers zones and what it lacks: each line is looked up or tried, at little cost and with
//! nothing left behind.

mod clashes;
mod facts;
mod root;
mod settings;
mod trial;

use std::fs;
use std::path::Path;

use zone_api::{Finding, Verdict};

use crate::config::daemon::Settings;
use crate::confine::Ids;
use crate::confine::cgroup::Hierarchies;
use crate::confine::privileges::lacking;
use crate::image;
use crate::network;
use crate::storage::backend;
use crate::sys::process::status_set;
use facts::{Facts, Kernel};

/// Looks at this host; `root` is the daemon's folder, which need not exist yet, `own` its settings.
pub fn examine(root: &Path, own: &Settings) -> Vec<Finding> {
    let facts = Facts::gather();
    let mut found = vec![kernel(&facts), privileges()];
    found.extend(namespaces(&facts));
    found.extend(seccomp(&facts));
    found.push(memory());
    found.push(overlay(&facts));
    found.extend(cgroups());
    found.extend(programs(&facts));
    found.extend(links(&facts));
    found.push(bootstrap());
    found.push(loginuid());
    found.push(open_files());
    found.extend(settings::examine());
    found.extend(clashes::examine(own));
    // The folder is made when zoned first starts: until then its parent tells.
    let root = root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    found.extend(trial::examine(root, Ids { base: own.id_base }));
    found.extend(root::examine(root));
    found.extend(storage(root));
    found
}

fn finding(what: &str, verdict: Verdict, found: impl Into<String>, why: impl Into<String>) -> Finding {
    Finding { what: what.to_owned(), verdict, found: found.into(), why: why.into() }
}

fn ok_or(there: bool, otherwise: Verdict) -> Verdict {
    if there { Verdict::Ok } else { otherwise }
}

/// One line of a file of /proc or /sys.
fn line(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn kernel(facts: &Facts) -> Finding {
    let (verdict, why) = if facts.kernel < Kernel(5, 10) {
        (
            Verdict::Fatal,
            "zones want openat2, pidfd_getfd and what seccomp can since 5.9: Linux 5.10 or newer",
        )
    } else if facts.kernel < Kernel(5, 19) {
        let why = "no overlay over mounts with mapped ids: a zone's files belong to the zone's ids on disk, and \
                   the host's files to nobody in it: Linux 5.19";
        (Verdict::Missing, why)
    } else {
        (Verdict::Ok, "a zone's root is an overlay over mounts with mapped ids: Linux 5.19")
    };
    finding("kernel", verdict, &facts.release, why)
}

fn privileges() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lacking = lacking(status_set(&status, "CapEff:").unwrap_or(0));
    let found = if lacking.is_empty() { "all".to_owned() } else { format!("without {}", lacking.join(", ")) };
    let why = "zoned maps ids, mounts and makes groups of processes: run it as root";
    finding("capabilities", ok_or(lacking.is_empty(), Verdict::Fatal), found, why)
}

fn namespaces(facts: &Facts) -> Vec<Finding> {
    let most = line("/proc/sys/user/max_user_namespaces").and_then(|text| text.parse::<u64>().ok());
    let made = Path::new("/proc/self/ns/user").exists();
    let (verdict, found) = match (made, most) {
        (false, _) => (Verdict::Fatal, "none in this kernel".to_owned()),
        (true, Some(0)) => (Verdict::Fatal, "user.max_user_namespaces is 0".to_owned()),
        (true, Some(most)) => (Verdict::Ok, format!("{most} at most")),
        (true, None) => (Verdict::Ok, "no limit".to_owned()),
    };
    let why = "every zone has its own ids, and its root no rights outside: raise user.max_user_namespaces";
    let user = finding("user namespaces", verdict, found, why);

    let missing: Vec<&str> = ["pid", "mnt", "net", "uts", "ipc", "cgroup"]
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    let found = if missing.is_empty() { "all".to_owned() } else { format!("without {}", missing.join(", ")) };
    let why = "a zone has its own processes, mounts, network, name, shared memory and groups";
    let others = finding("other namespaces", ok_or(missing.is_empty(), Verdict::Fatal), found, why);

    let time = Path::new("/proc/self/ns/time").exists();
    let why = "lets a zone's uptime begin at its boot: CONFIG_TIME_NS, Linux 5.6";
    let time = finding("time namespaces", ok_or(time, Verdict::Missing), there(time), why);

    let pid = nix::unistd::Pid::this();
    let pidfd = crate::sys::process::open(pid);
    let found = match pidfd {
        Ok(_) if facts.kernel >= Kernel(5, 7) => "there".to_owned(),
        Ok(_) => "no CLONE_INTO_CGROUP".to_owned(),
        Err(error) => format!("pidfd_open: {error}"),
    };
    let verdict = ok_or(found == "there", Verdict::Fatal);
    let why = "a zone's first process is made in its group and watched by descriptor: Linux 5.7, and no sandbox that forbids it";
    vec![user, others, time, finding("clone3 and pidfds", verdict, found, why)]
}

/// What the file system of zones offers.
fn storage(root: &Path) -> Vec<Finding> {
    let backend = backend::of(root);
    let why = "how a zone's own folder is kept while it runs: a snapshot of it copies what it wrote, or is one call on btrfs";
    let kept = finding("snapshots", Verdict::Ok, backend.word(), why);
    let why = "capped-disk.size bounds what a zone writes: btrfs, or ext4 or xfs mounted with prjquota";
    let unlimited = backend.unlimited(root);
    let limits = finding(
        "limits of disk",
        ok_or(unlimited.is_none(), Verdict::Missing),
        there(unlimited.is_none()),
        why,
    );
    vec![kept, limits]
}

fn there(it: bool) -> &'static str {
    if it { "there" } else { "not there" }
}

fn seccomp(facts: &Facts) -> Vec<Finding> {
    let actions = line("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let notify = actions.split(' ').any(|action| action == "user_notif");
    let why =
        "brands answer system calls by it; without it only the brand native works: CONFIG_SECCOMP_FILTER";
    let first = finding("seccomp user notification", ok_or(notify, Verdict::Missing), there(notify), why);
    let killable = notify && crate::sys::notify::has_wait_killable();
    let why = "without it a signal may interrupt a call that the brand has answered already: Linux 5.19";
    let second = finding("killable notification", ok_or(killable, Verdict::Missing), there(killable), why);
    let wake = notify && facts.kernel >= Kernel(6, 6);
    let why = "the answer to an emulated call then waits for no other processor to wake up: Linux 6.6";
    vec![first, second, finding("synchronous notification", ok_or(wake, Verdict::Missing), there(wake), why)]
}

/// Yama's strictest setting forbids process_vm_readv(2) even to root.
fn memory() -> Finding {
    let scope = line("/proc/sys/kernel/yama/ptrace_scope");
    let open = scope.as_deref() != Some("3");
    let found = scope.map_or_else(|| "open, no yama".to_owned(), |scope| format!("ptrace_scope {scope}"));
    let why = "brands read the arguments of calls from the guest's memory: kernel.yama.ptrace_scope below 3";
    finding("memory of guests", ok_or(open, Verdict::Missing), found, why)
}

fn overlay(facts: &Facts) -> Finding {
    let loaded = facts.file_systems.iter().any(|name| name == "overlay");
    let (verdict, found) = match (loaded, facts.has("OVERLAY_FS", "overlay")) {
        (true, _) => (Verdict::Ok, "there"),
        (false, Some(true)) => (Verdict::Ok, "a module, not loaded yet"),
        _ => (Verdict::Fatal, "not there"),
    };
    let why = "a zone's root is its installed files below what it has written since: CONFIG_OVERLAY_FS, modprobe overlay";
    finding("overlay", verdict, found, why)
}

fn cgroups() -> Vec<Finding> {
    let found = match Hierarchies::detect() {
        Ok(found) => found,
        Err(error) => {
            let why = "processes of a zone are counted, limited and ended by their group";
            return vec![finding("cgroup layout", Verdict::Fatal, error.to_string(), why)];
        }
    };
    let layout = match (&found.v2, found.v1.is_empty()) {
        (Some(_), true) => "v2",
        (Some(_), false) => "hybrid: v1 beside v2",
        (None, false) => "v1",
        (None, true) => "none mounted",
    };
    let why =
        "processes of a zone are counted, limited and ended by their group: mount cgroup2 on /sys/fs/cgroup";
    let mut lines =
        vec![finding("cgroup layout", ok_or(layout != "none mounted", Verdict::Fatal), layout, why)];
    let v2 = found.v2.as_ref().and_then(|v2| line(v2.join("cgroup.controllers"))).unwrap_or_default();
    for (controller, why) in [
        ("cpu", "needed for capped-cpu and cpu-shares"),
        ("cpuset", "needed for dedicated-cpu, and for as many CPUs in a zone as its cap comes to"),
        ("memory", "needed for capped-memory"),
        ("pids", "needed for max-processes and max-lwps, and against fork bombs where there are none"),
        ("io", "needed for capped-io"),
        ("devices", "a second wall around device nodes; a zone has no right to make them in any case"),
        ("freezer", "needed for snapshots and clones of zones that run"),
    ] {
        let v1 = found.v1.iter().find(|(_, names)| {
            names.iter().any(|name| name == controller || controller == "io" && name == "blkio")
        });
        // In v2 a group can always be frozen (Linux 5.2), and devices are a BPF program's matter.
        let of_v2 = v2.split(' ').any(|name| name == controller)
            || found.v2.is_some() && matches!(controller, "devices" | "freezer");
        let place = match (of_v2, v1) {
            (true, _) => "v2".to_owned(),
            (false, Some((path, _))) => format!("v1, {}", path.display()),
            (false, None) => "not there".to_owned(),
        };
        let verdict = ok_or(of_v2 || v1.is_some(), Verdict::Missing);
        lines.push(finding(&format!("cgroup controller {controller}"), verdict, place, why));
    }
    lines
}

fn programs(facts: &Facts) -> Vec<Finding> {
    let host = scan::Host::here();
    let tried = |ran: Option<bool>, option: &str| match (ran, facts.config(option)) {
        (Some(true), _) => (Verdict::Ok, "a program ran"),
        (Some(false), _) => (Verdict::Missing, "refused"),
        (None, Some(true)) => (Verdict::Ok, "configured"),
        (None, _) => (Verdict::Missing, "not known"),
    };
    let (verdict, found) = tried(host.i386, "IA32_EMULATION");
    let why = "zones of arch i686 need it: CONFIG_IA32_EMULATION, and not ia32_emulation=0 at boot";
    let i386 = finding("32-bit programs", verdict, found, why);
    let (verdict, found) = tried(host.x32, "X86_X32_ABI");
    let why = "hardly any program is made for it, and zones refuse its calls";
    // Nothing is lost where it is not there.
    let verdict = if verdict == Verdict::Missing { Verdict::Ok } else { verdict };
    let x32 = finding("x32 programs", verdict, found, why);
    vec![i386, vsyscall(host.vsyscall), x32]
}

fn vsyscall(mode: &str) -> Finding {
    let why = "64-bit programs of before 2013 (EL5, EL6, Debian 7) call time through that page; where there is none, zones of brand linux have such calls rewritten, at levels below 5.0 and in roots with a C library of that age";
    finding("vsyscall page", Verdict::Ok, format!("mode {mode}"), why)
}

fn links(facts: &Facts) -> Vec<Finding> {
    let known = |there: Option<bool>| match there {
        Some(there) => (ok_or(there, Verdict::Missing), self::there(there)),
        None => (Verdict::Missing, "not known"),
    };
    let (verdict, found) = known(facts.has("VETH", "veth"));
    let veth = finding("veth", verdict, found, "the wire between a zone and the host: modprobe veth");
    let (verdict, found) = known(facts.has("BRIDGE", "bridge"));
    let bridge = finding("bridge", verdict, found, "zones on one network: modprobe bridge");
    let tables = Path::new("/proc/net/ip_tables_names").exists();
    let (verdict, found) = known(if tables { Some(true) } else { facts.has("IP_NF_IPTABLES", "ip_tables") });
    let why = "guests of before nftables set up their firewall by it: modprobe ip_tables";
    let legacy = finding("iptables-legacy", verdict, found, why);
    let (verdict_of_tables, found_of_tables) = known(facts.has("NF_TABLES", "nf_tables"));
    let of_guests =
        "guards zones on bridges, and guests of today set up their firewall by it: modprobe nf_tables";
    let own = network::nft_program();
    let found = own.as_ref().map_or_else(|| there(false).to_owned(), |path| path.display().to_string());
    let verdict = ok_or(own.is_some(), Verdict::Missing);
    let why = "guards zones on bridges, and leads them to the outside: install the package nftables";
    let program = finding("program nft", verdict, found, why);
    let tables = finding("nftables", verdict_of_tables, found_of_tables, of_guests);
    vec![veth, bridge, legacy, tables, program, shared()]
}

fn shared() -> Finding {
    let possible = network::can_share();
    let verdict = ok_or(possible.is_ok(), Verdict::Missing);
    let found = possible.err().unwrap_or_else(|| there(true).to_owned());
    finding(
        "programs on cgroups",
        verdict,
        found,
        "hold zones with ip-type = shared to their addresses: CONFIG_CGROUP_BPF",
    )
}

fn bootstrap() -> Finding {
    let tool = image::bootstrap_program();
    let why = "makes roots from a Debian mirror, zonectl install NAME debootstrap:SUITE: apt-get install mmdebstrap";
    finding("debootstrap", ok_or(tool.is_some(), Verdict::Missing), tool.unwrap_or("not there"), why)
}

fn loginuid() -> Finding {
    let (verdict, found) = match line("/proc/self/loginuid").as_deref() {
        None => (Verdict::Ok, "no auditing".to_owned()),
        Some("4294967295") => (Verdict::Ok, "not set".to_owned()),
        Some(uid) => (Verdict::Missing, format!("set to {uid}")),
    };
    let why = "sshd and cron of a guest set it, which works once: start zoned from init and not from a login";
    finding("audit login uid", verdict, found, why)
}

fn open_files() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().nth(1))
        .unwrap_or("not known");
    let enough = hard == "unlimited" || hard.parse::<u64>().is_ok_and(|hard| hard >= 4096);
    let why = "zones may open no more files at once than zoned may: LimitNOFILE of its service";
    finding("open files", ok_or(enough, Verdict::Missing), format!("{hard} at most"), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(all: &'a [Finding], what: &str) -> &'a Finding {
        all.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("no line {what}"))
    }

    #[test]
    fn lines_are_whole_and_unlike() {
        let dir = tempfile::tempdir().unwrap();
        let all = examine(dir.path(), &Settings::default());
        assert!(all.len() > 20);
        for (n, one) in all.iter().enumerate() {
            eprintln!("{:8} {:30} {:30} {}", format!("{:?}", one.verdict), one.what, one.found, one.why);
            assert!(!one.what.is_empty() && !one.found.is_empty() && one.why.len() > 10, "{one:?}");
            assert!(!one.why.ends_with('.') && one.why.starts_with(|c: char| !c.is_uppercase()), "{one:?}");
            assert!(all[..n].iter().all(|other| other.what != one.what), "{} twice", one.what);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it left something behind");
    }

    #[test]
    fn lines_agree_with_this_host() {
        let all = examine(Path::new("/no/such/folder/zoned"), &Settings::default());
        let shell = |script: &str| {
            let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(of(&all, "kernel").found, shell("uname -r"));
        let page = shell("grep vsyscall /proc/self/maps | cut -d' ' -f2");
        let mode = match &page[..] {
            "" => "mode none",
            "--xp" => "mode xonly",
            _ => "mode emulate",
        };
        assert_eq!(of(&all, "vsyscall page").found, mode);
        let memory = shell("grep -w memory /proc/self/cgroup | head -n 1");
        let v2 = shell("cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null");
        let there = !memory.is_empty() || v2.split(' ').any(|name| name == "memory");
        assert_eq!(of(&all, "cgroup controller memory").verdict == Verdict::Ok, there);
        assert_eq!(
            of(&all, "overlay").verdict == Verdict::Ok,
            !shell("grep -w overlay /proc/filesystems").is_empty()
        );
        let config = shell("zcat /proc/config.gz 2>/dev/null | grep '^CONFIG_IA32_EMULATION=y'");
        if !config.is_empty() && !shell("cat /proc/cmdline").contains("ia32_emulation=") {
            assert_eq!(of(&all, "32-bit programs").found, "a program ran");
        }
    }
}
