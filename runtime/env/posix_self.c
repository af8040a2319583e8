/* posix_self.c - what the process knows about itself. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "env/uv_internal.h"

static int64_t self_pid(struct env *env)
{
    (void)env;
    return getpid();
}

/* EPERM says that it exists and belongs to somebody else. */
static bool self_pid_is_alive(struct env *env, int64_t pid)
{
    (void)env;
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static const char *self_variable(struct env *env, const char *name)
{
    (void)env;
    return getenv(name);
}

static const char *const *self_variables(struct env *env)
{
    static const char *const none[] = {NULL};
    (void)env;
    return environ != NULL ? (const char *const *)environ : none;
}

static int self_executable(struct env *env, char **out, struct peri_error *err)
{
    (void)env;
    char *path = realpath("/proc/self/exe", NULL);
    if (path == NULL)
        return peri_fail(err, -errno, "path of the running program");
    *out = path;
    return 0;
}

/* Those that this process may use, which can be fewer than the machine has. */
static uint32_t self_processors(struct env *env)
{
    (void)env;
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&usable);
}

static uint32_t self_terminal_columns(struct env *env, int fd)
{
    (void)env;
    struct winsize size = {0};
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static uint64_t self_rss_bytes(struct env *env)
{
    (void)env;
    size_t bytes = 0;
    return uv_resident_set_memory(&bytes) == 0 ? bytes : 0;
}

const struct env_self_ops env_posix_self_ops = {
    .pid = self_pid,
    .pid_is_alive = self_pid_is_alive,
    .variable = self_variable,
    .variables = self_variables,
    .executable = self_executable,
    .processors = self_processors,
    .terminal_columns = self_terminal_columns,
    .rss_bytes = self_rss_bytes,
};
