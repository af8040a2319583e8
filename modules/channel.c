/* perilune.core.channel: channels and select. */
#include "vm/channel.h"

#include <math.h>

#include "box.h"
#include "vm/scheduler.h"

static int push_closed(lua_State *L)
{
    return box_fail(L, PERI_ECLOSED, "the channel is closed");
}

/* ---- one channel ---- */

static struct channel_waiter *waiter_of(lua_State *L, int value_index)
{
    struct fiber *fiber = fiber_current(L);
    struct channel_waiter *waiter = &fiber->waiter;
    *waiter = (struct channel_waiter){.wait = &fiber->own, .L = L, .value_index = value_index};
    return waiter;
}

static void on_cancel(struct fiber_wait *wait)
{
    channel_leave(&container_of(wait, struct fiber, own)->waiter);
}

static int wait_in_line(lua_State *L, const char *what, int value_index, lua_KFunction k)
{
    struct fiber *fiber = fiber_current(L);
    channel_enter(lua_touserdata(L, 1), waiter_of(L, value_index));
    fiber->own = (struct fiber_wait){.what = what, .on_cancel = on_cancel};
    return fiber_suspend(L, &fiber->own, k);
}

static int finish_send(lua_State *L, enum channel_outcome outcome)
{
    if (outcome == CHANNEL_CLOSED)
        return push_closed(L);
    lua_pushboolean(L, 1);
    return 1;
}

static int send_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return finish_send(L, fiber_current(L)->waiter.outcome);
}

static int l_send(lua_State *L)
{
    (void)channel_check(L, 1);
    lua_settop(L, 2);
    enum channel_outcome outcome = channel_try_send(L, 1, 2);
    if (outcome != CHANNEL_WAIT)
        return finish_send(L, outcome);
    fiber_check(L, "channel:send");
    return wait_in_line(L, "channel.send", 2, send_continue);
}

static int l_try_send(lua_State *L)
{
    (void)channel_check(L, 1);
    lua_settop(L, 2);
    enum channel_outcome outcome = channel_try_send(L, 1, 2);
    if (outcome == CHANNEL_WAIT)
        return box_fail(L, PERI_EBUSY, "the channel is full");
    return finish_send(L, outcome);
}

static int recv_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return fiber_current(L)->waiter.outcome == CHANNEL_CLOSED ? push_closed(L) : 1;
}

static int l_recv(lua_State *L)
{
    (void)channel_check(L, 1);
    lua_settop(L, 1);
    enum channel_outcome outcome = channel_try_receive(L, 1);
    if (outcome != CHANNEL_WAIT)
        return outcome == CHANNEL_CLOSED ? push_closed(L) : 1;
    fiber_check(L, "channel:recv");
    return wait_in_line(L, "channel.recv", 0, recv_continue);
}

/* for value in channel:values(): recv is its own iterator. */
static int l_values(lua_State *L)
{
    (void)channel_check(L, 1);
    lua_pushcfunction(L, l_recv);
    lua_pushvalue(L, 1);
    return 2;
}

static int l_try_recv(lua_State *L)
{
    (void)channel_check(L, 1);
    lua_settop(L, 1);
    enum channel_outcome outcome = channel_try_receive(L, 1);
    if (outcome == CHANNEL_WAIT)
        return box_fail(L, PERI_EBUSY, "the channel is empty");
    return outcome == CHANNEL_CLOSED ? push_closed(L) : 1;
}

static int l_close(lua_State *L)
{
    channel_close(channel_check(L, 1));
    return 0;
}

static int l_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)channel_check(L, 1)->count);
    return 1;
}

static int l_is_closed(lua_State *L)
{
    lua_pushboolean(L, channel_check(L, 1)->is_closed);
    return 1;
}

static int l_channel(lua_State *L)
{
    lua_Integer capacity = luaL_optinteger(L, 1, 0);
    luaL_argcheck(L, capacity >= 0 && capacity <= CHANNEL_CAPACITY_MAX, 1,
                  "capacity from 0 to 16777216");
    (void)channel_create(L, (size_t)capacity);
    return 1;
}

/* ---- select ----
 *
 * The cases are unpacked to the stack: the channel of case i stands at select_channel(i), its value
 * behind it. One userdata holds a waiter for each case; all of them share one wait. */

enum { SELECT_TABLE = 1, SELECT_RECORD = 2, SELECT_CASES_MAX = 1000 };

struct select_case {
    struct channel_waiter waiter;
    struct select *select;
};

struct select {
    struct fiber_wait wait;
    int count;
    int done; /* index of the case that was served, from 1; 0: none yet */
    struct select_case cases[];
};

static int select_channel(int i)
{
    return SELECT_RECORD + 2 * i - 1;
}

static void select_leave(struct select *select)
{
    for (int i = 0; i < select->count; i++)
        channel_leave(&select->cases[i].waiter);
}

static void select_on_cancel(struct fiber_wait *wait)
{
    select_leave(container_of(wait, struct select, wait));
}

static void select_on_done(struct channel_waiter *waiter)
{
    struct select_case *one = container_of(waiter, struct select_case, waiter);
    one->select->done = (int)(one - one->select->cases) + 1;
    select_leave(one->select);
}

