//! Zones in the host's own network, which have addresses of it and no others.
//!
//! Their addresses are put on the host's interfaces, and programs of the kernel's BPF machine on the zone's cgroup see to
//! it that its sockets use these alone. The group carries them until it is removed; no one in the zone can take them off.

mod asm;
mod packet;
mod programs;
mod writer;
mod writer6;

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use brands::level::Level;
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::link::{Link, Net};
use super::record::{self, Record};
use super::{Place, Zone, address, link, names};
use crate::config::Config;
use crate::config::network::{Block, OWN};
use crate::confine::cgroup::Hierarchies;
use crate::confine::{Failure, Ids, running_level};
use crate::sys::bpf;
use programs::Program;
use writer::{Abilities, Identity};

/// An address of a zone's on an interface of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lent {
    /// Number of the interface.
    link: u32,
    /// The address, as it is put there. One of IPv4 is its network's only one: of several in a network the first to go would
    /// take the others along (promote_secondaries of the kernel's ip-sysctl.rst).
    block: Block,
    /// Its network, where the host has no other address in that, so that there is no way to it.
    network: Option<Block>,
    /// What ifconfig and ip show it under.
    label: Option<String>,
}

/// Number of lo in every network namespace.
const LO: u32 = 1;

/// Gives a zone its addresses and holds it to them.
pub(super) fn attach(place: &Place, zone: Zone<'_>) -> Result<(), Failure> {
    let Zone { config, run_dir, ids, .. } = zone;
    let group = zone.group.ok_or_else(without_groups)?;
    let lock = place.lock()?;
    // Of a monitor before this one.
    super::remove(place, run_dir, true)?;
    let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
    let mut lent = wanted(place, &mut host, config)?;
    let loopback = Block { address: loopback6(place, &config.name).into(), prefix: 128 };
    let addresses = blocks(config).map(|block| block.to_string()).collect();
    lent.push(Lent { link: LO, block: loopback, network: None, label: None });
    let record = Record { addresses, lent, ..Record::default() };
    record.write(run_dir)?;
    let mut records = record::others(&place.run, run_dir);
    records.push((config.name.clone(), record.clone()));
    names::write(place, &records)?;
    let mut who = identity(config, ids);
    let of_group =
        nix::sys::stat::fstat(group).map_err(|e| Failure::new("look at", "the zone's cgroup", e))?;
    who.group = of_group.st_ino;
    for one in &record.lent {
        match put(&mut host, one) {
            Ok(()) if one.block == loopback => who.loop6 = Some(loopback6(place, &config.name)),
            Err(e) if one.block == loopback && link::is_without_ipv6(e) => {}
            done => done.map_err(|e| Failure::new("give the zone", one.block.address, explained(e)))?,
        }
    }
    drop(lock);
    for (program, (name, kind, _)) in load(&who)?.loaded {
        bpf::attach(group, program.as_fd(), kind)
            .map_err(|e| Failure::new("attach", format!("program {name} to the zone's cgroup"), e))?;
    }
    Ok(())
}

fn without_groups() -> Failure {
    let why = "this host has no cgroup v2 (CONFIG_CGROUPS), which holds a zone to its addresses; \
               take ip-type = \"exclusive\"";
    Failure::new("confine", "a zone with ip-type = \"shared\"", io::Error::other(why))
}

fn explained(errno: Errno) -> io::Error {
    match errno {
        Errno::ENETDOWN => io::Error::other("its interface is down; bring it up"),
        e if link::is_without_ipv6(e) => io::Error::other("the host has no IPv6 on that interface"),
        e => e.into(),
    }
}

/// What a zone's ::1 is: an address on lo that is nobody else's (RFC 4193).
fn loopback6(place: &Place, zone: &str) -> Ipv6Addr {
    use std::os::unix::ffi::OsStrExt;
    let run = place.run.as_os_str().as_bytes();
    let network = address::fnv1a(&[b"loopback", run]) & 0xff_ffff_ffff;
    let host = address::fnv1a(&[run, zone.as_bytes()]);
    Ipv6Addr::from_bits(0xfd << 120 | u128::from(network) << 80 | u128::from(host))
}

