//! The pieces that the programs of a shared zone are made of.
//!
//! In all of them register 6 is the context (`struct bpf_sock_addr` of linux/bpf.h, unless another is named), 7 an IPv4
//! address that is looked at and perhaps changed, 9 the one that the zone is to send from. Addresses are in network
//! order, as the kernel has them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;

use super::asm::{Assembler, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, STACK, Size};

/// What a zone has of the host's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its IPv4 addresses with their prefixes, in the order of the configuration.
    pub(super) v4: Vec<(Ipv4Addr, u8)>,
    /// Its IPv6 addresses.
    pub(super) v6: Vec<(Ipv6Addr, u8)>,
    /// What 127.0.0.0 to 127.0.0.255 are for it: a network of 24 bits within 127.0.0.0/8.
    pub(super) loop4: [u8; 3],
    /// What ::1 is for it, where the host has IPv6.
    pub(super) loop6: Option<Ipv6Addr>,
    /// Host user of its root.
    pub(super) root: u32,
    /// Number of its v2 group (bpf_get_current_cgroup_id of bpf-helpers(7)): its inode's.
    pub(super) group: u64,
}

/// What programs can do on this kernel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Abilities {
    /// Say which error a call ends with (bpf_set_retval, Linux 6.1); else it is EPERM.
    pub(super) errors: bool,
    /// Let a bind to a port below 1024 through (Linux 5.12).
    pub(super) low_ports: bool,
    /// The map of what sockets said of IPV6_V6ONLY.
    pub(super) only6: Option<RawFd>,
    /// What those have that said nothing (sysctl net.ipv6.bindv6only).
    pub(super) only6_by_default: bool,
}

/// Helpers (bpf-helpers(7)).
const GET_CURRENT_UID_GID: i32 = 15;
const BIND: i32 = 64;
const SK_LOOKUP_TCP: i32 = 84;
pub(super) const SK_LOOKUP_UDP: i32 = 85;
pub(super) const SK_RELEASE: i32 = 86;
const SK_STORAGE_GET: i32 = 107;
const SET_RETVAL: i32 = 187;

/// Places in `struct bpf_sock_addr`.
pub(super) const FAMILY: i16 = 0;
pub(super) const IP4: i16 = 4;
pub(super) const IP6: i16 = 8;
/// The IPv4 address in a mapped one.
pub(super) const MAPPED: i16 = IP6 + 12;
const PORT: i16 = 24;
const PROTOCOL: i16 = 36;
pub(super) const SOURCE4: i16 = 40;
pub(super) const SOURCE6: i16 = 44;
const SOCKET: i16 = 64;

/// An address that no host has (class E; the discard prefix of RFC 6666): to bind to it the kernel itself refuses, with
/// EADDRNOTAVAIL, which a program could not say before Linux 6.1.
const NOWHERE4: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);
const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

pub(super) const fn word(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

pub(super) const FIRST: u32 = word([255, 0, 0, 0]);
pub(super) const FIRST_THREE: u32 = word([255, 255, 255, 0]);
pub(super) const LAST: u32 = word([0, 0, 0, 255]);
pub(super) const LOOPBACK: u32 = word([127, 0, 0, 0]);
/// The third word of a mapped address.
const MARK: u32 = word([0, 0, 255, 255]);
const ONE: u32 = word([0, 0, 0, 1]);

pub(super) fn words(address: Ipv6Addr) -> [u32; 4] {
    let o = address.octets();
    [0, 4, 8, 12].map(|i| word([o[i], o[i + 1], o[i + 2], o[i + 3]]))
}

/// The network's bits of a prefix, word by word.
fn mask(prefix: u8) -> [u32; 4] {
    let bits = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    words(Ipv6Addr::from_bits(bits))
}

impl Identity {
    /// Its loopback network, and 127.0.0.1 in it.
    pub(super) fn loopback(&self) -> (u32, u32) {
        let [a, b, c] = self.loop4;
        (word([a, b, c, 0]), word([a, b, c, 1]))
    }

    fn first4(&self) -> Option<u32> {
        self.v4.first().map(|(address, _)| word(address.octets()))
    }

    fn all4(&self) -> impl Iterator<Item = u32> {
        self.v4.iter().map(|(address, _)| word(address.octets()))
    }

    /// All of IPv6, its loopback's last.
    pub(super) fn all6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.v6.iter().map(|(address, _)| *address).chain(self.loop6)
    }
}

/// What leads to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// connect(2)
    Connect,
    /// sendmsg(2) of a socket that is not connected.
    Send,
}

/// Where an address of IPv6 may lead.
pub(super) struct Ways {
    pub(super) mapped: Label,
    pub(super) any: Label,
    pub(super) loopback: Label,
    pub(super) other: Label,
}

