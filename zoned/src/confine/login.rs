//! A program in a zone: who it runs as, what it is started with, and the plan of a child that
//! enters a running zone to become it.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::Pid;

use super::boot::{Slots, c_string};
use super::cgroup::Cgroup;
use super::{Failure, Ids, clocks, limits};
use crate::config::Config;
use crate::sys::child::{self, CLONE_NEWTIME, Child, Exec, Plan, Step};
use crate::sys::{notify, process};

/// A program to run in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Who it runs as.
    pub user: User,
    /// Paths that are tried in turn.
    pub candidates: Vec<String>,
    /// Its arguments, its name first.
    pub argv: Vec<String>,
    /// Its environment.
    pub environment: Vec<String>,
}

/// Its standard streams.
#[derive(Debug)]
pub enum Streams {
    /// A new terminal of this size: rows, columns.
    Terminal((u16, u16)),
    /// stdin, stdout, stderr.
    Pipes([OwnedFd; 3]),
}

/// A user of a guest, by its own ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

impl User {
    /// Root where a guest has no /etc/passwd.
    pub fn root() -> Self {
        Self {
            name: "root".into(),
            uid: 0,
            gid: 0,
            groups: vec![0],
            home: "/root".into(),
            shell: "/bin/sh".into(),
        }
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Program {
    /// `command` as `user`, looked for in the usual folders, or those of `own`, the zone's variables; a login shell when it is
    /// empty.
    pub fn new(user: User, command: &[String], term: Option<&str>, own: &[String]) -> Self {
        let path = own.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
        let (candidates, argv) = match command.first() {
            None => {
                let base = user.shell.rsplit('/').next().unwrap_or("sh");
                (vec![user.shell.clone(), "/bin/sh".into()], vec![format!("-{base}")])
            }
            Some(name) if name.contains('/') => (vec![name.clone()], command.to_vec()),
            Some(name) => (path.split(':').map(|dir| format!("{dir}/{name}")).collect(), command.to_vec()),
        };
        let mut environment = vec![
            format!("PATH={PATH}"),
            format!("HOME={}", user.home),
            format!("SHELL={}", user.shell),
            format!("USER={}", user.name),
            format!("LOGNAME={}", user.name),
        ];
        // Who it is the user's own entry says.
        let said = ["HOME", "SHELL", "USER", "LOGNAME"];
        let own = own.iter().filter(|one| one.split_once('=').is_none_or(|(name, _)| !said.contains(&name)));
        add_variables(&mut environment, own);
        environment.extend(term.map(|term| format!("TERM={term}")));
        Self { user, candidates, argv, environment }
    }

    fn exec(&self) -> Result<Exec, Failure> {
        let strings = |list: &[String]| -> Result<Vec<CString>, Failure> {
            list.iter().map(|s| c_string(s.as_str())).collect()
        };
        Ok(Exec::new(strings(&self.candidates)?, strings(&self.argv)?, strings(&self.environment)?))
    }
}

/// Adds `NAME=VALUE`s; of two with one name the later counts.
pub fn add_variables<'a>(to: &mut Vec<String>, own: impl Iterator<Item = &'a String>) {
    for variable in own {
        let Some((name, _)) = variable.split_once('=') else { continue };
        to.retain(|other| other.split_once('=').is_none_or(|(other, _)| other != name));
        to.push(variable.clone());
    }
}

/// Adds the brand's filter to a plan, where the brand has one.
pub fn filter(plan: &mut Plan, program: &[libc::sock_filter]) {
    if program.is_empty() {
        return;
    }
    let mut flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if notify::has_wait_killable() {
        flags |= libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    plan.then("install the filter", Step::Filter { program: program.to_vec(), flags, listen: true });
}

/// The end of a plan that becomes a program: its streams, its user, exec.
pub fn finish(
    plan: &mut Plan,
    slots: &mut Slots,
    program: &Program,
    streams: &Streams,
) -> Result<(), Failure> {
    match streams {
        Streams::Terminal(_) => plan.then("take the terminal", Step::TerminalStdio { control: true }),
        Streams::Pipes([a, b, c]) => {
            let stdio = Step::Stdio(slots.add(a)?, slots.add(b)?, slots.add(c)?);
            plan.then("take its streams", stdio)
        }
    };
    let User { uid, gid, groups, home, .. } = &program.user;
    plan.then(
        format!("become user {}", program.user.name),
        Step::Become { uid: *uid, gid: *gid, groups: groups.clone() },
    )
    // Not before: a change of ids takes it back (PR_SET_PDEATHSIG of prctl(2)).
    .then("tie its life to its parent's", Step::DieWithParent)
    .try_then("go home", Step::ChangeDirectoryTo(c_string(home.as_str())?));
    let name = program.argv.first().map_or("", |n| n.trim_start_matches('-'));
    plan.then(format!("execute {name}"), Step::Exec(program.exec()?));
    Ok(())
}

/// A running zone to enter.
#[derive(Debug)]
pub struct Target<'a> {
    /// pidfd of its process 1.
    pub init: BorrowedFd<'a>,
    /// Its number, good while it is not reaped.
    pub init_pid: Pid,
    /// Its control groups.
    pub cgroup: &'a Cgroup,
    /// Its filter; empty for none.
    pub filter: &'a [libc::sock_filter],
    /// Its personality.
    pub personality: u32,
    /// Its soft and hard limit of open files.
    pub nofile: Option<(u64, u64)>,
    /// Capabilities that its programs may have.
    pub capabilities: u64,
    /// Its configuration.
    pub config: &'a Config,
}

/// Starts `program` in a running zone. The child is released and on its way: what it tells comes
/// from [`Child::hear`].
pub fn enter(target: &Target<'_>, program: &Program, streams: &Streams) -> Result<Child, Failure> {
    let mut namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP;
    if target.config.ip_type.is_own() {
        namespaces |= libc::CLONE_NEWNET;
    }
    if clocks::are_own() {
        namespaces |= CLONE_NEWTIME;
    }
    let mut slots = Slots::default();
    let mut plan = Plan::default();
    plan.then("wait", Step::Receive).then("start a session", Step::Session);
    for tasks in target.cgroup.v1_tasks()? {
        plan.then("join the control groups", Step::JoinCgroup(slots.add(tasks)?));
    }
    plan.then("enter the zone", Step::Enter(slots.add(target.init)?, namespaces))
        .then("become root of the zone", Step::Become { uid: 0, gid: 0, groups: vec![0] })
        .try_then("take a keyring of its own", Step::Keyring);
    limits::plan(&mut plan, target.config, target.nofile)?;
    if target.personality != 0 {
        plan.then("set the personality", Step::Personality(target.personality));
    }
    plan.then("bound the capabilities", Step::BoundCapabilities(target.capabilities))
        .then("reset the signals", Step::DefaultSignals);
    if let Streams::Terminal(size) = streams {
        plan.then("open a terminal", Step::Terminal { size: *size });
    }
    filter(&mut plan, target.filter);
    finish(&mut plan, &mut slots, program, streams)?;

    let spawn = |directory: Option<OwnedFd>| {
        let into = || child::spawn(&plan, 0, directory.as_ref().map(AsFd::as_fd));
        process::in_pid_namespace(target.init, into).and_then(|spawned| spawned)
    };
    let child = match spawn(target.cgroup.v2_directory()?) {
        Err(Errno::EBUSY) => spawn(target.cgroup.v2_directory_of(target.init_pid.as_raw())?),
        spawned => spawned,
    }
    .map_err(|e| Failure::new("clone", "a process in the zone", e))?;
    super::give_up_to_oom(child.pid);
    child.release(&slots.borrowed()).map_err(|e| {
        // Left unreaped it would keep process 1 from ever ending (pid_namespaces(7)).
        let _ = process::signal(child.pidfd.as_fd(), libc::SIGKILL);
        let _ = process::reap(child.pidfd.as_fd(), true);
        Failure::new("release", "the program", e)
    })?;
    Ok(child)
}

/// Most bytes that are read of a guest's file: /etc/passwd, /etc/group, its init.
const MOST: u64 = 4 << 20;

/// A regular file of the guest, resolved as the guest's root would, or nothing. Only of the root's own
/// file system: one of the guest's making, in FUSE or /proc, could hold up the reader.
pub fn guest_file(root: BorrowedFd<'_>, path: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&guest_bytes(root, path)?).into_owned())
}

/// The same of one that need not be text.
pub fn guest_bytes(root: BorrowedFd<'_>, path: &str) -> Option<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    let file = std::fs::File::from(openat2(root, path, how).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Where the link `path` of a guest leads, whose root is open as `root`; `None` where it is no link.
pub fn guest_link(root: BorrowedFd<'_>, path: &str) -> Option<String> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    let link = openat2(root, path, how).ok()?;
    nix::fcntl::readlinkat(&link, "").ok()?.into_string().ok()
}

/// Looks up a user, by name or number, in the guest whose root is open as `root` (passwd(5),
/// group(5)).
pub fn find_user(root: BorrowedFd<'_>, wanted: &str) -> Option<User> {
    let passwd = guest_file(root, "etc/passwd").unwrap_or_default();
    let groups = guest_file(root, "etc/group").unwrap_or_default();
    lookup(&passwd, &groups, wanted)
}

/// The user of `user = "USER[:GROUP]"`, by a guest's passwd and group. Numbers need no entry there.
///
/// # Errors
/// What is not there, as a clause.
pub fn user_of(passwd: &str, groups: &str, wanted: &str) -> Result<User, String> {
    let (name, group) = wanted.split_once(':').map_or((wanted, None), |(user, group)| (user, Some(group)));
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id < super::IDS);
    let found = lookup(passwd, groups, name).or_else(|| {
        let uid = number(name)?;
        let (home, shell) = ("/".to_owned(), "/bin/sh".to_owned());
        Some(User { name: name.to_owned(), uid, gid: 0, groups: vec![0], home, shell })
    });
    let mut user = found.ok_or_else(|| format!("the zone has no user {name}"))?;
    if let Some(group) = group {
        let named = groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?);
            if name == group { number(gid) } else { None }
        });
        let gid = named.or_else(|| number(group)).ok_or_else(|| format!("the zone has no group {group}"))?;
        (user.gid, user.groups) = (gid, vec![gid]);
    }
    Ok(user)
}

