//! The linux brand: Linux of another age, told by a level.

mod boot;
mod era;
mod uname;

use crate::abi::Abi;
use crate::cond::{Cond, int};
use crate::level::{Level, OLDEST};
use crate::table::{Brand, Row, Scope, Why, emulate, succeed};

/// Linux at a level, or the host's own release.
pub static LINUX: Brand = Brand {
    name: "linux",
    summary: "Linux as it was at a level, from 2.0 on",
    about: "Programs run on the host kernel. What changed between the level and the host and breaks \
            them is answered by the rows below; a call that the host kernel does not know is ENOSYS.",
    levels: Some(|| (OLDEST, Level::newest())),
    rows: ROWS,
    platform: boot::platform,
};

/// personality(0xffffffff) asks and changes nothing.
const SETS_PERSONALITY: Cond = int(0).is_not(0xffff_ffff);

static ROWS: &[Row] = &[
    emulate("uname", uname::uname).within(Scope::Renamed).about("tells the zone's release and machine"),
    emulate("olduname", uname::olduname)
        .on(Abi::I386)
        .within(Scope::Renamed)
        .about("the same, in the structure of Linux 1.0"),
    emulate("oldolduname", uname::oldolduname)
        .on(Abi::I386)
        .within(Scope::Renamed)
        .about("the same, in eight letters a field"),
    succeed("personality", Why::Pinned).on(Abi::I386).when(SETS_PERSONALITY),
];
