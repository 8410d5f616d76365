//! Compiles a table into one classic BPF program for every ABI (seccomp(2),
//! Documentation/networking/filter.rst of the kernel).
//!
//! A program is laid out from its end: what is jumped to is always in place before what jumps, so
//! distances are known when a jump is made. Below, "placed" means that.

use thiserror::Error;

use crate::abi::Abi;
use crate::cond::{Cond, Test, Width};

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Performs it.
    Allow,
    /// Returns this errno without performing it; 0 makes it return 0.
    Errno(u16),
    /// Asks the monitor.
    Notify,
    /// Kills the process.
    Kill,
}

impl Verdict {
    /// The value that the program returns (linux/seccomp.h, SECCOMP_RET_*).
    pub const fn ret(self) -> u32 {
        match self {
            Self::Kill => 0x8000_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Allow => 0x7fff_0000,
        }
    }
}

/// All that a table says about one call, or about a range of numbers: cases in order, then
/// [`Verdict::Allow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Calling convention.
    pub abi: Abi,
    /// Number in it.
    pub nr: u32,
    /// Last number that it is for; the same again for one call.
    pub last: u32,
    /// Conditions and what becomes of a call that fits the first of them.
    pub cases: Vec<(Cond, Verdict)>,
}

impl Entry {
    /// For one call.
    pub fn call(abi: Abi, nr: u32, cases: Vec<(Cond, Verdict)>) -> Self {
        Self { abi, nr, last: nr, cases }
    }
}

/// Why no program could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Too many rows.
    #[error("the filter has {len} instructions, the kernel takes {MAX_INSNS}")]
    TooLong {
        /// Length of the program.
        len: usize,
    },
    /// Two entries for one call.
    #[error("the table has two entries for call {nr} of {abi}")]
    Twice {
        /// Calling convention.
        abi: Abi,
        /// Number in it.
        nr: u32,
    },
}

/// BPF_MAXINSNS (linux/bpf_common.h).
pub const MAX_INSNS: usize = 4096;

/// Numbers from here on are x32's on x86_64 (__X32_SYSCALL_BIT).
pub const X32_BIT: u32 = 0x4000_0000;

/// The number with which a tracer skips a call (ptrace(2)); the kernel then returns what the tracer
/// put into the register, or ENOSYS, so the filter must not answer it.
pub const SKIPPED: u32 = u32::MAX;

/// ENOSYS of x86.
const ENOSYS: u16 = 38;

const LD_W_ABS: u16 = 0x20;
const AND_K: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Compiles entries, in any order, into a program.
pub fn compile(entries: &[Entry]) -> Result<Vec<Insn>, FilterError> {
    let mut out = Backward::default();
    let kill = out.ret(Verdict::Kill);
    let mut next = kill;
    // The ABI tested first is placed last.
    for abi in Abi::ALL.into_iter().rev() {
        let body = out.abi(abi, entries)?;
        next = out.jump(JEQ_K, abi.audit_arch(), body, next);
    }
    out.push(LD_W_ABS, ARCH);
    let len = out.insns.len();
    if len > MAX_INSNS {
        return Err(FilterError::TooLong { len });
    }
    out.insns.reverse();
    Ok(out.insns)
}

/// A placed instruction: its distance from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// Calls from `first` on, up to the next segment.
struct Segment<'a> {
    first: u32,
    what: Leaf<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Leaf<'a> {
    Flat(Verdict),
    Cases(&'a [(Cond, Verdict)]),
}

/// A program under construction, last instruction first.
#[derive(Default)]
struct Backward {
    insns: Vec<Insn>,
}

impl Backward {
    fn push(&mut self, code: u16, k: u32) -> Label {
        self.insns.push(Insn { code, jt: 0, jf: 0, k });
        Label(self.insns.len() - 1)
    }

    fn ret(&mut self, verdict: Verdict) -> Label {
        // A return within reach of a conditional jump serves again.
        let near = self.insns.len().saturating_sub(REACH);
        let found = self.insns[near..]
            .iter()
            .rposition(|insn| insn.code == RET_K && insn.k == verdict.ret())
            .map(|at| Label(near + at));
        found.unwrap_or_else(|| self.push(RET_K, verdict.ret()))
    }

    /// A label that a jump placed next can reach, going to `to` if need be through another
    /// instruction. `spare` instructions may yet come between.
    fn near(&mut self, to: Label, spare: usize) -> Label {
        if self.insns.len() + spare - to.0 - 1 <= usize::from(u8::MAX) {
            return to;
        }
        let target = self.insns[to.0];
        if target.code == RET_K {
            return self.push(RET_K, target.k);
        }
        let skip = self.insns.len() - to.0 - 1;
        // A program that long is refused at the end, before anyone runs it.
        self.push(JA, u32::try_from(skip).unwrap_or(u32::MAX))
    }

