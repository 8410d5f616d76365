//! The packet filter: tables of this zoned's own, by the program nft(8) with a script on its stdin.
//!
//! `inet zoned_BRIDGE` has what concerns the bridge as a whole: the way out, published ports, and how many connections a
//! zone may have through the host. `netdev
//! zoned_BRIDGE` has a chain for each port, at its ingress: everything that a zone sends, before the bridge sees
//! it. Neither has a rule that looks at anything else than this bridge's traffic.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::address::{autoconfigured, link_local, mac_text};
use super::{Hold, Interface, Place};
use crate::config::network::Block;
use crate::confine::Failure;

/// Maps of published ports, and what they lead to.
const MAPS: [(&str, &str); 2] = [("publish4", "ipv4_addr"), ("publish6", "ipv6_addr")];

/// Where nft is, whatever the PATH of zoned is.
pub fn program() -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
    folders.iter().map(|folder| Path::new(folder).join("nft")).find(|path| path.is_file())
}

/// Carries out a script, as a whole or not at all. `what` is what it is for.
pub(super) fn run(what: &str, script: &str) -> Result<(), Failure> {
    let fail = |e: io::Error| Failure::new(what, "by nft", e);
    let Some(program) = program() else {
        return Err(fail(io::Error::other("the program nft is not there; install the package nftables")));
    };
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        // An nft that did not read to the end says why itself.
        let _ = stdin.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().map_err(fail)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it did not say why").to_owned();
    Err(fail(io::Error::other(said)))
}

/// Whether a table is there. Not by a script: in those nft 1.0 looks at one family alone.
pub(super) fn has_table(family: &str, table: &str) -> bool {
    let Some(program) = program() else { return false };
    let listed = Command::new(program)
        .args(["--terse", "list", "table", family, table])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    listed.is_ok_and(|status| status.success())
}

