#include "mr_record.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "box.h"
#include "mr_text.h"

/* How many userdata take turns. A prime, so that keeping every second, fourth or tenth record is
 * noticed as well. */
enum { BOX_COUNT = 7 };

struct mr_records {
    struct mr_record_box *boxes[BOX_COUNT]; /* user values 1 to BOX_COUNT */
    int current;
};

/* Their addresses are the registry keys of the metatables. */
static const char record_key = 'r';
static const char slice_key = 's';

int mr_stale_error(lua_State *L, const char *what)
{
    return luaL_error(L, "stale %s (keep rec:str() instead)", what);
}

static int l_no_method(lua_State *L)
{
    const char *name = luaL_tolstring(L, 2, NULL);
    return luaL_error(L, "records have no method '%s' (strings have: rec:str():%s)", name, name);
}

/* ---- the types ---- */

static void push_type(lua_State *L, const char *name, const void *key)
{
    lua_createtable(L, 0, 5);
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
    lua_newtable(L);
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
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &record_key) == LUA_TTABLE) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &slice_key);
        return;
    }
    lua_pop(L, 1);
    push_type(L, "perilune.record", &record_key);
    push_type(L, "perilune.slice", &slice_key);
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
    struct mr_records *pool = lua_newuserdatauv(L, sizeof *pool, BOX_COUNT);
    *pool = (struct mr_records){0};
    for (int i = 0; i < BOX_COUNT; i++) {
        pool->boxes[i] = lua_newuserdatauv(L, sizeof *pool->boxes[i], MR_RECORD_ITERATOR);
        *pool->boxes[i] = (struct mr_record_box){0};
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

void mr_records_retire(struct mr_records *pool)
{
    struct mr_record_box *box = pool->boxes[pool->current];
    box->is_live = false;
    box->generation++;
}

void mr_records_push(lua_State *L, int pool_index, const struct mr_record *record)
{
    struct mr_records *pool = mr_records_at(L, pool_index);
    mr_records_retire(pool);
    pool->current = pool->current + 1 == BOX_COUNT ? 0 : pool->current + 1;
    struct mr_record_box *box = pool->boxes[pool->current];
    box->record = *record;
    box->is_live = true;
    lua_getiuservalue(L, pool_index, pool->current + 1);
}

/* ---- arguments of other modules ---- */

static bool is_of_type(lua_State *L, int index, const char *key)
{
    if (!lua_getmetatable(L, index))
        return false;
    const void *type = lua_topointer(L, -1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    bool is_same = type == lua_topointer(L, -1);
    lua_pop(L, 2);
    return is_same;
}

bool mr_record_slice(lua_State *L, int index, struct peri_slice *out)
{
    if (lua_type(L, index) != LUA_TUSERDATA)
        return false;
    if (is_of_type(L, index, &record_key)) {
        const struct mr_record_box *box = lua_touserdata(L, index);
        if (!box->is_live)
            mr_stale_error(L, "record");
        *out = box->record.data;
        return true;
    }
    if (is_of_type(L, index, &slice_key)) {
        const struct mr_slice_box *slice = lua_touserdata(L, index);
        if (slice->box != NULL && slice->box->generation != slice->generation)
            mr_stale_error(L, "slice");
        *out = slice->bytes;
        return true;
    }
    return false;
}
