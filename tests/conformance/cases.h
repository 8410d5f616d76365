/*
 * A program of many small cases, each in a process of its own so that none can spoil another:
 *
 *   #include "cases.h"
 *   CASE(pipe_holds_what_is_written) { … expect("read", 5, sc(SYS_read, p[0], b, 9)); }
 *
 * The runner makes a trial of each and reads, beside the lines that t.h describes,
 *   // kernel: all                      every level of the suite, and the host's own
 *   // gap: CASE ABI LEVEL reason       fails there and is known to; `*` is any. One that passes is an error
 * A case that the machine cannot show calls skip() with the reason.
 */
#include "t.h"

struct one { const char *name; void (*run)(void); };

static struct one cases[128];
static int case_count;

#define CASE(n) \
	static void case_##n(void); \
	__attribute__((constructor)) static void enter_##n(void) \
	{ \
		cases[case_count++] = (struct one){#n, case_##n}; \
	} \
	static void case_##n(void)

#define skip(...) do { printf("skip: " __VA_ARGS__); putchar('\n'); fflush(stdout); _exit(77); } while (0)

/* Runs `work` in a child and gives its wait(2) status. */
#define in_child(work) ({ \
	pid_t pid_ = fork(); \
	if (!pid_) { work; fflush(stdout); _exit(failures != 0); } \
	int status_ = -1; \
	waitpid(pid_, &status_, 0); \
	status_; \
})

int main(int argc, char **argv)
{
	level(argc, argv);
	alarm(120);
	/* A fresh working directory for each; the run's tmpfs goes with the zone. */
	for (int i = 0; i < case_count; i++) {
		fflush(stdout);
		pid_t pid = fork();
		if (!pid) {
			printf("case %s\n", cases[i].name);
			failures = 0;
			alarm(30);
			if (chdir(scratch())) _exit(1);
			cases[i].run();
			fflush(stdout);
			_exit(failures != 0);
		}
		int status;
		waitpid(pid, &status, 0);
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		printf("end %s %d\n", cases[i].name, code);
		failures += code != 0 && code != 77;
	}
	return verdict();
}
