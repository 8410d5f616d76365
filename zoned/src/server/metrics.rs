//! Metrics in the text format of Prometheus (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

use zone_api::stat::{Pressures, ZoneUsage};
use zone_api::{ApiError, State};

use crate::lifecycle::Zones;

/// What the answer says it is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [State; 7] = [
    State::Configured,
    State::Incomplete,
    State::Installed,
    State::Ready,
    State::Running,
    State::ShuttingDown,
    State::Down,
];

/// A metric of each live zone that has it: name, kind, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&ZoneUsage) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
fn real(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

const METRICS: [Metric; 20] = [
    ("zone_uptime_seconds", "gauge", "Time since process 1 of the zone was started.", |z| z.uptime),
    ("zone_cpu_seconds_total", "counter", "CPU time of the zone since its boot.", |z| z.cpu_seconds),
    ("zone_cpu_throttled_seconds_total", "counter", "Time that the cap kept the zone from running.", |z| {
        z.cpu_throttled
    }),
    ("zone_cpu_cap_cpus", "gauge", "CPUs that the zone may use.", |z| z.cpu_cap),
    ("zone_cpu_weight", "gauge", "Weight of the zone against others, 1 by default.", |z| z.cpu_weight),
    ("zone_memory_bytes", "gauge", "Memory of the zone, page cache included.", |z| real(z.memory)),
    ("zone_memory_cache_bytes", "gauge", "Page cache of the zone.", |z| real(z.memory_cache)),
    ("zone_memory_cap_bytes", "gauge", "Memory that the zone may use.", |z| real(z.memory_cap)),
    ("zone_swap_bytes", "gauge", "Memory of the zone that is swapped out.", |z| real(z.swap)),
    ("zone_swap_cap_bytes", "gauge", "Swap that the zone may use.", |z| real(z.swap_cap)),
    ("zone_processes", "gauge", "Processes of the zone.", |z| real(z.processes)),
    ("zone_tasks", "gauge", "Threads of the zone.", |z| real(z.lwps)),
    ("zone_tasks_cap", "gauge", "Threads that the zone may have.", |z| real(z.lwps_cap)),
    ("zone_tasks_refused_total", "counter", "Times that the cap on threads refused one.", |z| {
        real(z.lwps_refused)
    }),
    ("zone_io_read_bytes_total", "counter", "Bytes read from disks.", |z| real(z.read_bytes)),
    ("zone_io_written_bytes_total", "counter", "Bytes written to disks.", |z| real(z.written_bytes)),
    ("zone_network_received_bytes_total", "counter", "Bytes received, loopback apart.", |z| {
        real(z.received_bytes)
    }),
    ("zone_network_sent_bytes_total", "counter", "Bytes sent, loopback apart.", |z| real(z.sent_bytes)),
    ("zone_oom_kills_total", "counter", "Processes of the zone killed for want of memory.", |z| {
        real(z.oom_kills)
    }),
    (
        "zone_memory_pressure_percent",
        "gauge",
        "Share of ten seconds in which some task waited for memory.",
        |z| z.pressure.memory.map(|p| p.some),
    ),
];

/// All metrics.
pub(super) fn text(zones: &Zones) -> Result<String, ApiError> {
    let sample = zones.stat(&[])?;
    let list = zones.list();
    let mut out = String::new();
    head(&mut out, "zoned_build_info", "gauge", "Version of zoned.");
    let _ = writeln!(out, "zoned_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    head(&mut out, "zoned_zones", "gauge", "Zones that zoned knows.");
    let _ = writeln!(out, "zoned_zones {}", list.len());
    head(&mut out, "zone_state", "gauge", "1 for the state that the zone is in, 0 for the others.");
    for (zone, state) in list.iter().flat_map(|zone| STATES.iter().map(move |state| (zone, state))) {
        let _ = writeln!(
            out,
            "zone_state{{zone=\"{}\",state=\"{}\"}} {}",
            escaped(&zone.name),
            state.word(),
            u8::from(zone.state == *state)
        );
    }
    for (name, kind, help, value) in METRICS {
        let values: Vec<_> = sample.zones.iter().filter_map(|z| Some((&z.name, value(z)?))).collect();
        if values.is_empty() {
            continue;
        }
        head(&mut out, name, kind, help);
        for (zone, value) in values {
            let _ = writeln!(out, "{name}{{zone=\"{}\"}} {value}", escaped(zone));
        }
    }
    let pressures = sample.zones.iter().map(|z| (format!("zone=\"{}\",", escaped(&z.name)), &z.pressure));
    waiting(
        &mut out,
        "zone_pressure_seconds_total",
        "Time in which tasks of the zone waited (PSI).",
        pressures,
    );
    let host = std::iter::once((String::new(), &sample.host.pressure));
    waiting(
        &mut out,
        "zoned_host_pressure_seconds_total",
        "Time in which tasks of the host waited (PSI).",
        host,
    );
    history(&mut out, zones, list.iter().map(|zone| zone.name.as_str()));
    Ok(out)
}

/// What the zone's log and ledger count.
fn history<'a>(out: &mut String, zones: &Zones, names: impl Iterator<Item = &'a str> + Clone) {
    head(out, "zone_boots", "gauge", "Boots and reboots in the zone's log.");
    for name in names.clone() {
        // A zone may go while we look.
        let Ok(lines) = zones.log(name) else { continue };
        let boots = lines.iter().filter(|line| matches!(line.text.as_str(), "booted" | "rebooted")).count();
        let _ = writeln!(out, "zone_boots{{zone=\"{}\"}} {boots}", escaped(name));
    }
    head(out, "zone_calls", "gauge", "Calls that the zone's brand answered, since its ledger was reset.");
    for name in names {
        let Ok(entries) = zones.ledger(name) else { continue };
        let mut done: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &entries {
            *done.entry(&entry.done).or_default() += entry.count;
        }
        for (done, count) in done {
            let _ =
                writeln!(out, "zone_calls{{zone=\"{}\",done=\"{}\"}} {count}", escaped(name), escaped(done));
        }
    }
}

fn waiting<'a>(out: &mut String, name: &str, help: &str, of: impl Iterator<Item = (String, &'a Pressures)>) {
    let mut lines = String::new();
    for (labels, pressures) in of {
        let kinds = [("cpu", pressures.cpu), ("memory", pressures.memory), ("io", pressures.io)];
        for (resource, pressure) in kinds.into_iter().filter_map(|(r, p)| Some((r, p?))) {
            for (kind, seconds) in [("some", pressure.some_seconds), ("full", pressure.full_seconds)] {
                let _ =
                    writeln!(lines, "{name}{{{labels}resource=\"{resource}\",kind=\"{kind}\"}} {seconds}");
            }
        }
    }
    if !lines.is_empty() {
        head(out, name, "counter", help);
        out.push_str(&lines);
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Inside a label's quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
