//! Where calls into the vsyscall page come from beside programs: what they map as code.

use crate::abi::Abi::X86_64;
use crate::call::{Answered, Call, Reply, Watch};
use crate::cond::{Cond, int, long};
use crate::table::{Row, Scope, emulate};
use crate::task::Task;

/// PROT_EXEC of a file's private mapping: MAP_PRIVATE of MAP_TYPE, no MAP_ANONYMOUS.
const MAPS_CODE: Cond = Cond::All(&[long(2).bits(4, 4), int(3).bits(0x2f, 0x02)]);

/// PROT_WRITE of one that has its place already, MAP_FIXED: so loaders map a library's data.
const MAPS_DATA: Cond = Cond::All(&[long(2).bits(2, 2), int(3).bits(0x3f, 0x12)]);

const MAPS: Cond = Cond::Any(&[MAPS_CODE, MAPS_DATA]);

pub(super) static ROWS: &[Row] = &[
    emulate("mmap", mapping)
        .on(X86_64)
        .within(Scope::Vsyscall)
        .when(MAPS)
        .about("calls into the vsyscall page, as in a program: in a file mapped as code, and in the data of a library")
        .gap("addresses that a program computes or unpacks, code that it makes or maps otherwise, files above 256 MiB"),
];

fn mapping(_: &mut dyn Task, _: &Call) -> Answered {
    Ok(Reply::Watch(Watch::Mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_mappings_of_a_files_code_and_data_are_watched() {
        let maps = |prot, flags| MAPS.holds(X86_64, &[0, 4096, prot, flags, 3, 0]);
        // MAP_PRIVATE; with MAP_FIXED and MAP_DENYWRITE, as ld.so did.
        assert!(maps(5, 0x02) && maps(4, 0x812));
        // A library's data, with MAP_DENYWRITE too.
        assert!(maps(3, 0x12) && maps(3, 0x812));
        // Neither; MAP_ANONYMOUS; MAP_SHARED; MAP_SHARED_VALIDATE.
        assert!(!maps(3, 0x02) && !maps(7, 0x22) && !maps(5, 0x01) && !maps(5, 0x03));
        assert!(!maps(1, 0x12) && !maps(3, 0x32) && !maps(3, 0x11));
    }
}
