// kernel: 2.6.18 2.6.32 3.10
// abi: amd64
// native: any (which has the page's getcpu, or no page)
// options: --strict
/*
 * getcpu in the vsyscall page, which glibc called before it was a system call of x86_64 in 3.1: there since 2.6.19
 * (arch/x86_64/kernel/vsyscall.c, vgetcpu); before, the slot answered ENOSYS (venosys_0).
 */
#include "page.h"

/* `mov $0xffffffffff600800,%rax; call *%rax`, as gcc made it of a constant function pointer. */
__asm__(".text\n.globl old_getcpu\nold_getcpu:\n\tsub $8,%rsp\n\t.byte 0x48,0xc7,0xc0; .long 0xff600800\n\t"
	".byte 0xff,0xd0\n\tadd $8,%rsp\n\tret");
long old_getcpu(unsigned *, unsigned *, void *);

int main(int argc, char **argv)
{
	level(argc, argv);
	fail_without_page();
	unsigned cpu = ~0u;
	long got = old_getcpu(&cpu, 0, 0);
	expect("getcpu", since(2, 6, 19) ? 0 : -ENOSYS, got);
	expect("the CPU is told", since(2, 6, 19), cpu != ~0u);
	return verdict();
}
