//! Addresses that follow from who a zone is.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::network::Block;

/// FNV-1a: the same in every release, which the standard library's hashes do not promise.
pub(super) fn fnv1a(parts: &[&[u8]]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    // A NUL between parts, so that "a", "bc" and "ab", "c" are two things.
    parts.iter().flat_map(|part| part.iter().chain(&[0])).fold(0xcbf2_9ce4_8422_2325, mix)
}

/// The hardware address of a zone's interface `n`: locally administered, and the zone's for its life.
pub(super) fn mac(uuid: &str, n: usize) -> [u8; 6] {
    let hash = fnv1a(&[uuid.as_bytes(), &n.to_le_bytes()]).to_le_bytes();
    [0x02, hash[0], hash[1], hash[2], hash[3], hash[4]]
}

pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The interface's half of an IPv6 address, as autoconfiguration makes it (RFC 4291, appendix A): so what a
/// router advertises leads a guest to the address that it has already.
fn eui64(mac: [u8; 6]) -> u64 {
    u64::from_be_bytes([mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]])
}

/// The address of that interface in a network of 64 bits.
pub(super) fn autoconfigured(subnet: Block, mac: [u8; 6]) -> Block {
    Block { address: subnet.nth(eui64(mac).into()), prefix: subnet.prefix }
}

/// Its link-local address.
pub(super) fn link_local(mac: [u8; 6]) -> IpAddr {
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(eui64(mac))).into()
}

/// A unique local network (RFC 4193) that belongs to the zoned of that folder on this machine.
pub(super) fn unique_local(machine: &str, folder: &[u8]) -> Block {
    let global = fnv1a(&[b"zoned", machine.trim().as_bytes(), folder]) & 0xff_ffff_ffff;
    let address = Ipv6Addr::from_bits(0xfd << 120 | u128::from(global) << 80).into();
    Block { address, prefix: 64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_the_zone() {
        let one = mac("5f0c", 0);
        assert_eq!(one, mac("5f0c", 0));
        assert_ne!(one, mac("5f0c", 1));
        assert_ne!(one, mac("5f0d", 0));
        // Unicast and locally administered.
        assert_eq!(one[0] & 3, 2);
        assert_eq!(mac_text([2, 0, 10, 255, 0, 1]), "02:00:0a:ff:00:01");
    }

    #[test]
    fn addresses_as_the_kernel_makes_them() {
        // The example of RFC 4291, appendix A, is 34-56-78-9A-BC-DE.
        let mac = [0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde];
        assert_eq!(link_local(mac).to_string(), "fe80::3656:78ff:fe9a:bcde");
        let subnet = "fd00:1:2:3::/64".parse().unwrap();
        assert_eq!(autoconfigured(subnet, mac).to_string(), "fd00:1:2:3:3656:78ff:fe9a:bcde/64");
    }

    #[test]
    fn networks_of_two_zoneds_differ() {
        let one = unique_local("4d6f\n", b"/var/lib/zoned");
        assert_eq!(one, unique_local("4d6f", b"/var/lib/zoned"));
        assert_ne!(one, unique_local("4d6f", b"/srv/zoned"));
        assert!(one.to_string().starts_with("fd") && one.to_string().ends_with("::/64"), "{one}");
    }
}
