// kernel: all
// abi: i386 amd64
// native: passes
/*
 * Processes, signals, ids, limits: what every program does and no level may change. See the man page of each
 * call.
 */
#include "cases.h"
#include <poll.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>

static volatile int caught;

static void catch(int n)
{
	caught = n;
}

CASE(fork_has_its_own_memory)
{
	volatile int x = 1;
	expect("status", 0, in_child(({ x = 2; expect("parent", getppid(), getppid()); })));
	expect("value here", 1, x);
}

CASE(exit_status_is_eight_bits)
{
	expect("status", 0x34, WEXITSTATUS(in_child(_exit(0x1234))));
}

CASE(a_killed_child_tells_its_signal)
{
	int status = in_child(raise(SIGKILL));
	expect_true("signalled", WIFSIGNALED(status));
	expect("signal", SIGKILL, WTERMSIG(status));
}

CASE(waitpid_without_children)
{
	expect("waitpid", -ECHILD, sc(SYS_wait4, -1, NULL, 0, NULL));
}

CASE(waitpid_does_not_hang)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	pid_t pid = fork();
	if (!pid) { char c; close(p[1]); read(p[0], &c, 1); _exit(3); }
	int status;
	expect("WNOHANG", 0, waitpid(pid, &status, WNOHANG));
	close(p[1]);
	expect("waitpid", pid, waitpid(pid, &status, 0));
	expect("status", 3, WEXITSTATUS(status));
}

CASE(vfork_then_exec)
{
	pid_t pid = vfork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "exit 7", NULL);
		_exit(127);
	}
	int status;
	waitpid(pid, &status, 0);
	expect("status", 7, WEXITSTATUS(status));
}

CASE(exec_of_what_is_no_program)
{
	char *args[] = {"x", NULL};
	close(open("text", O_CREAT | O_WRONLY, 0755));
	expect("an empty file", -ENOEXEC, sc(SYS_execve, "text", args, NULL));
	expect("nothing", -ENOENT, sc(SYS_execve, "nothing", args, NULL));
	expect("a folder", -EACCES, sc(SYS_execve, ".", args, NULL));
	chmod("text", 0644);
	expect("no x bit", -EACCES, sc(SYS_execve, "text", args, NULL));
	expect("a bad pointer", -EFAULT, sc(SYS_execve, 8, args, NULL));
}

CASE(a_script_runs_by_its_first_line)
{
	int fd = open("s", O_CREAT | O_WRONLY, 0755);
	const char *text = "#!/bin/sh\nexit 9\n";
	expect("write", strlen(text), write(fd, text, strlen(text)));
	close(fd);
	expect("status", 9, WEXITSTATUS(in_child(({ execl("./s", "s", NULL); _exit(1); }))));
}

CASE(exec_closes_what_it_should)
{
	int keep = open("/dev/null", O_RDONLY), drop = open("/dev/null", O_RDONLY);
	fcntl(drop, F_SETFD, FD_CLOEXEC);
	char script[128];
	snprintf(script, sizeof script, "test -e /proc/self/fd/%d && ! test -e /proc/self/fd/%d", keep, drop);
	expect("status", 0, WEXITSTATUS(in_child(({ execl("/bin/sh", "sh", "-c", script, NULL); _exit(9); }))));
}

CASE(the_environment_goes_along)
{
	char *args[] = {"sh", "-c", "test \"$A\" = b && test $# = 0", NULL}, *env[] = {"A=b", "PATH=/bin", NULL};
	expect("status", 0, WEXITSTATUS(in_child(({ execve("/bin/sh", args, env); _exit(9); }))));
}

CASE(a_handler_runs)
{
	signal(SIGUSR1, catch);
	expect("kill", 0, kill(getpid(), SIGUSR1));
	expect("caught", SIGUSR1, caught);
}

CASE(an_ignored_signal_does_nothing)
{
	signal(SIGTERM, SIG_IGN);
	expect("kill", 0, kill(getpid(), SIGTERM));
}

CASE(a_blocked_signal_waits)
{
	sigset_t set, pending;
	signal(SIGUSR1, catch);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	expect("not yet", 0, caught);
	sigpending(&pending);
	expect("pending", 1, sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	expect("caught", SIGUSR1, caught);
}

CASE(sigkill_cannot_be_caught)
{
	struct sigaction a = {.sa_handler = catch};
	expect("sigaction", -1, sigaction(SIGKILL, &a, NULL));
	expect("why", EINVAL, errno);
}

CASE(a_signal_interrupts_a_read)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	struct sigaction a = {.sa_handler = catch};
	sigaction(SIGALRM, &a, NULL);
	struct itimerval t = {.it_value.tv_usec = 20000};
	setitimer(ITIMER_REAL, &t, NULL);
	char c;
	expect("read", -EINTR, sc(SYS_read, p[0], &c, 1));
}

