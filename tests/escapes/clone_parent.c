/* Children that are made its parent's, which for who entered a zone is the monitor: nobody waits for them. */
#include "e.h"

int main(void)
{
	for (int i = 0; i < 20; i++) {
		long child = sc(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
		if (child == 0) _exit(0);
		if (child < 0) held("clone", child);
		else escaped("clone", "%ld", child);
	}
	return verdict();
}
