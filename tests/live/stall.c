/* stall.c - preloaded into a process: its syncs wait as long as the file that STALL names is there,
 * as those of a disk do that does not answer. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAUSE_US = 1000 };

static int sync_later(long number, int fd)
{
    const char *path = getenv("STALL");
    while (path != NULL && access(path, F_OK) == 0)
        (void)usleep(PAUSE_US);
    return (int)syscall(number, fd);
}

int fsync(int fd)
{
    return sync_later(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_later(SYS_fdatasync, fd);
}
