/* The loop of the libuv environment: clocks, timers, turns, signals, the ticker, work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "env/uv.h"

static struct env *create_env(void)
{
    struct env *env = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_uv_create(&env, &err), 0);
    return env;
}

static void count(void *data)
{
    (*(int *)data)++;
}

/* ---- clocks and randomness ---- */

static void clocks_move_forward(void **state)
{
    (void)state;
    struct env *env = create_env();
    uint64_t before_us = env_now_us(env);
    uint64_t cpu_us = env_cpu_us(env);
    while (env_now_us(env) < before_us + 2000)
        continue;
    assert_true(env_cpu_us(env) > cpu_us);
    assert_true(env_wall_us(env) > INT64_C(1700000000000000)); /* after 2023 */
    env_close(env);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    struct env *env = create_env();
    char first[64] = {0};
    char second[64] = {0};
    env_random(env, first, sizeof first);
    env_random(env, second, sizeof second);
    assert_memory_not_equal(first, second, sizeof first);
    env_random(env, first, 0);
    env_close(env);
}

/* ---- timers ---- */

struct timed {
    struct env *env;
    struct env_timer *timer;
    uint64_t due_us;
    int runs;
    int runs_wanted;
    bool was_early;
};

static void on_timed(void *data)
{
    struct timed *timed = data;
    timed->was_early = timed->was_early || env_now_us(timed->env) < timed->due_us;
    if (++timed->runs < timed->runs_wanted) {
        timed->due_us = env_now_us(timed->env) + 300;
        env_timer_start(timed->timer, 300);
    }
}

static void timer_is_never_early(void **state)
{
    (void)state;
    struct timed timed = {.env = create_env(), .runs_wanted = 50};
    assert_int_equal(env_timer_create(timed.env, on_timed, &timed, &timed.timer), 0);
    timed.due_us = env_now_us(timed.env) + 1500;
    env_timer_start(timed.timer, 1500);
    env_run(timed.env);
    assert_int_equal(timed.runs, 50);
    assert_false(timed.was_early);
    env_timer_close(timed.timer);
    env_close(timed.env);
}

static void stopped_timer_does_not_run(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_timer *timer = NULL;
    int runs = 0;
    assert_int_equal(env_timer_create(env, count, &runs, &timer), 0);
    env_timer_start(timer, 1000);
    env_timer_stop(timer);
    env_run(env); /* returns: nothing is left */
    env_timer_start(timer, 1000);
    env_timer_close(timer);
    env_run(env);
    assert_int_equal(runs, 0);
    env_timer_close(NULL);
    env_close(env);
}

static void on_stop(void *data)
{
    env_stop(data);
}

static void distant_timer_is_not_an_overflow(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_timer *distant = NULL;
    struct env_timer *near = NULL;
    int runs = 0;
    assert_int_equal(env_timer_create(env, count, &runs, &distant), 0);
    assert_int_equal(env_timer_create(env, on_stop, env, &near), 0);
    env_timer_start(distant, UINT64_MAX);
    env_timer_start(near, 3000);
    env_run(env);
    assert_int_equal(runs, 0);
    env_close(env); /* closes both timers */
}

/* ---- turns ---- */

struct rounds {
    struct env_turn *turn;
    struct env_timer *timer;
    int turns;
    int timers;
};

static void on_rounds_turn(void *data)
{
    struct rounds *rounds = data;
    rounds->turns++;
    if (rounds->timers > 0)
        env_turn_stop(rounds->turn);
}

static void on_rounds_timer(void *data)
{
    ((struct rounds *)data)->timers++;
}

static void turns_repeat_and_let_timers_in(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct rounds rounds = {0};
    assert_int_equal(env_turn_create(env, on_rounds_turn, &rounds, &rounds.turn), 0);
    assert_int_equal(env_timer_create(env, on_rounds_timer, &rounds, &rounds.timer), 0);
    env_turn_start(rounds.turn);
    env_timer_start(rounds.timer, 5000);
    env_run(env);
    assert_int_equal(rounds.timers, 1);
    assert_true(rounds.turns > 10); /* the loop did not sleep */
    env_turn_close(rounds.turn);
    env_turn_close(NULL);
    env_close(env);
}

/* ---- signals ---- */

struct signalled {
    struct env *env;
    int signum;
};

static void on_signal(void *data, int signum)
{
    struct signalled *signalled = data;
    signalled->signum = signum;
    env_stop(signalled->env);
}

