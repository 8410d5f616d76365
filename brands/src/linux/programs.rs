//! Programs: what a zone does to one before its first instruction, where no answer to a call could do it.

use crate::call::{Answered, Call, Reply, Watch};
use crate::table::{Row, Scope, emulate};
use crate::task::Task;

pub(super) static ROWS: &[Row] = &[
    emulate("execve", program)
        .within(Scope::MadeFit)
        .about(
            "before its first instruction, where the host has no vsyscall page, a program's calls into it become \
             system calls, in memory, and where their addresses stand otherwise, stubs are put into the process; \
             in 32-bit zones below 2.6 one that gains privileges keeps the zone's personality and has its break at \
             its end; in strict zones the vDSO tells the level's release",
        )
        .gap("a program that a debugger of the zone already traces is left as it is; where the libraries of one that gains privileges lie is the host's choice"),
    emulate("execveat", program).within(Scope::MadeFit).about("likewise"),
];

fn program(_: &mut dyn Task, _: &Call) -> Answered {
    Ok(Reply::Watch(Watch::Program))
}