    /// `if A op k goto yes else goto no`
    fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        // Bringing `no` near may take one instruction more, hence the spare for `yes`.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let skip = |to: Label, len: usize| (len - to.0 - 1) as u8;
        let (jt, jf) = (skip(yes, self.insns.len()), skip(no, self.insns.len()));
        self.insns.push(Insn { code, jt, jf, k });
        Label(self.insns.len() - 1)
    }

    fn abi(&mut self, abi: Abi, entries: &[Entry]) -> Result<Label, FilterError> {
        let segments = segments(abi, entries)?;
        let search = self.search(abi, &segments);
        Ok(if abi == Abi::X86_64 {
            let enosys = self.ret(Verdict::Errno(ENOSYS));
            let allow = self.ret(Verdict::Allow);
            let x32 = self.jump(JEQ_K, SKIPPED, allow, enosys);
            self.jump(JGE_K, X32_BIT, x32, search);
            self.push(LD_W_ABS, NR)
        } else {
            self.fall_to(search);
            self.push(LD_W_ABS, NR)
        })
    }

    /// Makes the next instruction placed fall through to `to`.
    fn fall_to(&mut self, to: Label) {
        let skip = self.insns.len() - to.0 - 1;
        if skip > 0 {
            self.push(JA, u32::try_from(skip).unwrap_or(u32::MAX));
        }
    }

    /// A balanced search of the segment that A lies in.
    fn search(&mut self, abi: Abi, segments: &[Segment<'_>]) -> Label {
        match segments {
            [] => self.ret(Verdict::Allow),
            [one] => match one.what {
                Leaf::Flat(verdict) => self.ret(verdict),
                Leaf::Cases(cases) => self.cases(abi, cases),
            },
            _ => {
                let (low, high) = segments.split_at(segments.len() / 2);
                let first = high[0].first;
                let high = self.search(abi, high);
                let low = self.search(abi, low);
                self.jump(JGE_K, first, high, low)
            }
        }
    }

    fn cases(&mut self, abi: Abi, cases: &[(Cond, Verdict)]) -> Label {
        let mut no = self.ret(Verdict::Allow);
        for (cond, verdict) in cases.iter().rev() {
            let yes = self.ret(*verdict);
            no = self.cond(abi, cond, yes, no);
        }
        no
    }

    fn cond(&mut self, abi: Abi, cond: &Cond, yes: Label, no: Label) -> Label {
        match *cond {
            Cond::Always => yes,
            Cond::Arg { index, width, test } => self.test(abi, index, width, test, yes, no),
            Cond::All(parts) => parts.iter().rev().fold(yes, |yes, part| self.cond(abi, part, yes, no)),
            Cond::Any(parts) => parts.iter().rev().fold(no, |no, part| self.cond(abi, part, yes, no)),
        }
    }

    fn test(&mut self, abi: Abi, index: u8, width: Width, test: Test, yes: Label, no: Label) -> Label {
        let wide = width.mask(abi);
        let (mask, value, yes, no) = match test {
            Test::Is(value) => (wide, value & wide, yes, no),
            Test::IsNot(value) => (wide, value & wide, no, yes),
            Test::Bits { mask, value } => (mask & wide, value & wide, yes, no),
            Test::BitsNot { mask, value } => (mask & wide, value & wide, no, yes),
            Test::AtLeast(value) => return self.at_least(index, value, yes, no),
            Test::Below(value) => return self.at_least(index, value, no, yes),
        };
        // The machine is little-endian: the low word stands first.
        let at = ARGS + 8 * u32::from(index);
        let mut yes = yes;
        for (offset, shift) in [(4, 32), (0, 0)] {
            let (mask, value) = ((mask >> shift) as u32, (value >> shift) as u32);
            // A half that no bit of the mask looks at is zero under it.
            yes = match (mask, value) {
                (0, 0) => yes,
                (0, _) => return no,
                _ => self.half(at + offset, mask, value, yes, no),
            };
        }
        yes
    }

    /// Of an `int`, hence of the low word.
    fn at_least(&mut self, index: u8, value: u32, yes: Label, no: Label) -> Label {
        self.jump(JGE_K, value, yes, no);
        self.push(LD_W_ABS, ARGS + 8 * u32::from(index))
    }

    fn half(&mut self, at: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        self.jump(JEQ_K, value, yes, no);
        if mask != u32::MAX {
            self.push(AND_K, mask);
        }
        self.push(LD_W_ABS, at)
    }
}

/// How far back a return is looked for: well under 255, so that what is placed before the jump is
/// made does not push it out of reach.
const REACH: usize = 200;

/// The numbers of `abi` as segments of equal treatment, from 0 on.
fn segments(abi: Abi, entries: &[Entry]) -> Result<Vec<Segment<'_>>, FilterError> {
    let mut sorted: Vec<&Entry> = entries.iter().filter(|e| e.abi == abi).collect();
    sorted.sort_by_key(|e| e.nr);
    let mut out = vec![Segment { first: 0, what: Leaf::Flat(Verdict::Allow) }];
    let mut add = |first: u32, what| {
        match out.last_mut() {
            Some(last) if last.first == first => last.what = what,
            Some(last) if last.what == what => return,
            _ => out.push(Segment { first, what }),
        }
        // Replacing a segment's content may have made it equal to its predecessor.
        if let [.., a, b] = out.as_slice()
            && a.what == b.what
        {
            out.pop();
        }
    };
    let mut last = None;
    for entry in sorted {
        if last.is_some_and(|last| entry.nr <= last) {
            return Err(FilterError::Twice { abi, nr: entry.nr });
        }
        last = Some(entry.last);
        let what = match entry.cases.as_slice() {
            [] => Leaf::Flat(Verdict::Allow),
            [(Cond::Always, verdict), ..] => Leaf::Flat(*verdict),
            cases => Leaf::Cases(cases),
        };
        add(entry.nr, what);
        if let Some(next) = entry.last.checked_add(1) {
            add(next, Leaf::Flat(Verdict::Allow));
        }
    }
    Ok(out)
}
