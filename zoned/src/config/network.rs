//! What a configuration says of networks: `[[net]]` of a zone, `[network]` of zoned.toml.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rules::{self, Verdict};
use super::schema::{Key, Kind, key, needed};

/// The word for the bridge that zoned makes, whatever its name on the host is.
pub const OWN: &str = "zones0";

/// Keys of `[[net]]`.
pub(super) const NET: &[Key] = &[
    needed("physical", Kind::Text(rules::interface)),
    key("name", Kind::Text(guest_interface)),
    key("mode", Kind::Text(mode)),
    key("address", Kind::Text(rules::address)),
    key("address6", Kind::Text(address6)),
    key("defrouter", Kind::Text(defrouter)),
    key("mac-addr", Kind::Text(mac)),
    key("allowed-address", Kind::List(block)),
    key("publish", Kind::List(publish)),
    key("bandwidth", Kind::Text(bandwidth_rule)),
];

/// Keys of `[network]` in zoned.toml.
pub(super) const SETTINGS: &[Key] = &[
    key("bridge", Kind::Text(bridge)),
    key("subnet", Kind::Text(subnet4)),
    key("subnet6", Kind::Text(subnet6)),
    key("nat", Kind::Flag),
    key("domain", Kind::Text(domain)),
    key("dhcp", Kind::Flag),
    key("dns", Kind::Flag),
    key("resolvers", Kind::List(resolver)),
    key("connections", Kind::Whole),
];

/// `[[net]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Net {
    /// A bridge to attach to, [`OWN`] for zoned's; or another interface of the host.
    pub physical: String,
    /// Name in the zone; `None`: eth0, eth1…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How `physical` is used; `None`: a bridge as such, anything else by a macvlan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Address with prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// IPv6 address with prefix length, beside an IPv4 one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
    /// Default router, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defrouter: Option<String>,
    /// Hardware address; `None`: from the zone's uuid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_addr: Option<String>,
    /// What the zone may send as, beside its own addresses: addresses, or blocks of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_address: Vec<String>,
    /// Ports of the host that lead to the zone: `8080:80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// The most that may pass, each way: `100mbit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<String>,
}

/// `mode =`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A port of that bridge.
    Bridge,
    /// A hardware address of its own on that interface.
    Macvlan,
    /// An address of its own on that interface, which keeps its hardware address.
    Ipvlan,
    /// The interface itself.
    Move,
}

/// What is wrong, and with which key.
pub(super) type Disagreement = (&'static str, String);

impl Net {
    /// The keys agree with each other.
    pub(super) fn agrees(&self) -> Result<(), Disagreement> {
        let block = self.address.as_deref().and_then(|text| text.parse::<Block>().ok());
        if self.address6.is_some() && block.is_some_and(|b| b.address.is_ipv6()) {
            return Err(("net.address6", "address is IPv6 already".into()));
        }
        let moved = matches!(self.mode, Some(Mode::Move | Mode::Ipvlan));
        let behind_bridge = !matches!(self.mode, Some(Mode::Macvlan | Mode::Ipvlan | Mode::Move));
        if self.physical == OWN && !behind_bridge {
            return Err(("net.mode", format!("{OWN} is zoned's bridge; zones are its ports")));
        }
        if moved && self.mac_addr.is_some() {
            return Err(("net.mac-addr", "the interface has its own".into()));
        }
        for (given, key) in [
            (!self.allowed_address.is_empty(), "net.allowed-address"),
            (self.bandwidth.is_some(), "net.bandwidth"),
        ] {
            if given && !behind_bridge {
                return Err((key, "only what passes a bridge is looked at; use a bridge".into()));
            }
        }
        if !self.publish.is_empty() && self.physical != OWN {
            return Err(("net.publish", format!("ports lead to zones on {OWN} only")));
        }
        Ok(())
    }

    /// The addresses of the configuration, by family.
    pub fn addresses(&self) -> (Option<Block>, Option<Block>) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Block>().ok());
        match read(&self.address) {
            Some(block) if block.address.is_ipv6() => (None, Some(block)),
            other => (other, read(&self.address6)),
        }
    }

    /// Ports that lead to the zone.
    pub fn published(&self) -> Vec<Published> {
        self.publish.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

/// A zone then has an eighth of the table of connections that a host with more than 1 GiB has at least, with what the kernel keeps of
/// those that were closed a half.
pub const CONNECTIONS: u32 = 8192;

/// `[network]` of zoned.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetworkSettings {
    /// Name of zoned's own bridge on the host.
    pub bridge: String,
    /// IPv4 of the zones on it; the first address is the bridge's.
    pub subnet: String,
    /// IPv6, 64 bits long; `None`: a unique local one (RFC 4193) that is this zoned's own.
    pub subnet6: Option<String>,
    /// Whether zones reach the outside by the host's addresses.
    pub nat: bool,
    /// The domain that zones' names are in.
    pub domain: String,
    /// Whether the bridge has DHCP and router advertisements.
    pub dhcp: bool,
    /// Whether it has DNS.
    pub dns: bool,
    /// Who is asked for names that are no zones'; none: the host's resolvers.
    pub resolvers: Vec<String>,
    /// Connections through the host that one interface of a zone may have at once.
    pub connections: u32,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            bridge: OWN.into(),
            subnet: "10.88.0.0/16".into(),
            subnet6: None,
            nat: true,
            domain: "zones.internal".into(),
            dhcp: true,
            dns: true,
            resolvers: Vec::new(),
            connections: CONNECTIONS,
        }
    }
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that are the network's.
    pub prefix: u8,
}

