/* Simulated worlds: order of events, what a seed decides, clocks, processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "env/log.h"
#include "sim/clock.h"
#include "sim/event.h"
#include "sim/fault.h"
#include "sim/node.h"
#include "sim/world.h"
#include "sim_fixture.h"

enum { SEEDS = 20, SECOND = 1000000 };

static struct sim_world *new_world(uint64_t seed)
{
    struct sim_world *world = NULL;
    struct sim_options options = {.seed = seed};
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    return world;
}

static struct sim_node *new_node(struct sim_world *world, const char *name,
                                 int (*on_start)(void *data, struct sim_node *node), void *data)
{
    struct sim_node *node = NULL;
    struct sim_node_events events = {.on_start = on_start};
    assert_int_equal(sim_node_create(world, name, &events, data, &node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), 0);
    return node;
}

static void apply(struct sim_world *world, enum env_fault fault, struct sim_node *node,
                  int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(world, fault, node, NULL, &value, NULL), 0);
}

/* ---- a node that walks: each step draws how long the next one waits ---- */

struct walker {
    struct sim_node *node;
    struct env_timer *timer;
    struct env_turn *turn;
    uint64_t steps;
    uint64_t started_us;
    bool draws_more; /* at each step, for another purpose */
    char path[400];  /* times of the steps */
};

static void on_work(void *data)
{
    ((struct walker *)data)->steps += 1000;
}

static void on_work_done(void *data, int status)
{
    struct walker *walker = data;
    walker->steps += status == 0 ? 1000000 : 0;
}

static void on_step(void *data)
{
    struct walker *walker = data;
    struct env *env = sim_node_env(walker->node);
    uint16_t delay;
    env_random(env, &delay, sizeof delay);
    walker->steps++;
    size_t used = strlen(walker->path);
    (void)snprintf(walker->path + used, sizeof walker->path - used, "%llu ",
                   (unsigned long long)(env_now_us(env) - walker->started_us));
    if (walker->draws_more)
        (void)sim_stream_next(sim_world_stream(sim_node_world(walker->node), SIM_WORKLOAD));
    if (walker->steps % 1000 < 40)
        env_timer_start(walker->timer, delay);
    assert_int_equal(env_work(env, on_work, on_work_done, walker), 0);
}

static int start_walker(void *data, struct sim_node *node)
{
    struct walker *walker = data;
    walker->node = node;
    walker->started_us = env_now_us(sim_node_env(node));
    assert_int_equal(env_timer_create(sim_node_env(node), on_step, walker, &walker->timer), 0);
    env_timer_start(walker->timer, 0);
    return 0;
}

static uint64_t walk(uint64_t seed, struct walker walkers[2], bool draws_more)
{
    struct sim_world *world = new_world(seed);
    for (int i = 0; i < 2; i++) {
        walkers[i] = (struct walker){.draws_more = draws_more};
        new_node(world, i == 0 ? "n1" : "n2", start_walker, &walkers[i]);
    }
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    uint64_t hash = sim_world_hash(world);
    sim_world_close(world);
    return hash;
}

static void a_seed_decides_everything(void **state)
{
    (void)state;
    uint64_t hashes[SEEDS];
    struct walker first[2];
    struct walker second[2];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        hashes[seed] = walk(seed, first, false);
        assert_int_equal(walk(seed, second, false), hashes[seed]);
        assert_string_equal(first[0].path, second[0].path);
        assert_string_not_equal(first[0].path, first[1].path);
        assert_int_equal(first[0].steps, 40 + 40 * 1000 + 40 * 1000000);
        for (uint64_t other = 0; other < seed; other++)
            assert_true(hashes[other] != hashes[seed]);
    }
}

static void draws_of_one_purpose_shift_no_other(void **state)
{
    (void)state;
    struct walker without[2];
    struct walker with[2];
    uint64_t hash = walk(7, without, false);
    assert_true(walk(7, with, true) != hash); /* positions of streams are part of the hash */
    for (int i = 0; i < 2; i++)
        assert_string_equal(with[i].path, without[i].path);
}

