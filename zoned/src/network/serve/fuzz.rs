//! What fuzz targets reach of what is served on the bridge.

use std::path::Path;
use std::sync::Arc;

use super::dns::{Resolver, Verdict};
use super::{advertise, dhcp, dns, upstream};
use crate::network::names::{self, Names};
use crate::network::record::{self, Record};
use crate::network::{Hold, Interface, Place};

/// A bridge with the zone `web` on it, whose MAC address is 02:00:00:00:00:01.
pub struct Bridge {
    names: Names,
    resolver: Arc<Resolver>,
}

impl Bridge {
    /// One with its records in `run`.
    pub fn new(run: &Path) -> Self {
        let place = Place::of_test(run);
        let zone = run.join("web");
        std::fs::create_dir_all(&zone).expect("make a zone");
        let block = |text: &str| text.parse().ok();
        let interface = Interface {
            name: "eth0".into(),
            hold: Hold::Own,
            mac: [2, 0, 0, 0, 0, 1],
            ipv4: block("10.88.1.1/16"),
            ipv6: block("fd00::5/64"),
            routers: vec![[10, 88, 0, 1].into()],
            allowed: vec![],
            published: vec![],
            bandwidth: None,
        };
        let (ports, addresses) =
            (vec![("p".into(), interface)], vec!["10.88.1.1/16".into(), "fd00::5/64".into()]);
        Record { ports, addresses, hostname: "www".into(), ..Record::default() }
            .write(&zone)
            .expect("write it");
        names::write(&place, &record::all(run)).expect("write the names");
        Self { names: Names::new(place.clone()), resolver: Resolver::new(&place) }
    }

    /// Hears a packet of DHCP.
    pub fn dhcp(&self, packet: &[u8]) {
        if let Some((reply, to)) = dhcp::answer(packet, &self.names) {
            assert!(reply.len() >= 300 && to.port() == 68);
        }
    }

    /// Hears a packet of DNS.
    pub fn dns(&self, packet: &[u8]) {
        if let Verdict::Answer(answer) = self.resolver.verdict(packet) {
            assert!(answer.len() >= 12 && answer[..2] == packet[..2]);
        }
        dns::failed(packet);
    }

    /// Hears a packet of ICMPv6.
    pub fn icmp(&self, packet: &[u8]) {
        advertise::asker(packet, ([0xfe80, 0, 0, 0, 0, 0, 0, 1], 0).into());
    }
}

/// Reads the host's resolv.conf.
pub fn resolv_conf(text: &str) {
    assert!(!upstream::name_servers(text).is_empty());
}
