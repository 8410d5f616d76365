// kernel: 2.6.32 host
// abi: amd64
// native: fails
// cflags: -pthread
// options: vsyscall=rewrite
/*
 * Until glibc 2.14 amd64 programs called time, gettimeofday and getcpu at fixed addresses in the vsyscall
 * page. A host with vsyscall=none has no such page; with vsyscall=xonly it has one that nobody can read. In a
 * zone that rewrites them such calls are system calls, and the file that they came from is what it was.
 */
#include "page.h"
#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

extern char **environ;

/* `mov $0xffffffffff600400,%rax; call *%rax` and so on, as gcc made them of a constant function pointer. */
#define CALLER(name, address) \
	__asm__(".text\n.globl " #name "\n" #name ":\n\tsub $8,%rsp\n" #name "_site:\n\t" \
		".byte 0x48,0xc7,0xc0; .long " address "\n\t.byte 0xff,0xd0\n\tadd $8,%rsp\n\tret"); \
	long name(void *, void *); \
	extern const unsigned char name##_site[]
CALLER(old_gettimeofday, "0xff600000");
CALLER(old_time, "0xff600400");
CALLER(old_getcpu, "0xff600800");
/* The last call of a function. */
__asm__(".globl old_tail\nold_tail:\n\t.byte 0x48,0xc7,0xc0; .long 0xff600400\n\t.byte 0xff,0xe0\n\tud2");
long old_tail(void *, void *);
extern const unsigned char old_tail_site[] __asm__("old_tail");

static int is_rewritten(const unsigned char *site)
{
	return site[0] == 0xb8 && site[5] == 0x0f && site[6] == 0x05;
}

static void calls_work(const char *where)
{
	char what[100];
	struct timeval tv = { 0 };
	unsigned cpu = ~0u;
	snprintf(what, sizeof what, "%s: the calls are system calls", where);
	expect(what, 15, is_rewritten(old_gettimeofday_site) | is_rewritten(old_time_site) << 1 |
	       is_rewritten(old_getcpu_site) << 2 | is_rewritten(old_tail_site) << 3);
	time_t before = time(0);
	long got = old_time(0, 0);
	snprintf(what, sizeof what, "%s: the time", where);
	expect_true(what, got >= before - 1 && got <= before + 5);
	got = old_tail(0, 0);
	expect_true("the time, last in a function", got >= before - 1 && got <= before + 5);
	expect("gettimeofday", 0, old_gettimeofday(&tv, 0));
	expect_true("its seconds", tv.tv_sec >= before - 1 && tv.tv_sec <= before + 5);
	expect("getcpu", 0, old_getcpu(&cpu, 0));
	expect_true("a CPU", cpu < 4096);
}

static void ended_well(const char *what, pid_t pid)
{
	int status = -1;
	expect(what, pid, waitpid(pid, &status, 0));
	expect(what, 0, status);
}

static char *const again[] = { "vsyscall", "again", 0 };

static void *exec_here(void *unused)
{
	(void)unused;
	execve("/proc/self/exe", again, environ);
	return 0;
}

static void *exec_nothing(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		expect("exec of nothing", -ENOENT, sc(SYS_execve, "/none", again, environ));
		expect("exec of a folder", -EACCES, sc(SYS_execve, "/", again, environ));
	}
	return 0;
}

static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }

/* A file's code, mapped as a library's is; `at` is where in the file the call begins. */
static void mapped(const char *dir, long at)
{
	static const unsigned char code[] = { 0x48, 0x83, 0xec, 8, 0x48, 0xc7, 0xc0, 0, 4, 0x60, 0xff, 0xff, 0xd0,
					      0x48, 0x83, 0xc4, 8, 0xc3 };
	char path[200], there[sizeof code];
	snprintf(path, sizeof path, "%s/code", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
	expect("writing code", sizeof code, pwrite(fd, code, sizeof code, at));
	long page = at & -4096;
	unsigned char *map = mmap(0, at - page + sizeof code, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, page);
	if (map == MAP_FAILED) return fail("mmap of code, expected a mapping, got errno %d", errno);
	char what[64];
	snprintf(what, sizeof what, "code that is mapped later, at %ld", at);
	expect(what, 1, is_rewritten(map + (at - page) + 4));
	expect_true("its time", labs(((long (*)(long))(map + (at - page)))(0) - time(0)) < 5);
	expect("the file", sizeof code, pread(fd, there, sizeof there, at));
	expect("its content", 0, memcmp(code, there, sizeof code));
	/* Arguments that the kernel refuses are refused as ever. */
	expect("an odd offset", -EINVAL, sc(SYS_mmap, 0, 4096, PROT_EXEC, MAP_PRIVATE, fd, 1));
	expect("no descriptor", -EBADF, sc(SYS_mmap, 0, 4096, PROT_EXEC, MAP_PRIVATE, 99, 0));
	munmap(map, at - page + sizeof code);
	close(fd);
}

int main(int argc, char **argv)
{
	fail_without_page();
	level(argc, argv);
	calls_work(argv[1]);
	if (!strcmp(argv[1], "again") || failures) return verdict();

	pid_t pid = fork();
	if (!pid) {
		calls_work("a forked child");
		_exit(failures != 0);
	}
	ended_well("fork", pid);
	if (!(pid = vfork())) {
		execve("/proc/self/exe", again, environ);
		_exit(1);
	}
	ended_well("vfork and exec", pid);
	if (!(pid = fork())) {
		pthread_t thread;
		pthread_create(&thread, 0, exec_here, 0);
		pause();
	}
	ended_well("exec by another thread than the first", pid);

	pthread_t threads[4];
	for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, exec_nothing, 0);
	for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);

	/* Signals keep coming, and none is lost or changed. */
	struct sigaction act = { .sa_handler = tick, .sa_flags = SA_RESTART };
	sigaction(SIGRTMIN, &act, 0);
	const char *dir = scratch();
	pid_t parent = getpid();
	if (!(pid = fork())) {
		for (int i = 0; i < 300; i++) {
			union sigval value = { .sival_int = i };
			while (sigqueue(parent, SIGRTMIN, value)) usleep(100);
			usleep(200);
		}
		_exit(0);
	}
	for (long at = 0; at < 12000; at += 311) mapped(dir, at);
	exec_nothing(0);
	ended_well("the sender", pid);
	expect("signals", 300, ticks);

	/* Killed and stopped in the middle of an exec. */
	for (int i = 0; i < 20; i++) {
		if (!(pid = fork())) {
			execve("/proc/self/exe", again, environ);
			_exit(1);
		}
		usleep(100 * i);
		kill(pid, SIGSTOP);
		int status;
		pid_t seen = waitpid(pid, &status, WUNTRACED);
		expect("a child that is to stop", pid, seen);
		if (WIFSTOPPED(status)) {
			kill(pid, i % 2 ? SIGCONT : SIGKILL);
			expect("its end", pid, waitpid(pid, &status, 0));
		}
		expect_true("it ended as told", status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	}
	return verdict();
}
