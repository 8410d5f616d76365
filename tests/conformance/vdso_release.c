// kernel: 2.6.18 2.6.32 3.10 4.18
// abi: i386 amd64
// native: fails
// options: --strict
/* glibc takes the kernel's release from the vDSO's note before it asks uname (sysdeps/unix/sysv/linux/dl-sysdep.c until
   2.36), and ends with "kernel too old" where it is below its own ABI tag. In a strict zone it is the level's:
   LINUX_VERSION_CODE of linux/version.h. In a child and in a program that was executed, too. */
#include "t.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

static unsigned told(void)
{
	const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *header = (const void *)image;
	if (!image) return 0;
	for (int i = 0; i < header->e_phnum; i++) {
		const ElfW(Phdr) *segment = (const void *)(image + header->e_phoff + i * header->e_phentsize);
		if (segment->p_type != PT_NOTE) continue;
		for (const char *at = image + segment->p_offset; at < image + segment->p_offset + segment->p_filesz;) {
			const ElfW(Nhdr) *note = (const void *)at;
			const char *name = at + sizeof *note, *text = name + (note->n_namesz + 3 & ~3u);
			if (note->n_type == 0 && note->n_namesz == 6 && !memcmp(name, "Linux", 6)) return *(const unsigned *)text;
			at = text + (note->n_descsz + 3 & ~3u);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned a = 0, b = 0, c = 0;
	int status;
	sscanf(argv[1], "%u.%u.%u", &a, &b, &c);
	unsigned level = a << 16 | b << 8 | c;
	expect("version code in the vDSO", level, told());
	if (argc > 2) return failures != 0;
	pid_t child = fork();
	if (child == 0) _exit(told() != level);
	waitpid(child, &status, 0);
	expect("in a child", 0, status);
	child = vfork();
	if (child == 0) {
		execl("/proc/self/exe", argv[0], argv[1], "again", NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	expect("in a program that was executed", 0, status);
	return verdict();
}
