//! Reads the entries of a tar archive: ustar, GNU and pax, with limits on all that is kept in
//! memory. The headers' layout is the `tar` crate's; its own iterator reads long names of any length into memory
//! and does not say whether an archive ended or was cut off.

use std::io::{self, Read};

use tar::Header;

const BLOCK: u64 = 512;
/// PATH_MAX without the zero byte: no program could name a longer path.
pub(super) const LONGEST_NAME: usize = 4095;
/// Long names, pax headers and maps of sparse files longer than this are an attack.
const LONGEST_EXTRA: u64 = 1 << 20;
const MOST_SEGMENTS: usize = 1 << 16;

/// Why the next entry could not be had.
#[derive(Debug)]
pub(super) enum Bad {
    /// The first block is no header.
    NotTar(&'static str),
    /// The stream ended inside.
    CutOff,
    /// A header makes no sense.
    Damaged(&'static str),
    Read(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::CutOff } else { Self::Read(error) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    Device,
    Fifo,
    Folder,
    /// A volume label, a multi-volume part or a vendor's own.
    Other,
}

/// A piece of a file: the rest is holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) at: u64,
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    /// Bytes of the file once it is written.
    pub(super) len: u64,
    /// Where the data goes.
    pub(super) segments: Vec<Segment>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) has_acl: bool,
}

pub(super) struct Archive<R> {
    from: R,
    /// Bytes of data of the current entry not yet read.
    data: u64,
    /// Bytes that fill its last block.
    padding: u64,
    begun: bool,
    globals: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the two blocks of zeros were seen.
    pub(super) ended: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, data: 0, padding: 0, begun: false, globals: Vec::new(), ended: false }
    }

    /// The next entry; its data is read by [`Self::read`] before the one after it is asked for.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Bad> {
        let (mut name, mut link) = (None, None);
        let mut pax = Vec::new();
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.as_bytes()[156];
            if matches!(kind, b'L' | b'K' | b'x' | b'X' | b'g') {
                self.expect_data(
                    number(&header.as_old().size).ok_or(Bad::Damaged("a size that is no number"))?,
                )?;
                let extra = self.extra()?;
                match kind {
                    b'L' => name = Some(until_zero(&extra)),
                    b'K' => link = Some(until_zero(&extra)),
                    b'g' => {
                        self.globals = records(&extra).ok_or(Bad::Damaged("a pax header that is none"))?
                    }
                    _ => pax = records(&extra).ok_or(Bad::Damaged("a pax header that is none"))?,
                }
                continue;
            }
            return self.entry(&header, name, link, pax).map(Some);
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
        pax: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<Entry, Bad> {
        let old = header.as_old();
        let byte = header.as_bytes()[156];
        let mut entry = Entry {
            kind: match byte {
                b'1' => Kind::HardLink,
                b'2' => Kind::Symlink,
                b'3' | b'4' => Kind::Device,
                b'5' | b'D' => Kind::Folder,
                b'6' => Kind::Fifo,
                b'V' | b'M' | b'N' | b'I' | b'A' | b'E' => Kind::Other,
                // "Any other value shall be treated as a regular file" (pax(1), ustar interchange format).
                _ => Kind::File,
            },
            name: name.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
            mode: number(&old.mode).unwrap_or(0) as u32 & 0o7777,
            uid: number(&old.uid).ok_or(Bad::Damaged("an owner that is no number"))?,
            gid: number(&old.gid).ok_or(Bad::Damaged("a group that is no number"))?,
            mtime: (signed(&old.mtime).unwrap_or(0), 0),
            len: 0,
            segments: Vec::new(),
            xattrs: Vec::new(),
            has_acl: false,
        };
        let mut stored = number(&old.size).ok_or(Bad::Damaged("a size that is no number"))?;
        let mut sparse = PaxSparse::default();
        let globals = std::mem::take(&mut self.globals);
        for (key, value) in globals.iter().chain(&pax) {
            apply(&mut entry, &mut stored, &mut sparse, key, value)?;
        }
        self.globals = globals;
        // The ustar format has no type for folders before 1988; a slash at the end says it.
        if entry.kind == Kind::File && entry.name.ends_with(b"/") {
            entry.kind = Kind::Folder;
        }
        // Only files have data; some writers leave the size of the target in a link's header.
        if matches!(entry.kind, Kind::HardLink | Kind::Symlink | Kind::Device | Kind::Fifo) {
            stored = 0;
        }
        let (len, segments) = if byte == b'S' {
            let gnu =
                header.as_gnu().ok_or(Bad::Damaged("a sparse file in a header without room for its map"))?;
            let mut segments = Vec::new();
            for piece in &gnu.sparse {
                push(&mut segments, &piece.offset, &piece.numbytes)?;
            }
            let mut more = gnu.isextended[0] != 0;
            while more {
                let mut block = [0; BLOCK as usize];
                self.from.read_exact(&mut block)?;
                for piece in block[..504].chunks_exact(24) {
                    push(&mut segments, &piece[..12], &piece[12..])?;
                }
                more = block[504] != 0;
            }
            self.expect_data(stored)?;
            (number(&gnu.realsize).ok_or(Bad::Damaged("a sparse file of no size"))?, segments)
        } else {
            self.expect_data(stored)?;
            match sparse.finish(self)? {
                Some((len, segments)) => (len, segments),
                None => (stored, vec![Segment { at: 0, len: stored }]),
            }
        };
        check_map(len, &segments, self.data)?;
        (entry.len, entry.segments) = (len, segments);
        Ok(entry)
    }

    /// Data of the current entry; 0 at its end.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Bad> {
        let want = usize::try_from(self.data).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.from.read(&mut buf[..want])?;
        if n == 0 {
            return Err(Bad::CutOff);
        }
        self.data -= n as u64;
        Ok(n)
    }

    /// Reads on to the end of the stream, so that its packing's checksum is checked.
    pub(super) fn drain(&mut self) -> Result<(), Bad> {
        io::copy(&mut self.from, &mut io::sink())?;
        Ok(())
    }

    fn expect_data(&mut self, len: u64) -> Result<(), Bad> {
        // 2^60 bytes: beyond what any file system stores, and nothing below can overflow.
        if len >> 60 != 0 {
            return Err(Bad::Damaged("a size beyond any disk"));
        }
        self.data = len;
        self.padding = len.next_multiple_of(BLOCK) - len;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), Bad> {
        let left = self.data + self.padding;
        let skipped = io::copy(&mut self.from.by_ref().take(left), &mut io::sink())?;
        (self.data, self.padding) = (0, 0);
        if skipped == left { Ok(()) } else { Err(Bad::CutOff) }
    }

    fn extra(&mut self) -> Result<Vec<u8>, Bad> {
        if self.data > LONGEST_EXTRA {
            return Err(Bad::Damaged("a name or header of more than a megabyte"));
        }
        let mut extra = vec![0; self.data as usize];
        self.from.read_exact(&mut extra)?;
        self.data = 0;
        Ok(extra)
    }

    /// The next header; none where the archive ends.
    fn header(&mut self) -> Result<Option<Header>, Bad> {
        let mut block = [0; BLOCK as usize];
        let mut have = 0;
        while have < block.len() {
            match self.from.read(&mut block[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // What begins like gzip and is not is no archive, rather than a cut-off one.
                Err(e) => return Err(e.into()),
            }
        }
        let first = !std::mem::replace(&mut self.begun, true);
        match have {
            0 if first => return Err(Bad::NotTar("it is empty")),
            0 => return Ok(None),
            n if n < block.len() => {
                return Err(if first { Bad::NotTar("it is too short") } else { Bad::CutOff });
            }
            _ => {}
        }
        if block.iter().all(|b| *b == 0) {
            if first {
                return Err(Bad::NotTar("it holds nothing"));
            }
            self.ended = true;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        if !checks(&block, &header.as_old().cksum) {
            return Err(if first {
                Bad::NotTar("its first block is not a header")
            } else {
                Bad::Damaged("what follows is not a header")
            });
        }
        Ok(Some(header.clone()))
    }
}

/// The sum of the header's bytes, its own field taken as spaces; some old writers summed signed bytes.
fn checks(block: &[u8; BLOCK as usize], field: &[u8]) -> bool {
    let Some(want) = number(field) else { return false };
    let bytes = block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { b' ' } else { *b });
    let (plain, odd) =
        bytes.fold((0u64, 0i64), |(plain, odd), b| (plain + u64::from(b), odd + i64::from(b as i8)));
    want == plain || i64::try_from(want) == Ok(odd)
}

