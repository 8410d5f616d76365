//! The bytes of an archive: counted as they come in, unpacked by what their first bytes say.

use std::cell::Cell;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zone_api::Progress;

/// Says how far a step is, about ten times a second.
pub(super) struct Meter<'a> {
    tell: &'a (dyn Fn(Progress) + Sync),
    done: Arc<AtomicU64>,
    told: Cell<Instant>,
}

impl<'a> Meter<'a> {
    /// A step of `total` units begins.
    pub(super) fn begin(tell: &'a (dyn Fn(Progress) + Sync), step: &str, total: Option<u64>) -> Self {
        tell(Progress::Step { step: step.to_owned(), total });
        Self { tell, done: Arc::default(), told: Cell::new(Instant::now()) }
    }

    pub(super) fn add(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
        self.tick();
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn tick(&self) {
        let now = Instant::now();
        if now.duration_since(self.told.get()) >= Duration::from_millis(100) {
            self.told.set(now);
            (self.tell)(Progress::At { done: self.done() });
        }
    }

    /// Counts what is read through the result as units done.
    pub(super) fn count<R: Read>(&self, from: R) -> impl Read + use<R> {
        Counted { from, done: self.done.clone() }
    }
}

/// The last word of a step, so that its bar does not stop just before its end.
impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if self.done() > 0 {
            (self.tell)(Progress::At { done: self.done() });
        }
    }
}

struct Counted<R> {
    from: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
    Bzip2,
    /// Known, and not unpacked here.
    Other(&'static str),
}

impl Packing {
    pub(super) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x1f, 0x9d, ..] => Self::Other("it is packed by compress: unpack that first"),
            [0x5d, 0, 0, ..] => Self::Other("it is packed by lzma: unpack that first"),
            [b'P', b'K', 3 | 5, ..] => Self::Other("it is a zip archive"),
            [b'0', b'7', b'0', b'7', ..] | [0xc7, 0x71, ..] => Self::Other("it is a cpio archive"),
            [b'h', b's', b'q', b's', ..] => Self::Other("it is a squashfs"),
            _ => Self::Plain,
        }
    }
}

/// xz may ask for 4 GiB of memory; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// The unpacked bytes of `from`, and how they were packed.
pub(super) fn unpacked(mut from: impl Read + 'static) -> io::Result<(Packing, Box<dyn Read>)> {
    let mut magic = Vec::new();
    from.by_ref().take(6).read_to_end(&mut magic)?;
    let packing = Packing::of(&magic);
    let whole: BufReader<Chain<Cursor<Vec<u8>>, _>> =
        BufReader::with_capacity(128 << 10, Cursor::new(magic).chain(from));
    let stream: Box<dyn Read> = match packing {
        Packing::Plain | Packing::Other(_) => Box::new(whole),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Packing::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
    };
    // Headers are read in blocks of 512 bytes; the decoders like larger bites.
    Ok((packing, Box::new(BufReader::with_capacity(64 << 10, stream))))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    /// A frame that every reader passes over (RFC 8878, 3.1.2).
    fn skippable(bytes: &[u8]) -> Vec<u8> {
        [&[0x5a, 0x2a, 0x4d, 0x18][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn streams_of_several_pieces_are_read_to_their_end() {
        let (one, two) = (vec![b'1'; 300_000], vec![b'2'; 70_000]);
        let whole = [&one[..], &two].concat();
        let (empty, toc) = (zstd(b""), skippable(&[7; 50_000]));
        let streams = [
            [zstd(&one), zstd(&two)].concat(),
            // As zstd:chunked has them: a frame for each piece, and the table of contents in ones that are skipped.
            [zstd(&one), empty.clone(), zstd(&two), toc.clone(), skippable(&[0; 64])].concat(),
            [skippable(b""), zstd(&one), skippable(b"between"), zstd(&two)].concat(),
            [gzip(&one), gzip(b""), gzip(&two)].concat(),
        ];
        for (i, stream) in streams.into_iter().enumerate() {
            let mut bytes = Vec::new();
            unpacked(Cursor::new(stream.clone())).unwrap().1.read_to_end(&mut bytes).unwrap();
            assert!(bytes == whole, "stream {i}");
            // One that is cut off is told as that, wherever in a piece.
            let cut = Cursor::new(stream[..stream.len() - 3].to_vec());
            assert!(unpacked(cut).unwrap().1.read_to_end(&mut Vec::new()).is_err(), "stream {i}");
        }
    }
}
