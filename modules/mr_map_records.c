/* mr_map_records.c - the records of a job's first step, one map call each; a bad one may be skipped
 * into the quarantine. */
#include <lauxlib.h>
#include <string.h>

#include "base/assert.h"
#include "mapreduce/typed.h"
#include "mr_map.h"

static void stand_at(struct mr_task *task, uint64_t offset)
{
    task->where.offset = offset;
    task->where.has_offset = true;
}

/* Skips the record into the quarantine when that is allowed, else fails the attempt. */
static int bad_record(struct mr_map *map, const struct mr_record *record,
                      const struct peri_error *err)
{
    struct mr_task *task = map->task;
    struct mr_where *where = &task->where;
    stand_at(task, record->offset);
    if (task->skipped < map->skip_max && mr_task_is_user_error(err->code)) {
        struct peri_error failed = PERI_ERROR_INIT;
        task->skipped++;
        if (mr_out_quarantine(map->out, where, record->data, err->text, &failed) != 0)
            return mr_task_fail(task, &failed);
        return 0;
    }
    where->has_record = true;
    where->record_full = record->data.size;
    where->record_size =
        where->record_full < sizeof where->record ? where->record_full : sizeof where->record;
    if (where->record_size > 0)
        memcpy(where->record, record->data.data, where->record_size);
    return mr_task_fail(task, err);
}

/* The reader has given rc instead of a record: skips bad ones up to the next. 1 with *record set, 0
 * at the end, or the attempt has failed. */
static int behind_bad_ones(struct mr_map *map, struct mr_record *record, int rc)
{
    while (rc < 0) {
        if (!mr_reader_can_skip(map->reader)) {
            stand_at(map->task, record->offset);
            return mr_task_fail(map->task, &map->err);
        }
        rc = bad_record(map, record, &map->err);
        if (rc != 0)
            return rc;
        rc = mr_reader_next(map->reader, record, &map->err);
    }
    return rc;
}

/* Reads the next record into *record: 1, 0 at the end, or the attempt has failed. */
static inline int next_record(struct mr_map *map, struct mr_record *record)
{
    int rc = mr_reader_next(map->reader, record, &map->err);
    return rc == 1 ? rc : behind_bad_ones(map, record, rc);
}

static int commit_record(struct mr_map *map, lua_State *L)
{
    int rc = mr_out_commit(map->out, L, &map->err);
    if (rc != 0)
        stand_at(map->task, map->record->offset);
    return rc == 0 ? 0 : mr_task_fail(map->task, &map->err);
}

static int map_record(struct mr_map *map, lua_State *L, struct mr_records *pool)
{
    bool is_holding = map->skip_max > 0;
    if (map->emit != NULL)
        mr_emit_at(map->emit, map->file, map->record->offset);
    if (is_holding)
        mr_out_begin(map->out);
    lua_pushvalue(L, MR_MAP_FUNCTION);
    mr_records_push(L, pool, MR_MAP_POOL);
    lua_pushvalue(L, MR_MAP_OUT);
    if (map->wants_context)
        lua_pushvalue(L, MR_MAP_CONTEXT);
    map->is_calling = true;
    lua_call(L, map->wants_context ? 3 : 2, 0);
    map->is_calling = false;
    if (map->task->failure.code != 0) { /* which map has caught */
        stand_at(map->task, map->record->offset);
        return map->task->failure.code;
    }
    return is_holding ? commit_record(map, L) : 0;
}

static inline void breathe(struct mr_map *map)
{
    if (mr_task_breathe(map->task))
        mr_task_report(map->task, mr_map_share(mr_reader_consumed(map->reader), map->length));
}

/* Calls map for record after record, until it raises. */
static int map_until_raised(lua_State *L)
{
    struct mr_map *map = lua_touserdata(L, 1);
    struct mr_records *pool = mr_records_at(L, MR_MAP_POOL);
    /* Only samples become full, and what is sampled is not emitted. */
    while (map->emit != NULL || !mr_out_is_full(map->out)) {
        map->record = mr_records_next(pool);
        if (next_record(map, map->record) != 1 || map_record(map, L, pool) != 0)
            break;
        breathe(map);
    }
    return 0;
}

/* Map has raised for the record under way. */
static int raised(struct mr_map *map, lua_State *L, int status)
{
    map->is_calling = false;
    mr_out_abandon(map->out);
    if (map->task->failure.code != 0) {
        stand_at(map->task, map->record->offset);
        return map->task->failure.code;
    }
    (void)mr_task_caught(map->task, L, status, &map->err);
    return bad_record(map, map->record, &map->err);
}

/* Whether map looks at more than two arguments. */
static bool wants_context(lua_State *L)
{
    lua_Debug info;
    PERI_ASSERT(lua_isfunction(L, MR_MAP_FUNCTION)); /* first steps have a map: job.lua */
    lua_pushvalue(L, MR_MAP_FUNCTION);
    lua_getinfo(L, ">u", &info);
    return info.nparams > 2 || info.isvararg;
}

/* Good records share one lua_pcall: entering one for each would cost as much as an empty map. */
void mr_map_records(struct mr_map *map, lua_State *L)
{
    mr_records_create(L);
    PERI_ASSERT(lua_gettop(L) == MR_MAP_POOL);
    map->wants_context = wants_context(L);
    for (;;) {
        lua_pushcfunction(L, map_until_raised);
        for (int slot = 1; slot <= MR_MAP_POOL; slot++)
            lua_pushvalue(L, slot);
        int status = lua_pcall(L, MR_MAP_POOL, 0, MR_MAP_HANDLER);
        if (status != LUA_OK && !map->is_calling)
            (void)lua_error(L); /* no record's doing */
        if (status == LUA_OK || raised(map, L, status) != 0)
            break;
        breathe(map);
    }
    mr_records_retire(mr_records_at(L, MR_MAP_POOL));
}

/* ---- pairs that another engine carried here as text (perilune stream) ---- */

void mr_map_lines(struct mr_map *map)
{
    struct mr_record record = {.offset = 0};
    struct peri_buffer *text = &map->text;
    struct peri_error err = PERI_ERROR_INIT;
    while (next_record(map, &record) == 1) {
        int rc = mr_typed_line(record.data, &map->key, &map->value, text, &err);
        mr_emit_at(map->emit, map->file, record.offset);
        if (rc == 0)
            rc = mr_out_put(map->out, peri_buffer_slice(&map->key), peri_buffer_slice(&map->value),
                            &err);
        if (rc != 0) {
            (void)bad_record(map, &record, &err);
            return;
        }
        (void)mr_task_breathe(map->task);
    }
}