/// A program that is being written.
pub(super) struct Writer<'a> {
    pub(super) asm: Assembler,
    pub(super) who: &'a Identity,
    pub(super) can: Abilities,
}

impl<'a> Writer<'a> {
    /// The context is kept in register 6.
    pub(super) fn new(who: &'a Identity, can: Abilities) -> Self {
        let mut asm = Assembler::default();
        asm.copy(R6, R1);
        Self { asm, who, can }
    }

    pub(super) fn allow(&mut self) {
        self.asm.set(R0, 1);
        self.asm.exit();
    }

    pub(super) fn refuse(&mut self, errno: i32) {
        if self.can.errors {
            self.asm.set(R1, -errno);
            self.asm.call(SET_RETVAL);
        }
        self.asm.set(R0, 0);
        self.asm.exit();
    }

    /// Lets a bind through; root of the zone may have the ports below 1024, which only root of the host could have.
    fn allow_bind(&mut self) {
        if self.can.low_ports {
            /// Allowed, and CAP_NET_BIND_SERVICE is not asked for.
            const ALLOWED_AS_ROOT: i32 = 3;
            let other = self.asm.label();
            self.asm.call(GET_CURRENT_UID_GID);
            self.asm.jump_unless(R0, self.who.root, other);
            self.asm.set(R0, ALLOWED_AS_ROOT);
            self.asm.exit();
            self.asm.place(other);
        }
        self.allow();
    }

    /// Jumps where the IPv4 address in `reg` is the zone's own.
    pub(super) fn jump_if_own4(&mut self, reg: Reg, label: Label) {
        self.who.all4().for_each(|own| self.asm.jump_if(reg, own, label));
    }

    /// Jumps where the first bytes of `reg`, as many as `mask` covers, are these. Uses `scratch`.
    pub(super) fn jump_if_within(
        &mut self,
        reg: Reg,
        scratch: Reg,
        (mask, network): (u32, u32),
        label: Label,
    ) {
        self.asm.copy(scratch, reg);
        self.asm.and32(scratch, mask);
        self.asm.jump_if(scratch, network, label);
    }

    /// Jumps where the four words at `base + at` are this address.
    pub(super) fn jump_if6(&mut self, base: Reg, at: i16, address: Ipv6Addr, label: Label) {
        let next = self.asm.label();
        for (i, word) in (0..).zip(words(address)) {
            self.asm.load(Size::Word, R1, base, at + 4 * i);
            self.asm.jump_unless(R1, word, next);
        }
        self.asm.jump(label);
        self.asm.place(next);
    }

    /// Puts an IPv6 address at `at` of the context.
    pub(super) fn put6(&mut self, at: i16, address: Ipv6Addr) {
        for (i, word) in (0..).zip(words(address)) {
            self.asm.set32(R1, word);
            self.asm.store(Size::Word, R6, at + 4 * i, R1);
        }
    }

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

