/* Lanes, real and simulated: one job at a time, in order, and no matter what the pool does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>

#include "env/uv.h"
#include "sim/node.h"
#include "sim_fixture.h"

enum { JOBS = 200, POOL_JOBS = 8, LIMIT_US = 5000000 };

struct job {
    struct env *env;
    struct env_lane *lane;
    atomic_int *running, *ran; /* in all jobs */
    int *done_count;           /* of all jobs */
    int order;                 /* in which it ran, from 1 */
    int done, status;
    bool is_closing; /* its done closes the lane */
    bool was_alone, was_in_order;
};

static void on_run(void *data)
{
    struct job *job = data;
    job->was_alone = atomic_fetch_add(job->running, 1) == 0;
    job->order = atomic_fetch_add(job->ran, 1) + 1;
    atomic_fetch_sub(job->running, 1);
}

static void on_done(void *data, int status)
{
    struct job *job = data;
    job->done++;
    job->status = status;
    job->was_in_order = ++*job->done_count == job->order || status != 0;
    if (job->is_closing)
        env_lane_close(job->lane);
}

static void give_jobs(struct env *env, struct env_lane *lane, struct job *jobs, atomic_int *counts,
                      int *done_count)
{
    memset(jobs, 0, JOBS * sizeof *jobs);
    atomic_init(&counts[0], 0);
    atomic_init(&counts[1], 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.env = env,
                               .lane = lane,
                               .running = &counts[0],
                               .ran = &counts[1],
                               .done_count = done_count};
        assert_int_equal(env_lane_work(lane, on_run, on_done, &jobs[i]), 0);
        assert_int_equal(jobs[i].done, 0);
    }
}

static void check_jobs(const struct job *jobs)
{
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].order, i + 1);
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, 0);
        assert_true(jobs[i].was_alone);
        assert_true(jobs[i].was_in_order);
    }
}

static void jobs_run_in_order(void **state)
{
    (void)state;
    struct env *env = NULL;
    struct env_lane *lane = NULL;
    static struct job jobs[JOBS];
    atomic_int counts[2];
    int done_count = 0;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_int_equal(env_lane_create(env, &lane), 0);
    env_run(env); /* an idle lane holds nobody up */
    give_jobs(env, lane, jobs, counts, &done_count);
    env_run(env);
    check_jobs(jobs);
    done_count = 0;
    give_jobs(env, lane, jobs, counts, &done_count);
    env_lane_close(lane); /* what was given is still done */
    env_run(env);
    check_jobs(jobs);
    env_lane_close(NULL);
    env_close(env);
}

static void a_done_may_close_the_lane(void **state)
{
    (void)state;
    struct env *env = NULL;
    struct env_lane *lane = NULL;
    static struct job jobs[JOBS];
    atomic_int counts[2];
    int done_count = 0;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_int_equal(env_lane_create(env, &lane), 0);
    give_jobs(env, lane, jobs, counts, &done_count);
    jobs[JOBS / 2].is_closing = true;
    env_run(env);
    check_jobs(jobs);
    env_close(env);
}

static void closing_the_environment_cancels_what_waits(void **state)
{
    (void)state;
    struct env *env = NULL;
    struct env_lane *lane = NULL;
    static struct job jobs[JOBS];
    atomic_int counts[2];
    int done_count = 0, cancelled = 0;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_int_equal(env_lane_create(env, &lane), 0);
    give_jobs(env, lane, jobs, counts, &done_count);
    env_close(env);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, jobs[i].order > 0 ? 0 : PERI_ECANCELLED);
        cancelled += jobs[i].status != 0;
        assert_true(i == 0 || jobs[i].status == jobs[i - 1].status || jobs[i].status != 0);
    }
    assert_int_equal(done_count, JOBS);
    assert_int_equal(cancelled + atomic_load(&counts[1]), JOBS);
}

/* ---- beside a pool that is busy ---- */

struct busy {
    struct env *env;
    atomic_bool is_free; /* the pool's jobs may end */
    atomic_int early;    /* pool jobs that gave up before that */
    int pool_done;
};

