//! Who has which address on zoned's bridge: `ROOT/network/leases.json`, kept over reboots and restarts.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Place;
use super::address::{autoconfigured, mac, mac_text};
use crate::config::Net;
use crate::config::network::{Block, parse_mac};
use crate::confine::Failure;
use crate::state::atomic;

/// An interface on zoned's bridge and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Zone.
    pub zone: String,
    /// Name of the interface in it.
    pub interface: String,
    /// Hardware address.
    pub mac: String,
    /// IPv4, with the prefix of the network.
    pub ipv4: Option<String>,
    /// IPv6, likewise.
    pub ipv6: Option<String>,
}

impl Lease {
    /// Its addresses.
    pub(super) fn blocks(&self) -> [Option<Block>; 2] {
        [&self.ipv4, &self.ipv6].map(|text| text.as_deref().and_then(|text| text.parse().ok()))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.blocks().into_iter().flatten().any(|block| block.address == address)
    }
}

/// All leases. Whoever changes them has the network's lock.
#[derive(Debug)]
pub(super) struct Leases {
    path: PathBuf,
    all: Vec<Lease>,
}

impl Leases {
    pub(super) fn read(place: &Place) -> Result<Self, Failure> {
        let path = place.leases();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => "[]".to_owned(),
            other => other.map_err(|e| Failure::new("read", path.display(), e))?,
        };
        let all = serde_json::from_str(&text)
            .map_err(|e| Failure::new("read", path.display(), io::Error::other(e)))?;
        Ok(Self { path, all })
    }

    /// Writes them where they are not what the file has.
    fn keep(&self, before: &[Lease]) -> Result<(), Failure> {
        if self.all == before {
            return Ok(());
        }
        let fail = |e: io::Error| Failure::new("write", self.path.display(), e);
        let mut text = serde_json::to_vec_pretty(&self.all).map_err(|e| fail(io::Error::other(e)))?;
        text.push(b'\n');
        atomic::write(&self.path, &text, 0o644).map_err(fail)
    }

    /// What interface `n` of a zone, called `interface`, has or gets.
    pub(super) fn of(
        &self,
        place: &Place,
        (zone, uuid): (&str, &str),
        (n, interface, net): (usize, &str, &Net),
    ) -> Result<Lease, Failure> {
        let fail = |why: String| Failure::new("give an address to", interface, io::Error::other(why));
        let old = self.all.iter().find(|lease| lease.zone == zone && lease.interface == interface);
        let others =
            || self.all.iter().filter(|lease| (&*lease.zone, &*lease.interface) != (zone, interface));
        let mac = match &net.mac_addr {
            Some(text) => parse_mac(text).map_err(fail)?,
            // Kept, so that what a later release thinks of changes nothing.
            None => old.and_then(|lease| parse_mac(&lease.mac).ok()).unwrap_or_else(|| mac(uuid, n)),
        };
        let (want4, want6) = net.addresses();
        let (subnet, subnet6) = (place.subnet, place.subnet6);
        for (wanted, subnet) in [(want4, subnet), (want6, subnet6)] {
            let Some(wanted) = wanted else { continue };
            check(wanted, subnet).map_err(fail)?;
            if let Some(other) = others().find(|lease| lease.has(wanted.address)) {
                let why = format!("{} is zone {}'s; choose another", wanted.address, other.zone);
                return Err(fail(why));
            }
        }
        let [old4, old6] = old.map_or([None, None], Lease::blocks);
        let old4 = old4.filter(|block| check(*block, subnet).is_ok() && block.prefix == subnet.prefix);
        let free = |address: &IpAddr| !others().any(|lease| lease.has(*address));
        let ipv4 = match want4.or(old4) {
            Some(block) => block,
            None => given_out(subnet)
                .map(|n| subnet.nth(n))
                .find(free)
                .map(|address| Block { address, prefix: subnet.prefix })
                .ok_or_else(|| fail(format!("no address of {subnet} is free; delete zones")))?,
        };
        let old6 = old6.filter(|block| check(*block, subnet6).is_ok());
        let mac_is_old = old.is_some_and(|lease| lease.mac == mac_text(mac));
        let ipv6 = want6.or(old6.filter(|_| mac_is_old)).unwrap_or_else(|| autoconfigured(subnet6, mac));
        Ok(Lease {
            zone: zone.to_owned(),
            interface: interface.to_owned(),
            mac: mac_text(mac),
            ipv4: Some(ipv4.to_string()),
            ipv6: Some(ipv6.to_string()),
        })
    }

    /// Takes these for all that the zone has.
    pub(super) fn replace(&mut self, zone: &str, leases: Vec<Lease>) -> Result<(), Failure> {
        let before = self.all.clone();
        self.all.retain(|lease| lease.zone != zone);
        self.all.extend(leases);
        self.all.sort_by(|a, b| (&a.zone, &a.interface).cmp(&(&b.zone, &b.interface)));
        self.keep(&before)
    }
}

