//! zoned's own settings.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use zoned::config::daemon::Settings;
use zoned::network::Place;

fuzz_target!(|text: &str| {
    if let Ok(settings) = Settings::parse(text, "zoned.toml") {
        let _ = Place::new(&settings, Path::new("/var/lib/zoned"), Path::new("/run/zoned"));
    }
});
