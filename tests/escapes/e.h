/*
 * What every attempt shares. An attempt is a program that tries the ways out of one kind, as root of a zone:
 *
 *   ATTEMPT SECRET [WORD…]   tries; SECRET is the path, on the host, of a file that the zone has no way to
 *   ATTEMPT plant            on the host, where an attempt wants something there to reach: prints the WORDs, waits for the
 *                            end of its input, says whether the host was reached, and cleans up
 *
 * It prints a line for each way: `held WAY ERRNO`, `escaped WAY WHAT` or `untried WAY WHY`, and exits 0 where one led out,
 * 1 where none did and at least one was tried, 2 where none could be.
 *
 * A way that works must not change the host: what it could write it opens only, or writes what stands there. The word
 * `machine` says that the machine is there to be broken.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>


static int escapes_, helds_;

/* A system call as the kernel answers it: the value, or -errno. */
#define sc(...) ({ long r_ = syscall(__VA_ARGS__); r_ == -1 ? -(long)errno : r_; })

#define escaped(way, ...) (escapes_++, printf("escaped %s ", way), printf(__VA_ARGS__), putchar('\n'), fflush(stdout))
#define untried(way, ...) (printf("untried %s ", way), printf(__VA_ARGS__), putchar('\n'), fflush(stdout))

static inline void held(const char *way, long error)
{
	const char *name = strerrorname_np(error < 0 ? -error : error);
	helds_++;
	printf("held %s %s\n", way, error == 0 ? "0" : name ? name : "?");
	fflush(stdout);
}

/* A way that led out where the call succeeds. The kernel's not knowing it is no answer of a guard. */
#define attempt(way, ...) ({ long a_ = sc(__VA_ARGS__); \
	a_ >= 0 ? (void)escaped(way, "%ld", a_) : a_ == -ENOSYS ? untried(way, "ENOSYS") : held(way, a_); a_; })

#define verdict() (escapes_ ? 0 : helds_ ? 1 : 2)

/* Whether the file, below the folder, is the secret. */
static inline int is_secret(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	int error = errno;
	if (fd >= 0) close(fd);
	errno = n < 0 ? error : ENOENT;
	text[n < 0 ? 0 : n] = 0;
	text[strcspn(text, "\n")] = 0;
	return !strncmp(text, "secret:", 7);
}

/* Reads the secret by a path below a folder. */
static inline int reads(const char *way, int dir, const char *path)
{
	char text[128];
	if (is_secret(dir, path, text, sizeof text)) return escaped(way, "%s", text), 1;
	return held(way, errno), 0;
}

/* Climbs from a folder as high as it goes, and reads the secret from there. */
static inline int climbs(const char *way, int dir, const char *secret)
{
	char path[4096];
	snprintf(path, sizeof path, "../../../../../../../../../../../../../../../..%s", secret);
	return reads(way, dir, path);
}

/* Opens for writing, and writes nothing. A file that runs is refused for that alone. */
static inline int opens(const char *way, int dir, const char *path)
{
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 || errno == ETXTBSY) {
		if (fd >= 0) close(fd);
		return escaped(way, "%s can be written", path), 1;
	}
	if (errno == ENOENT) return untried(way, "there is no %s", path), 0;
	return held(way, errno), 0;
}

static inline const char *word(int argc, char **argv, int i)
{
	return i < argc ? argv[i] : "";
}

static inline int has_word(int argc, char **argv, const char *wanted)
{
	for (int i = 2; i < argc; i++)
		if (!strcmp(argv[i], wanted)) return 1;
	return 0;
}

static inline int is_plant(int argc, char **argv)
{
	return argc > 1 && !strcmp(argv[1], "plant");
}

/* Tells the words, and waits until the attempt was made. */
__attribute__((format(printf, 1, 2))) static inline void planted(const char *form, ...)
{
	char rest[64];
	va_list list;
	va_start(list, form);
	vprintf(form, list);
	va_end(list);
	putchar('\n');
	fflush(stdout);
	while (read(0, rest, sizeof rest) > 0);
}

/* Does `work` in a child; its exit status, or -1. */
static inline int in_child(int (*work)(void *), void *with)
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int code = work(with);
		fflush(stdout);
		_exit(code);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A try in a child of its own; what it said counts. */
static inline void tries(int (*work)(void *), void *with)
{
	switch (in_child(work, with)) {
	case 0: escapes_++; break;
	case 1: helds_++; break;
	}
}