/// Numbers of the addresses that are given out: the first 256, half of a small network, are left to those
/// who choose addresses themselves.
fn given_out(subnet: Block) -> impl Iterator<Item = u128> {
    let size = subnet.size();
    // Old stacks and people take what ends in 0 or 255 for a network's or a broadcast.
    ((size / 2).min(256)..size - 1).filter(move |n| size <= 256 || !matches!(n % 256, 0 | 255))
}

/// Whether a zone may have this address in that network.
fn check(wanted: Block, subnet: Block) -> Result<(), String> {
    let (address, size) = (wanted.address, subnet.size());
    if !subnet.holds(address) {
        return Err(format!("{address} is not in {}, the network of this bridge", subnet.network()));
    }
    if address == subnet.nth(1) {
        return Err(format!("{address} is the bridge's own; choose another"));
    }
    let whole = address == subnet.nth(0) || address.is_ipv4() && address == subnet.nth(size - 1);
    if whole { Err(format!("{address} is no single host's; choose another")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &std::path::Path, subnet: &str) -> Place {
        fs::create_dir_all(dir.join("network")).unwrap();
        let subnet = subnet.parse().unwrap();
        Place { subnet, ..Place::of_test(dir) }
    }

    fn net(text: &str) -> Net {
        toml::from_str(&format!("physical = \"zones0\"\n{text}")).unwrap()
    }

    #[test]
    fn addresses_are_given_kept_and_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "10.88.0.0/16");
        let mut leases = Leases::read(&place).unwrap();
        let plain = net("");
        let one = leases.of(&place, ("a", "uuid-a"), (0, "eth0", &plain)).unwrap();
        assert_eq!(one.ipv4.as_deref(), Some("10.88.1.1/16"));
        assert!(one.ipv6.as_deref().unwrap().starts_with("fd00::"), "{one:?}");
        leases.replace("a", vec![one.clone()]).unwrap();
        let two = leases.of(&place, ("b", "uuid-b"), (0, "eth0", &plain)).unwrap();
        assert_eq!(two.ipv4.as_deref(), Some("10.88.1.2/16"));
        leases.replace("b", vec![two]).unwrap();
        leases.replace("a", vec![]).unwrap();
        // Read anew, as by another process: b keeps what it has while a's is free.
        let leases = Leases::read(&place).unwrap();
        let again = leases.of(&place, ("b", "another"), (0, "eth0", &plain)).unwrap();
        assert_eq!((&again.ipv4, &again.mac), (&leases.all[0].ipv4, &leases.all[0].mac));
        assert_eq!(leases.of(&place, ("c", "u"), (0, "eth0", &plain)).unwrap().ipv4, one.ipv4);
    }

    #[test]
    fn what_is_asked_for_must_fit_and_be_free() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "10.88.0.0/24");
        let mut leases = Leases::read(&place).unwrap();
        let chosen = net("address = \"10.88.0.10/24\"\naddress6 = \"fd00::10/64\"");
        let lease = leases.of(&place, ("a", "u"), (0, "eth0", &chosen)).unwrap();
        assert_eq!(lease.ipv6.as_deref(), Some("fd00::10/64"));
        leases.replace("a", vec![lease]).unwrap();
        for (bad, says) in [
            ("address = \"10.88.0.10/24\"", "10.88.0.10 is zone a's"),
            ("address = \"fd00::10/64\"", "fd00::10 is zone a's"),
            ("address = \"10.88.1.10/16\"", "10.88.1.10 is not in 10.88.0.0/24"),
            ("address = \"10.88.0.1/24\"", "the bridge's own"),
            ("address = \"10.88.0.255/24\"", "no single host's"),
            ("address = \"10.88.0.0/24\"", "no single host's"),
        ] {
            let error = leases.of(&place, ("b", "v"), (0, "eth0", &net(bad))).unwrap_err().sentence();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_network_can_be_full() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "10.88.0.0/29");
        let mut leases = Leases::read(&place).unwrap();
        for zone in ["a", "b", "c"] {
            let lease = leases.of(&place, (zone, zone), (0, "eth0", &net(""))).unwrap();
            leases.replace(zone, vec![lease]).unwrap();
        }
        let error = leases.of(&place, ("d", "d"), (0, "eth0", &net(""))).unwrap_err().sentence();
        assert!(error.contains("no address of 10.88.0.0/29 is free"), "{error}");
    }
}
