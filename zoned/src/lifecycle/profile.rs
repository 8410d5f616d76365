//! profile: what install changes in a root's own files, and the way back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use brands::profile::Facts;
use zone_api::{ApiError, ProfileChange, Progress};

use super::stack::{ROOT, UPPER, WORK};
use super::{Zones, because};
use crate::config::{Config, IpType};
use crate::image::profile::{self, Change};
use crate::state::Verb;
use crate::storage::View;

impl Zones {
    /// Carries out the hooks in a root that was just filled. Where that fails, the root is as good as without them, and
    /// the operator is told.
    pub(super) fn adapt(&self, name: &str, progress: &(dyn Fn(Progress) + Sync)) {
        let Ok(config) = self.config(name) else { return };
        if !config.profile {
            return;
        }
        let journal = self.data(name).join(profile::FILE);
        let facts = self.facts(&config);
        let done = self.in_root(name, |root, _| profile::apply(root, &facts, &journal));
        let text = match done {
            Ok(changes) if changes.is_empty() => return,
            Ok(changes) => {
                let files: Vec<String> = changes.iter().map(|change| format!("/{}", change.file)).collect();
                format!("adapted {}; zonectl profile {name} tells how", files.join(", "))
            }
            Err(error) => format!("its files were not all adapted: {error}"),
        };
        self.note(name, &text);
        progress(Progress::Note { text });
    }

    /// Does `work` on the root of a zone of which nothing runs, and on what it wrote itself where that is apart.
    pub(super) fn in_root<T>(
        &self,
        name: &str,
        work: impl FnOnce(&Path, Option<&Path>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (folder, layers) = (self.data(name), self.layers_of(name));
        let upper = folder.join(UPPER);
        if layers.is_empty() {
            return work(&folder.join(ROOT), Some(&upper));
        }
        let view = View::over(&self.trees(&layers), &upper, &folder.join(WORK))?;
        work(&view.path(), None)
    }

    fn facts(&self, config: &Config) -> Facts {
        let place = self.host.place();
        let own = |net: &crate::config::Net| place.as_ref().is_some_and(|place| place.is_own(&net.physical));
        let ours = config.ip_type == IpType::Exclusive && config.net.iter().all(own);
        let names = place.as_ref().filter(|place| ours && place.dns);
        Facts {
            hostname: config.nodename().to_owned(),
            name_servers: names.map(|place| place.subnet.nth(1).to_string()).into_iter().collect(),
            domain: names.map(|place| place.domain.clone()).unwrap_or_default(),
            interfaces: if ours { crate::network::names_of(&config.net) } else { Vec::new() },
        }
    }

    /// What install changed in a zone's own files.
    ///
    /// # Errors
    /// When there is no such zone, or its journal cannot be read.
    pub fn profile(&self, name: &str) -> Result<Vec<ProfileChange>, ApiError> {
        let journal = self.known(name, "profile")?.join(profile::FILE);
        let changes = profile::read(&journal).map_err(|error| because(format!("profile {name}"), &error))?;
        Ok(changes.into_iter().map(told).collect())
    }

    /// Takes it back; gives the files that were changed since and stay as they are.
    ///
    /// # Errors
    /// When there is no such zone, it is not merely installed, or a file cannot be written.
    pub fn undo_profile(self: &Arc<Self>, name: &str) -> Result<Vec<ProfileChange>, ApiError> {
        let _claim = self.claim(name, Verb::Profile)?;
        let journal = self.data(name).join(profile::FILE);
        let kept = self
            .in_root(name, |root, upper| profile::undo(root, upper, &journal))
            .map_err(|error| because(format!("profile {name}"), &error))?;
        self.note(name, "took back what install changed in its files");
        Ok(kept.into_iter().map(told).collect())
    }
}

fn told(change: Change) -> ProfileChange {
    let (hooks, why) = change.hooks.into_iter().unzip();
    ProfileChange {
        file: format!("/{}", change.file),
        hooks,
        why,
        before: change.before,
        after: change.after,
    }
}
