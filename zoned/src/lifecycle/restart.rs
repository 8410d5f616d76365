//! Zones that ended and nobody asked for that: booted again by their policy, later each time.

use std::sync::Arc;
use std::time::Duration;

use zone_api::{Boot, State};

use super::Zones;
use crate::config::{Config, Restart};
use crate::state::{Record, Restarts, Verb, now};

/// Seconds before the first restart in a row; each other waits twice as long.
const FIRST: u64 = 1;
/// Seconds that none waits longer than.
const LONGEST: u64 = 300;
/// A zone that ran so long begins a new row.
const GOOD_WHILE: Duration = Duration::from_secs(600);

impl Zones {
    /// How long a zone ran whose end no verb asked for.
    pub(super) fn unasked(&self, name: &str, epoch: u64) -> Option<Duration> {
        let live = self.live(name).filter(|live| live.epoch == epoch && !live.asked && !live.ending)?;
        Some(live.since.elapsed())
    }

    /// After an end that nobody asked for: has the zone booted again where its policy says so. `failed`
    /// is whether it was the zone's own wish; `uptime` how long it ran, where that is known.
    pub(super) fn keep_up(self: &Arc<Self>, name: &str, failed: bool, why: &str, uptime: Option<Duration>) {
        // A verb that is under way decides itself what comes next; a boot is over once there is an end.
        let free = self
            .lock()
            .zones
            .get(name)
            .is_some_and(|entry| entry.busy.is_none_or(|verb| verb == Verb::Boot) && !entry.ephemeral);
        let Ok(config) = Config::load(&self.config_path(name)) else { return };
        let wanted = match config.restart {
            Restart::No => false,
            Restart::OnFailure => failed,
            Restart::Always => true,
        };
        if !free || !wanted {
            return;
        }
        let known = self.lock().zones.get(name).and_then(|entry| entry.record.restarts).unwrap_or_default();
        let in_row = if uptime.is_some_and(|uptime| uptime >= GOOD_WHILE) { 0 } else { known.in_row };
        let (next, told) = if in_row >= config.restart_limit {
            let told = format!("{why}; it was booted again {in_row} times in a row and is left alone now");
            (Restarts { in_row: 0, due: None, ..known }, told)
        } else {
            let wait = delay(in_row);
            let told = format!("{why}; it is booted again in {wait} s");
            (Restarts { in_row: in_row + 1, due: Some(now() + wait), ..known }, told)
        };
        self.note(name, &told);
        self.keep(name, |record| Record { restarts: Some(next), reason: Some(told), ..record.clone() });
        if let Some(due) = next.due {
            self.restart_at(name.to_owned(), due);
        }
    }

    /// Takes up the restarts that an earlier zoned had before it.
    pub(super) fn resume_restarts(self: &Arc<Self>) {
        let due: Vec<(String, u64)> = self
            .lock()
            .zones
            .iter()
            .filter(|(_, entry)| entry.live.is_none())
            .filter_map(|(name, entry)| Some((name.clone(), entry.record.restarts?.due?)))
            .collect();
        for (name, due) in due {
            self.restart_at(name, due);
        }
    }

    fn restart_at(self: &Arc<Self>, name: String, due: u64) {
        // The clock may have been set meanwhile.
        let wait = Duration::from_secs(due.saturating_sub(now()).min(LONGEST));
        let zones = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let done = tokio::task::spawn_blocking(move || zones.restart(&name, due)).await;
            if let Err(error) = done {
                tracing::error!(%error, "a restart broke off");
            }
        });
    }

    fn restart(self: &Arc<Self>, name: &str, due: u64) {
        let planned = || {
            let table = self.lock();
            let entry = table.zones.get(name)?;
            let restarts = entry.record.restarts.filter(|restarts| restarts.due == Some(due))?;
            Some((restarts, entry.state() == State::Installed))
        };
        let Some((restarts, installed)) = planned() else { return };
        let wanted = Config::load(&self.config_path(name)).is_ok_and(|config| config.restart != Restart::No);
        let go = installed && wanted;
        let total = restarts.total + u32::from(go);
        self.keep(name, |record| Record {
            restarts: Some(Restarts { total, due: None, ..restarts }),
            ..record.clone()
        });
        if go && let Err(error) = self.boot(name, Boot::default()) {
            // Whoever booted it meanwhile, or does something else with it, has the better right.
            if error.kind == zone_api::ErrorKind::Failed {
                self.keep_up(name, true, &format!("it could not be booted again: {error}"), None);
            }
        }
    }

    /// It was booted: none is due any more, so that a halt by hand is not undone.
    pub(super) fn no_restart(&self, name: &str) {
        let known = self.lock().zones.get(name).and_then(|entry| entry.record.restarts);
        if let Some(restarts) = known.filter(|restarts| restarts.due.is_some()) {
            let restarts = Some(Restarts { due: None, ..restarts });
            self.keep(name, |record| Record { restarts, ..record.clone() });
        }
    }

    fn keep(&self, name: &str, change: impl FnOnce(&Record) -> Record) {
        if let Err(error) = self.save(name, change) {
            tracing::error!(zone = name, %error, "its state cannot be kept");
        }
    }
}

/// Seconds before the restart after `in_row` others.
fn delay(in_row: u32) -> u64 {
    FIRST.saturating_mul(1 << in_row.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<u64> = (0..11).map(delay).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX), 300);
    }
}