/* ---- order ---- */

enum { EVENTS = 3000 };

struct ordered {
    struct sim_event event;
    uint64_t time_us;
    uint64_t order; /* of scheduling */
    bool is_done;
};

static struct {
    struct ordered all[EVENTS];
    const struct ordered *last;
    size_t done;
} orders;

static void on_ordered(struct sim_world *world, struct sim_event *event)
{
    struct ordered *ordered = (struct ordered *)(void *)event;
    const struct ordered *last = orders.last;
    assert_int_equal(sim_world_now_us(world), ordered->time_us);
    assert_false(ordered->is_done);
    assert_true(last == NULL || last->time_us < ordered->time_us ||
                (last->time_us == ordered->time_us && last->order < ordered->order));
    ordered->is_done = true;
    orders.last = ordered;
    orders.done++;
}

static void events_happen_in_order_of_time_and_scheduling(void **state)
{
    (void)state;
    static const struct sim_event_kind kind = {100, "ordered", on_ordered, NULL};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_world *world = new_world(seed);
        struct sim_stream *stream = sim_world_stream(world, SIM_WORKLOAD);
        uint64_t order = 0;
        size_t cancelled = 0;
        memset(&orders, 0, sizeof orders);
        for (size_t i = 0; i < EVENTS; i++)
            assert_int_equal(sim_event_init(world, &orders.all[i].event, &kind, NULL, i), 0);
        for (size_t i = 0; i < 2 * EVENTS; i++) { /* some are moved, some taken out */
            struct ordered *ordered = &orders.all[sim_stream_below(stream, EVENTS)];
            ordered->time_us = sim_stream_below(stream, 200);
            ordered->order = ++order;
            sim_event_schedule(world, &ordered->event, ordered->time_us);
            if (sim_stream_below(stream, 4) == 0)
                sim_event_cancel(world, &ordered->event);
        }
        for (size_t i = 0; i < EVENTS; i++)
            cancelled += !sim_event_is_scheduled(&orders.all[i].event);
        assert_int_equal(sim_world_run(world, 100), SIM_END_TIME);
        assert_int_equal(sim_world_now_us(world), 100);
        assert_true(orders.done > 0 && orders.last->time_us <= 100);
        assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
        assert_int_equal(orders.done + cancelled, EVENTS);
        for (size_t i = 0; i < EVENTS; i++)
            sim_event_deinit(world, &orders.all[i].event);
        sim_world_close(world);
    }
}

/* ---- draws ---- */

static void draws_have_the_shape_asked_for(void **state)
{
    (void)state;
    enum { DRAWS = 200000, MEAN = 10000 };
    uint64_t positions = 0;
    struct sim_stream stream;
    struct env_delay uniform = {ENV_DELAY_UNIFORM, 10, 20, 0};
    struct env_delay tail = {ENV_DELAY_LONG_TAIL, 10, 20, MEAN};
    uint64_t sum = 0;
    uint64_t beyond = 0;
    uint64_t late = 0;
    uint64_t hits = 0;
    sim_stream_init(&stream, 1, SIM_NET, 2, 3, &positions);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t value = sim_stream_exponential(&stream, MEAN);
        sum += value;
        beyond += value > 2 * MEAN;
        value = sim_stream_delay(&stream, &uniform);
        assert_in_range(value, 10, 20);
        late += sim_stream_delay(&stream, &tail) > 20;
        hits += sim_stream_chance(&stream, 250000);
    }
    assert_in_range(sum / DRAWS, MEAN - 100, MEAN + 100);
    assert_in_range(beyond * 10000 / DRAWS, 1300, 1400); /* e^-2 = 0.1353 */
    assert_in_range(late, DRAWS / 1000 - 60, DRAWS / 1000 + 60);
    assert_in_range(hits, DRAWS / 4 - 1000, DRAWS / 4 + 1000);
    sim_stream_init(&stream, 1, SIM_NET, 2, 3, &positions);
    assert_int_equal(sim_stream_exponential(&stream, MEAN), 5385); /* the same on every machine */
}

