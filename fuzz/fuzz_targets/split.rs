//! Records of a layer's split, which a damaged disk may have changed; beside them there is a file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|records: &[u8]| {
    let folder = zones_fuzz::scratch();
    std::fs::create_dir_all(folder.join("fs/d")).expect("make a folder");
    std::fs::write(folder.join("fs/d/f"), "some text that is the content of a file").expect("make a file");
    let _ = zoned::image::fuzz::joined(records, &folder, 16 << 20);
});
