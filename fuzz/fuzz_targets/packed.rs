//! Streams packed by gzip, xz, zstd or bzip2.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = zoned::image::fuzz::packed(bytes, 16 << 20);
});
