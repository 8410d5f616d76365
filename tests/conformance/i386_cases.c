// kernel: all
// abi: i386
// native: passes
/*
 * Calls that only i386 has and that programs before glibc 2.1 make: old select, mmap and signals, ids of
 * 16 bits, the multiplexers socketcall and ipc. They live on in the kernel's compat layer
 * (arch/x86/entry/syscalls/syscall_32.tbl).
 */
#include "cases.h"
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/times.h>

CASE(old_mmap_takes_a_block)
{
	struct { unsigned long addr, len, prot, flags, fd, offset; } a =
		{0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0};
	long p = sc(90, &a);
	expect_true("mmap", (unsigned long)p < -4095UL);
	*(char *)p = 1;
	a.offset = 1;
	expect("an odd offset", -EINVAL, sc(90, &a));
	expect("a bad pointer", -EFAULT, sc(90, 8));
}

CASE(mmap2_counts_pages)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	expect("pwrite", 1, pwrite(fd, "Z", 1, 8192));
	char *p = (char *)sc(192, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 2);
	expect("byte", 'Z', *p);
}

CASE(old_select_takes_a_block)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	expect("write", 1, write(p[1], "x", 1));
	fd_set in;
	FD_ZERO(&in);
	FD_SET(p[0], &in);
	struct timeval t = {1, 0};
	struct { unsigned long n; fd_set *in, *out, *ex; struct timeval *t; } a = {p[0] + 1, &in, 0, 0, &t};
	expect("select", 1, sc(82, &a));
}

CASE(waitpid_of_old)
{
	pid_t pid = fork();
	if (!pid) _exit(5);
	int status;
	expect("waitpid", pid, sc(7, pid, &status, 0));
	expect("status", 5, WEXITSTATUS(status));
}

static volatile int caught;

static void catch(int n)
{
	caught = n;
}

CASE(old_signal_resets)
{
	expect("signal", 0, sc(48, SIGUSR1, catch));
	expect("kill", 0, sc(37, getpid(), SIGUSR1));
	expect("caught", SIGUSR1, caught);
	expect("handler now", (long)SIG_DFL, sc(48, SIGUSR1, SIG_IGN));
}

CASE(sgetmask_and_ssetmask)
{
	expect("ssetmask", 0, sc(69, 1 << (SIGUSR1 - 1)));
	expect("sgetmask", 1 << (SIGUSR1 - 1), sc(68));
	expect("ssetmask back", 1 << (SIGUSR1 - 1), sc(69, 0));
}

CASE(time_of_old)
{
	int t = 0;
	long now = sc(13, &t);
	expect("what it stored", now, t);
	expect_true("after 2020", now > 1577836800);
	expect("a bad pointer", -EFAULT, sc(13, 8));
}

CASE(nice_of_old)
{
	expect("nice", 0, sc(34, 3));
	expect("priority", 3, getpriority(PRIO_PROCESS, 0));
}

CASE(ids_of_sixteen_bits)
{
	expect("getuid", 0, sc(24));
	expect("geteuid", 0, sc(49));
	expect("getgid", 0, sc(47));
	unsigned short r = 9, e = 9, s = 9;
	expect("getresuid", 0, sc(165, &r, &e, &s));
	expect("real", 0, r);
	expect("saved", 0, s);
}

CASE(chown_of_sixteen_bits)
{
	int fd = open("f", O_CREAT | O_WRONLY, 0644);
	if (sc(95, fd, 12, 34) == -EINVAL) skip("only one id is mapped here");
	struct stat st;
	fstat(fd, &st);
	expect("uid", 12, st.st_uid);
	expect("-1 leaves it", 0, sc(182, "f", 0xffff, 7));
	fstat(fd, &st);
	expect("uid", 12, st.st_uid);
	expect("gid", 7, st.st_gid);
}

CASE(old_getrlimit_is_signed)
{
	struct { unsigned long cur, max; } l;
	expect("old_getrlimit", 0, sc(76, RLIMIT_CPU, &l));
	expect("no limit", 0x7fffffff, l.cur);
	expect("ugetrlimit", 0, sc(191, RLIMIT_CPU, &l));
	expect("no limit", 0xffffffffu, l.cur);
}

CASE(socketcall_makes_sockets)
{
	int s[2];
	unsigned long a[4] = {1, 1, 0, (unsigned long)s};
	expect("socketpair", 0, sc(102, 8, a));
	unsigned long w[4] = {s[0], (unsigned long)"hey", 3, 0};
	expect("send", 3, sc(102, 9, w));
	char b[4] = "";
	unsigned long r[4] = {s[1], (unsigned long)b, 3, 0};
	expect("recv", 3, sc(102, 10, r));
	expect_text("text", "hey", b);
	expect("number 99", -EINVAL, sc(102, 99, a));
}