/// A number in a header: octal digits, or with the high bit set big-endian binary. Blank is 0.
fn number(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let (mut value, fill) = if first & 0x40 != 0 { (-1i64, 0xff) } else { (i64::from(first & 0x3f), 0) };
        for (at, byte) in field.iter().enumerate().skip(1) {
            // The field has 12 bytes and the number 8: what is cut off must be sign only.
            if field.len() - at > 8 && *byte != fill {
                return None;
            }
            value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
        }
        return Some(value);
    }
    let text = field.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

/// The records of a pax header, each `LENGTH KEY=VALUE\n` with a length that counts itself.
fn records(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let len: usize = decimal(&bytes[..space])?.try_into().ok()?;
        let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        found.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[len..];
    }
    Some(found)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut digits = parts.next().unwrap_or_default().to_vec();
    digits.resize(9, b'0');
    let nanos = u32::try_from(decimal(&digits)?).ok()?;
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

/// The three ways of GNU tar to say in pax records that a file has holes.
#[derive(Default)]
struct PaxSparse {
    map_in_data: bool,
    len: Option<u64>,
    numbers: Vec<u64>,
    sparse: bool,
}

impl PaxSparse {
    fn finish<R: Read>(mut self, archive: &mut Archive<R>) -> Result<Option<(u64, Vec<Segment>)>, Bad> {
        if !self.sparse && !self.map_in_data {
            return Ok(None);
        }
        let len = self.len.ok_or(Bad::Damaged("a sparse file of no size"))?;
        if self.map_in_data {
            self.numbers = map_in_data(archive)?;
        }
        if !self.numbers.len().is_multiple_of(2) {
            return Err(Bad::Damaged("the map of a sparse file"));
        }
        Ok(Some((len, self.numbers.chunks_exact(2).map(|p| Segment { at: p[0], len: p[1] }).collect())))
    }
}

