// kernel: 2.6.18 2.6.32 3.10 4.18
// abi: i386 amd64
// native: fails
// options: --strict
/* Flags and operations that are younger than the level fail in a strict zone as they did then, and those that it had
   do not. What the kernels said is from their own files: fs/fcntl.c, mm/madvise.c, kernel/sys.c, kernel/futex.c,
   fs/open.c, fs/ioctl.c, drivers/tty/tty_io.c, net/core/sock.c, net/ipv4/tcp.c, security/keys/keyctl.c. */
#include "t.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

/* The error before the release; from it on, anything else. */
#define young(what, error, a, b, c, call) do { \
	long got_ = (call); \
	if (!since(a, b, c)) expect(what, -(error), got_); \
	else if (got_ == -(error)) fail("%s, expected it to be there, got %ld", what, got_); \
} while (0)

#ifdef SYS_fcntl64
#define FCNTL SYS_fcntl64
#else
#define FCNTL SYS_fcntl
#endif

int main(int argc, char **argv)
{
	level(argc, argv);
	int file = sc(SYS_open, "/tmp/strict_flags", O_RDWR | O_CREAT | O_TRUNC, 0600);
	expect_true("a file", file >= 0);
	expect("its length", 4096, sc(SYS_write, file, calloc(1, 4096), 4096));
	char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int word = 0;

	young("F_DUPFD_CLOEXEC", EINVAL, 2, 6, 24, sc(FCNTL, file, 1030, 10));
	int ends[2];
	expect("a pipe", 0, sc(SYS_pipe, ends));
	young("F_GETPIPE_SZ", EINVAL, 2, 6, 35, sc(FCNTL, ends[0], 1032));
	/* A file on a disk has no seals, and says EINVAL for them at all times. */
	if (!since(3, 17, 0)) expect("F_GET_SEALS", -EINVAL, sc(FCNTL, file, 1034));
	young("MADV_DONTDUMP", EINVAL, 3, 4, 0, sc(SYS_madvise, page, 4096, 16));
	young("MADV_WIPEONFORK", EINVAL, 4, 14, 0, sc(SYS_madvise, page, 4096, 18));
	young("PR_GET_NO_NEW_PRIVS", EINVAL, 3, 5, 0, sc(SYS_prctl, 39, 0, 0, 0, 0));
	young("PR_GET_MDWE", EINVAL, 6, 3, 0, sc(SYS_prctl, 66, 0, 0, 0, 0));
	young("FUTEX_WAKE_BITSET", ENOSYS, 2, 6, 25, sc(SYS_futex, &word, 10, 1, 0, 0, ~0));
	young("CLOCK_BOOTTIME", EINVAL, 2, 6, 39, sc(SYS_clock_getres, 7, 0));
	young("CLOCK_TAI", EINVAL, 3, 10, 0, sc(SYS_clock_getres, 11, 0));
	young("SEEK_HOLE", EINVAL, 3, 1, 0, sc(SYS_lseek, file, 0, 4));
	young("RUSAGE_THREAD", EINVAL, 2, 6, 26, sc(SYS_getrusage, 1, calloc(1, 512)));
	young("KEYCTL_CAPABILITIES", EOPNOTSUPP, 5, 3, 0, sc(SYS_keyctl, 31, 0, 0, 0, 0));
	young("FICLONE", ENOTTY, 4, 5, 0, sc(SYS_ioctl, file, 0x40049409, file));
	young("O_TMPFILE", EISDIR, 3, 11, 0, sc(SYS_open, "/tmp", 0x410000 | O_RDWR, 0600));

	int pty = sc(SYS_open, "/dev/ptmx", O_RDWR | O_NOCTTY, 0);
	if (pty >= 0) {
		long peer = sc(SYS_ioctl, pty, 0x5441, O_RDWR | O_NOCTTY);
		if (!since(4, 13, 0)) expect("TIOCGPTPEER", since(3, 7, 0) ? -ENOTTY : -EINVAL, peer);
		close(pty);
	}

	/* Taken without a word: no error at any level. */
	if (since(2, 6, 23) && !since(2, 6, 38))
		expect_true("FALLOC_FL_PUNCH_HOLE beside KEEP_SIZE is no error",
			sizeof(long) == 8 ? sc(SYS_fallocate, file, 3, 0L, 4096L) == 0
				: sc(SYS_fallocate, file, 3, 0, 0, 4096, 0) == 0);

#ifdef __x86_64__
	/* On i386 by socketcall(2), which is not looked at. */
	int tcp = sc(SYS_socket, AF_INET, SOCK_STREAM, 0), one = 1;
	expect_true("a socket", tcp >= 0);
	young("SOCK_CLOEXEC", EINVAL, 2, 6, 27, sc(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	young("SO_REUSEPORT", ENOPROTOOPT, 3, 9, 0, sc(SYS_setsockopt, tcp, SOL_SOCKET, 15, &one, sizeof one));
	young("TCP_USER_TIMEOUT", ENOPROTOOPT, 2, 6, 37, sc(SYS_setsockopt, tcp, 6, 18, &one, sizeof one));
	young("SO_REUSEADDR", ENOPROTOOPT, 2, 0, 0, sc(SYS_setsockopt, tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	young("NETLINK_GENERIC", EPROTONOSUPPORT, 2, 6, 15, sc(SYS_socket, AF_NETLINK, SOCK_RAW, 16));
	long mptcp = sc(SYS_socket, AF_INET, SOCK_STREAM, 262);
	if (!since(5, 6, 0)) expect("IPPROTO_MPTCP", since(4, 4, 0) ? -EINVAL : -EPROTONOSUPPORT, mptcp);
#endif
	return verdict();
}
