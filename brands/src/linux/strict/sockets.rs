//! Sockets: families, protocols and options.

use nix::errno::Errno::{EAFNOSUPPORT, EINVAL, ENOPROTOOPT, EPROTONOSUPPORT};

use super::{between, flags, op, young, younger};
use crate::cond::{Cond, int};
use crate::table::Row;

/// For i386, whose programs have had calls of their own only since 4.3.
const SOCKETCALL: &str = "what comes through socketcall(2) is not looked at";

/// AF_INET or AF_INET6 with IPPROTO_MPTCP.
const MPTCP: Cond = Cond::All(&[Cond::Any(&[int(0).is(2), int(0).is(10)]), int(2).is(262)]);

/// AF_NETLINK with a protocol.
macro_rules! netlink {
    ($($protocol:literal),+) => {
        Cond::All(&[int(0).is(16), Cond::Any(&[$(int(2).is($protocol)),+])])
    };
}

#[rustfmt::skip]
pub(in super::super) static ROWS: &[Row] = &[
    // socket(2): SOCK_NONBLOCK and SOCK_CLOEXEC.
    young("socket", (2, 6, 27), EINVAL, flags(1, 0x80800)).gap(SOCKETCALL),
    young("socketpair", (2, 6, 27), EINVAL, flags(1, 0x80800)).gap(SOCKETCALL),
    // address_families(7): AF_MCTP, XDP, SMC, QIPCRTR, KCM, VSOCK, ALG, CAN, RXRPC, TIPC.
    young("socket", (5, 15, 0), EAFNOSUPPORT, op(0, 45)).gap(SOCKETCALL),
    young("socket", (4, 18, 0), EAFNOSUPPORT, op(0, 44)).gap(SOCKETCALL),
    young("socket", (4, 11, 0), EAFNOSUPPORT, op(0, 43)).gap(SOCKETCALL),
    young("socket", (4, 7, 0), EAFNOSUPPORT, op(0, 42)).gap(SOCKETCALL),
    young("socket", (4, 6, 0), EAFNOSUPPORT, op(0, 41)).gap(SOCKETCALL),
    young("socket", (3, 9, 0), EAFNOSUPPORT, op(0, 40)).gap(SOCKETCALL),
    young("socket", (2, 6, 38), EAFNOSUPPORT, op(0, 38)).gap(SOCKETCALL),
    young("socket", (2, 6, 25), EAFNOSUPPORT, op(0, 29)).gap(SOCKETCALL),
    young("socket", (2, 6, 22), EAFNOSUPPORT, op(0, 33)).gap(SOCKETCALL),
    young("socket", (2, 6, 16), EAFNOSUPPORT, op(0, 30)).gap(SOCKETCALL),
    // IPPROTO_MPTCP (musl); 4.4 looks at the number first, 4.3 only for who has it.
    between("socket", (4, 4, 0), (5, 6, 0), EINVAL, MPTCP).gap(SOCKETCALL),
    younger("socket", (4, 4, 0), EPROTONOSUPPORT, MPTCP, (5, 6, 0)).gap(SOCKETCALL),
    // netlink(7): NETLINK_CRYPTO, RDMA, SCSITRANSPORT, GENERIC with ISCSI, INET_DIAG with CONNECTOR and NETFILTER,
    // FIB_LOOKUP, KOBJECT_UEVENT, AUDIT.
    young("socket", (3, 2, 0), EPROTONOSUPPORT, netlink!(21)).gap(SOCKETCALL),
    young("socket", (3, 0, 0), EPROTONOSUPPORT, netlink!(20)).gap(SOCKETCALL),
    young("socket", (2, 6, 19), EPROTONOSUPPORT, netlink!(18)).gap(SOCKETCALL),
    young("socket", (2, 6, 15), EPROTONOSUPPORT, netlink!(16, 8)).gap(SOCKETCALL),
    young("socket", (2, 6, 14), EPROTONOSUPPORT, netlink!(11, 12)).gap(SOCKETCALL),
    young("socket", (2, 6, 13), EPROTONOSUPPORT, netlink!(10)).gap(SOCKETCALL),
    young("socket", (2, 6, 10), EPROTONOSUPPORT, netlink!(15)).gap(SOCKETCALL),
    young("socket", (2, 6, 6), EPROTONOSUPPORT, netlink!(9)).gap(SOCKETCALL),
];