/// The tables of a bridge, made anew; `bounded` where the kernel can count connections.
pub(super) fn tables(place: &Place, bounded: bool) -> String {
    let Place { bridge, subnet, subnet6, .. } = place;
    let table = place.table();
    let mut script = String::new();
    for family in ["inet", "netdev"] {
        // So that what an earlier zoned left is no error and no double.
        let _ = writeln!(script, "add table {family} {table}\ndelete table {family} {table}");
    }
    let _ = writeln!(script, "add table netdev {table}\ntable inet {table} {{");
    for (map, address) in MAPS {
        let _ =
            writeln!(script, "map {map} {{ type inet_proto . inet_service : {address} . inet_service; }}");
    }
    if bounded {
        script.push_str(&bounds(bridge, place.connections));
    }
    let lead =
        "fib daddr type local meta nfproto ipv4 dnat ip addr . port to meta l4proto . th dport map @publish4
fib daddr type local meta nfproto ipv6 dnat ip6 addr . port to meta l4proto . th dport map @publish6";
    // A zone that publishes a port of these does not answer for the bridge.
    let (own, own6) = (subnet.nth(1), subnet6.nth(1));
    let _ = writeln!(
        script,
        "chain prerouting {{ type nat hook prerouting priority -100;
ip daddr {own} udp dport {{ 53, 67 }} return
ip daddr {own} tcp dport 53 return
ip6 daddr {own6} meta l4proto {{ tcp, udp }} th dport 53 return
{lead}\n}}
chain output {{ type nat hook output priority -100; ip6 daddr ::1 return\n{lead}\n}}
chain postrouting {{ type nat hook postrouting priority 100;"
    );
    let (subnet, subnet6) = (subnet.network(), subnet6.network());
    if place.nat {
        let _ = writeln!(
            script,
            "ip saddr {subnet} oifname != {{ \"{bridge}\", \"lo\" }} masquerade
ip6 saddr {subnet6} oifname != {{ \"{bridge}\", \"lo\" }} masquerade"
        );
    }
    // Answers to what was led to a zone must come back by here: from the host's own loopback, and from zones
    // that asked for a port of the host.
    let _ = writeln!(
        script,
        "ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade
ip saddr {subnet} oifname \"{bridge}\" ct status dnat masquerade
ip6 saddr {subnet6} oifname \"{bridge}\" ct status dnat masquerade\n}}\n}}"
    );
    script
}

/// What keeps room for others in the host's table of connections, which every zone's go through. A zone is known by its
/// hardware address, of which its port's guard makes sure.
///
/// Only the first packet of a connection is counted: one that is not answered stays `new` for conntrack. Those that were closed
/// are in the table for two minutes more (nf_conntrack_tcp.c) and in no count, hence the rate beside it.
fn bounds(bridge: &str, connections: u32) -> String {
    let first = format!("iifname \"{bridge}\" ct status & confirmed == 0");
    format!(
        "set begun {{ type ether_addr; size 65535; flags dynamic; }}
set open {{ type ether_addr; size 65535; flags dynamic; }}
chain connections {{ type filter hook prerouting priority -150;
{first} add @begun {{ ether saddr limit rate over {connections}/minute burst {connections} packets }} drop
{first} add @open {{ ether saddr ct count over {connections} }} drop\n}}\n"
    )
}

/// Removes the tables, whether they are there or not.
pub(super) fn no_tables(table: &str) -> String {
    ["inet", "netdev"]
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"))
        .concat()
}

/// What one zone's port needs: its guard, and the ways that lead to it.
pub(super) fn port(place: &Place, port: &str, interface: &Interface) -> String {
    let table = place.table();
    let own = [interface.ipv4, interface.ipv6].into_iter().flatten();
    // On other bridges a zone may get addresses that nobody here knows of.
    let any = interface.ipv4.is_none() && interface.ipv6.is_none() && interface.allowed.is_empty();
    let mut allowed: Vec<Block> = own.map(|b| Block { prefix: Block::width(b.address), ..b }).collect();
    if interface.hold == Hold::Own {
        // What advertisements lead to, where the configuration chose another.
        allowed.push(Block { prefix: 128, ..autoconfigured(place.subnet6, interface.mac) });
        allowed.dedup();
    }
    allowed.extend(&interface.allowed);
    let mut script = format!("add table netdev {table}\n");
    script.push_str(&guard(&table, port, interface.mac, &allowed, any, interface.bandwidth));
    script.push_str(&ways(&table, interface));
    script
}

/// The chain that sees all that a zone sends.
fn guard(
    table: &str,
    port: &str,
    mac: [u8; 6],
    allowed: &[Block],
    any: bool,
    bandwidth: Option<u64>,
) -> String {
    let own = mac_text(mac);
    let mut rules = vec![format!("ether saddr != {own} drop")];
    if let Some(rate) = bandwidth {
        // The kernel lets a second's worth pass at once beside the burst (nft_limit.c).
        rules.push(format!("limit rate over {rate} bytes/second burst 64 kbytes drop"));
    }
    let (v4, v6): (Vec<Block>, Vec<Block>) = allowed.iter().partition(|block| block.address.is_ipv4());
    let list = |blocks: &[Block]| {
        let all: Vec<String> = blocks.iter().map(|block| block.network().to_string()).collect();
        all.join(", ")
    };
    let arp = format!("arp htype 1 arp hlen 6 arp plen 4 arp saddr ether {own}");
    let answers_dhcp = "udp sport 67 drop";
    let asks_dhcp = "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept";
    // What route_localnet lets in for published ports: the host's loopback is not for zones.
    rules.push("ip daddr 127.0.0.0/8 drop".to_owned());
    rules.push(format!("meta protocol ip {answers_dhcp}"));
    if any || v4.iter().any(|block| block.prefix == 0) {
        rules.push(format!("{arp} accept"));
        rules.push("meta protocol ip accept".to_owned());
    } else {
        // 0.0.0.0 asks whether an address is free, and claims none (RFC 5227).
        let probe = Block { address: IpAddr::from([0; 4]), prefix: 32 };
        let claims: Vec<Block> = v4.iter().copied().chain([probe]).collect();
        rules.push(format!("{arp} arp saddr ip {{ {} }} accept", list(&claims)));
        if !v4.is_empty() {
            rules.push(format!("ip saddr {{ {} }} accept", list(&v4)));
        }
        rules.push(asks_dhcp.to_owned());
    }
    // Behind extension headers too: nft looks for the last one.
    rules.push("icmpv6 type { nd-router-advert, nd-redirect } drop".to_owned());
    rules.push("meta protocol ip6 udp sport 547 drop".to_owned());
    if any || v6.iter().any(|block| block.prefix == 0) {
        rules.push("meta protocol ip6 accept".to_owned());
    } else {
        let local = Block { address: link_local(mac), prefix: 128 };
        let claims: Vec<Block> = v6.iter().copied().chain([local]).collect();
        let unspecified = Block { address: IpAddr::from([0; 16]), prefix: 128 };
        let with_none: Vec<Block> = claims.iter().copied().chain([unspecified]).collect();
        rules.push(format!("meta protocol ip6 ip6 saddr != {{ {} }} drop", list(&with_none)));
        // The target of an advertisement, and of the question whether an address is free (RFC 4861, 4862),
        // stands 8 bytes behind the beginning of ICMPv6.
        let target = |block: &Block| {
            let number = |address| match address {
                IpAddr::V6(address) => address.to_bits(),
                IpAddr::V4(address) => address.to_bits().into(),
            };
            let mask = number(block.mask());
            format!("@th,64,128 & {mask:#x} == {:#x}", number(block.address) & mask)
        };
        for block in &claims {
            rules.push(format!("icmpv6 type nd-neighbor-advert {} accept", target(block)));
            rules.push(format!("ip6 saddr :: icmpv6 type nd-neighbor-solicit {} accept", target(block)));
        }
        rules.push("icmpv6 type nd-neighbor-advert drop".to_owned());
        let mld = "mld-listener-report, mld-listener-done, mld2-listener-report";
        rules.push(format!("ip6 saddr :: icmpv6 type {{ nd-router-solicit, {mld} }} accept"));
        rules.push("ip6 saddr :: drop".to_owned());
        rules.push("meta protocol ip6 accept".to_owned());
    }
    let mut script = format!(
        "add chain netdev {table} {port} {{ type filter hook ingress device \"{port}\" priority 0; policy drop; }}\n"
    );
    for rule in rules {
        let _ = writeln!(script, "add rule netdev {table} {port} {rule}");
    }
    script
}

/// Takes away chains of ports; one that is gone already is added first, so that it is no error.
pub(super) fn no_ports<'a>(table: &str, ports: impl Iterator<Item = &'a str>) -> String {
    let mut script = format!("add table netdev {table}\n");
    for port in ports {
        let _ = writeln!(script, "add chain netdev {table} {port}\ndelete chain netdev {table} {port}");
    }
    script
}

/// The published ports of these interfaces and no others.
pub(super) fn ways_anew<'a>(table: &str, interfaces: impl Iterator<Item = &'a Interface>) -> String {
    let mut script = format!("add table inet {table}\n");
    for (map, address) in MAPS {
        let _ = writeln!(
            script,
            "add map inet {table} {map} {{ type inet_proto . inet_service : {address} . inet_service; }}
flush map inet {table} {map}"
        );
    }
    for interface in interfaces {
        script.push_str(&ways(table, interface));
    }
    script
}

