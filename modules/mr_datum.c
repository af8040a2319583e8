#include "mr_datum.h"

#include <lauxlib.h>
#include <string.h>

#include "mr_record.h"
#include "wire/codec.h"

enum { PACKED_MAX = 1 << 26 }; /* bytes of one table */

static bool read_scalar(lua_State *L, int index, struct mr_datum *out)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TNONE:
        out->type = MR_NIL;
        return true;
    case LUA_TBOOLEAN:
        out->type = lua_toboolean(L, index) ? MR_TRUE : MR_FALSE;
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            out->type = MR_INTEGER;
            out->integer = lua_tointeger(L, index);
        } else {
            out->type = MR_FLOAT;
            out->number = lua_tonumber(L, index);
        }
        return true;
    case LUA_TSTRING:
        out->type = MR_STRING;
        out->string.data = lua_tolstring(L, index, &out->string.size);
        return true;
    case LUA_TUSERDATA:
        out->type = MR_STRING;
        return mr_record_slice(L, index, &out->string);
    default:
        return false;
    }
}

void mr_datum_read(lua_State *L, int index, const char *what, struct mr_datum *out)
{
    if (!read_scalar(L, index, out) || out->type == MR_NIL)
        (void)luaL_error(L, "%s must be a string, number, boolean or a part of the record, not %s",
                         what, luaL_typename(L, index));
}

void mr_datum_read_value(lua_State *L, int index, struct peri_buffer *scratch, struct mr_datum *out)
{
    if (read_scalar(L, index, out))
        return;
    if (lua_type(L, index) != LUA_TTABLE)
        (void)luaL_error(L, "the value must be data, not a %s", luaL_typename(L, index));
    struct peri_error err = PERI_ERROR_INIT;
    scratch->size = 0;
    if (wire_encode(L, index, "value", PACKED_MAX, scratch, &err) != 0)
        (void)luaL_error(L, "the value cannot be emitted: %s", err.text);
    out->type = MR_TABLE;
    out->string = peri_buffer_slice(scratch);
}

int mr_datum_push(lua_State *L, const struct mr_datum *datum, struct peri_error *err)
{
    size_t used;
    switch (datum->type) {
    case MR_NIL:
        lua_pushnil(L);
        return 0;
    case MR_FALSE:
    case MR_TRUE:
        lua_pushboolean(L, datum->type == MR_TRUE);
        return 0;
    case MR_INTEGER:
        lua_pushinteger(L, datum->integer);
        return 0;
    case MR_FLOAT:
        lua_pushnumber(L, datum->number);
        return 0;
    case MR_STRING:
        lua_pushlstring(L, datum->string.data, datum->string.size);
        return 0;
    case MR_TABLE:
        return wire_decode(L, datum->string, &used, err);
    }
    return peri_fail(err, PERI_EFORMAT, "type %d", (int)datum->type);
}
