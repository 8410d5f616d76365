/* Who it runs as. */
#include "e.h"

int main(void)
{
	printf("%d\n", geteuid());
	return 0;
}
