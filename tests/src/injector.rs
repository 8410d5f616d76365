//! A kill of a process, or a system call that fails, at a chosen step of an operation: `programs/injector.c` traces all of a
//! zoned's processes while the operation lasts, so that they need to know nothing of it.

use std::fmt;
use std::fs;
use std::process::Command;

use crate::client::{Client, Outcome};
use crate::fixtures::program;
use crate::zoned::Zoned;

/// A process of ours: where a fault is, or what is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The daemon.
    Zoned,
    /// What monitors are forked from.
    Zygote,
    /// A fork of it that is no monitor yet.
    Spare,
    /// The zone's.
    Monitor,
    /// What is on its way to be a program in the zone, its process 1 too.
    Inside,
    /// The client.
    Zonectl,
}

impl Who {
    fn word(self) -> &'static str {
        match self {
            Self::Zoned => "zoned",
            Self::Zygote => "zygote",
            Self::Spare => "spare",
            Self::Monitor => "monitor",
            Self::Inside => "inside",
            Self::Zonectl => "zonectl",
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL.
    Kill(Who),
    /// The call fails: ENOSPC, EMFILE, ENOMEM or EIO.
    Fail(&'static str),
}

impl Act {
    /// The errors.
    pub const ERRORS: [Self; 4] =
        [Self::Fail("ENOSPC"), Self::Fail("EMFILE"), Self::Fail("ENOMEM"), Self::Fail("EIO")];

    /// As injector.c has it.
    fn bit(self) -> u32 {
        match self {
            Self::Kill(_) => 1,
            Self::Fail("ENOSPC") => 2,
            Self::Fail("EMFILE") => 4,
            Self::Fail("ENOMEM") => 8,
            Self::Fail(_) => 16,
        }
    }
}

/// A fault and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whose steps are counted.
    pub at: Who,
    /// What happens there.
    pub act: Act,
    /// Before which of them, the first being 1.
    pub step: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.act {
            Act::Kill(who) => write!(f, "{} killed", who.word())?,
            Act::Fail(error) => write!(f, "{error}")?,
        }
        write!(f, " at step {} of {}", self.step, self.at.word())
    }
}

/// The steps of an operation: whose, what can be done there, and the call.
#[derive(Debug)]
pub struct Steps(Vec<(String, u32, String)>);

impl Steps {
    fn calls(&self, at: Who, act: Act) -> impl Iterator<Item = &str> {
        let is_one = move |(who, bits, _): &&(String, u32, String)| who == at.word() && bits & act.bit() != 0;
        self.0.iter().filter(is_one).map(|(_, _, call)| call.as_str())
    }

    /// How many there are for a fault.
    pub fn count(&self, at: Who, act: Act) -> usize {
        self.calls(at, act).count()
    }

    /// The first that begins so.
    pub fn find(&self, at: Who, act: Act, call: &str) -> Option<Fault> {
        let step = 1 + self.calls(at, act).position(|other| other.starts_with(call))?;
        Some(Fault { at, act, step })
    }
}

impl Zoned {
    fn traced(&self, at: &str, act: &str, step: usize, spare: i32, words: &[&str]) -> (Outcome, String) {
        let injector = program("injector", "amd64", &[]).unwrap_or_else(|e| panic!("injector.c: {e:#}"));
        let report = self.scratch().join("report");
        let zonectl = self.command(words);
        let mut command = Command::new(injector);
        command.arg(&report).args([at, act, &step.to_string(), &self.pid().to_string(), &spare.to_string()]);
        command.arg(zonectl.get_program()).args(zonectl.get_args()).env_remove("ZONED_SOCKET");
        let outcome = Client::start(command).finish();
        (outcome, fs::read_to_string(&report).unwrap_or_default())
    }

    /// Runs zonectl to its end and counts the steps of all that takes part, but for the monitor `spare`.
    pub fn steps(&self, spare: i32, words: &[&str]) -> (Outcome, Steps) {
        let (outcome, report) = self.traced("all", "count", 0, spare, words);
        let step = |line: &str| {
            let mut words = line.splitn(3, ' ');
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        (outcome, Steps(report.lines().filter_map(step).collect()))
    }

    /// Runs zonectl to its end with a fault; also what was done, where the operation came to the step.
    pub fn with_fault(&self, fault: Fault, spare: i32, words: &[&str]) -> (Outcome, Option<String>) {
        let act = match fault.act {
            Act::Kill(who) => who.word(),
            Act::Fail(error) => error,
        };
        let (outcome, report) = self.traced(fault.at.word(), act, fault.step, spare, words);
        (outcome, report.lines().find_map(|line| line.strip_prefix("did ")).map(str::to_owned))
    }
}
