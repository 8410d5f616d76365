//! Where calls into the vsyscall page come from: programs and what they map as code. Programs are also what
//! a pinned personality is for.

use crate::abi::Abi::X86_64;
use crate::call::{Answered, Call, Reply, Watch};
use crate::cond::{Cond, int, long};
use crate::table::{Row, Scope, emulate};
use crate::task::Task;

/// PROT_EXEC of a file's private mapping: MAP_PRIVATE of MAP_TYPE, no MAP_ANONYMOUS.
const MAPS_CODE: Cond = Cond::All(&[long(2).bits(4, 4), int(3).bits(0x2f, 0x02)]);

const EXEC_GAP: &str = "a program that a debugger of the zone already traces is left as it is";

pub(super) static ROWS: &[Row] = &[
    emulate("execve", program)
        .within(Scope::Vsyscall)
        .about("calls to time, gettimeofday and getcpu in the vsyscall page become system calls, in memory")
        .gap(EXEC_GAP),
    emulate("execveat", program).within(Scope::Vsyscall).about("likewise").gap(EXEC_GAP),
    emulate("mmap", mapping)
        .on(X86_64)
        .within(Scope::Vsyscall)
        .when(MAPS_CODE)
        .about("likewise in a file mapped as code")
        .gap("calls that are not `mov $address,%rax; call *%rax` or `jmp *%rax`, in code that is mapped otherwise, or in files above 256 MiB"),
];

pub(super) fn program(_: &mut dyn Task, _: &Call) -> Answered {
    Ok(Reply::Watch(Watch::Program))
}

fn mapping(_: &mut dyn Task, _: &Call) -> Answered {
    Ok(Reply::Watch(Watch::Mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_mappings_of_a_files_code_are_watched() {
        let maps = |prot, flags| MAPS_CODE.holds(X86_64, &[0, 4096, prot, flags, 3, 0]);
        // MAP_PRIVATE; with MAP_FIXED and MAP_DENYWRITE, as ld.so did.
        assert!(maps(5, 0x02) && maps(4, 0x812));
        // No code; MAP_ANONYMOUS; MAP_SHARED; MAP_SHARED_VALIDATE.
        assert!(!maps(3, 0x02) && !maps(7, 0x22) && !maps(5, 0x01) && !maps(5, 0x03));
    }
}
