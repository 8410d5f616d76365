// kernel: 2.0.36 2.2.26
// abi: i386
// native: fails
// cflags: -nostdlib -fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables
/*
 * libc5 asks for `brk(_end + n)` and takes any other answer for "Out of space".
 *
 * Until Linux 2.6.24 (commit 32a932332c8b, brk randomisation; x86 page-aligned it in fs/binfmt_elf.c
 * set_brk) the break of a new program began at the unaligned end of its .bss. Today it begins at the next
 * page or further up. The contract: with vstart = the end of the last segment in memory,
 * vstart <= addr <= page-aligned vstart is granted and answered with addr; above, the kernel decides;
 * below, the answer is the current break. State is per address space: copied by fork, shared by vfork and
 * CLONE_VM, reset by exec. See brk(2).
 *
 * No libc: glibc's own start would move the break.
 */
typedef unsigned long ulong;

enum { EXIT = 1, WRITE = 4, EXECVE = 11, BRK = 45, CLONE = 120, WAIT4 = 114 };
enum { VM = 0x100, VFORK = 0x4000, CHLD = 17 };

static long call4(long nr, long a, long b, long c, long d)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return r;
}

static ulong brk(ulong to) { return call4(BRK, to, 0, 0, 0); }

/* An odd size: .bss ends in the middle of a page. */
char odd[5003];
char stacks[2][16384] __attribute__((aligned(16)));
char tail[1237];
static ulong vstart;
static int failures;
static char **environment;

static void say(const char *s)
{
	long n = 0;
	while (s[n]) n++;
	call4(WRITE, 1, (long)s, n, 0);
}

static void say_hex(ulong v)
{
	char text[11] = "0x00000000";
	for (int i = 9; i > 1; i--, v >>= 4) text[i] = "0123456789abcdef"[v & 15];
	say(text);
}

static void expect(const char *what, ulong want, ulong got)
{
	if (want == got) return;
	failures++;
	say("FAIL: "), say(what), say(", expected "), say_hex(want), say(", got "), say_hex(got), say("\n");
}

/* clone(2) with a stack of its own, or the caller's when `stack` is 0 (fork). `f`'s value is its status. */
static long spawn(int (*f)(void), long flags, char *stack)
{
	long r;
	__asm__ volatile("int $0x80\n\ttest %%eax,%%eax\n\tjnz 1f\n\tcall *%%edi\n\tmov %%eax,%%ebx\n\t"
			 "mov $1,%%eax\n\tint $0x80\n1:"
			 : "=a"(r) : "a"(CLONE), "b"(flags), "c"(stack), "d"(0), "S"(0), "D"(f) : "memory");
	return r;
}

static void wait_for(const char *what, long pid)
{
	int status = -1;
	expect(what, pid, call4(WAIT4, pid, (long)&status, 0, 0));
	expect(what, 0, status);
}

static ulong page_end(void) { return (vstart + 4095) & ~4095ul; }

static int grow_in_fork(void)
{
	int before = failures;
	expect("fork: the child starts with a copy of the break", vstart + 100, brk(0));
	expect("fork: the child grows within the page", vstart + 200, brk(vstart + 200));
	expect("fork: the child grows beyond the page", page_end() + 5000, brk(page_end() + 5000));
	*(char *)(page_end() + 4999) = 1;
	return failures != before;
}

static int grow_shared(void) { return brk(vstart + 300) != vstart + 300; }
static int grow_shared_beyond(void) { return brk(page_end() + 9001) != page_end() + 9001; }

static int exec_again(void)
{
	static char *argv[] = { "brk_libc5", "again", 0 };
	return call4(EXECVE, (long)"/proc/self/exe", (long)argv, (long)environment, 0) != 0;
}

static void fresh(void)
{
	expect("brk(0) at the start is the end of .bss", vstart, brk(0));
	expect("a first request within the page", vstart + 16, brk(vstart + 16));
}

