//! What one file is.

use serde::Serialize;

use crate::elf::{self, Program};

/// A file that can be run, or is part of one that can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum Kind {
    /// ELF.
    Elf(Box<Program>),
    /// a.out of i386, which no kernel runs since 6.1.
    #[serde(rename = "a.out")]
    AOut {
        /// OMAGIC, NMAGIC, ZMAGIC or QMAGIC.
        magic: &'static str,
    },
    /// A script.
    Script {
        /// What its first line names.
        interpreter: String,
    },
}

/// What the file `name` with these bytes is; none where it is nothing to run.
pub fn look(bytes: &[u8], name: &str) -> Option<Kind> {
    if bytes.starts_with(b"\x7fELF") {
        return elf::read(bytes, name).map(|program| Kind::Elf(Box::new(program)));
    }
    if let Some(magic) = a_out(bytes) {
        return Some(Kind::AOut { magic });
    }
    let line = bytes.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?.trim_ascii();
    let interpreter = line.split(|b| matches!(b, b' ' | b'\t')).next().filter(|path| !path.is_empty())?;
    Some(Kind::Script { interpreter: crate::printable(&interpreter[..interpreter.len().min(256)]) })
}

/// Whether a file with this beginning is one of the two that are not ELF.
pub(crate) fn is_short(head: &[u8]) -> bool {
    head.starts_with(b"#!") || a_out(head).is_some()
}

/// The kinds of a.out.h, for M_386.
fn a_out(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [low, 1, 100, ..] => match low {
            0x07 => Some("OMAGIC"),
            0x08 => Some("NMAGIC"),
            0x0b => Some("ZMAGIC"),
            _ => None,
        },
        [0xcc, 0, 100, ..] => Some("QMAGIC"),
        _ => None,
    }
}
