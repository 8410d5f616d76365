//! Zones that are booted with the host, and ended with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use zone_api::{ApiError, Boot, ErrorKind, Shutdown, State};

use super::halt::GRACE;
use super::order::{cycle, in_order, reversed};
use super::{Zones, because};
use crate::config::Config;
use crate::state::atomic;

/// File of the root folder with the boot of the host that zones were booted in.
const BOOTED: &str = "booted";

impl Zones {
    /// Boots the zones that want it, once in each boot of the host: one that was halted by hand stays
    /// so when zoned is started anew. One that does not boot keeps only those from it that wait for it.
    pub fn autoboot(self: &Arc<Self>) {
        let file = self.paths.root.join(BOOTED);
        // Without a file of the kernel's each start of zoned counts.
        let this = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        if this.is_some() && this == std::fs::read_to_string(&file).ok() {
            return;
        }
        let waits = self.boot_order();
        let wanted: BTreeSet<String> = self
            .list()
            .into_iter()
            .filter(|zone| zone.state == State::Installed)
            .map(|zone| zone.name)
            .filter(|name| Config::load(&self.config_path(name)).is_ok_and(|config| config.autoboot))
            .collect();
        in_order(wanted, &waits, |name| {
            let before = waits.get(name).into_iter().flatten();
            let missing = before.clone().find(|other| !self.runs(other));
            let why = match (cycle(&waits, name), missing) {
                (Some(cycle), _) => Some(format!("boot-after makes a cycle: {}", cycle.join(" after "))),
                (None, Some(other)) => Some(format!("zone {other}, which it is booted after, does not run")),
                (None, None) => self.boot(name, Boot::default()).err().map(|error| error.to_string()),
            };
            if let Some(why) = why {
                self.not_booted(name, &why);
            }
        });
        // At the end, so that a zoned that was killed meanwhile goes on with it.
        if let Some(this) = this
            && let Err(error) = atomic::write(&file, this.as_bytes(), 0o600)
        {
            tracing::warn!(%error, "that zones were booted cannot be kept");
        }
    }

    fn not_booted(&self, name: &str, why: &str) {
        let why = format!("it was not booted with the host: {why}");
        self.note(name, &why);
        if let Err(error) = self.save_reason(name, Some(why)) {
            tracing::error!(zone = name, %error, "its state cannot be kept");
        }
    }

    fn runs(&self, name: &str) -> bool {
        self.live(name).is_some_and(|live| live.state == State::Running)
    }

    /// Shuts every live zone down, each before those that it was booted after.
    ///
    /// # Errors
    /// Names the zones that could not be, after all others have ended.
    pub fn shutdown_all(self: &Arc<Self>, timeout: Option<u32>) -> Result<(), ApiError> {
        let names: BTreeSet<String> =
            self.list().into_iter().filter(|zone| zone.id.is_some()).map(|zone| zone.name).collect();
        let failed = Mutex::new(Vec::new());
        in_order(names, &reversed(&self.boot_order()), |name| {
            // One that ended by itself meanwhile is no failure, nor one that is being taken down.
            if let Err(error) = self.shutdown(name, &Shutdown { reboot: false, timeout })
                && let Some(live) = self.live(name)
                && !(error.kind == ErrorKind::WrongState && self.wait_gone(name, live.epoch, GRACE))
            {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(because(name, &error).to_string());
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() {
            return Ok(());
        }
        Err(ApiError::new(ErrorKind::Failed, "shut all zones down", failed.join("; ")))
    }
}
