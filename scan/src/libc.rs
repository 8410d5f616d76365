//! Which C library a file is, has in it, or needs.

use serde::Serialize;

use crate::elf::Program;
use crate::version::Version;

/// A C library, or the runtime that stands for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Libc {
    /// `glibc`, `musl`, `uClibc`, `libc5`, `libc4`, `dietlibc`, `klibc`, `Go`.
    pub name: &'static str,
    /// Its version, where the file is the library or says so; of a glibc program the lowest that has its symbols.
    pub version: Option<Version>,
    /// Whether the file is the library itself.
    pub own: bool,
}

/// Of a file with this name and these bytes.
pub(crate) fn of(program: &Program, name: &str, bytes: &[u8], go: bool) -> Option<Libc> {
    itself(name, bytes).or_else(|| by_needs(program)).or_else(|| by_text(program, bytes, go))
}

fn libc(name: &'static str, version: Option<Version>) -> Libc {
    Libc { name, version, own: false }
}

fn itself(name: &str, bytes: &[u8]) -> Option<Libc> {
    let own = |name, version| Some(Libc { name, version, own: true });
    if name.starts_with("libc.so.6") || name.starts_with("libc-2") {
        // "GNU C Library stable release version 2.5, by Roland McGrath et al."
        let after = after(bytes, b"GNU C Library")?;
        let line = after[..after.len().min(160)].split(|b| *b == b'\n').next()?;
        let text = crate::printable(line);
        let version = text.split("version ").nth(1).and_then(Version::parse);
        return own("glibc", version);
    }
    if name.starts_with("ld-musl-") || name.starts_with("libc.musl-") || name == "libc.so" {
        after(bytes, b"musl libc (")?;
        // The version is a text of its own: "1.2.5".
        let digits = |text: &&[u8]| (5..=8).contains(&text.len()) && text[1] == b'.';
        let version = bytes
            .split(|b| *b == 0)
            .filter(digits)
            .filter(|text| text.iter().all(|b| b.is_ascii_digit() || *b == b'.'))
            .filter(|text| text.iter().filter(|b| **b == b'.').count() == 2)
            .find_map(|text| Version::parse(std::str::from_utf8(text).ok()?));
        return own("musl", version);
    }
    if let Some(rest) = name.strip_prefix("libuClibc-") {
        return own("uClibc", Version::parse(rest));
    }
    if let Some(rest) = name.strip_prefix("libc.so.") {
        let version = Version::parse(rest);
        return match rest.as_bytes().first() {
            Some(b'5') => own("libc5", version),
            Some(b'4') => own("libc4", version),
            _ => None,
        };
    }
    None
}

fn by_needs(program: &Program) -> Option<Libc> {
    let needs = |name: &str| program.needed.iter().any(|needed| needed.starts_with(name));
    let loader = program.interpreter.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or("");
    let name = if needs("libc.so.5") || loader == "ld-linux.so.1" {
        "libc5"
    } else if needs("libc.musl-") || loader.starts_with("ld-musl-") {
        "musl"
    } else if loader.contains("uClibc") || needs("libc.so.0") {
        "uClibc"
    } else if loader.starts_with("klibc-") {
        "klibc"
    } else if needs("libc.so.6") || loader.starts_with("ld-linux") {
        return Some(libc("glibc", program.symbols.get("GLIBC").copied()));
    } else {
        return None;
    };
    Some(libc(name, None))
}

/// A static program is known by texts that its library brings along.
fn by_text(program: &Program, bytes: &[u8], go: bool) -> Option<Libc> {
    if program.linkage != crate::elf::Linkage::Static {
        return None;
    }
    let has = |text: &[u8]| after(bytes, text).is_some();
    if go || has(b"\xff Go buildinf:") {
        return Some(libc("Go", go_version(bytes)));
    }
    let name = if has(b"FATAL: kernel too old") || has(b"glibc-ld.so.cache") {
        "glibc"
    } else if has(b"No error information\0") {
        "musl"
    } else if has(b"uClibc") {
        "uClibc"
    } else if has(b"dietlibc") {
        "dietlibc"
    } else {
        return None;
    };
    Some(libc(name, None))
}

/// Since Go 1.18 the version stands in the header itself, after a length.
fn go_version(bytes: &[u8]) -> Option<Version> {
    let header = after(bytes, b"\xff Go buildinf:")?;
    let length = usize::from(*header.get(18)?);
    let text = header.get(19..19 + length)?;
    Version::parse(std::str::from_utf8(text).ok()?.strip_prefix("go")?)
}

/// What follows the first `text` in `bytes`.
fn after<'a>(bytes: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let first = *text.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == first) {
        let rest = &bytes[from + at..];
        if rest.starts_with(text) {
            return Some(&rest[text.len()..]);
        }
        from += at + 1;
    }
    None
}
