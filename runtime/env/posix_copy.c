/* posix_copy.c - runs a function in a copy of this process, for what must not leave a trace here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "env/uv_internal.h"

#define US_PER_S UINT64_C(1000000)
enum { US_PER_MS = 1000, READ_SIZE = 65536, OUTPUT_MAX = 256 << 20, KIB = 1024 };

struct copy {
    struct env *env;
    const struct env_copy *request;
    pid_t parent, pid;
    int in, out; /* ends of the pipe */
};

/* ---- in the copy ---- */

_Noreturn static void run_body(const struct copy *copy)
{
    char name[] = "the result of a copy of this process";
    struct posix_file out = {{copy->env}, copy->out, name, false, 0};
    (void)close(copy->in);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != copy->parent) /* it died before prctl: nobody reads any more */
        _exit(EXIT_FAILURE);
    _exit(copy->request->body(copy->request->data, &out.base));
}

/* ---- in the original ---- */

static int start(struct copy *copy, struct peri_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return peri_fail(err, -errno, "pipe from a copy of this process");
    copy->in = fds[0];
    copy->out = fds[1];
    copy->parent = getpid();
    copy->pid = fork();
    if (copy->pid == 0)
        run_body(copy);
    int rc = copy->pid < 0 ? peri_fail(err, -errno, "copy of this process") : 0;
    (void)close(fds[1]);
    if (rc != 0)
        (void)close(fds[0]);
    return rc;
}

/* Waits until the pipe can be read. Returns false when until_us came first. */
static bool wait_readable(const struct copy *copy, uint64_t until_us)
{
    struct pollfd ready = {.fd = copy->in, .events = POLLIN};
    for (;;) {
        uint64_t now_us = env_now_us(copy->env);
        if (now_us >= until_us)
            return false;
        int timeout_ms = (int)((until_us - now_us) / US_PER_MS) + 1;
        int count = poll(&ready, 1, timeout_ms);
        if (count > 0)
            return true;
        if (count < 0 && errno != EINTR)
            return true; /* read will say what is wrong */
    }
}

/* Reads to the end. Returns 0, or why the copy must be killed. */
static int collect(const struct copy *copy, struct peri_buffer *output)
{
    uint64_t until_us = env_now_us(copy->env) + copy->request->limit_us;
    for (;;) {
        if (!wait_readable(copy, until_us))
            return PERI_EDEADLINE;
        if (peri_buffer_reserve(output, READ_SIZE) != 0)
            return PERI_ENOMEM;
        ssize_t size = read(copy->in, output->data + output->size, READ_SIZE);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return size < 0 ? -errno : 0;
        output->size += (size_t)size;
        if (output->size > OUTPUT_MAX)
            return PERI_ETOOBIG;
    }
}

static uint64_t timeval_us(struct timeval time)
{
    return (uint64_t)time.tv_sec * US_PER_S + (uint64_t)time.tv_usec;
}

static void reap(const struct copy *copy, struct env_process_exit *exit)
{
    int status = 0;
    struct rusage usage = {0};
    while (wait4(copy->pid, &status, 0, &usage) < 0 && errno == EINTR)
        continue;
    exit->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    exit->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    exit->cpu_us = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
    exit->max_rss_bytes = (uint64_t)usage.ru_maxrss * KIB;
}

int env_posix_copy(struct env *env, const struct env_copy *request, struct peri_buffer *output,
                   struct env_process_exit *exit, struct peri_error *err)
{
    struct copy copy = {.env = env, .request = request};
    int rc = start(&copy, err);
    if (rc != 0)
        return rc;
    rc = collect(&copy, output);
    if (rc != 0)
        (void)kill(copy.pid, SIGKILL);
    (void)close(copy.in);
    reap(&copy, exit);
    return rc == 0 || rc == PERI_EDEADLINE ? rc : peri_fail(err, rc, "a copy of this process");
}
