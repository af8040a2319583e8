/* Runs that would not end: code that never returns, that never waits, events without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "env/env.h"
#include "env/uv.h"
#include "sim/event.h"
#include "sim/fault.h"
#include "sim/node.h"
#include "sim/world.h"

static struct sim_world *new_world(uint32_t turns_max)
{
    struct sim_world *world = NULL;
    struct sim_options options = {.seed = 1, .turns_max = turns_max};
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

/* ---- the watchdog ---- */

struct spinner {
    struct env *host;
    struct env_ticker *ticker;
    volatile int ticks;
};

static void on_interrupt(void *data)
{
    struct spinner *spinner = data;
    spinner->ticks++;
}

/* Spins, as Lua code would until its ticker ticks. */
static int start_spinner(void *data, struct sim_node *node)
{
    struct spinner *spinner = data;
    assert_int_equal(
        env_ticker_create(sim_node_env(node), 1000, on_interrupt, spinner, &spinner->ticker), 0);
    env_ticker_start(spinner->ticker);
    while (spinner->ticks == 0)
        continue;
    env_ticker_stop(spinner->ticker);
    return 0;
}

static void an_event_that_does_not_return_ends_the_run(void **state)
{
    (void)state;
    struct spinner spinner = {0};
    struct sim_world *world = NULL;
    assert_int_equal(env_uv_create(&spinner.host, NULL), 0);
    struct sim_options options = {.host = spinner.host, .watchdog_us = 40000};
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    struct sim_node *node = new_node(world, "n1", start_spinner, &spinner);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_STUCK);
    assert_ptr_equal(sim_world_stuck(world), node);
    sim_world_close(world);
    env_close(spinner.host);
}

/* ---- turns without end ---- */

enum { ROW = 50, TURNS = 1000 };

struct turner {
    struct env_turn *turn;
    struct env_timer *timer;
    int turns;
    int turns_max; /* it waits a while after each so many turns */
};

static void on_turn(void *data)
{
    struct turner *turner = data;
    if (++turner->turns % turner->turns_max != 0)
        return;
    env_turn_stop(turner->turn);
    if (turner->turns < TURNS)
        env_timer_start(turner->timer, 10);
}

static void on_rested(void *data)
{
    struct turner *turner = data;
    env_turn_start(turner->turn);
}

static int start_turner(void *data, struct sim_node *node)
{
    struct turner *turner = data;
    struct env *env = sim_node_env(node);
    assert_int_equal(env_turn_create(env, on_turn, turner, &turner->turn), 0);
    assert_int_equal(env_timer_create(env, on_rested, turner, &turner->timer), 0);
    env_turn_start(turner->turn);
    return 0;
}

static void turns_in_a_row_end_the_run(void **state)
{
    (void)state;
    struct turner resting = {.turns_max = ROW / 2};
    struct turner restless = {.turns_max = TURNS};
    struct sim_world *world = new_world(ROW);
    (void)new_node(world, "n1", start_turner, &resting);
    struct sim_node *node = new_node(world, "n2", start_turner, &restless);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_SPINNING);
    assert_ptr_equal(sim_world_stuck(world), node);
    assert_int_equal(restless.turns, ROW);
    sim_world_close(world);
}

static void turns_with_rests_do_not(void **state)
{
    (void)state;
    struct turner resting = {.turns_max = ROW / 2};
    struct sim_world *world = new_world(ROW);
    (void)new_node(world, "n1", start_turner, &resting);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(resting.turns, TURNS);
    sim_world_close(world);
}

static void turns_that_take_time_do_not(void **state)
{
    (void)state;
    struct turner restless = {.turns_max = TURNS};
    struct sim_world *world = new_world(ROW);
    struct sim_node *node = new_node(world, "n1", start_turner, &restless);
    struct env_fault_value delay = {.delay = {ENV_DELAY_CONSTANT, 2, 2, 0}};
    assert_int_equal(sim_fault_apply(world, ENV_FAULT_TURN_DELAY, node, NULL, &delay, NULL), 0);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(restless.turns, TURNS);
    sim_world_close(world);
}

/* ---- events without end ---- */

static void on_again(struct sim_world *world, struct sim_event *event)
{
    sim_event_schedule(world, event, sim_world_now_us(world) + event->payload);
}

static void events_of_one_moment_end_the_run(void **state)
{
    (void)state;
    static const struct sim_event_kind kind = {2000, "again", on_again, NULL};
    struct sim_event event;
    struct sim_world *world = new_world(0);
    assert_int_equal(sim_event_init(world, &event, &kind, NULL, 1), 0);
    sim_event_schedule(world, &event, 0);
    assert_int_equal(sim_world_run(world, SIM_STILL_EVENTS_MAX + 5), SIM_END_TIME);
    event.payload = 0;
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_STILL);
    assert_null(sim_world_stuck(world));
    assert_int_equal(sim_world_event_count(world), 2 * (uint64_t)SIM_STILL_EVENTS_MAX + 6);
    (void)new_node(world, "n1", NULL, NULL);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_STILL);
    assert_int_equal(sim_world_still_events(world),
                     SIM_STILL_EVENTS_MAX + SIM_STILL_EVENTS_OF_A_NODE);
    sim_event_deinit(world, &event);
    sim_world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_that_does_not_return_ends_the_run),
        cmocka_unit_test(turns_in_a_row_end_the_run),
        cmocka_unit_test(turns_with_rests_do_not),
        cmocka_unit_test(turns_that_take_time_do_not),
        cmocka_unit_test(events_of_one_moment_end_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
