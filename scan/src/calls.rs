//! System calls in code, as far as their numbers can be told from it.

use std::collections::BTreeSet;

use brands::abi::Abi;
use brands::history;
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};
use serde::Serialize;

/// More code than any static program of the time had; what lies beyond is not looked at.
const MOST_CODE: usize = 16 << 20;

/// The calls of a static program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Names of the calls whose number is loaded right before.
    pub known: BTreeSet<String>,
    /// The youngest of them.
    pub youngest: Option<Youngest>,
    /// Places where the number comes from elsewhere: syscall(2) and what the compiler moved about.
    pub not_understood: usize,
}

/// A call and the release that brought it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Youngest {
    /// Name of the call.
    pub call: String,
    /// The release.
    pub since: String,
}

/// Reads code, given with its addresses.
pub(crate) fn of<'a>(code: impl Iterator<Item = (&'a [u8], u64)>, bits: u32) -> Calls {
    let mut calls = Calls::default();
    let mut left = MOST_CODE;
    let mut since = None;
    for (bytes, address) in code {
        let bytes = &bytes[..bytes.len().min(left)];
        left -= bytes.len();
        sites(bytes, address, bits, |abi, number| {
            let Some(entry) = number.and_then(|nr| entry(abi, nr)) else {
                calls.not_understood += 1;
                return;
            };
            if since.is_none_or(|since| since < entry.since) {
                since = Some(entry.since);
                calls.youngest =
                    Some(Youngest { call: entry.name.to_owned(), since: entry.since.to_string() });
            }
            if !calls.known.contains(entry.name) {
                calls.known.insert(entry.name.to_owned());
            }
        });
    }
    calls
}

fn entry(abi: Abi, nr: u32) -> Option<&'static history::Entry> {
    let all = history::entries(abi);
    all.binary_search_by_key(&nr, |entry| entry.nr).ok().map(|at| &all[at]).filter(|entry| !entry.never_was())
}

/// Tells `found` of every place of a call, with the number where all ways to it load that one: within a basic
/// block. There may be as many as half of the bytes, so they are not kept.
fn sites(bytes: &[u8], address: u64, bits: u32, mut found: impl FnMut(Abi, Option<u32>)) {
    let targets = targets(bytes, address, bits);
    let mut info = InstructionInfoFactory::new();
    let mut number = None;
    for instruction in &mut Decoder::with_ip(bits, bytes, address, DecoderOptions::NONE) {
        if targets.contains(instruction.ip()) {
            number = None;
        }
        let abi = match instruction.code() {
            Code::Syscall if bits == 64 => Some(Abi::X86_64),
            Code::Int_imm8 if instruction.immediate8() == 0x80 => Some(Abi::I386),
            _ => None,
        };
        if let Some(abi) = abi {
            found(abi, number.take());
        } else if let Some(loaded) = loads(&instruction) {
            number = Some(loaded);
        } else if number.is_some() && spoils(&instruction, &mut info) {
            number = None;
        }
    }
}

/// The number that it loads into eax.
fn loads(instruction: &Instruction) -> Option<u32> {
    let eax = matches!(instruction.op0_register(), Register::EAX | Register::RAX);
    match instruction.code() {
        Code::Mov_r32_imm32 | Code::Mov_rm32_imm32 if eax => Some(instruction.immediate32()),
        Code::Mov_rm64_imm32 if eax => u32::try_from(instruction.immediate32to64()).ok(),
        Code::Xor_r32_rm32 | Code::Xor_rm32_r32 if eax => (instruction.op1_kind() == OpKind::Register
            && instruction.op1_register() == Register::EAX)
            .then_some(0),
        _ => None,
    }
}

/// Whether the number is no longer known after it.
fn spoils(instruction: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    if instruction.is_invalid() || instruction.flow_control() != FlowControl::Next {
        return true;
    }
    let writes = |access| {
        matches!(
            access,
            OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
        )
    };
    let used = info.info(instruction).used_registers();
    used.iter().any(|used| used.register().full_register() == Register::RAX && writes(used.access()))
}

/// Addresses that something jumps to: a bit each.
struct Targets {
    from: u64,
    bits: Vec<u64>,
}

impl Targets {
    fn place(&self, address: u64) -> Option<(usize, u64)> {
        let at = usize::try_from(address.checked_sub(self.from)?).ok()?;
        (at / 64 < self.bits.len()).then_some((at / 64, 1 << (at % 64)))
    }

    fn contains(&self, address: u64) -> bool {
        self.place(address).is_some_and(|(at, bit)| self.bits[at] & bit != 0)
    }
}

fn targets(bytes: &[u8], address: u64, bits: u32) -> Targets {
    let mut targets = Targets { from: address, bits: vec![0; bytes.len().div_ceil(64)] };
    for instruction in &mut Decoder::with_ip(bits, bytes, address, DecoderOptions::NONE) {
        let near = matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
        if near && let Some((at, bit)) = targets.place(instruction.near_branch_target()) {
            targets.bits[at] |= bit;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_64(code: &[u8]) -> Calls {
        of([(code, 0x40_0000)].into_iter(), 64)
    }

    #[test]
    fn a_number_right_before_is_the_call() {
        // mov $257,%eax; mov %rsp,%rsi; syscall
        let calls = of_64(&[0xb8, 1, 1, 0, 0, 0x48, 0x89, 0xe6, 0x0f, 0x05]);
        assert!(calls.known.contains("openat") && calls.not_understood == 0);
        assert_eq!(calls.youngest.unwrap().since, "2.6.16");
        // xor %eax,%eax; syscall
        assert!(of_64(&[0x31, 0xc0, 0x0f, 0x05]).known.contains("read"));
        // mov $1,%eax; int $0x80
        assert!(of([(&[0xb8, 1, 0, 0, 0, 0xcd, 0x80][..], 0)].into_iter(), 32).known.contains("exit"));
    }

    #[test]
    fn a_number_that_may_be_another_is_not_believed() {
        // mov %rdi,%rax; syscall
        assert_eq!(of_64(&[0x48, 0x89, 0xf8, 0x0f, 0x05]).not_understood, 1);
        // mov $1,%eax; inc %al; syscall
        assert_eq!(of_64(&[0xb8, 1, 0, 0, 0, 0xfe, 0xc0, 0x0f, 0x05]).not_understood, 1);
        // mov $1,%eax; call *%rdx; syscall
        assert_eq!(of_64(&[0xb8, 1, 0, 0, 0, 0xff, 0xd2, 0x0f, 0x05]).not_understood, 1);
        // jmp 1f; mov $1,%eax; 1: syscall
        let jumped = of_64(&[0xeb, 5, 0xb8, 1, 0, 0, 0, 0x0f, 0x05]);
        assert!(jumped.known.is_empty() && jumped.not_understood == 1);
        // A second one right after has no number of its own.
        assert_eq!(of_64(&[0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x05]).not_understood, 1);
    }
}