fn blocks(config: &Config) -> impl Iterator<Item = Block> {
    config.net.iter().flat_map(|net| {
        let (ipv4, ipv6) = net.addresses();
        [ipv4, ipv6].into_iter().flatten()
    })
}

fn identity(config: &Config, ids: Ids) -> Identity {
    let mut who = Identity { root: ids.base, ..Identity::default() };
    for block in blocks(config) {
        match block.address {
            IpAddr::V4(address) => who.v4.push((address, block.prefix)),
            IpAddr::V6(address) => who.v6.push((address, block.prefix)),
        }
    }
    // No two zones have the same host ids, and so no two this network.
    let [_, _, high, low] = (ids.base >> 16).to_be_bytes();
    who.loop4 = [127, high, low];
    who
}

/// What is to be put on the host's interfaces.
fn wanted(place: &Place, host: &mut Net, config: &Config) -> Result<Vec<Lent>, Failure> {
    let fail = |net: &str, why: String| Failure::new("use net", net, io::Error::other(why));
    let links = host.links().map_err(|e| Failure::new("list", "the host's interfaces", e))?;
    let held = host.addresses().map_err(|e| Failure::new("list", "the host's addresses", e))?;
    let mut all: Vec<Lent> = Vec::new();
    for net in &config.net {
        let physical = &net.physical;
        let Some(link) = links.iter().find(|link| link.name == *physical) else {
            let why = match physical.as_str() {
                OWN => {
                    format!("{OWN} is for zones with ip-type = \"exclusive\"; name an interface of the host")
                }
                _ => "the host has no such interface".to_owned(),
            };
            return Err(fail(physical, why));
        };
        for block in net.addresses().0.into_iter().chain(net.addresses().1) {
            if let Some((number, _)) = held.iter().find(|(_, other)| other.address == block.address) {
                return Err(fail(physical, taken(place, block, *number, &links)));
            }
            let is_reached = |(number, other): &(u32, Block)| {
                *number == link.index && other.prefix < 32 && other.network() == block.network()
            };
            let mut lent = Lent { link: link.index, block, network: None, label: None };
            if block.address.is_ipv4() {
                lent.block.prefix = 32;
                let lacks_way = block.prefix < 32 && !held.iter().any(is_reached);
                lent.network = lacks_way.then(|| block.network());
                lent.label = Some(label(physical, &config.name));
            }
            all.push(lent);
        }
    }
    Ok(all)
}

fn taken(place: &Place, block: Block, number: u32, links: &[Link]) -> String {
    let mut records = record::all(&place.run).into_iter();
    let is_its = |text: &String| text.parse::<Block>().is_ok_and(|other| other.address == block.address);
    if let Some((zone, _)) = records.find(|(_, record)| record.addresses.iter().any(is_its)) {
        return format!("{} is zone {zone}'s; choose another", block.address);
    }
    let link = links.iter().find(|link| link.index == number).map_or("an interface", |link| &link.name);
    format!("{} is the host's own, on {link}; take it off there, or choose another", block.address)
}

/// `eth0:web`: IFNAMSIZ of linux/if.h is 16 with the NUL.
fn label(interface: &str, zone: &str) -> String {
    let mut label = format!("{interface}:{zone}");
    label.truncate(15);
    label
}

fn put(host: &mut Net, lent: &Lent) -> Result<(), Errno> {
    host.lend_address(lent.link, lent.block, lent.label.as_deref())?;
    match lent.network {
        Some(network) => host.add_network(lent.link, network, lent.block.address),
        None => Ok(()),
    }
}

/// Takes an address of a zone's off the host; the way to its network goes with it.
pub(super) fn take_back(host: &mut Net, lent: &Lent) -> Result<(), Failure> {
    host.remove_address(lent.link, lent.block)
        .map_err(|e| Failure::new("take off", format!("the zone's address {}", lent.block.address), e))
}

/// Programs that the kernel has taken, and the map that they use.
struct Loaded {
    loaded: Vec<(OwnedFd, Program)>,
    _only6: Option<OwnedFd>,
}

