/* perilune.core.sim: a simulation as the Lua of its nodes and of its controller sees it;
 * lua/perilune/sim stands in front. */
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "sim/clock.h"
#include "sim_parts.h"
#include "simulation.h"
#include "vm/scheduler.h"

struct sim_member *sim_check_member(lua_State *L)
{
    struct sim_member *member = sim_member_of(L);
    if (member == NULL)
        luaL_error(L, "this works in a simulation only: perilune sim SCENARIO.lua");
    return member;
}

struct sim_member *sim_check_controller(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    if (member != member->run->controller)
        luaL_error(L, "only the controller of a simulation may do that");
    return member;
}

struct sim_member *sim_check_named(lua_State *L, struct simulation *run, int index)
{
    const char *name = luaL_checkstring(L, index);
    struct sim_member *member = sim_member_named(run, name);
    if (member == NULL)
        luaL_error(L, "there is no node '%s'", name);
    return member;
}

struct peri_slice sim_check_bytes(lua_State *L, int index)
{
    size_t size;
    const char *bytes = luaL_checklstring(L, index, &size);
    return peri_slice_of(bytes, size);
}

/* ---- who and when ---- */

static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

/* info(): about this member; nil outside of simulations. */
static int l_info(lua_State *L)
{
    const struct sim_member *member = sim_member_of(L);
    if (member == NULL)
        return 0;
    const struct simulation_options *options = member->run->options;
    lua_createtable(L, 0, 8);
    box_set_string(L, "name", sim_node_name(member->node));
    box_set_string(L, "role", member->role); /* nil: the controller */
    box_set_integer(L, "incarnation", (lua_Integer)sim_node_incarnation(member->node) - 1);
    box_set_integer(L, "seed", (lua_Integer)sim_world_seed(member->run->world));
    box_set_string(L, "path", options->path);
    box_set_string(L, "chunk", options->chunk);
    box_set_slice(L, "source", options->source);
    box_set_slice(L, "args", options->args);
    box_set_slice(L, "arguments", peri_buffer_slice(&member->arguments));
    set_flag(L, "has_time", options->time_max_us != 0);
    set_flag(L, "may_fail", member->may_fail);
    return 1;
}

/* now(): true time in microseconds. */
static int l_now(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sim_world_now_us(sim_check_member(L)->run->world));
    return 1;
}

static int l_set_time(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    run->time_max_us = (uint64_t)luaL_checkinteger(L, 1);
    run->has_new_time_max = true;
    sim_world_stop(run->world);
    return 0;
}

/* random(): 63 bits of the world's stream for scenarios. */
static int l_random(lua_State *L)
{
    struct sim_stream *stream = sim_world_stream(sim_check_controller(L)->run->world, SIM_WORKLOAD);
    lua_pushinteger(L, (lua_Integer)(sim_stream_next(stream) >> 1));
    return 1;
}

/* clock_error(node): microseconds that its wall clock is ahead of the true time. */
static int l_clock_error(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    lua_pushinteger(L, (lua_Integer)sim_clock_error_us(sim_check_named(L, run, 1)->node));
    return 1;
}

/* ---- notes and ends ---- */

/* note(kind, text): a line of the trace. */
static int l_note(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    const char *text = luaL_checkstring(L, 1);
    sim_world_note(member->run->world, member->node, "log", sim_hash_bytes(text, strlen(text)),
                   "%s", text);
    return 0;
}

static int never_continued(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return luaL_error(L, "the simulation has ended");
}

static const char *const failure_kinds[] = {"controller", "node",     "check",
                                            "undecided",  "scenario", NULL};

/* fail(kind, text): ends the run; does not return. */
static int l_fail(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    const char *kind = failure_kinds[luaL_checkoption(L, 1, NULL, failure_kinds)];
    simulation_fail(member->run, member, kind, luaL_checkstring(L, 2));
    if (fiber_current(L) == NULL || !lua_isyieldable(L))
        return 0;
    struct fiber *fiber = fiber_current(L);
    fiber->own = (struct fiber_wait){.what = "the end of the simulation"};
    return fiber_suspend(L, &fiber->own, never_continued);
}

/* explain(text): what an error of this member says, see sim_member_explain. */
static int l_explain(lua_State *L)
{
    char room[SIM_EXPLAINED_SIZE];
    const struct sim_member *member = sim_check_member(L);
    lua_pushstring(L, sim_member_explain(member, luaL_checkstring(L, 1), room));
    return 1;
}

/* declare(pattern): what the run is meant to fail with; "" when it is not. */
static int l_declare(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    struct peri_slice pattern = sim_check_bytes(L, 1);
    run->expect.size = 0;
    if (peri_buffer_append(&run->expect, pattern.data, pattern.size) != 0)
        return luaL_error(L, "not enough memory");
    return 0;
}

