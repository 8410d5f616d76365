// kernel: 2.0.36 2.4.37 2.6.18
// abi: i386 amd64
// native: any (a host kernel without modules has nothing to repair)
/*
 * modprobe and depmod at boot find a kernel without modules: ENOSYS, as with CONFIG_MODULES=n (kernel/module.c
 * of Linux 2.0 to 2.6), upon which they go on. Today init_module is EPERM, which they report.
 */
#include "t.h"

int main(void)
{
	char page[4096] = { 0 };
	expect("create_module", -ENOSYS, sc(SYS_create_module, "x", 4096));
	expect("init_module", -ENOSYS, sc(SYS_init_module, page, 4096, ""));
	expect("delete_module", -ENOSYS, sc(SYS_delete_module, "x", 0));
	expect("get_kernel_syms", -ENOSYS, sc(SYS_get_kernel_syms, 0));
	expect("query_module(QM_MODULES)", -ENOSYS, sc(SYS_query_module, 0, 1, page, 4096, page));
	return verdict();
}