CASE(a_restarted_read_goes_on)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	struct sigaction a = {.sa_handler = catch, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &a, NULL);
	pid_t parent = getpid(), pid = fork();
	if (!pid) {
		usleep(20000);
		kill(parent, SIGUSR1);
		usleep(20000);
		_exit(write(p[1], "x", 1) != 1);
	}
	char c;
	expect("read", 1, sc(SYS_read, p[0], &c, 1));
	expect("caught", SIGUSR1, caught);
	waitpid(pid, NULL, 0);
}

CASE(sigsuspend_waits_for_one)
{
	signal(SIGALRM, catch);
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, NULL);
	struct itimerval t = {.it_value.tv_usec = 10000};
	setitimer(ITIMER_REAL, &t, NULL);
	expect("sigsuspend", -1, sigsuspend(&none));
	expect("caught", SIGALRM, caught);
}

static siginfo_t told;

static void tell(int n, siginfo_t *info, void *context)
{
	(void)n, (void)context;
	told = *info;
}

CASE(siginfo_names_the_sender)
{
	struct sigaction a = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR2, &a, NULL);
	kill(getpid(), SIGUSR2);
	expect("code", SI_USER, told.si_code);
	expect("pid", getpid(), told.si_pid);
	expect("uid", getuid(), told.si_uid);
}

CASE(a_fault_tells_its_address)
{
	int status = in_child(({
		struct sigaction a = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO | SA_RESETHAND};
		sigaction(SIGSEGV, &a, NULL);
		int p[2];
		expect("pipe", 0, pipe(p));
		pid_t pid = fork();
		if (!pid) { *(volatile char *)16 = 1; _exit(0); }
		int s;
		waitpid(pid, &s, 0);
		expect("signal", SIGSEGV, WTERMSIG(s));
	}));
	expect("status", 0, status);
}

CASE(an_alternate_stack_is_used)
{
	static char area[65536] __attribute__((aligned(16)));
	stack_t s = {.ss_sp = area, .ss_size = sizeof area}, old;
	expect("sigaltstack", 0, sigaltstack(&s, NULL));
	expect("query", 0, sigaltstack(NULL, &old));
	expect("size", sizeof area, old.ss_size);
	struct sigaction a = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	expect("signal", SIGUSR1, told.si_signo);
	s.ss_flags = SS_DISABLE;
	expect("disable", 0, sigaltstack(&s, NULL));
}

CASE(kill_of_nobody)
{
	expect("kill", -ESRCH, sc(SYS_kill, 31999, 0));
	expect("signal 99", -EINVAL, sc(SYS_kill, getpid(), 99));
}

CASE(sessions_and_groups)
{
	expect("status", 0, in_child(({
		expect_true("setsid", setsid() > 0);
		expect("session", getpid(), getsid(0));
		expect("group", getpid(), getpgrp());
		expect("setsid again", -EPERM, sc(SYS_setsid));
	})));
}

CASE(a_childs_group_can_be_set)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	pid_t pid = fork();
	if (!pid) { char c; close(p[1]); read(p[0], &c, 1); _exit(0); }
	expect("setpgid", 0, setpgid(pid, pid));
	expect("getpgid", pid, getpgid(pid));
	expect("kill of the group", 0, kill(-pid, SIGTERM));
	int status;
	waitpid(pid, &status, 0);
	expect("signal", SIGTERM, WTERMSIG(status));
}

CASE(ids_of_root)
{
	expect("uid", 0, getuid());
	expect("euid", 0, geteuid());
	expect("gid", 0, getgid());
}

CASE(setuid_is_for_good)
{
	expect("status", 0, in_child(({
		if (sc(SYS_setuid, 1000) == -EINVAL) skip("only one id is mapped here");
		expect("uid", 1000, getuid());
		expect("euid", 1000, geteuid());
		expect("back", -EPERM, sc(SYS_setuid, 0));
		expect("a file of root", -EACCES, sc(SYS_open, "/etc/shadow", O_RDONLY));
	})) & ~(77 << 8));
}

CASE(seteuid_comes_back)
{
	expect("status", 0, in_child(({
		if (sc(SYS_setresuid, -1, 1000, -1) == -EINVAL) skip("only one id is mapped here");
		expect("euid", 1000, geteuid());
		expect("uid", 0, getuid());
		expect("setresuid", 0, setresuid(-1, 0, -1));
		expect("euid", 0, geteuid());
	})) & ~(77 << 8));
}

CASE(groups_are_set)
{
	gid_t want[3] = {5, 6, 7}, got[8];
	if (setgroups(3, want) && errno == EPERM) skip("setgroups is denied in this user namespace");
	int n = getgroups(8, got);
	if (n == 3) expect("last", 7, got[2]);
}

CASE(limits_are_inherited)
{
	struct rlimit l = {.rlim_cur = 100, .rlim_max = 200}, got;
	expect("setrlimit", 0, setrlimit(RLIMIT_NOFILE, &l));
	expect("status", 0, in_child(({
		getrlimit(RLIMIT_NOFILE, &got);
		expect("soft", 100, got.rlim_cur);
		expect("hard", 200, got.rlim_max);
		expect("a descriptor above it", -EBADF, sc(SYS_dup2, 0, 100));
	})));
}

