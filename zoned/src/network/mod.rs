//! The links of zones: interfaces made at boot by the monitor, and taken down with the zone by whoever is
//! there.
//!
//! Everything here that changes the host is done under one lock, and first written to the zone's record, from
//! which [`take_down`] removes it: after a halt, a boot that failed, and the death of a monitor or of zoned.

mod address;
mod bridge;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod leases;
mod link;
mod names;
mod netlink;
mod nft;
mod record;
mod resolve;
pub mod serve;
mod shared;
mod uplink;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::config::network::{Block, OWN, Published};
use crate::config::{Config, IpType};
use crate::confine::{Failure, Ids};
use crate::sys::process;
use leases::Leases;
use link::{Link, Net};
use record::{Moved, Record};

pub use leases::Lease;
pub use nft::program as nft_program;
pub use resolve::{names_of, verify};
pub use shared::is_possible as can_share;

/// Where a zoned's network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// zoned's own bridge.
    pub bridge: String,
    /// Its IPv4 network; the first address is the bridge's.
    pub subnet: Block,
    /// Its IPv6 network, likewise.
    pub subnet6: Block,
    /// Whether zones reach the outside by the host's addresses.
    pub nat: bool,
    /// The domain that zones' names are in.
    pub domain: String,
    /// Whether the bridge has DHCP and router advertisements.
    pub dhcp: bool,
    /// Whether it has DNS.
    pub dns: bool,
    /// Who is asked for names that are no zones'; none: the host's resolvers.
    pub resolvers: Vec<IpAddr>,
    /// Connections through the host that one interface of a zone may have at once. Monitors of an older zoned do not know of it.
    #[serde(default = "usual_connections")]
    pub connections: u32,
    /// zoned's `--root`.
    pub root: PathBuf,
    /// zoned's `--run`.
    pub run: PathBuf,
}

fn usual_connections() -> u32 {
    crate::config::network::CONNECTIONS
}

impl Place {
    /// The place that the settings describe.
    pub fn new(settings: &crate::config::daemon::Settings, root: &Path, run: &Path) -> Self {
        let network = &settings.network;
        let default = || crate::config::network::NetworkSettings::default().subnet;
        let read = |text: &str| text.parse::<Block>().ok();
        let own6 = || {
            use std::os::unix::ffi::OsStrExt;
            let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
            address::unique_local(&machine, root.as_os_str().as_bytes())
        };
        Self {
            bridge: network.bridge.clone(),
            // The settings were checked when they were read.
            subnet: read(&network.subnet).or_else(|| read(&default())).unwrap_or_else(own6).network(),
            subnet6: network.subnet6.as_deref().and_then(read).unwrap_or_else(own6).network(),
            nat: network.nat,
            domain: network.domain.clone(),
            dhcp: network.dhcp,
            dns: network.dns,
            resolvers: network.resolvers.iter().filter_map(|text| text.parse().ok()).collect(),
            connections: network.connections,
            root: root.to_owned(),
            run: run.to_owned(),
        }
    }

    /// Whether an interface of a configuration is zoned's bridge: the word means it, and so does its own name, where
    /// that is another.
    pub fn is_own(&self, physical: &str) -> bool {
        physical == OWN || physical == self.bridge
    }

