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

struct batch;

struct job {
    struct batch *batch;
    int order; /* in which it ran, from 1 */
    int done, status;
    bool is_closing; /* its done closes the lane */
    bool was_alone, was_in_order;
};

/* What a lane is given at once. */
struct batch {
    struct env_lane *lane;
    atomic_int running, ran;
    int done_count;
    struct job jobs[JOBS];
};

static void on_run(void *data)
{
    struct job *job = data;
    job->was_alone = atomic_fetch_add(&job->batch->running, 1) == 0;
    job->order = atomic_fetch_add(&job->batch->ran, 1) + 1;
    atomic_fetch_sub(&job->batch->running, 1);
}

static void on_done(void *data, int status)
{
    struct job *job = data;
    job->done++;
    job->status = status;
    job->was_in_order = ++job->batch->done_count == job->order || status != 0;
    if (job->is_closing)
        env_lane_close(job->batch->lane);
}

static void give(struct env_lane *lane, struct batch *batch)
{
    memset(batch, 0, sizeof *batch);
    batch->lane = lane;
    atomic_init(&batch->running, 0);
    atomic_init(&batch->ran, 0);
    for (int i = 0; i < JOBS; i++) {
        batch->jobs[i].batch = batch;
        assert_int_equal(env_lane_work(lane, on_run, on_done, &batch->jobs[i]), 0);
        assert_int_equal(batch->jobs[i].done, 0);
    }
}

static void check_done(const struct batch *batch)
{
    for (int i = 0; i < JOBS; i++) {
        const struct job *job = &batch->jobs[i];
        assert_int_equal(job->order, i + 1);
        assert_int_equal(job->done, 1);
        assert_int_equal(job->status, 0);
        assert_true(job->was_alone);
        assert_true(job->was_in_order);
    }
}

static struct env *open_lane(struct env_lane **lane)
{
    struct env *env = NULL;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_int_equal(env_lane_create(env, lane), 0);
    return env;
}

static void jobs_run_in_order(void **state)
{
    (void)state;
    static struct batch batch;
    struct env_lane *lane = NULL;
    struct env *env = open_lane(&lane);
    env_run(env); /* an idle lane holds nobody up */
    give(lane, &batch);
    env_run(env);
    check_done(&batch);
    give(lane, &batch);
    env_lane_close(lane); /* what was given is still done */
    env_run(env);
    check_done(&batch);
    env_lane_close(NULL);
    env_close(env);
}

static void a_done_may_close_the_lane(void **state)
{
    (void)state;
    static struct batch batch;
    struct env_lane *lane = NULL;
    struct env *env = open_lane(&lane);
    give(lane, &batch);
    batch.jobs[JOBS / 2].is_closing = true;
    env_run(env);
    check_done(&batch);
    env_close(env);
}

static void closing_the_environment_cancels_what_waits(void **state)
{
    (void)state;
    static struct batch batch;
    const struct job *jobs = batch.jobs;
    struct env_lane *lane = NULL;
    struct env *env = open_lane(&lane);
    int cancelled = 0;
    give(lane, &batch);
    env_close(env);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, jobs[i].order > 0 ? 0 : PERI_ECANCELLED);
        cancelled += jobs[i].status != 0;
        assert_true(i == 0 || jobs[i].status == jobs[i - 1].status || jobs[i].status != 0);
    }
    assert_int_equal(batch.done_count, JOBS);
    assert_int_equal(cancelled + atomic_load(&batch.ran), JOBS);
}

/* Jobs without a done run in their order as well; only later ones tell that they did. */
static void a_job_may_end_in_silence(void **state)
{
    (void)state;
    static struct batch batch;
    struct env_lane *lane = NULL;
    struct env *env = open_lane(&lane);
    for (int i = 0; i < 3; i++)
        batch.jobs[i].batch = &batch;
    assert_int_equal(env_lane_work(lane, on_run, NULL, &batch.jobs[0]), 0);
    assert_int_equal(env_lane_work(lane, on_run, on_done, &batch.jobs[1]), 0);
    batch.done_count = 1;
    env_run(env);
    assert_int_equal(batch.jobs[0].order, 1);
    assert_int_equal(batch.jobs[0].done, 0);
    assert_int_equal(batch.jobs[1].order, 2);
    assert_int_equal(batch.jobs[1].done, 1);
    assert_true(batch.jobs[1].was_alone && batch.jobs[1].was_in_order);
    assert_int_equal(env_lane_work(lane, on_run, NULL, &batch.jobs[2]), 0);
    env_close(env);
    assert_int_equal(batch.jobs[2].done, 0);
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
    struct env_lane *lane = NULL;
    struct busy busy = {.env = open_lane(&lane)};
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
    struct batch batch;
};

static int on_start(void *data, struct sim_node *node)
{
    struct machine *machine = data;
    struct env_lane *lane = NULL;
    assert_int_equal(env_lane_create(sim_node_env(node), &lane), 0);
    give(lane, &machine->batch);
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
    check_done(&machine.batch);
    assert_int_equal(run_machine(1000000, &machine), hash);
}

/* The lane ends with the process: each job has completed once, those that ran first. */
static void a_simulated_crash_cancels_what_waits(void **state)
{
    (void)state;
    static struct machine machine;
    (void)run_machine(3000, &machine);
    const struct job *jobs = machine.batch.jobs;
    int ran = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_true(jobs[i].status == 0 || jobs[i].status == PERI_ECANCELLED);
        ran += jobs[i].status == 0;
        assert_true(i == 0 || jobs[i - 1].status == 0 || jobs[i].status != 0);
    }
    assert_in_range(ran, 10, JOBS - 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_in_order),
        cmocka_unit_test(a_done_may_close_the_lane),
        cmocka_unit_test(closing_the_environment_cancels_what_waits),
        cmocka_unit_test(a_job_may_end_in_silence),
        cmocka_unit_test(a_busy_pool_delays_nobody),
        cmocka_unit_test(simulated_jobs_run_in_order),
        cmocka_unit_test(a_simulated_crash_cancels_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
