#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "env/uv_internal.h"

enum { NS_PER_US = 1000 };
#define US_PER_S UINT64_C(1000000)

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    int rc = clock_gettime(clock, &now);
    PERI_ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / NS_PER_US;
}

/* The clock that libuv's timers use. */
static uint64_t now_us(struct env *env)
{
    (void)env;
    return clock_us(CLOCK_MONOTONIC);
}

static int64_t wall_us(struct env *env)
{
    (void)env;
    return (int64_t)clock_us(CLOCK_REALTIME);
}

static uint64_t cpu_us(struct env *env)
{
    (void)env;
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

static void fill_random(struct env *env, void *out, size_t size)
{
    (void)env;
    char *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        PERI_ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

const struct env_clock_ops env_posix_clock_ops = {now_us, wall_us, cpu_us, fill_random};
