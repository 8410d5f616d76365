//! Archives that become a root: unpacked into a folder, and written again as a layer.
#![no_main]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use zoned::image::{Form, fuzz, write_tree};

fuzz_target!(|bytes: &[u8]| {
    // Packed ones are the target `packed`.
    let Some((kind, bytes)) = bytes.split_last() else { return };
    if fuzz::is_packed(bytes) {
        return;
    }
    let folder = zones_fuzz::scratch();
    if fuzz::archive(bytes, &folder, kind & 1 == 1).is_ok() {
        let form = if kind & 2 == 2 { Form::Upper } else { Form::Layer };
        let tree = File::open(&folder).expect("open what was made");
        let _ = write_tree(tree.as_fd(), form, 0, &mut io::sink(), &|_| ());
        let _ = zoned::image::root_arch(&folder, None);
    }
});
