//! What stands on a disk that may come from another host: the record of a zone, a snapshot, the ledger, the journal of a
//! profile.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zoned::image::profile;
use zoned::monitor::ledger;
use zoned::state::{FILE, Found, Store, snapshots};

fuzz_target!(|bytes: &[u8]| {
    let folder = zones_fuzz::scratch();
    let zone = folder.join("a");
    std::fs::create_dir_all(zone.join("snapshots")).expect("make a folder");
    for name in [FILE, "snapshots/s.json", "ledger.json", profile::FILE] {
        std::fs::write(zone.join(name), bytes).expect("write a file");
    }
    let store = Store::new(folder.clone());
    assert_eq!(store.names().expect("read the folder"), ["a"]);
    if let Found::Record(record) = store.read("a").expect("read the record") {
        let again = store.write("a", &record).expect("write it again");
        assert!(matches!(store.read("a"), Ok(Found::Record(found)) if *found == again));
    }
    let (found, _) = snapshots::read(&zone);
    for (name, snapshot) in found {
        snapshots::write(&zone, &name, &snapshot).expect("write it again");
    }
    let _ = ledger::read(&zone);
    let _ = profile::read(&zone.join(profile::FILE));
});
