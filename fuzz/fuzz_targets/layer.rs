//! Layers of images: what is unpacked and put together again is the archive that it was, byte for byte.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use zoned::image::{LayerTar, fuzz};

fuzz_target!(|bytes: &[u8]| {
    let folder = zones_fuzz::scratch();
    if fuzz::layer(bytes, &folder).is_err() {
        return;
    }
    let mut again = Vec::new();
    let mut archive = LayerTar::read(&folder).expect("open what was made");
    archive.by_ref().take(bytes.len() as u64 + 1).read_to_end(&mut again).expect("read what was made");
    assert!(again == bytes, "{} bytes came back as {}", bytes.len(), again.len());
    assert_eq!(LayerTar::length(&folder).expect("read the split"), bytes.len() as u64);
});
