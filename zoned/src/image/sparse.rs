//! Maps of files with holes, as GNU tar has written them in four ways.

use std::io::Read;

use tar::Header;

use super::archive::{BLOCK, Bad};
use super::field::{decimal, number};

/// Pieces of a file.
pub(super) const MOST: usize = 1 << 16;
const MAP: Bad = Bad::Damaged("the map of a sparse file");

/// A piece of a file: the rest is holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// The map of an entry of type `S`: in its header, and in blocks of `from` that follow it.
pub(super) fn gnu_map(header: &Header, from: &mut impl Read) -> Result<(u64, Vec<Segment>), Bad> {
    let gnu = header.as_gnu().ok_or(MAP)?;
    let mut segments = Vec::new();
    for piece in &gnu.sparse {
        push(&mut segments, &piece.offset, &piece.numbytes)?;
    }
    let mut more = gnu.isextended[0] != 0;
    while more {
        let mut block = [0; BLOCK as usize];
        from.read_exact(&mut block)?;
        for piece in block[..504].chunks_exact(24) {
            push(&mut segments, &piece[..12], &piece[12..])?;
        }
        more = block[504] != 0;
    }
    Ok((number(&gnu.realsize).ok_or(MAP)?, segments))
}

fn push(segments: &mut Vec<Segment>, at: &[u8], len: &[u8]) -> Result<(), Bad> {
    if at[0] == 0 || len[0] == 0 {
        return Ok(());
    }
    if segments.len() == MOST {
        return Err(MAP);
    }
    segments.push(Segment { at: number(at).ok_or(MAP)?, len: number(len).ok_or(MAP)? });
    Ok(())
}

/// The three ways of GNU tar to say in pax records that a file has holes.
#[derive(Default)]
pub(super) struct PaxSparse {
    map_in_data: bool,
    len: Option<u64>,
    numbers: Vec<u64>,
    /// Whether any was used.
    pub(super) sparse: bool,
}

impl PaxSparse {
    /// The record `GNU.sparse.` and `key`.
    pub(super) fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), Bad> {
        let number = || decimal(value).ok_or(MAP);
        match key {
            b"major" => self.map_in_data = number()? == 1,
            b"size" | b"realsize" => {
                self.sparse = true;
                self.len = Some(number()?);
            }
            b"offset" | b"numbytes" => self.numbers.push(number()?),
            b"map" => {
                for word in value.split(|b| *b == b',') {
                    self.numbers.push(decimal(word).ok_or(MAP)?);
                }
            }
            _ => {}
        }
        if self.numbers.len() > 2 * MOST { Err(MAP) } else { Ok(()) }
    }

    /// Length and pieces, if the file has holes; `data` is what its entry still has in `from`.
    pub(super) fn finish(
        mut self,
        from: &mut impl Read,
        data: &mut u64,
    ) -> Result<Option<(u64, Vec<Segment>)>, Bad> {
        if !self.sparse && !self.map_in_data {
            return Ok(None);
        }
        let len = self.len.ok_or(MAP)?;
        if self.map_in_data {
            self.numbers = map_in_data(from, data)?;
        }
        if !self.numbers.len().is_multiple_of(2) {
            return Err(MAP);
        }
        Ok(Some((len, self.numbers.chunks_exact(2).map(|p| Segment { at: p[0], len: p[1] }).collect())))
    }
}

/// Version 1.0: lines with their count and the numbers come before the data, in whole blocks.
fn map_in_data(from: &mut impl Read, data: &mut u64) -> Result<Vec<u64>, Bad> {
    let (mut numbers, mut line, mut want) = (Vec::new(), Vec::new(), None);
    loop {
        let mut block = [0; BLOCK as usize];
        *data = data.checked_sub(BLOCK).ok_or(MAP)?;
        from.read_exact(&mut block)?;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(MAP);
                }
                continue;
            }
            let value = decimal(&line).ok_or(MAP)?;
            line.clear();
            match want {
                None if value > MOST as u64 => return Err(MAP),
                None => want = Some(value as usize * 2),
                Some(_) => numbers.push(value),
            }
            if want == Some(numbers.len()) {
                return Ok(numbers);
            }
        }
    }
}

/// Segments in order, inside the file, and as long together as the data.
pub(super) fn check_map(len: u64, segments: &[Segment], data: u64) -> Result<(), Bad> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        let next = segment.at.checked_add(segment.len);
        match next {
            Some(next) if segment.at >= end && next <= len => end = next,
            _ => return Err(MAP),
        }
        sum += segment.len;
    }
    if sum == data && len >> 60 == 0 { Ok(()) } else { Err(MAP) }
}
