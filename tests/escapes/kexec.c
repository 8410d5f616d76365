/* Another kernel in the place of this one; unloading the one that is not there takes the same right. */
#include "e.h"
#include <linux/kexec.h>

int main(void)
{
	attempt("kexec_load", SYS_kexec_load, 0, 0, 0, KEXEC_ARCH_DEFAULT);
#ifdef SYS_kexec_file_load
	attempt("kexec_file_load", SYS_kexec_file_load, -1, -1, 0, 0, 1 /* KEXEC_FILE_UNLOAD */);
#endif
	return verdict();
}
