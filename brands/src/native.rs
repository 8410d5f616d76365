//! The native brand: the host's own kernel, with nothing between it and the guest.

use crate::platform::{self, Boot, Platform, Request};
use crate::table::Brand;

/// No rows, so no filter and no listener.
pub(crate) static NATIVE: Brand = Brand {
    name: "native",
    summary: "the host's own kernel",
    about: "Every call goes to the host kernel. There is no filter and no listener, and nothing of \
            uname(2) or /proc is changed. A level or an arch in the configuration is not heeded.",
    levels: None,
    tables: &[],
    platform,
};

fn platform(request: &Request) -> Platform {
    Platform { world: platform::host_world(request), boot: Boot::default() }
}
