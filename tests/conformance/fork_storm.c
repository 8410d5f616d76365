// kernel: 2.6.18
// abi: i386 amd64
// native: passes
/* A law: processes that come and go by the thousand all get their own answer. */
#include "t.h"
#include <sys/utsname.h>

static struct utsname first;

static int same(void)
{
	struct utsname u;
	memset(&u, '#', sizeof u);
	return sc(SYS_uname, &u) == 0 && !strcmp(u.release, first.release) && !strcmp(u.nodename, first.nodename);
}

static int forks(void)
{
	volatile int wrong = 0;
	int status;
	for (volatile int i = 0; i < 200; i++) {
		pid_t child = i % 2 ? fork() : vfork();
		if (child < 0) return 100;
		if (!child) _exit(!same());
		/* Every fourth is killed, perhaps in the middle of its call. */
		if (i % 4 == 1) kill(child, SIGKILL);
		if (waitpid(child, &status, 0) != child) wrong++;
		else if (WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) != SIGKILL) wrong++;
	}
	return wrong > 99 ? 99 : wrong;
}

int main(void)
{
	expect("uname", 0, uname(&first));
	for (int i = 0; i < 8; i++)
		if (!fork()) _exit(forks());
	for (int i = 0, status; i < 8; i++) {
		expect_true("a storm ends", wait(&status) > 0);
		expect("children with a wrong answer", 0, status >> 8);
		expect("signal", 0, status & 127);
	}
	expect_true("and afterwards", same());
	return verdict();
}