static void on_raise(void *data)
{
    (void)data;
    (void)raise(SIGUSR1);
}

static void signal_reaches_its_watch(void **state)
{
    (void)state;
    struct signalled signalled = {.env = create_env()};
    struct env_signal *watch = NULL;
    struct env_timer *raiser = NULL;
    struct env_timer *guard = NULL;
    int late = 0;
    assert_int_equal(env_signal_watch(signalled.env, SIGUSR1, on_signal, &signalled, &watch), 0);
    env_run(signalled.env); /* returns: a watch alone keeps nothing alive */
    assert_int_equal(env_timer_create(signalled.env, on_raise, NULL, &raiser), 0);
    assert_int_equal(env_timer_create(signalled.env, count, &late, &guard), 0);
    env_timer_start(raiser, 1000);
    env_timer_start(guard, 5000000);
    env_run(signalled.env);
    assert_int_equal(signalled.signum, SIGUSR1);
    assert_int_equal(late, 0);
    env_signal_close(watch);
    env_signal_close(NULL);
    env_close(signalled.env);
}

static void bad_signal_number_is_refused(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_signal *watch = NULL;
    assert_int_equal(env_signal_watch(env, SIGKILL, on_signal, NULL, &watch), PERI_EINVAL);
    assert_null(watch);
    env_close(env);
}

/* ---- ticker ---- */

static void on_tick(void *data)
{
    (*(volatile sig_atomic_t *)data)++;
}

static void ticker_interrupts_a_busy_loop(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_ticker *ticker = NULL;
    volatile sig_atomic_t ticks = 0;
    assert_int_equal(env_ticker_create(env, 2000, on_tick, (void *)&ticks, &ticker), 0);
    uint64_t started_us = env_now_us(env);
    env_ticker_start(ticker);
    while (ticks < 5 && env_now_us(env) - started_us < 5000000)
        continue;
    uint64_t took_us = env_now_us(env) - started_us;
    env_ticker_stop(ticker);
    assert_true(ticks >= 5);
    assert_true(took_us >= 8000);
    sig_atomic_t stopped_at = ticks;
    started_us = env_now_us(env);
    while (env_now_us(env) - started_us < 10000)
        continue;
    assert_int_equal(ticks, stopped_at);
    env_ticker_close(ticker);
    env_ticker_close(NULL);
    env_close(env);
}

/* A queued signal of a ticker that has been closed meanwhile must find nobody. */
static void late_tick_after_close_is_harmless(void **state)
{
    (void)state;
    struct env *env = create_env();
    volatile sig_atomic_t ticks = 0;
    volatile sig_atomic_t other_ticks = 0;
    struct env_ticker *ticker = NULL;
    struct env_ticker *other = NULL;
    sigset_t urgent;
    (void)sigemptyset(&urgent);
    (void)sigaddset(&urgent, SIGURG);
    assert_int_equal(env_ticker_create(env, 1000, on_tick, (void *)&ticks, &ticker), 0);
    assert_int_equal(env_ticker_create(env, 1000, on_tick, (void *)&other_ticks, &other), 0);
    (void)pthread_sigmask(SIG_BLOCK, &urgent, NULL);
    env_ticker_start(ticker);
    env_ticker_start(other);
    uint64_t started_us = env_now_us(env);
    while (env_now_us(env) - started_us < 20000)
        continue;
    env_ticker_close(ticker);
    assert_int_equal(ticks, 0);
    assert_true(other_ticks > 0); /* the drain handed the neighbour its own */
    (void)pthread_sigmask(SIG_UNBLOCK, &urgent, NULL);
    assert_int_equal(ticks, 0);
    (void)raise(SIGURG); /* a stranger's: carries no ticker */
    env_close(env);
}

/* ---- work ---- */

struct job {
    struct env *env;
    int ran;
    int done;
    int status;
};

static void on_job_run(void *data)
{
    ((struct job *)data)->ran++;
}

static void on_job_done(void *data, int status)
{
    struct job *job = data;
    job->done++;
    job->status = status;
}

static void work_runs_and_completes_on_the_loop(void **state)
{
    (void)state;
    enum { JOBS = 200 };
    struct env *env = create_env();
    struct job jobs[JOBS] = {0};
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(env_work(env, on_job_run, on_job_done, &jobs[i]), 0);
        assert_int_equal(jobs[i].done, 0);
    }
    env_run(env);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].ran, 1);
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, 0);
    }
    env_close(env);
}

