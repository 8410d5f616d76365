//! What fuzz targets reach of this module.

use std::fs::File;
use std::sync::Arc;

use super::{notes, share, space, vsyscall};

/// Reads the file of a program that a guest runs, whose first bytes are `bytes`; `maps` is a text of proc_pid_maps(5).
pub fn program(bytes: &[u8], file: &File, maps: &str) {
    for (name, kind) in [(&b"GNU\0"[..], 1), (b"Linux\0", 0)] {
        if let Some(at) = notes::find(bytes, name, kind) {
            notes::abi_tag(&bytes[at]);
        }
    }
    if let Ok(program) = space::Program::read(file) {
        let _ = program.end_at(true, || Err(nix::errno::Errno::ESRCH));
    }
    if let Ok(program) = vsyscall::Program::of(file).map(Arc::new) {
        vsyscall::uses(maps, None, |_| Some(Arc::clone(&program)));
    }
}

/// Reads texts of /proc about a guest.
pub fn texts(text: &str) {
    notes::images(text).for_each(drop);
    let mappings = space::parse_maps(text);
    for &(start, end, _) in &mappings {
        space::is_writable(&mappings, start, end.wrapping_sub(start));
    }
    space::auxv_entry(text.as_bytes(), true);
    space::auxv_entry(text.as_bytes(), false);
    share::value(text, "MemTotal");
    crate::sys::process::status_field(text, "Uid:");
}
