/* posix_socket.h - the files of Unix sockets: who may make one, and which ones nobody serves any
 * more.
 *
 * A process that was killed leaves its socket's file behind, and bind refuses a path that exists.
 * Looking whether somebody answers there and removing the file are two steps: of two processes that
 * both saw a stale file the slower one would remove the faster one's new socket. So both happen
 * under a lock, PATH.lock, from before the bind until after the listen; the kernel ends it with its
 * holder. */
#ifndef PERI_ENV_POSIX_SOCKET_H
#define PERI_ENV_POSIX_SOCKET_H

#include <stdbool.h>

enum { POSIX_SOCKET_LOCK_NAME_SIZE = 128 };

struct posix_socket_lock {
    int fd;
    char name[POSIX_SOCKET_LOCK_NAME_SIZE];
};

/* Locks path, which need not exist, for the opening of a socket. Errors: -EADDRINUSE while
 * another process opens it; the system's where its folder cannot be written. */
int posix_socket_lock(struct posix_socket_lock *lock, const char *path);

/* Ends that, and leaves no file. */
void posix_socket_unlock(struct posix_socket_lock *lock);

/* Removes the socket at path if nobody listens there; true when it did. Needs the lock. */
bool posix_socket_remove_stale(const char *path);

/* Lets only the owner connect. Errors: the system's. */
int posix_socket_make_private(const char *path);

#endif
