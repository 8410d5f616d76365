/* What a program gets for its sockets: addresses as it is told them, and errors by name.
 *
 *   sockets bind KIND ADDRESS PORT     to which address it is bound
 *   sockets serve KIND ADDRESS PORT    the same of a server, which tells who asks to whom asks, in the background;
 *                                      ADDRESS none: not bound before listen
 *   sockets ask KIND ADDRESS PORT      what a server says: own address, the other's, what it said
 *   sockets source SOURCE ADDRESS PORT a message from an address that it states itself
 *   sockets make                       sockets that go by no port
 *
 * KIND: tcp4 tcp6 udp4 udp6; only6 is tcp6 with IPV6_V6ONLY; send4 and send6 are UDP that is not connected.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

static const char *kind;
static int v6, datagram;

static void fail(const char *what)
{
	printf("%s %s\n", what, strerrorname_np(errno));
	exit(0);
}

static socklen_t parse(union address *to, const char *text, const char *port)
{
	memset(to, 0, sizeof *to);
	if (v6) {
		to->in6.sin6_family = AF_INET6;
		to->in6.sin6_port = htons(atoi(port));
		if (inet_pton(AF_INET6, text, &to->in6.sin6_addr) != 1)
			exit(2);
		return sizeof to->in6;
	}
	to->in4.sin_family = AF_INET;
	to->in4.sin_port = htons(atoi(port));
	if (inet_pton(AF_INET, text, &to->in4.sin_addr) != 1)
		exit(2);
	return sizeof to->in4;
}

static const char *shown(const union address *address)
{
	static char texts[4][64];
	static int next;
	char *text = texts[next++ % 4];
	if (address->any.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &address->in6.sin6_addr, text, 64);
	else
		inet_ntop(AF_INET, &address->in4.sin_addr, text, 64);
	return text;
}

static int make(void)
{
	int one = 1;
	struct timeval patience = { 3, 0 };
	int fd = socket(v6 ? AF_INET6 : AF_INET, datagram ? SOCK_DGRAM : SOCK_STREAM, 0);
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (!datagram)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (!strcmp(kind, "only6"))
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	return fd;
}

static const char *own(int fd)
{
	union address name;
	socklen_t length = sizeof name;
	if (getsockname(fd, &name.any, &length))
		fail("getsockname");
	return shown(&name);
}

static void serve(int fd)
{
	char buffer[64];
	union address peer;
	socklen_t length;
	printf("serves %s\n", own(fd));
	fflush(stdout);
	if (fork())
		exit(0);
	setsid();
	close(0), close(1), close(2);
	for (;;) {
		length = sizeof peer;
		if (datagram) {
			if (recvfrom(fd, buffer, sizeof buffer, 0, &peer.any, &length) < 0)
				continue;
			const char *text = shown(&peer);
			sendto(fd, text, strlen(text), 0, &peer.any, length);
		} else {
			int one = accept(fd, &peer.any, &length);
			if (one < 0)
				continue;
			const char *text = shown(&peer);
			if (write(one, text, strlen(text)) < 0) {}
			close(one);
		}
	}
}

static void ask(int fd, const union address *to, socklen_t length)
{
	struct timeval patience = { 3, 0 };
	char text[64];
	union address peer = *to;
	ssize_t got;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (!strncmp(kind, "send", 4)) {
		if (sendto(fd, "?", 1, 0, &to->any, length) < 0)
			fail("sendto");
		length = sizeof peer;
		got = recvfrom(fd, text, sizeof text - 1, 0, &peer.any, &length);
	} else {
		if (connect(fd, &to->any, length))
			fail("connect");
		length = sizeof peer;
		if (getpeername(fd, &peer.any, &length))
			fail("getpeername");
		if (datagram && send(fd, "?", 1, 0) < 0)
			fail("send");
		got = recv(fd, text, sizeof text - 1, 0);
	}
	if (got < 0)
		fail("recv");
	text[got] = 0;
	printf("%s asks %s, which hears %s\n", own(fd), shown(&peer), text);
}

static void source(const char *from, const union address *to, socklen_t length)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control = { 0 };
	struct iovec one = { "?", 1 };
	struct msghdr message = { .msg_name = (void *)to, .msg_namelen = length, .msg_iov = &one, .msg_iovlen = 1,
				  .msg_control = &control };
	int fd = make();
	if (v6) {
		struct in6_pktinfo info = { 0 };
		inet_pton(AF_INET6, from, &info.ipi6_addr);
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO };
		memcpy(CMSG_DATA(&control.header), &info, sizeof info);
		message.msg_controllen = CMSG_SPACE(sizeof info);
	} else {
		struct in_pktinfo info = { 0 };
		inet_pton(AF_INET, from, &info.ipi_spec_dst);
		control.header = (struct cmsghdr){ CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO };
		memcpy(CMSG_DATA(&control.header), &info, sizeof info);
		message.msg_controllen = CMSG_SPACE(sizeof info);
	}
	if (sendmsg(fd, &message, 0) < 0)
		fail("sendmsg");
	puts("sent");
}

static void odd(const char *name, int family, int type, int protocol)
{
	int fd = socket(family, type, protocol);
	printf("%s %s\n", name, fd < 0 ? strerrorname_np(errno) : "made");
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	union address to;
	const char *verb = argc > 1 ? argv[1] : "";
	if (!strcmp(verb, "make")) {
		odd("raw", AF_INET, SOCK_RAW, IPPROTO_ICMP);
		odd("raw6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
		odd("packet", AF_PACKET, SOCK_RAW, 0x0300);
		odd("mptcp", AF_INET, SOCK_STREAM, 262);
		odd("sctp", AF_INET, SOCK_STREAM, IPPROTO_SCTP);
		return 0;
	}
	if (argc != 5)
		return 2;
	kind = strcmp(verb, "source") ? argv[2] : "udp";
	datagram = !strncmp(kind, "udp", 3) || !strncmp(kind, "send", 4);
	v6 = strchr(kind, '6') || (!strcmp(verb, "source") && strchr(argv[2], ':'));
	int fd = -1, unbound = !strcmp(argv[3], "none");
	socklen_t length = unbound ? 0 : parse(&to, argv[3], argv[4]);
	if (!strcmp(verb, "source")) {
		source(argv[2], &to, length);
		return 0;
	}
	fd = make();
	if (!strcmp(verb, "ask")) {
		ask(fd, &to, length);
		return 0;
	}
	if (!unbound && bind(fd, &to.any, length))
		fail("bind");
	if (!strcmp(verb, "serve")) {
		if (!datagram && listen(fd, 16))
			fail("listen");
		if (unbound) {
			union address name;
			socklen_t size = sizeof name;
			getsockname(fd, &name.any, &size);
			printf("port %d\n", ntohs(name.in4.sin_port));
		}
		serve(fd);
	}
	printf("bound %s\n", own(fd));
	return 0;
}