static int run(int argc, char **argv)
{
	ulong end = page_end();
	(void)argv;
	expect("the fixture: .bss ends within a page", 1, (vstart & 4095) != 0);
	fresh();
	if (argc > 1 && argv[1][0] == 'a') return failures;

	/* The low page: exactly what was asked, and memory to use. */
	expect("the same again", vstart + 16, brk(vstart + 16));
	expect("back to the start", vstart, brk(vstart));
	expect("up to the page's end", end, brk(end));
	expect("brk(0) repeats it", end, brk(0));
	/* What follows writes to memory that is only there if all of this was right. */
	if (failures) return failures;
	*(char *)(end - 1) = 1;
	expect("below the start: the current break", end, brk(vstart - 1));
	expect("far below the start: the current break", end, brk(4096));
	expect("1: the current break", end, brk(1));

	/* Above the low page the kernel's own break. */
	expect("one byte above the page", end + 1, brk(end + 1));
	expect("some pages", end + 3 * 4096 + 7, brk(end + 3 * 4096 + 7));
	if (failures) return failures;
	for (ulong p = end; p < end + 3 * 4096; p += 512) *(ulong *)p = ~0ul;
	ulong refused = brk(0xfffff000);
	expect("more than there is is refused with the current break", end + 3 * 4096 + 7, refused);
	expect("and changes nothing", end + 3 * 4096 + 7, brk(0));

	/* Down into the low page and up again: what was given back reads as zero. */
	expect("down into the low page", vstart + 8, brk(vstart + 8));
	expect("brk(0) in the low page", vstart + 8, brk(0));
	ulong huge = brk(0xfffff000);
	expect("a refusal from the low page is below what was asked", 1, huge < 0xfffff000);
	expect("and leaves the break in the low page", vstart + 8, brk(0));
	expect("up again", end + 3 * 4096, brk(end + 3 * 4096));
	int dirty = 0;
	for (ulong p = end; p < end + 3 * 4096; p += 512) dirty |= *(ulong *)p != 0;
	expect("memory given back reads as zero", 0, dirty);

	/* fork copies. */
	expect("down for fork", vstart + 100, brk(vstart + 100));
	wait_for("a forked child", spawn(grow_in_fork, CHLD, 0));
	expect("a forked child's growth is its own", vstart + 100, brk(0));

	/* vfork and CLONE_VM share. */
	wait_for("a vforked child", spawn(grow_shared, VM | VFORK | CHLD, stacks[0] + sizeof stacks[0]));
	expect("a vforked child's growth is shared", vstart + 300, brk(0));
	wait_for("a CLONE_VM child", spawn(grow_shared_beyond, VM | CHLD, stacks[1] + sizeof stacks[1]));
	expect("a CLONE_VM child's growth is shared", end + 9001, brk(0));
	*(char *)(end + 9000) = 1;

	/* exec starts afresh, and leaves the one who vforked alone. */
	expect("down for exec", vstart + 500, brk(vstart + 500));
	wait_for("exec after vfork", spawn(exec_again, VM | VFORK | CHLD, stacks[0] + sizeof stacks[0]));
	expect("exec in a vforked child leaves the parent's break", vstart + 500, brk(0));
	wait_for("exec after fork", spawn(exec_again, CHLD, 0));
	return failures;
}

/* The end of the last segment, as the kernel sees it: from the program headers, not from a symbol. */
void begin(long *stack)
{
	struct { ulong type, off, vaddr, paddr, filesz, memsz, flags, align; } *ph = 0;
	long argc = stack[0], count = 0;
	char **argv = (char **)(stack + 1);
	environment = argv + argc + 1;
	long *aux = (long *)environment;
	while (*aux) aux++;
	for (aux++; *aux; aux += 2) {
		if (aux[0] == 3) ph = (void *)aux[1];
		if (aux[0] == 5) count = aux[1];
	}
	for (long i = 0; i < count; i++)
		if (ph[i].type == 1 && ph[i].vaddr + ph[i].memsz > vstart) vstart = ph[i].vaddr + ph[i].memsz;
	odd[0] = tail[0] = 0;
	failures = run(argc, argv);
	if (!failures) say("ok brk_libc5.c\n");
	call4(EXIT, failures != 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %esp,%eax\n\tand $-16,%esp\n\tsub $12,%esp\n\tpush %eax\n\tcall begin");
