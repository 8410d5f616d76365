// kernel: all
// abi: i386 amd64
// native: passes
/* Memory, pipes, sockets and waiting: host calls that no level may change. See the man page of each. */
#include "cases.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

CASE(anonymous_memory_is_zero)
{
	char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	expect_true("mmap", p != MAP_FAILED);
	expect("byte", 0, p[40000]);
	p[40000] = 7;
	expect("munmap", 0, munmap(p, 65536));
	expect("munmap at an odd address", -EINVAL, sc(SYS_munmap, p + 1, 4096));
}

CASE(a_private_map_leaves_the_file)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	expect("write", 4, write(fd, "abcd", 4));
	char *p = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[0] = 'X';
	char c;
	pread(fd, &c, 1, 0);
	expect("in the file", 'a', c);
}

CASE(a_shared_map_reaches_the_file)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	expect("ftruncate", 0, ftruncate(fd, 4096));
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p[9] = 'X';
	expect("msync", 0, msync(p, 4096, MS_SYNC));
	char c;
	pread(fd, &c, 1, 9);
	expect("in the file", 'X', c);
}

CASE(memory_is_shared_with_a_child)
{
	volatile int *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	expect("status", 0, in_child(*p = 42));
	expect("value", 42, *p);
}

CASE(mprotect_is_kept)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	expect("mprotect", 0, mprotect(p, 4096, PROT_READ));
	expect("signal", SIGSEGV, WTERMSIG(in_child(*(volatile char *)p = 1)));
}

CASE(code_can_be_made)
{
	unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* mov $42,%eax; ret */
	memcpy(p, "\xb8\x2a\0\0\0\xc3", 6);
	expect("mprotect", 0, mprotect(p, 4096, PROT_READ | PROT_EXEC));
	expect("what it returns", 42, ((int (*)(void))p)());
}

CASE(code_can_be_mapped)
{
	int fd = open("code", O_RDWR | O_CREAT, 0755);
	expect("write", 6, write(fd, "\xb8\x2b\0\0\0\xc3", 6));
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	expect_true("mmap", p != MAP_FAILED);
	expect("what it returns", 43, ((int (*)(void))p)());
}

CASE(mremap_moves_what_is_there)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[5] = 9;
	char *q = mremap(p, 4096, 1 << 20, MREMAP_MAYMOVE);
	expect_true("mremap", q != MAP_FAILED);
	expect("byte", 9, q[5]);
	q[1 << 19] = 1;
}

CASE(mmap_of_bad_arguments)
{
	expect_true("length 0", mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	expect("why", EINVAL, errno);
	expect_true("no such descriptor", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 999, 0) == MAP_FAILED);
	expect("why", EBADF, errno);
}

CASE(madvise_dontneed_gives_zeroes)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[0] = 5;
	expect("madvise", 0, madvise(p, 4096, MADV_DONTNEED));
	expect("byte", 0, p[0]);
}

CASE(the_break_grows_and_shrinks)
{
	char *from = sbrk(0);
	expect_true("sbrk", sbrk(100000) == from);
	from[99999] = 1;
	expect_true("sbrk back", sbrk(-100000) != (void *)-1);
	expect("break", (long)from, (long)sbrk(0));
}

CASE(a_pipe_holds_what_is_written)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	expect("write", 5, write(p[1], "hello", 5));
	char b[8] = "";
	expect("read", 5, read(p[0], b, 8));
	expect_text("text", "hello", b);
}

CASE(a_pipe_without_readers)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	expect("write", -EPIPE, sc(SYS_write, p[1], "x", 1));
	signal(SIGPIPE, SIG_DFL);
	expect("signal", SIGPIPE, WTERMSIG(in_child(write(p[1], "x", 1))));
}

CASE(a_full_pipe_does_not_block)
{
	static char page[65536];
	int p[2];
	expect("pipe", 0, pipe(p));
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	while (write(p[1], page, sizeof page) > 0) {}
	expect("why", EAGAIN, errno);
}

CASE(poll_and_select)
{
	int p[2];
	expect("pipe", 0, pipe(p));
	struct pollfd f = {.fd = p[0], .events = POLLIN};
	expect("poll of an empty pipe", 0, poll(&f, 1, 10));
	expect("write", 1, write(p[1], "x", 1));
	expect("poll", 1, poll(&f, 1, 1000));
	expect("what", POLLIN, f.revents);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	struct timeval t = {1, 0};
	expect("select", 1, select(p[0] + 1, &set, NULL, NULL, &t));
	close(p[1]);
	read(p[0], &t, 1);
	expect("poll at the end", 1, poll(&f, 1, 1000));
	expect("what", POLLHUP, f.revents);
}

