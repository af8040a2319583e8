#include "env/posix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the lock ---- */

/* True when the file that fd has locked is still the one of that name: its last holder may have
 * removed it between our open and our lock. */
static bool is_of_name(int fd, const char *name)
{
    struct stat locked;
    struct stat named;
    return fstat(fd, &locked) == 0 && lstat(name, &named) == 0 && locked.st_ino == named.st_ino &&
           locked.st_dev == named.st_dev;
}

int posix_socket_lock(struct posix_socket_lock *lock, const char *path)
{
    enum { ATTEMPTS_MAX = 100 }; /* of others that came and went meanwhile */
    int size = snprintf(lock->name, sizeof lock->name, "%s.lock", path);
    if (size < 0 || (size_t)size >= sizeof lock->name)
        return -ENAMETOOLONG;
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        lock->fd = open(lock->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
        if (lock->fd < 0)
            return -errno;
        if (flock(lock->fd, LOCK_EX | LOCK_NB) != 0) {
            int rc = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
            (void)close(lock->fd);
            return rc;
        }
        if (is_of_name(lock->fd, lock->name))
            return 0;
        (void)close(lock->fd);
    }
    return -EADDRINUSE;
}

void posix_socket_unlock(struct posix_socket_lock *lock)
{
    (void)unlink(lock->name);
    (void)close(lock->fd);
}

/* ---- the socket's file ---- */

/* Somebody listens at path; a socket that a dead process left behind answers nobody. */
static bool is_alive(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    memcpy(name.sun_path, path, strlen(path) + 1);
    bool is_refused =
        connect(fd, (struct sockaddr *)&name, sizeof name) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return !is_refused;
}

bool posix_socket_remove_stale(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && S_ISSOCK(found.st_mode) && !is_alive(path) &&
           unlink(path) == 0;
}

int posix_socket_make_private(const char *path)
{
    return chmod(path, S_IRUSR | S_IWUSR) != 0 ? -errno : 0;
}