const SOL_IP: u64 = 0;
const SOL_SOCKET: u64 = 1;
const SOL_TCP: u64 = 6;
const SOL_UDP: u64 = 17;
const SOL_IPV6: u64 = 41;
const SOL_PACKET: u64 = 263;
const SOL_NETLINK: u64 = 270;

/// Options for both calls: the release, the protocol, and the options that came with it; after `..` with all that
/// are numbered above.
macro_rules! options {
    (@of $level:ident, $from:literal ..) => { Cond::All(&[int(1).is($level), int(2).at_least($from)]) };
    (@of $level:ident, $($n:literal)|+) => { Cond::All(&[int(1).is($level), Cond::Any(&[$(int(2).is($n)),+])]) };
    ($(($a:literal, $b:literal, $c:literal) $level:ident [$($which:tt)+])+) => {
        &[$(
            young("setsockopt", ($a, $b, $c), ENOPROTOOPT, options!(@of $level, $($which)+)).gap(SOCKETCALL),
            young("getsockopt", ($a, $b, $c), ENOPROTOOPT, options!(@of $level, $($which)+)).gap(SOCKETCALL),
        )+]
    };
}

#[rustfmt::skip]
pub(in super::super) static OPTIONS: &[Row] = options! {
    // strace: SO_INQ, PASSRIGHTS, RCVPRIORITY, DEVMEM_*, PASSPIDFD with PEERPIDFD, RCVMARK, TXREHASH, RESERVE_MEM,
    // BUF_LOCK, NETNS_COOKIE, PREFER_BUSY_POLL with BUSY_POLL_BUDGET, DETACH_REUSEPORT_BPF, BINDTOIFINDEX with the 64-bit
    // times, TXTIME, ZEROCOPY, PEERGROUPS, MEMINFO to COOKIE, CNX_ADVICE, ATTACH_REUSEPORT_*BPF (musl).
    (6, 17, 0) SOL_SOCKET [84 ..]
    (6, 16, 0) SOL_SOCKET [83 ..]
    (6, 14, 0) SOL_SOCKET [82 ..]
    (6, 12, 0) SOL_SOCKET [78 ..]
    (6, 5, 0) SOL_SOCKET [76 ..]
    (5, 19, 0) SOL_SOCKET [75 ..]
    (5, 18, 0) SOL_SOCKET [74 ..]
    (5, 16, 0) SOL_SOCKET [73 ..]
    (5, 15, 0) SOL_SOCKET [72 ..]
    (5, 14, 0) SOL_SOCKET [71 ..]
    (5, 11, 0) SOL_SOCKET [69 ..]
    (5, 3, 0) SOL_SOCKET [68 ..]
    (5, 1, 0) SOL_SOCKET [62 ..]
    (4, 19, 0) SOL_SOCKET [61 ..]
    (4, 14, 0) SOL_SOCKET [60 ..]
    (4, 13, 0) SOL_SOCKET [59 ..]
    (4, 12, 0) SOL_SOCKET [55 ..]
    (4, 6, 0) SOL_SOCKET [53 ..]
    (4, 5, 0) SOL_SOCKET [51 ..]
    // socket(7), and musl: SO_ATTACH_BPF with INCOMING_CPU, BPF_EXTENSIONS, MAX_PACING_RATE, BUSY_POLL,
    // SELECT_ERR_QUEUE, LOCK_FILTER with REUSEPORT, PEEK_OFF, RXQ_OVFL, DOMAIN with PROTOCOL, MARK, TIMESTAMPNS,
    // PASSSEC, *BUFFORCE, PEERSEC.
    (3, 19, 0) SOL_SOCKET [49 ..]
    (3, 14, 0) SOL_SOCKET [48 ..]
    (3, 13, 0) SOL_SOCKET [47 ..]
    (3, 11, 0) SOL_SOCKET [46 ..]
    (3, 10, 0) SOL_SOCKET [45 ..]
    (3, 9, 0) SOL_SOCKET [15 | 44]
    (3, 4, 0) SOL_SOCKET [42]
    (2, 6, 33) SOL_SOCKET [40 ..]
    (2, 6, 32) SOL_SOCKET [38 ..]
    (2, 6, 25) SOL_SOCKET [36 ..]
    (2, 6, 22) SOL_SOCKET [35 ..]
    (2, 6, 18) SOL_SOCKET [34 ..]
    (2, 6, 14) SOL_SOCKET [32 ..]
    (2, 6, 2) SOL_SOCKET [31 ..]
    // tcp(7), strace and musl: TCP_RTO_MAX_MS, IS_MPTCP, AO_*, TX_DELAY, ZEROCOPY_RECEIVE with INQ, FASTOPEN_KEY with
    // NO_COOKIE, MD5SIG_EXT, ULP, FASTOPEN_CONNECT, REPAIR_WINDOW, CC_INFO with SAVE_SYN (4.2 in musl, 4.3 on the
    // page), NOTSENT_LOWAT, TIMESTAMP (3.8's headers lack it, 3.16's have it), FASTOPEN (3.6 on the page; its headers
    // lack it), REPAIR to REPAIR_OPTIONS (3.3 lacks them, 3.5 has them), USER_TIMEOUT, CONGESTION.
    (6, 15, 0) SOL_TCP [44 ..]
    (6, 10, 0) SOL_TCP [43 ..]
    (6, 7, 0) SOL_TCP [38 ..]
    (5, 3, 0) SOL_TCP [37 ..]
    (4, 18, 0) SOL_TCP [35 ..]
    (4, 15, 0) SOL_TCP [33 ..]
    (4, 14, 0) SOL_TCP [32 ..]
    (4, 13, 0) SOL_TCP [31 ..]
    (4, 11, 0) SOL_TCP [30 ..]
    (4, 8, 0) SOL_TCP [29 ..]
    (4, 2, 0) SOL_TCP [26 ..]
    (3, 12, 0) SOL_TCP [25 ..]
    (3, 9, 0) SOL_TCP [24 ..]
    (3, 7, 0) SOL_TCP [23 ..]
    (3, 5, 0) SOL_TCP [19 ..]
    (2, 6, 37) SOL_TCP [18 ..]
    (2, 6, 13) SOL_TCP [13 ..]
    // udp(7): UDP_GRO, UDP_SEGMENT.
    (5, 0, 0) SOL_UDP [104]
    (4, 18, 0) SOL_UDP [103]
    // ip(7), each page of its own, strace and musl: IP_PROTOCOL, LOCAL_PORT_RANGE, RECVERR_RFC4884, RECVFRAGSIZE,
    // BIND_ADDRESS_NO_PORT, CHECKSUM, NODEFRAG, MULTICAST_ALL, RECVORIGDSTADDR.
    (6, 4, 0) SOL_IP [52]
    (6, 3, 0) SOL_IP [51]
    (5, 9, 0) SOL_IP [26]
    (4, 10, 0) SOL_IP [25]
    (4, 2, 0) SOL_IP [24]
    (4, 0, 0) SOL_IP [23]
    (2, 6, 36) SOL_IP [22]
    (2, 6, 31) SOL_IP [49]
    (2, 6, 29) SOL_IP [20]
    // strace and musl: IPV6_RECVERR_RFC4884, MULTICAST_ALL, FREEBIND, RECVFRAGSIZE, HDRINCL, AUTOFLOWLABEL.
    (5, 9, 0) SOL_IPV6 [31]
    (4, 20, 0) SOL_IPV6 [29]
    (4, 15, 0) SOL_IPV6 [78]
    (4, 10, 0) SOL_IPV6 [77]
    (4, 5, 0) SOL_IPV6 [36]
    (3, 17, 0) SOL_IPV6 [70]
    // packet(7) and musl: PACKET_IGNORE_OUTGOING, QDISC_BYPASS, FANOUT.
    (4, 20, 0) SOL_PACKET [23]
    (3, 14, 0) SOL_PACKET [20]
    (3, 1, 0) SOL_PACKET [18]
    // netlink(7), and headers (4.10 and 4.18 lack them, 4.12 and 5.0 have them): NETLINK_GET_STRICT_CHK, EXT_ACK,
    // CAP_ACK, LISTEN_ALL_NSID with LIST_MEMBERSHIPS, BROADCAST_ERROR with NO_ENOBUFS.
    (4, 20, 0) SOL_NETLINK [12 ..]
    (4, 12, 0) SOL_NETLINK [11 ..]
    (4, 3, 0) SOL_NETLINK [10 ..]
    (4, 2, 0) SOL_NETLINK [8 ..]
    (2, 6, 30) SOL_NETLINK [4 ..]
};
