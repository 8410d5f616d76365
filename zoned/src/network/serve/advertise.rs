//! Router advertisements (RFC 4861) on the bridge: the prefix, the router, the name server. What a guest makes of
//! them is the address that it has.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::socket;
use crate::network::Place;
use crate::network::link::{Link, Net};
use crate::network::uplink;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Types of ICMPv6.
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Seconds for which we are the router, and for which the rest of an advertisement holds.
const ROUTER_LIFETIME: u16 = 1800;
const LIFETIME: u32 = 24 * 60 * 60;
/// Between advertisements that nobody asked for (RFC 4861, 6.2.1).
const INTERVAL: Duration = Duration::from_secs(300);
/// Between those to all that somebody asked for.
const PAUSE: Duration = Duration::from_secs(1);

/// Advertises on a bridge, until it cannot any more.
pub(super) async fn serve(place: Place) -> io::Result<()> {
    let link = Net::here()?.find(&place.bridge)?;
    let Some(Link { index, mac, .. }) = link else { return Err(io::ErrorKind::NotFound.into()) };
    let socket = socket::icmpv6(&place.bridge)?;
    // Whoever hears an advertisement that came through a router drops it (RFC 4861, 6.1.2).
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    // Its name notwithstanding, it receives and sends on any socket.
    let socket = UdpSocket::from_std(socket.into())?;
    let mut timer = tokio::time::interval(INTERVAL);
    let mut last = None::<Instant>;
    let mut buffer = [0; 128];
    loop {
        let target = tokio::select! {
            _ = timer.tick() => ALL_NODES,
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = received?;
                match asker(&buffer[..length], from) {
                    None => continue,
                    Some(asker) if !asker.is_unspecified() => asker,
                    Some(_) if last.is_some_and(|last| last.elapsed() < PAUSE) => continue,
                    Some(_) => ALL_NODES,
                }
            },
        };
        if target == ALL_NODES {
            last = Some(Instant::now());
        }
        let bytes = advertisement(&place, &mac, uplink::forwards6());
        let to = SocketAddrV6::new(target, 0, 0, index);
        if let Err(error) = socket.send_to(&bytes, SocketAddr::V6(to)).await {
            // As before the first zone is up: the bridge's link-local address is tentative.
            tracing::debug!(%error, bridge = place.bridge, "a router advertisement was not sent");
        }
    }
}

/// Who solicits; a guest that has no address yet is `::`.
pub(super) fn asker(message: &[u8], from: SocketAddr) -> Option<Ipv6Addr> {
    let SocketAddr::V6(from) = from else { return None };
    let address = *from.ip();
    let is_near = address.is_unspecified() || address.is_unicast_link_local();
    (message.first() == Some(&SOLICITATION) && is_near).then_some(address)
}

/// The message, but for its checksum, which the kernel makes.
fn advertisement(place: &Place, mac: &[u8], is_router: bool) -> Vec<u8> {
    let (IpAddr::V6(prefix), IpAddr::V6(router)) = (place.subnet6.nth(0), place.subnet6.nth(1)) else {
        return Vec::new();
    };
    let lifetime = if is_router { ROUTER_LIFETIME } else { 0 };
    // Hops of its packets: 64; neither addresses nor anything else by DHCPv6.
    let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, 64, 0];
    bytes.extend(lifetime.to_be_bytes());
    // How long a neighbour is reachable, and when to ask again: as the guest likes.
    bytes.extend([0; 8]);
    // Each option has its kind, and its length in units of 8 bytes. The hardware address:
    bytes.extend([1, 1]);
    bytes.extend(mac);
    // The prefix: it is this link's, and addresses are made in it (RFC 4862, 5.5.3).
    bytes.extend([3, 4, place.subnet6.prefix, 0x80 | 0x40]);
    bytes.extend(LIFETIME.to_be_bytes());
    bytes.extend(LIFETIME.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(prefix.octets());
    if place.dns {
        // RFC 8106: the name server, and the domain to look in.
        bytes.extend([25, 3, 0, 0]);
        bytes.extend(LIFETIME.to_be_bytes());
        bytes.extend(router.octets());
        let mut domain: Vec<u8> = place
            .domain
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .chain([0])
            .collect();
        domain.resize(domain.len().next_multiple_of(8), 0);
        bytes.extend([31, 1 + (domain.len() / 8) as u8, 0, 0]);
        bytes.extend(LIFETIME.to_be_bytes());
        bytes.extend(domain);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_whole() {
        let place = Place::of_test(std::path::Path::new("/nonexistent"));
        let bytes = advertisement(&place, &[2, 0, 0, 0, 0, 9], true);
        assert_eq!(&bytes[..8], [134, 0, 0, 0, 64, 0, 0x07, 0x08]);
        // By their lengths the options end where the message does.
        let mut kinds = Vec::new();
        let mut rest = &bytes[16..];
        while let [kind, units, ..] = rest {
            kinds.push(*kind);
            rest = &rest[usize::from(*units) * 8..];
        }
        assert_eq!(kinds, [1, 3, 25, 31]);
        assert!(rest.is_empty());
        // A host that does not forward IPv6 is no router.
        assert_eq!(advertisement(&place, &[0; 6], false)[6..8], [0, 0]);
    }

    #[test]
    fn only_neighbours_are_answered() {
        let from = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        assert_eq!(asker(&[133, 0, 0, 0], from("fe80::1")), Some("fe80::1".parse().unwrap()));
        assert_eq!(asker(&[133], from("::")), Some(Ipv6Addr::UNSPECIFIED));
        assert_eq!(asker(&[133], from("2001:db8::1")), None);
        assert_eq!(asker(&[134], from("fe80::1")), None);
        assert_eq!(asker(&[], from("fe80::1")), None);
    }
}
