//! Archives of images, as they come by a pipe: layouts, and those of docker save before and after 1.10.
#![no_main]

use std::io::Cursor;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use zoned::image::{Images, Source, fuzz, import};
use zoned::storage::Layers;

fuzz_target!(|bytes: &[u8]| {
    if fuzz::is_packed(bytes) {
        return;
    }
    let layers = Layers::new(&zones_fuzz::scratch());
    layers.recover().expect("make a store");
    let images = Images::new(layers);
    let path = || PathBuf::from("-");
    for source in
        [Source::Oci { path: path(), tag: None }, Source::DockerArchive { path: path(), reference: None }]
    {
        let archive = Box::new(Cursor::new(bytes.to_vec()));
        let _ = import(&images, &source, Some(archive), None, &|_| ());
    }
});
