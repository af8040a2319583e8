/* bad_disk.c - preloaded into a process: while the file that BAD_DISK names is there, its syncs
 * wait, as those of a disk do that does not answer; when there is a number in the file, they fail
 * with that errno. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAUSE_US = 1000, NUMBER_MAX = 15 };

/* What the file says: -1 when it is not there. */
static int trouble(void)
{
    char text[NUMBER_MAX + 1] = "";
    const char *path = getenv("BAD_DISK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return -1;
    ssize_t size = read(fd, text, NUMBER_MAX);
    (void)close(fd);
    return size > 0 ? (int)strtol(text, NULL, 10) : 0;
}

static int bad_sync(long number, int fd)
{
    int error = trouble();
    for (; error == 0; error = trouble())
        (void)usleep(PAUSE_US);
    if (error < 0)
        return (int)syscall(number, fd);
    errno = error;
    return -1;
}

int fsync(int fd)
{
    return bad_sync(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return bad_sync(SYS_fdatasync, fd);
}