fn load(who: &Identity) -> Result<Loaded, Failure> {
    let host = running_level();
    let since = |major, minor| host.is_some_and(|host| host >= Level::new(major, minor, 0));
    let _room = Room::make();
    let only6 = bpf::socket_storage().ok();
    let by_default = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").unwrap_or_default();
    let can = Abilities {
        errors: since(6, 1),
        low_ports: since(5, 12),
        only6: only6.as_ref().map(AsRawFd::as_raw_fd),
        only6_by_default: by_default.trim() == "1",
    };
    let all = programs::all(who, can).ok_or_else(|| {
        let why = io::Error::other("a program for so many would be longer than there can be");
        Failure::new("hold the zone to", format!("{} addresses", who.v4.len() + who.v6.len()), why)
    })?;
    let mut loaded = Vec::new();
    for program in all {
        let (name, kind, code) = &program;
        let fd = bpf::load(*kind, name, code).map_err(|rejected| refused(name, &rejected))?;
        loaded.push((fd, program));
    }
    Ok(Loaded { loaded, _only6: only6 })
}

fn refused(name: &str, rejected: &bpf::Rejected) -> Failure {
    let why = match rejected.errno {
        Errno::ENOSYS | Errno::EPERM => {
            "the kernel loads no BPF programs (CONFIG_CGROUP_BPF, or lockdown), which hold a zone to its addresses; \
             take ip-type = \"exclusive\""
                .to_owned()
        }
        errno => format!("{}: {}", errno.desc(), rejected.verdict),
    };
    Failure::new("load", format!("program {name}"), io::Error::other(why))
}

/// Before Linux 5.11 programs were counted as locked memory of the user. Given back when dropped: what is started from here
/// on has the limits that it had.
struct Room(Option<(u64, u64)>);

impl Room {
    fn make() -> Self {
        let before = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        Self(before)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.0 {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard);
        }
    }
}

/// What would keep the zone from having its addresses here.
pub(super) fn verify(place: &Place, config: &Config) -> Vec<String> {
    let try_it = || -> Result<(), Failure> {
        let run_dir = place.run.join(&config.name);
        if Record::read(&run_dir)?.is_none_or(|record| record.lent.is_empty()) {
            let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
            wanted(place, &mut host, config)?;
        }
        if !Hierarchies::detect().is_ok_and(|mut all| all.add_v2().is_some() || all.v2.is_some()) {
            return Err(without_groups());
        }
        let mut who = identity(config, Ids { base: 1 << 30 });
        who.loop6 = Some(loopback6(place, &config.name));
        load(&who).map(drop)
    };
    try_it().err().map(|failure| failure.sentence()).into_iter().collect()
}

/// Whether the kernel can hold a zone to its addresses, for [`crate::doctor`]; else why not.
pub fn is_possible() -> Result<(), String> {
    let who = identity_of_nobody();
    load(&who).map(drop).map_err(|failure| failure.sentence())
}

fn identity_of_nobody() -> Identity {
    Identity { loop4: [127, 64, 0], root: 1 << 30, ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_programs_of_any_zone() {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("SKIPPED: loading programs needs root");
            return;
        }
        let four = |n: u8| (std::net::Ipv4Addr::new(192, 0, 2, n), 24);
        let six = |n: u16| (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 64);
        let loop6 = Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
        for (fours, sixes) in [(0, 0), (1, 0), (0, 1), (1, 1), (3, 3), (64, 64)] {
            for loop6 in [None, loop6] {
                let who = Identity {
                    v4: (0..fours).map(four).collect(),
                    v6: (0..sixes).map(six).collect(),
                    loop6,
                    ..identity_of_nobody()
                };
                let loaded = load(&who).unwrap_or_else(|failure| panic!("{}", failure.sentence()));
                assert!(loaded.loaded.len() >= 15);
            }
        }
    }

    #[test]
    fn loopbacks_are_a_zones_own() {
        let config: Config = toml::from_str("name = 'a'").unwrap();
        let one = identity(&config, Ids { base: 0x4000_0000 });
        let other = identity(&config, Ids { base: 0x4001_0000 });
        assert_eq!((one.loop4, other.loop4), ([127, 64, 0], [127, 64, 1]));
        let text = label("enp0s31f6", "a-long-name");
        assert_eq!((text.as_str(), text.len()), ("enp0s31f6:a-lon", 15));
    }
}
