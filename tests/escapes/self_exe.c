/* The program that made the zone, by /proc/PID/exe: that of process 1, and one that a script had executed. */
#include "e.h"
#include <sys/ptrace.h>

static void overwrite(const char *way, pid_t pid)
{
	char path[64];
	struct stat own, other;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0) return held(way, errno);
	if (stat("/proc/self/exe", &own) || fstat(fd, &other)) return held(way, errno);
	if (own.st_dev == other.st_dev && own.st_ino == other.st_ino) {
		untried(way, "it is this program");
		return;
	}
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	opens(way, AT_FDCWD, path);
}

int main(void)
{
	overwrite("process-1", 1);
	/* #!/proc/1/exe: the kernel opens the interpreter, whoever may look at the link. It is stopped before it runs. */
	int fd = open("/tmp/script", O_CREAT | O_TRUNC | O_WRONLY, 0755);
	if (fd < 0 || write(fd, "#!/proc/1/exe\n", 14) != 14) return untried("script", "no /tmp"), verdict();
	close(fd);
	pid_t child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl("/tmp/script", "script", (char *)0);
		_exit(errno);
	}
	int status;
	if (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		overwrite("script", child);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	} else held("script", WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
	return verdict();
}
