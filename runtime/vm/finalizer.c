#include "vm/finalizer.h"

#include <lauxlib.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "vm/bounds.h"
#include "vm/state.h"

/* What one C function may still do while a state closes. */
enum { CLOSING_STEPS_MAX = 50000, CLOSING_BYTES_MAX = 1 << 20 };

/* Each object with a __gc has a sentinel: a userdata with a C finalizer, found through an ephemeron
 * table (object -> sentinel), so that both die together. Lua resurrects the object with its
 * sentinel, whose finalizer hangs itself into the queue; nothing is allocated meanwhile. */
enum { VALUE_OBJECT = 1, VALUE_NEXT = 2 };

struct sentinel {
    uint64_t number; /* order of marking */
    bool armed;      /* its object's __gc has not been queued yet */
};

struct finalizers {
    uint64_t marked; /* sentinels ever made */
    uint64_t queued;
    int64_t budget;    /* instructions left to vm_finalizers_close */
    uint64_t until_us; /* and its end on the clock */
    bool is_running;   /* finalizers that make garbage do not nest */
    bool is_closing;
};

/* Their addresses name fields of the registry. */
static const char state_key = 0;
static const char sentinels_key = 0;
static const char meta_key = 0;
static const char head_key = 0;
static const char tail_key = 0;

static struct finalizers *state_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    struct finalizers *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return state;
}

/* ---- the queue ---- */

/* The sentinel's __gc. Keys already there are overwritten, so nothing here can fail. */
static int sentinel_gc(lua_State *L)
{
    struct finalizers *state = state_of(L);
    struct sentinel *sentinel = lua_touserdata(L, 1);
    if (state == NULL || !sentinel->armed || state->is_closing)
        return 0;
    sentinel->armed = false;
    if (state->queued++ == 0) {
        lua_pushvalue(L, 1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &head_key);
    } else {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &tail_key);
        lua_pushvalue(L, 1);
        lua_setiuservalue(L, -2, VALUE_NEXT);
    }
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &tail_key);
    return 0;
}

/* Pushes the object that is first in the queue, which must not be empty. */
static void pop_object(lua_State *L, struct finalizers *state)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &head_key);
    lua_getiuservalue(L, -1, VALUE_NEXT);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &head_key);
    if (--state->queued == 0) {
        lua_pushboolean(L, false);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &tail_key);
    }
    lua_getiuservalue(L, -1, VALUE_OBJECT);
    lua_remove(L, -2);
}

/* ---- running them ---- */

/* Replaces the object on top by its __gc and itself. False when it has none any more. */
static bool push_finalizer(lua_State *L)
{
    int type = luaL_getmetafield(L, -1, "__gc");
    if (type != LUA_TFUNCTION) {
        lua_pop(L, type == LUA_TNIL ? 1 : 2);
        return false;
    }
    lua_insert(L, -2);
    return true;
}

/* Warns, as stock Lua words it, about the error on top. */
static void warn_error(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    lua_warning(L, "error in __gc (", 1);
    lua_warning(L, text == NULL ? "error object is not a string" : text, 1);
    lua_warning(L, ")", 0);
}

static int run_continue(lua_State *L, int status, lua_KContext context)
{
    struct finalizers *state = (struct finalizers *)context;
    if (status != LUA_OK && status != LUA_YIELD)
        warn_error(L);
    lua_settop(L, 1);
    while (state->queued > 0) {
        pop_object(L, state);
        if (!push_finalizer(L))
            continue;
        status = lua_pcallk(L, 1, 0, 0, context, run_continue);
        if (status != LUA_OK)
            warn_error(L);
        lua_settop(L, 1);
    }
    return 0;
}

bool vm_finalizers_pending(lua_State *L)
{
    const struct finalizers *state = state_of(L);
    return state != NULL && state->queued > 0 && !state->is_running;
}

