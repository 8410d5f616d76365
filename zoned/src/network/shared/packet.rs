//! What is asked at the packets of a shared zone's sockets: whatever way a socket took, the end of a packet that is the
//! zone's must be one of the zone's addresses. Those of its loopback are for itself.
//!
//! The context in register 6 is `struct __sk_buff` of linux/bpf.h; register 7 is the zone's end, 8 the other.

use std::net::Ipv6Addr;

use super::LO;
use super::asm::{Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, Reg, STACK, Size};
use super::writer::{FIRST_THREE, SK_LOOKUP_UDP, SK_RELEASE, Writer, words};

const PROTOCOL: i16 = 16;
const INTERFACE: i16 = 40;
/// skb_load_bytes of bpf-helpers(7).
const SKB_LOAD_BYTES: i32 = 26;

/// Which packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Those that a socket gets.
    In,
    /// Those that it sends.
    Out,
}

impl Way {
    /// Places of the zone's address and of the other.
    fn ends(self, source: i16, destination: i16) -> (i16, i16) {
        match self {
            Self::In => (destination, source),
            Self::Out => (source, destination),
        }
    }
}

pub(super) fn write(w: &mut Writer<'_>, way: Way) {
    let (is4, is6, ok, drop) = (w.asm.label(), w.asm.label(), w.asm.label(), w.asm.label());
    w.asm.load(Size::Word, R1, R6, PROTOCOL);
    w.asm.jump_if(R1, u32::from((libc::ETH_P_IP as u16).to_be()), is4);
    w.asm.jump_if(R1, u32::from((libc::ETH_P_IPV6 as u16).to_be()), is6);
    w.asm.place(drop);
    w.asm.set(R0, 0);
    w.asm.exit();
    w.asm.place(is4);
    ipv4(w, way, ok, drop);
    w.asm.place(is6);
    ipv6(w, way, ok, drop);
    w.asm.place(ok);
    w.allow();
}

/// What is loaded of struct iphdr, on the stack: its bytes 8 to 19.
const HEADER4: i16 = -16;
const PROTOCOL4: i16 = HEADER4 + 1;
const SOURCE4: i16 = HEADER4 + 4;
const DESTINATION4: i16 = HEADER4 + 8;

fn ipv4(w: &mut Writer<'_>, way: Way, ok: Label, drop: Label) {
    let (network, _) = w.who.loopback();
    load_bytes(w, Place::At(8), HEADER4, 12, drop);
    let (own, other) = way.ends(SOURCE4, DESTINATION4);
    w.asm.load(Size::Word, R7, STACK, own);
    w.asm.load(Size::Word, R8, STACK, other);
    w.jump_if_own4(R7, ok);
    w.asm.copy(R9, R7);
    w.asm.and32(R9, FIRST_THREE);
    w.asm.jump_unless(R9, network, drop);
    if way == Way::Out {
        let heard = w.asm.label();
        w.asm.load(Size::Byte, R1, STACK, PROTOCOL4);
        // Of TCP that was seen to at connect.
        w.asm.jump_unless(R1, libc::IPPROTO_UDP as u32, heard);
        drop_unless_heard4(w, drop);
        w.asm.place(heard);
    }
    w.jump_if_own4(R8, ok);
    w.jump_if_within(R8, R9, (FIRST_THREE, network), ok);
    w.asm.jump(drop);
}

/// Drops what a socket of the host's would hear that is on all addresses: to it the zone's loopback is part of the host's.
fn drop_unless_heard4(w: &mut Writer<'_>, drop: Label) {
    const TUPLE: i16 = -32;
    const LENGTH: i16 = -40;
    load_bytes(w, Place::At(0), LENGTH, 1, drop);
    w.asm.load(Size::Byte, R9, STACK, LENGTH);
    // Words of the header.
    w.asm.and32(R9, 15);
    w.asm.shift_left(R9, 2);
    load_bytes(w, Place::In(R9), TUPLE + 8, 4, drop);
    w.asm.load(Size::Word, R1, STACK, SOURCE4);
    w.asm.store(Size::Word, STACK, TUPLE, R1);
    w.asm.store(Size::Word, STACK, TUPLE + 4, R8);
    drop_unless_its_own(w, TUPLE, 12, drop);
    w.asm.load(Size::Word, R8, STACK, DESTINATION4);
}

/// The addresses of struct ipv6hdr, on the stack.
const SOURCE6: i16 = -32;
const DESTINATION6: i16 = -16;

