//! DHCP (RFC 2131) and BOOTP (RFC 951) for zones: it tells each the addresses that it has anyway, so a guest
//! whose scripts ask for them is content. Nothing is given out here, and nothing that a guest says is kept.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use tokio::net::UdpSocket;

use super::socket;
use crate::config::network::Block;
use crate::network::Place;
use crate::network::names::{Names, Neighbour};

/// Seconds that an address is promised for; it is the zone's until the zone is deleted.
const LEASE: u32 = 24 * 60 * 60;
/// Ports of server and client.
const SERVER: u16 = 67;
const CLIENT: u16 = 68;
/// BOOTP's clients expect as much (RFC 1542, 2.1).
const SHORTEST: usize = 300;

/// Answers on a bridge, until it cannot any more.
pub(super) async fn serve(mut names: Names) -> io::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER));
    let socket = UdpSocket::from_std(socket::udp(any, Some(&names.place().bridge))?)?;
    let mut buffer = [0; 1500];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        names.refresh();
        let Some((reply, to)) = answer(&buffer[..length], &names) else { continue };
        if let Err(error) = socket.send_to(&reply, to).await {
            tracing::debug!(%error, %to, "an answer of DHCP was not sent");
        }
    }
}

/// The answer to a request, and where it goes.
pub(super) fn answer(request: &[u8], names: &Names) -> Option<(Vec<u8>, SocketAddr)> {
    let request = Message::decode(&mut Decoder::new(&plain(request)?)).ok()?;
    // A relay's clients are not on this bridge.
    if request.opcode() != Opcode::BootRequest || request.hlen() != 6 || !request.giaddr().is_unspecified() {
        return None;
    }
    let zone = names.by_mac(request.chaddr())?;
    let reply = reply(&request, &zone, names.place())?;
    let mut bytes = Vec::with_capacity(SHORTEST);
    reply.encode(&mut Encoder::new(&mut bytes)).ok()?;
    bytes.resize(bytes.len().max(SHORTEST), 0);
    // Whoever has no address yet answers no ARP, so all hear it (RFC 2131, 4.1).
    let refused = reply.opts().has_msg_type(MessageType::Nak);
    let to = match request.ciaddr() {
        address if address.is_unspecified() || refused => Ipv4Addr::BROADCAST,
        address => address,
    };
    Some((bytes, SocketAddrV4::new(to, CLIENT).into()))
}

/// A request without the options that are not read here, or are not as long as they are to be: the decoder knows a
/// hundred kinds, and takes it for granted that each has its length.
fn plain(request: &[u8]) -> Option<Vec<u8>> {
    /// Bytes before the options (RFC 2131, 2), and their magic number.
    const HEAD: usize = 240;
    const PAD: u8 = 0;
    const END: u8 = 255;
    let mut read = vec![
        (u8::from(OptionCode::MessageType), 1),
        (OptionCode::RequestedIpAddress.into(), 4),
        (OptionCode::ServerIdentifier.into(), 4),
    ];
    let (head, mut rest) = request.split_at_checked(HEAD)?;
    let mut plain = head.to_vec();
    while let [code, after @ ..] = rest {
        match (*code, after) {
            (END, _) | (1.., []) => break,
            (PAD, _) => rest = after,
            (code, [length, after @ ..]) => {
                let Some((value, after)) = after.split_at_checked((*length).into()) else { break };
                // Of several of a kind the first counts: the decoder would make one long one of them (RFC 3396).
                if let Some(at) = read.iter().position(|wanted| *wanted == (code, value.len())) {
                    read.swap_remove(at);
                    plain.extend([code, *length]);
                    plain.extend(value);
                }
                rest = after;
            }
        }
    }
    plain.push(END);
    Some(plain)
}

