// kernel: 2.6.32
// abi: amd64
// native: fails
// cflags: -fPIE -pie -pthread
// options: vsyscall=rewrite
/* The same of a program that has an interpreter, and lies anywhere. */
#include "vsyscall_pointers.c"
