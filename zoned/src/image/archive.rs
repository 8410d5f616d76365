//! Reads the entries of a tar archive: ustar, GNU and pax, with limits on all that is kept in
//! memory. The headers' layout is the `tar` crate's; its own iterator reads long names of any length into memory
//! and does not say whether an archive ended or was cut off.

use std::io::{self, Read};

use tar::Header;

use super::field::{decimal, number, records, signed, time, until_zero};
use super::sparse::{self, PaxSparse, Segment};

pub(super) const BLOCK: u64 = 512;
/// PATH_MAX without the zero byte: no program could name a longer path.
pub(super) const LONGEST_NAME: usize = 4095;
/// Long names, pax headers and maps of sparse files longer than this are an attack.
const LONGEST_EXTRA: u64 = 1 << 20;

/// Said of an archive of zeros.
pub(super) const EMPTY: &str = "it holds nothing";

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
    /// Of a device: whether it is a block device, and its numbers.
    pub(super) device: (bool, u32, u32),
}

pub(super) struct Archive<R> {
    from: R,
    /// Bytes of data of the current entry not yet read.
    data: u64,
    /// Bytes that fill its last block.
    padding: u64,
    begun: bool,
    globals: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it may end before the padding of its last entry does, as layers of umoci do.
    pub(super) may_end: bool,
    /// Whether the two blocks of zeros were seen.
    pub(super) ended: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, data: 0, padding: 0, begun: false, globals: Vec::new(), may_end: false, ended: false }
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
            device: (byte == b'4', device(header.device_major()), device(header.device_minor())),
        };
        let mut stored = number(&old.size).ok_or(Bad::Damaged("a size that is no number"))?;
        let mut holes = PaxSparse::default();
        let globals = std::mem::take(&mut self.globals);
        for (key, value) in globals.iter().chain(&pax) {
            apply(&mut entry, &mut stored, &mut holes, key, value)?;
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
            let map = sparse::gnu_map(header, &mut self.from)?;
            self.expect_data(stored)?;
            map
        } else {
            self.expect_data(stored)?;
            match holes.finish(&mut self.from, &mut self.data)? {
                Some((len, segments)) => (len, segments),
                None => (stored, vec![Segment { at: 0, len: stored }]),
            }
        };
        sparse::check_map(len, &segments, self.data)?;
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

    /// Passes over the current entry's data by `skip`, which moves the stream on by as many bytes.
    pub(super) fn pass(&mut self, skip: impl FnOnce(&mut R, u64) -> io::Result<()>) -> Result<(), Bad> {
        let left = self.data + self.padding;
        (self.data, self.padding) = (0, 0);
        Ok(skip(&mut self.from, left)?)
    }

    /// The stream.
    pub(super) fn stream(&mut self) -> &mut R {
        &mut self.from
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
        let (data, left) = (self.data, self.data + self.padding);
        let skipped = io::copy(&mut self.from.by_ref().take(left), &mut io::sink())?;
        (self.data, self.padding) = (0, 0);
        if skipped == left || self.may_end && skipped >= data { Ok(()) } else { Err(Bad::CutOff) }
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
                return Err(Bad::NotTar(EMPTY));
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

/// Half of a device's number; a header from before ustar has none.
fn device(found: io::Result<Option<u32>>) -> u32 {
    found.ok().flatten().unwrap_or(0)
}

/// The sum of the header's bytes, its own field taken as spaces; some old writers summed signed bytes.
fn checks(block: &[u8; BLOCK as usize], field: &[u8]) -> bool {
    let Some(want) = number(field) else { return false };
    let bytes = block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { b' ' } else { *b });
    let (plain, odd) =
        bytes.fold((0u64, 0i64), |(plain, odd), b| (plain + u64::from(b), odd + i64::from(b as i8)));
    want == plain || i64::try_from(want) == Ok(odd)
}

fn apply(
    entry: &mut Entry,
    stored: &mut u64,
    holes: &mut PaxSparse,
    key: &[u8],
    value: &[u8],
) -> Result<(), Bad> {
    let number = || decimal(value).ok_or(Bad::Damaged("a pax header with a number that is none"));
    match key {
        b"path" if !holes.sparse => entry.name = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"size" => *stored = number()?,
        b"uid" => entry.uid = number()?,
        b"gid" => entry.gid = number()?,
        b"mtime" => entry.mtime = time(value).unwrap_or(entry.mtime),
        b"GNU.sparse.name" => {
            holes.sparse = true;
            entry.name = value.to_vec();
        }
        _ => {
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                holes.apply(key, value)?;
            } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            } else if key.starts_with(b"SCHILY.acl.") {
                entry.has_acl = true;
            }
        }
    }
    Ok(())
}
