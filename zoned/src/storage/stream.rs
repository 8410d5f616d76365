//! A zone as one stream of bytes: what `send` writes and `receive` reads.
//!
//! ```text
//! "zones stream 1\n"
//! frames: kind (1 byte), length (4 bytes, little-endian), so many bytes
//!   H  header, JSON; the first
//!   L  a layer begins: its name
//!   D  a piece of its archive, packed by zstd: of an image's layer the very one that its name is the digest of
//!   E  it ends: SHA-256 of the bytes in its pieces
//!   Z  the end: SHA-256 of all bytes before this frame
//! ```
//!
//! Whatever is cut off or changed on the way is told before anything of it is used.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::LayerId;

const MAGIC: &[u8] = b"zones stream 1\n";
/// Longest header: a configuration and the names of layers.
const LONGEST_HEADER: u32 = 4 << 20;
/// Longest piece.
const PIECE: u32 = 256 << 10;

/// What comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name that the zone had.
    pub zone: String,
    /// Its configuration, TOML.
    pub config: String,
    /// uname -m that its programs want.
    pub arch: Option<String>,
    /// Name of the snapshot, and when it was made in seconds since 1970; none: the zone as it was.
    pub snapshot: Option<(String, u64)>,
    /// All of the root, the topmost first; those of the base are not in the stream.
    pub layers: Vec<LayerId>,
    /// Snapshot that the receiver must have, and its layers.
    pub base: Option<(String, Vec<LayerId>)>,
}

/// Writes a stream.
pub struct Sender<W: Write> {
    to: W,
    sum: Sha256,
}

impl<W: Write> Sender<W> {
    /// Begins one.
    ///
    /// # Errors
    /// As `to` has them.
    pub fn begin(to: W, header: &Header) -> io::Result<Self> {
        let mut sender = Self { to, sum: Sha256::new() };
        sender.put(MAGIC)?;
        sender.frame(b'H', &serde_json::to_vec(header)?)?;
        Ok(sender)
    }

    /// A layer, whose archive `write` writes.
    ///
    /// # Errors
    /// As `write` or `to` have them.
    pub fn layer<E: From<io::Error>>(
        &mut self,
        id: &LayerId,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.frame(b'L', id.to_string().as_bytes())?;
        let pieces = Pieces { sender: self, sum: Sha256::new(), piece: Vec::with_capacity(PIECE as usize) };
        // The fastest: the sums and the disks are slower than this.
        let mut packed = zstd::stream::write::Encoder::new(pieces, 1)?;
        write(&mut packed)?;
        let mut pieces = packed.finish()?;
        pieces.flush()?;
        let sum = pieces.sum.finalize();
        self.frame(b'E', &sum)?;
        Ok(())
    }

    /// The end.
    ///
    /// # Errors
    /// As `to` has them.
    pub fn finish(mut self) -> io::Result<()> {
        let sum = self.sum.clone().finalize();
        self.frame(b'Z', &sum)?;
        self.to.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.to.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&[kind])?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }
}

struct Pieces<'a, W: Write> {
    sender: &'a mut Sender<W>,
    sum: Sha256,
    piece: Vec<u8>,
}

impl<W: Write> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE as usize - self.piece.len());
        self.piece.extend_from_slice(&bytes[..take]);
        if self.piece.len() == PIECE as usize {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.sum.update(&self.piece);
            self.sender.frame(b'D', &self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }
}

/// Reads a stream.
pub struct Receiver<R: Read> {
    from: R,
    sum: Sha256,
}

/// Why a stream cannot be used.
fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

impl<R: Read> Receiver<R> {
    /// Reads its header.
    ///
    /// # Errors
    /// When it is no stream, or of another version.
    pub fn begin(from: R) -> io::Result<(Self, Header)> {
        let mut receiver = Self { from, sum: Sha256::new() };
        let mut magic = [0; MAGIC.len()];
        receiver.get(&mut magic)?;
        if magic != MAGIC {
            let version = magic.starts_with(&MAGIC[..MAGIC.len() - 2]);
            return Err(bad(if version {
                "it is of a version that this zoned does not know"
            } else {
                "it is no stream of a zone"
            }));
        }
        let (kind, header) = receiver.frame(LONGEST_HEADER)?;
        if kind != b'H' {
            return Err(bad("it does not begin with its header"));
        }
        let header =
            serde_json::from_slice(&header).map_err(|e| bad(&format!("its header makes no sense: {e}")))?;
        Ok((receiver, header))
    }

