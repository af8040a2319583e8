/* posix_fork.h - starts a program in a child process that inherits nothing by accident.
 *
 * libuv's uv_spawn can neither bind the child's life to ours nor report what it used, so the fork
 * is ours. Between fork and exec the child of a process with threads may only make
 * async-signal-safe calls; posix_fork.c keeps to that. */
#ifndef PERI_ENV_POSIX_FORK_H
#define PERI_ENV_POSIX_FORK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct posix_fork {
    const char *const *argv;
    const char *const *envp; /* or NULL to inherit */
    const char *cwd;         /* or NULL */
    int fds[3];              /* becomes the child's 0, 1, 2; -1 is /dev/null */
    bool dies_with_parent;   /* with the calling thread, as PR_SET_PDEATHSIG has it */
    bool is_detached;        /* leads a session of its own, which no terminal ends */
};

/* Forks, and returns once the program runs or could not be started. The child gets default signal
 * dispositions, an empty signal mask, and of our descriptors only fds. Errors: errno codes, of fork
 * as well as of the child's chdir and exec. */
int posix_fork(const struct posix_fork *request, pid_t *pid, struct peri_error *err);

#endif
