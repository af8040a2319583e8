/* posix_ticker.c - a POSIX timer that signals the thread that created it.
 *
 * The signal is SIGURG: its default action is to ignore it, so that one that arrives where nobody
 * expects it harms nobody (the Go runtime chose it for the same reason). The signal's own payload
 * carries the ticker, so nothing is global. The kernel delivers a signal that the timer queued at
 * the latest when timer_settime or timer_delete returns to the same thread, unless that thread
 * blocks the signal; closing therefore blocks it and takes what is queued, before the memory goes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "env/uv_internal.h"

#define US_PER_S UINT64_C(1000000)
enum { NS_PER_US = 1000, TICKER_SIGNAL = SIGURG };

struct posix_ticker {
    struct env_ticker base;
    struct uv_owned owned;
    timer_t timer;
    uint64_t period_us;
    volatile sig_atomic_t is_running;
    void (*tick)(void *data);
    void *data;
};

static struct posix_ticker *ticker_of(struct env_ticker *ticker)
{
    return container_of(ticker, struct posix_ticker, base);
}

/* Anybody may send us SIGURG; only a timer's carries a ticker. */
static void handle(const siginfo_t *info)
{
    if (info->si_code != SI_TIMER)
        return;
    struct posix_ticker *ticker = info->si_value.sival_ptr;
    if (ticker->is_running)
        ticker->tick(ticker->data);
}

static void on_signal(int signum, siginfo_t *info, void *context)
{
    (void)signum;
    (void)context;
    int saved = errno;
    handle(info);
    errno = saved;
}

/* SA_RESTART spares foreign code the EINTR that it does not expect. */
static int install_handler(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(TICKER_SIGNAL, &action, NULL) == 0 ? 0 : -errno;
}

static void set_period(struct posix_ticker *ticker, uint64_t period_us)
{
    struct timespec period = {.tv_sec = (time_t)(period_us / US_PER_S),
                              .tv_nsec = (long)(period_us % US_PER_S) * NS_PER_US};
    struct itimerspec both = {period, period};
    int rc = timer_settime(ticker->timer, 0, &both, NULL);
    PERI_ASSERT(rc == 0);
}

static void ticker_start(struct env_ticker *base)
{
    struct posix_ticker *ticker = ticker_of(base);
    ticker->is_running = 1;
    set_period(ticker, ticker->period_us);
}

static void ticker_stop(struct env_ticker *base)
{
    struct posix_ticker *ticker = ticker_of(base);
    ticker->is_running = 0;
    set_period(ticker, 0);
}

/* Takes every queued signal; those of other tickers on this thread take effect here. */
static void drain(const sigset_t *ticker_only)
{
    const struct timespec at_once = {0, 0};
    siginfo_t info;
    for (;;) {
        int signum = sigtimedwait(ticker_only, &info, &at_once);
        if (signum == TICKER_SIGNAL)
            handle(&info);
        else if (errno != EINTR)
            return;
    }
}

static void ticker_close_owned(struct uv_owned *owned)
{
    struct posix_ticker *ticker = container_of(owned, struct posix_ticker, owned);
    sigset_t ticker_only;
    sigset_t before;
    (void)sigemptyset(&ticker_only);
    (void)sigaddset(&ticker_only, TICKER_SIGNAL);
    (void)pthread_sigmask(SIG_BLOCK, &ticker_only, &before);
    ticker->is_running = 0;
    (void)timer_delete(ticker->timer);
    drain(&ticker_only);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(ticker);
}

static void ticker_close(struct env_ticker *base)
{
    struct posix_ticker *ticker = ticker_of(base);
    env_uv_owned_remove(&ticker->owned);
    ticker_close_owned(&ticker->owned);
}

static int create_timer(struct posix_ticker *ticker)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICKER_SIGNAL};
    event.sigev_value.sival_ptr = ticker;
    event._sigev_un._tid = gettid(); /* glibc 2.36 has no public name for the member */
    return timer_create(CLOCK_MONOTONIC, &event, &ticker->timer) == 0 ? 0 : -errno;
}

static int ticker_create(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                         struct env_ticker **out)
{
    int rc = install_handler();
    if (rc != 0)
        return rc;
    struct posix_ticker *ticker = calloc(1, sizeof *ticker);
    if (ticker == NULL)
        return PERI_ENOMEM;
    ticker->base.env = env;
    ticker->period_us = period_us;
    ticker->tick = tick;
    ticker->data = data;
    rc = create_timer(ticker);
    if (rc != 0) {
        free(ticker);
        return rc;
    }
    env_uv_owned_add(env_uv_of(env), &ticker->owned, ticker_close_owned);
    *out = &ticker->base;
    return 0;
}

const struct env_ticker_ops env_posix_ticker_ops = {ticker_create, ticker_start, ticker_stop,
                                                    ticker_close};
