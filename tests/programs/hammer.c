/* `hammer TABLE SEED SECONDS`: makes every call of a table, with random and with nearly valid arguments, from many threads of many
   processes, while others of their threads unmap and protect the memory, close the descriptors, execute, and die.
   TABLE has a line for each call: its number, then groups of arguments that a row asks for: `63 0:1c,2:7 1:0`.
   `hammer calm SECONDS` makes one call after the other, and prints how long they took; `hammer waits COUNT SECONDS` has so many
   threads wait for the kernel's log. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLERS = 3, VICTIMS = 6, PAGES = 48, PAGE = 4096, MOST_CALLS = 1024, MOST_WANTED = 12288, MOST_SAMPLES = 1 << 16 };

struct wanted { unsigned char group, at; unsigned long long value; };
struct call { unsigned nr; int first, count, groups; };

static struct call calls[MOST_CALLS];
static struct wanted wanted[MOST_WANTED];
static int calls_count, wanted_count;
static unsigned last_nr;
/* Shared with all victims. */
static struct { long calls[VICTIMS], valid; } *seen;
static char *arena;
static __thread sigjmp_buf back;
static __thread int guarded;

static const char *const strings[] = {
	"/tmp/h", "/tmp/h/a", "/tmp/h/b", "a", "", ".", "..", "/", "/proc", "/proc/self/status", "/proc/self/fd", "/proc/1/root",
	"/sys", "/dev/null", "/dev/pts", "/dev/console", "/tmp/h/loop", "/tmp/h/pipe", "/tmp/h/true", "/proc/self/exe", "proc", "sysfs", "devpts",
	"tmpfs", "devtmpfs", "none", "nothing/../../../..", "user.h",
};
static const unsigned long words[] = {
	0, 1, 2, 3, 4, 7, 8, 10, 13, 16, 18, 64, 256, 390, 4095, 4096, 4097, 65536, 0x7fffffff, 0x80000000, 0xffffffff, -1ul, -2ul, -100ul,
	S_IFCHR | 0666, S_IFBLK | 0600, S_IFIFO | 0644, 0x103, 0x105, 0x500, 0x501, 0x800, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, O_RDWR | O_CREAT,
	0xc0ed0000, 0x1000, 0x20, 0xfee1dead, 0x28121969, 0x89abcdef,
};
#define COUNT(a) (sizeof (a) / sizeof *(a))

/* xorshift64: Marsaglia, Xorshift RNGs, 2003. */
static unsigned long long roll(unsigned long long *dice)
{
	*dice ^= *dice << 13, *dice ^= *dice >> 7, *dice ^= *dice << 17;
	return *dice;
}

static unsigned long below(unsigned long long *dice, unsigned long bound) { return (roll(dice) >> 11) % bound; }

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_table(const char *path)
{
	char line[8192];
	FILE *file = fopen(path, "r");
	if (!file) perror(path), exit(2);
	while (calls_count < MOST_CALLS && fgets(line, sizeof line, file)) {
		struct call *call = calls + calls_count++;
		char *next = line, *end;
		call->nr = strtoul(next, &next, 10);
		call->first = wanted_count;
		if (call->nr > last_nr) last_nr = call->nr;
		for (; *next == ' '; call->groups++)
			do {
				unsigned at = strtoul(next + 1, &end, 10);
				if (*end != ':' || wanted_count == MOST_WANTED) exit(2);
				wanted[wanted_count++] = (struct wanted) { call->groups, at, strtoull(end + 1, &next, 16) };
			} while (*next == ',');
		call->count = wanted_count - call->first;
	}
	fclose(file);
}

static void *somewhere(unsigned long long *dice)
{
	/* Often so that a structure ends where its page does. */
	unsigned long page = below(dice, PAGES), in = below(dice, 3) ? below(dice, PAGE) & ~7ul : PAGE - below(dice, 128);
	return arena + page * PAGE + in;
}

static unsigned long any_word(unsigned long long *dice)
{
	switch (below(dice, 16)) {
	case 0: case 1: case 2: case 3: case 4: return (unsigned long)somewhere(dice);
	case 5: case 6: return (unsigned long)strings[below(dice, COUNT(strings))];
	case 7: case 8: return below(dice, 40);
	case 9: case 10: case 11: return words[below(dice, COUNT(words))];
	case 12: return below(dice, 2) ? (unsigned long)getpid() : (unsigned long)syscall(SYS_gettid);
	case 13: return 1ul << below(dice, 8 * sizeof (long));
	case 14: return (unsigned long)arena + PAGES * PAGE - below(dice, 64);
	default: return roll(dice);
	}
}

