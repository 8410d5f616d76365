#![forbid(unsafe_code)]
//! Says what programs and whole roots are made for, without running them: ABI, C library, the kernel that they
//! need, and the level and distribution that fit. What it reads may be hostile: everything is bounded.

mod calls;
mod elf;
mod host;
mod image;
mod libc;
mod look;
mod release;
mod report;
mod tree;
mod version;
mod vsyscall;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use calls::{Calls, Youngest};
pub use elf::{Linkage, Machine, Program, read};
pub use host::{Host, Lack, vsyscall_mode};
pub use libc::Libc;
pub use look::{Kind, look};
pub use release::Release;
pub use report::{Fit, Need, Report, Tally};
pub use tree::{calls_vsyscall, fit, is_past_vsyscall};
pub use version::Version;
pub use vsyscall::Vsyscall;

use report::Collector;

/// Of a longer file only the beginning is read.
pub const MOST_BYTES: u64 = 64 << 20;

/// Why something could not be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It cannot be opened or read.
    #[error("read {path}")]
    Read {
        /// Its path.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It is neither a program, nor a folder, nor an archive.
    #[error("{0} is neither a program, nor a script, a folder or a tar archive")]
    Unknown(String),
}

/// Scans a file, a folder or a tar archive; `told` hears the number of files looked at so far.
pub fn scan(path: &Path, told: &mut dyn FnMut(u64)) -> Result<Report, ScanError> {
    let shown = path.display().to_string();
    let failed = |source| ScanError::Read { path: shown.clone(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let mut collector = Collector::new(told);
    if metadata.is_dir() {
        tree::walk(path, &mut collector).map_err(failed)?;
        return Ok(collector.report(shown, "folder"));
    }
    if !metadata.is_file() {
        return Err(ScanError::Unknown(shown));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    (&file).take(4).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.starts_with(b"\x7fELF") || look::is_short(&bytes) {
        (&file).take(MOST_BYTES - 4).read_to_end(&mut bytes).map_err(failed)?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        collector.file(name, &bytes);
        let mut report = collector.report(shown.clone(), "file");
        report.program = look(&bytes, &printable(name));
        return if report.program.is_some() { Ok(report) } else { Err(ScanError::Unknown(shown)) };
    }
    drop(file);
    let file = File::open(path).map_err(failed)?;
    match image::read(file, &mut collector) {
        Ok(true) => Ok(collector.report(shown, "archive")),
        Ok(false) => Err(ScanError::Unknown(shown)),
        Err(source) => Err(failed(source)),
    }
}

/// Bytes as text that a terminal shows and does not obey.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
