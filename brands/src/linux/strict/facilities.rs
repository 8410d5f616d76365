//! bpf(2), io_uring, keys, perf, System V IPC and other facilities with operations of their own.

use nix::errno::Errno::{EINVAL, EOPNOTSUPP};

use super::{flags, from, op, young};
use crate::cond::{Cond, int};
use crate::table::Row;

/// Opcode `$n` of io_uring_register(2) or a later one, without IORING_REGISTER_USE_REGISTERED_RING.
macro_rules! registers {
    ($n:literal) => {
        Cond::All(&[int(1).at_least($n), int(1).below(0x8000_0000)])
    };
}

/// An operation of ipc(2), without its version, and the command in argument `$at`, without IPC_64.
macro_rules! ipc {
    ($call:literal, $at:literal, $command:literal) => {
        Cond::All(&[int(0).bits(0xffff, $call), int($at).bits(0xff, $command)])
    };
}

#[rustfmt::skip]
pub(in super::super) static ROWS: &[Row] = &[
    // bpf(2), by the logs of strace and the kernel's headers: BPF_PROG_STREAM_READ_BY_FD, TOKEN_CREATE,
    // PROG_BIND_MAP, LINK_DETACH, LINK_GET_FD_BY_ID to ITER_CREATE, LINK_CREATE and UPDATE, the batches,
    // BTF_GET_NEXT_ID, MAP_FREEZE, MAP_LOOKUP_AND_DELETE_ELEM, BTF_LOAD to TASK_FD_QUERY, RAW_TRACEPOINT_OPEN,
    // PROG_QUERY, PROG_GET_NEXT_ID to OBJ_GET_INFO_BY_FD, PROG_TEST_RUN, PROG_ATTACH and DETACH, OBJ_PIN and GET.
    young("bpf", (6, 17, 0), EINVAL, from(0, 37)),
    young("bpf", (6, 9, 0), EINVAL, from(0, 36)),
    young("bpf", (5, 10, 0), EINVAL, from(0, 35)),
    young("bpf", (5, 9, 0), EINVAL, from(0, 34)),
    young("bpf", (5, 8, 0), EINVAL, from(0, 30)),
    young("bpf", (5, 7, 0), EINVAL, from(0, 28)),
    young("bpf", (5, 6, 0), EINVAL, from(0, 24)),
    young("bpf", (5, 4, 0), EINVAL, from(0, 23)),
    young("bpf", (5, 2, 0), EINVAL, from(0, 22)),
    young("bpf", (4, 20, 0), EINVAL, from(0, 21)),
    young("bpf", (4, 18, 0), EINVAL, from(0, 18)),
    young("bpf", (4, 17, 0), EINVAL, from(0, 17)),
    young("bpf", (4, 15, 0), EINVAL, from(0, 16)),
    young("bpf", (4, 13, 0), EINVAL, from(0, 11)),
    young("bpf", (4, 12, 0), EINVAL, from(0, 10)),
    young("bpf", (4, 10, 0), EINVAL, from(0, 8)),
    young("bpf", (4, 4, 0), EINVAL, from(0, 6)),
    // io_uring_register(2) of liburing and strace: QUERY, ZCRX_IFQ, SEND_MSG_RING with RESIZE_RINGS and MEM_REGION,
    // CLOCK and CLONE_BUFFERS, NAPI, PBUF_STATUS, SYNC_CANCEL and FILE_ALLOC_RANGE, PBUF_RING, RING_FDS,
    // IOWQ_MAX_WORKERS, IOWQ_AFF, FILES2 to BUFFERS_UPDATE, RESTRICTIONS and ENABLE_RINGS, EVENTFD_ASYNC to
    // UNREGISTER_PERSONALITY, FILES_UPDATE, EVENTFD.
    young("io_uring_register", (6, 18, 0), EINVAL, registers!(35)),
    young("io_uring_register", (6, 15, 0), EINVAL, op(1, 32)),
    young("io_uring_register", (6, 13, 0), EINVAL, registers!(31)),
    young("io_uring_register", (6, 12, 0), EINVAL, registers!(29)),
    young("io_uring_register", (6, 9, 0), EINVAL, registers!(27)),
    young("io_uring_register", (6, 8, 0), EINVAL, registers!(26)),
    young("io_uring_register", (6, 0, 0), EINVAL, registers!(24)),
    young("io_uring_register", (5, 19, 0), EINVAL, registers!(22)),
    young("io_uring_register", (5, 18, 0), EINVAL, registers!(20)),
    young("io_uring_register", (5, 15, 0), EINVAL, registers!(19)),
    young("io_uring_register", (5, 14, 0), EINVAL, registers!(17)),
    young("io_uring_register", (5, 13, 0), EINVAL, registers!(13)),
    young("io_uring_register", (5, 10, 0), EINVAL, registers!(11)),
    young("io_uring_register", (5, 6, 0), EINVAL, registers!(7)),
    young("io_uring_register", (5, 5, 0), EINVAL, registers!(6)),
    young("io_uring_register", (5, 2, 0), EINVAL, registers!(4)),
    // io_uring_enter(2): EXT_ARG_REG, ABS_TIMER, REGISTERED_RING, EXT_ARG, SQ_WAIT.
    young("io_uring_enter", (6, 13, 0), EINVAL, flags(3, 0x40)),
    young("io_uring_enter", (6, 12, 0), EINVAL, flags(3, 0x20)),
    young("io_uring_enter", (5, 18, 0), EINVAL, flags(3, 0x10)),
    young("io_uring_enter", (5, 11, 0), EINVAL, flags(3, 0x8)),
    young("io_uring_enter", (5, 10, 0), EINVAL, flags(3, 0x4)),
    // keyctl(2), each page of its own, and strace: KEYCTL_WATCH_KEY, MOVE and CAPABILITIES, PKEY_*, RESTRICT_KEYRING,
    // DH_COMPUTE, GET_PERSISTENT, INVALIDATE, REJECT and INSTANTIATE_IOV, SESSION_TO_PARENT, GET_SECURITY,
    // SET_TIMEOUT and ASSUME_AUTHORITY, SET_REQKEY_KEYRING.
    young("keyctl", (5, 8, 0), EOPNOTSUPP, from(0, 32)),
    young("keyctl", (5, 3, 0), EOPNOTSUPP, from(0, 30)),
    young("keyctl", (4, 20, 0), EOPNOTSUPP, Cond::All(&[int(0).at_least(24), int(0).below(29)])),
    young("keyctl", (4, 12, 0), EOPNOTSUPP, from(0, 29)),
    young("keyctl", (4, 7, 0), EOPNOTSUPP, from(0, 23)),
    young("keyctl", (3, 13, 0), EOPNOTSUPP, from(0, 22)),
    young("keyctl", (3, 5, 0), EOPNOTSUPP, from(0, 21)),
    young("keyctl", (2, 6, 39), EOPNOTSUPP, from(0, 19)),
    young("keyctl", (2, 6, 32), EOPNOTSUPP, from(0, 18)),
    young("keyctl", (2, 6, 26), EOPNOTSUPP, from(0, 17)),
    young("keyctl", (2, 6, 16), EOPNOTSUPP, from(0, 15)),
    young("keyctl", (2, 6, 13), EOPNOTSUPP, from(0, 14)),
    // perf_event_open(2): PERF_FLAG_FD_CLOEXEC, PID_CGROUP.
    young("perf_event_open", (3, 14, 0), EINVAL, flags(4, 0x8)),
    young("perf_event_open", (2, 6, 39), EINVAL, flags(4, 0x4)),
    // kcmp(2): KCMP_EPOLL_TFD; userfaultfd(2): UFFD_USER_MODE_ONLY.
    young("kcmp", (4, 13, 0), EINVAL, op(2, 7)),
    young("userfaultfd", (5, 11, 0), EINVAL, flags(0, 0x1)),
    // strace: LANDLOCK_CREATE_RULESET_ERRATA; landlock_add_rule(2): LANDLOCK_RULE_NET_PORT;
    // landlock_restrict_self(2): what is logged.
    young("landlock_create_ruleset", (6, 15, 0), EINVAL, flags(2, 0x2)),
    young("landlock_add_rule", (6, 7, 0), EINVAL, op(1, 2)),
    young("landlock_restrict_self", (6, 15, 0), EINVAL, flags(1, 0x7)),
    // semctl(2), msgctl(2), shmctl(2): SEM_STAT_ANY and its like; on i386 by ipc(2), and by calls of their own
    // since 5.1.
    young("semctl", (4, 17, 0), EINVAL, op(2, 20)),
    young("msgctl", (4, 17, 0), EINVAL, op(1, 13)),
    young("shmctl", (4, 17, 0), EINVAL, op(1, 15)),
    young("ipc", (4, 17, 0), EINVAL, ipc!(3, 3, 20)),
    young("ipc", (4, 17, 0), EINVAL, ipc!(14, 2, 13)),
    young("ipc", (4, 17, 0), EINVAL, ipc!(24, 2, 15)),
];
