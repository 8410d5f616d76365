/* Shared memory and message queues of the host, by their keys and names. */
#include "e.h"
#include <mqueue.h>
#include <sys/shm.h>

#define KEY 0x5ec2e7

int main(int argc, char **argv)
{
	if (is_plant(argc, argv)) {
		int id = shmget(KEY, 4096, IPC_CREAT | 0666);
		mqd_t queue = mq_open("/zones-secret", O_CREAT | O_RDWR, 0666, NULL);
		planted("here");
		shmctl(id, IPC_RMID, 0);
		if (queue >= 0) mq_unlink("/zones-secret");
		return 1;
	}
	long id = shmget(KEY, 4096, 0);
	if (id >= 0) escaped("shm", "%ld", id);
	else held("shm", errno);
	mqd_t queue = mq_open("/zones-secret", O_RDWR);
	if (queue >= 0) escaped("mqueue", "%d", queue);
	else if (errno == ENOSYS) untried("mqueue", "ENOSYS");
	else held("mqueue", errno);
	return verdict();
}