static void occupy(void *data)
{
    struct busy *busy = data;
    uint64_t until_us = env_now_us(busy->env) + LIMIT_US;
    while (!atomic_load(&busy->is_free) && env_now_us(busy->env) < until_us)
        continue;
    atomic_fetch_add(&busy->early, !atomic_load(&busy->is_free));
}

static void on_occupied(void *data, int status)
{
    (void)status;
    ((struct busy *)data)->pool_done++;
}

static void nothing(void *data)
{
    (void)data;
}

static void on_lane_free(void *data, int status)
{
    assert_int_equal(status, 0);
    atomic_store(&((struct busy *)data)->is_free, true);
}

static void a_busy_pool_delays_nobody(void **state)
{
    (void)state;
    struct busy busy = {.env = NULL};
    struct env_lane *lane = NULL;
    assert_int_equal(env_uv_create(&busy.env, NULL), 0);
    assert_int_equal(env_lane_create(busy.env, &lane), 0);
    for (int i = 0; i < POOL_JOBS; i++)
        assert_int_equal(env_work(busy.env, occupy, on_occupied, &busy), 0);
    assert_int_equal(env_lane_work(lane, nothing, on_lane_free, &busy), 0);
    env_run(busy.env);
    assert_int_equal(busy.pool_done, POOL_JOBS);
    assert_int_equal(atomic_load(&busy.early), 0);
    env_close(busy.env);
}

/* ---- simulated ---- */

struct machine {
    struct sim_world *world;
    struct sim_node *node;
    struct env_lane *lane;
    struct job jobs[JOBS];
    atomic_int counts[2];
    int done_count;
};

static int on_start(void *data, struct sim_node *node)
{
    struct machine *machine = data;
    struct env *env = sim_node_env(node);
    machine->done_count = 0;
    assert_int_equal(env_lane_create(env, &machine->lane), 0);
    give_jobs(env, machine->lane, machine->jobs, machine->counts, &machine->done_count);
    return 0;
}

static uint64_t run_machine(uint64_t crash_us, struct machine *machine)
{
    struct sim_options options = {.seed = 7};
    struct sim_node_events events = {.on_start = on_start};
    memset(machine, 0, sizeof *machine);
    assert_int_equal(sim_world_create(&machine->world, &options, NULL), 0);
    assert_int_equal(sim_node_create(machine->world, "n1", &events, machine, &machine->node, NULL),
                     0);
    assert_int_equal(sim_node_start(machine->node, NULL), 0);
    advance(machine->world, crash_us);
    sim_node_crash(machine->node);
    uint64_t hash = sim_world_hash(machine->world);
    sim_world_close(machine->world);
    return hash;
}

static void simulated_jobs_run_in_order(void **state)
{
    (void)state;
    static struct machine machine;
    uint64_t hash = run_machine(1000000, &machine);
    check_jobs(machine.jobs);
    assert_int_equal(run_machine(1000000, &machine), hash);
}

/* The lane ends with the process: each job has completed once, those that ran first. */
static void a_simulated_crash_cancels_what_waits(void **state)
{
    (void)state;
    static struct machine machine;
    (void)run_machine(3000, &machine);
    int ran = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(machine.jobs[i].done, 1);
        assert_true(machine.jobs[i].status == 0 || machine.jobs[i].status == PERI_ECANCELLED);
        ran += machine.jobs[i].status == 0;
        assert_true(i == 0 || machine.jobs[i - 1].status == 0 || machine.jobs[i].status != 0);
    }
    assert_in_range(ran, 10, JOBS - 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_in_order),
        cmocka_unit_test(a_done_may_close_the_lane),
        cmocka_unit_test(closing_the_environment_cancels_what_waits),
        cmocka_unit_test(a_busy_pool_delays_nobody),
        cmocka_unit_test(simulated_jobs_run_in_order),
        cmocka_unit_test(a_simulated_crash_cancels_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
