#![forbid(unsafe_code)]
//! What the targets share.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What stands between the parts of an input that has several.
pub const BETWEEN: &str = "\n----\n";

thread_local! {
    static SCRATCH: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// A folder that is empty, for one input.
///
/// # Panics
/// Where root runs this outside of the cage that `cargo xtask fuzz` makes: what a target unpacks there is hostile.
pub fn scratch() -> PathBuf {
    SCRATCH.with(|scratch| {
        let scratch = scratch.get_or_init(|| {
            caged();
            tempfile::tempdir().expect("make a folder")
        });
        let folder = scratch.path().join("it");
        empty(&folder);
        // What the last input made elsewhere was not to be.
        alone(scratch.path(), None);
        alone(&std::env::temp_dir(), scratch.path().file_name());
        std::fs::create_dir(&folder).expect("make a folder");
        folder
    })
}

/// Refuses to go on as root of the host.
///
/// # Panics
/// Then.
pub fn caged() {
    let is_caged = std::env::var_os("ZONES_FUZZ_CAGE").is_some();
    assert!(is_caged, "what this does to files is done in a cage only: use cargo xtask fuzz");
}

/// Fails where a folder has more than that one.
fn alone(folder: &Path, but: Option<&OsStr>) {
    for entry in std::fs::read_dir(folder).expect("read a folder").flatten() {
        let name = entry.file_name();
        // That of -merge.
        let is_known = Some(&*name) == but || name.as_encoded_bytes().starts_with(b"libFuzzer");
        assert!(is_known, "an input made {}", entry.path().display());
    }
}

fn empty(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("empty {}: {error}", folder.display())
        }
        _ => {}
    }
}

/// The parts of an input, `N` of them; the last has all that is left.
pub fn parts<const N: usize>(text: &str) -> [&str; N] {
    let mut parts = text.splitn(N, BETWEEN);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The same of one that need not be text.
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.windows(BETWEEN.len()).position(|found| found == BETWEEN.as_bytes());
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + BETWEEN.len()..]))
}