    /// One for tests, with its folders in `dir`.
    #[cfg(any(test, fuzzing))]
    fn of_test(dir: &Path) -> Self {
        let mut place = Self::new(&crate::config::daemon::Settings::default(), dir, dir);
        place.subnet6 = Block { address: IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0]), prefix: 64 };
        place
    }

    /// The file of leases.
    pub fn leases(&self) -> PathBuf {
        self.root.join("network/leases.json")
    }

    /// Name of the packet filter's tables. What stands in names of interfaces and not in names there becomes
    /// a `_`.
    fn table(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = self.bridge.chars().map(plain).collect();
        if name == self.bridge {
            return format!("zoned_{name}");
        }
        // "a-b" and "a_b" are two bridges.
        format!("zoned_{name}_{:08x}", address::fnv1a(&[self.bridge.as_bytes()]) as u32)
    }

    /// What the bridge is marked with as this zoned's.
    fn mark(&self) -> String {
        let mut mark = format!("zoned {}", self.run.display());
        // IFALIASZ of linux/if.h.
        mark.truncate(255);
        mark
    }

    fn lock(&self) -> Result<Flock<File>, Failure> {
        let folder = self.root.join("network");
        std::fs::create_dir_all(&folder).map_err(|e| Failure::new("make", folder.display(), e))?;
        let path = folder.join("lock");
        let fail = |e: io::Error| Failure::new("lock", path.display(), e);
        // For its owner alone: whoever can open it could hold it.
        let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(fail)?;
        loop {
            return match Flock::lock(file.try_clone().map_err(fail)?, FlockArg::LockExclusive) {
                Err((_, Errno::EINTR)) => continue,
                Err((_, errno)) => Err(fail(errno.into())),
                Ok(lock) => Ok(lock),
            };
        }
    }
}

/// What an interface of a zone hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Hold {
    /// zoned's bridge.
    Own,
    /// A bridge of the host's.
    Bridge(String),
    /// `macvlan` or `ipvlan` over an interface of the host's.
    Over(String, String),
    /// It is that interface of the host's.
    Moved(String),
}

/// An interface of a zone with all that it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Interface {
    name: String,
    hold: Hold,
    mac: [u8; 6],
    ipv4: Option<Block>,
    ipv6: Option<Block>,
    routers: Vec<IpAddr>,
    allowed: Vec<Block>,
    published: Vec<Published>,
    bandwidth: Option<u64>,
}

/// Who a zone is, for its network.
#[derive(Debug, Clone, Copy)]
pub struct Zone<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// Its uuid.
    pub uuid: &'a str,
    /// Its run folder.
    pub run_dir: &'a Path,
    /// Host pid of its process 1.
    pub init: i32,
    /// Its host ids.
    pub ids: Ids,
    /// Its v2 group.
    pub group: Option<BorrowedFd<'a>>,
}

/// Makes the interfaces of a zone whose process 1 waits, and sets them up. A failure leaves what
/// [`take_down`] removes.
pub fn attach(place: &Place, zone: Zone<'_>) -> Result<(), Failure> {
    let Zone { config, run_dir, .. } = zone;
    if config.ip_type == IpType::Shared {
        return shared::attach(place, zone);
    }
    if config.net.is_empty() || config.ip_type != IpType::Exclusive {
        return Ok(());
    }
    let _lock = place.lock()?;
    // Of a monitor before this one.
    remove(place, run_dir, true)?;
    let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
    let links = host.links().map_err(|e| Failure::new("list", "the host's interfaces", e))?;
    let mut leases = Leases::read(place)?;
    let interfaces = resolve::interfaces(place, (&config.name, zone.uuid), &config.net, &links, &leases)?;
    let mut records = record::others(&place.run, run_dir);
    resolve::clash_of_ports(&records, &interfaces)?;
    let own: Vec<Lease> = interfaces.iter().filter_map(|i| i.lease(&config.name)).collect();
    let is_on_own = !own.is_empty();
    leases.replace(&config.name, own)?;

    let mut record = write_record(place, run_dir, config, &interfaces)?;
    records.push((config.name.clone(), record.clone()));
    names::write(place, &records)?;
    let namespace = format!("/proc/{}/ns/net", zone.init);
    let namespace = File::open(&namespace).map_err(|e| Failure::new("open", namespace, e))?;
    if !record.moved.is_empty() {
        pin(&namespace, run_dir)?;
    }
    if is_on_own {
        bridge::ensure(place, &mut host, &links)?;
    }
    let mut ports = record.ports.iter();
    for interface in &interfaces {
        let port = interface.is_port().then(|| ports.next()).flatten().map(|(name, _)| name.as_str());
        connect(place, &mut host, interface, port, &config.name, namespace.as_fd())?;
    }
    if !record.moved.is_empty() {
        let links = inside(namespace.as_fd(), links_here)?;
        for moved in &mut record.moved {
            let link = links.iter().find(|link| link.name == moved.inner);
            moved.index = link.map_or(0, |link| link.index);
        }
        record.write(run_dir)?;
    }
    for (port, interface) in &record.ports {
        let what = format!("guard interface {} of", interface.name);
        bridge::filter(place, &what, &nft::port(place, port, interface))?;
    }
    inside(namespace.as_fd(), || interfaces.iter().try_for_each(set_up))?;
    // Last: nothing is sent by a zone before its guard stands.
    for (port, _) in &record.ports {
        host.up(port).map_err(|e| Failure::new("bring up", port, e))?;
    }
    Ok(())
}

