/* Runs of a scenario, also while each allocation in turn fails. The Lua library comes from its
 * folder, as with --lua-path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lua.h>
#include <string.h>

#include "alloc.h"
#include "env/uv.h"
#include "simulation.h"

int luaopen_perilune_channel(lua_State *L);
int luaopen_perilune_fiber(lua_State *L);
int luaopen_perilune_json(lua_State *L);
int luaopen_perilune_msgpack(lua_State *L);
int luaopen_perilune_sim(lua_State *L);

static const struct vm_module modules[] = {
    {"channel", luaopen_perilune_channel}, {"fiber", luaopen_perilune_fiber},
    {"json", luaopen_perilune_json},       {"msgpack", luaopen_perilune_msgpack},
    {"sim", luaopen_perilune_sim},
};

enum { WATCHDOG_US = 10000000, MODULE_COUNT = sizeof modules / sizeof modules[0] };

static const char scenario[] = "local perilune = require 'perilune'\n"
                               "return { nodes = { a = function(node, word)\n"
                               "    node:tell(word, node.incarnation)\n"
                               "    perilune.sleep(1)\n"
                               "    return node:receive()\n"
                               "  end },\n"
                               "  run = function(sim)\n"
                               "    sim:network { latency = '1ms' }\n"
                               "    sim:start('n1', 'a', 'hello')\n"
                               "    local from, word, incarnation = sim:receive()\n"
                               "    assert(from == 'n1' and word == 'hello' and incarnation == 0)\n"
                               "    sim:crash 'n1'\n"
                               "    sim:restart 'n1'\n"
                               "    assert(select(3, sim:receive()) == 1)\n"
                               "    sim:tell('n1', 7)\n"
                               "    assert(select(2, sim:join 'n1') == 7)\n"
                               "  end }\n";

struct fixture {
    struct env *env;
    struct vm_options base;
    struct simulation_options options;
};

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    if (env_uv_create(&fixture.env, NULL) != 0)
        return -1;
    fixture.base = (struct vm_options){
        .env = fixture.env, .modules = modules, .module_count = MODULE_COUNT, .lua_path = "lua"};
    fixture.options = (struct simulation_options){
        .path = "/scenario.lua",
        .chunk = "scenario.lua",
        .source = peri_slice_of(scenario, sizeof scenario - 1),
        .args = peri_slice_of("\x80", 1), /* an empty map */
        .seed = 1,
        .watchdog_us = WATCHDOG_US,
        .log_level = ENV_LOG_ERROR,
    };
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    env_close(fixture->env);
    return 0;
}

static struct simulation make_run(const struct fixture *fixture)
{
    return (struct simulation){
        .host = fixture->env, .base = &fixture->base, .options = &fixture->options};
}

static uint64_t run_once(const struct fixture *fixture)
{
    struct simulation run = make_run(fixture);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(simulation_run(&run, &err), 0);
    if (!run.has_passed)
        fail_msg("%s: %.*s", run.failure.kind, (int)run.failure.text.size, run.failure.text.data);
    assert_int_equal(run.member_count, 2);
    uint64_t hash = sim_world_hash(run.world);
    simulation_deinit(&run);
    return hash;
}

static void test_runs_are_equal(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = run_once(fixture);
    assert_int_equal(first, run_once(fixture));
    fixture->options.seed = 2;
    assert_int_not_equal(first, run_once(fixture));
}

static void test_a_failure_says_whose_and_why(void **state)
{
    static const char source[] = "return { nodes = { a = function() error('oops') end },\n"
                                 "  run = function(sim) sim:start('n1', 'a') sim:sleep(1) end }\n";
    struct fixture *fixture = *state;
    fixture->options.source = peri_slice_of(source, sizeof source - 1);
    struct simulation run = make_run(fixture);
    assert_int_equal(simulation_run(&run, NULL), 0);
    assert_false(run.has_passed);
    assert_true(run.failure.is_set);
    assert_string_equal(run.failure.kind, "node");
    assert_int_equal(run.failure.node.size, 2);
    assert_memory_equal(run.failure.node.data, "n1", 2);
    assert_memory_equal(run.failure.text.data, "scenario.lua:1: oops", 20);
    simulation_deinit(&run);
}

/* The Lua states have memory of their own; everything else is ours to run out of. */
static void test_every_allocation_fails(void **state)
{
    struct fixture *fixture = *state;
    bool has_failed = true;
    long n = 1;
    for (; has_failed; n++) {
        struct simulation run = make_run(fixture);
        struct peri_error err = PERI_ERROR_INIT;
        test_alloc_fail(n);
        int rc = simulation_run(&run, &err);
        has_failed = test_alloc_end();
        assert_true(rc != 0 || run.has_passed || run.failure.is_set);
        assert_true(has_failed || (rc == 0 && run.has_passed));
        simulation_deinit(&run);
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_runs_are_equal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failure_says_whose_and_why, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_allocation_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
