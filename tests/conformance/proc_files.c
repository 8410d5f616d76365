// kernel: 2.0.36 2.2.26 2.4.20 2.6.18 2.6.32 3.10 4.18 5.10
// abi: i386 amd64
// native: fails
/*
 * Files of /proc have the form of the level, and live values. See proc(5), fs/proc/array.c of 2.0 and 2.2,
 * fs/proc/proc_misc.c of 2.4 and 2.6.
 */
#include "t.h"
#include <sys/sendfile.h>

/* The whole of a file, in small pieces as stdio of old reads. */
static char *whole(const char *path)
{
	static char text[2][65536];
	static int next;
	char *to = text[next++ % 2];
	size_t n = 0;
	int fd = open(path, O_RDONLY);
	for (ssize_t got; fd >= 0 && n < sizeof text[0] - 1 && (got = read(fd, to + n, 100)) > 0;) n += got;
	if (fd >= 0) close(fd);
	to[n] = 0;
	return to;
}

static int has_line(const char *text, const char *key)
{
	size_t n = strlen(key);
	for (const char *at = text; at; at = strchr(at, '\n')) {
		if (*at == '\n') at++;
		if (!strncmp(at, key, n)) return 1;
	}
	return 0;
}

static int columns(const char *text)
{
	int n = 0;
	char line[256];
	sscanf(text, "cpu %255[^\n]", line);
	for (char *w = strtok(line, " "); w; w = strtok(NULL, " ")) n++;
	return n;
}

/* The same by sendfile(2), as busybox's cat has it. */
static char *sent(const char *path)
{
	static char text[65536];
	int from = open(path, O_RDONLY), to = open("/tmp/sent", O_RDWR | O_CREAT | O_TRUNC, 0600);
	while (sendfile(to, from, NULL, 1 << 20) > 0) {}
	ssize_t n = pread(to, text, sizeof text - 1, 0);
	text[n < 0 ? 0 : n] = 0;
	close(from);
	close(to);
	return text;
}

int main(int argc, char **argv)
{
	level(argc, argv);
	char *text = whole("/proc/meminfo");
	expect("the table of bytes", !since(2, 6, 0), !strncmp(text, "        total:", 14));
	expect("MemAvailable", since(3, 14, 0), has_line(text, "MemAvailable:"));
	expect("MemShared", !since(2, 6, 0), has_line(text, "MemShared:"));
	expect("Shmem", since(2, 6, 32), has_line(text, "Shmem:"));
	expect("Slab", since(2, 6, 0), has_line(text, "Slab:"));
	long long total = 0, used = 0, free = 0;
	if (!since(2, 6, 0)) {
		const char *mem = strstr(text, "Mem:");
		expect("figures of memory", 3, mem ? sscanf(mem, "Mem: %lld %lld %lld", &total, &used, &free) : 0);
		expect_true("used and free make the total", total > 0 && used + free == total);
		if (sizeof(long) == 4 && !since(2, 4, 0)) expect_true("it fits an int", total < 0x7fffffff);
	}

	text = whole("/proc/stat");
	int times = !since(2, 6, 0) ? 4 : !since(2, 6, 11) ? 7 : !since(2, 6, 24) ? 8 : !since(2, 6, 33) ? 9 : 10;
	expect("columns of cpu", times, columns(text));
	expect("page", !since(2, 6, 0), has_line(text, "page "));
	expect("disk_rio", !since(2, 4, 0), has_line(text, "disk_rio "));
	expect("procs_running", since(2, 6, 0), has_line(text, "procs_running "));
	expect("softirq", since(2, 6, 31), has_line(text, "softirq "));
	long long before = 0, after = 0;
	sscanf(strstr(text, "ctxt"), "ctxt %lld", &before);
	for (int i = 0; i < 20; i++) usleep(1000);
	sscanf(strstr(whole("/proc/stat"), "ctxt"), "ctxt %lld", &after);
	expect_true("context switches are counted on", after > before);
	/* top(1) and vmstat(8) of procps keep it open and seek to its beginning (FILE_TO_BUF of proc/sysinfo.c). */
	static char page[65536];
	int fd = open("/proc/stat", O_RDONLY);
	for (int i = 0; i < 2; i++) {
		before = after;
		lseek(fd, 0, SEEK_SET);
		if (read(fd, page, sizeof page - 1) > 0) sscanf(strstr(page, "ctxt"), "ctxt %lld", &after);
		for (int i = 0; i < 20; i++) usleep(1000);
	}
	expect_true("they are when it is read anew", after > before);
	close(fd);

	for (int i = 0; i < 20; i++) {
		text = sent("/proc/stat");
		expect_true("sendfile gives the whole", has_line(text, "processes ") && text[strlen(text) - 1] == '\n');
	}
	expect_text("sendfile of what stays", whole("/proc/version"), sent("/proc/version"));

	text = whole("/proc/cpuinfo");
	expect("bugs", since(3, 18, 0), has_line(text, "bugs"));
	expect("fdiv_bug", !since(2, 6, 0), has_line(text, "fdiv_bug"));
	expect("model name", since(2, 2, 0), has_line(text, "model name"));

	expect("fields of cgroups", since(2, 6, 24), has_line(whole("/proc/cgroups"), "#subsys_name"));
	expect("pids", since(4, 3, 0), has_line(whole("/proc/cgroups"), "pids"));
	expect_text("partitions", "major minor  #blocks  name\n\n", whole("/proc/partitions"));
	expect("overlay", since(3, 18, 0), has_line(whole("/proc/filesystems"), "nodev\toverlay"));
	long most = strtol(whole("/proc/sys/fs/file-max"), NULL, 10);
	if (!since(5, 4, 0)) expect_true("file-max is one to count with", most >= 1024 && most < 100000000);
	long most_of_all = 0;
	expect("figures of file-nr", 1, sscanf(whole("/proc/sys/fs/file-nr"), "%*d %*d %ld", &most_of_all));
	if (!since(5, 4, 0)) expect("file-nr has the same", most, most_of_all);
	expect("shmmax", since(3, 16, 0), strtoull(whole("/proc/sys/kernel/shmmax"), NULL, 10) != 33554432);
	expect("writing", -1, open("/proc/meminfo", O_WRONLY));
	return verdict();
}
