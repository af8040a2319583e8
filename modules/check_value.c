/* check_value.c - the values of histories, to and from Lua. */
#include "check_box.h"
#include "wire/json.h"

enum { DEPTH_MAX = 64, SLOTS = 6 };

static void push_item(lua_State *L, const struct check_values *values, check_value value)
{
    if (value == CHECK_NIL)
        lua_pushlightuserdata(L, NULL);
    else
        check_push_value(L, values, value);
}

static void push_items(lua_State *L, const struct check_values *values, check_value value)
{
    size_t count;
    const check_value *items = check_value_items(values, value, &count);
    bool is_map = check_value_kind(values, value) == CHECK_KIND_MAP;
    luaL_checkstack(L, SLOTS, NULL);
    lua_createtable(L, is_map ? 0 : (int)count, is_map ? (int)count / 2 : 0);
    if (!is_map)
        luaL_setmetatable(L, WIRE_JSON_ARRAY);
    for (size_t i = 0; i < count; i++) {
        push_item(L, values, items[i]);
        if (is_map) {
            push_item(L, values, items[++i]);
            lua_rawset(L, -3);
        } else {
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
    }
}

void check_push_value(lua_State *L, const struct check_values *values, check_value value)
{
    struct peri_slice bytes;
    switch (check_value_kind(values, value)) {
    case CHECK_KIND_NIL:
        lua_pushnil(L);
        break;
    case CHECK_KIND_BOOLEAN:
        lua_pushboolean(L, check_value_to_boolean(values, value));
        break;
    case CHECK_KIND_INTEGER:
        lua_pushinteger(L, check_value_to_integer(values, value));
        break;
    case CHECK_KIND_REAL:
        lua_pushnumber(L, check_value_to_real(values, value));
        break;
    case CHECK_KIND_STRING:
        bytes = check_value_to_string(values, value);
        lua_pushlstring(L, bytes.data, bytes.size);
        break;
    case CHECK_KIND_LIST:
    case CHECK_KIND_MAP:
        push_items(L, values, value);
        break;
    }
}

static check_value keep(lua_State *L, int rc, check_value value)
{
    if (rc != 0)
        luaL_error(L, "history: %s", peri_strerror(rc));
    return value;
}

static check_value read_at_depth(lua_State *L, struct check_values *values, int index, int depth);

static check_value read_list(lua_State *L, struct check_values *values, int index, int depth)
{
    size_t count = (size_t)lua_rawlen(L, index);
    check_value *items = lua_newuserdatauv(L, (count + 1) * sizeof *items, 0), list;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        items[i] = read_at_depth(L, values, lua_gettop(L), depth + 1);
        lua_pop(L, 1);
    }
    int rc = check_value_list(values, CHECK_KIND_LIST, items, count, &list);
    lua_pop(L, 1);
    return keep(L, rc, list);
}

static check_value read_map(lua_State *L, struct check_values *values, int index, int depth)
{
    size_t count = 0, at = 0;
    check_value map;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    check_value *items = lua_newuserdatauv(L, (2 * count + 1) * sizeof *items, 0);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        items[at++] = read_at_depth(L, values, lua_gettop(L) - 1, depth + 1);
        items[at++] = read_at_depth(L, values, lua_gettop(L), depth + 1);
    }
    int rc = check_value_list(values, CHECK_KIND_MAP, items, 2 * count, &map);
    lua_pop(L, 1);
    return keep(L, rc, map);
}

static bool is_list(lua_State *L, int index)
{
    bool has_first = lua_rawgeti(L, index, 1) != LUA_TNIL;
    lua_pop(L, 1);
    if (has_first)
        return true;
    lua_pushnil(L);
    bool is_empty = lua_next(L, index) == 0;
    if (!is_empty)
        lua_pop(L, 2);
    return is_empty;
}

static check_value read_number(lua_State *L, struct check_values *values, int index)
{
    check_value number;
    int rc = lua_isinteger(L, index) ? check_value_integer(values, lua_tointeger(L, index), &number)
                                     : check_value_real(values, lua_tonumber(L, index), &number);
    return keep(L, rc, number);
}

static check_value read_at_depth(lua_State *L, struct check_values *values, int index, int depth)
{
    check_value value = CHECK_NIL;
    struct peri_slice bytes;
    int rc;
    luaL_checkstack(L, SLOTS, NULL);
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return CHECK_NIL;
    case LUA_TBOOLEAN:
        rc = check_value_boolean(values, lua_toboolean(L, index), &value);
        return keep(L, rc, value);
    case LUA_TNUMBER:
        return read_number(L, values, index);
    case LUA_TSTRING:
        bytes.data = lua_tolstring(L, index, &bytes.size);
        rc = check_value_string(values, bytes, &value);
        return keep(L, rc, value);
    case LUA_TTABLE:
        if (depth == DEPTH_MAX)
            luaL_error(L, "history: a value has more than %d levels of tables", DEPTH_MAX);
        return is_list(L, index) ? read_list(L, values, index, depth)
                                 : read_map(L, values, index, depth);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL)
            return CHECK_NIL;
        break;
    default:
        break;
    }
    luaL_error(L, "history: a value cannot be a %s", luaL_typename(L, index));
    return CHECK_NIL;
}

check_value check_read_value(lua_State *L, struct check_values *values, int index)
{
    return read_at_depth(L, values, lua_absindex(L, index), 0);
}
