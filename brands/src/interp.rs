//! A classic BPF interpreter over `struct seccomp_data`, which tests hold filters against.

use thiserror::Error;

use crate::filter::Insn;

/// What seccomp(2) gives a program of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Number of the call.
    pub nr: u32,
    /// AUDIT_ARCH_* value.
    pub arch: u32,
    /// Address of the instruction after the call.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// A program that the kernel would not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// A jump or the last instruction leads out of the program.
    #[error("instruction {at} is outside the program")]
    Outside {
        /// Where to.
        at: usize,
    },
    /// An instruction that seccomp(2) programs do not use.
    #[error("instruction {at} has the unknown code {code:#x}")]
    Code {
        /// Where.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A load that is not aligned to a word of the data.
    #[error("instruction {at} loads from offset {offset}")]
    Load {
        /// Where.
        at: usize,
        /// Offset.
        offset: u32,
    },
}

/// What a program returned, after how many instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// SECCOMP_RET_* value.
    pub ret: u32,
    /// Instructions run.
    pub steps: usize,
}

/// Runs a program on a call.
pub fn run(program: &[Insn], data: &Data) -> Result<Outcome, Fault> {
    let words = words(data);
    let (mut at, mut a, mut steps) = (0usize, 0u32, 0);
    loop {
        let insn = program.get(at).ok_or(Fault::Outside { at })?;
        steps += 1;
        at += 1;
        let branch = |holds: bool| usize::from(if holds { insn.jt } else { insn.jf });
        match insn.code {
            0x20 => {
                let word = words.get(insn.k as usize / 4).filter(|_| insn.k.is_multiple_of(4));
                a = *word.ok_or(Fault::Load { at: at - 1, offset: insn.k })?;
            }
            0x54 => a &= insn.k,
            0x05 => at += insn.k as usize,
            0x15 => at += branch(a == insn.k),
            0x25 => at += branch(a > insn.k),
            0x35 => at += branch(a >= insn.k),
            0x45 => at += branch(a & insn.k != 0),
            0x06 => return Ok(Outcome { ret: insn.k, steps }),
            code => return Err(Fault::Code { at: at - 1, code }),
        }
    }
}

/// The data as the words of a little-endian machine.
fn words(data: &Data) -> [u32; 16] {
    let mut words = [0; 16];
    words[0] = data.nr;
    words[1] = data.arch;
    let longs = std::iter::once(data.ip).chain(data.args);
    for (pair, long) in words[2..].chunks_exact_mut(2).zip(longs) {
        pair[0] = long as u32;
        pair[1] = (long >> 32) as u32;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Data = Data { nr: 7, arch: 9, ip: 0, args: [0x1_0000_0002, 0, 0, 0, 0, 0x5_0000_0000] };

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn loads_see_the_data_as_the_kernel_lays_it_out() {
        for (offset, word) in [(0, 7), (4, 9), (16, 2), (20, 1), (56, 0), (60, 5)] {
            let program =
                [insn(0x20, 0, 0, offset), insn(0x15, 0, 1, word), insn(0x06, 0, 0, 1), insn(0x06, 0, 0, 0)];
            assert_eq!(run(&program, &DATA), Ok(Outcome { ret: 1, steps: 3 }));
        }
    }

    #[test]
    fn bad_programs_are_faults() {
        assert_eq!(run(&[], &DATA), Err(Fault::Outside { at: 0 }));
        assert_eq!(run(&[insn(0x05, 0, 0, 9)], &DATA), Err(Fault::Outside { at: 10 }));
        assert_eq!(run(&[insn(0x20, 0, 0, 64)], &DATA), Err(Fault::Load { at: 0, offset: 64 }));
        assert_eq!(run(&[insn(0x20, 0, 0, 2)], &DATA), Err(Fault::Load { at: 0, offset: 2 }));
        assert_eq!(run(&[insn(0x99, 0, 0, 0)], &DATA), Err(Fault::Code { at: 0, code: 0x99 }));
    }
}