CASE(ipc_makes_shared_memory)
{
	long id = sc(117, 23, 0, 4096, 01600, 0, 0);
	expect_true("shmget", id >= 0);
	unsigned long at = 0;
	expect("shmat", 0, sc(117, 21, id, 0, &at, 0, 0));
	*(int *)at = 3;
	expect("shmdt", 0, sc(117, 22, 0, 0, 0, at, 0));
	expect("IPC_RMID", 0, sc(117, 24, id, 0, 0, 0, 0));
}

CASE(llseek_of_wide_offsets)
{
	int fd = open("f", O_RDWR | O_CREAT | O_LARGEFILE, 0644);
	long long at;
	expect("_llseek", 0, sc(140, fd, 1, 5, &at, SEEK_SET));
	expect_true("offset", at == (1LL << 32) + 5);
}

CASE(newselect_waits)
{
	struct timeval t = {0, 10000};
	expect("_newselect", 0, sc(142, 0, 0, 0, 0, &t));
}

CASE(readdir_gives_one_entry)
{
	close(open("f", O_CREAT | O_WRONLY, 0644));
	int fd = open(".", O_RDONLY), names = 0;
	struct { unsigned long ino, off; unsigned short len; char name[256]; } e;
	long n;
	while ((n = sc(89, fd, &e, 1)) == 1 && names < 9) names++;
	expect("at the end", 0, n);
	expect("names", 3, names);
}

CASE(getdents_of_old)
{
	close(open("f", O_CREAT | O_WRONLY, 0644));
	int fd = open(".", O_RDONLY);
	char b[1024];
	long n = sc(141, fd, b, sizeof b), names = 0;
	expect_true("getdents", n > 0);
	for (long at = 0; at < n; at += *(unsigned short *)(b + at + 8)) names++;
	expect("names", 3, names);
	expect("getdents at the end", 0, sc(141, fd, b, sizeof b));
	lseek(fd, 0, SEEK_SET);
	expect("a small buffer", -EINVAL, sc(141, fd, b, 8));
}

CASE(oldstat_of_a_small_file)
{
	struct { unsigned short dev, ino, mode, nlink, uid, gid, rdev; unsigned long size, at, mt, ct; } s;
	int fd = open("f", O_CREAT | O_WRONLY, 0640);
	expect("write", 5, write(fd, "12345", 5));
	expect("oldstat", 0, sc(18, "f", &s));
	expect("size", 5, s.size);
	expect("mode", S_IFREG | 0640, s.mode);
	expect("oldfstat", 0, sc(28, fd, &s));
	expect("links", 1, s.nlink);
	symlink("f", "l");
	expect("oldlstat", 0, sc(84, "l", &s));
	expect_true("a link", S_ISLNK(s.mode));
	expect("oldstat of nothing", -ENOENT, sc(18, "none", &s));
	expect("a bad pointer", -EFAULT, sc(18, "f", 8));
}

CASE(modify_ldt_gives_a_segment)
{
	/* struct user_desc: entry 5, a 32-bit data segment of one page. */
	struct { unsigned entry, base, limit, bits; } d = {5, 0x1000, 0, 0x51};
	long r = sc(123, 1, &d, sizeof d);
	if (r == -ENOSYS) skip("this kernel is built without modify_ldt");
	expect("modify_ldt", 0, r);
}

CASE(vm86_and_others_that_are_gone)
{
	int gone[] = {17, 31, 32, 35, 44, 53, 56, 58, 98};
	for (unsigned i = 0; i < sizeof gone / sizeof *gone; i++) {
		char what[16];
		snprintf(what, sizeof what, "call %d", gone[i]);
		expect(what, -ENOSYS, sc(gone[i], 0, 0, 0));
	}
}

CASE(pause_and_alarm)
{
	sc(48, SIGALRM, catch);
	expect("alarm", 30, sc(27, 1));
	expect("pause", -EINTR, sc(29));
	expect("caught", SIGALRM, caught);
}

CASE(a_register_survives_the_call)
{
	long ebx, ecx, edx, esi, edi;
	__asm__ volatile("int $0x80" : "=b"(ebx), "=c"(ecx), "=d"(edx), "=S"(esi), "=D"(edi)
		: "a"(122), "b"(0), "c"(0x2222), "d"(0x3333), "S"(0x4444), "D"(0x5555) : "memory");
	expect("ebx", 0, ebx);
	expect("ecx", 0x2222, ecx);
	expect("edx", 0x3333, edx);
	expect("esi", 0x4444, esi);
	expect("edi", 0x5555, edi);
}
