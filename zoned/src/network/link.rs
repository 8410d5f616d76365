//! Interfaces, their addresses and routes, in the namespace of a [`Net`]'s socket.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::netlink::{Attributes, CREATE, Object, Socket, find, ifinfo, text};
use crate::config::network::Block;

const UP: u32 = libc::IFF_UP as u32;

/// Kinds of attributes that libc does not name (linux/if_link.h, veth.h, pkt_sched.h).
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const BRPORT_MODE: u16 = 4;
const VETH_PEER: u16 = 1;
const MACVLAN_MODE: u16 = 1;
const MACVLAN_BRIDGE: u32 = 4;
const IPVLAN_MODE: u16 = 1;
const IPVLAN_L2: u16 = 0;
/// A route that a router advertised (linux/rtnetlink.h).
const RTPROT_RA: u8 = 9;

/// An interface as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `bridge`, `veth`…; none of a device.
    pub(super) kind: Option<String>,
    /// Number of the bridge that it is a port of.
    pub(super) master: Option<u32>,
    /// What its maker wrote to it.
    pub(super) alias: String,
    pub(super) mac: Vec<u8>,
}

impl Link {
    pub(super) fn of(object: &Object) -> Option<Self> {
        /// Length of struct ifinfomsg, and where its index stands.
        const AFTER: usize = 16;
        let get = |kind| object.attribute(AFTER, kind);
        Some(Self {
            index: object.word(4),
            name: text(get(libc::IFLA_IFNAME)?),
            kind: get(libc::IFLA_LINKINFO).and_then(|info| find(info, INFO_KIND)).map(text),
            master: get(libc::IFLA_MASTER).and_then(|v| Some(u32::from_ne_bytes(v.try_into().ok()?))),
            alias: get(libc::IFLA_IFALIAS).map(text).unwrap_or_default(),
            mac: get(libc::IFLA_ADDRESS).unwrap_or_default().to_vec(),
        })
    }

    pub(super) fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }
}

/// The interfaces of one network namespace.
#[derive(Debug)]
pub(super) struct Net(Socket);

impl Net {
    /// Those of the calling thread's namespace.
    pub(super) fn here() -> Result<Self, Errno> {
        Socket::open().map(Self)
    }

    pub(super) fn links(&mut self) -> Result<Vec<Link>, Errno> {
        let all = self.0.dump(libc::RTM_GETLINK, &ifinfo(0, 0, 0))?;
        Ok(all.iter().filter_map(Link::of).collect())
    }

    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>, Errno> {
        let named = Attributes::default().text(libc::IFLA_IFNAME, name);
        match self.0.get(libc::RTM_GETLINK, &ifinfo(0, 0, 0), &named) {
            Err(Errno::ENODEV) => Ok(None),
            // The kernel finds interfaces by their other names too.
            other => Ok(other?.as_ref().and_then(Link::of).filter(|link| link.name == name)),
        }
    }

    fn index(&mut self, name: &str) -> Result<u32, Errno> {
        self.find(name)?.map(|link| link.index).ok_or(Errno::ENODEV)
    }

