#include "vm/border.h"

#include <lauxlib.h>
#include <lualib.h>

#include "vm/bounds.h"
#include "vm/budget.h"
#include "vm/stable.h"
#include "vm/stand_in.h"

static bool is_present(lua_State *L, int index, lua_Integer at)
{
    bool is_nil = lua_rawgeti(L, index, at) == LUA_TNIL;
    lua_pop(L, 1);
    return !is_nil;
}

lua_Integer vm_border(lua_State *L, int index)
{
    lua_Integer present = 0;
    lua_Integer absent = 1;
    while (is_present(L, index, absent)) {
        present = absent;
        if (absent > LUA_MAXINTEGER / 2)
            return present;
        absent *= 2;
    }
    while (absent - present > 1) {
        lua_Integer middle = present + (absent - present) / 2;
        if (is_present(L, index, middle))
            present = middle;
        else
            absent = middle;
    }
    return present;
}

/* The border of the table at index, or of that for which it stands. */
static lua_Integer border_of(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    (void)vm_stand_in(L, -1);
    lua_Integer border = vm_border(L, lua_gettop(L));
    lua_pop(L, 1);
    return border;
}

lua_Integer vm_length(lua_State *L, int index)
{
    int type = lua_type(L, index);
    if (type == LUA_TSTRING)
        return (lua_Integer)lua_rawlen(L, index);
    if (luaL_getmetafield(L, index, "__len") != LUA_TNIL) {
        int is_integer;
        lua_pushvalue(L, index);
        lua_call(L, 1, 1);
        lua_Integer length = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer)
            luaL_error(L, "object length is not an integer");
        lua_pop(L, 1);
        return length;
    }
    if (type != LUA_TTABLE)
        return luaL_error(L, "attempt to get length of a %s value", luaL_typename(L, index));
    return border_of(L, index);
}

static int finish_length(lua_State *L, int status, lua_KContext context)
{
    (void)L, (void)status, (void)context;
    return 1;
}

/* __pow of strings: the text said #x, or raised a string to some power. Upvalues: what strings
 * raised to a power mean in stock; the mark of a length. */
static int l_power(lua_State *L)
{
    if (!lua_rawequal(L, 1, lua_upvalueindex(2)))
        return vm_call_kept(L);
    int type = lua_type(L, 2);
    if (type != LUA_TSTRING && luaL_getmetafield(L, 2, "__len") != LUA_TNIL) {
        lua_pushvalue(L, 2); /* as with stock, any value will do */
        lua_callk(L, 1, 1, 0, finish_length);
        return 1;
    }
    lua_pushinteger(L, vm_length(L, 2));
    return 1;
}

static int l_rawlen(lua_State *L)
{
    int type = lua_type(L, 1);
    luaL_argexpected(L, type == LUA_TTABLE || type == LUA_TSTRING, 1, "table or string");
    lua_pushinteger(L, type == LUA_TSTRING ? (lua_Integer)lua_rawlen(L, 1) : border_of(L, 1));
    return 1;
}

/* ---- table ---- */

static lua_Integer check_length(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TTABLE && luaL_getmetafield(L, 1, "__len") == LUA_TNIL)
        luaL_checktype(L, 1, LUA_TTABLE);
    return vm_length(L, 1);
}

static void charge_range(lua_State *L, lua_Integer from, lua_Integer to)
{
    if (to >= from)
        vm_budget_charge(L, (uint64_t)to - (uint64_t)from + 1);
}

static int l_insert(lua_State *L)
{
    lua_Integer end = (lua_Integer)((lua_Unsigned)check_length(L) + 1);
    lua_Integer position = end;
    int count = lua_gettop(L);
    if (count == 3) {
        position = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)position - 1U < (lua_Unsigned)end, 2,
                      "position out of bounds");
        charge_range(L, position, end);
        for (lua_Integer i = end; i > position; i--) {
            lua_geti(L, 1, i - 1);
            lua_seti(L, 1, i);
        }
    } else if (count != 2) {
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_seti(L, 1, position);
    return 0;
}

static int l_remove(lua_State *L)
{
    lua_Integer size = check_length(L);
    bool has_position = !lua_isnone(L, 2);
    lua_Integer position = luaL_optinteger(L, 2, size);
    if (has_position)
        luaL_argcheck(L, (lua_Unsigned)position - 1U <= (lua_Unsigned)size, 2,
                      "position out of bounds");
    charge_range(L, position, size);
    lua_geti(L, 1, position);
    for (; position < size; position++) {
        lua_geti(L, 1, position + 1);
        lua_seti(L, 1, position);
    }
    lua_pushnil(L);
    lua_seti(L, 1, position);
    return 1;
}

/* (t, ?, i, j) with the range's end at the given place: what j stands for is the length. */
static int with_length(lua_State *L, int from_index, int to_index)
{
    lua_Integer from = luaL_optinteger(L, from_index, 1);
    lua_Integer to =
        lua_isnoneornil(L, to_index) ? check_length(L) : luaL_checkinteger(L, to_index);
    lua_settop(L, to_index - 1);
    lua_pushinteger(L, to);
    charge_range(L, from, to);
    return vm_call_kept(L);
}

static int l_concat(lua_State *L)
{
    lua_settop(L, 4);
    return with_length(L, 3, 4);
}

static int l_unpack(lua_State *L)
{
    lua_settop(L, 3);
    return with_length(L, 2, 3);
}

static int l_move(lua_State *L)
{
    charge_range(L, luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
    return vm_call_kept(L);
}

static int l_sort(lua_State *L)
{
    lua_Integer size = check_length(L);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    charge_range(L, 1, size);
    return vm_stable_sort(L, size);
}

void vm_border_open(lua_State *L)
{
    static const luaL_Reg kept[] = {
        {"concat", l_concat}, {"unpack", l_unpack}, {"move", l_move}, {NULL, NULL}};
    static const luaL_Reg own[] = {
        {"insert", l_insert}, {"remove", l_remove}, {"sort", l_sort}, {NULL, NULL}};
    lua_getglobal(L, LUA_TABLIBNAME);
    for (const luaL_Reg *entry = kept; entry->name != NULL; entry++) {
        lua_getfield(L, -1, entry->name);
        lua_pushcclosure(L, entry->func, 1);
        lua_setfield(L, -2, entry->name);
    }
    luaL_setfuncs(L, own, 0);
    lua_pop(L, 1);
    lua_register(L, "rawlen", l_rawlen);
    lua_pushliteral(L, "");
    (void)lua_getmetatable(L, -1);
    lua_getfield(L, -1, "__pow");
    lua_pushlstring(L, "\0#", 2);
    lua_pushcclosure(L, l_power, 2);
    lua_setfield(L, -2, "__pow");
    lua_pushboolean(L, false); /* what getmetatable shows: nobody takes # away */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}