int vm_finalizers_run(lua_State *L)
{
    if (!vm_finalizers_pending(L))
        return 0;
    struct finalizers *state = state_of(L);
    lua_settop(L, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    lua_toclose(L, 1); /* however the call ends, also when its fiber is cancelled */
    state->is_running = true;
    return run_continue(L, LUA_OK, (lua_KContext)state);
}

static int state_close(lua_State *L)
{
    struct finalizers *state = lua_touserdata(L, 1);
    state->is_running = false;
    return 0;
}

/* ---- marking ---- */

/* Gives the object at index a sentinel, unless it has one that still waits. */
static void mark_object(lua_State *L, int index)
{
    struct finalizers *state = state_of(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinels_key);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    const struct sentinel *known = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (known == NULL || !known->armed) {
        lua_pushvalue(L, index);
        struct sentinel *sentinel = lua_newuserdatauv(L, sizeof *sentinel, VALUE_NEXT);
        sentinel->number = state->marked++;
        sentinel->armed = true;
        lua_pushvalue(L, index);
        lua_setiuservalue(L, -2, VALUE_OBJECT);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
        lua_setmetatable(L, -2);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

/* lua_setmetatable of the metatable on top (or nil), without Lua seeing its __gc. */
static void set_metatable(lua_State *L, int index)
{
    lua_pushliteral(L, "__gc");
    if (lua_type(L, -2) != LUA_TTABLE || lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_setmetatable(L, index);
        return;
    }
    mark_object(L, index);
    lua_pushliteral(L, "__gc");
    lua_pushnil(L);
    lua_rawset(L, -4);
    lua_pushvalue(L, -2);
    lua_setmetatable(L, index);
    lua_pushliteral(L, "__gc"); /* its place in the table is still there: nothing is allocated */
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int return_first(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_settop(L, 1);
    return 1;
}

/* Upvalue: the text "__gc", so that looking it up costs little. */
static int l_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    if (type == LUA_TNIL || lua_rawget(L, 2) == LUA_TNIL) {
        lua_settop(L, 2);
        lua_setmetatable(L, 1);
        return 1;
    }
    lua_settop(L, 2);
    set_metatable(L, 1);
    if (!vm_finalizers_pending(L))
        return 1;
    lua_pushcfunction(L, vm_finalizers_run);
    lua_callk(L, 0, 0, 0, return_first);
    return return_first(L, LUA_OK, 0);
}

static int l_debug_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    lua_settop(L, 2);
    if (lua_type(L, 1) == LUA_TTABLE)
        set_metatable(L, 1);
    else
        lua_setmetatable(L, 1);
    return 1;
}

static int collect_continue(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    return (int)context;
}

/* Upvalue: stock's collectgarbage, which has no upvalues of its own. */
static int l_collectgarbage(lua_State *L)
{
    int count = lua_tocfunction(L, lua_upvalueindex(1))(L);
    if (!vm_finalizers_pending(L))
        return count;
    lua_pushcfunction(L, vm_finalizers_run);
    lua_callk(L, 0, 0, count, collect_continue);
    return count;
}

static void create_state(lua_State *L)
{
    struct finalizers *state = lua_newuserdatauv(L, sizeof *state, 0);
    memset(state, 0, sizeof *state);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_close);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinels_key);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, sentinel_gc);
    lua_setfield(L, -2, "__gc");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
    lua_pushboolean(L, false);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &head_key);
    lua_pushboolean(L, false);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &tail_key);
}

void vm_finalizers_open(lua_State *L)
{
    create_state(L);
    lua_pushliteral(L, "__gc");
    lua_pushcclosure(L, l_setmetatable, 1);
    lua_setglobal(L, "setmetatable");
    lua_getglobal(L, "collectgarbage");
    lua_pushcclosure(L, l_collectgarbage, 1);
    lua_setglobal(L, "collectgarbage");
    if (lua_getglobal(L, "debug") == LUA_TTABLE) {
        lua_pushcfunction(L, l_debug_setmetatable);
        lua_setfield(L, -2, "setmetatable");
    }
    lua_pop(L, 1);
}

/* ---- the end ---- */

static void on_count(lua_State *L, lua_Debug *record)
{
    (void)record;
    struct finalizers *state = state_of(L);
    state->budget -= lua_gethookcount(L);
    if (state->budget > 0 && env_now_us(vm_state_of(L)->env) < state->until_us)
        return;
    state->budget = 0;
    /* Stays armed, so that no pcall of the finalizer helps it. */
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "finalizers took too long at the end of the state");
}

struct due {
    uint64_t number;
    lua_Integer index; /* in the list of sentinels */
};

static int compare_due(const void *left, const void *right)
{
    const struct due *a = left;
    const struct due *b = right;
    return a->number > b->number ? -1 : a->number < b->number;
}

/* Pushes a list of the sentinels that are left, and a userdata that orders it, latest first. */
static struct due *push_due(lua_State *L, lua_Integer *count)
{
    *count = 0;
    lua_newtable(L);
    int list = lua_gettop(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinels_key);
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        const struct sentinel *sentinel = lua_touserdata(L, -1);
        if (sentinel->armed)
            lua_rawseti(L, list, ++*count);
        else
            lua_pop(L, 1);
    }
    lua_pop(L, 1);
    struct due *due = lua_newuserdatauv(L, (size_t)(*count + 1) * sizeof *due, 0);
    for (lua_Integer i = 0; i < *count; i++) {
        lua_rawgeti(L, list, i + 1);
        due[i].number = ((struct sentinel *)lua_touserdata(L, -1))->number;
        due[i].index = i + 1;
        lua_pop(L, 1);
    }
    qsort(due, (size_t)*count, sizeof *due, compare_due);
    return due;
}

static int close_all(lua_State *L)
{
    struct finalizers *state = state_of(L);
    vm_finalizers_run(L);
    lua_settop(L, 0);
    lua_Integer count;
    const struct due *due = push_due(L, &count);
    state->is_closing = true;
    for (lua_Integer i = 0; i < count && state->budget > 0; i++) {
        lua_rawgeti(L, 1, due[i].index);
        lua_getiuservalue(L, -1, VALUE_OBJECT);
        if (push_finalizer(L) && lua_pcall(L, 1, 0, 0) != LUA_OK)
            warn_error(L);
        lua_settop(L, 2);
    }
    return 0;
}

void vm_finalizers_close(lua_State *L, int instructions_max)
{
    enum { LOOK_EVERY = 100 };
    struct finalizers *state = state_of(L);
    if (state == NULL)
        return;
    struct vm_bounds *bounds = vm_bounds_find(L);
    if (bounds != NULL)
        *bounds = (struct vm_bounds){CLOSING_STEPS_MAX, CLOSING_BYTES_MAX};
    state->budget = instructions_max;
    state->until_us = env_now_us(vm_state_of(L)->env) + VM_FINALIZERS_CLOSE_MAX_US;
    lua_sethook(L, on_count, LUA_MASKCOUNT, LOOK_EVERY);
    lua_pushcfunction(L, close_all);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        lua_pop(L, 1);
    lua_sethook(L, NULL, 0, 0);
    state->is_closing = true;
}
