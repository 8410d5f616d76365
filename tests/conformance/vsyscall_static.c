// kernel: 2.6.32
// abi: amd64
// native: fails
// cflags: -static -pthread
// options: vsyscall=rewrite
/* The same of a program that brings its libc along, and has no interpreter. */
#include "vsyscall.c"
