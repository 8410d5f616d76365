//! stat: what zones use, read when somebody asks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use zone_api::ApiError;
use zone_api::stat::Sample;

use super::Zones;

impl Zones {
    /// What the live ones of these zones use; of all zones where none is named.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn stat(&self, names: &[String]) -> Result<Sample, ApiError> {
        for name in names {
            self.known(name, "stat")?;
        }
        let live: Vec<_> = {
            let table = self.lock();
            let wanted = table.zones.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
            let live = wanted.filter_map(|(name, entry)| Some((name, entry.state(), entry.live.as_ref()?)));
            live.map(|(name, state, live)| {
                ((name.clone(), live.init_pid, live.summary.ip_type != "shared"), state)
            })
            .collect()
        };
        let (asked, states): (Vec<_>, Vec<_>) = live.into_iter().unzip();
        let now = clock_gettime(ClockId::Monotonic);
        let (host, mut zones) = self.host.usage(&asked);
        for (zone, state) in zones.iter_mut().zip(states) {
            state.word().clone_into(&mut zone.state);
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds since the boot")]
        let monotonic = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
        Ok(Sample { time, monotonic, host, zones })
    }
}