    /// Makes a bridge that keeps its hardware address whatever its ports are.
    pub(super) fn make_bridge(&mut self, name: &str, mac: [u8; 6], alias: &str) -> Result<u32, Errno> {
        let kind = Attributes::default().text(INFO_KIND, "bridge");
        let link = Attributes::default()
            .text(libc::IFLA_IFNAME, name)
            .with(libc::IFLA_ADDRESS, &mac)
            .nest(libc::IFLA_LINKINFO, &kind);
        self.0.order(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0), &link)?;
        let index = self.index(name)?;
        self.set_alias(index, alias)?;
        Ok(index)
    }

    fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), Errno> {
        let link = Attributes::default().with(libc::IFLA_IFALIAS, alias.as_bytes());
        self.0.order(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0), &link)
    }

    /// Makes a pair of which `outer` is a port of `bridge` here, and `inner` is in another namespace. It is
    /// not up yet.
    pub(super) fn make_pair(
        &mut self,
        (outer, alias): (&str, &str),
        bridge: u32,
        (inner, mac): (&str, [u8; 6]),
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let peer = Attributes::default()
            .text(libc::IFLA_IFNAME, inner)
            .with(libc::IFLA_ADDRESS, &mac)
            .number(libc::IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        let data = Attributes::default().nest_after(VETH_PEER, &ifinfo(0, 0, 0), &peer);
        let kind = Attributes::default().text(INFO_KIND, "veth").nest(INFO_DATA, &data);
        let link = Attributes::default().text(libc::IFLA_IFNAME, outer).nest(libc::IFLA_LINKINFO, &kind);
        self.0.order(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0), &link)?;
        let index = self.index(outer)?;
        self.set_alias(index, alias)?;
        // The host talks to zones by the bridge; a port has no addresses, link-local ones among them.
        set("ipv6", outer, "disable_ipv6", "1");
        let port = Attributes::default().number(libc::IFLA_MASTER, bridge);
        self.0.order(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0), &port)
    }

    /// Has a bridge send back by a port what came in by it: where the host's packet filter looks at bridged frames (sysctl
    /// net.bridge.bridge-nf-call-iptables), a zone that asks for its own published port is answered within the bridge.
    pub(super) fn reflect(&mut self, port: &str) -> Result<(), Errno> {
        let index = self.index(port)?;
        let mode = Attributes::default().with(BRPORT_MODE, &[1]);
        let info = Attributes::default().text(INFO_SLAVE_KIND, "bridge").nest(INFO_SLAVE_DATA, &mode);
        let link = Attributes::default().nest(libc::IFLA_LINKINFO, &info);
        self.0.order(libc::RTM_NEWLINK, 0, &ifinfo(index, 0, 0), &link)
    }

    /// Makes an interface over `lower` in another namespace.
    pub(super) fn make_over(
        &mut self,
        lower: u32,
        kind: &str,
        inner: &str,
        mac: Option<[u8; 6]>,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let data = match kind {
            "macvlan" => Attributes::default().number(MACVLAN_MODE, MACVLAN_BRIDGE),
            _ => Attributes::default().with(IPVLAN_MODE, &IPVLAN_L2.to_ne_bytes()),
        };
        let info = Attributes::default().text(INFO_KIND, kind).nest(INFO_DATA, &data);
        let mut link = Attributes::default()
            .text(libc::IFLA_IFNAME, inner)
            .number(libc::IFLA_LINK, lower)
            .number(libc::IFLA_NET_NS_FD, namespace.as_raw_fd() as u32)
            .nest(libc::IFLA_LINKINFO, &info);
        if let Some(mac) = mac {
            link = link.with(libc::IFLA_ADDRESS, &mac);
        }
        self.0.order(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0), &link)
    }

    /// Gives an interface of this namespace to another, where it has that name.
    pub(super) fn give(&mut self, link: u32, name: &str, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
        self.0.order(libc::RTM_SETLINK, 0, &ifinfo(link, 0, UP), &Attributes::default())?;
        let to = Attributes::default()
            .text(libc::IFLA_IFNAME, name)
            .number(libc::IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        self.0.order(libc::RTM_SETLINK, 0, &ifinfo(link, 0, 0), &to)
    }

    pub(super) fn up(&mut self, name: &str) -> Result<(), Errno> {
        let index = self.index(name)?;
        self.0.order(libc::RTM_SETLINK, 0, &ifinfo(index, UP, UP), &Attributes::default())
    }

    /// Removes an interface; one that is not there is fine.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Errno> {
        let index = match self.index(name) {
            Err(Errno::ENODEV) => return Ok(()),
            other => other?,
        };
        match self.0.order(libc::RTM_DELLINK, 0, &ifinfo(index, 0, 0), &Attributes::default()) {
            Err(Errno::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Adds an address, usable at once: that nobody else has it is seen to elsewhere.
    pub(super) fn add_address(&mut self, name: &str, block: Block) -> Result<(), Errno> {
        let (header, mut address) = address_message(self.index(name)?, block);
        match block.address {
            IpAddr::V4(own) if block.prefix < 31 => {
                // ifconfig and old dhclients want to see one; the kernel sets none by itself.
                let mask = match block.mask() {
                    IpAddr::V4(mask) => mask.to_bits(),
                    IpAddr::V6(_) => u32::MAX,
                };
                address = address.with(libc::IFA_BROADCAST, &(own.to_bits() | !mask).to_be_bytes());
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => address = address.number(libc::IFA_FLAGS, libc::IFA_F_NODAD),
        }
        let replace = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        self.0.order(libc::RTM_NEWADDR, replace, &header, &address)
    }

    /// All addresses, each with the number of its interface.
    pub(super) fn addresses(&mut self) -> Result<Vec<(u32, Block)>, Errno> {
        /// Length of struct ifaddrmsg.
        const AFTER: usize = 8;
        let all = self.0.dump(libc::RTM_GETADDR, &[0; AFTER])?;
        let held = |object: &Object| {
            let of = |kind| object.attribute(AFTER, kind);
            let address = address(of(libc::IFA_LOCAL).or_else(|| of(libc::IFA_ADDRESS))?)?;
            Some((object.word(4), Block { address, prefix: object.byte(1) }))
        };
        Ok(all.iter().filter_map(held).collect())
    }

    /// Puts an address on an interface that is the host's and stays so: the host itself does not send from it, as far as the
    /// kernel can be told.
    pub(super) fn lend_address(&mut self, link: u32, block: Block, label: Option<&str>) -> Result<(), Errno> {
        let (header, mut address) = address_message(link, block);
        if let Some(label) = label {
            address = address.text(libc::IFA_LABEL, label);
        }
        if block.address.is_ipv6() {
            // struct ifa_cacheinfo: preferred for no time, valid for ever.
            let times: Vec<u8> = [0, u32::MAX, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
            address = address.number(libc::IFA_FLAGS, libc::IFA_F_NODAD).with(libc::IFA_CACHEINFO, &times);
        }
        self.0.order(libc::RTM_NEWADDR, CREATE, &header, &address)
    }

    /// Takes an address off; one that is not there, and an interface that is not, are fine.
    pub(super) fn remove_address(&mut self, link: u32, block: Block) -> Result<(), Errno> {
        let (header, address) = address_message(link, block);
        match self.0.order(libc::RTM_DELADDR, 0, &header, &address) {
            Err(Errno::EADDRNOTAVAIL | Errno::ENODEV) => Ok(()),
            Err(e) if block.address.is_ipv6() && is_without_ipv6(e) => Ok(()),
            other => other,
        }
    }

    /// Says that a network of IPv4 is on an interface, beside others who say so, and is sent to from that address.
    pub(super) fn add_network(&mut self, link: u32, network: Block, from: IpAddr) -> Result<(), Errno> {
        let mut header = vec![family(network.address), network.prefix, 0, 0];
        header.extend([libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_LINK, libc::RTN_UNICAST]);
        header.extend(0_u32.to_ne_bytes());
        let route = Attributes::default()
            .with(libc::RTA_DST, &octets(network.address))
            .with(libc::RTA_PREFSRC, &octets(from))
            .number(libc::RTA_OIF, link);
        let append = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
        self.0.order(libc::RTM_NEWROUTE, append, &header, &route)
    }

    /// Adds a default route.
    pub(super) fn add_default_route(&mut self, name: &str, router: IpAddr) -> Result<(), Errno> {
        let index = self.index(name)?;
        let mut header = vec![family(router), 0, 0, 0];
        header.extend([libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST]);
        header.extend(0_u32.to_ne_bytes());
        let route =
            Attributes::default().with(libc::RTA_GATEWAY, &octets(router)).number(libc::RTA_OIF, index);
        self.0.order(libc::RTM_NEWROUTE, CREATE, &header, &route)
    }

    /// Whether a default route for IPv6 was learnt from a router's advertisement.
    pub(super) fn is_advertised_to(&mut self) -> Result<bool, Errno> {
        let mut header = vec![0; 12];
        header[0] = libc::AF_INET6 as u8;
        let routes = self.0.dump(libc::RTM_GETROUTE, &header)?;
        // struct rtmsg: dst_len at 1, protocol at 5.
        Ok(routes.iter().any(|route| route.byte(1) == 0 && route.byte(5) == RTPROT_RA))
    }

    /// Lets no more than so many bytes a second out of an interface: a token bucket (tc-tbf(8)).
    pub(super) fn cap(&mut self, name: &str, rate: u64) -> Result<(), Errno> {
        const TCA_KIND: u16 = 1;
        const TCA_OPTIONS: u16 = 2;
        const PARMS: u16 = 1;
        const RATE64: u16 = 4;
        const BURST: u16 = 6;
        const ROOT: u32 = 0xffff_ffff;
        /// TC_LINKLAYER_ETHERNET: the kernel asks for no table of times then.
        const ETHERNET: u8 = 1;
        let index = self.index(name)?;
        let burst = burst(rate);
        // Waits for 100 ms at most in the queue.
        let limit = u32::try_from(rate / 10).unwrap_or(u32::MAX).max(burst);
        let mut ratespec = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
        ratespec.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
        let mut parms = ratespec;
        parms.extend([0; 12]);
        // The bucket's size in time is BURST's to say.
        for word in [limit, 0, 0] {
            parms.extend(word.to_ne_bytes());
        }
        let options =
            Attributes::default().with(PARMS, &parms).number(BURST, burst).with(RATE64, &rate.to_ne_bytes());
        let mut header = vec![0; 4];
        for word in [index, 0x0001_0000, ROOT, 0] {
            header.extend(word.to_ne_bytes());
        }
        let qdisc = Attributes::default().text(TCA_KIND, "tbf").nest(TCA_OPTIONS, &options);
        let replace = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        self.0.order(libc::RTM_NEWQDISC, replace, &header, &qdisc)
    }
}

/// Bytes that may pass at once at such a rate: 20 ms of it, and no less than the largest packet that a
/// zone's stack hands on in one piece.
fn burst(rate: u64) -> u32 {
    u32::try_from(rate / 50).unwrap_or(u32::MAX).max(128 * 1024)
}

/// Whether an order about IPv6 failed because the host has none, or none on that interface.
pub(super) fn is_without_ipv6(error: Errno) -> bool {
    matches!(error, Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EACCES | Errno::ENETUNREACH)
}

/// Writes to a sysctl of an interface, in the calling thread's namespace. What the kernel lacks, like all
/// of IPv6, needs no setting.
pub(super) fn set(family: &str, interface: &str, key: &str, value: &str) {
    let _ = fs::write(format!("/proc/sys/net/{family}/conf/{interface}/{key}"), value);
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// struct ifaddrmsg and the address of a message about it.
fn address_message(link: u32, block: Block) -> (Vec<u8>, Attributes) {
    let mut header = vec![family(block.address), block.prefix, 0, 0];
    header.extend(link.to_ne_bytes());
    let bytes = octets(block.address);
    (header, Attributes::default().with(libc::IFA_LOCAL, &bytes).with(libc::IFA_ADDRESS, &bytes))
}

/// An address from its bytes.
fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = || <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four().or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
