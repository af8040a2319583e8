/* uv_guard.c - a thread of its own that ends the process some time after a signal.
 *
 * What the loop's thread does cannot be trusted to end: it may be inside a Lua hook, which nothing
 * interrupts, or wait in read(2) or system(3). libuv tells every loop that watches a signal, so the
 * thread has a loop that does nothing else. */
#include <stdlib.h>
#include <unistd.h>

#include "env/uv_internal.h"

enum { GUARDED_MAX = 4, EXIT_SIGNAL_BASE = 128, US_PER_MS = 1000 };

struct uv_guard {
    uv_loop_t loop;
    uv_thread_t thread;
    uv_async_t stop;
    uv_timer_t timer;
    uv_signal_t signals[GUARDED_MAX];
    int signum; /* that has arrived; 0: none */
    _Atomic uint64_t limit_ms;
};

static void on_late(uv_timer_t *timer)
{
    const struct uv_guard *guard = container_of(timer, struct uv_guard, timer);
    _exit(EXIT_SIGNAL_BASE + guard->signum);
}

/* The second one is from somebody who does not want to wait. */
static void on_signal(uv_signal_t *handle, int signum)
{
    struct uv_guard *guard = handle->data;
    if (guard->signum != 0)
        _exit(EXIT_SIGNAL_BASE + signum);
    guard->signum = signum;
    (void)uv_timer_start(&guard->timer, on_late, guard->limit_ms, 0);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    uv_close(handle, NULL);
}

static void on_stop(uv_async_t *stop)
{
    uv_walk(stop->loop, close_handle, NULL);
}

static void watch(void *data)
{
    struct uv_guard *guard = data;
    (void)uv_run(&guard->loop, UV_RUN_DEFAULT);
}

void env_uv_guard_close(struct uv_guard *guard)
{
    if (guard == NULL)
        return;
    (void)uv_async_send(&guard->stop);
    (void)uv_thread_join(&guard->thread);
    int rc = uv_loop_close(&guard->loop);
    PERI_ASSERT(rc == 0);
    free(guard);
}

static int open_handles(struct uv_guard *guard, const int *signums, size_t count)
{
    int rc = uv_async_init(&guard->loop, &guard->stop, on_stop);
    if (rc == 0)
        rc = uv_timer_init(&guard->loop, &guard->timer);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = uv_signal_init(&guard->loop, &guard->signals[i]);
        guard->signals[i].data = guard;
        if (rc == 0 && !env_uv_signal_is_ignored(signums[i]))
            rc = uv_signal_start(&guard->signals[i], on_signal, signums[i]);
    }
    return rc;
}

void env_uv_signal_guard_limit(struct env *env, uint64_t limit_us)
{
    struct uv_guard *guard = env_uv_of(env)->guard;
    if (guard != NULL)
        guard->limit_ms = limit_us / US_PER_MS;
}

int env_uv_signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us)
{
    PERI_ASSERT(count <= GUARDED_MAX);
    PERI_ASSERT(env_uv_of(env)->guard == NULL); /* one is enough */
    struct uv_guard *guard = calloc(1, sizeof *guard);
    if (guard == NULL)
        return PERI_ENOMEM;
    guard->limit_ms = limit_us / US_PER_MS;
    int rc = uv_loop_init(&guard->loop);
    if (rc != 0) {
        free(guard);
        return rc;
    }
    rc = open_handles(guard, signums, count);
    if (rc == 0)
        rc = uv_thread_create(&guard->thread, watch, guard);
    if (rc != 0) {
        uv_walk(&guard->loop, close_handle, NULL);
        (void)uv_run(&guard->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&guard->loop);
        free(guard);
        return rc;
    }
    env_uv_of(env)->guard = guard;
    return 0;
}