fn lookup(passwd: &str, groups: &str, wanted: &str) -> Option<User> {
    let valid = |id: u32| id < super::IDS;
    let found = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell, ..] = fields[..] else { return None };
        if name != wanted && uid != wanted {
            return None;
        }
        let (uid, gid) = (uid.parse().ok().filter(|&i| valid(i))?, gid.parse().ok().filter(|&i| valid(i))?);
        let or =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Some(User {
            name: name.into(),
            uid,
            gid,
            groups: vec![gid],
            home: or(home, "/"),
            shell: or(shell, "/bin/sh"),
        })
    });
    let Some(mut user) = found else {
        return match wanted {
            "root" | "0" => Some(User::root()),
            _ => None,
        };
    };
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else { continue };
        if let Some(gid) = gid.parse().ok().filter(|&g| valid(g))
            && members.split(',').any(|m| m == user.name)
            && !user.groups.contains(&gid)
            && user.groups.len() < 1024
        {
            user.groups.push(gid);
        }
    }
    Some(user)
}

/// Three pipes for a program, its ends owned by the zone's user so that it can reopen them through
/// /proc/self/fd: first the program's ends, then the other ones.
pub fn pipes(ids: Ids, user: &User) -> Result<([OwnedFd; 3], [OwnedFd; 3]), Failure> {
    let fail = |e: nix::Error| Failure::new("make", "pipes", e);
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(fail);
    let ((stdin, to), (from, stdout), (from_err, stderr)) = (pipe()?, pipe()?, pipe()?);
    let owner = |id: u32| ids.host(id).unwrap_or(ids.base);
    let (uid, gid) =
        (nix::unistd::Uid::from_raw(owner(user.uid)), nix::unistd::Gid::from_raw(owner(user.gid)));
    for end in [&stdin, &stdout, &stderr] {
        nix::unistd::fchown(end, Some(uid), Some(gid)).map_err(fail)?;
    }
    Ok(([stdin, stdout, stderr], [to, from, from_err]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/ash\nbad line\nhuge:x:70000:0::/:\nanna:x:1000:1001:Anna:/home/anna:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,anna\nstaff:x:50:joanna\n";

    #[test]
    fn users_are_found_with_their_groups() {
        let anna = lookup(PASSWD, GROUP, "anna").unwrap();
        assert_eq!((anna.uid, anna.gid, anna.groups.clone()), (1000, 1001, vec![1001, 10]));
        assert_eq!(anna.shell, "/bin/sh");
        assert_eq!(lookup(PASSWD, GROUP, "1000").unwrap(), anna);
        assert_eq!(lookup(PASSWD, GROUP, "huge"), None);
        assert_eq!(lookup(PASSWD, GROUP, "nobody"), None);
        assert_eq!(lookup("", "", "root").unwrap(), User::root());
    }

    #[test]
    fn users_of_a_configuration_are_names_or_numbers() {
        let of = |wanted| user_of(PASSWD, GROUP, wanted).map(|user| (user.uid, user.gid, user.groups));
        assert_eq!(of("anna"), Ok((1000, 1001, vec![1001, 10])));
        assert_eq!(of("anna:staff"), Ok((1000, 50, vec![50])));
        assert_eq!(of("7:8"), Ok((7, 8, vec![8])));
        assert_eq!(of("7"), Ok((7, 0, vec![0])));
        assert!(of("joe").is_err() && of("anna:none").is_err() && of("70000").is_err());
    }

    #[test]
    fn a_zones_variables_take_the_place_of_others() {
        let own = ["PATH=/opt/bin".to_owned(), "A=1".to_owned(), "A=2".to_owned(), "HOME=/x".to_owned()];
        let program = Program::new(User::root(), &["ls".into()], None, &own);
        assert_eq!(program.candidates, ["/opt/bin/ls"]);
        assert_eq!(program.environment.iter().filter(|one| one.starts_with("A=")).count(), 1);
        assert!(
            program.environment.contains(&"A=2".into()) && program.environment.contains(&"HOME=/root".into())
        );
    }

    #[test]
    fn programs_are_looked_for_in_path() {
        let program = Program::new(User::root(), &["ls".into(), "-l".into()], None, &[]);
        assert!(program.candidates.contains(&"/bin/ls".into()));
        assert_eq!(program.argv, ["ls", "-l"]);
        let shell = Program::new(User::root(), &[], Some("xterm"), &[]);
        assert_eq!(shell.argv, ["-sh"]);
        assert!(shell.environment.contains(&"TERM=xterm".into()));
    }
}
