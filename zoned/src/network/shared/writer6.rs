//! The pieces of [`super::writer`] that are of IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::asm::{Label, R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK, Size};
use super::writer::{
    Call, IP6, MAPPED, MARK, NOWHERE6, ONE, PORT, SK_RELEASE, SK_STORAGE_GET, SOCKET, SOURCE6, Writer, words,
};

/// A sockaddr_in6 on the stack.
const SOCKADDR6: i16 = -32;

/// Where an address of IPv6 may lead.
pub(super) struct Ways {
    pub(super) mapped: Label,
    pub(super) any: Label,
    pub(super) loopback: Label,
    pub(super) other: Label,
}

/// The network's bits of a prefix, word by word.
fn mask(prefix: u8) -> [u32; 4] {
    let bits = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    words(Ipv6Addr::from_bits(bits))
}

impl Writer<'_> {
    /// What the address at `IP6` is; its last word is in register 7 then.
    pub(super) fn sort6(&mut self) -> Ways {
        let asm = &mut self.asm;
        let ways = Ways { mapped: asm.label(), any: asm.label(), loopback: asm.label(), other: asm.label() };
        asm.load(Size::Word, R7, R6, MAPPED);
        for at in [IP6, IP6 + 4] {
            asm.load(Size::Word, R1, R6, at);
            asm.jump_unless(R1, 0, ways.other);
        }
        asm.load(Size::Word, R1, R6, IP6 + 8);
        asm.jump_if(R1, MARK, ways.mapped);
        asm.jump_unless(R1, 0, ways.other);
        asm.jump_if(R7, 0, ways.any);
        asm.jump_if(R7, ONE, ways.loopback);
        asm.jump(ways.other);
        ways
    }

    /// The same of IPv6.
    pub(super) fn bind6(&mut self) {
        let bound = self.asm.label();
        let ways = self.sort6();
        self.asm.place(ways.other);
        let own: Vec<Ipv6Addr> = self.who.all6().collect();
        own.into_iter().for_each(|address| self.jump_if6(R6, IP6, address, bound));
        self.put6(IP6, NOWHERE6);
        self.asm.jump(bound);
        self.asm.place(ways.mapped);
        self.bind4(MAPPED);
        self.asm.place(ways.loopback);
        self.put6(IP6, self.who.loop6.unwrap_or(NOWHERE6));
        self.asm.jump(bound);
        self.asm.place(ways.any);
        self.bind_to_any6(bound);
        self.asm.place(bound);
        self.allow_bind();
    }

    /// `::` is one of the zone's addresses: of IPv6 for a socket of IPv6 alone; for one of both families of IPv4, which
    /// everybody can reach.
    fn bind_to_any6(&mut self, bound: Label) {
        let first6 = self.who.v6.first().map(|(address, _)| *address);
        let mapped = |address: &(Ipv4Addr, u8)| address.0.to_ipv6_mapped();
        let [a, b, c] = self.who.loop4;
        let only = first6.or(self.who.loop6).unwrap_or(NOWHERE6);
        let both = self.who.v4.first().map(mapped).or(first6);
        let both = both.unwrap_or(Ipv4Addr::new(a, b, c, 1).to_ipv6_mapped());
        if let Some(map) = self.can.only6 {
            let (by_default, is_only, is_both) = (self.asm.label(), self.asm.label(), self.asm.label());
            self.asm.map(R1, map);
            self.asm.load(Size::Double, R2, R6, SOCKET);
            self.asm.set(R3, 0);
            self.asm.set(R4, 0);
            self.asm.call(SK_STORAGE_GET);
            self.asm.jump_if_null(R0, by_default);
            self.asm.load(Size::Word, R7, R0, 0);
            self.asm.jump_if(R7, super::programs::ONLY6, is_only);
            self.asm.jump_if(R7, super::programs::BOTH, is_both);
            self.asm.place(by_default);
            self.asm.jump(if self.can.only6_by_default { is_only } else { is_both });
            self.asm.place(is_only);
            self.put6(IP6, only);
            self.asm.jump(bound);
            self.asm.place(is_both);
            self.put6(IP6, both);
        } else {
            self.put6(IP6, if self.can.only6_by_default { only } else { both });
        }
    }

    /// Jumps where a socket of the zone would be asked at that address.
    fn jump_if_listener6(&mut self, address: Ipv6Addr, label: Label) {
        const TUPLE: i16 = -72;
        let (none, release) = (self.asm.label(), self.asm.label());
        let words = words(address);
        let [a, b, c, d] = words;
        for (at, word) in (TUPLE..).step_by(4).zip([0, 0, 0, 0, a, b, c, d]) {
            self.asm.set32(R1, word);
            self.asm.store(Size::Word, STACK, at, R1);
        }
        self.asm.set(R1, 0);
        self.asm.store(Size::Half, STACK, TUPLE + 32, R1);
        self.asm.load(Size::Word, R1, R6, PORT);
        self.asm.store(Size::Half, STACK, TUPLE + 34, R1);
        self.asm.set(R8, 0);
        self.look_up(TUPLE, 36);
        self.asm.jump_if_null(R0, none);
        for (at, word) in (28..).step_by(4).zip(words) {
            // src_ip6 of struct bpf_sock.
            self.asm.load(Size::Word, R1, R0, at);
            self.asm.jump_unless(R1, word, release);
        }
        self.asm.set(R8, 1);
        self.asm.place(release);
        self.asm.copy(R1, R0);
        self.asm.call(SK_RELEASE);
        self.asm.place(none);
        self.asm.jump_if(R8, 1, label);
    }

    /// The same of a socket of IPv6 that talks IPv4.
    pub(super) fn bind_mapped(&mut self) {
        self.put_sockaddr6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
        self.asm.store(Size::Word, STACK, SOCKADDR6 + 20, R9);
        self.call_bind(SOCKADDR6, 28);
    }

    fn from6(&mut self, address: Ipv6Addr) {
        self.put_sockaddr6(address);
        self.call_bind(SOCKADDR6, 28);
    }

    fn put_sockaddr6(&mut self, address: Ipv6Addr) {
        self.asm.set(R1, libc::AF_INET6);
        self.asm.store(Size::Half, STACK, SOCKADDR6, R1);
        self.asm.set(R1, 0);
        self.asm.store(Size::Half, STACK, SOCKADDR6 + 2, R1);
        // Flow, address, scope.
        self.asm.store(Size::Word, STACK, SOCKADDR6 + 4, R1);
        self.asm.store(Size::Word, STACK, SOCKADDR6 + 24, R1);
        for (at, word) in (SOCKADDR6 + 8..).step_by(4).zip(words(address)) {
            self.asm.set32(R1, word);
            self.asm.store(Size::Word, STACK, at, R1);
        }
    }

    /// Where an IPv6 address that is not mapped leads, and what it is asked from, with which the program ends. For `::` and
    /// `::1` these come after one another: the zone's ::1, its first address and, at connect, that of IPv4.
    pub(super) fn lead6(&mut self, call: Call, ways: &Ways) {
        self.asm.place(ways.other);
        let all = self.who.v6.clone();
        for (address, prefix) in &all {
            let next = self.asm.label();
            for ((at, word), mask) in (IP6..).step_by(4).zip(words(*address)).zip(mask(*prefix)) {
                if mask != 0 {
                    self.asm.load(Size::Word, R1, R6, at);
                    self.asm.and32(R1, mask);
                    self.asm.jump_unless(R1, word & mask, next);
                }
            }
            self.end6(call, *address);
            self.asm.place(next);
        }
        match all.first() {
            Some((first, _)) => self.end6(call, *first),
            None => self.refuse(libc::ENETUNREACH),
        }
        self.asm.place(ways.any);
        self.asm.place(ways.loopback);
        let Some(own) = self.who.loop6 else { return self.refuse(libc::ENETUNREACH) };
        let places: Vec<Ipv6Addr> = [own].into_iter().chain(all.first().map(|(first, _)| *first)).collect();
        let found: Vec<Label> = places.iter().map(|_| self.asm.label()).collect();
        for (place, found) in places.iter().zip(&found) {
            self.jump_if_listener6(*place, *found);
        }
        if call == Call::Connect {
            let (none, mapped) = (self.asm.label(), self.asm.label());
            self.asm.set32(R9, self.who.first4().unwrap_or(self.who.loopback().1));
            self.listener4(R9);
            self.asm.jump_if_same(R8, R9, mapped);
            self.asm.jump(none);
            self.asm.place(mapped);
            self.put6(IP6, Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
            self.asm.store(Size::Word, R6, MAPPED, R9);
            self.bind_mapped();
            self.allow();
            self.asm.place(none);
        }
        self.nobody_listens(call, found[0]);
        for (place, found) in places.into_iter().zip(found) {
            self.asm.place(found);
            self.put6(IP6, place);
            self.end6(call, place);
        }
    }

    /// The end of [`Writer::lead6`]: a socket that connects is bound; a message gets its source, unless it has one (see
    /// [`Writer::check_source6`]).
    fn end6(&mut self, call: Call, address: Ipv6Addr) {
        match call {
            Call::Connect => self.from6(address),
            Call::Send => {
                let given = self.asm.label();
                self.asm.jump_unless(R9, 0, given);
                self.put6(SOURCE6, address);
                self.asm.place(given);
            }
        }
        self.allow();
    }

    /// A source that a message has must be the zone's. Register 9: whether it has one.
    pub(super) fn check_source6(&mut self) {
        let (given, done) = (self.asm.label(), self.asm.label());
        self.asm.set(R9, 0);
        for at in (SOURCE6..).step_by(4).take(4) {
            self.asm.load(Size::Word, R1, R6, at);
            self.asm.jump_unless(R1, 0, given);
        }
        self.asm.jump(done);
        self.asm.place(given);
        self.asm.set(R9, 1);
        let all: Vec<Ipv6Addr> = self.who.all6().collect();
        all.into_iter().for_each(|address| self.jump_if6(R6, SOURCE6, address, done));
        self.refuse(libc::EADDRNOTAVAIL);
        self.asm.place(done);
    }
}
