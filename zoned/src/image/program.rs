//! What programs in a root are for: read from the headers of ELF files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
pub use scan::Machine;

use super::error::{ImageError, shown};
use super::tree::{kind, names, open_folder, open_in};

/// Why a program cannot be run, or cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such file in the root.
    #[error("{0} is not there")]
    NotFound(String),
    /// What a script names in its first line is not there.
    #[error("{script} is to be run by {interpreter}, which is not there")]
    NoInterpreter {
        /// The script.
        script: String,
        /// What its first line names.
        interpreter: String,
    },
    /// It is a folder or a device, or has no x bit.
    #[error("{program} is {what}")]
    NotExecutable {
        /// Its path.
        program: String,
        /// What it is.
        what: &'static str,
    },
    /// It is neither ELF nor a script.
    #[error("{program} is {what}")]
    UnknownFormat {
        /// Its path.
        program: String,
        /// What it is.
        what: &'static str,
    },
    /// It could not be read.
    #[error("read {program}")]
    Read {
        /// Its path.
        program: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl ProgramError {
    /// Status that a shell would give: 127 where it is not there, else 126.
    pub fn status(&self) -> u8 {
        if matches!(self, Self::NotFound(_)) { 127 } else { 126 }
    }
}

/// What the program `program` of the root `root` is for; links are followed inside the root, and
/// a script is what its interpreter is.
pub fn program_arch(root: &Path, program: &Path) -> Result<Machine, ProgramError> {
    let name = program.display().to_string();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|e| ProgramError::Read { program: name, source: e.into() })?;
    arch_in(root.as_fd(), program.as_os_str().as_encoded_bytes())
}

fn arch_in(root: BorrowedFd<'_>, program: &[u8]) -> Result<Machine, ProgramError> {
    let mut script = None;
    let mut path = program.to_vec();
    // The kernel follows as many (execve(2)).
    for _ in 0..5 {
        let program = shown(&path);
        let head = match head(root, &path, true) {
            Ok(head) => head,
            Err(ProgramError::NotFound(interpreter)) if script.is_some() => {
                return Err(ProgramError::NoInterpreter { script: script.unwrap_or_default(), interpreter });
            }
            Err(error) => return Err(error),
        };
        if let Some(machine) = Machine::of(&head) {
            return Ok(machine);
        }
        let Some(rest) = head.strip_prefix(b"#!") else {
            let what = match head[..] {
                [] => "empty",
                // OMAGIC, NMAGIC, ZMAGIC and QMAGIC of i386 (a.out.h).
                [0x07 | 0x08 | 0x0b | 0xcc, 0x01 | 0x00, 0x64, ..] => {
                    "an a.out program, which no kernel runs since 6.1"
                }
                _ => "neither an ELF program nor a script that names its interpreter",
            };
            return Err(ProgramError::UnknownFormat { program, what });
        };
        let line = rest.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii();
        path = line.split(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default().to_vec();
        if path.is_empty() {
            return Err(ProgramError::UnknownFormat {
                program,
                what: "a script whose first line names no program",
            });
        }
        script = Some(program);
    }
    Err(ProgramError::UnknownFormat {
        program: shown(program),
        what: "a script run by a script, and so on without end",
    })
}

/// The first bytes of the file `path`, as much as execve(2) looks at.
fn head(root: BorrowedFd<'_>, path: &[u8], executable: bool) -> Result<Vec<u8>, ProgramError> {
    let program = || shown(path);
    let failed = |e: Errno| match e {
        Errno::NOENT | Errno::NOTDIR => ProgramError::NotFound(program()),
        error => ProgramError::Read { program: program(), source: error.into() },
    };
    let found = open_in(root, path, OFlags::PATH).map_err(failed)?;
    let stat = rustix::fs::fstat(&found).map_err(failed)?;
    let what = match kind(&stat) {
        FileType::RegularFile if !executable || stat.st_mode & 0o111 != 0 => {
            return read_head(&found).map_err(failed);
        }
        FileType::RegularFile => "not executable: it has no x bit",
        FileType::Directory => "a folder",
        _ => "not a file",
    };
    Err(ProgramError::NotExecutable { program: program(), what })
}

/// Reads by way of an O_PATH descriptor: only after it is known to be a plain file, since to open a device or
/// a fifo has effects.
fn read_head(found: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file: File = rustix::fs::open(link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into();
    let mut head = vec![0; 256];
    let n = file.read_at(&mut head, 0).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    head.truncate(n);
    Ok(head)
}

/// Programs that a root is known by, in order of weight.
const TELLING: [&str; 6] = ["bin/sh", "sbin/init", "bin/busybox", "bin/bash", "usr/bin/env", "init"];
const FOLDERS: [&str; 8] = ["bin", "sbin", "usr/bin", "usr/sbin", "lib", "lib64", "usr/local/bin", "."];
/// A file more or less decides nothing, and a hostile root may have millions.
const MOST: usize = 20_000;

/// What the programs of the root `dest` are for; `want` is what they are to be for.
pub fn root_arch(dest: &Path, want: Option<&str>) -> Result<&'static str, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dest, flags, Mode::empty())
        .map_err(|e| ImageError::Open { path: dest.to_owned(), source: e.into() })?;
    let mut seen = Seen { want, ..Seen::default() };
    for name in TELLING {
        if let Ok(machine) = arch_in(root.as_fd(), name.as_bytes())
            && let Some(arch) = seen.add(machine)
        {
            return Ok(arch);
        }
    }
    for folder in FOLDERS {
        let Ok(dir) = open_in(root.as_fd(), folder.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) else {
            continue;
        };
        for name in names(dir.as_fd()).unwrap_or_default().into_iter().take(MOST) {
            let path = [folder.as_bytes(), name.to_bytes()].join(&b'/');
            if let Some(arch) = head(root.as_fd(), &path, false)
                .ok()
                .and_then(|head| Machine::of(&head))
                .and_then(|machine| seen.add(machine))
            {
                return Ok(arch);
            }
        }
    }
    if seen.first.is_none() && seen.other.is_none() {
        anywhere(&root, &mut seen);
    }
    seen.verdict()
}

#[derive(Default)]
struct Seen<'a> {
    want: Option<&'a str>,
    first: Option<&'static str>,
    wanted: Option<&'static str>,
    other: Option<Machine>,
}

