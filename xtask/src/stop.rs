//! Being interrupted: a signal ends the step under way, and what was made is cleaned up.

use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

static STOPPED: AtomicBool = AtomicBool::new(false);
/// The step under way. It is reaped only after it is gone from here, so its number is nobody else's.
static STEP: Mutex<Option<Pid>> = Mutex::new(None);

/// From here on SIGINT, SIGTERM and SIGHUP do not end this process: they are told to the step
/// under way. They are handled and not blocked, since a blocked signal stays so in programs that are started.
pub(crate) fn watch() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("watch for signals")?;
    let streams = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    let [interrupt, terminate, hangup] = streams;
    let (mut interrupt, mut terminate, mut hangup) = (interrupt?, terminate?, hangup?);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                stop();
            }
        });
    });
    Ok(())
}

fn stop() {
    STOPPED.store(true, Ordering::SeqCst);
    if let Ok(step) = STEP.lock()
        && let Some(pid) = *step
    {
        // It may have ended by the same signal, when that came from the terminal.
        let _ = kill(pid, Signal::SIGTERM);
    }
}

/// Runs a step to its end; fails at once after a signal.
pub(crate) fn step(command: &mut Command) -> Result<ExitStatus> {
    check()?;
    let name = name(command);
    let mut child = command.spawn().with_context(|| format!("run {name}"))?;
    let pid = Pid::from_raw(child.id().try_into().context("a process id")?);
    set(Some(pid));
    if check().is_err() {
        // The signal came between the two.
        stop();
    }
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
    set(None);
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    check()?;
    Ok(status)
}

/// Runs a step of cleaning up, which no signal ends.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("run {}", name(command)))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn set(pid: Option<Pid>) {
    if let Ok(mut step) = STEP.lock() {
        *step = pid;
    }
}

pub(crate) fn check() -> Result<()> {
    if STOPPED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}
