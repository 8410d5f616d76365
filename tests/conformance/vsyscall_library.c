// kernel: 2.6.32
// abi: amd64
// native: fails
// cflags: -fPIC -shared -Wl,-e,entry
// options: vsyscall=rewrite
/*
 * The same of a library, which the loader maps part by part. It is a program too, as libc.so.6 is, and loads a copy of
 * itself.
 */
#define main program
#include "vsyscall_pointers.c"
#undef main
#include <dlfcn.h>
#include <sys/sendfile.h>

__attribute__((section(".interp"), used)) static const char loader[] = "/lib64/ld-linux-x86-64.so.2";

/* What the copy is called by; says how much failed there. */
int whole(void)
{
	all_work();
	library(folder(), 0);
	return failures;
}

__attribute__((used)) static int begin(int argc, char **argv)
{
	char path[200];
	level(argc, argv);
	snprintf(path, sizeof path, "%s/copy.so", folder());
	int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_WRONLY | O_CREAT, 0755);
	while (sendfile(to, from, 0, 1 << 20) > 0) {}
	close(to);
	void *copy = dlopen(path, RTLD_NOW);
	if (!copy) {
		fail("dlopen, expected a library, got '%s'", dlerror());
		return verdict();
	}
	int (*function)(void) = (int (*)(void))dlsym(copy, "whole");
	expect_true("a copy of its own", function && function != whole);
	if (function) expect("failures in a library", 0, function());
	expect("pages", 1, pages());
	return failures ? verdict() : program(argc, argv);
}

__asm__(".globl entry\nentry:\n\txor %ebp,%ebp\n\tmov %rdx,%r9\n\tpop %rsi\n\tmov %rsp,%rdx\n\tand $-16,%rsp\n\tpush %rax\n\t"
	"push %rsp\n\txor %r8d,%r8d\n\txor %ecx,%ecx\n\tlea begin(%rip),%rdi\n\tcall __libc_start_main@plt\n\thlt");
