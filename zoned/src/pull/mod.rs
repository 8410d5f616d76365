//! Images from registries. A process of its own without any rights speaks to the network and fills a folder that it was given;
//! what it left there is checked as anybody's before it is used.

mod fault;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod layout;
mod login;
mod puller;
mod reference;
mod registry;
mod wire;

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use zone_api::{ApiError, ErrorKind, Progress};

pub use puller::run;
pub use reference::Reference;
pub(crate) use reference::is_host;

use crate::causes::chain;
use crate::image;
use wire::{LONGEST_NEWS, News, Request};

/// What of the environment the process gets: how the network is reached, and whom to trust.
const ENVIRONMENT: [&str; 10] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Pulls images.
#[derive(Debug, Clone)]
pub struct Puller {
    /// zoned's own program.
    pub program: PathBuf,
    /// ROOT/images/pull.
    pub folder: PathBuf,
    /// User and group that nobody else is.
    pub id: u32,
    /// Registries that may be spoken to without TLS, with their ports.
    pub insecure: Vec<String>,
    /// Passwords, as docker login keeps them.
    pub auth_file: Option<PathBuf>,
}

/// What was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// An OCI image layout with one image.
    pub layout: PathBuf,
    /// `sha256:HEX` of its manifest.
    pub manifest: String,
    /// Nobody else pulls into it meanwhile.
    _lock: File,
}

impl Pulled {
    /// Removes the layout: its image is in the store, or not worth it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(self) -> io::Result<()> {
        image::remove(&self.layout)
    }
}

