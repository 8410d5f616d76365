/* Sends one frame of each kind that a zone must not send, each with a mark in it, and one that it may; or
 * tells which marks it hears.
 *
 *   frames send IFACE OWN-IP OWN-IP6 VICTIM-MAC VICTIM-IP VICTIM-IP6
 *   frames hear IFACE SECONDS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int sock, ifindex;
static uint8_t own_mac[6], frame[512];
static size_t length;

static void put(const void *bytes, size_t count)
{
	memcpy(frame + length, bytes, count);
	length += count;
}

static void byte(int b) { frame[length++] = b; }
static void word(int w) { byte(w >> 8); byte(w & 255); }

static void ethernet(const uint8_t *from, int type)
{
	length = 0;
	memset(frame, 0, sizeof frame);
	put("\xff\xff\xff\xff\xff\xff", 6);
	put(from, 6);
	word(type);
}

static void mark(const char *kind)
{
	char text[32];
	int n = snprintf(text, sizeof text, "SPOOF:%s;", kind);
	put(text, n);
}

static void go(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6 };
	if (length < 60)
		length = 60;
	if (sendto(sock, frame, length, 0, (void *)&to, sizeof to) < 0) {
		perror("send");
		exit(1);
	}
}

static unsigned sum(const uint8_t *bytes, size_t count, unsigned total)
{
	for (size_t i = 0; i + 1 < count; i += 2)
		total += bytes[i] << 8 | bytes[i + 1];
	if (count & 1)
		total += bytes[count - 1] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

/* IPv4 and UDP around a mark; UDP without a sum. */
static void udp4(const char *kind, const uint8_t *mac, uint32_t from, uint32_t to, int sport, int dport)
{
	ethernet(mac, ETH_P_IP);
	size_t ip = length;
	size_t body = strlen(kind) + 7;
	put("\x45\x00", 2);
	word(20 + 8 + body);
	put("\0\1\0\0\x40\x11\0\0", 8);
	put(&from, 4);
	put(&to, 4);
	unsigned s = ~sum(frame + ip, 20, 0);
	frame[ip + 10] = s >> 8;
	frame[ip + 11] = s;
	word(sport);
	word(dport);
	word(8 + body);
	word(0);
	mark(kind);
	go();
}

static void arp(const char *kind, const uint8_t *inner, uint32_t claims, int tag)
{
	ethernet(own_mac, tag ? 0x8100 : ETH_P_ARP);
	if (tag) {
		word(7);
		word(ETH_P_ARP);
	}
	word(1);
	word(ETH_P_IP);
	byte(6);
	byte(4);
	word(2);
	put(inner, 6);
	put(&claims, 4);
	put("\xff\xff\xff\xff\xff\xff", 6);
	put(&claims, 4);
	mark(kind);
	go();
}

/* IPv6 with `extension` bytes of destination options before `next`. */
static size_t ip6(const uint8_t *from, const char *to, int next, int extension, size_t body)
{
	uint8_t there[16];
	inet_pton(AF_INET6, to, there);
	ethernet(own_mac, ETH_P_IPV6);
	put("\x60\0\0\0", 4);
	word(extension + body);
	byte(extension ? 60 : next);
	byte(255);
	put(from, 16);
	put(there, 16);
	if (extension) {
		byte(next);
		byte(extension / 8 - 1);
		byte(1);
		byte(extension - 4);
		length += extension - 4;
	}
	return length;
}

static void finish(size_t start, int next, int check_at)
{
	uint8_t pseudo[40] = { 0 };
	size_t body = length - start;
	memcpy(pseudo, frame + 14 + 8, 32);
	pseudo[34] = body >> 8;
	pseudo[35] = body;
	pseudo[39] = next;
	unsigned s = ~sum(frame + start, body, sum(pseudo, 40, 0));
	frame[start + check_at] = s >> 8;
	frame[start + check_at + 1] = s;
	go();
}

static void udp6(const char *kind, const uint8_t *from, int sport)
{
	size_t body = 8 + strlen(kind) + 7;
	size_t start = ip6(from, "ff02::1", 17, 0, body);
	word(sport);
	word(5555);
	word(body);
	word(0);
	mark(kind);
	finish(start, 17, 6);
}