CASE(a_file_size_limit_sends_sigxfsz)
{
	struct rlimit l = {.rlim_cur = 10, .rlim_max = 10};
	setrlimit(RLIMIT_FSIZE, &l);
	signal(SIGXFSZ, catch);
	int fd = open("f", O_CREAT | O_WRONLY, 0644);
	expect("write up to it", 10, write(fd, "0123456789ab", 12));
	expect("write beyond", -EFBIG, sc(SYS_write, fd, "x", 1));
	expect("caught", SIGXFSZ, caught);
}

CASE(nice_and_priority)
{
	expect("getpriority", 0, getpriority(PRIO_PROCESS, 0));
	expect("setpriority", 0, setpriority(PRIO_PROCESS, 0, 5));
	expect("getpriority", 5, getpriority(PRIO_PROCESS, 0));
}

CASE(a_name_of_fifteen_letters)
{
	char got[17] = "";
	expect("PR_SET_NAME", 0, prctl(PR_SET_NAME, "a-name-that-is-too-long"));
	expect("PR_GET_NAME", 0, prctl(PR_GET_NAME, got));
	expect_text("name", "a-name-that-is-", got);
}

CASE(a_parents_death_is_told)
{
	expect("status", 0, in_child(({
		expect("PR_SET_PDEATHSIG", 0, prctl(PR_SET_PDEATHSIG, SIGHUP));
		int got = 0;
		prctl(PR_GET_PDEATHSIG, &got);
		expect("PR_GET_PDEATHSIG", SIGHUP, got);
	})));
}

CASE(times_and_usage)
{
	for (volatile int i = 0; i < 100000; i++) {}
	struct tms t;
	expect_true("times", times(&t) != -1);
	struct rusage u;
	expect("getrusage", 0, getrusage(RUSAGE_SELF, &u));
	expect_true("memory was used", u.ru_maxrss > 0);
	expect("who 99", -EINVAL, sc(SYS_getrusage, 99, &u));
}

CASE(sched_yield_and_policy)
{
	expect("sched_yield", 0, sched_yield());
	expect("policy", SCHED_OTHER, sched_getscheduler(0));
	expect("priority of a fifo", 99, sched_get_priority_max(SCHED_FIFO));
}

CASE(an_interval_timer_repeats)
{
	signal(SIGALRM, catch);
	struct itimerval t = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000}, left;
	setitimer(ITIMER_REAL, &t, NULL);
	for (int i = 0; i < 3; i++) pause();
	expect("caught", SIGALRM, caught);
	getitimer(ITIMER_REAL, &left);
	expect("interval", 5000, left.it_interval.tv_usec);
}

CASE(nanosleep_sleeps)
{
	double from = now(CLOCK_MONOTONIC);
	struct timespec t = {0, 20000000}, bad = {0, 2000000000};
	expect("nanosleep", 0, nanosleep(&t, NULL));
	expect_true("at least 20 ms", now(CLOCK_MONOTONIC) - from >= 0.019);
	expect("two seconds of nanoseconds", -EINVAL, sc(SYS_nanosleep, &bad, NULL));
}

CASE(clocks_agree)
{
	struct timeval tv;
	gettimeofday(&tv, NULL);
	time_t t = time(NULL);
	expect_true("time and gettimeofday", t - tv.tv_sec <= 1);
	expect_true("clock_gettime", now(CLOCK_REALTIME) - tv.tv_sec < 2);
	struct timespec r;
	expect("clock_getres", 0, clock_getres(CLOCK_MONOTONIC, &r));
}

CASE(clone_shares_memory_with_a_thread)
{
	static char stack[65536] __attribute__((aligned(16)));
	static volatile int seen;
	int work(void *x) { (void)x; seen = getppid(); return 0; }
	int pid = clone(work, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	expect_true("clone", pid > 0);
	waitpid(pid, NULL, 0);
	expect("parent as the other saw it", getpid(), seen);
}

CASE(uname_twice_is_the_same)
{
	struct utsname a, b;
	uname(&a);
	expect("status", 0, in_child(({ uname(&b); expect_text("release", a.release, b.release); })));
	expect_text("sysname", "Linux", a.sysname);
	expect("a bad pointer", -EFAULT, sc(SYS_uname, 8));
}

CASE(zombies_of_a_dead_parent_go_to_init)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	expect("status", 0, in_child(({
		if (!fork()) {
			for (int i = 0; i < 200 && getppid() != 1; i++) usleep(5000);
			char c = getppid() == 1;
			_exit(write(p[1], &c, 1) != 1);
		}
	})));
	char c = 9;
	expect("read", 1, read(p[0], &c, 1));
	expect("parent is init", 1, c);
}
