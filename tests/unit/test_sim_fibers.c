/* Lua states on simulated nodes: virtual time, deadlocks, code that never returns, lack of memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "env/uv.h"
#include "sim/fault.h"
#include "sim/node.h"
#include "sim_fixture.h"
#include "vm/fiber.h"
#include "vm/state.h"

int luaopen_perilune_fiber(lua_State *L);
int luaopen_perilune_channel(lua_State *L);

static const struct vm_module modules[] = {{"fiber", luaopen_perilune_fiber},
                                           {"channel", luaopen_perilune_channel}};

struct member {
    struct vm_options options;
    struct vm_state *vm;
    struct sim_node *node;
    const char *text;
    int ends;
    struct fiber_result result;
};

static char output[20000];

static void on_output(void *data, struct sim_node *node, int fd, struct peri_slice bytes)
{
    size_t used = strlen(output);
    (void)data;
    (void)fd;
    (void)snprintf(output + used, sizeof output - used, "%s: %.*s", sim_node_name(node),
                   (int)bytes.size, bytes.data);
}

static void on_end(void *data)
{
    struct member *member = data;
    member->ends++;
    member->result = fiber_scheduler_finish(member->vm);
    sim_node_exit(member->node, member->result.exit_status);
}

static int open_member(struct member *member, struct peri_error *err)
{
    int rc = vm_state_create(&member->vm, &member->options, err);
    if (rc == 0)
        rc = fiber_scheduler_create(member->vm, err);
    if (rc == 0 && luaL_loadstring(member->vm->L, member->text) != LUA_OK)
        rc = PERI_ELUA;
    return rc == 0 ? fiber_scheduler_start(member->vm, 0, on_end, member, err) : rc;
}

static int on_start(void *data, struct sim_node *node)
{
    struct member *member = data;
    member->node = node;
    member->options =
        (struct vm_options){.env = sim_node_env(node), .modules = modules, .module_count = 2};
    int rc = open_member(member, NULL);
    if (rc != 0) {
        vm_state_close(member->vm);
        member->vm = NULL;
    }
    return rc;
}

static void on_down(void *data, struct sim_node *node, enum sim_down how)
{
    struct member *member = data;
    (void)node;
    (void)how;
    vm_state_close(member->vm);
    member->vm = NULL;
}

static struct sim_world *new_world(struct env *host, uint64_t seed)
{
    struct sim_world *world = NULL;
    struct sim_options options = {
        .seed = seed, .host = host, .watchdog_us = 100000, .on_output = on_output};
    output[0] = '\0';
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    return world;
}

static void add(struct sim_world *world, const char *name, struct member *member, const char *text)
{
    static const struct sim_node_events events = {on_start, on_down};
    struct sim_node *node = NULL;
    *member = (struct member){.text = text};
    assert_int_equal(sim_node_create(world, name, &events, member, &node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), 0);
}

static void an_hour_of_sleep_takes_no_time(void **state)
{
    (void)state;
    static const char text[] =
        "local fiber = require 'perilune.core.fiber'\n"
        "local begin = fiber.now()\n"
        "local other = fiber.spawn(function() fiber.sleep(3600) return 4 end)\n"
        "local ok, v = other:join()\n"
        "assert(fiber.now() - begin >= 3600)\n"
        "return v";
    struct member members[3];
    struct sim_world *world = new_world(NULL, 1);
    add(world, "n1", &members[0], text);
    add(world, "n2", &members[1], "return 5");
    add(world, "n3", &members[2], "error 'expected'");
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(members[i].ends, 1);
    assert_int_equal(sim_node_exit_status(members[0].node), 4);
    assert_int_equal(sim_node_exit_status(members[1].node), 5);
    assert_int_equal(sim_node_exit_status(members[2].node), EXIT_FAILURE);
    assert_int_equal(sim_node_state(members[2].node), SIM_NODE_DOWN);
    assert_int_equal(sim_world_now_us(world) / 1000000, 3600);
    assert_non_null(strstr(output, "expected"));
    sim_world_close(world);
}

static const char waits[] = "local channel = require 'perilune.core.channel'\n"
                            "channel.channel(1):recv()";

static void a_deadlock_names_every_fiber(void **state)
{
    (void)state;
    struct member member;
    struct sim_world *world = new_world(NULL, 1);
    add(world, "n1", &member, waits);
    assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_IDLE);
    assert_int_equal(sim_node_state(member.node), SIM_NODE_RUNNING);
    struct fiber_result result = fiber_scheduler_finish(member.vm);
    assert_int_equal(result.exit_status, EXIT_FAILURE);
    assert_non_null(strstr(output, "node=n1"));
    assert_non_null(strstr(output, "main"));
    assert_non_null(strstr(output, "recv"));
    sim_world_close(world);
}

static void ends_may_come_while_fibers_wait(void **state)
{
    (void)state;
    static const char text[] =
        "local fiber = require 'perilune.core.fiber'\n"
        "local guard <close> = setmetatable({}, {__close = function() end})\n"
        "fiber.sleep(1000)";
    struct member member;
    struct sim_world *world = new_world(NULL, 1);
    add(world, "n1", &member, text);
    advance(world, 1000000);
    for (uint64_t incarnation = 1; incarnation < 5; incarnation++) {
        assert_int_equal(sim_node_incarnation(member.node), incarnation);
        sim_node_crash(member.node);
        assert_null(member.vm);
        assert_int_equal(sim_node_start(member.node, NULL), 0);
        advance(world, 1000000 + incarnation);
    }
    assert_int_equal(member.ends, 0);
    assert_string_equal(output, ""); /* what a dead process says, nobody hears */
    sim_world_close(world);
}

