#include "vm/machine_freeze.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "vm/stand_in.h"

/* A walk over what is reachable; indexes are of the stack. */
struct walk {
    int seen;      /* table: object -> true */
    int queue;     /* list of objects to look at */
    int variables; /* list: function, number, value, name, ... */
    lua_Integer queued, count;
    lua_CFunction refuse; /* what assigning to the first of them does */
};

enum { VARIABLE_SLOTS = 4, SLOTS = 8 };

static int l_refuse_global(lua_State *L)
{
    return luaL_error(L,
                      "'%s' is no local variable: a machine has no globals; say local, and keep "
                      "what changes in the state",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int l_refuse(lua_State *L)
{
    return luaL_error(L,
                      "field '%s' of a table outside of the state cannot change: what changes "
                      "belongs into the state",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

/* The value on top is popped, and looked at later when it has insides. */
static void enqueue(lua_State *L, struct walk *walk)
{
    int type = lua_type(L, -1);
    if (type == LUA_TTHREAD)
        luaL_error(L, "the machine's file keeps a coroutine: none outlives a call");
    lua_pushvalue(L, -1);
    bool is_new = (type == LUA_TTABLE || (type == LUA_TFUNCTION && !lua_iscfunction(L, -1))) &&
                  lua_rawget(L, walk->seen) == LUA_TNIL;
    lua_settop(L, lua_gettop(L) - 1);
    if (is_new) {
        lua_pushvalue(L, -1);
        lua_pushboolean(L, true);
        lua_rawset(L, walk->seen);
        lua_pushvalue(L, -1);
        lua_rawseti(L, walk->queue, ++walk->queued);
    }
    lua_pop(L, 1);
}

static bool is_metamethod(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING && strncmp(lua_tostring(L, index), "__", 2) == 0;
}

/* Moves the fields of the table into the one at index real. */
static void move_fields(lua_State *L, struct walk *walk, int table, int real)
{
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pushvalue(L, -2);
        enqueue(L, walk);
        lua_pushvalue(L, -1);
        enqueue(L, walk);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, real);
        if (!is_metamethod(L, -1)) {
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, table);
        }
    }
}

/* Fills the new metatable with what the old one, if any, makes of the table. */
static void inherit(lua_State *L, struct walk *walk, int table, int real, int metatable)
{
    if (!lua_getmetatable(L, table))
        return;
    int old = lua_gettop(L);
    lua_pushvalue(L, old);
    enqueue(L, walk);
    lua_pushnil(L);
    while (lua_next(L, old) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, metatable);
    }
    lua_pushliteral(L, "__index");
    if (lua_rawget(L, old) != LUA_TNIL) {
        lua_createtable(L, 0, 1);
        lua_insert(L, -2);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, real);
    }
    lua_settop(L, old - 1);
}

static void freeze_table(lua_State *L, struct walk *walk, int table)
{
    lua_pushvalue(L, table);
    bool is_frozen = vm_stand_in(L, -1);
    lua_pop(L, 1);
    if (is_frozen)
        return;
    lua_newtable(L);
    int real = lua_gettop(L);
    move_fields(L, walk, table, real);
    lua_createtable(L, 0, 3);
    int metatable = lua_gettop(L);
    inherit(L, walk, table, real, metatable);
    lua_pushvalue(L, real);
    lua_setfield(L, metatable, "__index");
    lua_pushcfunction(L, walk->refuse);
    walk->refuse = l_refuse;
    lua_setfield(L, metatable, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, metatable, "__metatable");
    lua_setmetatable(L, table);
    lua_rawsetp(L, table, &vm_stand_in_key);
}

/* Notes the variables of the function that no other function has shown before. */
static void watch_function(lua_State *L, struct walk *walk, int function)
{
    const char *name;
    for (int n = 1; (name = lua_getupvalue(L, function, n)) != NULL; n++) {
        if (strcmp(name, "_ENV") == 0) {
            lua_pop(L, 1);
            continue;
        }
        if (lua_rawgetp(L, walk->seen, lua_upvalueid(L, function, n)) == LUA_TNIL) {
            lua_pushboolean(L, true);
            lua_rawsetp(L, walk->seen, lua_upvalueid(L, function, n));
            lua_pushvalue(L, function);
            lua_rawseti(L, walk->variables, ++walk->count);
            lua_pushinteger(L, n);
            lua_rawseti(L, walk->variables, ++walk->count);
            lua_pushvalue(L, -2);
            lua_rawseti(L, walk->variables, ++walk->count);
            lua_pushstring(L, name);
            lua_rawseti(L, walk->variables, ++walk->count);
        }
        lua_pop(L, 1);
        enqueue(L, walk);
    }
}

/* Freezes what is reached from the value on top, which is popped; pushes the list of variables. */
static void freeze(lua_State *L, lua_CFunction refuse)
{
    struct walk walk = {.refuse = refuse};
    int top = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_newtable(L);
    walk.seen = lua_gettop(L);
    lua_newtable(L);
    walk.queue = lua_gettop(L);
    lua_newtable(L);
    walk.variables = lua_gettop(L);
    lua_pushvalue(L, top);
    enqueue(L, &walk);
    for (lua_Integer at = 1; at <= walk.queued; at++) {
        int object = lua_gettop(L) + 1;
        if (lua_rawgeti(L, walk.queue, at) == LUA_TTABLE)
            freeze_table(L, &walk, object);
        else
            watch_function(L, &walk, object);
        lua_settop(L, object - 1);
    }
    lua_replace(L, top);
    lua_settop(L, top);
}

void vm_freeze_globals(lua_State *L)
{
    lua_pushglobaltable(L);
    freeze(L, l_refuse_global);
    lua_pop(L, 1);
}

void vm_freeze(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    freeze(L, l_refuse);
}

const char *vm_freeze_restore(lua_State *L, int index)
{
    const char *changed = NULL;
    lua_Integer count = (lua_Integer)lua_rawlen(L, index);
    for (lua_Integer at = 1; at <= count; at += VARIABLE_SLOTS) {
        (void)lua_rawgeti(L, index, at);
        (void)lua_rawgeti(L, index, at + 1);
        int n = (int)lua_tointeger(L, -1);
        (void)lua_rawgeti(L, index, at + 2);
        (void)lua_getupvalue(L, -3, n);
        if (!lua_rawequal(L, -1, -2)) {
            lua_pushvalue(L, -2);
            (void)lua_setupvalue(L, -5, n);
            (void)lua_rawgeti(L, index, at + 3);
            changed = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
        lua_pop(L, 4);
    }
    return changed;
}
