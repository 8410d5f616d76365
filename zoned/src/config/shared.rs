//! `[[net]]` of a zone in the host's own network: an interface of the host and the addresses that the zone has there.

use std::net::{IpAddr, Ipv4Addr};

use super::network::{Block, Disagreement, Net};

/// The keys agree with `ip-type = "shared"`, and what they say with each other; the answer has the number of the entry.
pub(super) fn agree(nets: &[Net]) -> Result<(), (usize, Disagreement)> {
    let mut seen: Vec<IpAddr> = Vec::new();
    for (index, net) in nets.iter().enumerate() {
        let fail = |disagreement| (index, disagreement);
        keys(net).map_err(fail)?;
        let (ipv4, ipv6) = net.addresses();
        for (block, is_second) in [(ipv4, false), (ipv6, ipv4.is_some() || net.address.is_none())] {
            let Some(block) = block else { continue };
            let key = if is_second { "net.address6" } else { "net.address" };
            usable(block).map_err(|why| fail((key, why)))?;
            if seen.contains(&block.address) {
                return Err(fail((key, format!("{} is there twice", block.address))));
            }
            seen.push(block.address);
        }
    }
    Ok(())
}

fn keys(net: &Net) -> Result<(), Disagreement> {
    let exclusive = "it needs ip-type = \"exclusive\"; a shared zone's interfaces and routes are the host's";
    for (given, key) in [
        (net.name.is_some(), "net.name"),
        (net.mode.is_some(), "net.mode"),
        (net.defrouter.is_some(), "net.defrouter"),
        (net.mac_addr.is_some(), "net.mac-addr"),
        (!net.allowed_address.is_empty(), "net.allowed-address"),
        (!net.publish.is_empty(), "net.publish"),
        (net.bandwidth.is_some(), "net.bandwidth"),
    ] {
        if given {
            return Err((key, exclusive.into()));
        }
    }
    if net.address.is_none() && net.address6.is_none() {
        let why = "it is missing; a shared zone has the addresses that are stated, and no others";
        return Err(("net.address", why.into()));
    }
    Ok(())
}

/// Whether the address can be one host's on an interface.
fn usable(block: Block) -> Result<(), String> {
    let address = block.address;
    let is_odd = match address {
        IpAddr::V4(four) => four == Ipv4Addr::BROADCAST || four.octets()[0] == 0 || four.octets()[0] >= 240,
        IpAddr::V6(six) => six.to_ipv4_mapped().is_some() || six.is_unicast_link_local(),
    };
    if address.is_loopback() {
        return Err(format!("{address} is loopback, of which each shared zone has its own; leave it out"));
    }
    if is_odd || address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is no address that an interface can have to itself"));
    }
    if block.prefix == 0 {
        return Err(format!("{block} is all addresses; write the prefix of the interface's network"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> Vec<Net> {
        let table: toml::Table = toml::from_str(text).unwrap();
        table["net"].clone().try_into().unwrap()
    }

    #[test]
    fn what_a_shared_zone_can_have() {
        let good = "[[net]]\nphysical='e'\naddress='192.0.2.5/24'\naddress6='2001:db8::5/64'\n\
                    [[net]]\nphysical='e'\naddress='2001:db8::6/64'\n[[net]]\nphysical='f'\naddress6='fd00::1/128'";
        assert_eq!(agree(&nets(good)), Ok(()));
        for (bad, index, key) in [
            ("[[net]]\nphysical='e'", 0, "net.address"),
            ("[[net]]\nphysical='e'\naddress='192.0.2.5/24'\nmode='macvlan'", 0, "net.mode"),
            ("[[net]]\nphysical='e'\naddress='192.0.2.5/24'\ndefrouter='192.0.2.1'", 0, "net.defrouter"),
            ("[[net]]\nphysical='e'\naddress='127.0.0.5/8'", 0, "net.address"),
            ("[[net]]\nphysical='e'\naddress='192.0.2.5/24'\naddress6='::1/128'", 0, "net.address6"),
            ("[[net]]\nphysical='e'\naddress6='fe80::1/64'", 0, "net.address6"),
            ("[[net]]\nphysical='e'\naddress='::ffff:192.0.2.1/128'", 0, "net.address"),
            ("[[net]]\nphysical='e'\naddress='0.0.0.0/0'", 0, "net.address"),
            ("[[net]]\nphysical='e'\naddress='192.0.2.5/0'", 0, "net.address"),
            ("[[net]]\nphysical='e'\naddress='224.0.0.5/4'", 0, "net.address"),
            (
                "[[net]]\nphysical='e'\naddress='192.0.2.5/24'\n[[net]]\nphysical='f'\naddress='192.0.2.5/32'",
                1,
                "net.address",
            ),
        ] {
            let (at, (which, _)) = agree(&nets(bad)).unwrap_err();
            assert_eq!((at, which), (index, key), "{bad}");
        }
    }
}