/* pass(): the controller has returned. */
static int l_pass(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    run->has_passed = !run->failure.is_set;
    sim_world_stop(run->world);
    return 0;
}

/* ---- nodes ---- */

/* create(name, role, arguments, may_fail, memory_bytes): true, or nil, message, code. */
static int l_create(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    struct peri_error err = PERI_ERROR_INIT;
    struct sim_member *member;
    const char *name = luaL_checkstring(L, 1);
    const char *role = luaL_checkstring(L, 2);
    struct peri_slice arguments = sim_check_bytes(L, 3);
    bool may_fail = lua_toboolean(L, 4);
    lua_Integer memory_bytes = luaL_optinteger(L, 5, SIM_MEMBER_MEMORY_BYTES);
    if (sim_member_create(run, name, role, arguments, &member, &err) != 0)
        return box_error(L, &err);
    member->may_fail = may_fail;
    member->options.memory_limit_bytes = (size_t)memory_bytes;
    lua_pushboolean(L, 1);
    return 1;
}

/* start(name, arguments): with those of before when nil. */
static int l_start(lua_State *L)
{
    struct sim_member *member = sim_check_named(L, sim_check_controller(L)->run, 1);
    struct peri_error err = PERI_ERROR_INIT;
    if (!lua_isnoneornil(L, 2)) {
        struct peri_slice arguments = sim_check_bytes(L, 2);
        member->arguments.size = 0;
        if (peri_buffer_append(&member->arguments, arguments.data, arguments.size) != 0)
            return box_fail(L, PERI_ENOMEM, "arguments of a node");
    }
    if (sim_node_start(member->node, &err) != 0)
        return box_error(L, &err);
    member->is_starting = true;
    lua_pushboolean(L, 1);
    return 1;
}

/* stop(name): cancels what the program does. */
static int l_stop(lua_State *L)
{
    struct sim_member *member = sim_check_named(L, sim_check_controller(L)->run, 1);
    if (member->vm != NULL)
        fiber_scheduler_interrupt(member->vm, "the controller stopped the node", 0);
    return 0;
}

/* state(name): "created", "running", "paused", "down"; nil: no such node. */
static int l_state(lua_State *L)
{
    static const char *const names[] = {"created", "running", "paused", "down"};
    struct sim_member *member =
        sim_member_named(sim_check_controller(L)->run, luaL_checkstring(L, 1));
    if (member == NULL)
        return 0;
    lua_pushstring(L, names[sim_node_state(member->node)]);
    return 1;
}

/* members(): names and roles of all nodes, in the order of their creation. */
static int l_members(lua_State *L)
{
    struct sim_world *world = sim_check_controller(L)->run->world;
    lua_newtable(L);
    for (size_t i = 1; i < sim_world_node_count(world); i++) { /* 0 is the controller */
        const struct sim_member *member = sim_node_data(sim_world_node_at(world, i));
        lua_createtable(L, 0, 2);
        box_set_string(L, "name", sim_node_name(member->node));
        box_set_string(L, "role", member->role);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
    return 1;
}

/* ---- history ---- */

/* record(bytes): appends an event to the world's one history. */
static int l_record(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    struct peri_slice bytes = sim_check_bytes(L, 1);
    struct simulation *run = member->run;
    if (peri_buffer_append(&run->history, bytes.data, bytes.size) != 0)
        return luaL_error(L, "not enough memory");
    run->history_count++;
    sim_world_note(run->world, member->node, "history", sim_hash_bytes(bytes.data, bytes.size),
                   "%s", luaL_optstring(L, 2, ""));
    return 0;
}

/* history(): MessagePack, one event behind the other. */
static int l_history(lua_State *L)
{
    const struct simulation *run = sim_check_controller(L)->run;
    lua_pushlstring(L, run->history.data, run->history.size);
    return 1;
}

int luaopen_perilune_sim(lua_State *L);

int luaopen_perilune_sim(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"info", l_info},       {"now", l_now},         {"set_time", l_set_time},
        {"random", l_random},   {"note", l_note},       {"clock_error", l_clock_error},
        {"fail", l_fail},       {"pass", l_pass},       {"create", l_create},
        {"start", l_start},     {"stop", l_stop},       {"declare", l_declare},
        {"state", l_state},     {"members", l_members}, {"record", l_record},
        {"history", l_history}, {"explain", l_explain}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    luaL_setfuncs(L, sim_fault_functions, 0);
    sim_letter_open(L);
    return 1;
}