    /// The next layer, whose archive is then to be read to its end; none: the stream ended, and all of it was as it
    /// was sent.
    ///
    /// # Errors
    /// When it is cut off or was changed.
    pub fn next_layer(&mut self) -> io::Result<Option<LayerId>> {
        let before = self.sum.clone();
        let (kind, bytes) = self.frame(PIECE)?;
        match kind {
            b'L' => {
                let name = String::from_utf8_lossy(&bytes);
                name.parse().map(Some).map_err(|error: super::BadLayerId| bad(&error.to_string()))
            }
            b'Z' if before.finalize().as_slice() == bytes => Ok(None),
            b'Z' => Err(bad("its checksum is wrong")),
            _ => Err(bad("its parts are out of order")),
        }
    }

    /// Bytes of the layer's archive, packed, the checksum of which was compared once they have ended.
    pub fn archive(this: &Arc<Mutex<Self>>) -> impl Read + use<R> {
        Archive { of: Arc::clone(this), sum: Sha256::new(), piece: Vec::new(), at: 0, ended: false }
    }

    fn get(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
            }
            _ => error,
        })?;
        self.sum.update(&*bytes);
        Ok(())
    }

    fn frame(&mut self, most: u32) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.get(&mut head)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if length > most {
            return Err(bad("a part of it is longer than any is"));
        }
        let mut bytes = vec![0; length as usize];
        self.get(&mut bytes)?;
        Ok((head[0], bytes))
    }
}

struct Archive<R: Read> {
    of: Arc<Mutex<Receiver<R>>>,
    sum: Sha256,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            let (kind, bytes) = self.of.lock().unwrap_or_else(PoisonError::into_inner).frame(PIECE)?;
            match kind {
                b'D' => {
                    self.sum.update(&bytes);
                    (self.piece, self.at) = (bytes, 0);
                }
                b'E' if self.sum.clone().finalize().as_slice() == bytes => self.ended = true,
                b'E' => return Err(bad("the checksum of a layer is wrong")),
                _ => return Err(bad("its parts are out of order")),
            }
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            zone: "z".into(),
            config: "name = \"z\"\n".into(),
            arch: None,
            snapshot: Some(("one".into(), 7)),
            layers: vec![LayerId::new_own(), LayerId::new_own()],
            base: None,
        }
    }

    fn stream(header: &Header, contents: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sender = Sender::begin(&mut bytes, header).unwrap();
        for (id, content) in header.layers.iter().zip(contents) {
            sender.layer(id, |to| to.write_all(content)).unwrap();
        }
        sender.finish().unwrap();
        bytes
    }

    type Read = (Header, Vec<(LayerId, Vec<u8>)>);

    fn read(bytes: &[u8]) -> io::Result<Read> {
        let (receiver, header) = Receiver::begin(io::Cursor::new(bytes.to_vec()))?;
        let receiver = Arc::new(Mutex::new(receiver));
        let mut layers = Vec::new();
        loop {
            let next = receiver.lock().unwrap().next_layer()?;
            let Some(id) = next else { return Ok((header, layers)) };
            let mut content = Vec::new();
            let mut archive = Receiver::archive(&receiver);
            let mut packed = Vec::new();
            archive.read_to_end(&mut packed)?;
            zstd::stream::copy_decode(&*packed, &mut content)?;
            layers.push((id, content));
        }
    }

    #[test]
    fn what_is_sent_is_received() {
        let header = header();
        let long: Vec<u8> =
            (0..3_000_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let bytes = stream(&header, &[b"short", &long]);
        let (found, layers) = read(&bytes).unwrap();
        assert_eq!(found, header);
        let wanted = vec![(header.layers[0].clone(), b"short".to_vec()), (header.layers[1].clone(), long)];
        assert!(layers == wanted);
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_is_told() {
        let bytes = stream(&header(), &[b"one", b"two"]);
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}: {error}");
        }
        assert!(read(b"a tar archive it is").unwrap_err().to_string().contains("no stream"));
        assert!(read(b"zones stream 2\nHHHHHHHH").unwrap_err().to_string().contains("version"));
        assert!(read(b"zones stream 1\nH\xff\xff\xff\xff").unwrap_err().to_string().contains("longer"));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..600, to in any::<u8>()) {
            let mut bytes = stream(&header(), &[b"one", b"two"]);
            let at = at % bytes.len();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert!(read(&bytes).is_err());
        }
    }
}
