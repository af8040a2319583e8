#include "mr_record.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "box.h"
#include "mr_text.h"

/* Their addresses are the registry keys of the metatables. */
const char mr_record_kind = 'r';
const char mr_slice_kind = 's';

int mr_stale_error(lua_State *L, const char *what)
{
    return luaL_error(L, "stale %s (keep rec:str() instead)", what);
}

static bool strings_have(lua_State *L, const char *name)
{
    lua_pushliteral(L, "");
    bool has =
        luaL_getmetafield(L, -1, "__index") == LUA_TTABLE && lua_getfield(L, -1, name) != LUA_TNIL;
    lua_settop(L, 3);
    return has;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Pushes the names in the table at index 1: "bytes field fields ...". */
static const char *push_names(lua_State *L)
{
    enum { NAMES_MAX = 64 };
    const char *names[NAMES_MAX]; /* strings of the table */
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1))
        if (count < NAMES_MAX)
            names[count++] = lua_tostring(L, -2);
    qsort(names, count, sizeof *names, compare_names);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (size_t i = 0; i < count; i++) {
        luaL_addstring(&text, i > 0 ? " " : "");
        luaL_addstring(&text, names[i]);
    }
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

/* (methods, name): the answer for what records and slices do not have. */
static int l_no_method(lua_State *L)
{
    const char *name = luaL_tolstring(L, 2, NULL);
    if (strings_have(L, name))
        return luaL_error(L, "records have no method '%s', strings have: rec:str():%s", name, name);
    return luaL_error(L, "records have no method '%s'; they have %s", name, push_names(L));
}

/* ---- the types ---- */

/* Twice the room that their fields need: every call of a method looks it up in both tables, and a
 * table that is half empty has it at the first place nearly always. */
enum { TYPE_ROOM = 16, METHODS_ROOM = 64 };

static void push_type(lua_State *L, const char *name, const void *key)
{
    lua_createtable(L, 0, TYPE_ROOM);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable"); /* jobs cannot reach in */
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* Gives the metatable at `type` its methods: (-> ). */
static void set_methods(lua_State *L, int type, int record_type, int slice_type, int classes)
{
    lua_createtable(L, 0, METHODS_ROOM);
    lua_pushvalue(L, record_type);
    lua_pushvalue(L, slice_type);
    lua_pushvalue(L, classes);
    mr_text_set_methods(L);
    lua_getfield(L, -1, "len");
    lua_setfield(L, type, "__len");
    lua_getfield(L, -1, "str");
    lua_setfield(L, type, "__tostring");
    box_set_missing(L, l_no_method);
    lua_setfield(L, type, "__index");
}

void mr_record_push_types(lua_State *L)
{
    luaL_checkstack(L, 12, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &mr_record_kind) == LUA_TTABLE) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &mr_slice_kind);
        return;
    }
    lua_pop(L, 1);
    push_type(L, "perilune.record", &mr_record_kind);
    push_type(L, "perilune.slice", &mr_slice_kind);
    int slice_type = lua_gettop(L);
    lua_newtable(L);
    set_methods(L, slice_type - 1, slice_type - 1, slice_type, slice_type + 1);
    set_methods(L, slice_type, slice_type - 1, slice_type, slice_type + 1);
    lua_pop(L, 1);
}

/* ---- the pool ---- */

void mr_records_create(lua_State *L)
{
    mr_record_push_types(L);
    lua_pop(L, 1);
    struct mr_records *pool = lua_newuserdatauv(L, sizeof *pool, MR_RECORDS_COUNT);
    *pool = (struct mr_records){0};
    for (int i = 0; i < MR_RECORDS_COUNT; i++) {
        pool->boxes[i] = lua_newuserdatauv(L, sizeof *pool->boxes[i], MR_RECORD_ITERATOR);
        *pool->boxes[i] = (struct mr_record_box){.kind = &mr_record_kind, .pool = pool};
        lua_pushvalue(L, -3);
        lua_setmetatable(L, -2);
        lua_setiuservalue(L, -2, i + 1);
    }
    lua_remove(L, -2);
}

struct mr_records *mr_records_at(lua_State *L, int index)
{
    struct mr_records *pool = lua_touserdata(L, index);
    PERI_ASSERT(pool != NULL);
    return pool;
}

/* ---- arguments of other modules ---- */

bool mr_record_slice(lua_State *L, int index, struct peri_slice *out)
{
    const struct mr_record_box *box = mr_record_box(L, index);
    const struct mr_slice_box *slice = box == NULL ? mr_slice_box(L, index) : NULL;
    if (box != NULL) {
        if (!box->is_live)
            mr_stale_error(L, "record");
        *out = box->record.data;
    } else if (slice != NULL) {
        if (slice->box != NULL && slice->box->generation != slice->generation)
            mr_stale_error(L, "slice");
        *out = slice->bytes;
    }
    return box != NULL || slice != NULL;
}
