//! A brand made ready for one zone: the filter and the dispatch, from the same rows.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Answered, Call, Reply};
use crate::cond::Cond;
use crate::filter::{self, Entry, FilterError, Insn, Verdict};
use crate::history;
use crate::level::Level;
use crate::table::{Answer, Brand, Row, Why};
use crate::task::{Task, World};

/// What was done with a call, for the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Done {
    /// The brand answered it.
    Emulated,
    /// The brand answered it with an error.
    Refused,
    /// It, or a flag of it, is not the level's.
    Masked,
    /// No table knows its number.
    Unknown,
    /// The host's kernel performed it after all.
    Passed,
}

impl Done {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Refused => "refused",
            Self::Masked => "masked",
            Self::Unknown => "unknown",
            Self::Passed => "passed",
        }
    }
}

/// The rows that a zone of one world has, by call, and the program that tells its kernel of them.
/// What the program notifies and what [`Compiled::answer`] answers are the same rows, and the numbers
/// that no table knows.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// By ABI and number.
    rows: Vec<Row>,
    /// For each ABI: where the rows of a number begin, up to the last that a table knows, and where those of the last end.
    begins: [Vec<u32>; Abi::ALL.len()],
    program: Vec<Insn>,
}

impl Compiled {
    /// Makes a brand ready for zones of this world.
    pub fn new(brand: &Brand, world: &World) -> Result<Self, FilterError> {
        let mut rows = Vec::new();
        let begins = Abi::ALL.map(|abi| {
            let mut own: BTreeMap<u32, Vec<Row>> = brand.rows_of_calls(world, abi).into_iter().collect();
            let begins = (0..=history::last(abi)).map(|nr| {
                let begin = rows.len() as u32;
                rows.extend(own.remove(&nr).unwrap_or_default());
                begin
            });
            let mut begins: Vec<u32> = begins.collect();
            begins.push(rows.len() as u32);
            begins
        });
        rows.shrink_to_fit();
        let mut compiled = Self { rows, begins, program: Vec::new() };
        let entry = |(abi, nr, rows): (Abi, u32, &[Row])| {
            Entry::call(abi, nr, rows.iter().map(|row| (row.cond, Verdict::Notify)).collect())
        };
        let mut entries: Vec<_> = compiled.calls().map(entry).collect();
        if !entries.is_empty() {
            entries.extend(Abi::ALL.map(beyond));
            compiled.program = filter::compile(&entries)?;
        }
        Ok(compiled)
    }

    /// The program for seccomp(2); `None` when no call needs one, and so no listener either.
    pub fn program(&self) -> Option<&[Insn]> {
        (!self.program.is_empty()).then_some(self.program.as_slice())
    }

    /// The same for who keeps it elsewhere; nothing where there is none.
    pub fn take_program(&mut self) -> Vec<Insn> {
        std::mem::take(&mut self.program)
    }

    fn rows_of(&self, abi: Abi, nr: u32) -> &[Row] {
        let begins = &self.begins[abi as usize];
        let begin = nr as usize;
        match (begins.get(begin), begins.get(begin.saturating_add(1))) {
            (Some(&begin), Some(&end)) => &self.rows[begin as usize..end as usize],
            _ => &[],
        }
    }

    /// The row that fits a call.
    pub fn row(&self, call: &Call) -> Option<&Row> {
        self.rows_of(call.abi, call.nr).iter().find(|row| row.cond.holds(call.abi, &call.args))
    }

    /// Answers a notified call. Besides those of rows, numbers are notified that no table knows, and they
    /// are ENOSYS as they would be of the host's kernel.
    pub fn answer(&self, task: &mut dyn Task, call: &Call) -> Answered {
        match self.row(call).map(|row| row.answer) {
            Some(Answer::Emulate(handler)) => handler(task, call),
            Some(Answer::Refuse(errno)) => Err(errno),
            Some(Answer::Succeed) => Ok(Reply::Value(0)),
            None => Err(Errno::ENOSYS),
        }
    }

