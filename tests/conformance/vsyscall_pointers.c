// kernel: 2.6.32 host
// abi: amd64
// native: fails
// cflags: -pthread
// options: vsyscall=rewrite
/*
 * The addresses of the vsyscall page (see vsyscall.c) in all that compilers and people put them in: in a zone that
 * rewrites them each is one of a function that works, in programs and in libraries, and files stay what they were.
 */
#include "page.h"
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/time.h>

extern char **environ;

typedef long (*function)(void *, void *);

#define GETTIMEOFDAY ((function)0xffffffffff600000)
#define TIME ((function)0xffffffffff600400)
#define GETCPU ((function)0xffffffffff600800)

/* In .data, in .rodata, and where a compiler that knows its value has to do without it. */
static volatile function in_data = TIME;
static const volatile struct { long other; function all[3]; } in_rodata = { 7, { GETTIMEOFDAY, TIME, GETCPU } };

__attribute__((noipa, optimize("O0"))) static long kept(void)
{
	function f = TIME;
	return f(0, 0);
}
__attribute__((noipa, optimize("O2"))) static long with_arguments(void)
{
	time_t t = 0;
	return TIME(&t, 0) == t ? t : -1;
}
__attribute__((noipa)) static long at_once(void) { return TIME(0, 0); }
__attribute__((noipa)) static void *as_value(void) { return (void *)TIME; }

/* Other registers, memory by all addressing modes, a whole address; each gives the time. */
#define FUNCTION(name, code) \
	__asm__(".text\n.globl " #name "\n.hidden " #name "\n" #name ":\n\tpush %rbx\n\tmov %rsp,%rbx\n\tsub $0x200,%rsp\n\txor %edi,%edi\n\t" code \
		"\n\tmov %rbx,%rsp\n\tpop %rbx\n\tret"); \
	__attribute__((visibility("hidden"))) long name(void)
#define PAGE "$0xffffffffff600400"
FUNCTION(by_rcx, "mov " PAGE ",%rcx\n\tcall *%rcx");
FUNCTION(by_r11, "mov " PAGE ",%r11\n\tcall *%r11");
FUNCTION(by_late_rax, "mov " PAGE ",%rax\n\txor %edi,%edi\n\tcall *%rax");
FUNCTION(by_movabs, "movabs " PAGE ",%rax\n\tcall *%rax");
FUNCTION(by_movabs_r12, "push %r12\n\tmovabs " PAGE ",%r12\n\tcall *%r12\n\tpop %r12");
FUNCTION(by_stack, "movq " PAGE ",(%rsp)\n\tcall *(%rsp)");
FUNCTION(by_near, "movq " PAGE ",8(%rsp)\n\tcall *8(%rsp)");
FUNCTION(by_far, "movq " PAGE ",0x100(%rsp)\n\tcall *0x100(%rsp)");
FUNCTION(by_base, "mov %rsp,%r9\n\tmovq " PAGE ",-8(%r9)\n\tcall *-8(%r9)");
FUNCTION(by_index, "mov $2,%eax\n\tmovq " PAGE ",(%rsp,%rax,8)\n\tcall *16(%rsp)");
FUNCTION(by_own, ".pushsection .bss\n1:\t.skip 8\n\t.popsection\n\tmovq " PAGE ",1b(%rip)\n\tcall *1b(%rip)");

/* The page's own address, which no compiler sees: calls there are what is to be rewritten. */
static int is_pages(const void *p) { return (unsigned long)p >> 24 == ~0ul >> 24; }

static void gives_time(const char *what, long got)
{
	if (labs(got - time(0)) > 5) fail("the time %s, expected %ld, got %ld", what, (long)time(0), got);
}

