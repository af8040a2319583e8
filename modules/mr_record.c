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
const char mr_record_kind = 'r';
const char mr_slice_kind = 's';

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
    struct mr_records *pool = lua_newuserdatauv(L, sizeof *pool, BOX_COUNT);
    *pool = (struct mr_records){0};
    for (int i = 0; i < BOX_COUNT; i++) {
        pool->boxes[i] = lua_newuserdatauv(L, sizeof *pool->boxes[i], MR_RECORD_ITERATOR);
        *pool->boxes[i] = (struct mr_record_box){.kind = &mr_record_kind};
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

struct mr_record *mr_records_next(struct mr_records *pool)
{
    mr_records_retire(pool);
    pool->current = pool->current + 1 == BOX_COUNT ? 0 : pool->current + 1;
    return &pool->boxes[pool->current]->record;
}

void mr_records_push(lua_State *L, struct mr_records *pool, int pool_index)
{
    pool->boxes[pool->current]->is_live = true;
    lua_getiuservalue(L, pool_index, pool->current + 1);
}

/* ---- arguments of other modules ---- */

struct mr_record_box *mr_record_box(lua_State *L, int index)
{
    struct mr_record_box *box = lua_touserdata(L, index);
    bool is_record = box != NULL && lua_rawlen(L, index) == sizeof *box;
    return is_record && box->kind == &mr_record_kind ? box : NULL;
}

struct mr_slice_box *mr_slice_box(lua_State *L, int index)
{
    struct mr_slice_box *box = lua_touserdata(L, index);
    bool is_slice = box != NULL && lua_rawlen(L, index) == sizeof *box;
    return is_slice && box->kind == &mr_slice_kind ? box : NULL;
}

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
