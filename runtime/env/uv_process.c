/* uv_process.c - child processes: their pipes, and what is known when they end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/posix_fork.h"
#include "env/uv_internal.h"

enum { STDIO_COUNT = 3 };

struct uv_child {
    struct env_process base;
    struct uv_owned owned;
    struct peri_list link; /* in env_uv.children until reaped, then in a list of the exited */
    pid_t pid;
    bool is_reaped;
    bool is_released; /* by its owner: freed once reaped */
    bool is_detached;
    struct env_process_exit exit;
    void (*on_exit)(void *data, const struct env_process_exit *exit);
    void *data;
};

static struct uv_child *child_of(struct env_process *process)
{
    return container_of(process, struct uv_child, base);
}

/* ---- reaping ---- */

static void note_exit(struct uv_child *child, int status, const struct rusage *usage)
{
    enum { US_PER_S = 1000000, BYTES_PER_KIB = 1024 };
    const struct timeval *user = &usage->ru_utime;
    const struct timeval *kernel = &usage->ru_stime;
    child->is_reaped = true;
    child->exit = (struct env_process_exit){
        .status = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .cpu_us = (uint64_t)(user->tv_sec + kernel->tv_sec) * US_PER_S +
                  (uint64_t)(user->tv_usec + kernel->tv_usec),
        .max_rss_bytes = (uint64_t)usage->ru_maxrss * BYTES_PER_KIB,
    };
}

/* Each child is asked for by pid: children of other environments, or of foreign code in this
 * process, are not ours to reap. */
static void reap(struct env_uv *uv, struct peri_list *exited)
{
    struct peri_list *next;
    for (struct peri_list *at = uv->children.next; at != &uv->children; at = next) {
        struct uv_child *child = container_of(at, struct uv_child, link);
        struct rusage usage;
        int status;
        next = at->next;
        if (wait4(child->pid, &status, WNOHANG, &usage) != child->pid)
            continue;
        note_exit(child, status, &usage);
        peri_list_remove(&child->link);
        peri_list_append(exited, &child->link);
    }
}

static void on_child_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct env_uv *uv = container_of(handle, struct env_uv, child_signal);
    struct peri_list exited;
    peri_list_init(&exited);
    reap(uv, &exited);
    if (peri_list_is_empty(&uv->children))
        (void)uv_signal_stop(handle);
    while (!peri_list_is_empty(&exited)) {
        struct uv_child *child = container_of(exited.next, struct uv_child, link);
        peri_list_remove(&child->link);
        if (child->is_released)
            free(child);
        else
            child->on_exit(child->data, &child->exit); /* may close this child, or another one */
    }
}

static int watch_children(struct env_uv *uv)
{
    if (!uv->child_signal_is_open) {
        int rc = uv_signal_init(&uv->loop, &uv->child_signal);
        if (rc != 0)
            return rc;
        uv->child_signal_is_open = true;
    }
    return uv_signal_start(&uv->child_signal, on_child_signal, SIGCHLD);
}

void env_uv_process_deinit(struct env_uv *uv)
{
    if (!uv->child_signal_is_open || !peri_list_is_empty(&uv->children))
        return;
    uv->child_signal_is_open = false;
    uv_close((uv_handle_t *)&uv->child_signal, NULL);
}

/* ---- starting ---- */

/* Opens a pipe: theirs gets the child's end, *stream ours. */
static int open_pipe(struct env_uv *uv, int child_fd, int *theirs, struct env_stream **stream)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -errno;
    int child_end = child_fd == STDIN_FILENO ? 0 : 1;
    int rc = env_uv_stream_open(uv, fds[1 - child_end], stream);
    if (rc != 0) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        return rc;
    }
    *theirs = fds[child_end];
    return 0;
}