static void all_work(void)
{
	struct timeval tv = { 0 };
	unsigned cpu = ~0u;
	expect("as a value: of the page", 0, is_pages(as_value()));
	expect("in .data: of the page", 0, is_pages((void *)in_data));
	for (int i = 0; i < 3; i++) expect("in .rodata: of the page", 0, is_pages((void *)in_rodata.all[i]));
	if (failures) return;
	gives_time("in .data", in_data(0, 0));
	expect("gettimeofday in .rodata", 0, in_rodata.all[0](&tv, 0));
	gives_time("of gettimeofday", tv.tv_sec);
	gives_time("in .rodata", in_rodata.all[1](0, 0));
	expect("getcpu in .rodata", 0, in_rodata.all[2](&cpu, 0));
	expect_true("a CPU", cpu < 4096);
	gives_time("in a local variable", kept());
	gives_time("with arguments", with_arguments());
	gives_time("at once", at_once());
	long (*all[])(void) = { by_rcx, by_r11, by_late_rax, by_movabs, by_movabs_r12, by_stack, by_near, by_far, by_base,
				by_index, by_own };
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		char what[32];
		snprintf(what, sizeof what, "by instructions, %u", i);
		gives_time(what, all[i]());
	}
}

/* Anonymous executable mappings below 2 GiB: a process has one page of them. */
static int pages(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int found = 0;
	while (maps && fgets(line, sizeof line, maps)) {
		unsigned long from, to, inode;
		char rights[8];
		if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, rights, &inode) == 4 && to < 1ul << 31)
			found += !inode && !strcmp(rights, "r-xp") ? (int)((to - from) / 4096) : 0;
	}
	if (maps) fclose(maps);
	return found;
}

/* A library as ld made them: code and constants in the first page, data in the third, loaded a page further up. */
struct library {
	Elf64_Ehdr head;
	Elf64_Phdr parts[2];
	unsigned char code[32];
	unsigned long constant __attribute__((aligned(8)));
	char rest[8192 - 64 - 2 * 56 - 32 - 8];
	unsigned long data[2];
};

static struct library new_library(void)
{
	struct library l = {
		.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_DYN,
			  .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_phoff = sizeof(Elf64_Ehdr),
			  .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.parts = { { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 512, .p_memsz = 512, .p_align = 4096 },
			   { .p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 8192, .p_vaddr = 12288, .p_paddr = 12288,
			     .p_filesz = 16, .p_memsz = 16, .p_align = 4096 } },
		/* mov $ADDRESS,%rax; xor %edi,%edi; jmp *%rax */
		.code = { 0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0x31, 0xff, 0xff, 0xe0 },
	};
	/* Not in this program's own text or data, which is rewritten. */
	volatile long megabytes = -10;
	l.constant = l.data[0] = l.data[1] = (unsigned long)megabytes * 1048576 + 0x400;
	memcpy(l.code + 3, &l.constant, 4);
	return l;
}

static const char *folder(void)
{
	static char dir[32];
	strcpy(dir, "/tmp/library-XXXXXX");
	if (!mkdtemp(dir)) fail("mkdtemp, expected a folder, got errno %d", errno);
	return dir;
}

