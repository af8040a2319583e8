/* posix_self.c - what the process knows about itself. */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef PERILUNE_MIMALLOC
#include <mimalloc.h>
#endif

#include "env/uv_internal.h"

enum { BYTES_PER_KIB = 1024 };

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

/* 0 and negative ids would mean groups of processes. */
static int self_pid_kill(struct env *env, int64_t pid, int signum)
{
    (void)env;
    if (pid <= 0 || pid > INT32_MAX)
        return PERI_EINVAL;
    return kill((pid_t)pid, signum) == 0 ? 0 : -errno;
}

static int self_notify(struct env *env, const char *path, const char *text)
{
    (void)env;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path)
        return PERI_EINVAL;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    int rc = sent < 0 ? -errno : 0;
    (void)close(fd);
    return rc;
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

/* A number of KiB in /proc/self/status, in bytes; 0 when it is not there. */
static uint64_t status_bytes(const char *format)
{
    char line[128];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    if (file == NULL)
        return 0;
    while (kib == 0 && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, format, &kib); /* other lines do not match */
    (void)fclose(file);
    return kib * BYTES_PER_KIB;
}

/* Between fork and exec a child shares its parent's memory, and ru_maxrss keeps counting that: so
 * it is only the second choice. */
static uint64_t self_max_rss_bytes(struct env *env)
{
    (void)env;
    struct rusage usage;
    uint64_t bytes = status_bytes("VmHWM: %" SCNu64);
    if (bytes > 0 || getrusage(RUSAGE_SELF, &usage) != 0)
        return bytes;
    return (uint64_t)usage.ru_maxrss * BYTES_PER_KIB;
}

/* mimalloc keeps what it has back until the same thread wants something in the same place: values
 * of a few MiB, which many threads have in turn, would take their size from each of them. A
 * variable of the environment goes before this. */
static void self_return_memory(struct env *env)
{
    (void)env;
#ifdef PERILUNE_MIMALLOC
#if MI_MALLOC_VERSION >= 210
    mi_option_set_default(mi_option_purge_delay, 0);
#else
    mi_option_set_default(mi_option_decommit_delay, 0);
#endif
#endif
}

const struct env_self_ops env_posix_self_ops = {
    .pid = self_pid,
    .pid_is_alive = self_pid_is_alive,
    .pid_kill = self_pid_kill,
    .notify = self_notify,
    .variable = self_variable,
    .variables = self_variables,
    .executable = self_executable,
    .processors = self_processors,
    .terminal_columns = self_terminal_columns,
    .max_rss_bytes = self_max_rss_bytes,
    .return_memory = self_return_memory,
};
