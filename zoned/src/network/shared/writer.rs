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
pub(super) const SK_STORAGE_GET: i32 = 107;
const SET_RETVAL: i32 = 187;

/// Places in `struct bpf_sock_addr`.
pub(super) const FAMILY: i16 = 0;
pub(super) const IP4: i16 = 4;
pub(super) const IP6: i16 = 8;
/// The IPv4 address in a mapped one.
pub(super) const MAPPED: i16 = IP6 + 12;
pub(super) const PORT: i16 = 24;
pub(super) const PROTOCOL: i16 = 36;
pub(super) const SOURCE4: i16 = 40;
pub(super) const SOURCE6: i16 = 44;
pub(super) const SOCKET: i16 = 64;

/// An address that no host has (class E; the discard prefix of RFC 6666): to bind to it the kernel itself refuses, with
/// EADDRNOTAVAIL, which a program could not say before Linux 6.1.
const NOWHERE4: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);
pub(super) const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

pub(super) const fn word(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

pub(super) const FIRST: u32 = word([255, 0, 0, 0]);
pub(super) const FIRST_THREE: u32 = word([255, 255, 255, 0]);
pub(super) const LAST: u32 = word([0, 0, 0, 255]);
pub(super) const LOOPBACK: u32 = word([127, 0, 0, 0]);
/// The third word of a mapped address.
pub(super) const MARK: u32 = word([0, 0, 255, 255]);
pub(super) const ONE: u32 = word([0, 0, 0, 1]);

pub(super) fn words(address: Ipv6Addr) -> [u32; 4] {
    let o = address.octets();
    [0, 4, 8, 12].map(|i| word([o[i], o[i + 1], o[i + 2], o[i + 3]]))
}

impl Identity {
    /// Its loopback network, and 127.0.0.1 in it.
    pub(super) fn loopback(&self) -> (u32, u32) {
        let [a, b, c] = self.loop4;
        (word([a, b, c, 0]), word([a, b, c, 1]))
    }

    pub(super) fn first4(&self) -> Option<u32> {
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
    pub(super) fn allow_bind(&mut self) {
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

    /// Keeps the last byte of the IPv4 address in `reg`, and takes the others from a network.
    pub(super) fn put_within(&mut self, reg: Reg, network: u32) {
        self.asm.and32(reg, LAST);
        self.asm.or32(reg, network);
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
        self.put_within(R7, network);
        self.asm.store(Size::Word, R6, at, R7);
        self.asm.place(bound);
        self.allow_bind();
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
        self.put_within(R7, network);
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
    pub(super) fn nobody_listens(&mut self, call: Call, found: Label) {
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
    pub(super) fn listener4(&mut self, reg: Reg) {
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

    /// What the helpers that look up sockets are told after the context: a tuple on the stack, in this network namespace.
    pub(super) fn name_tuple(&mut self, tuple: i16, length: i32) {
        self.asm.copy(R2, STACK);
        self.asm.add(R2, tuple.into());
        self.asm.set(R3, length);
        // BPF_F_CURRENT_NETNS
        self.asm.set(R4, -1);
        self.asm.set(R5, 0);
    }

    /// Looks up who listens, by a tuple on the stack: the answer is in register 0.
    pub(super) fn look_up(&mut self, tuple: i16, length: i32) {
        let (udp, done) = (self.asm.label(), self.asm.label());
        self.name_tuple(tuple, length);
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

    pub(super) fn call_bind(&mut self, place: i16, length: i32) {
        self.asm.copy(R1, R6);
        self.asm.copy(R2, STACK);
        self.asm.add(R2, place.into());
        self.asm.set(R3, length);
        self.asm.call(BIND);
    }
}