impl Block {
    /// Bits of an address of that family.
    pub fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// The address as a number, and the mask of its network's bits.
    fn bits(self) -> (u128, u128) {
        let width = u32::from(Self::width(self.address));
        let all = u128::MAX >> (128 - width);
        let host = u128::MAX.checked_shr(u32::from(self.prefix) + 128 - width).unwrap_or(0);
        (number(self.address), all & !host)
    }

    /// The network's mask, as an address.
    pub fn mask(self) -> IpAddr {
        self.with(self.bits().1)
    }

    /// The same with the host's bits 0.
    pub fn network(self) -> Self {
        let (address, mask) = self.bits();
        Self { address: self.with(address & mask), ..self }
    }

    /// Whether the network has this address.
    pub fn holds(self, address: IpAddr) -> bool {
        let (own, mask) = self.bits();
        address.is_ipv4() == self.address.is_ipv4() && number(address) & mask == own & mask
    }

    /// The address of that number in the network.
    pub fn nth(self, n: u128) -> IpAddr {
        let (address, mask) = self.bits();
        self.with(address & mask | n & !mask)
    }

    /// How many addresses the network has.
    pub fn size(self) -> u128 {
        1_u128.checked_shl(u32::from(Self::width(self.address) - self.prefix)).unwrap_or(u128::MAX)
    }

    fn with(self, number: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Block {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Block> for String {
    fn from(block: Block) -> Self {
        block.to_string()
    }
}

impl FromStr for Block {
    type Err = String;

    /// `ADDRESS/PREFIX`, or an address alone, which is a network of one.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address, and no ADDRESS/PREFIX");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = Self::width(address);
        let prefix = prefix.map_or(Ok(width), str::parse).map_err(|_| wrong())?;
        if prefix > width { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

/// A port of the host that leads to one of the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Port of the host.
    pub host: u16,
    /// Port of the zone.
    pub zone: u16,
    /// Whether it is UDP's; else TCP's.
    pub udp: bool,
}

impl Published {
    /// `tcp` or `udp`.
    pub fn protocol(self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOSTPORT:ZONEPORT, with /tcp or /udp after it");
        let (ports, udp) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
            Some((ports, "udp")) => (ports, true),
            Some(_) => return Err(wrong()),
        };
        let (host, zone) = ports.split_once(':').ok_or_else(wrong)?;
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        Ok(Self { host: port(host)?, zone: port(zone)?, udp })
    }
}

/// Bytes a second of `100mbit`, `1gbit`, `512kbit`: powers of 1000.
pub fn bandwidth(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no bandwidth; write a whole number with kbit, mbit or gbit");
    let units = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
    let (digits, unit) =
        units.iter().find_map(|(word, unit)| Some((text.strip_suffix(word)?, *unit))).ok_or_else(wrong)?;
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    match count.checked_mul(unit) {
        Some(bits) if bits >= 8_000 => Ok(bits / 8),
        Some(_) => Err("8kbit is the least".into()),
        None => Err(wrong()),
    }
}

/// A hardware address of one interface.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("{text:?} is not six bytes in hex, with colons between");
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    match parts.next() {
        None if mac[0] & 1 == 0 && mac != [0; 6] => Ok(mac),
        None => Err(format!("{text} is a group's address")),
        Some(_) => Err(wrong()),
    }
}

/// Stands in scripts of nft.
fn bridge(text: &str) -> Verdict {
    rules::interface(text)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Ok(());
    }
    Err(format!("{text:?} has other characters than letters, digits, -, _ and ."))
}

fn mac(text: &str) -> Verdict {
    parse_mac(text).map(drop)
}

fn bandwidth_rule(text: &str) -> Verdict {
    bandwidth(text).map(drop)
}

fn publish(text: &str) -> Verdict {
    text.parse::<Published>().map(drop)
}

fn block(text: &str) -> Verdict {
    text.parse::<Block>().map(drop)
}

fn mode(text: &str) -> Verdict {
    rules::one_of("mode", text, &["bridge", "macvlan", "ipvlan", "move"])
}

fn guest_interface(text: &str) -> Verdict {
    rules::interface(text)?;
    if text == "lo" { Err("lo is loopback".into()) } else { Ok(()) }
}

fn defrouter(text: &str) -> Verdict {
    if text == "none" || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("{text:?} is no address, and not none"))
}

