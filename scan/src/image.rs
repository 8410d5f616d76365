//! A tar archive, read as a stream: nothing is unpacked to disk.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};

use tar::{Archive, EntryType};

use crate::MOST_BYTES;
use crate::report::Collector;

/// Memory that an xz or zstd stream may ask for: what zstd's and xz's highest usual levels do.
const MOST_MEMORY: u64 = 256 << 20;
/// 2^27: the largest window that zstd reads without being told to.
const WINDOW_LOG: u32 = 27;
/// All that an archive may unpack to.
const MOST_UNPACKED: u64 = 256 << 30;

type Head = Chain<Cursor<Vec<u8>>, File>;

/// Hands every file of the archive to `to`; false where it is no archive.
pub(crate) fn read(mut file: File, to: &mut Collector<'_>) -> io::Result<bool> {
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head)?;
    let kind = head.clone();
    let all: BufReader<Head> = BufReader::new(Cursor::new(head).chain(file));
    let plain: Box<dyn Read> = match kind[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(all)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(all, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(all)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(all),
    };
    entries(plain.take(MOST_UNPACKED), to)
}

fn entries(from: impl Read, to: &mut Collector<'_>) -> io::Result<bool> {
    let mut archive = Archive::new(from);
    let mut first = true;
    // Raw: long names are then entries of their own, and none of them is read into memory at its stated length.
    let mut long = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(_) if first => return Ok(false),
            Err(error) => return Err(error),
        };
        first = false;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let mut text = Vec::new();
            (&mut entry).take(64 << 10).read_to_end(&mut text)?;
            long = if kind.is_gnu_longname() {
                text.split(|b| *b == 0).next().map(<[u8]>::to_vec)
            } else {
                pax_path(&text).or(long)
            };
            continue;
        }
        let name = long.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let path = relative(&name);
        let mut bytes = Vec::new();
        (&mut entry).take(256).read_to_end(&mut bytes)?;
        if Collector::wants(path, &bytes) {
            (&mut entry).take(MOST_BYTES - 256).read_to_end(&mut bytes)?;
        }
        to.file(path, &bytes);
    }
    Ok(!first)
}

/// A name without `./` and `/` before it.
fn relative(name: &[u8]) -> &[u8] {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")) {
        name = rest;
    }
    name
}

/// The `path` of a pax header: `27 path=usr/share/…` (pax(1), extended header).
fn pax_path(text: &[u8]) -> Option<Vec<u8>> {
    let line = text.split(|b| *b == b'\n').find_map(|line| {
        let at = line.iter().position(|b| *b == b' ')?;
        line[at + 1..].strip_prefix(b"path=")
    })?;
    Some(line.to_vec())
}
