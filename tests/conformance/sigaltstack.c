// kernel: 2.2.26 2.6.18 3.10
// abi: i386 amd64
// native: any
/*
 * A signal stack of MINSIGSTKSZ, 2048 bytes, held the frame of a signal (sigaltstack(2)). With the registers of
 * AVX-512 a frame is larger, and the program dies of SIGSEGV (AT_MINSIGSTKSZ of getauxval(3), Linux 5.14).
 * What a host does depends on its CPU.
 */
#include "t.h"

static char small[2048] __attribute__((aligned(16)));
static char large[65536] __attribute__((aligned(16)));
static volatile char *handled_at;

static void handler(int sig)
{
	char here;
	(void)sig;
	handled_at = &here;
}

static void with(const char *what, char *stack, size_t size, int must_be_within)
{
	stack_t ss = {.ss_sp = stack, .ss_size = size}, old;
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	expect("sigaltstack", 0, sigaltstack(&ss, &old) ? -errno : 0);
	sigaction(SIGUSR1, &action, 0);
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		raise(SIGUSR1);
		int within = handled_at >= stack && handled_at < stack + size;
		_exit(!handled_at ? 2 : must_be_within && !within ? 3 : 0);
	}
	int status = -1;
	waitpid(pid, &status, 0);
	expect(what, 0, status);
	/* What was said to be there before can be put back. */
	expect("sigaltstack with the old one", 0, sigaltstack(&old, 0) ? -errno : 0);
}

int main(void)
{
	stack_t ss = {.ss_sp = small, .ss_size = 2047};
	with("a signal on 2048 bytes", small, sizeof small, 0);
	with("a signal on 65536 bytes", large, sizeof large, 1);
	expect("2047 bytes", -ENOMEM, sigaltstack(&ss, 0) ? -errno : 0);
	ss = (stack_t){.ss_sp = small, .ss_size = 2048, .ss_flags = 4};
	expect("a flag that there is not", -EINVAL, sigaltstack(&ss, 0) ? -errno : 0);
	expect("a bad pointer", -EFAULT, sc(SYS_sigaltstack, 8, 0));
	ss = (stack_t){.ss_flags = SS_DISABLE};
	expect("none", 0, sigaltstack(&ss, 0) ? -errno : 0);
	return verdict();
}
