/* The host's network by netlink: its interfaces where the zone is in it, another namespace's by number where not. */
#include "e.h"
#include <linux/audit.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define IFLA_TARGET 46 /* IFLA_TARGET_NETNSID */

struct ask { struct nlmsghdr h; struct ifinfomsg i; struct rtattr a; int32_t value; };

/* What the kernel answers: 0 or -errno. */
static long ask(int family, void *message, size_t length)
{
	union { struct nlmsghdr h; char bytes[16384]; } got;
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family);
	if (s < 0) return -errno;
	long n = sendto(s, message, length, 0, (void *)&kernel, sizeof kernel);
	if (n >= 0) n = recv(s, &got, sizeof got, 0);
	long error = n < 0 ? -errno : got.h.nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(&got.h))->error : 0;
	close(s);
	return error;
}

static void judge(const char *way, long error)
{
	if (error == 0) escaped(way, "done");
	else if (error == -EPROTONOSUPPORT) untried(way, "the kernel has no such netlink");
	else held(way, error);
}

int main(int argc, char **argv)
{
	struct ask a = { .h = { .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK }, .i = { .ifi_index = 1 } };
	/* lo as it is: a change of nothing takes the same capability. In a network of its own it is the zone's to change. */
	a.h.nlmsg_len = sizeof a.h + sizeof a.i;
	if (!has_word(argc, argv, "shared") && !has_word(argc, argv, "bare")) untried("link", "the network is its own");
	else judge("link", ask(NETLINK_ROUTE, &a, a.h.nlmsg_len));
	/* By the number that a namespace has here: the other side of a veth is 0. */
	for (int id = 0; id < 3; id++) {
		a.h.nlmsg_type = RTM_GETLINK;
		a.h.nlmsg_len = sizeof a;
		a.a = (struct rtattr){ .rta_len = RTA_LENGTH(4), .rta_type = IFLA_TARGET };
		a.value = id;
		judge("netns-id", ask(NETLINK_ROUTE, &a, a.h.nlmsg_len));
	}
	struct { struct nlmsghdr h; struct audit_status s; } audit =
		{ .h = { sizeof audit, AUDIT_SET, NLM_F_REQUEST | NLM_F_ACK, 0, 0 } };
	judge("audit", ask(NETLINK_AUDIT, &audit, sizeof audit));
	return verdict();
}