impl Puller {
    /// Pulls what `reference` names for `arch`, as the configuration spells it, or for any that runs here. What was pulled before
    /// an error stays for the next time.
    ///
    /// # Errors
    /// When the registry cannot be reached, does not have it, does not give it, or lies.
    pub fn pull(
        &self,
        reference: &Reference,
        arch: Option<&str>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pulled, ApiError> {
        let what = format!("pull {reference}");
        let failed = |error: &io::Error| ApiError::new(ErrorKind::Failed, what.clone(), chain(error));
        let (layout, lock) = match self.prepare(reference).map_err(|e| failed(&e))? {
            Some(prepared) => prepared,
            None => {
                return Err(ApiError::new(ErrorKind::WrongState, what, "it is being pulled already")
                    .hint("wait for it to end"));
            }
        };
        let login = match &self.auth_file {
            Some(path) => login::find(path, reference)
                .map_err(|why| ApiError::new(ErrorKind::Failed, what.clone(), why))?,
            None => None,
        };
        let architectures: &[&str] = match arch {
            Some("i686") => &["386"],
            Some("x86_64") => &["amd64"],
            _ => &["amd64", "386"],
        };
        let request = Request {
            reference: reference.to_string(),
            architectures: architectures.iter().map(|text| (*text).to_owned()).collect(),
            may_be_plain: reference.is_local() || self.insecure.contains(&reference.host),
            login,
        };
        let manifest = self.ask(&request, &lock, &what, progress)?;
        check(&layout, reference, &manifest).map_err(|why| {
            ApiError::new(ErrorKind::Failed, what, format!("what was pulled is not what it should be: {why}"))
        })?;
        Ok(Pulled { layout, manifest, _lock: lock })
    }

    /// Removes what pulls that did not come to their end left, and gives its bytes; with `dry` gives them only.
    ///
    /// # Errors
    /// Some may be gone then.
    pub fn prune(&self, dry: bool) -> io::Result<u64> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut bytes = 0;
        for entry in entries {
            let layout = entry?.path();
            let lock = File::open(&layout)?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::AGAIN) => continue,
                other => other?,
            }
            // For a message: what cannot be read counts nothing.
            bytes += image::tree::disk(&layout).unwrap_or(0);
            if !dry {
                image::remove(&layout)?;
            }
        }
        Ok(bytes)
    }

    /// The folder for a repository, held against others; none where another has it.
    fn prepare(&self, reference: &Reference) -> io::Result<Option<(PathBuf, File)>> {
        let key = layout::hex(Sha256::new_with_prefix(format!("{}/{}", reference.host, reference.path)));
        let layout = self.folder.join(&key[..32]);
        for folder in [&self.folder, &layout] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let lock = File::open(&layout)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            other => other?,
        }
        std::os::unix::fs::fchown(&lock, Some(self.id), Some(self.id))?;
        Ok(Some((layout, lock)))
    }

    /// Has the process do it; the manifest's digest.
    fn ask(
        &self,
        request: &Request,
        folder: &File,
        what: &str,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<String, ApiError> {
        let failed = |why: String| ApiError::new(ErrorKind::Failed, what, why);
        let io = |error: io::Error| failed(chain(&error));
        let (ours, theirs) = UnixStream::pair().map_err(io)?;
        let mut command = Command::new(&self.program);
        command.args(["pull", &self.id.to_string()]).env_clear().current_dir("/").process_group(0);
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let mut child = Running(command.spawn().map_err(io)?);
        // With it goes our copy of its end: reading must come to an end.
        drop(command);
        let bytes = serde_json::to_vec(request).map_err(|error| failed(error.to_string()))?;
        crate::sys::scm::send(&ours, &bytes, &[folder.as_fd()]).map_err(|error| io(error.into()))?;
        let mut news = BufReader::new(ours);
        let result = loop {
            let mut line = Vec::new();
            news.by_ref().take(LONGEST_NEWS).read_until(b'\n', &mut line).map_err(io)?;
            if line.is_empty() {
                let status = child.0.wait().map_err(io)?;
                break Err(failed(format!("the process that pulls ended: {status}")));
            }
            match serde_json::from_slice(&line).map_err(|error| failed(error.to_string()))? {
                News::Step { step, total } => progress(Progress::Step { step: plain(&step), total }),
                News::At(done) => progress(Progress::At { done }),
                News::Note(text) => progress(Progress::Note { text: plain(&text) }),
                News::Done(manifest) => break Ok(manifest),
                News::Failed { kind, why, hint } => {
                    let error = ApiError::new(kind, what, plain(&why));
                    break Err(hint.into_iter().fold(error, |error, hint| error.hint(plain(&hint))));
                }
            }
        };
        // What it says it did, it has done; nothing of it may run on.
        drop(child);
        result
    }
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // After a wait that saw its end the kill does nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Text that came from the network, fit for a terminal.
fn plain(text: &str) -> String {
    image::shown_long(text)
}

/// Whether there is nothing in the folder but files, none of which leads elsewhere, and the image is the one that was named.
fn check(layout: &Path, reference: &Reference, manifest: &str) -> Result<(), String> {
    let mut folders = vec![layout.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error: io::Error| format!("{}: {}", folder.display(), chain(&error));
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let found = fs::symlink_metadata(&path).map_err(failed)?;
            if found.is_dir() && folders.len() < 16 {
                folders.push(path);
            } else if !found.is_file() || found.nlink() != 1 {
                return Err(format!("{} is no file", path.display()));
            }
        }
    }
    let blob = |digest: &str| {
        let hex =
            digest.strip_prefix("sha256:").filter(|_| reference::is_digest(digest)).ok_or("no digest")?;
        let file = File::open(layout.join("blobs/sha256").join(hex)).map_err(|error| chain(&error))?;
        let mut bytes = Vec::new();
        file.take(8 << 20).read_to_end(&mut bytes).map_err(|error| chain(&error))?;
        match layout::hex(Sha256::new_with_prefix(&bytes)) == hex {
            true => Ok(bytes),
            false => Err("a manifest with another digest".to_owned()),
        }
    };
    blob(manifest)?;
    match &reference.digest {
        Some(wanted) if wanted != manifest => {
            let index: serde_json::Value =
                serde_json::from_slice(&blob(wanted)?).map_err(|error| error.to_string())?;
            let names = |found: &serde_json::Value| found["digest"].as_str() == Some(manifest);
            match index["manifests"].as_array().is_some_and(|all| all.iter().any(names)) {
                true => Ok(()),
                false => Err("another image than the one that was named".to_owned()),
            }
        }
        _ => Ok(()),
    }
}
