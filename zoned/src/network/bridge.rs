//! zoned's own bridge and its tables: made when the first zone wants it, gone with the last.

use std::io;

use nix::errno::Errno;

use super::Place;
use super::address::fnv1a;
use super::link::{Link, Net, is_without_ipv6, set};
use super::{nft, record, uplink};
use crate::config::network::Block;
use crate::confine::Failure;

/// Makes the bridge unless it is there.
pub(super) fn ensure(place: &Place, host: &mut Net, links: &[Link]) -> Result<(), Failure> {
    let name = &place.bridge;
    let fail = |what: &str| {
        let what = what.to_owned();
        move |e: Errno| Failure::new(what, format!("bridge {name}"), e)
    };
    if let Some(link) = links.iter().find(|link| link.name == *name) {
        return ours(place, link);
    }
    let hash = fnv1a(&[place.mark().as_bytes()]).to_le_bytes();
    let mac = [0x02, hash[0], hash[1], hash[2], hash[3], hash[4]];
    host.make_bridge(name, mac, &place.mark()).map_err(fail("make"))?;
    // The host believes no advertisement of a zone's.
    set("ipv6", name, "accept_ra", "0");
    for subnet in [place.subnet, place.subnet6] {
        let gateway = Block { address: subnet.nth(1), prefix: subnet.prefix };
        match host.add_address(name, gateway) {
            // A host without IPv6.
            Err(e) if subnet.address.is_ipv6() && is_without_ipv6(e) => {}
            other => other.map_err(fail(&format!("give address {gateway} to")))?,
        }
    }
    host.up(name).map_err(fail("bring up"))?;
    // So that 127.0.0.1:PORT of the host leads to a zone; guards keep zones from the host's loopback.
    set("ipv4", name, "route_localnet", "1");
    uplink::forward(place, host);
    tables(place, &format!("make the rules of bridge {name}"), "")
}

/// Makes the tables, and what else the script says.
fn tables(place: &Place, what: &str, script: &str) -> Result<(), Failure> {
    let all = |bounded| nft::run(what, &(nft::tables(place, bounded) + script));
    let Err(failure) = all(true) else { return Ok(()) };
    // A kernel without nft_connlimit; whatever else it was shows again.
    all(false)?;
    let why = failure.to_string();
    tracing::warn!(why, "this kernel does not count connections: a zone can have all that the host can have");
    Ok(())
}

/// Whether a link is this zoned's bridge; the error says whose it is.
pub(super) fn ours(place: &Place, link: &Link) -> Result<(), Failure> {
    if link.is_bridge() && link.alias == place.mark() {
        return Ok(());
    }
    let whose = match link.alias.strip_prefix("zoned ") {
        Some(run) => format!("it belongs to the zoned of {run}"),
        None => "zoned did not make it".to_owned(),
    };
    let why = format!("{whose}; name another with bridge in [network] of zoned.toml");
    Err(Failure::new("use", format!("bridge {}", place.bridge), io::Error::other(why)))
}

/// Whether nothing but our own rules hangs on the bridge; somebody else may have attached a port to it.
pub(super) fn is_gone_or_unused(place: &Place, host: &mut Net) -> bool {
    let Ok(links) = host.links() else { return false };
    let Some(bridge) = links.iter().find(|link| link.name == place.bridge) else { return true };
    ours(place, bridge).is_ok() && links.iter().all(|link| link.master != Some(bridge.index))
}

pub(super) fn remove(place: &Place, host: &mut Net) -> Result<(), Failure> {
    let object = || format!("bridge {}", place.bridge);
    host.remove(&place.bridge).map_err(|e| Failure::new("remove", object(), e))
}

/// Carries out a script over the tables. Where they are gone, since somebody flushed the packet filter, all of
/// it is made anew, for every zone that has a record, the script's included.
pub(super) fn filter(place: &Place, what: &str, script: &str) -> Result<(), Failure> {
    match nft::run(what, script) {
        Err(failure) if !restore(place)? => Err(failure),
        _ => Ok(()),
    }
}

/// Makes the rules of all zones anew where they are gone; whether they were.
pub(super) fn restore(place: &Place) -> Result<bool, Failure> {
    let table = place.table();
    let records = record::all(&place.run);
    let has_own = records.iter().any(|(_, record)| record.bridge.is_some());
    let families: &[&str] = if has_own { &["inet", "netdev"] } else { &["netdev"] };
    if families.iter().all(|family| nft::has_table(family, &table)) {
        return Ok(false);
    }
    let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
    let links = host.links().map_err(|e| Failure::new("list", "the host's interfaces", e))?;
    let mut script = String::new();
    for (port, interface) in records.iter().flat_map(|(_, record)| &record.ports) {
        if links.iter().any(|link| link.name == *port) {
            script.push_str(&nft::port(place, port, interface));
        }
    }
    tables(place, "make the rules of zones anew", &script)?;
    tracing::warn!(table, "the rules of zones were gone, as after nft flush ruleset, and are made anew");
    Ok(true)
}
