//! What a registry answers, names of images there, and the file of logins: one of them, or a file and a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoned::pull::fuzz;

fuzz_target!(|text: &str| {
    fuzz::challenge(text);
    fuzz::reference(text);
    fuzz::documents(text.as_bytes());
    let [logins, reference] = zones_fuzz::parts(text);
    if !reference.is_empty() {
        fuzz::logins(&zones_fuzz::scratch().join("config.json"), logins.as_bytes(), reference);
    }
});
