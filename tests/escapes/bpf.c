/* Programs for the kernel's machine that look at all of it, and those that are loaded. */
#include "e.h"
#include <linux/bpf.h>

int main(void)
{
	struct bpf_insn code[] = { { .code = 0xb7, .dst_reg = 0, .imm = 0 }, { .code = 0x95 } };
	static const struct { const char *name; int type; } kinds[] = {
		{ "kprobe", BPF_PROG_TYPE_KPROBE }, { "tracepoint", BPF_PROG_TYPE_TRACEPOINT },
		{ "xdp", BPF_PROG_TYPE_XDP }, { "cgroup", BPF_PROG_TYPE_CGROUP_SKB }, { "socket", BPF_PROG_TYPE_SOCKET_FILTER },
	};
	for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		union bpf_attr a = { .prog_type = kinds[i].type, .insn_cnt = 2, .insns = (uintptr_t)code, .license = (uintptr_t)"GPL" };
		int version = 0;
		a.kern_version = version;
		long fd = sc(SYS_bpf, BPF_PROG_LOAD, &a, sizeof a);
		/* Of a kprobe a kernel below 5.0 wants to know its own version. */
		if (fd >= 0) escaped(kinds[i].name, "loaded");
		else held(kinds[i].name, fd);
		if (fd >= 0) close(fd);
	}
	union bpf_attr next = { 0 };
	long r = sc(SYS_bpf, BPF_PROG_GET_NEXT_ID, &next, sizeof next);
	/* None loaded is ENOENT, to whoever may ask. */
	if (r == 0 || r == -ENOENT) escaped("list", "%ld", r);
	else held("list", r);
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	attempt("map", SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
	return verdict();
}
