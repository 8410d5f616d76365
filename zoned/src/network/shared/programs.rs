//! What is asked at the calls and packets of a shared zone's sockets: a program for each place where the kernel asks.
//!
//! The programs at calls give a zone's programs the errors and addresses that they expect. Those at packets hold whatever
//! way a socket took.

use std::net::Ipv6Addr;

use super::asm::{R0, R1, R2, R3, R4, R6, R7, R8, R9, Size};
use super::packet::{self, Way};
use super::writer::{
    Abilities, Call, FAMILY, FIRST, FIRST_THREE, IP4, IP6, Identity, LOOPBACK, MAPPED, SK_STORAGE_GET,
    SOURCE4, Writer,
};
use crate::sys::bpf::Kind;

/// BPF_PROG_TYPE_CGROUP_SKB, _SOCK, _SOCK_ADDR and _SOCKOPT.
const PACKET: u32 = 8;
const MAKE: u32 = 9;
const ADDRESS: u32 = 18;
const OPTION: u32 = 25;

/// Values of the map of sockets: IPV6_V6ONLY was set, or unset.
pub(super) const ONLY6: u32 = 1;
pub(super) const BOTH: u32 = 2;

/// A program: its name, what it is for, its instructions.
pub(super) type Program = (&'static str, Kind, Vec<u64>);

type Write = fn(&mut Writer<'_>);

/// Every program of a zone; `None` where it has too many addresses for one.
pub(super) fn all(who: &Identity, can: Abilities) -> Option<Vec<Program>> {
    let places: [(&str, u32, u32, Write); 15] = [
        ("zone_in", PACKET, 0, |w| packet::write(w, Way::In)),
        ("zone_out", PACKET, 1, |w| packet::write(w, Way::Out)),
        ("zone_socket", MAKE, 2, socket),
        ("zone_bind4", ADDRESS, 8, bind4),
        ("zone_bind6", ADDRESS, 9, |w| w.bind6()),
        ("zone_connect4", ADDRESS, 10, connect4),
        ("zone_connect6", ADDRESS, 11, connect6),
        ("zone_send4", ADDRESS, 14, send4),
        ("zone_send6", ADDRESS, 15, send6),
        ("zone_receive4", ADDRESS, 19, show4),
        ("zone_receive6", ADDRESS, 20, show6),
        ("zone_peer4", ADDRESS, 29, show4),
        ("zone_peer6", ADDRESS, 30, show6),
        ("zone_name4", ADDRESS, 31, show4),
        ("zone_name6", ADDRESS, 32, show6),
    ];
    let option: (&str, u32, u32, Write) = ("zone_option", OPTION, 22, option);
    let places = places.into_iter().chain(can.only6.map(|_| option));
    places
        .map(|(name, program, attach, write)| {
            let mut writer = Writer::new(who, can);
            write(&mut writer);
            Some((name, Kind { program, attach }, writer.asm.finish()?))
        })
        .collect()
}

/// TCP, UDP and ping, which the kernel asks about at bind and connect; not SCTP or MPTCP, about which it does not.
fn socket(w: &mut Writer<'_>) {
    // struct bpf_sock.
    const TYPE: i16 = 8;
    const PROTOCOL: i16 = 12;
    let (stream, datagram, ok, other) = (w.asm.label(), w.asm.label(), w.asm.label(), w.asm.label());
    w.asm.load(Size::Word, R7, R6, TYPE);
    w.asm.load(Size::Word, R8, R6, PROTOCOL);
    w.asm.jump_if(R7, libc::SOCK_STREAM as u32, stream);
    w.asm.jump_if(R7, libc::SOCK_DGRAM as u32, datagram);
    w.asm.jump(other);
    w.asm.place(stream);
    w.asm.jump_if(R8, libc::IPPROTO_TCP as u32, ok);
    w.asm.jump(other);
    w.asm.place(datagram);
    for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6] {
        w.asm.jump_if(R8, protocol as u32, ok);
    }
    w.asm.place(other);
    w.refuse(libc::EPROTONOSUPPORT);
    w.asm.place(ok);
    w.allow();
}

fn bind4(w: &mut Writer<'_>) {
    w.asm.load(Size::Word, R7, R6, IP4);
    w.bind4(IP4);
}

fn connect4(w: &mut Writer<'_>) {
    w.asm.load(Size::Word, R7, R6, IP4);
    w.lead4(Call::Connect, IP4);
    w.from4();
    w.allow();
}

fn connect6(w: &mut Writer<'_>) {
    let ways = w.sort6();
    w.asm.place(ways.mapped);
    w.lead4(Call::Connect, MAPPED);
    w.bind_mapped();
    w.allow();
    w.lead6(Call::Connect, &ways);
}

/// A message of a socket that is not connected, or that states its source (IP_PKTINFO of ip(7)).
fn send4(w: &mut Writer<'_>) {
    let (leads, given, ok, loopback, to_connected) =
        (w.asm.label(), w.asm.label(), w.asm.label(), w.asm.label(), w.asm.label());
    let (network, _) = w.who.loopback();
    w.asm.load(Size::Word, R7, R6, IP4);
    w.asm.load(Size::Word, R1, R6, FAMILY);
    // It goes where the socket is connected to, and that was looked at.
    w.asm.jump_if(R1, 0, to_connected);
    w.lead4(Call::Send, IP4);
    w.asm.jump(leads);
    w.asm.place(to_connected);
    w.asm.set(R9, 0);
    w.asm.place(leads);
    w.asm.load(Size::Word, R8, R6, SOURCE4);
    w.asm.jump_unless(R8, 0, given);
    w.asm.store(Size::Word, R6, SOURCE4, R9);
    w.asm.place(ok);
    w.allow();
    w.asm.place(given);
    w.jump_if_own4(R8, ok);
    w.jump_if_within(R8, R9, (FIRST, LOOPBACK), loopback);
    w.refuse(libc::EADDRNOTAVAIL);
    w.asm.place(loopback);
    w.put_within(R8, network);
    w.asm.store(Size::Word, R6, SOURCE4, R8);
    w.asm.jump(ok);
}

fn send6(w: &mut Writer<'_>) {
    let some = w.asm.label();
    w.check_source6();
    w.asm.load(Size::Word, R1, R6, FAMILY);
    w.asm.jump_unless(R1, 0, some);
    w.allow();
    w.asm.place(some);
    let ways = w.sort6();
    // The kernel asks about those as IPv4.
    w.asm.place(ways.mapped);
    w.allow();
    w.lead6(Call::Send, &ways);
}

/// An address that a program is told: its zone's loopback is 127.0.0.0/24.
fn show4(w: &mut Writer<'_>) {
    w.asm.load(Size::Word, R7, R6, IP4);
    show4_at(w, IP4);
}

fn show4_at(w: &mut Writer<'_>, at: i16) {
    let (own, done) = (w.asm.label(), w.asm.label());
    let (network, _) = w.who.loopback();
    w.jump_if_within(R7, R8, (FIRST_THREE, network), own);
    w.asm.jump(done);
    w.asm.place(own);
    w.put_within(R7, LOOPBACK);
    w.asm.store(Size::Word, R6, at, R7);
    w.asm.place(done);
    w.allow();
}

fn show6(w: &mut Writer<'_>) {
    let ways = w.sort6();
    w.asm.place(ways.mapped);
    show4_at(w, MAPPED);
    w.asm.place(ways.other);
    if let Some(own) = w.who.loop6 {
        let is_own = w.asm.label();
        w.jump_if6(R6, IP6, own, is_own);
        w.asm.place(ways.any);
        w.asm.place(ways.loopback);
        w.allow();
        w.asm.place(is_own);
        w.put6(IP6, Ipv6Addr::LOCALHOST);
    } else {
        w.asm.place(ways.any);
        w.asm.place(ways.loopback);
    }
    w.allow();
}

/// Keeps in mind whether a socket is one of IPv6 alone, which no program at bind can ask.
fn option(w: &mut Writer<'_>) {
    // struct bpf_sockopt.
    const SOCKET: i16 = 0;
    const VALUE: i16 = 8;
    const END: i16 = 16;
    const LEVEL: i16 = 24;
    const NAME: i16 = 28;
    const LENGTH: i16 = 32;
    /// Make what is not there.
    const CREATE: i32 = 1;
    let Some(map) = w.can.only6 else { return w.allow() };
    let (out, unset, keep) = (w.asm.label(), w.asm.label(), w.asm.label());
    for (at, wanted) in [(LEVEL, libc::IPPROTO_IPV6), (NAME, libc::IPV6_V6ONLY)] {
        w.asm.load(Size::Word, R1, R6, at);
        w.asm.jump_unless(R1, wanted as u32, out);
    }
    w.asm.load(Size::Double, R7, R6, VALUE);
    w.asm.load(Size::Double, R8, R6, END);
    w.asm.copy(R1, R7);
    w.asm.add(R1, 4);
    w.asm.jump_if_above(R1, R8, out);
    w.asm.load(Size::Word, R9, R7, 0);
    w.asm.map(R1, map);
    w.asm.load(Size::Double, R2, R6, SOCKET);
    w.asm.set(R3, 0);
    w.asm.set(R4, CREATE);
    w.asm.call(SK_STORAGE_GET);
    w.asm.jump_if_null(R0, out);
    w.asm.set32(R1, ONLY6);
    w.asm.jump_if(R9, 0, unset);
    w.asm.jump(keep);
    w.asm.place(unset);
    w.asm.set32(R1, BOTH);
    w.asm.place(keep);
    w.asm.store(Size::Word, R0, 0, R1);
    w.asm.place(out);
    // The value is taken as the caller gave it; of one longer than a page there is but the first page here.
    w.asm.set(R1, 0);
    w.asm.store(Size::Word, R6, LENGTH, R1);
    w.allow();
}
