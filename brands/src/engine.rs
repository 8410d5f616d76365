//! A brand made ready for one zone: the filter and the dispatch, from the same rows.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Answered, Call, Reply};
use crate::cond::Cond;
use crate::filter::{self, Entry, FilterError, Insn, Verdict};
use crate::table::{Answer, Brand, Row};
use crate::task::{Task, World};

/// The rows that a zone of one world has, by call, and the program that tells its kernel of them.
/// What the program notifies and what [`Compiled::answer`] finds a handler for are the same rows.
#[derive(Debug, Clone)]
pub struct Compiled {
    rows: BTreeMap<(Abi, u32), Vec<&'static Row>>,
    program: Vec<Insn>,
}

impl Compiled {
    /// Makes a brand ready for zones of this world.
    pub fn new(brand: &Brand, world: &World) -> Result<Self, FilterError> {
        let mut rows: BTreeMap<_, Vec<&'static Row>> = BTreeMap::new();
        for row in brand.rows {
            for abi in Abi::ALL.into_iter().filter(|abi| row.covers(world, *abi)) {
                let Some(nr) = row.number(abi) else { continue };
                rows.entry((abi, nr)).or_default().push(row);
            }
        }
        let entry = |(&(abi, nr), rows): (&(Abi, u32), &Vec<&'static Row>)| Entry {
            abi,
            nr,
            cases: rows.iter().map(|row| (row.cond, verdict(row.answer))).collect(),
        };
        let entries: Vec<_> = rows.iter().map(entry).collect();
        let program = if entries.is_empty() { Vec::new() } else { filter::compile(&entries)? };
        Ok(Self { rows, program })
    }

    /// The program for seccomp(2); `None` when no call needs one, and so no listener either.
    pub fn program(&self) -> Option<&[Insn]> {
        (!self.program.is_empty()).then_some(self.program.as_slice())
    }

    /// The row that fits a call.
    pub fn row(&self, call: &Call) -> Option<&'static Row> {
        let rows = self.rows.get(&(call.abi, call.nr))?;
        rows.iter().copied().find(|row| row.cond.holds(call.abi, &call.args))
    }

    /// Answers a notified call. A call without a row is not notified; were it asked for all the
    /// same, it is the host kernel's, as in the filter.
    pub fn answer(&self, task: &mut dyn Task, call: &Call) -> Answered {
        match self.row(call).map(|row| row.answer) {
            Some(Answer::Emulate(handler)) => handler(task, call),
            Some(Answer::Refuse(errno)) => Err(errno),
            Some(Answer::Succeed) => Ok(Reply::Value(0)),
            None => Ok(Reply::Continue),
        }
    }

    /// Every call that has rows, by ABI and number.
    pub fn calls(&self) -> impl Iterator<Item = (Abi, u32, &[&'static Row])> {
        self.rows.iter().map(|(&(abi, nr), rows)| (abi, nr, rows.as_slice()))
    }
}

/// What the filter does with a call whose row has this answer.
pub fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Emulate(_) => Verdict::Notify,
        Answer::Refuse(errno) => Verdict::Errno(errno_number(errno)),
        Answer::Succeed => Verdict::Errno(0),
    }
}

/// What the filter does with a call of a zone, read from the brand's table from the top.
pub fn expected(brand: &Brand, world: &World, call: &Call) -> Verdict {
    let x32 = call.abi == Abi::X86_64 && call.nr >= filter::X32_BIT;
    if x32 && call.nr != filter::SKIPPED {
        return Verdict::Errno(errno_number(Errno::ENOSYS));
    }
    brand.find(world, call).map_or(Verdict::Allow, |row| verdict(row.answer))
}

/// SECCOMP_RET_DATA has 16 bits and the kernel cuts errors at 4095, which every errno is below.
fn errno_number(errno: Errno) -> u16 {
    errno as i32 as u16
}

/// Whether a row can never be reached because an earlier one takes all its calls.
pub fn shadowed<'a>(rows: impl IntoIterator<Item = &'a &'static Row>) -> Option<&'static Row> {
    let mut closed = false;
    for row in rows {
        if closed {
            return Some(row);
        }
        closed = row.cond == Cond::Always;
    }
    None
}
