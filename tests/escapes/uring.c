/* io_uring makes calls that no filter sees: what it opens must be held by the same guards as anything else. */
#include "e.h"
#include <linux/io_uring.h>

static int ring;
static struct io_uring_params p;
static char *sq, *cq;
static struct io_uring_sqe *sqes;

static long submit(struct io_uring_sqe sqe)
{
	unsigned *tail = (unsigned *)(sq + p.sq_off.tail), *mask = (unsigned *)(sq + p.sq_off.ring_mask);
	unsigned *array = (unsigned *)(sq + p.sq_off.array), at = *tail & *mask;
	sqes[at] = sqe;
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	long r = sc(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
	if (r < 0) return r;
	unsigned *head = (unsigned *)(cq + p.cq_off.head);
	struct io_uring_cqe *cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes) + (*head & *(unsigned *)(cq + p.cq_off.ring_mask));
	r = cqe->res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return r;
}

static long opened(int dir, const char *path, int flags)
{
	return submit((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = dir, .addr = (uintptr_t)path, .open_flags = flags });
}

static void reads_by_ring(const char *way, const char *path)
{
	char self[48];
	long fd = opened(AT_FDCWD, path, O_RDONLY);
	if (fd < 0) return held(way, fd);
	snprintf(self, sizeof self, "/proc/self/fd/%ld", fd);
	reads(way, AT_FDCWD, self);
}

int main(int argc, char **argv)
{
	char up[4096];
	ring = sc(SYS_io_uring_setup, 4, &p);
	if (ring == -ENOSYS || ring == -EPERM) return untried("ring", "io_uring is %s", ring == -ENOSYS ? "not there" : "switched off"), 2;
	if (ring < 0) return held("ring", ring), verdict();
	size_t size = p.sq_off.array + p.sq_entries * 4, room = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	sq = mmap(0, size > room ? size : room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	cq = mmap(0, size > room ? size : room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
	sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED) return untried("ring", "mmap"), 2;
	reads_by_ring("open", word(argc, argv, 1));
	snprintf(up, sizeof up, "../../../../../../../../../../../..%s", word(argc, argv, 1));
	reads_by_ring("climb", up);
	/* Files that the filter's handlers would not give, or the kernel would not. */
	static const char *const paths[] = { "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe" };
	for (unsigned i = 0; i < 3; i++) {
		long fd = opened(AT_FDCWD, paths[i], O_WRONLY);
		if (fd >= 0) escaped(paths[i], "opened for writing");
		else held(paths[i], fd);
	}
	return verdict();
}
