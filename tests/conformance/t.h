/*
 * What every conformance program shares. A program is called with the level it is to find
 * (`prog 2.6.18`), prints one line for each wrong answer, then `ok NAME` or nothing, and exits 0 or 1.
 *
 * Each begins with lines that the test runner reads:
 *   // kernel: 2.0.36 2.6.18     levels to run it at, each a run of its own
 *   // abi: i386 amd64           how it is built: gcc -m32, gcc -m64
 *   // native: fails             what it does where nothing is repaired: `fails`, `passes` (a law that holds
 *                                in both), or `any` with the reason behind it
 *   // cflags: -nostdlib         further flags for gcc; static without -pie or -shared
 *   // options: --strict         further words for `zonectl run`
 * cases.h is for programs of many small cases.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures __attribute__((unused));

/* They set clocks, host names and limits, so none of them runs in the host's own namespaces. */
__attribute__((constructor)) static void outside_is_no_place(void)
{
	struct stat st;
	/* PROC_USER_INIT_INO of include/linux/proc_ns.h. */
	if (stat("/proc/self/ns/user", &st) == 0 && st.st_ino == 0xEFFFFFFDu) {
		printf("FAIL: user namespace, expected one of a zone, got the host's\n");
		exit(1);
	}
}

/* A system call as the kernel answers it: the value, or -errno. */
#define sc(...) ({ long r_ = syscall(__VA_ARGS__); r_ == -1 ? -(long)errno : r_; })

#define fail(...) (failures++, printf("FAIL: " __VA_ARGS__), putchar('\n'), fflush(stdout))

/* `want` and `got` are numbers; negative ones are error numbers. */
#define expect(what, want, got) do { \
	long long w_ = (want), g_ = (got); \
	if (w_ != g_) fail("%s, expected %lld, got %lld", what, w_, g_); \
} while (0)

#define expect_text(what, want, got) do { \
	const char *w_ = (want), *g_ = (got); \
	if (strcmp(w_, g_)) fail("%s, expected '%s', got '%s'", what, w_, g_); \
} while (0)

#define expect_true(what, condition) do { \
	if (!(condition)) fail("%s, expected true, got false", what); \
} while (0)

/* The end of main. */
#define verdict() ({ if (!failures) printf("ok %s\n", __BASE_FILE__); failures != 0; })

static int level_parts[3] __attribute__((unused));

/* Whether the level that the program runs at, or the host's kernel where there is none, is this or above. For
   after `level` was called. */
static inline int since(int a, int b, int c)
{
	int want[3] = {a, b, c};
	for (int i = 0; i < 3; i++)
		if (level_parts[i] != want[i]) return level_parts[i] > want[i];
	return 1;
}

/* The level that the program was told to find. */
static inline const char *level(int argc, char **argv)
{
	if (argc < 2) {
		printf("FAIL: usage, expected '%s LEVEL', got no level\n", argv[0]);
		exit(1);
	}
	if (sscanf(argv[1], "%d.%d.%d", level_parts, level_parts + 1, level_parts + 2) < 2) level_parts[0] = INT_MAX;
	return argv[1];
}

/* First line of a file, without its newline; `?` where it cannot be read. */
static inline char *line_of(const char *path)
{
	static char text[4][4096];
	static int next;
	char *to = text[next++ % 4];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, to, sizeof text[0] - 1);
	if (fd >= 0) close(fd);
	strcpy(to + (n < 0 ? 0 : n), n < 0 ? "?" : "");
	to[strcspn(to, "\n")] = 0;
	return to;
}

/* A fresh folder of the program's own. */
static inline const char *scratch(void)
{
	static char dir[] = "/tmp/conformance-XXXXXX";
	if (!mkdtemp(dir)) {
		printf("FAIL: mkdtemp in /tmp, expected a writable /tmp, got errno %d\n", errno);
		exit(1);
	}
	return dir;
}

static inline double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