/* ICMPv6 of `type` with a target, and the mark in an option that nobody knows. */
static void icmp6(const char *kind, const uint8_t *from, int type, const uint8_t *target, int extension)
{
	static const uint8_t none[16];
	size_t start = ip6(from, "ff02::1", 58, extension, 8 + 16 + 32);
	byte(type);
	byte(0);
	word(0);
	/* Flags of an advertisement: solicited, override. */
	byte(type == 136 ? 0x60 : 0);
	length += 3;
	put(target ? target : none, 16);
	byte(253);
	byte(4);
	size_t option = length;
	mark(kind);
	length = option + 30;
	finish(start, 58, 2);
}

static int hear(double seconds)
{
	static uint8_t got[65536];
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	puts("listening");
	fflush(stdout);
	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		double left = seconds - (now.tv_sec - start.tv_sec) - (now.tv_nsec - start.tv_nsec) / 1e9;
		struct pollfd fd = { sock, POLLIN, 0 };
		if (left <= 0)
			return 0;
		if (poll(&fd, 1, left * 1000 + 1) < 1)
			continue;
		struct sockaddr_ll from;
		socklen_t size = sizeof from;
		ssize_t n = recvfrom(sock, got, sizeof got, 0, (void *)&from, &size);
		if (n < 0 || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		uint8_t *at = memmem(got, n, "SPOOF:", 6);
		if (!at)
			continue;
		uint8_t *end = memchr(at, ';', got + n - at);
		if (end) {
			printf("%.*s\n", (int)(end - at - 6), at + 6);
			fflush(stdout);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	sock = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (sock < 0) {
		perror("socket");
		return 1;
	}
	ifindex = if_nametoindex(argv[2]);
	struct sockaddr_ll here = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = ifindex };
	if (!ifindex || bind(sock, (void *)&here, sizeof here)) {
		perror(argv[2]);
		return 1;
	}
	if (!strcmp(argv[1], "hear"))
		return hear(atof(argv[3]));
	if (argc < 8)
		return 2;

	struct ifreq request;
	memset(&request, 0, sizeof request);
	strncpy(request.ifr_name, argv[2], IFNAMSIZ - 1);
	if (ioctl(sock, SIOCGIFHWADDR, &request)) {
		perror("SIOCGIFHWADDR");
		return 1;
	}
	memcpy(own_mac, request.ifr_hwaddr.sa_data, 6);
	uint32_t own, victim, all = 0xffffffff;
	uint8_t own6[16], victim6[16], victim_mac[6], none[16] = { 0 };
	inet_pton(AF_INET, argv[3], &own);
	inet_pton(AF_INET6, argv[4], own6);
	sscanf(argv[5], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", victim_mac, victim_mac + 1, victim_mac + 2, victim_mac + 3,
	       victim_mac + 4, victim_mac + 5);
	inet_pton(AF_INET, argv[6], &victim);
	inet_pton(AF_INET6, argv[7], victim6);

	udp4("own", own_mac, own, all, 5555, 5555);
	icmp6("own6", own6, 136, own6, 0);
	udp4("mac", victim_mac, own, all, 5555, 5555);
	udp4("ipv4", own_mac, victim, all, 5555, 5555);
	udp4("loopback", own_mac, own, htonl(INADDR_LOOPBACK), 5555, 5555);
	udp4("dhcp", own_mac, own, all, 67, 68);
	arp("arp", own_mac, victim, 0);
	arp("arp-mac", victim_mac, own, 0);
	arp("arp-vlan", own_mac, victim, 1);
	udp6("ipv6", victim6, 5555);
	udp6("dhcpv6", own6, 547);
	icmp6("nd", own6, 136, victim6, 0);
	icmp6("nd-options", own6, 136, victim6, 16);
	icmp6("dad", none, 135, victim6, 0);
	icmp6("ra", own6, 134, NULL, 0);
	icmp6("ra-options", own6, 134, NULL, 16);
	icmp6("redirect", own6, 137, victim6, 0);
	ethernet(own_mac, 0x88cc);
	mark("lldp");
	go();
	return 0;
}
