//! Credentials of one thread of the monitor (credentials(7) and capabilities(7)): what the kernel keeps for each thread, and
//! the C library would change in all.
//!
//! Who owns a user namespace has every capability in there, and in none beside it (user_namespaces(7)). A zone's is
//! owned by the host id of its root, which nobody else on the host has. A thread of that id without CAP_SYS_PTRACE of
//! its own reaches the memory of this zone's processes alone, whatever a number stands for by then.

use nix::errno::Errno;

use super::check;

/// CAP_SYS_PTRACE of linux/capability.h.
const PTRACE: u32 = 19;

/// Runs `work` with `owner` as the thread's effective user, who will own the user namespaces that it makes.
pub fn owning<T>(owner: u32, work: impl FnOnce() -> T) -> Result<T, Errno> {
    set_users(KEEP, owner, KEEP)?;
    // That took the effective capabilities away.
    let result = set_effective(u64::MAX).map(|()| work());
    // And this gives them back.
    set_users(KEEP, 0, KEEP)?;
    result
}

/// Makes the thread one of `owner`, user and group, that meets files as root does and has all capabilities but
/// CAP_SYS_PTRACE. [`Tracing`] gives it that one too.
pub fn become_owner(owner: u32) -> Result<(), Errno> {
    // Those of the zone's root itself are reached by their ids then, without a look at capabilities.
    // SAFETY: plain integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, owner, owner, 0) })?;
    // SAFETY: plain integers only; the call cannot fail, it answers the previous id.
    unsafe { libc::syscall(libc::SYS_setfsgid, 0) };
    set_users(owner, owner, 0)?;
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, 0) };
    set_effective(!(1 << PTRACE))
}

/// Has the thread trace and look into any process, for as long as it exists. One within another ends nothing.
#[derive(Debug)]
pub struct Tracing {
    is_outer: bool,
}

impl Tracing {
    /// As far as the thread is permitted.
    pub fn begin() -> Result<Self, Errno> {
        let (_, sets) = capabilities()?;
        let is_outer = sets[0].effective >> PTRACE & 1 == 0;
        set_effective(u64::MAX).map(|()| Self { is_outer })
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if self.is_outer {
            // To give up what one has cannot fail.
            let _ = set_effective(!(1 << PTRACE));
        }
    }
}

/// Takes all capabilities but `kept` from the thread, also those that a program which it executes could gain.
pub fn keep(kept: u64) -> Result<(), Errno> {
    for capability in 0..64u32 {
        if kept >> capability & 1 == 1 {
            continue;
        }
        // SAFETY: plain integers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            // The kernel knows no more of them.
            Err(Errno::EINVAL) => break,
            dropped => dropped?,
        };
    }
    let (mut header, mut data) = capabilities()?;
    for (half, kept) in data.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        half.permitted &= kept;
        half.effective &= kept;
        // With these the ambient ones go.
        half.inheritable = 0;
    }
    // SAFETY: both are live and of the forms that version 3 has.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(())
}

/// For [`set_users`]: leave it.
const KEEP: u32 = u32::MAX;

/// setresuid(2): real, effective and saved user.
fn set_users(real: u32, effective: u32, saved: u32) -> Result<(), Errno> {
    // SAFETY: plain integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) })?;
    Ok(())
}

/// `struct __user_cap_header_struct` of capset(2).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which there are two: capabilities 0 to 31 and 32 to 63.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The thread's capabilities, and the header to set them by.
fn capabilities() -> Result<(Header, [Data; 2]), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: both are live and of the forms that version 3 has.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok((header, data))
}

/// Makes those of `wanted` effective that the thread is permitted.
fn set_effective(wanted: u64) -> Result<(), Errno> {
    let (mut header, mut data) = capabilities()?;
    for (half, wanted) in data.iter_mut().zip([wanted as u32, (wanted >> 32) as u32]) {
        half.effective = half.permitted & wanted;
    }
    // SAFETY: both are live and of the forms that version 3 has.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    use nix::sys::wait::waitpid;
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::{child, memory, process};

    const OWNER: u32 = 0x5a5a_0000;

    /// On a thread of its own, which is what it is for.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"))
    }

    #[test]
    fn an_owner_reaches_no_other_process() {
        let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = Pid::from_raw(other.id() as i32);
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
        let at = u64::from_str_radix(stack.split('-').next().unwrap(), 16).unwrap();
        let read = || memory::read(pid, at, &mut [0; 8]);
        apart(|| {
            assert_eq!(read(), Ok(()));
            become_owner(OWNER).unwrap();
            assert_eq!(read(), Err(Errno::EPERM));
            assert_eq!(memory::write(pid, at, &[1]), Err(Errno::EPERM));
            // It meets files as root all the same.
            File::open("/etc/shadow").unwrap();
            let tracing = Tracing::begin().unwrap();
            assert_eq!(read(), Ok(()));
            drop(Tracing::begin().unwrap());
            assert_eq!(read(), Ok(()));
            drop(tracing);
            assert_eq!(read(), Err(Errno::EPERM));
        });
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn who_owns_a_namespace_is_who_made_it() {
        let child = apart(|| {
            let mut plan = child::Plan::default();
            plan.then("wait", child::Step::Receive);
            let child = owning(OWNER, || child::spawn(&plan, libc::CLONE_NEWUSER, None)).unwrap().unwrap();
            // SAFETY: no arguments.
            assert_eq!(unsafe { libc::geteuid() }, 0);
            child
        });
        let space = File::open(format!("/proc/{}/ns/user", child.pid)).unwrap();
        let mut owner = 0u32;
        // SAFETY: NS_GET_OWNER_UID of ioctl_nsfs(2) writes a uid_t.
        check(unsafe { libc::ioctl(space.as_raw_fd(), 0xb704, &raw mut owner) }.into()).unwrap();
        assert_eq!(owner, OWNER);
        process::signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        waitpid(child.pid, None).unwrap();
    }
}