fn reply(request: &Message, zone: &Neighbour, place: &Place) -> Option<Message> {
    let (Some(Block { address: IpAddr::V4(own), prefix }), IpAddr::V4(server)) =
        (zone.interface.ipv4, place.subnet.nth(1))
    else {
        return None;
    };
    let asks = request.opts();
    let for_us = match asks.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(other)) => *other == server,
        _ => true,
    };
    let wants = match asks.get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(wanted)) => *wanted,
        _ => request.ciaddr(),
    };
    let kind = match asks.msg_type() {
        None => None,
        Some(MessageType::Discover) => Some(MessageType::Offer),
        Some(MessageType::Request) if !for_us => return None,
        Some(MessageType::Request) if wants == own => Some(MessageType::Ack),
        Some(MessageType::Request) => Some(MessageType::Nak),
        Some(MessageType::Inform) => Some(MessageType::Ack),
        Some(_) => return None,
    };

    let mut reply = Message::default();
    let broadcast = Flags::default().set_broadcast();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid())
        .set_chaddr(request.chaddr())
        .set_flags(if kind == Some(MessageType::Nak) { broadcast } else { request.flags() });
    let mut options: Vec<DhcpOption> = kind.map(DhcpOption::MessageType).into_iter().collect();
    if kind.is_some() {
        options.push(DhcpOption::ServerIdentifier(server));
    }
    if kind != Some(MessageType::Nak) {
        let informs = asks.has_msg_type(MessageType::Inform);
        reply.set_ciaddr(request.ciaddr());
        if !informs {
            reply.set_yiaddr(own).set_siaddr(server);
        }
        if kind.is_some() && !informs {
            options.extend([
                DhcpOption::AddressLeaseTime(LEASE),
                DhcpOption::Renewal(LEASE / 2),
                DhcpOption::Rebinding(LEASE / 8 * 7),
            ]);
        }
        let block = Block { address: own.into(), prefix };
        let ends = (block.mask(), block.nth(block.size() - 1));
        if let (IpAddr::V4(mask), IpAddr::V4(last)) = ends {
            options.extend([DhcpOption::SubnetMask(mask), DhcpOption::BroadcastAddr(last)]);
        }
        let routers: Vec<Ipv4Addr> = zone.interface.routers.iter().filter_map(v4).collect();
        if !routers.is_empty() {
            options.push(DhcpOption::Router(routers));
        }
        options.push(DhcpOption::Hostname(zone.hostname.clone()));
        if place.dns {
            options.push(DhcpOption::DomainNameServer(vec![server]));
            options.push(DhcpOption::DomainName(place.domain.clone()));
        }
    }
    for option in options {
        reply.opts_mut().insert(option);
    }
    Some(reply)
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::network::record::{self, Record};
    use crate::network::{Hold, Interface, names};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn names_at(run: &Path) -> Names {
        let place = Place::of_test(run);
        let zone = run.join("web");
        std::fs::create_dir_all(&zone).unwrap();
        let interface = Interface {
            name: "eth0".into(),
            hold: Hold::Own,
            mac: MAC,
            ipv4: Some("10.88.1.1/16".parse().unwrap()),
            ipv6: None,
            routers: vec!["10.88.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            allowed: vec![],
            published: vec![],
            bandwidth: None,
        };
        let ports = vec![("p".into(), interface)];
        let addresses = vec!["10.88.1.1/16".into()];
        Record { ports, addresses, hostname: "www".into(), ..Record::default() }.write(&zone).unwrap();
        names::write(&place, &record::all(run)).unwrap();
        Names::new(place)
    }

    fn ask(names: &Names, mac: [u8; 6], options: &[DhcpOption]) -> Option<(Message, SocketAddr)> {
        let mut request = Message::default();
        request.set_opcode(Opcode::BootRequest).set_chaddr(&mac).set_xid(7);
        for option in options {
            request.opts_mut().insert(option.clone());
        }
        let bytes = request.to_vec().unwrap();
        let (reply, to) = answer(&bytes, names)?;
        assert!(reply.len() >= SHORTEST);
        Some((Message::decode(&mut Decoder::new(&reply)).unwrap(), to))
    }

    #[test]
    fn a_zone_is_told_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let names = names_at(dir.path());
        let kind = |kind| DhcpOption::MessageType(kind);
        let (offer, to) = ask(&names, MAC, &[kind(MessageType::Discover)]).unwrap();
        assert_eq!(to.to_string(), "255.255.255.255:68");
        assert_eq!((offer.yiaddr(), offer.xid()), (Ipv4Addr::new(10, 88, 1, 1), 7));
        let options = offer.opts();
        assert!(options.has_msg_type(MessageType::Offer));
        for (code, is) in [
            (OptionCode::SubnetMask, DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 0, 0))),
            (OptionCode::Router, DhcpOption::Router(vec![Ipv4Addr::new(10, 88, 0, 1)])),
            (OptionCode::DomainNameServer, DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 88, 0, 1)])),
            (OptionCode::Hostname, DhcpOption::Hostname("www".into())),
        ] {
            assert_eq!(options.get(code), Some(&is));
        }
        let wants = |last| DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 88, 1, last));
        let (ack, _) = ask(&names, MAC, &[kind(MessageType::Request), wants(1)]).unwrap();
        assert!(ack.opts().has_msg_type(MessageType::Ack));
        let (nak, _) = ask(&names, MAC, &[kind(MessageType::Request), wants(9)]).unwrap();
        assert!(nak.opts().has_msg_type(MessageType::Nak) && nak.yiaddr().is_unspecified());
        // BOOTP has no kinds.
        let (bootp, _) = ask(&names, MAC, &[]).unwrap();
        assert!(bootp.opts().msg_type().is_none() && bootp.yiaddr() == offer.yiaddr());
    }

    #[test]
    fn strangers_and_nonsense_get_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let names = names_at(dir.path());
        let discover = DhcpOption::MessageType(MessageType::Discover);
        assert!(ask(&names, [2, 0, 0, 0, 0, 2], std::slice::from_ref(&discover)).is_none());
        let of_another = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 9));
        let request = DhcpOption::MessageType(MessageType::Request);
        assert!(ask(&names, MAC, &[request, of_another]).is_none());
        assert!(ask(&names, MAC, &[DhcpOption::MessageType(MessageType::Release)]).is_none());
        let mut bytes = Message::default().set_opcode(Opcode::BootReply).to_vec().unwrap();
        assert!(answer(&bytes, &names).is_none());
        for length in 0..bytes.len() {
            assert!(answer(&bytes[..length], &names).is_none());
        }
        // Options that are shorter or longer than theirs, of kinds that nobody reads here and of one that is read.
        let discover = [53, 1, 1];
        for option in [
            &[1, 3, 255, 255, 0][..],
            &[51, 0],
            &[116, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[53, 2, 1, 1],
            &[50, 1, 7],
        ] {
            let mut bytes =
                Message::default().set_opcode(Opcode::BootRequest).set_chaddr(&MAC).to_vec().unwrap();
            bytes.truncate(236);
            bytes.extend([99, 130, 83, 99]);
            bytes.extend([option, option, &discover, &discover, &[255]].concat());
            let (reply, _) = answer(&bytes, &names).unwrap();
            let reply = Message::decode(&mut Decoder::new(&reply)).unwrap();
            assert!(reply.opts().has_msg_type(MessageType::Offer), "{option:?}");
        }
        // hlen beyond what there is room for.
        bytes[0] = 1;
        bytes[2] = 255;
        assert!(answer(&bytes, &names).is_none());
    }
}
