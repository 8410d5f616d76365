//! Files of a stack of layers, found as an overlay would show them, without mounting one.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::image::is_opaque;

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
const LONGEST: usize = 4096;

/// Layers, the topmost first.
#[derive(Debug)]
pub struct Stack {
    layers: Vec<OwnedFd>,
}

/// A file or folder of a stack.
#[derive(Debug)]
pub struct Found {
    layer: usize,
    /// Below the layer, without a link in it.
    path: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Stack {
    /// Opens them. What lies below an opaque root is not to be seen.
    ///
    /// # Errors
    /// When one is not there.
    pub fn open(trees: &[PathBuf]) -> io::Result<Self> {
        let mut layers = Vec::new();
        for tree in trees {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let layer = rustix::fs::open(tree, flags, Mode::empty())?;
            let is_last = is_opaque(layer.as_fd());
            layers.push(layer);
            if is_last {
                break;
            }
        }
        Ok(Self { layers })
    }

    /// How many of the layers are seen.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    fn open_at(&self, layer: usize, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            match rustix::fs::openat2(&self.layers[layer], path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// What `path` is to a program in the zone; links are followed.
    pub fn find(&self, path: &Path) -> Option<Found> {
        let mut left: Vec<Vec<u8>> = parts(path.as_os_str().as_encoded_bytes());
        let all = || (0..self.layers.len()).collect::<Vec<_>>();
        // The folder that the walk is in: its path, and the layers that have a part of it.
        let (mut here, mut visible) = (Vec::new(), all());
        let mut ways: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == b".." {
                (here, visible) = ways.pop().unwrap_or_else(|| (Vec::new(), all()));
                continue;
            }
            let mut next = here.clone();
            if !next.is_empty() {
                next.push(b'/');
            }
            next.extend_from_slice(&part);
            if next.len() > LONGEST {
                return None;
            }
            let (mut folders, mut followed) = (Vec::new(), false);
            for layer in visible.iter().copied() {
                let flags = OFlags::PATH;
                let Ok(found) = self.open_at(layer, &next, flags) else { continue };
                let stat = rustix::fs::fstat(&found).ok()?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {
                        folders.push(layer);
                        let open = self.open_at(layer, &next, OFlags::RDONLY | OFlags::DIRECTORY);
                        if open.is_ok_and(|open| is_opaque(open.as_fd())) {
                            break;
                        }
                    }
                    // What a file or a whiteout hides in layers further down.
                    _ if !folders.is_empty() => break,
                    FileType::CharacterDevice if stat.st_rdev == 0 => return None,
                    FileType::Symlink => {
                        links += 1;
                        let to = rustix::fs::readlinkat(&found, "", Vec::new()).ok()?.into_bytes();
                        if links > MOST_LINKS || to.is_empty() || left.len() > LONGEST {
                            return None;
                        }
                        if to[0] == b'/' {
                            (here, visible) = (Vec::new(), all());
                            ways.clear();
                        }
                        left.extend(parts(&to));
                        followed = true;
                        break;
                    }
                    _ if left.is_empty() => return Some(Found { layer, path: next, stat }),
                    _ => return None,
                }
            }
            if !folders.is_empty() {
                ways.push((std::mem::replace(&mut here, next), std::mem::replace(&mut visible, folders)));
            } else if !followed {
                return None;
            }
        }
        let layer = *visible.first()?;
        let stat = self.open_at(layer, &here, OFlags::PATH).and_then(rustix::fs::fstat).ok()?;
        Some(Found { layer, path: here, stat })
    }

    /// The first `most` bytes of a plain file.
    ///
    /// # Errors
    /// When it cannot be read, or is no plain file.
    pub fn read(&self, found: &Found, most: u64) -> io::Result<Vec<u8>> {
        if FileType::from_raw_mode(found.stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = self.open_at(found.layer, &found.path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let mut bytes = Vec::new();
        File::from(file).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A text file of at most a mebibyte; none where there is none.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(&self.find(Path::new(path))?, 1 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Found {
    /// Its path in the zone, without a link in it.
    pub fn path(&self) -> PathBuf {
        let mut path = b"/".to_vec();
        path.extend_from_slice(&self.path);
        std::ffi::OsString::from_vec(path).into()
    }

    /// Whether it is a file that could be executed.
    pub fn is_program(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile && self.stat.st_mode & 0o111 != 0
    }
}

/// The parts of a path, the last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}