    /// The rest of a bind to the IPv4 address in register 7, which stands at `at`.
    pub(super) fn bind4(&mut self, at: i16) {
        let (wildcard, loopback, bound) = (self.asm.label(), self.asm.label(), self.asm.label());
        let (network, own) = self.who.loopback();
        self.jump_if_own4(R7, bound);
        self.asm.jump_if(R7, 0, wildcard);
        self.jump_if_within(R7, R8, (FIRST, LOOPBACK), loopback);
        self.asm.set32(R7, word(NOWHERE4.octets()));
        self.asm.store(Size::Word, R6, at, R7);
        self.asm.jump(bound);
        self.asm.place(wildcard);
        self.asm.set32(R7, self.who.first4().unwrap_or(own));
        self.asm.store(Size::Word, R6, at, R7);
        self.asm.jump(bound);
        self.asm.place(loopback);
        self.asm.and32(R7, LAST);
        self.asm.or32(R7, network);
        self.asm.store(Size::Word, R6, at, R7);
        self.asm.place(bound);
        self.allow_bind();
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

    /// Where the IPv4 address in register 7, which stands at `at`, leads, and in register 9 what it is asked from.
    pub(super) fn lead4(&mut self, call: Call, at: i16) {
        let (zero, loopback, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        let (network, own) = self.who.loopback();
        self.asm.jump_if(R7, 0, zero);
        self.jump_if_within(R7, R8, (FIRST, LOOPBACK), loopback);
        match self.who.first4() {
            None => self.refuse(libc::ENETUNREACH),
            Some(first) => {
                for (address, prefix) in self.who.v4.clone() {
                    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0).to_be();
                    let address = word(address.octets());
                    self.asm.set32(R9, address);
                    self.jump_if_within(R7, R8, (mask, address & mask), done);
                }
                self.asm.set32(R9, first);
                self.asm.jump(done);
            }
        }
        // What `connect` takes 0.0.0.0 for.
        self.asm.place(zero);
        self.asm.set32(R7, ONE);
        self.asm.place(loopback);
        self.asm.and32(R7, LAST);
        self.asm.or32(R7, network);
        let (found, elsewhere) = (self.asm.label(), self.asm.label());
        self.listener4(R7);
        self.asm.set32(R9, own);
        self.asm.jump_if_same(R8, R7, found);
        if let Some(first) = self.who.first4() {
            // A server on the wildcard is on the first address alone.
            self.asm.set32(R9, first);
            self.listener4(R9);
            self.asm.jump_if_same(R8, R9, elsewhere);
            self.asm.set32(R9, own);
        }
        self.nobody_listens(call, found);
        if self.who.first4().is_some() {
            self.asm.place(elsewhere);
            self.asm.copy(R7, R9);
        }
        self.asm.place(found);
        self.asm.store(Size::Word, R6, at, R7);
        self.asm.place(done);
    }

    /// No socket of the zone waits where its loopback is asked; one of the host's that is on all addresses would be. For
    /// datagrams there may be somebody, a socket that is connected to this one, or somebody later: they are looked at one by
    /// one.
    fn nobody_listens(&mut self, call: Call, found: Label) {
        if call == Call::Send {
            return self.asm.jump(found);
        }
        self.asm.load(Size::Word, R1, R6, PROTOCOL);
        self.asm.jump_if(R1, libc::IPPROTO_UDP as u32, found);
        // Nobody can be at port 0: the kernel says that itself, as of any other port.
        self.asm.set(R1, 0);
        self.asm.store(Size::Word, R6, PORT, R1);
        self.asm.jump(found);
    }

    /// Register 8: the address of the socket that would be asked at the address in `reg`; 0 for none or one of the host's,
    /// which stands for all addresses.
    fn listener4(&mut self, reg: Reg) {
        const TUPLE: i16 = -32;
        let none = self.asm.label();
        self.asm.set(R1, 0);
        self.asm.store(Size::Word, STACK, TUPLE, R1);
        self.asm.store(Size::Word, STACK, TUPLE + 4, reg);
        self.asm.store(Size::Half, STACK, TUPLE + 8, R1);
        self.asm.load(Size::Word, R1, R6, PORT);
        self.asm.store(Size::Half, STACK, TUPLE + 10, R1);
        self.asm.set(R8, 0);
        self.look_up(TUPLE, 12);
        self.asm.jump_if_null(R0, none);
        // src_ip4 of struct bpf_sock.
        self.asm.load(Size::Word, R8, R0, 24);
        self.asm.copy(R1, R0);
        self.asm.call(SK_RELEASE);
        self.asm.place(none);
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

    /// Looks up who listens, by a tuple on the stack: the answer is in register 0.
    fn look_up(&mut self, tuple: i16, length: i32) {
        let (udp, done) = (self.asm.label(), self.asm.label());
        self.asm.copy(R2, STACK);
        self.asm.add(R2, tuple.into());
        self.asm.set(R3, length);
        // BPF_F_CURRENT_NETNS
        self.asm.set(R4, -1);
        self.asm.set(R5, 0);
        self.asm.load(Size::Word, R1, R6, PROTOCOL);
        self.asm.jump_if(R1, libc::IPPROTO_UDP as u32, udp);
        self.asm.copy(R1, R6);
        self.asm.call(SK_LOOKUP_TCP);
        self.asm.jump(done);
        self.asm.place(udp);
        self.asm.copy(R1, R6);
        self.asm.call(SK_LOOKUP_UDP);
        self.asm.place(done);
    }

    /// Binds the socket to the address in register 9. One that is bound already stays so, which the helper refuses: its bind
    /// was looked at.
    pub(super) fn from4(&mut self) {
        const PLACE: i16 = -16;
        self.asm.set(R1, libc::AF_INET);
        self.asm.store(Size::Half, STACK, PLACE, R1);
        self.asm.set(R1, 0);
        self.asm.store(Size::Half, STACK, PLACE + 2, R1);
        self.asm.store(Size::Word, STACK, PLACE + 4, R9);
        self.asm.store(Size::Double, STACK, PLACE + 8, R1);
        self.call_bind(PLACE, 16);
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

    fn call_bind(&mut self, place: i16, length: i32) {
        self.asm.copy(R1, R6);
        self.asm.copy(R2, STACK);
        self.asm.add(R2, place.into());
        self.asm.set(R3, length);
        self.asm.call(BIND);
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

/// A sockaddr_in6 on the stack.
const SOCKADDR6: i16 = -32;
