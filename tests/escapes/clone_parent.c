/* Children that are made its parent's, which for who entered a zone is the monitor: nobody waits for them. With a word
   they stay. */
#include "e.h"

int main(int argc, char **argv)
{
	(void)argv;
	for (int i = 0; i < 20; i++) {
		long child = sc(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
		if (child == 0 && argc > 1) pause();
		if (child == 0) _exit(0);
		if (child < 0) held("clone", child);
		else escaped("clone", "%ld", child);
	}
	return verdict();
}
