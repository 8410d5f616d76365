//! Events of zones, for those who follow them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use zone_api::{ApiError, ErrorKind, ZoneEvent};

use super::Zones;

/// Events that are kept for a follower who reads slowly; what is older is lost to it, and counted.
const KEPT: usize = 1024;

/// How often limits are looked at while somebody follows: v1's counters tell nobody of a change.
const PACE: Duration = Duration::from_secs(1);

/// Where events are told.
pub(super) struct Bus {
    to: broadcast::Sender<ZoneEvent>,
    /// Whether limits are being looked at.
    looking: AtomicBool,
}

impl Default for Bus {
    fn default() -> Self {
        Self { to: broadcast::channel(KEPT).0, looking: AtomicBool::new(false) }
    }
}

impl Bus {
    /// Tells those who follow; does nothing where nobody does.
    pub(super) fn tell(&self, zone: &str, kind: &str, text: &str) {
        if self.to.receiver_count() > 0 {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let event =
                ZoneEvent { time, zone: zone.to_owned(), kind: kind.to_owned(), text: text.to_owned() };
            // All followers may have left meanwhile.
            let _ = self.to.send(event);
        }
    }
}

/// Kind of what a zone's log tells.
pub(super) fn kind(text: &str) -> &'static str {
    match text {
        "booted" => "boot",
        "rebooted" => "reboot",
        "halted" => "halt",
        _ if text.starts_with("held down") => "limit",
        _ if text.starts_with("it powered off") || text.starts_with("it halted") => "halt",
        _ if text.contains("failed") || text.contains("killed") || text.starts_with("incomplete") => {
            "failure"
        }
        _ => "note",
    }
}

impl Zones {
    /// Events from now on.
    ///
    /// # Errors
    /// When one of the zones is not there.
    pub fn follow(self: &Arc<Self>, names: &[String]) -> Result<broadcast::Receiver<ZoneEvent>, ApiError> {
        for name in names {
            if !self.list().iter().any(|zone| zone.name == *name) {
                let why = format!("there is no zone {name}");
                return Err(ApiError::new(ErrorKind::NoSuchZone, format!("follow {name}"), why));
            }
        }
        let receiver = self.bus.to.subscribe();
        if !self.bus.looking.swap(true, Ordering::SeqCst) {
            let before = self.limits();
            let zones = Arc::clone(self);
            self.runtime.spawn(zones.look_at_limits(before));
        }
        Ok(receiver)
    }

    /// What the logs of zones tell since then, oldest first.
    pub fn told_since(&self, names: &[String], since: f64) -> Vec<ZoneEvent> {
        let mut events = Vec::new();
        for zone in self.list().into_iter().filter(|z| names.is_empty() || names.contains(&z.name)) {
            // Of a zone that goes meanwhile there is nothing to tell.
            for line in self.log(&zone.name).unwrap_or_default() {
                #[expect(clippy::cast_precision_loss, reason = "a time of day")]
                let time = line.time as f64;
                if time >= since {
                    let kind = kind(&line.text).to_owned();
                    events.push(ZoneEvent { time, zone: zone.name.clone(), kind, text: line.text });
                }
            }
        }
        events.sort_by(|a, b| a.time.total_cmp(&b.time));
        events
    }

    /// Kills for want of memory and refused threads of each live zone.
    fn limits(&self) -> HashMap<String, (u64, u64)> {
        let zones = self.stat(&[]).map(|sample| sample.zones).unwrap_or_default();
        let counts =
            |z: zone_api::stat::ZoneUsage| (z.name, (z.oom_kills.unwrap_or(0), z.lwps_refused.unwrap_or(0)));
        zones.into_iter().map(counts).collect()
    }

    async fn look_at_limits(self: Arc<Self>, mut before: HashMap<String, (u64, u64)>) {
        while self.bus.to.receiver_count() > 0 {
            tokio::time::sleep(PACE).await;
            let zones = Arc::clone(&self);
            let Ok(now) = tokio::task::spawn_blocking(move || zones.limits()).await else { break };
            for (name, (kills, refused)) in &now {
                let (old_kills, old_refused) = before.get(name).copied().unwrap_or_default();
                if *kills > old_kills {
                    let text = format!("processes killed for want of memory: {}", kills - old_kills);
                    self.bus.tell(name, "oom", &text);
                }
                if *refused > old_refused {
                    let text =
                        format!("threads refused by max-processes or max-lwps: {}", refused - old_refused);
                    self.bus.tell(name, "limit", &text);
                }
            }
            before = now;
        }
        self.bus.looking.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_follower_loses_the_oldest_and_nobody_keeps_more() {
        let bus = Bus::default();
        bus.tell("a", "note", "nobody follows");
        let mut slow = bus.to.subscribe();
        for _ in 0..KEPT + 7 {
            bus.tell("a", "boot", "booted");
        }
        let lost = slow.try_recv().unwrap_err();
        assert!(matches!(lost, broadcast::error::TryRecvError::Lagged(7)), "{lost}");
        assert_eq!(slow.try_recv().unwrap().kind, "boot");
    }

    #[test]
    fn kinds_of_lines() {
        let lines = [
            "booted",
            "it powered off: x",
            "boot failed: y",
            "its monitor was killed by signal 9",
            "held down: it forks",
            "uninstalled",
        ];
        assert_eq!(lines.map(kind), ["boot", "halt", "failure", "failure", "limit", "note"]);
    }
}
