//! Whole installs: hostile archives made here, guests that are real, and copies of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

mod entries;
mod images;
mod layers;
mod roots;
mod streams;
mod writer;

/// Says so past the capture of a passed test's output: a skip is to be seen.
pub(super) fn skipped(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
}

/// Enough of an ELF header to be an i386 program.
const I386: &[u8] = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0";
const X86_64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0";
const AARCH64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0";

/// An archive in the making.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    /// With a program, so that it is a root.
    fn root() -> Self {
        Self::default().add(b"bin/sh", b'0', b"", I386)
    }

    fn header(name: &[u8], kind: u8, link: &[u8], len: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(len);
        header.as_mut_bytes()[156] = kind;
        let (name, link) = (&name[..name.len().min(100)], &link[..link.len().min(100)]);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        header
    }

    fn put(mut self, header: &tar::Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn add(self, name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Self {
        let mut tar = self;
        for (long, text) in [(b'L', name), (b'K', link)] {
            if text.len() > 100 {
                let text = [text, b"\0"].concat();
                tar = tar.put(&Self::header(b"././@LongLink", long, b"", text.len() as u64), &text);
            }
        }
        tar.put(&Self::header(name, kind, link, data.len() as u64), data)
    }

    fn owned(self, name: &[u8], uid: u64, gid: u64) -> Self {
        let mut header = Self::header(name, b'0', b"", 0);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_cksum();
        self.put(&header, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut len = rest.len() + 1;
            while len.to_string().len() + rest.len() != len {
                len += 1;
            }
            data.extend_from_slice(len.to_string().as_bytes());
            data.extend_from_slice(&rest);
        }
        self.put(&Self::header(b"pax", b'x', b"", data.len() as u64), &data)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A folder in a folder, so that there is an outside to watch: it must stay empty but for `sentinel`.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("sentinel"), "untouched").unwrap();
        fs::create_dir(outer.path().join("zone")).unwrap();
        Self { outer }
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("zone/root")
    }

    fn install(&self, bytes: Vec<u8>) -> Result<Installed, ImageError> {
        self.install_as(bytes, None)
    }

    fn install_as(&self, bytes: Vec<u8>, want: Option<&str>) -> Result<Installed, ImageError> {
        let result =
            install(&Source::Stream, &self.root(), Some(Box::new(Cursor::new(bytes))), want, &|_| ());
        self.check();
        result
    }

    fn check(&self) {
        assert_eq!(fs::read_to_string(self.outer.path().join("sentinel")).unwrap(), "untouched");
        let count = |dir: PathBuf| fs::read_dir(dir).unwrap().count();
        assert_eq!(count(self.outer.path().to_owned()), 2);
        assert_eq!(count(self.outer.path().join("zone")), 1);
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

/// Bytes that do not pack.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The error that `tar` gives, as a sentence.
fn refusal(tar: Tar) -> String {
    refusal_of(tar.end())
}

fn refusal_of(bytes: Vec<u8>) -> String {
    Place::new().install(bytes).unwrap_err().to_string()
}