static void read_case(lua_State *L, int i)
{
    if (lua_geti(L, SELECT_TABLE, i) != LUA_TTABLE)
        luaL_error(L, "select: case %d is no table, as in select{ {ch, \"recv\"} }", i);
    int table = lua_gettop(L);
    (void)lua_geti(L, table, 1);
    if (luaL_testudata(L, -1, CHANNEL_METATABLE) == NULL)
        luaL_error(L, "select: case %d: no channel", i);
    (void)lua_geti(L, table, 2);
    const char *verb = lua_tostring(L, -1);
    struct select *select = lua_touserdata(L, SELECT_RECORD);
    bool is_send = verb != NULL && strcmp(verb, "send") == 0;
    if (!is_send && (verb == NULL || strcmp(verb, "recv") != 0))
        luaL_error(L, "select: case %d: \"recv\" or \"send\", not %s", i,
                   luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    (void)lua_geti(L, table, 3);
    lua_remove(L, table);
    struct select_case *one = &select->cases[i - 1];
    one->select = select;
    one->waiter = (struct channel_waiter){.wait = &select->wait,
                                          .L = L,
                                          .value_index = is_send ? select_channel(i) + 1 : 0,
                                          .on_done = select_on_done};
}

/* Tries the cases from a random one on, so that none is starved. */
static enum channel_outcome try_cases(lua_State *L, struct select *select)
{
    int start = (int)(fiber_random(vm_state_of(L)->scheduler) % (uint64_t)select->count);
    for (int n = 0; n < select->count; n++) {
        int i = (start + n) % select->count;
        const struct channel_waiter *waiter = &select->cases[i].waiter;
        int channel = select_channel(i + 1);
        enum channel_outcome outcome = waiter->value_index != 0
                                           ? channel_try_send(L, channel, waiter->value_index)
                                           : channel_try_receive(L, channel);
        if (outcome != CHANNEL_WAIT) {
            select->done = i + 1;
            return outcome;
        }
    }
    return CHANNEL_WAIT;
}

/* A received value is on top of L. */
static int finish_select(lua_State *L, const struct select *select, enum channel_outcome outcome)
{
    int index = select->done;
    if (outcome == CHANNEL_CLOSED) {
        lua_pushinteger(L, index);
        return 1 + push_closed(L);
    }
    if (select->cases[index - 1].waiter.value_index != 0)
        lua_pushboolean(L, 1);
    lua_pushinteger(L, index);
    lua_insert(L, -2);
    return 2;
}

static int select_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    const struct select *select = lua_touserdata(L, SELECT_RECORD);
    (void)ctx;
    if (select->done == 0)
        return box_fail(L, PERI_EDEADLINE, "select: no case was ready in time");
    return finish_select(L, select, select->cases[select->done - 1].waiter.outcome);
}

static uint64_t read_due_us(lua_State *L)
{
    if (lua_getfield(L, SELECT_TABLE, "timeout") == LUA_TNIL)
        return 0;
    double seconds = luaL_checknumber(L, -1);
    if (!(seconds >= 0))
        luaL_error(L, "select: timeout is a number of seconds, not negative");
    return env_now_us(vm_state_of(L)->env) + 1 + (uint64_t)(fmin(seconds, 1e10) * 1e6);
}

static int l_select(lua_State *L)
{
    luaL_checktype(L, SELECT_TABLE, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count = luaL_len(L, SELECT_TABLE);
    luaL_argcheck(L, count >= 1 && count <= SELECT_CASES_MAX, 1, "1 to 1000 cases");
    luaL_checkstack(L, 2 * (int)count + LUA_MINSTACK, "select");
    fiber_check(L, "select");
    struct select *select =
        lua_newuserdatauv(L, sizeof *select + (size_t)count * sizeof(struct select_case), 0);
    *select = (struct select){.wait = {.what = "select", .on_cancel = select_on_cancel},
                              .count = (int)count};
    for (int i = 1; i <= (int)count; i++)
        read_case(L, i);
    uint64_t due_us = read_due_us(L);
    (void)lua_getfield(L, SELECT_TABLE, "default");
    bool has_default = lua_toboolean(L, -1);
    enum channel_outcome outcome = try_cases(L, select);
    if (outcome != CHANNEL_WAIT)
        return finish_select(L, select, outcome);
    if (has_default) {
        lua_pushinteger(L, 0);
        return 1;
    }
    for (int i = 0; i < select->count; i++)
        channel_enter(lua_touserdata(L, select_channel(i + 1)), &select->cases[i].waiter);
    return fiber_suspend_until(L, &select->wait, due_us, select_continue);
}

int luaopen_perilune_channel(lua_State *L);

int luaopen_perilune_channel(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"send", l_send},         {"recv", l_recv},           {"values", l_values},
        {"try_send", l_try_send}, {"try_recv", l_try_recv},   {"close", l_close},
        {"len", l_len},           {"is_closed", l_is_closed}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"channel", l_channel},
        {"select", l_select},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    luaL_getmetatable(L, CHANNEL_METATABLE);
    lua_pushcfunction(L, l_len);
    lua_setfield(L, -2, "__len");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    return 1;
}
