// kernel: host
// abi: i386 amd64
// native: any
// options: host-kernel=3.2
/* Calls that the host is taken not to have: with older ones in their place they answer as its own do. */
#include "cases.h"
#include <linux/futex.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

/* Not by the C library: the vdso's clock_gettime64 may end in a system call that the host is taken not to have. */
static double plain_now(void)
{
	long ts[2] = {0, 0};
	expect("clock_gettime", 0, sc(SYS_clock_gettime, CLOCK_MONOTONIC, ts));
	return ts[0] + ts[1] / 1e9;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (write(fd, text, strlen(text)) < 0) fail("write %s, expected it to work, got %d", path, errno);
	close(fd);
}

static long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
	return sc(SYS_openat2, dir, path, &how, sizeof how);
}

CASE(openat2_opens_and_makes)
{
	umask(022);
	long fd = openat2_(AT_FDCWD, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0666, 0);
	expect_true("it is made", fd >= 0);
	expect("closes on exec", FD_CLOEXEC, fcntl(fd, F_GETFD));
	struct stat st;
	fstat(fd, &st);
	expect("its mode", 0644, st.st_mode & 07777);
	expect("O_EXCL", -EEXIST, openat2_(AT_FDCWD, "f", O_CREAT | O_EXCL, 0666, 0));
	expect("unknown flags", -EINVAL, openat2_(AT_FDCWD, "f", 1ULL << 40, 0, 0));
	expect("a mode without a file to make", -EINVAL, openat2_(AT_FDCWD, "f", 0, 0644, 0));
	expect("a short how", -EINVAL, sc(SYS_openat2, AT_FDCWD, "f", "", 8));
	expect("a bad path", -EFAULT, openat2_(AT_FDCWD, (char *)8, 0, 0, 0));
	expect("the lowest descriptor", fd + 1, openat2_(AT_FDCWD, "f", 0, 0, 0));
}

CASE(openat2_stays_beneath)
{
	mkdir("d", 0755);
	put("out", "x");
	put("d/in", "y");
	expect("symlink", 0, symlink("../out", "d/up") | symlink("/out", "d/abs") | symlink("in", "d/ok"));
	int d = open("d", O_PATH);
	expect("..", -EXDEV, openat2_(d, "../out", 0, 0, RESOLVE_BENEATH));
	expect("a link up", -EXDEV, openat2_(d, "up", 0, 0, RESOLVE_BENEATH));
	expect("an absolute link", -EXDEV, openat2_(d, "abs", 0, 0, RESOLVE_BENEATH));
	expect("no links at all", -ELOOP, openat2_(d, "ok", 0, 0, RESOLVE_NO_SYMLINKS));
	long fd = openat2_(d, "ok", O_RDONLY, 0, RESOLVE_BENEATH);
	expect_true("a link that stays", fd >= 0);
	char c = 0;
	expect("is read", 1, read(fd, &c, 1));
	expect("its text", 'y', c);
	expect("the folder is the root", -ENOENT, openat2_(d, "/out", 0, 0, RESOLVE_IN_ROOT));
	expect_true("and holds its own", openat2_(d, "/../in", 0, 0, RESOLVE_IN_ROOT) > fd);
	umask(077);
	long made = openat2_(d, "made", O_CREAT | O_WRONLY, 0666, RESOLVE_BENEATH);
	expect_true("a new file", made >= 0);
	struct stat st;
	fstat(made, &st);
	expect("by the umask", 0600, st.st_mode & 07777);
	expect("which may not be there", -EEXIST, openat2_(d, "made", O_CREAT | O_EXCL, 0666, RESOLVE_BENEATH));
	expect("O_PATH of a link", -ELOOP, openat2_(d, "ok", O_NOFOLLOW, 0, RESOLVE_BENEATH));
}