impl Interface {
    fn is_port(&self) -> bool {
        matches!(self.hold, Hold::Own | Hold::Bridge(_))
    }

    fn lease(&self, zone: &str) -> Option<Lease> {
        (self.hold == Hold::Own).then(|| Lease {
            zone: zone.to_owned(),
            interface: self.name.clone(),
            mac: address::mac_text(self.mac),
            ipv4: self.ipv4.map(|block| block.to_string()),
            ipv6: self.ipv6.map(|block| block.to_string()),
        })
    }
}

/// The name of a zone's port `n` on the host: at most 15 characters, and no other zone's.
fn port_name(place: &Place, zone: &str, n: usize) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = address::fnv1a(&[place.run.as_os_str().as_bytes(), zone.as_bytes()]);
    format!("z{:011x}n{n}", hash & 0xfff_ffff_ffff)
}

fn write_record(
    place: &Place,
    run_dir: &Path,
    config: &Config,
    interfaces: &[Interface],
) -> Result<Record, Failure> {
    let zone = &config.name;
    let hostname = config.hostname.clone().unwrap_or_default();
    let mut record = Record { hostname, ..Record::default() };
    for (n, interface) in interfaces.iter().enumerate() {
        match &interface.hold {
            Hold::Own | Hold::Bridge(_) => {
                record.ports.push((port_name(place, zone, n), interface.clone()));
            }
            Hold::Moved(name) => {
                record.moved.push(Moved { own: name.clone(), inner: interface.name.clone(), index: 0 });
            }
            Hold::Over(..) => {}
        }
        if interface.hold == Hold::Own {
            record.bridge = Some(place.bridge.clone());
        }
        record.addresses.extend([interface.ipv4, interface.ipv6].iter().flatten().map(Block::to_string));
    }
    record.write(run_dir)?;
    Ok(record)
}

fn connect(
    place: &Place,
    host: &mut Net,
    interface: &Interface,
    port: Option<&str>,
    zone: &str,
    namespace: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let name = &interface.name;
    let index = |host: &mut Net, wanted: &str| -> Result<Link, Failure> {
        let found = host.find(wanted).map_err(|e| Failure::new("look for", wanted, e))?;
        found.ok_or_else(|| Failure::new("look for", wanted, Errno::ENODEV))
    };
    match &interface.hold {
        Hold::Own | Hold::Bridge(_) => {
            let bridge = match &interface.hold {
                Hold::Bridge(bridge) => bridge,
                _ => &place.bridge,
            };
            let number = index(host, bridge)?.index;
            let port = port.unwrap_or_default();
            let alias = format!("zone {zone} {name}");
            host.make_pair((port, &alias), number, (name, interface.mac), namespace)
                .map_err(|e| Failure::new("make", format!("interface {name} on bridge {bridge}"), e))?;
            if !interface.published.is_empty() {
                host.reflect(port).map_err(|e| Failure::new("set up", format!("port {port}"), e))?;
            }
            if let Some(rate) = interface.bandwidth {
                host.cap(port, rate).map_err(|e| Failure::new("cap", format!("what {name} receives"), e))?;
            }
            Ok(())
        }
        Hold::Over(kind, lower) => {
            let number = index(host, lower)?.index;
            let mac = (kind == "macvlan").then_some(interface.mac);
            host.make_over(number, kind, name, mac, namespace).map_err(|e| match e {
                Errno::EOPNOTSUPP => {
                    let why = io::Error::other(format!("this kernel has no {kind}; use mode = \"macvlan\""));
                    Failure::new("make", format!("{name} over {lower}"), why)
                }
                e => Failure::new("make", format!("{kind} {name} over {lower}"), e),
            })
        }
        Hold::Moved(own) => {
            let number = index(host, own)?.index;
            host.give(number, name, namespace).map_err(|e| match e {
                Errno::EINVAL | Errno::EOPNOTSUPP => {
                    let why = io::Error::other(format!("the kernel does not let {own} go; use a macvlan"));
                    Failure::new("move", own, why)
                }
                e => Failure::new("move", format!("{own} into the zone"), e),
            })
        }
    }
}