fn ipv6(w: &mut Writer<'_>, way: Way, ok: Label, drop: Label) {
    load_bytes(w, Place::At(8), SOURCE6, 32, drop);
    let (own, other) = way.ends(SOURCE6, DESTINATION6);
    for (address, _) in w.who.v6.clone() {
        w.jump_if6(STACK, own, address, ok);
    }
    let Some(loop6) = w.who.loop6 else { return w.asm.jump(drop) };
    for (i, word) in (0..).zip(words(loop6)) {
        w.asm.load(Size::Word, R1, STACK, own + 4 * i);
        w.asm.jump_unless(R1, word, drop);
    }
    match way {
        Way::In => {
            // Nobody on a wire stands in for the zone.
            w.asm.load(Size::Word, R1, R6, INTERFACE);
            w.asm.jump_unless(R1, LO, drop);
        }
        Way::Out => {
            const NEXT: i16 = -40;
            let (udp, heard) = (w.asm.label(), w.asm.label());
            load_bytes(w, Place::At(6), NEXT, 1, drop);
            w.asm.load(Size::Byte, R1, STACK, NEXT);
            w.asm.jump_if(R1, libc::IPPROTO_UDP as u32, udp);
            w.asm.jump_if(R1, libc::IPPROTO_TCP as u32, heard);
            w.asm.jump_unless(R1, libc::IPPROTO_ICMPV6 as u32, drop);
            w.asm.jump(heard);
            w.asm.place(udp);
            drop_unless_heard6(w, drop);
            w.asm.place(heard);
        }
    }
    let all: Vec<Ipv6Addr> = w.who.all6().collect();
    all.into_iter().for_each(|address| w.jump_if6(STACK, other, address, ok));
    w.asm.jump(drop);
}

fn drop_unless_heard6(w: &mut Writer<'_>, drop: Label) {
    const TUPLE: i16 = -80;
    for i in [0, 8, 16, 24] {
        w.asm.load(Size::Double, R1, STACK, SOURCE6 + i);
        w.asm.store(Size::Double, STACK, TUPLE + i, R1);
    }
    load_bytes(w, Place::At(40), TUPLE + 32, 4, drop);
    drop_unless_its_own(w, TUPLE, 36, drop);
}

/// Drops what is heard by a socket of UDP that is not of the zone's group or one below: by a tuple on the stack.
fn drop_unless_its_own(w: &mut Writer<'_>, tuple: i16, length: i32, drop: Label) {
    /// sk_ancestor_cgroup_id of bpf-helpers(7).
    const ANCESTOR: i32 = 129;
    /// How deep the zone's group may be: two, unless zoned's root of groups is itself below others.
    const DEPTHS: std::ops::RangeInclusive<i32> = 1..=8;
    let (own, release, nobody) = (w.asm.label(), w.asm.label(), w.asm.label());
    w.asm.copy(R1, R6);
    w.name_tuple(tuple, length);
    w.asm.call(SK_LOOKUP_UDP);
    w.asm.jump_if_null(R0, nobody);
    w.asm.copy(R9, R0);
    w.asm.set64(R8, w.who.group);
    for depth in DEPTHS {
        w.asm.copy(R1, R9);
        w.asm.set(R2, depth);
        w.asm.call(ANCESTOR);
        w.asm.jump_if_same64(R0, R8, own);
    }
    w.asm.set(R7, 0);
    w.asm.jump(release);
    w.asm.place(own);
    w.asm.set(R7, 1);
    w.asm.place(release);
    w.asm.copy(R1, R9);
    w.asm.call(SK_RELEASE);
    w.asm.jump_unless(R7, 1, drop);
    w.asm.place(nobody);
}

/// Where bytes are in a packet, from its network header on.
#[derive(Debug, Clone, Copy)]
enum Place {
    At(i32),
    In(Reg),
}

/// Puts bytes of the packet on the stack.
fn load_bytes(w: &mut Writer<'_>, from: Place, to: i16, length: i32, none: Label) {
    w.asm.copy(R1, R6);
    match from {
        Place::At(offset) => w.asm.set(R2, offset),
        Place::In(reg) => w.asm.copy(R2, reg),
    }
    w.asm.copy(R3, STACK);
    w.asm.add(R3, to.into());
    w.asm.set(R4, length);
    w.asm.call(SKB_LOAD_BYTES);
    w.asm.jump_unless(R0, 0, none);
}
