/* Connections, as many as there can be.
 *
 *   flood serve PORT            takes all that are made, says "here" and keeps them to the end of its input
 *   flood open ADDRESS PORT N   makes N within two seconds and keeps them to the end of its input: how many there are
 *   flood send ADDRESS N        a datagram to each of N ports, of whom nobody answers
 *   flood many ADDRESS PORT N   makes N, one after the other, closing each: how many there were within ten seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in to;

static int stream(int flags)
{
	int s = socket(AF_INET, SOCK_STREAM | flags, 0);
	if (s < 0) perror("socket"), exit(1);
	return s;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void until_the_end(void)
{
	char rest[64];
	fflush(stdout);
	while (read(0, rest, sizeof rest) > 0);
}

static int serve(void)
{
	int one = 1, s = stream(0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&to, sizeof to) || listen(s, 4096)) return perror("listen"), 1;
	puts("here");
	fflush(stdout);
	struct pollfd fds[2] = { { s, POLLIN, 0 }, { 0, POLLIN, 0 } };
	while (poll(fds, 2, -1) > 0 && !fds[1].revents) accept(s, 0, 0);
	return 0;
}

static int open_all(int n)
{
	int *all = calloc(n, sizeof *all), there = 0;
	for (int i = 0; i < n; i++) {
		all[i] = stream(SOCK_NONBLOCK);
		connect(all[i], (void *)&to, sizeof to);
	}
	sleep(2);
	for (int i = 0; i < n; i++) {
		struct sockaddr_in who;
		socklen_t size = sizeof who;
		there += getpeername(all[i], (void *)&who, &size) == 0;
	}
	printf("%d\n", there);
	until_the_end();
	return 0;
}

static int many(int n)
{
	double end = now() + 10;
	int made = 0;
	for (; made < n && now() < end; made++) {
		int s = stream(SOCK_NONBLOCK);
		connect(s, (void *)&to, sizeof to);
		struct pollfd fd = { s, POLLOUT, 0 };
		int error = 1;
		socklen_t size = sizeof error;
		if (poll(&fd, 1, 1000) != 1 || getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &size) || error) break;
		close(s);
	}
	printf("%d\n", made);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	to.sin_family = AF_INET;
	const char *what = argc > 2 ? argv[1] : "";
	if (!strcmp(what, "serve")) {
		to.sin_port = htons(atoi(argv[2]));
		return serve();
	}
	if (argc < 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) return 2;
	to.sin_port = htons(atoi(argv[3]));
	if (!strcmp(what, "open") && argc > 4) return open_all(atoi(argv[4]));
	if (!strcmp(what, "many") && argc > 4) return many(atoi(argv[4]));
	if (strcmp(what, "send")) return 2;
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	for (int i = 1; i <= atoi(argv[3]); i++) {
		to.sin_port = htons(i);
		sendto(s, "x", 1, 0, (void *)&to, sizeof to);
	}
	return 0;
}
