//! What a folder held at one instant: enough to tell later what of it is still as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::Stat;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Names that are kept of one folder at most, with those of folders in it.
const MOST: usize = 4 << 20;
/// Texts have one byte for their length: no name is longer than 255.
const MAGIC: &[u8] = b"what a zone wrote 1\n";
/// Steps of the clock that are none: it is read twice.
const JITTER: i128 = 1_000_000;

/// Seconds and nanoseconds since 1970.
pub(super) type Time = (i64, u32);

/// What a file has that no change of it leaves as it was: nobody sets the time of change of a file (inode(7)). Of a folder it
/// says nothing about what the files in it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) inode: u64,
    pub(super) changed: Time,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) links: u32,
}

impl Proof {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
            size: stat.st_size as u64,
            mode: stat.st_mode,
            links: stat.st_nlink as u32,
        }
    }

    /// That of no file.
    pub(super) const NONE: Self = Self { inode: 0, changed: (i64::MAX, 0), size: 0, mode: 0, links: 0 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is in it has this number.
    Folder {
        at: usize,
        opaque: bool,
    },
    /// A whiteout: there is nothing, whatever lies below.
    Gone,
    Other,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) proof: Proof,
    pub(super) kind: Kind,
}

impl Node {
    pub(super) const GONE: Self = Self { proof: Proof::NONE, kind: Kind::Gone };
    /// One that nothing is known of.
    pub(super) const UNKNOWN: Self = Self { proof: Proof::NONE, kind: Kind::Other };
}

pub(super) type Names = BTreeMap<Box<[u8]>, Node>;

/// Folders by number, so that no depth of a tree is too much for anything.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    folders: Vec<Names>,
    pub(super) top: Option<Node>,
    count: usize,
}

impl Nodes {
    /// Takes what is in a folder, and gives its number.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn push(&mut self, names: Names) -> io::Result<usize> {
        self.count += names.len() + 1;
        if self.count > MOST {
            let why = format!("it has more than {MOST} files: halt the zone for a snapshot of it");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        self.folders.push(names);
        Ok(self.folders.len() - 1)
    }

    /// What is in a folder; none where that is none.
    pub(super) fn names(&self, node: Option<&Node>) -> Option<&Names> {
        match node?.kind {
            Kind::Folder { at, .. } => self.folders.get(at),
            Kind::Gone | Kind::Other => None,
        }
    }
}

/// All that an overlay's upper folder held when a layer was made of it.
#[derive(Debug)]
pub struct Index {
    pub(super) nodes: Nodes,
    /// What changed its files from this time on need not have changed their times.
    pub(super) since: Time,
    folder: Place,
}

/// Which folder, as long as the clock of this boot goes on.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    boot: String,
    /// Nanoseconds between 1970 and the host's boot.
    clock: i128,
}

impl Place {
    fn of(folder: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(folder)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let time = |clock| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
            i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
        };
        let clock = time(ClockId::Realtime) - time(ClockId::Boottime);
        Ok(Self { device: found.dev(), inode: found.ino(), boot: boot.trim().to_owned(), clock })
    }

    /// Whether times of that folder's files can be held against those that were seen here. Once the clock was set back, a
    /// time of change may come twice.
    fn goes_on(&self, then: &Self) -> bool {
        (self.device, self.inode, &self.boot) == (then.device, then.inode, &then.boot)
            && self.clock + JITTER >= then.clock
    }
}

impl Index {
    pub(super) fn new(nodes: Nodes, since: Time, folder: &Path) -> io::Result<Self> {
        Ok(Self { nodes, since, folder: Place::of(folder)? })
    }

