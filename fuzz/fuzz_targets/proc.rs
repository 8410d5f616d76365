//! Files of /proc in the form of a level, made of a host's text.
#![no_main]

use brands::level::Level;
use brands::platform::Request;
use brands::{proc, table};
use libfuzzer_sys::fuzz_target;

const LEVELS: [&str; 8] = ["2.0.36", "2.2.26", "2.4.37", "2.6.9", "2.6.18", "2.6.32", "3.10", "5.4"];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let request = Request {
        level: Level::parse_release(LEVELS[usize::from(*which) % LEVELS.len()]).ok(),
        arch: (which & 128 != 0).then(|| "i686".to_owned()),
        ..Request::default()
    };
    let world = table::brand("linux").expect("it is there").platform(&request).world;
    for file in proc::files(&world) {
        file.content(&world, &|_| text.clone().into_owned());
    }
});