static void library(const char *dir, int sealed)
{
	struct library l = new_library(), there;
	char path[200];
	snprintf(path, sizeof path, "%s/library%d", dir, sealed);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);
	expect("writing a library", sizeof l, write(fd, &l, sizeof l));
	/* Someone who wants to look at it. */
	struct library *seen = mmap(0, sizeof l, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *base = mmap(0, 16384, PROT_READ | (sealed ? 0 : PROT_EXEC), MAP_PRIVATE, fd, 0);
	if (sealed) mmap(base, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
	struct library *code = (struct library *)base;
	unsigned long *data = mmap(base + 12288, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 8192);
	expect_true("its data lies where it is to be", (char *)data == base + 12288);
	expect("in its constants: of the page", 0, is_pages((void *)code->constant));
	expect("in its data: of the page", 0, is_pages((void *)data[0]) + is_pages((void *)data[1]));
	if (!failures) {
		gives_time("of a library's code", ((function)(void *)code->code)(0, 0));
		gives_time("of a library's constant", ((function)code->constant)(0, 0));
		gives_time("of a library's data", ((function)data[0])(0, 0));
	}
	expect("what is only looked at", 0, memcmp(seen, &l, sizeof l));
	expect("the file", sizeof l, pread(fd, &there, sizeof there, 0));
	expect("its content", 0, memcmp(&l, &there, sizeof l));
	munmap(base, 16384);
	munmap(seen, sizeof l);
	close(fd);
}

/* By whichever thread takes the signal. */
static int ticks, values;
static void tick(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	__atomic_fetch_add(&ticks, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&values, info->si_value.sival_int, __ATOMIC_SEQ_CST);
}

static void *load(void *dir)
{
	for (int i = 0; i < 20; i++) {
		char own[200];
		snprintf(own, sizeof own, "%s/%lx-%d", (char *)dir, (unsigned long)pthread_self(), i);
		mkdir(own, 0755);
		library(own, i % 2);
	}
	return 0;
}

static void ended_well(const char *what, pid_t pid)
{
	int status = -1;
	expect(what, pid, waitpid(pid, &status, 0));
	expect(what, 0, status);
}

static char *const again[] = { "vsyscall_pointers", "again", 0 };

/* A process that had none of it loads libraries while signals come in, one after the other and all at once. */
static void loads_under_signals(const char *dir, int threads)
{
	struct sigaction act = { .sa_sigaction = tick, .sa_flags = SA_RESTART | SA_SIGINFO };
	sigaction(SIGRTMIN, &act, 0);
	pid_t parent = getpid(), pid = fork();
	if (!pid) {
		for (int i = 0; i < 200; i++) {
			union sigval value = { .sival_int = i };
			while (sigqueue(parent, SIGRTMIN, value)) usleep(100);
			usleep(300);
		}
		_exit(0);
	}
	pthread_t all[4];
	for (int i = 0; i < threads; i++) pthread_create(&all[i], 0, load, (void *)dir);
	for (int i = 0; i < threads; i++) pthread_join(all[i], 0);
	load((void *)dir);
	ended_well("the sender", pid);
	expect("signals", 200, ticks);
	expect("their values", 199 * 100, values);
}

/* A filter of the process's own by which it dies when it maps code that is no file's: none of its calls does. */
static void maps_no_code(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	expect("no_new_privs", 0, sc(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	expect("a filter", 0, sc(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

static void without_page(void)
{
	for (unsigned long at = 0x100000; at < 0x200000; at += 4096) munmap((void *)at, 4096);
	expect("pages that are left", 0, pages());
}

int main(int argc, char **argv)
{
	fail_without_page();
	level(argc, argv);
	all_work();
	if (!strcmp(argv[1], "again") || failures) return verdict();
	expect("pages", 1, pages());

	pid_t pid = fork();
	if (!pid) {
		all_work();
		library(folder(), 0);
		expect("pages of a forked child", 1, pages());
		_exit(failures != 0);
	}
	ended_well("fork", pid);
	if (!(pid = vfork())) {
		execve("/proc/self/exe", again, environ);
		_exit(1);
	}
	ended_well("vfork and exec", pid);

	if (!(pid = fork())) {
		without_page();
		maps_no_code();
		library(folder(), 0);
		library(folder(), 1);
		expect("pages under a filter", 1, pages());
		_exit(failures != 0);
	}
	ended_well("a filter of its own", pid);
	if (!(pid = fork())) {
		/* Taken. */
		without_page();
		unsigned long taken[] = { 0x1f0000, 0x1c0000, 0x180000 };
		for (int i = 0; i < 3; i++)
			mmap((void *)taken[i], 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		library(folder(), 0);
		expect("pages elsewhere", 1, pages());
		_exit(failures != 0);
	}
	ended_well("places that are taken", pid);

	const char *dir = folder();
	library(dir, 0);
	library(dir, 1);
	expect("pages after libraries", 1, pages());
	/* As a program that never needed it. */
	without_page();
	loads_under_signals(dir, 4);
	expect_true("pages of threads that load at once", pages() > 0 && pages() < 6);
	return verdict();
}
