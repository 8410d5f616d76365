//! install: a root for a zone.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use zone_api::{ApiError, ErrorKind, Progress};

use super::registry::Claim;
use super::trash::ROOT_PARTS;
use super::{Zones, because, host};
use crate::state::{Durable, Record, Verb};

/// An install that has its zone, and can run wherever threads may block.
pub struct InstallJob {
    claim: Claim,
    source: String,
}

impl Zones {
    /// Claims a zone to install.
    ///
    /// # Errors
    /// When it has a root, or another operation is under way.
    pub fn begin_install(self: &Arc<Self>, name: &str, source: &str) -> Result<InstallJob, ApiError> {
        if source.is_empty() {
            return Err(ApiError::new(ErrorKind::Invalid, format!("install {name}"), "no source was named"));
        }
        let claim = self.claim(name, Verb::Install)?;
        Ok(InstallJob { claim, source: source.to_owned() })
    }
}

impl InstallJob {
    /// Fills the root.
    ///
    /// # Errors
    /// The zone is then configured again, or incomplete where the root cannot be emptied.
    pub fn run(
        self,
        archive: Option<Box<dyn Read + Send>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ApiError> {
        let Self { claim, source } = self;
        let (zones, name) = (&claim.zones, claim.name.as_str());
        let folder = zones.store.folder(name);
        let arch = zones.config(name)?.arch;
        let begun = Some("install did not finish".to_owned());
        zones.save(name, |record| record.to(Durable::Incomplete, Some(Verb::Install), begun))?;
        let root = folder.join("root");
        let filled = zones
            .discard(&folder, &ROOT_PARTS)
            .and_then(|()| new_root(&root))
            .and_then(|()| zones.host.install(&source, &root, archive, arch.as_deref(), progress))
            .and_then(|found| settle(&root).map(|()| found));
        match filled {
            Ok(host::Installed { arch }) => {
                zones.save(name, |record| Record {
                    arch: Some(arch),
                    ..record.to(Durable::Installed, None, None)
                })?;
                zones.note(name, &format!("installed from {source}"));
                Ok(())
            }
            Err(error) => {
                zones.note(name, &format!("install failed: {error}"));
                let emptied = zones.discard(&folder, &ROOT_PARTS);
                zones.save(name, |record| match &emptied {
                    Ok(()) => record.to(Durable::Configured, None, None),
                    Err(left) => record.to(
                        Durable::Incomplete,
                        None,
                        Some(format!("install failed, and its root could not be emptied: {left}")),
                    ),
                })?;
                Err(error)
            }
        }
    }
}

fn new_root(root: &Path) -> Result<(), ApiError> {
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(root)
        .map_err(|error| because(format!("make {}", root.display()), &error))
}

/// Brings the root to the disk: an installed zone must not lose files to a crash after its record.
fn settle(root: &Path) -> Result<(), ApiError> {
    let synced =
        std::fs::File::open(root).and_then(|folder| nix::unistd::syncfs(folder).map_err(io::Error::from));
    synced.map_err(|error| because(format!("sync {}", root.display()), &error))
}
