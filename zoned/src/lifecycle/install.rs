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
use crate::state::{Change, Durable, Record, Verb};

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
                    zones.make_upper(name, &[])?;
                    zones.host.prepare(&folder)?;
                    zones.adapt(name, progress);
                    settle(&root).map(|()| Filled { arch: Some(found.arch), layered: None })
                }),
        });
        match filled {
            Ok(Filled { arch, layered }) => {
                let level = choose_level(zones, name);
                let program = layered.map(|layered| zones.execution_told(name, &layered));
                let (mut edits, mut told) = (Vec::new(), Vec::new());
                for (found, text) in level.into_iter().chain(program) {
                    edits.extend(found);
                    told.push(text);
                }
                // A zone that is installed has its program: a crash from here on is made good by its record.
                let change = (!edits.is_empty()).then(|| Change::Configure(edits.clone()));
                zones.save(name, |record| Record {
                    arch,
                    change,
                    ..record.to(Durable::Installed, None, None)
                })?;
                zones.note(name, &format!("installed from {source}"));
                told.extend(zones.take_over(name, &edits));
                for text in told.into_iter().filter(|text| !text.is_empty()) {
                    zones.note(name, &text);
                    progress(Progress::Note { text });
                }
                zones.save(name, |record| Record { change: None, ..record.clone() })
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

impl Zones {
    /// The same once more after a crash.
    pub(super) fn configure(&self, name: &str, edits: &[Edit]) -> Result<(), ApiError> {
        if let Some(why) = self.take_over(name, edits) {
            self.note(name, &why);
        }
        self.save(name, |record| Record { change: None, ..record.clone() })
    }

    /// Brings what an install found out into the configuration. Gives what that cannot hold: the root is installed all the same.
    fn take_over(&self, name: &str, edits: &[Edit]) -> Option<String> {
        let text = self.config_text(name).unwrap_or_default();
        let document: toml_edit::DocumentMut = text.parse().unwrap_or_default();
        // Set by somebody, or before a crash.
        let is_there = |edit: &&Edit| match edit {
            Edit::Set { key, .. } => document.contains_key(key),
            Edit::Add { resource, properties } => {
                let all = document.get(resource).and_then(toml_edit::Item::as_array_of_tables);
                let called = |table: &toml_edit::Table| table.get("name")?.as_str().map(str::to_owned);
                all.into_iter().flatten().any(|table| called(table).as_ref() == properties.get("name"))
            }
            Edit::Unset { .. } | Edit::Remove { .. } => false,
        };
        let edits: Vec<Edit> = edits.iter().filter(|edit| !is_there(edit)).cloned().collect();
        self.set_unclaimed(name, &edits).err()?;
        // One that no configuration can hold is not to keep the others out.
        let one = |edit: &Edit| self.set_unclaimed(name, std::slice::from_ref(edit)).err();
        let refused: Vec<String> = edits.iter().filter_map(one).map(|error| error.to_string()).collect();
        (!refused.is_empty()).then(|| format!("not configured: {}", refused.join("; ")))
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
/// use leaves the host's level: the root is installed all the same.
fn choose_level(zones: &Zones, name: &str) -> Option<(Vec<Edit>, String)> {
    let config = zones.config(name).ok()?;
    if config.kernel.is_some() || config.brand != "linux" {
        return None;
    }
    let host = running_level().unwrap_or(Level::newest());
    let fit = zones.in_root(name, |root, _| Ok(scan::fit(root).ok().flatten()));
    let fit = fit.ok().flatten().filter(|fit| fit.is_old_on(host))?;
    let said = format!("kernel = {:?} by {}; set kernel to change it", fit.kernel, fit.by);
    Some((vec![Edit::Set { key: "kernel".to_owned(), value: fit.kernel }], said))
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