fn ways(table: &str, interface: &Interface) -> String {
    let mut script = String::new();
    for published in &interface.published {
        for ((map, _), block) in MAPS.into_iter().zip([interface.ipv4, interface.ipv6]) {
            let Some(block) = block else { continue };
            let (protocol, host, zone) = (published.protocol(), published.host, published.zone);
            let to = format!("{} . {zone}", block.address);
            let _ = writeln!(script, "add element inet {table} {map} {{ {protocol} . {host} : {to} }}");
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_guard_ends_in_silence_and_names_only_its_own() {
        let allowed = ["10.88.1.0/32".parse().unwrap(), "fd00::1/128".parse().unwrap()];
        let script = guard("zoned_b", "z1", MAC, &allowed, false, Some(1_000_000));
        assert!(script.contains("policy drop") && script.contains("ether saddr != 02:00:00:00:00:01 drop"));
        assert!(script.contains("limit rate over 1000000 bytes/second"));
        assert!(script.contains("arp saddr ip { 10.88.1.0/32, 0.0.0.0/32 } accept"), "{script}");
        assert!(!script.contains("meta protocol ip accept"), "{script}");
        assert!(script.lines().all(|line| line.contains("netdev zoned_b z1 ")), "{script}");
    }

    #[test]
    fn a_bridge_of_others_is_guarded_by_hardware_address() {
        let script = guard("zoned_b", "z1", MAC, &[], true, None);
        assert!(script.contains("meta protocol ip accept") && script.contains("meta protocol ip6 accept"));
        assert!(script.contains("nd-router-advert") && script.contains("udp sport 67 drop"), "{script}");
    }
}
