/* Code for the kernel. `machine` names a module that stands there. */
#include "e.h"
#include <glob.h>
#include <sys/utsname.h>

int main(int argc, char **argv)
{
	char pattern[256];
	struct utsname u;
	glob_t found;
	const char *module = "/proc/self/exe";
	uname(&u);
	snprintf(pattern, sizeof pattern, "/lib/modules/%s/kernel/drivers/net/dummy.ko", u.release);
	if (has_word(argc, argv, "machine") && glob(pattern, 0, 0, &found) == 0) module = found.gl_pathv[0];
	int fd = open(module, O_RDONLY | O_CLOEXEC);
	struct stat st;
	fstat(fd, &st);
	void *image = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	attempt("finit_module", SYS_finit_module, fd, "", 0);
	sc(SYS_delete_module, "dummy", O_NONBLOCK);
	attempt("init_module", SYS_init_module, image, (long)st.st_size, "");
	attempt("delete_module", SYS_delete_module, "dummy", O_NONBLOCK);
	return verdict();
}
