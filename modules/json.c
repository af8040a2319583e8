/* perilune.core.json: JSON; lua/perilune/json.lua stands in front. */
#include "wire/json.h"

#include "box.h"

/* encode(value, pretty, name, lossy) */
static int l_encode(lua_State *L)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checkany(L, 1);
    struct wire_json_options options = {.is_pretty = lua_toboolean(L, 2),
                                        .name = luaL_optstring(L, 3, NULL),
                                        .is_lossy = lua_toboolean(L, 4)};
    if (wire_json_encode(L, 1, &options, &out, &err) != 0) {
        peri_buffer_deinit(&out);
        return box_error(L, &err);
    }
    return box_take_buffer(L, &out);
}

static int l_decode(lua_State *L)
{
    struct peri_slice text;
    struct peri_error err = PERI_ERROR_INIT;
    text.data = luaL_checklstring(L, 1, &text.size);
    return wire_json_decode(L, text, &err) == 0 ? 1 : box_error(L, &err);
}

/* Marks a table as an array, and returns it. */
static int l_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_setmetatable(L, WIRE_JSON_ARRAY);
    return 1;
}

int luaopen_perilune_json(lua_State *L);

int luaopen_perilune_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", l_encode}, {"decode", l_decode}, {"array", l_array}, {NULL, NULL}};
    (void)luaL_newmetatable(L, WIRE_JSON_ARRAY);
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
