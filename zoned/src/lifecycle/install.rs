//! install: a root for a zone.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use brands::level::Level;
use zone_api::{ApiError, Edit, ErrorKind, Progress};

use super::images::Layered;
use super::registry::Claim;
use super::trash::ROOT_PARTS;
use super::{Zones, because};
use crate::confine::running_level;
use crate::image::Source;
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
        self.refuse_detached("install", name)?;
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
        let folder = zones.data(name);
        let arch = zones.config(name)?.arch;
        let begun = Some("install did not finish".to_owned());
        zones.save(name, |record| record.to(Durable::Incomplete, Some(Verb::Install), begun))?;
        let root = folder.join("root");
        let of_image = source.parse::<Source>().ok().filter(Source::is_image);
        let filled = zones.discard(&folder, &ROOT_PARTS).and_then(|()| match &of_image {
            Some(source) => zones.install_layers(name, source, archive, arch.as_deref(), progress),
            None => new_root(&root)
                .and_then(|()| zones.host.install(&source, &root, archive, arch.as_deref(), progress))
                .and_then(|found| {
                    zones.adapt(name, progress);
                    settle(&root).map(|()| Filled { arch: Some(found.arch), layered: None })
                }),
        });
        match filled {
            Ok(Filled { arch, layered }) => {
                zones.save(name, |record| Record { arch, ..record.to(Durable::Installed, None, None) })?;
                zones.note(name, &format!("installed from {source}"));
                choose_level(zones, name, progress);
                if let Some(layered) = layered {
                    zones.take_execution(name, &layered, progress);
                }
                Ok(())
            }
            Err(error) => {
                zones.note(name, &format!("install failed: {error}"));
                let emptied = zones.discard(&folder, &ROOT_PARTS);
                zones.save(name, |record| match &emptied {
                    Ok(()) => record.emptied(),
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

/// A root that was filled.
pub(super) struct Filled {
    /// What its programs are for, where they say so.
    pub(super) arch: Option<String>,
    /// What it was made from, where that was an image.
    pub(super) layered: Option<Layered>,
}

/// Sets `kernel` where it is not set and the root is of a time when kernels were others. A root that says nothing of
/// use, or a configuration that cannot be written, leaves the host's level: the root is installed all the same.
fn choose_level(zones: &Zones, name: &str, progress: &(dyn Fn(Progress) + Sync)) {
    let Ok(config) = zones.config(name) else { return };
    if config.kernel.is_some() || config.brand != "linux" {
        return;
    }
    let host = running_level().unwrap_or(Level::newest());
    let fit = zones.in_root(name, |root, _| Ok(scan::fit(root).ok().flatten()));
    let Some(fit) = fit.ok().flatten().filter(|fit| fit.is_old_on(host)) else { return };
    let said = format!("kernel = {:?} by {}; set kernel to change it", fit.kernel, fit.by);
    let set = Edit::Set { key: "kernel".to_owned(), value: fit.kernel };
    let text = match zones.set_unclaimed(name, &[set]) {
        Ok(_) => said,
        Err(error) => format!("no kernel was chosen: {error}"),
    };
    zones.note(name, &text);
    progress(Progress::Note { text });
}

fn new_root(root: &Path) -> Result<(), ApiError> {
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(root)
        .map_err(|error| because(format!("make {}", root.display()), &error))
}

/// Brings the root to the disk: an installed zone must not lose files to a crash after its record.
pub(super) fn settle(root: &Path) -> Result<(), ApiError> {
    let synced =
        std::fs::File::open(root).and_then(|folder| nix::unistd::syncfs(folder).map_err(io::Error::from));
    synced.map_err(|error| because(format!("sync {}", root.display()), &error))
}