/// Sets an interface up, inside.
fn set_up(interface: &Interface) -> Result<(), Failure> {
    let name = &interface.name;
    let fail = |what: &str| {
        let (what, name) = (what.to_owned(), name.clone());
        move |e: Errno| Failure::new(what, name, e)
    };
    let mut net = Net::here().map_err(fail("talk to the network of"))?;
    if interface.is_port() {
        // The guard sees to it that an address is one zone's; so its link-local one need not wait either.
        link::set("ipv6", name, "accept_dad", "0");
    }
    let blocks = [interface.ipv4, interface.ipv6];
    for block in blocks.into_iter().flatten() {
        match net.add_address(name, block) {
            Err(e) if block.address.is_ipv6() && link::is_without_ipv6(e) => {}
            other => other.map_err(fail(&format!("give address {block} to")))?,
        }
    }
    net.up(name).map_err(fail("bring up"))?;
    for router in &interface.routers {
        match net.add_default_route(name, *router) {
            // A second interface does not take the first one's place.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) if router.is_ipv6() && link::is_without_ipv6(e) => {}
            Err(e) => return Err(fail(&format!("make {router} the default router of"))(e)),
        }
    }
    Ok(())
}

/// Does `work` in a network namespace, on a thread of its own: setns(2) is for good.
fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let enter = || {
        process::set_namespace(namespace, libc::CLONE_NEWNET)
            .map_err(|e| Failure::new("enter", "the zone's network", e))?;
        work()
    };
    let lost = || Err(Failure::new("set up", "the zone's network", io::Error::other("its thread ended")));
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|_| lost()))
}

/// The interfaces of the calling thread's namespace.
fn links_here() -> Result<Vec<Link>, Failure> {
    let fail = |e| Failure::new("list", "the zone's interfaces", e);
    Net::here().map_err(fail)?.links().map_err(fail)
}

/// Name of the file in a zone's run folder that keeps its network when it has interfaces of the host's: a
/// virtual one would be destroyed with its namespace, and any other go to the host's first namespace.
const PIN: &str = "network";

fn pin(namespace: &File, run_dir: &Path) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    let path = run_dir.join(PIN);
    let fail = |e: io::Error| Failure::new("keep the zone's network at", path.display(), e);
    File::create(&path).map_err(fail)?;
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| fail(e.into()))
}

/// Gives interfaces of the host's back to it, under their own names.
fn give_back(run_dir: &Path, moved: &[Moved]) -> Result<(), Failure> {
    let path = run_dir.join(PIN);
    let Ok(namespace) = File::open(&path) else { return Ok(()) };
    let host = File::open("/proc/self/ns/net").map_err(|e| Failure::new("open", "the host's network", e))?;
    let back = || {
        let mut net = Net::here().map_err(|e| Failure::new("talk to", "the zone's network", e))?;
        let links = links_here()?;
        for Moved { own, inner, index } in moved {
            let is_it = |link: &&Link| if *index == 0 { link.name == *inner } else { link.index == *index };
            let Some(link) = links.iter().find(is_it) else { continue };
            net.give(link.index, own, host.as_fd()).map_err(|e| Failure::new("give back", own, e))?;
        }
        Ok(())
    };
    // A file that nothing is mounted on is of this namespace or none.
    let given = match inside(namespace.as_fd(), back) {
        Err(failure) if failure.operation == "enter" => Ok(()),
        other => other,
    };
    drop(namespace);
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(e) => return given.and(Err(Failure::new("unmount", path.display(), e))),
    }
    let _ = std::fs::remove_file(&path);
    given
}