static void code_that_never_returns_is_named(void **state)
{
    (void)state;
    static const char *const spins[] = {
        "local function spin() while true do end end\nspin()",
        "while true do pcall(function() while true do end end) end",
    };
    struct env *host = NULL;
    assert_int_equal(env_uv_create(&host, NULL), 0);
    for (size_t i = 0; i < sizeof spins / sizeof spins[0]; i++) {
        struct member member;
        struct member other;
        struct sim_world *world = new_world(host, 1);
        add(world, "n1", &other, waits);
        add(world, "n2", &member, spins[i]);
        assert_int_equal(sim_world_run(world, UINT64_MAX), SIM_END_STUCK);
        assert_ptr_equal(sim_world_stuck(world), member.node);
        sim_world_close(world);
    }
    env_close(host);
}

/* A world without memory says so, and leaks nothing. */
static void each_allocation_may_fail(void **state)
{
    (void)state;
    bool was_reached = true;
    for (long n = 1; was_reached; n++) {
        struct member members[2] = {{.ends = 0}, {.ends = 0}};
        struct sim_options options = {.seed = 1};
        struct sim_world *world = NULL;
        static const struct sim_node_events events = {on_start, on_down};
        test_alloc_fail(n);
        int rc = sim_world_create(&world, &options, NULL);
        for (int i = 0; rc == 0 && i < 2; i++) {
            struct sim_node *node = NULL;
            members[i].text = "require 'perilune.core.fiber'.sleep(1) return 3";
            rc = sim_node_create(world, i == 0 ? "n1" : "n2", &events, &members[i], &node, NULL);
            if (rc == 0)
                rc = sim_node_start(node, NULL);
        }
        if (rc == 0)
            advance(world, UINT64_MAX);
        was_reached = test_alloc_end();
        assert_true(rc == 0 || rc == PERI_ENOMEM);
        if (!was_reached)
            assert_int_equal(members[0].result.exit_status + members[1].result.exit_status, 6);
        sim_world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_hour_of_sleep_takes_no_time),
        cmocka_unit_test(a_deadlock_names_every_fiber),
        cmocka_unit_test(ends_may_come_while_fibers_wait),
        cmocka_unit_test(code_that_never_returns_is_named),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