static void on_fault(int signal)
{
	if (!guarded) _exit(100 + signal);
	siglongjmp(back, 1);
}

static void on_alarm(int signal) { (void)signal; }

/* What a pointer leads to: words that are nearly something, or a text. */
static void fill(unsigned long long *dice)
{
	if (sigsetjmp(back, 0)) { guarded = 0; return; }
	guarded = 1;
	char *at = somewhere(dice);
	if (below(dice, 3)) {
		unsigned long *to = (void *)((uintptr_t)at & ~7ul);
		for (int i = 0; i < 16 && (char *)(to + i) < arena + PAGES * PAGE - 8; i++) to[i] = any_word(dice);
	} else {
		snprintf(at, 24, "%s", strings[below(dice, COUNT(strings))]);
	}
	guarded = 0;
}

static void call_one(unsigned long long *dice, long *count)
{
	unsigned long a[6];
	unsigned nr;
	for (int i = 0; i < 6; i++) a[i] = any_word(dice);
	if (below(dice, 64)) {
		const struct call *call = calls + below(dice, calls_count);
		nr = call->nr;
		if (call->groups && below(dice, 4)) {
			unsigned group = below(dice, call->groups);
			for (int i = call->first; i < call->first + call->count; i++)
				if (wanted[i].group == group) a[wanted[i].at] = wanted[i].value;
		}
		/* Words for the end of the zone are for its own tests. */
		if (nr == SYS_reboot && (unsigned)a[2] != 0 && (unsigned)a[2] != 0x89abcdef) a[2] = 0;
#ifdef SYS_vfork
		if (nr == SYS_vfork) return;
#endif
		/* A child of a call that is half valid would go on with the caller's stack. */
		if (nr == SYS_clone) a[0] &= ~(CLONE_VM | CLONE_VFORK | CLONE_THREAD | CLONE_SIGHAND), a[1] = 0;
	} else {
		nr = last_nr + 1 + below(dice, 64);
	}
	long result = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (nr == SYS_clone && result == 0) _exit(0);
	++*count;
	if (result != -1) seen->valid++;
}

struct thread { unsigned long long dice; int at; };

static void *calls_on(void *given)
{
	struct thread *own = given;
	for (;;) {
		if (!below(&own->dice, 3)) fill(&own->dice);
		call_one(&own->dice, &seen->calls[own->at]);
	}
	return 0;
}

static void *moves_memory(void *given)
{
	struct thread *own = given;
	static const int protections[] = { PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC };
	for (;;) {
		char *at = arena + below(&own->dice, PAGES) * PAGE;
		size_t len = (1 + below(&own->dice, 3)) * PAGE;
		if (at + len > arena + PAGES * PAGE) len = PAGE;
		switch (below(&own->dice, 6)) {
		case 0: munmap(at, len); break;
		case 1: case 2: mprotect(at, len, protections[below(&own->dice, COUNT(protections))]); break;
		case 3: madvise(at, len, MADV_DONTNEED); break;
		default: (void)!mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		}
		if (!below(&own->dice, 8)) usleep(100);
	}
	return 0;
}

static void *moves_descriptors(void *given)
{
	struct thread *own = given;
	for (;;) {
		int fd = 3 + below(&own->dice, 37), pair[2];
		switch (below(&own->dice, 8)) {
		case 0: case 1: close(fd); break;
		case 2: dup2(below(&own->dice, 40), fd); break;
		case 3: if (!pipe(pair)) dup2(pair[0], fd), close(pair[0]), close(pair[1]); break;
		case 4: if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) dup2(pair[0], fd), close(pair[0]), close(pair[1]); break;
		default: {
			int opened = open(strings[below(&own->dice, COUNT(strings))], below(&own->dice, 2) ? O_RDONLY | O_NONBLOCK : O_PATH);
			if (opened >= 40) dup2(opened, fd), close(opened);
		}
		}
		if (!below(&own->dice, 8)) usleep(200);
	}
	return 0;
}