/// Takes down what a zone has on the host's side; its processes are gone. With `again` the bridge stays, for
/// the zone's next boot.
pub fn take_down(place: &Place, run_dir: &Path, again: bool) -> Result<(), Failure> {
    // Most zones have none: then there is nothing to wait for.
    if Record::read(run_dir)?.is_none() {
        return Ok(());
    }
    let _lock = place.lock()?;
    remove(place, run_dir, again)
}

fn remove(place: &Place, run_dir: &Path, again: bool) -> Result<(), Failure> {
    let Some(record) = Record::read(run_dir)? else { return Ok(()) };
    let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
    let mut first = give_back(run_dir, &record.moved);
    let mut then = |result: Result<(), Failure>| {
        if first.is_ok() {
            first = result;
        }
    };
    for lent in &record.lent {
        then(shared::take_back(&mut host, lent));
    }
    for (port, _) in &record.ports {
        then(host.remove(port).map_err(|e| Failure::new("remove", port, e)));
    }
    let others = record::others(&place.run, run_dir);
    if !record.ports.is_empty() {
        let is_last = !again && others.iter().all(|(_, other)| other.ports.is_empty());
        let names = record.ports.iter().map(|(name, _)| name.as_str());
        let mut script = nft::no_ports(&place.table(), names);
        if is_last && bridge::is_gone_or_unused(place, &mut host) {
            then(bridge::remove(place, &mut host));
            script = nft::no_tables(&place.table());
        } else if record.ports.iter().any(|(_, interface)| !interface.published.is_empty()) {
            let interfaces = others.iter().flat_map(|(_, record)| record.ports.iter().map(|(_, i)| i));
            script.push_str(&nft::ways_anew(&place.table(), interfaces));
        }
        then(nft::run("remove the rules of", &script));
    }
    first?;
    Record::forget(run_dir)?;
    names::write(place, &others)
}

/// Takes down a bridge that no zone is on: what a zoned leaves that was killed at the wrong moment.
pub fn sweep(place: &Place) -> Result<(), Failure> {
    let mut host = Net::here().map_err(|e| Failure::new("talk to", "the host's network", e))?;
    let found = host.find(&place.bridge).ok().flatten();
    if found.is_none_or(|link| bridge::ours(place, &link).is_err()) {
        return Ok(());
    }
    let _lock = place.lock()?;
    if record::all(&place.run).is_empty() && bridge::is_gone_or_unused(place, &mut host) {
        bridge::remove(place, &mut host)?;
        return nft::run("remove the rules of", &nft::no_tables(&place.table()));
    }
    Ok(())
}

/// Puts the rules of all zones back where somebody flushed the packet filter, as nftables.service does.
pub fn repair(place: &Place) -> Result<(), Failure> {
    if record::all(&place.run).iter().all(|(_, record)| record.ports.is_empty()) {
        return Ok(());
    }
    let _lock = place.lock()?;
    bridge::restore(place).map(drop)
}

/// Forgets the addresses of a zone that is no more.
pub fn forget(place: &Place, zone: &str) -> Result<(), Failure> {
    if !place.leases().exists() {
        return Ok(());
    }
    let _lock = place.lock()?;
    Leases::read(place)?.replace(zone, Vec::new())
}

/// The addresses of a live zone.
pub fn addresses(run_dir: &Path) -> Vec<String> {
    Record::read(run_dir).ok().flatten().map(|record| record.addresses).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_an_older_zoned_is_read() {
        let settings = crate::config::daemon::Settings::default();
        let place = Place::new(&settings, Path::new("/var/lib/zoned"), Path::new("/run/zoned"));
        let mut old = serde_json::to_value(&place).unwrap();
        old.as_object_mut().unwrap().remove("connections").unwrap();
        assert_eq!(serde_json::from_value::<Place>(old).unwrap(), place);
    }
}