/* ---- clocks ---- */

static int start_nothing(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

static void on_clock_timer(void *data)
{
    struct walker *walker = data;
    walker->steps = sim_world_now_us(sim_node_world(walker->node));
}

static void clocks_drift_jump_and_differ(void **state)
{
    (void)state;
    struct sim_world *world = new_world(3);
    struct walker walker = {0};
    struct sim_node *n1 = new_node(world, "n1", start_nothing, NULL);
    struct sim_node *n2 = new_node(world, "n2", start_nothing, NULL);
    struct env *env = sim_node_env(n1);
    int64_t wall_us = env_wall_us(env);
    uint64_t now_us = env_now_us(env);
    assert_int_equal(wall_us, env_wall_us(sim_node_env(n2)));
    assert_true(now_us != env_now_us(sim_node_env(n2)));
    apply(world, ENV_FAULT_CLOCK_SKEW, n1, -5 * SECOND);
    assert_int_equal(env_wall_us(env), wall_us - 5 * SECOND);
    assert_int_equal(env_now_us(env), now_us);
    apply(world, ENV_FAULT_CLOCK_JUMP, n1, 7 * SECOND);
    assert_int_equal(sim_clock_error_us(n1), 2 * SECOND);
    apply(world, ENV_FAULT_CLOCK_DRIFT, n1, 10000); /* 1 % fast */
    walker.node = n1;
    assert_int_equal(env_timer_create(env, on_clock_timer, &walker, &walker.timer), 0);
    env_timer_start(walker.timer, 101 * SECOND);
    advance(world, 200 * SECOND);
    assert_in_range(walker.steps, 100 * SECOND, 100 * SECOND + 2); /* its 101 s take 100 */
    assert_int_equal(env_now_us(env) - now_us, 202 * SECOND);
    assert_int_equal(env_wall_us(env), wall_us + (2 + 202) * (int64_t)SECOND);
    apply(world, ENV_FAULT_CLOCK_SKEW, n1, 0);
    assert_int_equal(sim_clock_error_us(n1), 0);
    sim_world_close(world);
}

/* ---- processes ---- */

struct life {
    int starts;
    int downs;
    enum sim_down how;
    struct env_timer *timer;
    uint64_t fired_us;
    uint32_t random;
    struct sim_node *node;
};

static void on_life_timer(void *data)
{
    struct life *life = data;
    life->fired_us = sim_world_now_us(sim_node_world(life->node));
}

static int start_life(void *data, struct sim_node *node)
{
    struct life *life = data;
    life->starts++;
    life->node = node;
    env_random(sim_node_env(node), &life->random, sizeof life->random);
    assert_int_equal(env_timer_create(sim_node_env(node), on_life_timer, life, &life->timer), 0);
    env_timer_start(life->timer, SECOND);
    return 0;
}

static void on_down(void *data, struct sim_node *node, enum sim_down how)
{
    struct life *life = data;
    life->downs++;
    life->how = how;
    env_timer_start(life->timer, 1); /* has no effect any more */
    assert_int_equal(env_work(sim_node_env(node), on_work, on_work_done, NULL), PERI_ECANCELLED);
    env_timer_close(life->timer);
}

static void processes_start_pause_and_end(void **state)
{
    (void)state;
    static const struct sim_node_events events = {start_life, on_down};
    struct sim_world *world = new_world(4);
    struct life life = {0};
    struct sim_node *node = NULL;
    assert_int_equal(sim_node_create(world, "n1", &events, &life, &node, NULL), 0);
    assert_int_equal(sim_node_create(world, "n1", &events, &life, &node, NULL), -17);
    assert_int_equal(sim_node_create(world, "n 1", &events, &life, &node, NULL), PERI_EINVAL);
    assert_int_equal(sim_node_start(node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), PERI_EBUSY);
    advance(world, SECOND / 2);
    uint32_t random = life.random;
    sim_node_pause(node);
    advance(world, 3 * SECOND);
    assert_int_equal(life.fired_us, 0);
    sim_node_resume(node);
    advance(world, 4 * SECOND);
    assert_int_equal(life.fired_us, 3 * SECOND);
    apply(world, ENV_FAULT_CRASH, node, 0);
    assert_int_equal(life.downs, 1);
    assert_int_equal(life.how, SIM_DOWN_CRASH);
    assert_int_equal(sim_node_state(node), SIM_NODE_DOWN);
    apply(world, ENV_FAULT_RESTART, node, 0);
    assert_int_equal(sim_node_incarnation(node), 2);
    advance(world, 4 * SECOND + 1);
    assert_true(life.random != random); /* another incarnation, another stream */
    sim_node_pause(node);
    advance(world, 9 * SECOND);
    sim_node_kill(node); /* what was held goes with it */
    assert_int_equal(life.how, SIM_DOWN_KILL);
    assert_int_equal(life.fired_us, 3 * SECOND);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    sim_world_close(world);
    assert_int_equal(life.downs, 2);
}

static void on_suicide(void *data)
{
    struct life *life = data;
    sim_node_exit(life->node, 3);
    assert_int_equal(sim_node_state(life->node), SIM_NODE_RUNNING); /* until the event returns */
    assert_int_equal(life->downs, 0);
}

static int start_suicide(void *data, struct sim_node *node)
{
    struct life *life = data;
    life->node = node;
    assert_int_equal(env_timer_create(sim_node_env(node), on_suicide, life, &life->timer), 0);
    env_timer_start(life->timer, 1);
    return 0;
}

static void processes_end_by_themselves(void **state)
{
    (void)state;
    static const struct sim_node_events events = {start_suicide, on_down};
    struct sim_world *world = new_world(4);
    struct life life = {0};
    struct sim_node *node = NULL;
    assert_int_equal(sim_node_create(world, "n1", &events, &life, &node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), 0);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(life.how, SIM_DOWN_EXIT);
    assert_int_equal(sim_node_exit_status(node), 3);
    sim_world_close(world);
}

/* ---- turns ---- */

static void on_turn(void *data)
{
    struct walker *walker = data;
    if (++walker->steps == 10)
        env_turn_stop(walker->turn);
}

static int start_turns(void *data, struct sim_node *node)
{
    struct walker *walker = data;
    assert_int_equal(env_turn_create(sim_node_env(node), on_turn, walker, &walker->turn), 0);
    env_turn_start(walker->turn);
    return 0;
}

static void turns_take_time_when_they_go_on(void **state)
{
    (void)state;
    struct sim_world *world = new_world(5);
    struct walker walker = {0};
    struct sim_node *node = new_node(world, "n1", start_turns, &walker);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(walker.steps, 10);
    assert_int_equal(sim_world_now_us(world), 9);
    struct env_fault_value slow = {.delay = {ENV_DELAY_CONSTANT, 1000, 0, 0}};
    assert_int_equal(sim_fault_apply(world, ENV_FAULT_TURN_DELAY, node, NULL, &slow, NULL), 0);
    walker.steps = 0;
    env_turn_start(walker.turn);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(sim_world_now_us(world), 10009);
    sim_world_close(world);
}

/* ---- what a trace and a log show ---- */

struct record {
    char lines[4000];
    char output[2000];
    size_t notes;
};

static void on_trace(void *data, const struct sim_trace *line)
{
    struct record *record = data;
    size_t used = strlen(record->lines);
    record->notes += line->is_note;
    (void)snprintf(record->lines + used, sizeof record->lines - used, "%llu %s %s %s\n",
                   (unsigned long long)line->time_us, line->node, line->kind, line->detail);
}

static void on_output(void *data, struct sim_node *node, int fd, struct peri_slice bytes)
{
    struct record *record = data;
    size_t used = strlen(record->output);
    (void)snprintf(record->output + used, sizeof record->output - used, "%s %d %.*s",
                   sim_node_name(node), fd, (int)bytes.size, bytes.data);
}

static void on_log(void *data)
{
    struct walker *walker = data;
    env_log(sim_node_env(walker->node), ENV_LOG_WARN, "test", "hello");
}

static int start_log(void *data, struct sim_node *node)
{
    struct walker *walker = data;
    walker->node = node;
    assert_int_equal(env_timer_create(sim_node_env(node), on_log, walker, &walker->timer), 0);
    env_timer_start(walker->timer, 1500000);
    return 0;
}

static void logs_carry_node_and_virtual_time(void **state)
{
    (void)state;
    struct record record = {0};
    struct walker walker = {0};
    struct sim_world *world = NULL;
    struct sim_options options = {
        .seed = 1, .on_trace = on_trace, .on_output = on_output, .data = &record};
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    new_node(world, "n1", start_log, &walker);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_string_equal(record.output, "n1 2 time=2026-01-01T00:00:01.500000Z level=warn node=n1 "
                                       "component=test msg=hello\n");
    assert_string_equal(record.lines, "0 n1 start incarnation 1\n1500000 n1 timer #1\n"
                                      "1500000 n1 output fd 2 77 bytes\n");
    uint64_t hash = sim_world_hash(world);
    sim_world_close(world);
    options = (struct sim_options){.seed = 1}; /* neither trace nor output change the run */
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    new_node(world, "n1", start_log, &walker);
    advance(world, UINT64_MAX);
    assert_int_equal(sim_world_hash(world), hash);
    sim_world_close(world);
}

static void checkpoints_allow_bisecting(void **state)
{
    (void)state;
    enum { TICKS = 5500 };
    struct sim_world *world = NULL;
    struct sim_options options = {.seed = 1, .keeps_checkpoints = true};
    struct walker walker = {0};
    const uint64_t *hashes = NULL;
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    new_node(world, "n1", start_turns, &walker);
    while (sim_world_event_count(world) < TICKS) {
        walker.steps = 0;
        if (walker.turn != NULL)
            env_turn_start(walker.turn);
        advance(world, UINT64_MAX);
    }
    assert_int_equal(sim_world_checkpoints(world, &hashes), TICKS / SIM_CHECKPOINT_EVENTS);
    for (size_t i = 1; i < TICKS / SIM_CHECKPOINT_EVENTS; i++)
        assert_true(hashes[i] != hashes[i - 1]);
    sim_world_close(world);
}

/* ---- size ---- */

static void a_thousand_nodes_are_light(void **state)
{
    (void)state;
    enum { NODES = 1000 };
    struct sim_world *world = new_world(1);
    static struct walker walkers[NODES];
    char name[16];
    memset(walkers, 0, sizeof walkers);
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        new_node(world, name, start_walker, &walkers[i]);
    }
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_true(sim_world_event_count(world) > NODES * 40 * 3);
    sim_world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_decides_everything),
        cmocka_unit_test(draws_of_one_purpose_shift_no_other),
        cmocka_unit_test(events_happen_in_order_of_time_and_scheduling),
        cmocka_unit_test(draws_have_the_shape_asked_for),
        cmocka_unit_test(clocks_drift_jump_and_differ),
        cmocka_unit_test(processes_start_pause_and_end),
        cmocka_unit_test(processes_end_by_themselves),
        cmocka_unit_test(turns_take_time_when_they_go_on),
        cmocka_unit_test(logs_carry_node_and_virtual_time),
        cmocka_unit_test(checkpoints_allow_bisecting),
        cmocka_unit_test(a_thousand_nodes_are_light),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