static void on_slow_run(void *data)
{
    struct job *job = data;
    uint64_t until_us = env_now_us(job->env) + 20000;
    while (env_now_us(job->env) < until_us)
        continue;
    job->ran++;
}

static void on_resubmit(void *data, int status)
{
    struct job *job = data;
    on_job_done(data, status);
    assert_int_equal(env_work(job->env, on_job_run, on_job_done, data), PERI_ECANCELLED);
}

static void closing_cancels_work_that_has_not_started(void **state)
{
    (void)state;
    enum { JOBS = 64 };
    struct env *env = create_env();
    struct job jobs[JOBS] = {0};
    for (int i = 0; i < JOBS; i++) {
        jobs[i].env = env;
        assert_int_equal(env_work(env, on_slow_run, on_resubmit, &jobs[i]), 0);
    }
    env_close(env);
    int cancelled = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, jobs[i].ran ? 0 : PERI_ECANCELLED);
        cancelled += jobs[i].status == PERI_ECANCELLED;
    }
    assert_true(cancelled > 0);
}

/* ---- closing ---- */

static void closing_ends_what_is_left(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_timer *timer = NULL;
    struct env_turn *turn = NULL;
    struct env_signal *watch = NULL;
    struct env_ticker *ticker = NULL;
    int runs = 0;
    volatile sig_atomic_t ticks = 0;
    assert_int_equal(env_timer_create(env, count, &runs, &timer), 0);
    assert_int_equal(env_turn_create(env, count, &runs, &turn), 0);
    assert_int_equal(env_signal_watch(env, SIGUSR2, on_signal, NULL, &watch), 0);
    assert_int_equal(env_ticker_create(env, 1000, on_tick, (void *)&ticks, &ticker), 0);
    env_timer_start(timer, 0);
    env_turn_start(turn);
    env_ticker_start(ticker);
    env_close(env);
    assert_int_equal(runs, 0);
    env_close(NULL);
}

static void two_environments_live_side_by_side(void **state)
{
    (void)state;
    struct env *first = create_env();
    struct env *second = create_env();
    struct env_timer *timers[2] = {NULL, NULL};
    int runs[2] = {0, 0};
    assert_int_equal(env_timer_create(first, count, &runs[0], &timers[0]), 0);
    assert_int_equal(env_timer_create(second, count, &runs[1], &timers[1]), 0);
    env_timer_start(timers[0], 1000);
    env_timer_start(timers[1], 1000);
    env_run(second);
    assert_int_equal(runs[0], 0);
    assert_int_equal(runs[1], 1);
    env_close(second);
    env_run(first);
    assert_int_equal(runs[0], 1);
    env_close(first);
}

static void region_given_back_comes_again(void **state)
{
    enum { SIZE = 5 << 20 };
    (void)state;
    struct env *env = create_env();
    char *first = env_region_take(env, SIZE);
    char *second = env_region_take(env, SIZE);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    memset(first, 1, SIZE);
    memset(second, 2, SIZE);
    assert_int_equal(first[SIZE - 1], 1);
    env_region_give(env, first);
    env_region_give(env, second); /* instead of the first */
    assert_ptr_equal(env_region_take(env, SIZE), second);
    env_region_give(env, second);
    char *larger = env_region_take(env, 2 * SIZE);
    assert_non_null(larger);
    memset(larger, 3, 2 * SIZE);
    env_region_give(env, larger);
    env_region_trim(env);
    env_region_trim(env);
    char *last = env_region_take(env, 1);
    assert_non_null(last);
    env_region_give(env, last);
    env_region_give(env, NULL);
    env_close(env); /* frees the one that is kept */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_move_forward),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(timer_is_never_early),
        cmocka_unit_test(stopped_timer_does_not_run),
        cmocka_unit_test(distant_timer_is_not_an_overflow),
        cmocka_unit_test(turns_repeat_and_let_timers_in),
        cmocka_unit_test(signal_reaches_its_watch),
        cmocka_unit_test(bad_signal_number_is_refused),
        cmocka_unit_test(ticker_interrupts_a_busy_loop),
        cmocka_unit_test(late_tick_after_close_is_harmless),
        cmocka_unit_test(work_runs_and_completes_on_the_loop),
        cmocka_unit_test(closing_cancels_work_that_has_not_started),
        cmocka_unit_test(closing_ends_what_is_left),
        cmocka_unit_test(two_environments_live_side_by_side),
        cmocka_unit_test(region_given_back_comes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