impl Seen<'_> {
    /// The answer, once it is certain.
    fn add(&mut self, machine: Machine) -> Option<&'static str> {
        let arch = match machine {
            Machine::I686 => "i686",
            Machine::X86_64 => "x86_64",
            other => {
                self.other.get_or_insert(other);
                return None;
            }
        };
        self.first.get_or_insert(arch);
        if self.want.is_none_or(|want| want == arch) {
            self.wanted.get_or_insert(arch);
        }
        self.wanted
    }

    fn verdict(self) -> Result<&'static str, ImageError> {
        match (self.wanted, self.first, self.other) {
            (Some(arch), ..) => Ok(arch),
            (None, Some(found), _) => {
                Err(ImageError::WrongAbi { found, want: self.want.unwrap_or_default().to_owned() })
            }
            (None, None, Some(other)) => Err(ImageError::WrongMachine { found: other.name() }),
            (None, None, None) => Err(ImageError::NoProgram),
        }
    }
}

/// A root that is one static program may have it in any folder.
fn anywhere(root: &OwnedFd, seen: &mut Seen<'_>) {
    let Ok(top) = root.try_clone() else { return };
    let (mut left, mut looked) = (vec![top], 0);
    while let Some(dir) = left.pop() {
        for name in names(dir.as_fd()).unwrap_or_default() {
            looked += 1;
            let Ok(stat) = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            match kind(&stat) {
                // The descriptors that wait are few, however broad and deep the tree.
                FileType::Directory if left.len() < 64 => left.extend(open_folder(dir.as_fd(), &name, true)),
                FileType::RegularFile if stat.st_mode & 0o111 != 0 => {
                    let head =
                        open_in(dir.as_fd(), name.to_bytes(), OFlags::PATH).and_then(|file| read_head(&file));
                    if let Some(machine) = head.ok().and_then(|head| Machine::of(&head)) {
                        seen.add(machine);
                    }
                }
                _ => {}
            }
            if seen.first.is_some() || looked > MOST {
                return;
            }
        }
    }
}
