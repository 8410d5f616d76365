//! From `[[net]]` to interfaces: what they hang on, and which addresses they have.

use std::io;
use std::net::IpAddr;

use super::address::mac;
use super::leases::Leases;
use super::link::{Link, Net as Links};
use super::record::{self, Record};
use super::{Hold, Interface, Place, bridge, nft};
use crate::config::network::{Block, Mode, Net, bandwidth, parse_mac};
use crate::config::{Config, IpType};
use crate::confine::Failure;

/// All interfaces of a zone, in their order.
pub(super) fn interfaces(
    place: &Place,
    (zone, uuid): (&str, &str),
    nets: &[Net],
    links: &[Link],
    leases: &Leases,
) -> Result<Vec<Interface>, Failure> {
    let mut made: Vec<Interface> = Vec::new();
    for (n, net) in nets.iter().enumerate() {
        let name = name_of(nets, n);
        let fail = |why: String| Failure::new("use net", &net.physical, io::Error::other(why));
        if made.iter().any(|interface| interface.name == name) {
            return Err(fail(format!("two interfaces are called {name}; give them names")));
        }
        let hold = hold(place, net, links).map_err(fail)?;
        let (mut ipv4, mut ipv6) = net.addresses();
        let given = net.mac_addr.as_deref().map(parse_mac).transpose().map_err(fail)?;
        let mut mac = given.unwrap_or_else(|| mac(uuid, n));
        if hold == Hold::Own {
            let lease = leases.of(place, (zone, uuid), (n, &name, net))?;
            [ipv4, ipv6] = lease.blocks();
            mac = parse_mac(&lease.mac).map_err(fail)?;
            let twice = |block: &Block| {
                made.iter()
                    .any(|i| [i.ipv4, i.ipv6].into_iter().flatten().any(|b| b.address == block.address))
            };
            if let Some(block) = [ipv4, ipv6].iter().flatten().find(|block| twice(block)) {
                return Err(fail(format!("{} is there twice", block.address)));
            }
        }
        let routers = match net.defrouter.as_deref() {
            Some("none") => Vec::new(),
            Some(text) => text.parse::<IpAddr>().into_iter().collect(),
            None if hold == Hold::Own => vec![place.subnet.nth(1), place.subnet6.nth(1)],
            None => Vec::new(),
        };
        let allowed = net.allowed_address.iter().map(|text| text.parse::<Block>());
        made.push(Interface {
            name,
            hold,
            mac,
            ipv4,
            ipv6,
            routers,
            allowed: allowed.collect::<Result<_, _>>().map_err(fail)?,
            published: net.published(),
            bandwidth: net.bandwidth.as_deref().map(bandwidth).transpose().map_err(fail)?,
        });
    }
    Ok(made)
}

/// The names of a zone's interfaces, in their order.
pub fn names_of(nets: &[Net]) -> Vec<String> {
    (0..nets.len()).map(|n| name_of(nets, n)).collect()
}

/// Those without a name are eth0, eth1…, as many as there are.
fn name_of(nets: &[Net], n: usize) -> String {
    let number = nets[..n].iter().filter(|net| net.name.is_none()).count();
    nets[n].name.clone().unwrap_or_else(|| format!("eth{number}"))
}

fn hold(place: &Place, net: &Net, links: &[Link]) -> Result<Hold, String> {
    let physical = &net.physical;
    let link = links.iter().find(|link| link.name == *physical);
    if place.is_own(physical) {
        return match link.filter(|link| link.name == place.bridge).map(|link| bridge::ours(place, link)) {
            Some(Err(failure)) => Err(failure.source.to_string()),
            _ => Ok(Hold::Own),
        };
    }
    let Some(link) = link else { return Err("the host has no such interface".into()) };
    match (net.mode, link.is_bridge()) {
        (None, true) | (Some(Mode::Bridge), true) => Ok(Hold::Bridge(physical.clone())),
        (Some(Mode::Bridge), false) => Err(format!("{physical} is no bridge; leave mode out for a macvlan")),
        (None | Some(Mode::Macvlan), _) => Ok(Hold::Over("macvlan".into(), physical.clone())),
        (Some(Mode::Ipvlan), _) => Ok(Hold::Over("ipvlan".into(), physical.clone())),
        (Some(Mode::Move), true) => Err(format!("{physical} is a bridge and stays on the host")),
        (Some(Mode::Move), false) if physical == "lo" => Err("lo stays on the host".into()),
        (Some(Mode::Move), false) => Ok(Hold::Moved(physical.clone())),
    }
}

/// No port of the host leads to two zones.
pub(super) fn clash_of_ports(others: &[(String, Record)], own: &[Interface]) -> Result<(), Failure> {
    let fail = |port: u16, protocol: &str, whose: &str| {
        let why = io::Error::other(format!("it leads to {whose} already; choose another"));
        Failure::new("publish", format!("port {port}/{protocol}"), why)
    };
    let mut seen = Vec::new();
    for way in own.iter().flat_map(|interface| &interface.published) {
        if seen.contains(&(way.host, way.udp)) {
            return Err(fail(way.host, way.protocol(), "this zone"));
        }
        seen.push((way.host, way.udp));
    }
    for (zone, record) in others {
        for way in record.ports.iter().flat_map(|(_, interface)| &interface.published) {
            if seen.contains(&(way.host, way.udp)) {
                return Err(fail(way.host, way.protocol(), &format!("zone {zone}")));
            }
        }
    }
    Ok(())
}

/// What would keep a zone's interfaces from being made here.
pub fn verify(place: &Place, config: &Config) -> Vec<String> {
    if config.ip_type == IpType::Shared {
        return super::shared::verify(place, config);
    }
    if config.net.is_empty() || config.ip_type != IpType::Exclusive {
        return Vec::new();
    }
    let mut found = Vec::new();
    let try_it = || -> Result<Vec<Interface>, Failure> {
        let mut host = Links::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
        let links = host.links().map_err(|e| Failure::new("list", "the host's interfaces", e))?;
        let leases = Leases::read(place)?;
        let made = interfaces(place, (&config.name, ""), &config.net, &links, &leases)?;
        let others = record::others(&place.run, &place.run.join(&config.name));
        clash_of_ports(&others, &made)?;
        Ok(made)
    };
    match try_it() {
        Err(failure) => found.push(failure.sentence()),
        Ok(made) => {
            if made.iter().any(Interface::is_port) && nft::program().is_none() {
                found.push(
                    "the program nft is not there, which guards zones: install the package nftables".into(),
                );
            }
        }
    }
    found
}