fn address6(text: &str) -> Verdict {
    rules::address(text)?;
    if text.contains(':') { Ok(()) } else { Err(format!("{text} is not IPv6; that is what address is for")) }
}

fn subnet4(text: &str) -> Verdict {
    rules::address(text)?;
    match text.parse::<Block>()? {
        Block { address: IpAddr::V4(_), prefix: 8..=29 } => Ok(()),
        _ => Err(format!("{text} is no IPv4 network of 8 to 29 bits")),
    }
}

/// A domain's name in letters, digits, hyphens and dots (RFC 1123), short enough to stand before it.
fn domain(text: &str) -> Verdict {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 128 && text.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!("{text:?} is no domain such as zones.internal"))
}

fn resolver(text: &str) -> Verdict {
    text.parse::<IpAddr>().map(drop).map_err(|_| format!("{text:?} is no address of a name server"))
}

fn subnet6(text: &str) -> Verdict {
    rules::address(text)?;
    match text.parse::<Block>()? {
        Block { address: IpAddr::V6(_), prefix: 64 } => Ok(()),
        _ => Err(format!("{text} is no IPv6 network of 64 bits, which addresses are made for (RFC 4291)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_of_addresses() {
        let net = block("10.88.3.4/16");
        assert_eq!(net.network().to_string(), "10.88.0.0/16");
        assert_eq!(net.mask().to_string(), "255.255.0.0");
        assert_eq!((net.nth(1).to_string(), net.size()), ("10.88.0.1".to_owned(), 65_536));
        assert!(net.holds("10.88.255.255".parse().unwrap()) && !net.holds("10.89.0.0".parse().unwrap()));
        assert!(!net.holds("::a58:0".parse().unwrap()));
        let all = block("0.0.0.0/0");
        assert!(all.holds("255.1.2.3".parse().unwrap()) && all.size() == 1 << 32);
        let six = block("fd00::5/64");
        assert_eq!(six.nth(0xa_0001).to_string(), "fd00::a:1");
        assert_eq!(six.mask().to_string(), "ffff:ffff:ffff:ffff::");
        assert!(block("::/0").holds("fe80::1".parse().unwrap()) && block("fd00::1").prefix == 128);
        for bad in ["", "10.0.0.1/33", "fd00::/129", "a/8", "10.0.0.1/", "10.0.0.1/-1"] {
            assert!(bad.parse::<Block>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_bandwidths_and_hardware_addresses() {
        let port: Published = "8080:80".parse().unwrap();
        assert_eq!((port.host, port.zone, port.protocol()), (8080, 80, "tcp"));
        assert_eq!("53:53/udp".parse::<Published>().unwrap().protocol(), "udp");
        for bad in ["80", "0:80", "8080:80/sctp", ":80", "1:2:3", "70000:1", "8080:80/tcp/tcp"] {
            assert!(bad.parse::<Published>().is_err(), "{bad}");
        }
        assert_eq!(bandwidth("100mbit"), Ok(12_500_000));
        for bad in ["100", "mbit", "-1mbit", "1kbit", "99999999999999999999gbit", "1.5gbit"] {
            assert!(bandwidth(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_mac("02:00:0a:ff:00:01"), Ok([2, 0, 10, 255, 0, 1]));
        for bad in ["", "02:00:0a:ff:00", "02:00:0a:ff:00:01:02", "2:0:a:f:0:1", "03:00:0a:ff:00:01"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_does_not_go_together() {
        let net = |text: &str| toml::from_str::<Net>(text).unwrap().agrees();
        assert_eq!(net("physical = \"zones0\"\naddress = \"10.88.0.9/16\"\npublish = [\"1:2\"]"), Ok(()));
        for (bad, key) in [
            ("physical = \"zones0\"\nmode = \"macvlan\"", "net.mode"),
            ("physical = \"br0\"\npublish = [\"1:2\"]", "net.publish"),
            ("physical = \"e\"\nmode = \"move\"\nmac-addr = \"02:00:00:00:00:01\"", "net.mac-addr"),
            ("physical = \"e\"\nmode = \"macvlan\"\nbandwidth = \"1mbit\"", "net.bandwidth"),
            ("physical = \"e\"\naddress = \"fd00::1/64\"\naddress6 = \"fd00::2/64\"", "net.address6"),
        ] {
            assert_eq!(net(bad).unwrap_err().0, key, "{bad}");
        }
    }
}
