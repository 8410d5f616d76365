//! What a configuration has to know of the brands.

use brands::distro;
use brands::level::{Level, LevelError};
use brands::table;

/// Names of the brands.
pub fn known_brands() -> Vec<&'static str> {
    table::all().iter().map(|brand| brand.name).collect()
}

/// A brand without is the host's kernel, to which nothing is done.
pub fn has_levels(brand: &str) -> bool {
    table::brand(brand).is_some_and(|brand| brand.levels.is_some())
}

/// The oldest release that a host can be taken for: what the reaper, which is ours, needs.
const OLDEST_HOST: Level = Level::new(3, 2, 0);

/// Whether a zone of `brand` can take its host for the older release `text`; the answer is why not.
pub(super) fn check_host_kernel(brand: &str, text: &str) -> Result<(), String> {
    if !has_levels(brand) {
        return Err(format!("brand {brand} takes the host's kernel as it is"));
    }
    let wanted: Level = text.parse().map_err(|error: LevelError| error.to_string())?;
    let running =
        nix::sys::utsname::uname().map_err(|error| format!("ask for the host's release: {error}"))?;
    let running = Level::of_host(&running.release().to_string_lossy());
    if wanted > running {
        return Err(format!("{wanted} is newer than this host's kernel, {running}"));
    }
    if wanted < OLDEST_HOST {
        return Err(format!("{wanted} is older than {OLDEST_HOST}, the oldest host that can be taken for"));
    }
    Ok(())
}

/// Whether a zone of `brand` can have calls into the vsyscall page rewritten; the answer is why not.
pub(super) fn check_rewriting(brand: &str) -> Result<(), String> {
    if has_levels(brand) { Ok(()) } else { Err(format!("brand {brand} leaves programs as they are")) }
}

/// Whether `brand` has the level that `kernel` names; the answer is why not.
pub fn check_kernel(brand: &str, kernel: &str) -> Result<(), String> {
    if !has_levels(brand) {
        return Err(format!("brand {brand} has no levels; its kernel is the host's"));
    }
    distro::resolve(kernel, "x86_64").map(drop).map_err(|error| error.to_string())
}