    /// Reads what was kept of `folder`; none where that is of no use: it is not there, or is of another folder, or the clock
    /// was set back, or the host booted.
    pub fn read(path: &Path, folder: &Path) -> Option<Self> {
        match Self::try_read(path) {
            Ok(found) => Place::of(folder).is_ok_and(|now| now.goes_on(&found.folder)).then_some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what a zone wrote is copied anew");
                None
            }
        }
    }

    fn try_read(path: &Path) -> io::Result<Self> {
        let mut from = Source(BufReader::new(zstd::Decoder::new(File::open(path)?)?));
        let mut magic = vec![0; MAGIC.len()];
        from.0.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged());
        }
        let folder = Place {
            device: from.u64()?,
            inode: from.u64()?,
            boot: String::from_utf8(from.text()?).map_err(|_| damaged())?,
            clock: i128::from_le_bytes(from.bytes()?),
        };
        let since = from.time()?;
        let mut nodes = Nodes::default();
        // The names of the folders that were begun, and each one's own.
        let mut way: Vec<(Names, Box<[u8]>, Node)> = vec![(Names::new(), Box::default(), from.node()?)];
        while let Some((names, _, _)) = way.last_mut() {
            let name = from.text()?;
            if !name.is_empty() {
                let node = from.node()?;
                match node.kind {
                    Kind::Folder { .. } => way.push((Names::new(), name.into(), node)),
                    Kind::Gone | Kind::Other => drop(names.insert(name.into(), node)),
                }
                continue;
            }
            let Some((names, name, mut node)) = way.pop() else { break };
            let Kind::Folder { at, .. } = &mut node.kind else { return Err(damaged()) };
            *at = nodes.push(names)?;
            match way.last_mut() {
                Some((names, _, _)) => drop(names.insert(name, node)),
                None => nodes.top = Some(node),
            }
        }
        // The checksum that ends it.
        match from.0.read(&mut [0])? {
            0 => Ok(Self { nodes, since, folder }),
            _ => Err(damaged()),
        }
    }

    /// Keeps it in a new file.
    ///
    /// # Errors
    /// As write(2) has them.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut to = zstd::Encoder::new(file, 1)?;
        to.include_checksum(true)?;
        let mut to = io::BufWriter::new(to);
        to.write_all(MAGIC)?;
        to.write_all(&self.folder.device.to_le_bytes())?;
        to.write_all(&self.folder.inode.to_le_bytes())?;
        text(&mut to, self.folder.boot.as_bytes())?;
        to.write_all(&self.folder.clock.to_le_bytes())?;
        time(&mut to, self.since)?;
        let mut way = Vec::new();
        if let Some(top) = &self.nodes.top {
            node(&mut to, top)?;
            way.extend(self.nodes.names(Some(top)).map(BTreeMap::iter));
        }
        while let Some(names) = way.last_mut() {
            match names.next() {
                Some((name, found)) => {
                    text(&mut to, name)?;
                    node(&mut to, found)?;
                    way.extend(self.nodes.names(Some(found)).map(BTreeMap::iter));
                }
                None => {
                    text(&mut to, b"")?;
                    way.pop();
                }
            }
        }
        to.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

fn text(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let length = u8::try_from(text.len()).map_err(|_| damaged())?;
    to.write_all(&[length])?;
    to.write_all(text)
}

fn time(to: &mut impl Write, (seconds, nanoseconds): Time) -> io::Result<()> {
    to.write_all(&seconds.to_le_bytes())?;
    to.write_all(&nanoseconds.to_le_bytes())
}

fn node(to: &mut impl Write, node: &Node) -> io::Result<()> {
    let kind = match node.kind {
        Kind::Other => 0,
        Kind::Folder { opaque: false, .. } => 1,
        Kind::Folder { opaque: true, .. } => 2,
        Kind::Gone => return to.write_all(&[3]),
    };
    let Proof { inode, changed, size, mode, links } = node.proof;
    to.write_all(&[kind])?;
    to.write_all(&inode.to_le_bytes())?;
    time(to, changed)?;
    to.write_all(&size.to_le_bytes())?;
    to.write_all(&mode.to_le_bytes())?;
    to.write_all(&links.to_le_bytes())
}

struct Source<R>(R);

impl<R: Read> Source<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> io::Result<Time> {
        Ok((i64::from_le_bytes(self.bytes()?), u32::from_le_bytes(self.bytes()?)))
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let [length] = self.bytes()?;
        let mut text = vec![0; length.into()];
        self.0.read_exact(&mut text)?;
        Ok(text)
    }

    fn node(&mut self) -> io::Result<Node> {
        let kind = match self.bytes()? {
            [0] => Kind::Other,
            [1] => Kind::Folder { at: usize::MAX, opaque: false },
            [2] => Kind::Folder { at: usize::MAX, opaque: true },
            [3] => return Ok(Node::GONE),
            _ => return Err(damaged()),
        };
        let proof = Proof {
            inode: self.u64()?,
            changed: self.time()?,
            size: self.u64()?,
            mode: u32::from_le_bytes(self.bytes()?),
            links: u32::from_le_bytes(self.bytes()?),
        };
        Ok(Node { proof, kind })
    }
}
