//! What monitors tell, and the end of a zone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use zone_api::State;

use super::Zones;
use super::host::{Ended, MonitorEvent};
use crate::state::{Durable, Record, monitor_may};

/// How long one thread waits for another's teardown of the same zone.
const TEARDOWN: Duration = Duration::from_secs(60);

impl Zones {
    /// Follows a monitor until its end.
    pub(super) fn watch(
        self: &Arc<Self>,
        name: String,
        epoch: u64,
        mut events: UnboundedReceiver<MonitorEvent>,
    ) {
        let zones = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                let event = events.recv().await.unwrap_or(MonitorEvent::Lost { signal: None });
                let last = matches!(event, MonitorEvent::Ended { .. } | MonitorEvent::Lost { .. });
                let (zones, name) = (Arc::clone(&zones), name.clone());
                let taken = tokio::task::spawn_blocking(move || zones.take(&name, epoch, event)).await;
                if let Err(error) = taken {
                    tracing::error!(%error, "an event of a monitor was not taken");
                }
                if last {
                    break;
                }
            }
        });
    }

    fn take(self: &Arc<Self>, name: &str, epoch: u64, event: MonitorEvent) {
        match event {
            MonitorEvent::State(state) => self.moved(name, epoch, state),
            MonitorEvent::Rebooted => {
                self.note(name, "rebooted");
                self.look_again(name, epoch, true);
            }
            MonitorEvent::Noted(text) => self.note(name, &text),
            MonitorEvent::Ended { how, reason, clean } => {
                let text = ending(how, reason);
                let keep = (how != Ended::Halted).then(|| text.clone());
                let unasked = self.unasked(name, epoch);
                self.finish(name, epoch, &text, keep, clean);
                if let Some(uptime) = unasked {
                    // What a guest does itself is powering off: its process 1 has no other right end.
                    self.keep_up(name, how != Ended::PoweredOff, &text, Some(uptime));
                }
            }
            MonitorEvent::Lost { signal } => {
                let text = match signal {
                    Some(signal) => format!("its monitor was killed by signal {signal}"),
                    None => "its monitor was killed".to_owned(),
                };
                let unasked = self.unasked(name, epoch);
                self.finish(name, epoch, &text, Some(text.clone()), false);
                if let Some(uptime) = unasked {
                    self.keep_up(name, true, &text, Some(uptime));
                }
            }
        }
    }

    fn moved(&self, name: &str, epoch: u64, state: State) {
        {
            let mut table = self.lock();
            let live = table.zones.get_mut(name).and_then(|entry| entry.live.as_mut());
            let Some(live) = live.filter(|live| live.epoch == epoch && !live.ending) else { return };
            // Its end is an event of its own, after which the platform is known to be gone.
            if state == State::Installed || !monitor_may(live.state, state) {
                let (at, control) = (live.state, Arc::clone(&live.control));
                drop(table);
                // News from before the monitor was asked, and told of a later state, are none.
                if !control.status().is_ok_and(|status| status.state == at) {
                    let (from, to) = (at.word(), state.word());
                    tracing::warn!(zone = name, from, to, "its monitor made an illegal move");
                }
                return;
            }
            live.state = state;
        }
        self.changed.notify_all();
        self.tell_state(name);
        if state == State::Running {
            self.look_again(name, epoch, false);
        }
    }

    /// Asks the monitor anew: process 1 is another one.
    pub(super) fn look_again(&self, name: &str, epoch: u64, rebooted: bool) {
        let Some(live) = self.live(name).filter(|live| live.epoch == epoch) else { return };
        let status = live.control.status();
        let mut table = self.lock();
        let live = table.zones.get_mut(name).and_then(|entry| entry.live.as_mut());
        if let Some(live) = live.filter(|live| live.epoch == epoch && !live.ending) {
            live.reboots += u64::from(rebooted);
            if let Ok(status) = status {
                live.init_pid = status.init_pid;
                live.summary = status.summary;
                if monitor_may(live.state, status.state) {
                    live.state = status.state;
                }
            }
        }
        drop(table);
        self.changed.notify_all();
    }

    /// The zone's monitor is at its end, or is brought to it: what is left is removed and the zone is
    /// what it was before it was booted. `reason` is kept where no verb asked for the end; of a `clean` end nothing is
    /// left.
    pub(super) fn finish(&self, name: &str, epoch: u64, text: &str, reason: Option<String>, clean: bool) {
        let (id, asked, ephemeral) = {
            let mut table = self.lock();
            let Some(entry) = table.zones.get_mut(name) else { return };
            let ephemeral = entry.ephemeral;
            let Some(live) = entry.live.as_mut().filter(|live| live.epoch == epoch) else { return };
            if live.ending {
                drop(table);
                self.wait_gone(name, epoch, TEARDOWN);
                return;
            }
            live.ending = true;
            live.state = State::Down;
            (live.id, live.asked, ephemeral)
        };
        self.changed.notify_all();
        let mut reason = reason.filter(|_| !asked);
        let mut dirty = false;
        if !clean && let Err(error) = self.host.teardown(name) {
            dirty = true;
            tracing::error!(zone = name, %error, "something of it is left");
            reason = Some(match reason {
                Some(reason) => format!("{reason}; and something of it is left: {error}"),
                None => format!("something of it is left: {error}"),
            });
        }
        self.note(name, if asked { "halted" } else { text });
        if ephemeral {
            self.forget_ephemeral(name);
        } else if let Err(error) = self.save_reason(name, reason) {
            tracing::error!(zone = name, %error, "its state cannot be kept");
        }
        let mut table = self.lock();
        if let Some(entry) = table.zones.get_mut(name) {
            entry.live = None;
            entry.dirty = dirty;
        }
        drop(table);
        self.free_id(id);
        self.changed.notify_all();
        self.tell_state(name);
    }

    /// Keeps why a zone is installed; writes nothing where nothing changes.
    pub(super) fn save_reason(&self, name: &str, reason: Option<String>) -> Result<(), zone_api::ApiError> {
        let same = self.lock().zones.get(name).is_none_or(|entry| entry.record.reason == reason);
        if same {
            return Ok(());
        }
        self.save(name, |record: &Record| record.to(Durable::Installed, None, reason))
    }
}

fn ending(how: Ended, reason: Option<String>) -> String {
    let text = match how {
        Ended::PoweredOff => "it powered off",
        Ended::Halted => "it halted",
        Ended::Failed => "it failed",
    };
    match reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text.to_owned(),
    }
}
