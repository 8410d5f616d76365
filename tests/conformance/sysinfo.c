// kernel: 2.0.36 2.2.26
// abi: i386
// native: any (a host with less than 2 GiB has nothing to repair)
/*
 * Before Linux 2.3.23 `struct sysinfo` had no mem_unit: sizes are bytes in 32 bits, and programs read them
 * as int. A host with 4 GiB or more answers pages, and libc5's free believes in some MB. See sysinfo(2).
 */
#include "t.h"

int main(void)
{
	struct {
		int32_t uptime; uint32_t loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
		uint16_t procs, pad; uint32_t totalhigh, freehigh, mem_unit; char f[8];
	} s;
	memset(&s, '#', sizeof s);
	expect("sysinfo", 0, sc(SYS_sysinfo, &s));
	expect("mem_unit", 1, s.mem_unit);
	expect_true("totalram is at least 1 MiB", s.totalram >= 1 << 20);
	expect_true("totalram is less than 2 GiB", s.totalram < 1u << 31);
	expect_true("totalswap is less than 2 GiB", s.totalswap < 1u << 31);
	expect_true("freeram is not above totalram", s.freeram <= s.totalram);
	expect_true("bufferram is not above totalram", s.bufferram <= s.totalram);
	expect_true("sharedram is not above totalram", s.sharedram <= s.totalram);
	expect_true("freeswap is not above totalswap", s.freeswap <= s.totalswap);
	expect_true("uptime is that of a running system", s.uptime > 0);
	expect_true("procs counts this process", s.procs >= 1);
	return verdict();
}
