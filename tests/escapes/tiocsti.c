/*
 * Bytes put into the terminal that somebody types into. `around COMMAND…` runs a command at a terminal of its own, whose
 * reader would be a shell of the host, and looks afterwards at what came.
 */
#include "e.h"
#include <pty.h>
#include <termios.h>
#include <dirent.h>

#define TYPED "typed by the guest\n"

static void types(const char *way, int fd)
{
	long r = 0;
	for (const char *c = TYPED; *c && r >= 0; c++) r = sc(SYS_ioctl, fd, TIOCSTI, c);
	/* Into its own it may; whose it was is told from outside. */
	held(way, r);
	/* What is selected on a screen; the console's output. */
	char paste = 3;
	r = sc(SYS_ioctl, fd, TIOCLINUX, &paste);
	if (r >= 0) escaped(way, "TIOCLINUX");
	r = sc(SYS_ioctl, fd, TIOCCONS, 0);
	if (r >= 0) escaped(way, "TIOCCONS");
}

static int around(char **command)
{
	int master, slave, status;
	struct termios raw;
	if (openpty(&master, &slave, 0, 0, 0)) return 2;
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	pid_t child = fork();
	if (child == 0) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		for (int i = 0; i < 3; i++) dup2(slave, i);
		close(master), close(slave);
		execvp(command[0], command);
		_exit(127);
	}
	char got[65536];
	size_t had = 0;
	/* What it says is passed on. */
	fcntl(master, F_SETFL, O_NONBLOCK);
	for (int ended = 0; !ended;) {
		ended = waitpid(child, &status, WNOHANG) == child;
		ssize_t n = read(master, got, sizeof got);
		if (n > 0 && write(1, got, n) != n) return 2;
		if (n <= 0) usleep(10000);
	}
	fcntl(slave, F_SETFL, O_NONBLOCK);
	ssize_t n = read(slave, got + had, sizeof got - had - 1);
	got[n < 0 ? 0 : n] = 0;
	if (strstr(got, "typed by the guest")) escaped("host", "the host's terminal was typed into");
	else held("host", EAGAIN);
	return verdict();
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "around")) return around(argv + 2);
	types("stdin", 0);
	types("stdout", 1);
	int fd = open("/dev/tty", O_RDWR | O_NOCTTY);
	if (fd >= 0) types("tty", fd);
	/* Whoever runs where there is no zone would type into terminals of others. */
	if (argc > 1 && !strcmp(argv[1], "bare")) return verdict();
	fd = open("/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0) types("console", fd);
	DIR *pts = opendir("/dev/pts");
	for (struct dirent *one; pts && (one = readdir(pts));) {
		fd = openat(dirfd(pts), one->d_name, O_RDWR | O_NOCTTY | O_NONBLOCK);
		if (fd >= 0 && isatty(fd)) types(one->d_name, fd);
	}
	return verdict();
}