/// Version 1.0: lines with their count and the numbers come before the data, in whole blocks.
fn map_in_data<R: Read>(archive: &mut Archive<R>) -> Result<Vec<u64>, Bad> {
    let bad = Bad::Damaged("the map of a sparse file");
    let (mut numbers, mut line, mut want) = (Vec::new(), Vec::new(), None);
    loop {
        let mut block = [0; BLOCK as usize];
        if archive.data < BLOCK {
            return Err(bad);
        }
        archive.from.read_exact(&mut block)?;
        archive.data -= BLOCK;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(bad);
                }
                continue;
            }
            let Some(value) = decimal(&line) else { return Err(bad) };
            line.clear();
            match want {
                None if value > MOST_SEGMENTS as u64 => return Err(bad),
                None => want = Some(value as usize * 2),
                Some(_) => numbers.push(value),
            }
            if want == Some(numbers.len()) {
                return Ok(numbers);
            }
        }
    }
}

fn apply(
    entry: &mut Entry,
    stored: &mut u64,
    sparse: &mut PaxSparse,
    key: &[u8],
    value: &[u8],
) -> Result<(), Bad> {
    let number = || decimal(value).ok_or(Bad::Damaged("a pax header with a number that is none"));
    match key {
        b"path" if !sparse.sparse => entry.name = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"size" => *stored = number()?,
        b"uid" => entry.uid = number()?,
        b"gid" => entry.gid = number()?,
        b"mtime" => entry.mtime = time(value).unwrap_or(entry.mtime),
        b"GNU.sparse.name" => {
            sparse.sparse = true;
            entry.name = value.to_vec();
        }
        b"GNU.sparse.major" => sparse.map_in_data = number()? == 1,
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
            sparse.sparse = true;
            sparse.len = Some(number()?);
        }
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => sparse.numbers.push(number()?),
        b"GNU.sparse.map" => {
            for word in value.split(|b| *b == b',') {
                sparse.numbers.push(decimal(word).ok_or(Bad::Damaged("the map of a sparse file"))?);
            }
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            } else if key.starts_with(b"SCHILY.acl.") {
                entry.has_acl = true;
            }
        }
    }
    if sparse.numbers.len() > 2 * MOST_SEGMENTS {
        return Err(Bad::Damaged("the map of a sparse file"));
    }
    Ok(())
}

fn push(segments: &mut Vec<Segment>, at: &[u8], len: &[u8]) -> Result<(), Bad> {
    if at[0] == 0 || len[0] == 0 {
        return Ok(());
    }
    let bad = || Bad::Damaged("the map of a sparse file");
    if segments.len() == MOST_SEGMENTS {
        return Err(bad());
    }
    segments.push(Segment { at: number(at).ok_or_else(bad)?, len: number(len).ok_or_else(bad)? });
    Ok(())
}

/// Segments in order, inside the file, and as long together as the data.
fn check_map(len: u64, segments: &[Segment], data: u64) -> Result<(), Bad> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        let next = segment.at.checked_add(segment.len);
        match next {
            Some(next) if segment.at >= end && next <= len => end = next,
            _ => return Err(Bad::Damaged("the map of a sparse file")),
        }
        sum += segment.len;
    }
    if sum == data && len >> 60 == 0 { Ok(()) } else { Err(Bad::Damaged("the map of a sparse file")) }
}