    /// The answer to a call that needs no look at its caller: `None` for what a handler answers, and where our own
    /// code between the filter and a program may be meant.
    pub fn fixed(&self, call: &Call) -> Option<Result<i64, Errno>> {
        let row = self.row(call).filter(|row| !row.why.is_some_and(Why::withholds))?;
        match row.answer {
            Answer::Emulate(_) => None,
            Answer::Refuse(errno) => Some(Err(errno)),
            Answer::Succeed => Some(Ok(0)),
        }
    }

    /// What was done with a call that got this answer.
    pub fn done(&self, call: &Call, answered: &Answered) -> Done {
        match (self.row(call), answered) {
            (None, _) => Done::Unknown,
            (Some(row), _) if row.why == Some(Why::NotYet) => Done::Masked,
            (_, Ok(Reply::Continue | Reply::Watch(_))) => Done::Passed,
            (_, Ok(_)) => Done::Emulated,
            (_, Err(_)) => Done::Refused,
        }
    }

    /// The release that a masked call, or flag of one, needs; `None` for others, and for calls that the
    /// level does not have any more.
    pub fn needs(&self, call: &Call) -> Option<Level> {
        self.row(call).filter(|row| row.why == Some(Why::NotYet)).and_then(|row| row.came.or(row.before))
    }

    /// Every call that has rows, by ABI and number.
    pub fn calls(&self) -> impl Iterator<Item = (Abi, u32, &[Row])> {
        let numbers = Abi::ALL.into_iter().flat_map(|abi| (0..=history::last(abi)).map(move |nr| (abi, nr)));
        let all = numbers.map(|(abi, nr)| (abi, nr, self.rows_of(abi, nr)));
        all.filter(|(_, _, rows)| !rows.is_empty())
    }
}

/// The numbers of an ABI that no table knows.
fn beyond(abi: Abi) -> Entry {
    let last = match abi {
        Abi::X86_64 => filter::X32_BIT - 1,
        Abi::I386 => filter::SKIPPED - 1,
    };
    Entry { abi, nr: history::last(abi) + 1, last, cases: vec![(Cond::Always, Verdict::Notify)] }
}

/// What the filter does with a call of a zone, from the brand's table and the calls' history.
pub fn expected(brand: &Brand, world: &World, call: &Call) -> Verdict {
    expecting(brand, world, call.abi, call.nr)(&call.args)
}

/// The same for any arguments of one call: the table is read once.
pub fn expecting(brand: &Brand, world: &World, abi: Abi, nr: u32) -> impl Fn(&[u64; 6]) -> Verdict + use<> {
    let rows = if nr == filter::SKIPPED {
        Err(Verdict::Allow)
    } else if abi == Abi::X86_64 && nr >= filter::X32_BIT {
        Err(Verdict::Errno(errno_number(Errno::ENOSYS)))
    } else {
        match history::entries(abi).iter().find(|life| life.nr == nr) {
            Some(life) => Ok(brand.rows_for(world, abi, life)),
            None if nr > history::last(abi) => Err(Verdict::Notify),
            None => Err(Verdict::Allow),
        }
    };
    move |args| match &rows {
        Ok(rows) if rows.iter().any(|row| row.cond.holds(abi, args)) => Verdict::Notify,
        Ok(_) => Verdict::Allow,
        Err(verdict) => *verdict,
    }
}

/// SECCOMP_RET_DATA has 16 bits and the kernel cuts errors at 4095, which every errno is below.
fn errno_number(errno: Errno) -> u16 {
    errno as i32 as u16
}

/// Whether a row can never be reached because an earlier one takes all its calls.
pub fn shadowed(rows: &[Row]) -> Option<&Row> {
    let mut closed = false;
    for row in rows {
        if closed {
            return Some(row);
        }
        closed = row.cond == Cond::Always;
    }
    None
}
