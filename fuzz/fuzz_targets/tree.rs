//! Roots that are scanned, from an archive, and the files of theirs that are adapted at an install.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoned::image::{fuzz, profile};

fuzz_target!(|bytes: &[u8]| {
    if fuzz::is_packed(bytes) {
        return;
    }
    let folder = zones_fuzz::scratch();
    let (archive, root, journal) = (folder.join("it.tar"), folder.join("root"), folder.join("journal"));
    std::fs::write(&archive, bytes).expect("write a file");
    let _ = scan::scan(&archive, &mut |_| ());
    std::fs::create_dir(&root).expect("make a folder");
    if fuzz::archive(bytes, &root, false).is_err() {
        return;
    }
    let _ = scan::scan(&root, &mut |_| ());
    let _ = scan::fit(&root);
    let _ = scan::is_past_vsyscall(&root);
    let facts = brands::profile::Facts {
        hostname: "www".to_owned(),
        name_servers: vec!["10.88.0.1".to_owned()],
        domain: "zones.internal".to_owned(),
        interfaces: vec!["eth0".to_owned()],
    };
    if profile::apply(&root, &facts, &journal).is_ok() {
        let left = profile::undo(&root, None, &journal).expect("take back what was done");
        assert!(left.is_empty(), "{left:?}");
    }
});
