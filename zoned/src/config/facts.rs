//! What a configuration has to know of the brands.

use brands::distro;
use brands::table;

/// Names of the brands.
pub fn known_brands() -> Vec<&'static str> {
    table::all().iter().map(|brand| brand.name).collect()
}

/// Whether `brand` has the level that `kernel` names; the answer is why not.
pub fn check_kernel(brand: &str, kernel: &str) -> Result<(), String> {
    let has_levels = table::brand(brand).is_some_and(|brand| brand.levels.is_some());
    if !has_levels {
        return Err(format!("brand {brand} has no levels; its kernel is the host's"));
    }
    distro::resolve(kernel, "x86_64").map(drop).map_err(|error| error.to_string())
}
