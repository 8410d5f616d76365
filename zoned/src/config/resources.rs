//! What a zone may use: `[dedicated-cpu]`, `[[capped-io]]`, the `zone.` names of `[[rctl]]`, and how they agree.

use serde::{Deserialize, Deserializer, Serialize};

use super::rules::{bytes, limit};
use super::{Config, Rctl};

/// `[dedicated-cpu]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DedicatedCpu {
    /// How many: a number, or `LEAST-MOST`.
    #[serde(deserialize_with = "number_or_text")]
    pub ncpus: String,
}

fn number_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Either::deserialize(from)? {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    })
}

/// `[[capped-io]]`; bandwidths are sizes a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CappedIo {
    /// Disk under /dev; `None`: the one that the zone's folder lies on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Most that is read in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bandwidth: Option<String>,
    /// Most that is written in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bandwidth: Option<String>,
    /// Most reads in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u64>,
    /// Most writes in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u64>,
}

/// Names of `[[rctl]]` that bound the zone as a whole, as resource_controls(7) of illumos has them.
pub const ZONE_RCTLS: [&str; 7] = [
    "zone.cpu-cap",
    "zone.cpu-shares",
    "zone.max-locked-memory",
    "zone.max-lwps",
    "zone.max-physical-memory",
    "zone.max-processes",
    "zone.max-swap",
];

/// The greatest weight (cgroup-v2.rst: cpu.weight, io.weight).
const MOST_WEIGHT: u64 = 10_000;

/// Least and most CPUs of `2` or `1-2`.
pub fn cpu_range(text: &str) -> Result<(usize, usize), String> {
    let one = |part: &str| part.trim().parse().ok().filter(|n: &usize| *n >= 1);
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    match (one(least), one(most)) {
        (Some(least), Some(most)) if least <= most => Ok((least, most)),
        _ => Err(format!("{text:?} is no number of CPUs: write 2, or 1-2 for what there is of them")),
    }
}

/// The number in an `[[rctl]]` of the zone as a whole.
fn zone_value(rctl: &Rctl) -> Result<u64, String> {
    match bytes(&rctl.value)? {
        0 if rctl.name != "zone.max-swap" && rctl.name != "zone.max-locked-memory" => {
            Err("it must be 1 or more".into())
        }
        value => Ok(value),
    }
}

/// Value of the `[[rctl]]` of that name; of a configuration that was found valid.
pub fn zone_rctl(config: &Config, name: &str) -> Option<u64> {
    config.rctl.iter().find(|rctl| rctl.name == name).and_then(|rctl| zone_value(rctl).ok())
}

/// Whether the keys agree with each other; the answer is the key and what is wrong.
pub(super) fn agree(config: &Config) -> Result<(), (&'static str, String)> {
    for (key, weight) in [("cpu-shares", config.cpu_shares), ("io-weight", config.io_weight)] {
        if weight.is_some_and(|weight| weight > MOST_WEIGHT) {
            return Err((key, format!("{MOST_WEIGHT} is the most")));
        }
    }
    let memory = config.capped_memory.as_ref();
    let said = |name: &str| match name {
        "zone.cpu-cap" => config.capped_cpu.is_some(),
        "zone.cpu-shares" => config.cpu_shares.is_some(),
        "zone.max-locked-memory" => memory.is_some_and(|m| m.locked.is_some()),
        "zone.max-lwps" => config.max_lwps.is_some(),
        "zone.max-physical-memory" => memory.is_some_and(|m| m.physical.is_some()),
        "zone.max-processes" => config.max_processes.is_some(),
        "zone.max-swap" => memory.is_some_and(|m| m.swap.is_some()),
        _ => false,
    };
    for rctl in &config.rctl {
        let whole = ZONE_RCTLS.contains(&rctl.name.as_str());
        if whole && said(&rctl.name) {
            return Err(("rctl", format!("{} says what a key of its own says already", rctl.name)));
        }
        let value = if whole { zone_value(rctl).map(drop) } else { limit(&rctl.value).map(drop) };
        value.map_err(|why| ("rctl", format!("{}: {why}", rctl.name)))?;
    }
    let capped = config.capped_cpu.is_some() || zone_rctl(config, "zone.cpu-cap").is_some();
    if config.dedicated_cpu.is_some() && capped {
        return Err(("dedicated-cpu", "a zone has CPUs of its own or a cap, not both".into()));
    }
    let shares = zone_rctl(config, "zone.cpu-shares");
    if shares.is_some_and(|shares| shares > MOST_WEIGHT) {
        return Err(("rctl", format!("zone.cpu-shares: {MOST_WEIGHT} is the most")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(&format!("name = 'z'\n{text}"), "z").map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_cpus() {
        assert_eq!(cpu_range("2"), Ok((2, 2)));
        assert_eq!(cpu_range("1-4"), Ok((1, 4)));
        for bad in ["", "0", "2-1", "1-2-3", "-1", "a", "1.5"] {
            assert!(cpu_range(bad).is_err(), "{bad}");
        }
        let of = |text: &str| parse(text).unwrap().dedicated_cpu.unwrap().ncpus;
        assert_eq!(of("dedicated-cpu = { ncpus = 2 }"), "2");
        assert_eq!(of("dedicated-cpu = { ncpus = '1-2' }"), "1-2");
        assert!(parse("dedicated-cpu = { ncpus = 0 }").is_err());
    }

    #[test]
    fn a_limit_is_said_once() {
        assert!(parse("rctl = [{ name = 'zone.max-processes', value = '5' }]").is_ok());
        let twice = parse("max-processes = 5\nrctl = [{ name = 'zone.max-processes', value = '5' }]");
        assert!(twice.unwrap_err().contains("zone.max-processes"));
        let config = parse("rctl = [{ name = 'zone.max-physical-memory', value = '64M' }]").unwrap();
        assert_eq!(zone_rctl(&config, "zone.max-physical-memory"), Some(64 << 20));
        // A size is no limit of setrlimit(2), and nothing is no limit of a zone.
        assert!(parse("rctl = [{ name = 'nofile', value = '64M' }]").is_err());
        assert!(parse("rctl = [{ name = 'zone.max-lwps', value = '0' }]").is_err());
        assert!(parse("[capped-cpu]\nncpus = 1\n[dedicated-cpu]\nncpus = 1").is_err());
        assert!(parse("cpu-shares = 10001").is_err());
        assert!(parse("[[capped-io]]\nread-iops = 5\n[[capped-io]]\nwrite-iops = 5").is_err());
    }
}