/* A process that is under way to its end. */
static void be_victim(int at, unsigned long long seed, char **argv)
{
	static struct thread own[CALLERS + 2];
	pthread_t thread;
	unsigned long long dice = seed;
	struct sigaction fault = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct sigaction alarm = { .sa_handler = on_alarm, .sa_flags = below(&dice, 2) ? SA_RESTART : 0 };
	sigaction(SIGSEGV, &fault, 0), sigaction(SIGBUS, &fault, 0), sigaction(SIGALRM, &alarm, 0);
	signal(SIGPIPE, SIG_IGN), signal(SIGSYS, SIG_IGN);
	for (int fd = 0; fd < 3; fd++) dup2(open("/dev/null", O_RDWR), fd);
	switch (below(&dice, 12)) {
	case 0: unshare(CLONE_NEWUSER); break;
	case 1: unshare(CLONE_NEWUTS); break;
	case 2: unshare(CLONE_NEWNS); break;
	case 3: (void)!(chroot("/tmp/h") || chdir("/")); break;
	case 4: (void)!(setgid(1000) || setuid(1000)); break;
	case 5: prctl(PR_SET_DUMPABLE, 0); break;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!below(&dice, 3)) {
		struct itimerval often = { { 0, 700 }, { 0, 700 } };
		setitimer(ITIMER_REAL, &often, 0);
	}
	for (int i = 0; i < CALLERS + 2; i++) {
		void *(*work)(void *) = i < CALLERS ? calls_on : i == CALLERS ? moves_memory : moves_descriptors;
		own[i] = (struct thread) { roll(&dice) | 1, at };
		pthread_create(&thread, 0, work, own + i);
	}
	usleep(1000 + below(&dice, 200000));
	switch (below(&dice, 6)) {
	case 0:
		if (!argv) break;
		/* The program once more, in the middle of the others' calls. */
		for (int fd = 3; fd < 48; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
		execv("/proc/self/exe", argv);
		break;
	case 1:
		/* A child goes on with a copy of memory and descriptors. */
		if (fork() == 0) {
			for (int i = 0; i < 40; i++) call_one(&dice, &seen->calls[at]);
			_exit(0);
		}
		break;
	case 2: abort();
	case 3: for (;;) pause();
	}
	_exit(0);
}

/* Attaches to a victim, which the monitor can then not, and goes away. */
static void debug(pid_t victim)
{
	pid_t child = fork();
	if (child) {
		if (child > 0) waitpid(child, 0, 0);
		return;
	}
	if (!ptrace(PTRACE_SEIZE, victim, 0, 0) && !ptrace(PTRACE_INTERRUPT, victim, 0, 0))
		/* One whose call waits does not stop. */
		for (int i = 0; i < 10 && waitpid(victim, 0, __WALL | WUNTRACED | WNOHANG) == 0; i++) usleep(500);
	_exit(0);
}

/* Waits for a victim's end. One of its threads may have this process for its tracer (PTRACE_TRACEME), who then has to take in
   that one's end before. */
static void reap(pid_t victim, pid_t *victims)
{
	for (pid_t ended = 0; ended != victim && (ended = waitpid(-1, 0, __WALL)) > 0;)
		for (int i = 0; i < VICTIMS; i++)
			if (victims[i] == ended) victims[i] = 0;
}

static int hammer(char **argv)
{
	unsigned long long dice = strtoull(argv[2], 0, 10) | 1;
	double end = now() + atof(argv[3]);
	pid_t victims[VICTIMS] = { 0 };
	int begun = 0, stopped = 0;
	long all = 0;
	read_table(argv[1]);
	seen = mmap(0, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* With nothing beside it that a call could overwrite. */
	arena = mmap(0, 4 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	arena += 2 * PAGES * PAGE;
	mprotect(arena, PAGES * PAGE, PROT_READ | PROT_WRITE);
	mkdir("/tmp/h", 0777), chmod("/tmp/h", 0777);
	(void)!(symlink("loop", "/tmp/h/loop") + mkfifo("/tmp/h/pipe", 0666));
	while (now() < end) {
		int at = below(&dice, VICTIMS);
		/* Those who are at their end, and children that they gave to this process (CLONE_PARENT). */
		for (pid_t ended; (ended = waitpid(-1, 0, WNOHANG | __WALL)) > 0;)
			for (int i = 0; i < VICTIMS; i++)
				if (victims[i] == ended) victims[i] = 0;
		if (victims[at]) {
			if (!below(&dice, 4)) debug(victims[at]);
			if (!below(&dice, 4)) kill(victims[at], SIGSTOP), stopped++;
			usleep(500 + below(&dice, 30000));
			kill(victims[at], SIGCONT);
			kill(victims[at], SIGKILL);
			reap(victims[at], victims);
		}
		unsigned long long seed = roll(&dice) | 1;
		victims[at] = fork();
		if (victims[at] == 0) {
			char number[24], *words[] = { argv[0], argv[1], number, "0.2", 0 };
			snprintf(number, sizeof number, "%llu", seed);
			be_victim(at, seed, atof(argv[3]) > 1 ? words : 0);
		}
		if (victims[at] < 0) victims[at] = 0, usleep(2000);
		else begun++;
	}
	for (int at = 0; at < VICTIMS; at++) {
		if (victims[at]) kill(victims[at], SIGKILL), reap(victims[at], victims);
		all += seen->calls[at];
	}
	while (waitpid(-1, 0, WNOHANG | __WALL) > 0) {}
	printf("hammer %ld calls of %d, %ld answered well, %d processes\n", all, calls_count, seen->valid, begun);
	return 0;
}

/* Kills the children of this process, who are in any group; proc is /proc as it was before somebody could mount over it. */
static void kill_children(int proc)
{
	char path[32], text[512];
	int copy = openat(proc, ".", O_RDONLY | O_DIRECTORY);
	DIR *all = copy < 0 ? 0 : fdopendir(copy);
	for (struct dirent *entry; all && (entry = readdir(all));) {
		pid_t pid = atoi(entry->d_name), parent = 0;
		snprintf(path, sizeof path, "%d/stat", pid);
		int file = pid > 0 ? openat(proc, path, O_RDONLY) : -1;
		if (file < 0) continue;
		ssize_t length = read(file, text, sizeof text - 1);
		close(file);
		text[length < 0 ? 0 : length] = 0;
		char *name = strrchr(text, ')');
		if (name && sscanf(name, ") %*c %d", &parent) == 1 && parent == getpid()) kill(pid, SIGKILL);
	}
	if (all) closedir(all);
}

/* Hammers in a process of its own, of which nobody is left afterwards, whoever lost its parent meanwhile, or was stopped. */
static int hammer_and_tidy(char **argv)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int proc = open("/proc", O_RDONLY | O_DIRECTORY);
	pid_t first = fork();
	if (first < 0) return perror("fork"), 1;
	if (first == 0) {
		int status = hammer(argv);
		fflush(stdout);
		_exit(status);
	}
	int status, result = 1, is_over = 0;
	for (pid_t ended; (ended = waitpid(-1, &status, __WALL | (is_over ? WNOHANG : 0))) >= 0;) {
		if (ended == first) result = status, is_over = 1;
		if (is_over && ended == 0) kill_children(proc), usleep(10000);
	}
	return result != 0;
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static int calm(double seconds)
{
	static float took[MOST_SAMPLES];
	double end = now() + seconds, worst = 0;
	int count = 0;
	struct utsname names;
	while (now() < end) {
		double from = now();
		if (uname(&names)) return perror("uname"), 1;
		double ms = (now() - from) * 1e3;
		if (ms > worst) worst = ms;
		if (count < MOST_SAMPLES) took[count++] = ms;
		usleep(2000);
	}
	qsort(took, count, sizeof *took, by_size);
	printf("calm %d %.3f %.3f %.3f\n", count, count ? took[count / 2] : 0, count ? took[count * 99 / 100] : 0, worst);
	return 0;
}

static void *waits(void *unused)
{
	char line[256];
	while (syscall(SYS_syslog, 2 /* SYSLOG_ACTION_READ */, line, sizeof line) >= 0) {}
	return unused;
}

static int wait_for_the_log(int count, double seconds)
{
	pthread_attr_t small;
	pthread_t thread;
	pthread_attr_init(&small), pthread_attr_setstacksize(&small, 64 << 10);
	for (int i = 0; i < count; i++)
		if (pthread_create(&thread, &small, waits, 0)) return perror("pthread_create"), 1;
	printf("waits %d\n", count), fflush(stdout);
	usleep(seconds * 1e6);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "waits")) return wait_for_the_log(atoi(argv[2]), atof(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "calm")) return calm(atof(argv[2]));
	if (argc != 4) return 2;
	return atof(argv[3]) > 1 ? hammer_and_tidy(argv) : hammer(argv);
}