CASE(epoll_tells_once_per_edge)
{
	int p[2], e = epoll_create(1);
	expect("pipe", 0, pipe(p));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1122334455667788}, got;
	expect("epoll_ctl", 0, epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
	expect("write", 1, write(p[1], "x", 1));
	expect("epoll_wait", 1, epoll_wait(e, &got, 1, 1000));
	expect_true("data", got.data.u64 == 0x1122334455667788);
	expect("epoll_wait again", 0, epoll_wait(e, &got, 1, 10));
}

CASE(a_socket_pair_passes_a_descriptor)
{
	int s[2], f = open("f", O_CREAT | O_RDWR, 0644);
	expect("socketpair", 0, socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	expect("write", 3, write(f, "abc", 3));
	char c = 'x', control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &f, sizeof f);
	expect("sendmsg", 1, sendmsg(s[0], &m, 0));
	m.msg_controllen = sizeof control;
	expect("recvmsg", 1, recvmsg(s[1], &m, 0));
	int got;
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
	expect_true("another number", got != f);
	expect("offset is shared", 3, lseek(got, 0, SEEK_CUR));
}

CASE(peer_credentials)
{
	int s[2];
	expect("socketpair", 0, socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct ucred u;
	socklen_t n = sizeof u;
	expect("SO_PEERCRED", 0, getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
	expect("pid", getpid(), u.pid);
	expect("uid", 0, u.uid);
}

CASE(tcp_over_loopback)
{
	int l = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	expect("bind", 0, bind(l, (struct sockaddr *)&a, sizeof a));
	expect("listen", 0, listen(l, 1));
	getsockname(l, (struct sockaddr *)&a, &n);
	int c = socket(AF_INET, SOCK_STREAM, 0);
	int r = connect(c, (struct sockaddr *)&a, sizeof a);
	if (r && errno == ENETUNREACH) skip("loopback is down here");
	expect("connect", 0, r);
	int s = accept(l, NULL, NULL);
	expect("send", 2, send(c, "hi", 2, 0));
	char b[4] = "";
	expect("recv", 2, recv(s, b, 4, 0));
	expect_text("text", "hi", b);
}

CASE(a_unix_socket_has_a_name)
{
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), c = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
	expect("bind", 0, bind(s, (struct sockaddr *)&a, sizeof a));
	expect("bind again", -1, bind(c, (struct sockaddr *)&a, sizeof a));
	expect("why", EADDRINUSE, errno);
	expect("sendto", 1, sendto(c, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	char b;
	expect("recv", 1, recv(s, &b, 1, 0));
}

CASE(shared_memory_of_system_v)
{
	int id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	expect_true("shmget", id >= 0);
	int *p = shmat(id, NULL, 0);
	expect_true("shmat", p != (void *)-1);
	expect("status", 0, in_child(p[5] = 55));
	expect("value", 55, p[5]);
	struct shmid_ds d;
	expect("IPC_STAT", 0, shmctl(id, IPC_STAT, &d));
	expect("size", 8192, d.shm_segsz);
	expect("shmdt", 0, shmdt(p));
	expect("IPC_RMID", 0, shmctl(id, IPC_RMID, NULL));
}

CASE(semaphores_of_system_v)
{
	int id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
	expect_true("semget", id >= 0);
	expect("SETVAL", 0, semctl(id, 0, SETVAL, 1));
	struct sembuf down = {0, -1, IPC_NOWAIT};
	expect("down", 0, semop(id, &down, 1));
	expect("down again", -1, semop(id, &down, 1));
	expect("why", EAGAIN, errno);
	semctl(id, 0, IPC_RMID);
}

CASE(messages_of_system_v)
{
	struct { long type; char text[8]; } m = {3, "three"}, got = {0};
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	expect("msgsnd", 0, msgsnd(id, &m, 8, 0));
	expect("msgrcv of another type", -1, msgrcv(id, &got, 8, 4, IPC_NOWAIT));
	expect("why", ENOMSG, errno);
	expect("msgrcv", 8, msgrcv(id, &got, 8, 3, IPC_NOWAIT));
	expect_text("text", "three", got.text);
	msgctl(id, IPC_RMID, NULL);
}

CASE(a_futex_wakes_its_waiter)
{
	int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	expect("value differs", -EAGAIN, sc(SYS_futex, word, 0, 1, NULL, NULL, 0));
	pid_t pid = fork();
	if (!pid) {
		while (!sc(SYS_futex, word, 1, 1, NULL, NULL, 0)) usleep(1000);
		_exit(0);
	}
	expect("FUTEX_WAIT", 0, sc(SYS_futex, word, 0, 0, NULL, NULL, 0));
	waitpid(pid, NULL, 0);
}

CASE(a_terminal_of_its_own)
{
	int m = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (m < 0 && errno == ENOENT) skip("no /dev/ptmx here");
	expect_true("open ptmx", m >= 0);
	expect("grantpt", 0, grantpt(m));
	expect("unlockpt", 0, unlockpt(m));
	const char *name = ptsname(m);
	expect_true("ptsname", name != NULL);
}