static int open_stdio(struct env_uv *uv, const enum env_stdio stdio[STDIO_COUNT],
                      int fds[STDIO_COUNT], struct env_stream *streams[STDIO_COUNT])
{
    for (int i = 0; i < STDIO_COUNT; i++) {
        int rc = 0;
        if (stdio[i] == ENV_STDIO_PIPE)
            rc = open_pipe(uv, i, &fds[i], &streams[i]);
        else if (stdio[i] == ENV_STDIO_INHERIT)
            fds[i] = i;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* One descriptor for both streams, so that what they say stays in order. */
static int open_output(const char *path, int fds[STDIO_COUNT])
{
    enum { OWNER_ONLY = 0600 };
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, OWNER_ONLY);
    if (fd < 0)
        return -errno;
    fds[STDOUT_FILENO] = fd;
    fds[STDERR_FILENO] = fd;
    return 0;
}

static void close_child_ends(const enum env_stdio stdio[STDIO_COUNT], const int fds[STDIO_COUNT])
{
    for (int i = 0; i < STDIO_COUNT; i++)
        if (stdio[i] == ENV_STDIO_PIPE && fds[i] >= 0)
            (void)close(fds[i]);
}

static int start(struct env_uv *uv, const struct env_process_options *options, pid_t *pid,
                 struct env_stream *streams[STDIO_COUNT], struct peri_error *err)
{
    struct posix_fork request = {.argv = options->argv,
                                 .envp = options->envp,
                                 .cwd = options->cwd,
                                 .fds = {-1, -1, -1},
                                 .dies_with_parent = options->dies_with_parent,
                                 .is_detached = options->is_detached};
    int rc = open_stdio(uv, options->stdio, request.fds, streams);
    if (rc != 0) {
        (void)peri_fail(err, rc, "pipes for %s", options->argv[0]);
        close_child_ends(options->stdio, request.fds);
        return rc;
    }
    int piped[STDIO_COUNT];
    memcpy(piped, request.fds, sizeof piped);
    if (options->output != NULL)
        rc = open_output(options->output, request.fds);
    if (rc != 0)
        (void)peri_fail(err, rc, "%s", options->output);
    else
        rc = posix_fork(&request, pid, err);
    if (options->output != NULL && request.fds[STDOUT_FILENO] != piped[STDOUT_FILENO])
        (void)close(request.fds[STDOUT_FILENO]);
    close_child_ends(options->stdio, piped);
    return rc;
}

/* A detached child is let go of: it belongs to nobody here any more, and whoever adopts it when
 * this process ends reaps it. */
static void kill_released(struct uv_child *child)
{
    struct env_uv *uv = env_uv_of(child->base.env);
    child->is_released = true;
    if (child->is_detached && !child->is_reaped) {
        peri_list_remove(&child->link);
        if (peri_list_is_empty(&uv->children))
            (void)uv_signal_stop(&uv->child_signal);
    } else if (!child->is_reaped)
        (void)kill(child->pid, SIGKILL);
    if (peri_list_is_empty(&child->link))
        free(child);
}

static void child_close_owned(struct uv_owned *owned)
{
    kill_released(container_of(owned, struct uv_child, owned));
}

static void child_close(struct env_process *base)
{
    struct uv_child *child = child_of(base);
    env_uv_owned_remove(&child->owned);
    kill_released(child);
}

static int child_spawn(struct env *env, const struct env_process_options *options,
                       void (*on_exit)(void *data, const struct env_process_exit *exit), void *data,
                       struct env_stream *streams[STDIO_COUNT], struct env_process **out,
                       struct peri_error *err)
{
    struct env_uv *uv = env_uv_of(env);
    struct env_stream *opened[STDIO_COUNT] = {NULL, NULL, NULL};
    struct uv_child *child = calloc(1, sizeof *child);
    if (child == NULL)
        return peri_fail(err, PERI_ENOMEM, "start %s", options->argv[0]);
    *child = (struct uv_child){
        .base = {env}, .on_exit = on_exit, .data = data, .is_detached = options->is_detached};
    int rc = watch_children(uv);
    if (rc != 0)
        (void)peri_fail(err, rc, "start %s", options->argv[0]);
    else
        rc = start(uv, options, &child->pid, opened, err);
    if (rc != 0) {
        for (int i = 0; i < STDIO_COUNT; i++)
            env_stream_close(opened[i]);
        if (peri_list_is_empty(&uv->children) && uv->child_signal_is_open)
            (void)uv_signal_stop(&uv->child_signal);
        free(child);
        return rc;
    }
    for (int i = 0; i < STDIO_COUNT; i++)
        if (options->stdio[i] == ENV_STDIO_PIPE)
            streams[i] = opened[i];
    peri_list_append(&uv->children, &child->link);
    env_uv_owned_add(uv, &child->owned, child_close_owned);
    *out = &child->base;
    return 0;
}

static int64_t child_pid(const struct env_process *base)
{
    return ((const struct uv_child *)base)->pid;
}

static int child_kill(struct env_process *base, int signum)
{
    struct uv_child *child = child_of(base);
    if (child->is_reaped) /* the pid may belong to somebody else by now */
        return -ESRCH;
    return kill(child->pid, signum) == 0 ? 0 : -errno;
}

const struct env_process_ops env_uv_process_ops = {child_spawn, child_pid, child_kill, child_close};