CASE(faccessat2_and_its_flags)
{
	put("f", "x");
	chmod("f", 0600);
	expect("symlink", 0, symlink("nowhere", "l"));
	expect("plain", 0, sc(SYS_faccessat2, AT_FDCWD, "f", R_OK | W_OK, 0));
	expect("not to be executed", -EACCES, sc(SYS_faccessat2, AT_FDCWD, "f", X_OK, AT_EACCESS));
	expect("a dangling link", -ENOENT, sc(SYS_faccessat2, AT_FDCWD, "l", F_OK, 0));
	expect("the link itself", 0, sc(SYS_faccessat2, AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
	int fd = open("f", O_PATH);
	expect("by descriptor", 0, sc(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
	expect("which is not open", -EBADF, sc(SYS_faccessat2, 77, "", R_OK, AT_EMPTY_PATH));
	expect("unknown flags", -EINVAL, sc(SYS_faccessat2, AT_FDCWD, "f", 0, 1));
	expect("no descriptor is left", fd + 1, dup(fd));
}

CASE(faccessat2_of_effective_ids)
{
	put("f", "x");
	chmod("f", 0600);
	chmod(".", 0755);
	if (sc(SYS_setresuid, 0, 1, 0)) skip("there is no second user");
	expect("real", 0, sc(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0));
	expect("effective", -EACCES, sc(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
}

CASE(fchmodat2_and_its_flags)
{
	struct stat st;
	put("f", "x");
	expect("symlink", 0, symlink("f", "l"));
	expect("plain", 0, sc(SYS_fchmodat2, AT_FDCWD, "l", 0640, 0));
	stat("f", &st);
	expect("follows", 0640, st.st_mode & 07777);
	expect("of a link", -EOPNOTSUPP, sc(SYS_fchmodat2, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
	expect("of a file", 0, sc(SYS_fchmodat2, AT_FDCWD, "f", 0600, AT_SYMLINK_NOFOLLOW));
	int fd = open("f", O_PATH);
	expect("by descriptor", 0, sc(SYS_fchmodat2, fd, "", 0604, AT_EMPTY_PATH));
	stat("f", &st);
	expect("its mode", 0604, st.st_mode & 07777);
	expect("no descriptor is left", fd + 1, dup(fd));
}

CASE(statx_tells_what_stat_tells)
{
	struct stat st;
	static struct statx stx;
	put("f", "hello");
	expect("symlink", 0, symlink("f", "l"));
	stat("f", &st);
	expect("statx", 0, sc(SYS_statx, AT_FDCWD, "f", 0, STATX_BASIC_STATS, &stx));
	expect_true("mask", (stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	expect("size", 5, stx.stx_size);
	expect("mode", st.st_mode, stx.stx_mode);
	expect("ino", st.st_ino, stx.stx_ino);
	expect("nlink", st.st_nlink, stx.stx_nlink);
	expect("uid", st.st_uid, stx.stx_uid);
	expect("mtime", st.st_mtime, stx.stx_mtime.tv_sec);
	expect("mtime ns", st.st_mtim.tv_nsec, stx.stx_mtime.tv_nsec);
	expect("ctime", st.st_ctime, stx.stx_ctime.tv_sec);
	expect("dev", st.st_dev, makedev(stx.stx_dev_major, stx.stx_dev_minor));
	expect("blksize", st.st_blksize, stx.stx_blksize);
	expect("of a link", 0, sc(SYS_statx, AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx));
	expect("a link", S_IFLNK, stx.stx_mode & S_IFMT);
	expect("of a device", 0, sc(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_TYPE, &stx));
	expect("its numbers", makedev(1, 3), makedev(stx.stx_rdev_major, stx.stx_rdev_minor));
	expect("of a descriptor", 0, sc(SYS_statx, 0, "", AT_EMPTY_PATH, STATX_TYPE, &stx));
	expect("nothing there", -ENOENT, sc(SYS_statx, AT_FDCWD, "none", 0, STATX_TYPE, &stx));
	expect("a bad buffer", -EFAULT, sc(SYS_statx, AT_FDCWD, "f", 0, STATX_TYPE, 8));
	expect("unknown flags", -EINVAL, sc(SYS_statx, AT_FDCWD, "f", 1, STATX_TYPE, &stx));
}

CASE(renameat2_replaces_nothing)
{
	put("a", "x");
	put("b", "y");
	mkdir("d", 0755);
	mkdir("e", 0755);
	expect("taken", -EEXIST, sc(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1));
	expect("free", 0, sc(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", 1));
	expect("gone", -1, access("a", F_OK));
	expect("there", 0, access("c", F_OK));
	expect("a folder, taken", -EEXIST, sc(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "e", 1));
	expect("a folder, free", 0, sc(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "f", 1));
	expect("plain", 0, sc(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 0));
	expect("unknown flags", -EINVAL, sc(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "z", 64));
}

CASE(getrandom_fills)
{
	static unsigned char b[70000];
	expect("all of it", sizeof b, sc(SYS_getrandom, b, sizeof b, 0));
	int zeroes = 0;
	for (unsigned i = 0; i < sizeof b; i++) zeroes += !b[i];
	expect_true("with random bytes", zeroes > 50 && zeroes < 1000);
	expect("GRND_NONBLOCK", 16, sc(SYS_getrandom, b, 16, 1));
	expect("unknown flags", -EINVAL, sc(SYS_getrandom, b, 16, 8));
	expect("a bad buffer", -EFAULT, sc(SYS_getrandom, 8, 16, 0));
}

CASE(memfd_create_is_a_file)
{
	struct stat st;
	long fd = sc(SYS_memfd_create, "name", 3);
	expect_true("made", fd >= 0);
	expect("closes on exec", FD_CLOEXEC, fcntl(fd, F_GETFD));
	expect("writes", 5, write(fd, "hello", 5));
	expect("grows", 0, ftruncate(fd, 100));
	fstat(fd, &st);
	expect("size", 100, st.st_size);
	expect("owner", getuid(), st.st_uid);
	expect("may be changed", 0, fchmod(fd, 0600));
	expect("seals", 0, fcntl(fd, 1033, 2));
	expect("sealed", -1, ftruncate(fd, 1));
	long open_on_exec = sc(SYS_memfd_create, "name", 0);
	expect("stays open", 0, fcntl(open_on_exec, F_GETFD));
	expect("unknown flags", -EINVAL, sc(SYS_memfd_create, "name", 0x100));
	expect("a bad name", -EFAULT, sc(SYS_memfd_create, 8, 0));
	char text[300] = {0};
	memset(text, 'n', 250);
	expect("a long name", -EINVAL, sc(SYS_memfd_create, text, 0));
}

CASE(copy_file_range_copies)
{
	char b[32] = {0};
	put("from", "0123456789");
	int from = open("from", O_RDONLY), to = open("to", O_RDWR | O_CREAT, 0644);
	expect("by the files' offsets", 4, sc(SYS_copy_file_range, from, 0, to, 0, (size_t)4, 0));
	expect("moved", 4, lseek(from, 0, SEEK_CUR));
	loff_t at = 7, into = 4;
	expect("by others", 3, sc(SYS_copy_file_range, from, &at, to, &into, (size_t)100, 0));
	expect("the one", 10, at);
	expect("the other", 7, into);
	expect("stayed", 4, lseek(from, 0, SEEK_CUR));
	expect("pread", 7, pread(to, b, 31, 0));
	expect_text("text", "0123789", b);
	expect("at the end", 0, sc(SYS_copy_file_range, from, &at, to, &into, (size_t)100, 0));
	expect("not open for writing", -EBADF, sc(SYS_copy_file_range, to, 0, from, 0, (size_t)4, 0));
	expect("not open", -EBADF, sc(SYS_copy_file_range, 77, 0, to, 0, (size_t)4, 0));
	expect("flags", -EINVAL, sc(SYS_copy_file_range, from, 0, to, 0, (size_t)4, 1));
}

CASE(pidfds)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	pid_t pid = fork();
	if (!pid) {
		char c;
		close(p[1]);
		_exit(read(p[0], &c, 1) == 0 ? 7 : 8);
	}
	long fd = sc(SYS_pidfd_open, pid, 0);
	expect_true("opened", fd >= 0);
	expect("closes on exec", FD_CLOEXEC, fcntl(fd, F_GETFD));
	struct pollfd poll_ = {.fd = fd, .events = POLLIN};
	expect("it runs", 0, poll(&poll_, 1, 0));
	/* The other end of a pipe, which this process closes. */
	long end = sc(SYS_pidfd_getfd, fd, p[0], 0);
	expect_true("a descriptor of it", end >= 0);
	expect("closes on exec too", FD_CLOEXEC, fcntl(end, F_GETFD));
	expect("none of that number", -EBADF, sc(SYS_pidfd_getfd, fd, 777, 0));
	expect("no pidfd", -EBADF, sc(SYS_pidfd_getfd, p[0], 0, 0));
	expect("flags", -EINVAL, sc(SYS_pidfd_getfd, fd, 0, 1));
	close(p[1]);
	expect("it ends", 1, poll(&poll_, 1, 5000));
	int status;
	waitpid(pid, &status, 0);
	expect("status", 7, WEXITSTATUS(status));
	expect("nobody", -ESRCH, sc(SYS_pidfd_open, pid, 0));
	expect("no number", -EINVAL, sc(SYS_pidfd_open, 0, 0));
	expect("unknown flags", -EINVAL, sc(SYS_pidfd_open, getpid(), 1));
}

CASE(pidfd_getfd_of_anothers)
{
	int p[2];
	char c;
	expect("pipe", 0, pipe(p));
	pid_t pid = fork();
	if (!pid) {
		close(p[1]);
		_exit(read(p[0], &c, 1));
	}
	long fd = sc(SYS_pidfd_open, pid, 0);
	int second = sc(SYS_setresgid, 1, 1, 1) == 0 && sc(SYS_setresuid, 1, 1, 1) == 0;
	long got = sc(SYS_pidfd_getfd, fd, 0, 0);
	close(p[1]);
	if (!second) skip("there is no second user");
	expect("root's", -EPERM, got);
}

CASE(processes_that_may_not_be_looked_into)
{
	pid_t pid = fork();
	if (!pid) {
		prctl(PR_SET_DUMPABLE, 0);
		for (;;) pause();
	}
	usleep(20000);
	long fd = sc(SYS_pidfd_open, pid, 0);
	expect_true("one's pidfd", fd >= 0);
	expect_true("root gets a descriptor of it", sc(SYS_pidfd_getfd, fd, 1, 0) >= 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* Who changes its ids is closed to its own user. */
	int dir = open(".", O_PATH | O_DIRECTORY);
	put("f", "text");
	chmod(".", 0755);
	int f = open("f", O_RDONLY), out = open("g", O_WRONLY | O_CREAT, 0644);
	pid = fork();
	if (!pid) {
		if (sc(SYS_setresgid, 1, 1, 1) || sc(SYS_setresuid, 1, 1, 1)) _exit(0);
		struct open_how how = {.resolve = RESOLVE_BENEATH};
		expect_true("from a folder of its own", sc(SYS_openat2, dir, "f", &how, sizeof how) >= 0);
		loff_t from = 0, to = 0;
		expect("its files", 4, sc(SYS_copy_file_range, f, &from, out, &to, 4, 0));
		_exit(failures != 0);
	}
	int status;
	waitpid(pid, &status, 0);
	expect("status", 0, status);
}

/* On its own descriptors, those of the first thread being others. */
static void *apart(void *of_first)
{
	expect("unshare", 0, unshare(CLONE_FILES));
	close(*(int *)of_first);
	mkdir("apart", 0755);
	put("apart/f", "text");
	int dir = open("apart", O_PATH | O_DIRECTORY), f = open("apart/f", O_RDONLY), out = open("g", O_WRONLY | O_CREAT, 0644);
	struct open_how how = {.resolve = RESOLVE_BENEATH};
	expect_true("openat2", sc(SYS_openat2, dir, "f", &how, sizeof how) >= 0);
	expect("fchmodat2", 0, sc(SYS_fchmodat2, f, "", 0640, AT_EMPTY_PATH));
	loff_t from = 0, to = 0;
	/* Before Linux 6.9 a pidfd is of a whole process (PIDFD_THREAD), and the monitor comes to its first thread's alone. */
	struct utsname host;
	int a = 0, b = 0;
	uname(&host);
	sscanf(host.release, "%d.%d", &a, &b);
	expect("copy_file_range", a > 6 || (a == 6 && b >= 9) ? 4 : -EBADF, sc(SYS_copy_file_range, f, &from, out, &to, 4, 0));
	return NULL;
}

CASE(threads_with_descriptors_of_their_own)
{
	pthread_t thread;
	int fd = open(".", O_RDONLY | O_DIRECTORY);
	expect("pthread_create", 0, pthread_create(&thread, NULL, apart, &fd));
	pthread_join(thread, NULL);
}

CASE(preadv2_and_pwritev2)
{
	char b[16] = {0};
	struct iovec two[2] = {{"abc", 3}, {"def", 3}}, in = {b, 4};
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	expect("at 2", 6, sc(SYS_pwritev2, fd, two, 2, 2L, 0L, 0));
	expect("at its own", 6, sc(SYS_pwritev2, fd, two, 2, -1L, -1L, 4));
	expect("own offset", 6, lseek(fd, 0, SEEK_CUR));
	expect("read at 4", 4, sc(SYS_preadv2, fd, &in, 1, 4L, 0L, 0));
	expect_text("text", "efef", b);
	expect("read on", 2, sc(SYS_preadv2, fd, &in, 1, -1L, -1L, 1));
	expect("unknown flags", -EOPNOTSUPP, sc(SYS_preadv2, fd, &in, 1, 0L, 0L, 0x8000));
}

CASE(preadv2_waits)
{
	int p[2];
	char b[4];
	struct iovec in = {b, 4};
	expect("pipe", 0, pipe(p));
	if (!fork()) {
		usleep(200000);
		_exit(write(p[1], "x", 1) != 1);
	}
	expect("waits", 1, sc(SYS_preadv2, p[0], &in, 1, -1L, -1L, 0));
}

static volatile int rang;
static void ring(int n) { rang = n; }

CASE(epoll_pwait2_waits)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	int e = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN}, got[4];
	epoll_ctl(e, EPOLL_CTL_ADD, p[0], &event);
	int64_t none[2] = {0, 0}, some[2] = {0, 50000000}, wrong[2] = {0, 1000000000};
	expect("nothing", 0, sc(SYS_epoll_pwait2, e, got, 4, none, 0, 8));
	double before = plain_now();
	expect("after a while", 0, sc(SYS_epoll_pwait2, e, got, 4, some, 0, 8));
	double took = plain_now() - before;
	if (took < 0.049 || took > 5) fail("a wait, expected 50 ms, got %f s", took);
	expect("no time", -EINVAL, sc(SYS_epoll_pwait2, e, got, 4, wrong, 0, 8));
	struct sigaction action = {.sa_handler = ring};
	sigaction(SIGALRM, &action, 0);
	struct timeval soon = {0, 100000};
	struct itimerval timer = {.it_value = soon};
	setitimer(ITIMER_REAL, &timer, 0);
	expect("a signal", -EINTR, sc(SYS_epoll_pwait2, e, got, 4, 0, 0, 8));
	expect("was served", SIGALRM, rang);
	if (!fork()) {
		usleep(100000);
		_exit(write(p[1], "x", 1) != 1);
	}
	expect("an event", 1, sc(SYS_epoll_pwait2, e, got, 4, 0, 0, 8));
	/* A signal mask for as long as it waits. */
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGALRM);
	rang = 0;
	char c;
	expect("read", 1, read(p[0], &c, 1));
	setitimer(ITIMER_REAL, &timer, 0);
	int64_t longer[2] = {0, 400000000};
	expect("no signal", 0, sc(SYS_epoll_pwait2, e, got, 4, longer, &blocked, 8));
	expect("served then", SIGALRM, rang);
}

CASE(many_wait_at_once)
{
	int e = epoll_create1(0), status, bad = 0;
	int64_t some[2] = {1, 0};
	struct epoll_event got;
	for (int i = 0; i < 100; i++)
		if (!fork()) _exit(sc(SYS_epoll_pwait2, e, &got, 1, some, 0, 8) != 0);
	double before = plain_now();
	/* Others are answered meanwhile. */
	char b[8];
	expect("getrandom", 8, sc(SYS_getrandom, b, 8, 0));
	for (int i = 0; i < 100; i++) {
		wait(&status);
		bad += status != 0;
	}
	expect("all waited", 0, bad);
	expect_true("side by side", plain_now() - before < 20);
}

CASE(futex_waitv_of_one)
{
	uint32_t word = 1;
	struct { uint64_t val, uaddr; uint32_t flags, reserved; } w = {2, (uintptr_t)&word, 2 | 128, 0};
	expect("another value", -EAGAIN, sc(SYS_futex_waitv, &w, 1, 0, 0, 0));
	expect("none", -EINVAL, sc(SYS_futex_waitv, &w, 0, 0, 0, 0));
	w.val = 1;
	w.flags = 2;
	uint32_t *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*shared = 1;
	w.uaddr = (uintptr_t)shared;
	if (!fork()) {
		for (int i = 0; i < 200 && sc(SYS_futex, shared, FUTEX_WAKE, 1, 0, 0, 0) != 1; i++) usleep(20000);
		_exit(0);
	}
	expect("woken", 0, sc(SYS_futex_waitv, &w, 1, 0, 0, 0));
}

CASE(close_range_closes)
{
	for (int fd = 10; fd < 20; fd++) dup2(0, fd);
	expect("some", 0, sc(SYS_close_range, 12, 14, 0));
	for (int fd = 10; fd < 20; fd++)
		expect("open or not", fd >= 12 && fd <= 14 ? -1 : 0, fcntl(fd, F_GETFD));
	expect("on exec", 0, sc(SYS_close_range, 15, ~0U, 4));
	expect("before", 0, fcntl(11, F_GETFD));
	expect("from there", FD_CLOEXEC, fcntl(15, F_GETFD));
	expect("backwards", -EINVAL, sc(SYS_close_range, 4, 3, 0));
	expect("unknown flags", -EINVAL, sc(SYS_close_range, 3, 4, 8));
	expect("all", 0, sc(SYS_close_range, 3, ~0U, 0));
	expect("gone", -1, fcntl(19, F_GETFD));
	expect("not these", 0, fcntl(2, F_GETFD));
}

CASE(execveat_executes)
{
	char *argv[] = {"sh", "-c", "exit 7", 0}, *envp[] = {0};
	int bin = open("/bin", O_PATH), sh = open("/bin/sh", O_PATH | O_CLOEXEC);
	expect("by path", 7 << 8, in_child(sc(SYS_execveat, AT_FDCWD, "/bin/sh", argv, envp, 0)));
	expect("by folder", 7 << 8, in_child(sc(SYS_execveat, bin, "sh", argv, envp, 0)));
	expect("by descriptor", 7 << 8, in_child(sc(SYS_execveat, sh, "", argv, envp, AT_EMPTY_PATH)));
	expect("no path", -ENOENT, sc(SYS_execveat, sh, "", argv, envp, 0));
	expect("nothing there", -ENOENT, sc(SYS_execveat, bin, "none", argv, envp, 0));
	expect("not open", -EBADF, sc(SYS_execveat, 77, "sh", argv, envp, 0));
	expect("unknown flags", -EINVAL, sc(SYS_execveat, bin, "sh", argv, envp, 1));
	expect("symlink", 0, symlink("/bin/sh", "l"));
	expect("a link", -ELOOP, sc(SYS_execveat, AT_FDCWD, "l", argv, envp, AT_SYMLINK_NOFOLLOW));
}
