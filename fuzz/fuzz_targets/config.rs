//! A zone's configuration, and edits of it: the TOML, then edits in JSON, then a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zone_api::Edit;
use zoned::config::{self, Config};

fuzz_target!(|text: &str| {
    let [toml, edits, key] = zones_fuzz::parts(text);
    let before = match Config::parse(toml, "zone.toml") {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_api().why.is_empty());
            return;
        }
    };
    // What was taken once is taken again when it is written as `get` shows it.
    let shown = config::get(&before, "").ok().flatten();
    drop(shown);
    let _ = config::get(&before, key);
    if let Ok(renamed) = config::edit::rename(toml, "another") {
        assert_eq!(
            Config::parse(&renamed, "zone.toml").map(|config| config.name).ok().as_deref(),
            Some("another")
        );
    }
    let Ok(edits) = serde_json::from_str::<Vec<Edit>>(edits) else { return };
    if let Ok((text, after)) = config::apply(toml, &edits, "zone.toml") {
        assert_eq!(Config::parse(&text, "zone.toml").expect("it was taken before"), after);
        config::changes(&before, &after);
    }
});
