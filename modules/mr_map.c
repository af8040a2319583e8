/* mr_map.c - a map attempt: records in; a sorted spill, an output file or a sample of keys out.
 *
 * The first step of a job reads records of an input, as map(rec, out, job). A later step reads the
 * typed pairs of a spill file that the step before it wrote, as map(key, value, out, job); without
 * a map they pass through unseen by Lua. Typed lines on standard input are pairs as well, for a
 * reduce under another engine. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "mapreduce/reader.h"
#include "mapreduce/typed.h"
#include "mr_combine.h"
#include "mr_datum.h"
#include "mr_job.h"
#include "mr_out.h"
#include "mr_record.h"
#include "mr_task.h"

struct map {
    struct mr_task *task;
    struct mr_reader *reader;     /* of the first step */
    struct mr_spill_file *source; /* of a later step */
    struct mr_spill_reader *pairs;
    struct mr_emit *emit;
    struct mr_out *out;
    struct mr_combiner combiner;
    struct peri_slice *bounds;
    struct peri_buffer text, key, value; /* scratch: an unescaped key part; a pair of a line */
    struct peri_error err;               /* scratch: of the record under way */
    struct mr_record *record;            /* under way, lent by the pool */
    bool is_calling;                     /* map, for that record */
    int function;                        /* registry references */
    int partition;
    uint64_t file, length, total, skip_max;
    size_t emit_bytes;
};

/* ---- sinks ---- */

/* The boundary keys of the description; lent by the host. */
static int read_bounds(struct map *map, struct mr_partitioner *partitioner, struct peri_error *err)
{
    lua_State *H = map->task->host;
    if (lua_getfield(H, MR_HOST_SPEC, "bounds") == LUA_TTABLE) {
        size_t count = lua_rawlen(H, -1);
        map->bounds = calloc(count + 1, sizeof *map->bounds);
        if (map->bounds == NULL) {
            lua_pop(H, 1);
            return peri_fail(err, PERI_ENOMEM, "%zu boundary keys", count);
        }
        for (size_t i = 0; i < count; i++) {
            lua_geti(H, -1, (lua_Integer)i + 1);
            map->bounds[i].data = lua_tolstring(H, -1, &map->bounds[i].size);
            lua_pop(H, 1); /* stays alive in the list */
        }
        partitioner->bounds = map->bounds;
        partitioner->bounds_count = count;
    }
    lua_pop(H, 1);
    return 0;
}

static enum mr_partition_mode partition_mode(const char *name)
{
    if (strcmp(name, "range") == 0)
        return MR_PARTITION_RANGE;
    return strcmp(name, "fnv1a") == 0 ? MR_PARTITION_FNV1A : MR_PARTITION_HASH;
}

static int open_emit(struct map *map, const char *path, struct peri_error *err)
{
    struct mr_task *task = map->task;
    uint32_t partitions = (uint32_t)mr_spec_integer(task, "partitions", 1);
    struct mr_emit_options options = {
        .partitioner = {.mode = partition_mode(mr_spec_string(task, "partition", "hash")),
                        .partitions = partitions},
        .memory_bytes = map->emit_bytes,
        .path = path,
        .lz4 = mr_spec_boolean(task, "lz4"),
    };
    int rc = mr_spec_reducer(task, "combine", &options.reducer, err);
    if (rc == 0)
        rc = read_bounds(map, &options.partitioner, err);
    if (rc != 0)
        return rc;
    if (mr_combiner_open(&map->combiner, task, err)) {
        options.combine = mr_combiner_group;
        options.combine_data = &map->combiner;
    }
    rc = err->code != 0 ? err->code : mr_emit_create(&map->emit, task->env, &options, err);
    if (rc == 0)
        mr_out_to_emit(map->out, map->emit, map->partition, partitions);
    return rc;
}

/* While records may be skipped, a quarter of the memory holds back what one of them puts out. */
static int divide_memory(struct map *map, bool has_records, struct peri_error *err)
{
    struct mr_task *task = map->task;
    map->emit_bytes = (size_t)mr_spec_integer(task, "emit_bytes", MR_EMIT_MEMORY_MIN);
    map->skip_max = mr_spec_integer(task, "skip_max", 0);
    if (!has_records || map->skip_max == 0)
        return 0;
    size_t held = map->emit_bytes / 4;
    map->emit_bytes -= held;
    return mr_out_hold_records(map->out, held, err);
}

static int open_sink(struct map *map, struct peri_error *err)
{
    struct mr_task *task = map->task;
    const char *path;
    if ((path = mr_spec_string(task, "spill", NULL)) != NULL)
        return open_emit(map, path, err);
    if ((path = mr_spec_string(task, "pairs", NULL)) != NULL)
        return mr_out_to_spill(map->out, path, err);
    if ((path = mr_spec_string(task, "part", NULL)) != NULL)
        return mr_out_to_file(map->out, path, mr_spec_string(task, "format", "text"), err);
    mr_out_to_sample(map->out, mr_spec_integer(task, "sample", 0));
    return 0;
}

/* ---- sources ---- */

static int open_input(struct map *map, struct peri_error *err)
{
    struct mr_task *task = map->task;
    struct mr_split split = {
        .path = mr_spec_string(task, "input", ""),
        .offset = mr_spec_integer(task, "offset", 0),
        .length = mr_spec_integer(task, "length", MR_SPLIT_TO_END),
        .step = mr_spec_integer(task, "step", 0),
    };
    struct mr_reader_options options = {
        .record_max_bytes = (size_t)mr_spec_integer(task, "record_max_bytes", 0),
        .csv_separator = mr_spec_string(task, "separator", ",")[0],
        .csv_header = mr_spec_boolean(task, "header"),
    };
    map->length = split.length;
    map->file = mr_spec_integer(task, "file", 0);
    task->where.file = split.path;
    int rc = mr_format_parse(mr_spec_string(task, "input_format", "lines"), &options.format, err);
    return rc != 0 ? rc : mr_reader_open(&map->reader, task->env, &split, &options, err);
}

static int open_source(struct map *map, const char *path, struct peri_error *err)
{
    map->file = mr_spec_integer(map->task, "task", 0);
    int rc = mr_spill_file_open(&map->source, map->task->env, path, err);
    if (rc == 0)
        rc = mr_spill_reader_open(&map->pairs, map->source, 0, err);
    if (rc == 0)
        map->total = mr_spill_file_part(map->source, 0)->sum.records;
    return rc;
}

/* ---- records of the first step ---- */

enum { SLOT_HANDLER = 2, SLOT_OUT, SLOT_CONTEXT, SLOT_MAP, SLOT_POOL };

static double share(uint64_t done, uint64_t total)
{
    return total == 0 || total == MR_SPLIT_TO_END ? 0.0 : (double)done / (double)total;
}

static void stand_at(struct mr_task *task, uint64_t offset)
{
    task->where.offset = offset;
    task->where.has_offset = true;
}

/* Skips the record into the quarantine when that is allowed, else fails the attempt. */
static int bad_record(struct map *map, const struct mr_record *record, const struct peri_error *err)
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

/* Reads the next record into *record: 1, 0 at the end, or the attempt has failed. */
static int next_record(struct map *map, struct mr_record *record)
{
    for (;;) {
        int rc = mr_reader_next(map->reader, record, &map->err);
        if (rc >= 0)
            return rc;
        if (!mr_reader_can_skip(map->reader)) {
            stand_at(map->task, record->offset);
            return mr_task_fail(map->task, &map->err);
        }
        rc = bad_record(map, record, &map->err);
        if (rc != 0)
            return rc;
    }
}

static int commit_record(struct map *map, lua_State *L)
{
    int rc = mr_out_commit(map->out, L, &map->err);
    if (rc != 0)
        stand_at(map->task, map->record->offset);
    return rc == 0 ? 0 : mr_task_fail(map->task, &map->err);
}

static int map_record(struct map *map, lua_State *L, struct mr_records *pool)
{
    bool is_holding = map->skip_max > 0;
    if (map->emit != NULL)
        mr_emit_at(map->emit, map->file, map->record->offset);
    if (is_holding)
        mr_out_begin(map->out);
    lua_pushvalue(L, SLOT_MAP);
    mr_records_push(L, pool, SLOT_POOL);
    lua_pushvalue(L, SLOT_OUT);
    lua_pushvalue(L, SLOT_CONTEXT);
    map->is_calling = true;
    lua_call(L, 3, 0);
    map->is_calling = false;
    if (map->task->failure.code != 0) { /* which map has caught */
        stand_at(map->task, map->record->offset);
        return map->task->failure.code;
    }
    return is_holding ? commit_record(map, L) : 0;
}

static void breathe(struct map *map)
{
    if (mr_task_breathe(map->task))
        mr_task_report(map->task, share(mr_reader_consumed(map->reader), map->length));
}

/* Calls map for record after record, until it raises. */
static int map_until_raised(lua_State *L)
{
    struct map *map = lua_touserdata(L, 1);
    struct mr_records *pool = mr_records_at(L, SLOT_POOL);
    while (!mr_out_is_full(map->out)) {
        map->record = mr_records_next(pool);
        if (next_record(map, map->record) != 1 || map_record(map, L, pool) != 0)
            break;
        breathe(map);
    }
    return 0;
}

/* Map has raised for the record under way. */
static int raised(struct map *map, lua_State *L, int status)
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

/* Good records share one lua_pcall: entering one for each would cost as much as an empty map. */
static void map_records(struct map *map, lua_State *L)
{
    mr_records_create(L);
    PERI_ASSERT(lua_gettop(L) == SLOT_POOL);
    for (;;) {
        lua_pushcfunction(L, map_until_raised);
        for (int slot = 1; slot <= SLOT_POOL; slot++)
            lua_pushvalue(L, slot);
        int status = lua_pcall(L, SLOT_POOL, 0, SLOT_HANDLER);
        if (status != LUA_OK && !map->is_calling)
            (void)lua_error(L); /* no record's doing */
        if (status == LUA_OK || raised(map, L, status) != 0)
            break;
        breathe(map);
    }
    mr_records_retire(mr_records_at(L, SLOT_POOL));
}

/* ---- pairs that another engine carried here as text (perilune stream) ---- */

static void map_lines(struct map *map)
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

/* ---- pairs of a later step ---- */

static int map_pair(struct map *map, lua_State *L, struct peri_slice key, struct peri_slice value)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    struct mr_datum datum;
    size_t count;
    if (map->function == LUA_NOREF && map->partition == LUA_NOREF) {
        int rc = mr_out_put(map->out, key, value, &err);
        return rc == 0 ? 0 : mr_task_fail(map->task, &err);
    }
    bool is_identity = map->function == LUA_NOREF;
    lua_pushvalue(L, is_identity ? SLOT_OUT : SLOT_MAP);
    int rc = mr_key_decode(key, parts, &count, &map->text, &err);
    if (rc == 0)
        rc = mr_datum_push(L, &parts[0], &err);
    if (rc == 0)
        rc = mr_value_decode(value, &datum);
    if (rc == 0)
        rc = mr_datum_push(L, &datum, &err);
    if (rc != 0) {
        (void)peri_fail(&err, PERI_ECORRUPT, "a pair of the step before");
        return mr_task_fail(map->task, &err);
    }
    lua_pushvalue(L, SLOT_OUT);
    lua_pushvalue(L, SLOT_CONTEXT);
    if (is_identity)
        lua_pop(L, 2);
    int status = lua_pcall(L, is_identity ? 2 : 4, 0, SLOT_HANDLER);
    if (map->task->failure.code != 0 || status == LUA_OK)
        return map->task->failure.code;
    (void)mr_task_caught(map->task, L, status, &err);
    return mr_task_fail(map->task, &err);
}

static void map_pairs(struct map *map, lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice key;
    struct peri_slice value;
    int rc;
    while ((rc = mr_spill_reader_next(map->pairs, &key, &value, &err)) == 1) {
        if (map->emit != NULL)
            mr_emit_at(map->emit, map->file, map->task->records);
        if (map_pair(map, L, key, value) != 0 || mr_out_is_full(map->out))
            return;
        if (mr_task_breathe(map->task))
            mr_task_report(map->task, share(map->task->records, map->total));
    }
    if (rc < 0)
        (void)mr_task_fail(map->task, &err);
}

/* ---- the attempt ---- */

static int map_body(lua_State *L)
{
    struct map *map = lua_touserdata(L, 1);
    mr_job_push_handler(L);
    mr_out_push(L, map->out);
    mr_job_push_context(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, map->function); /* nil for none */
    mr_job_hook(L, map->task, "setup", SLOT_CONTEXT, SLOT_OUT);
    if (map->reader != NULL)
        map_records(map, L);
    else
        map_pairs(map, L);
    if (map->task->failure.code == 0) {
        lua_settop(L, SLOT_MAP);
        mr_job_hook(L, map->task, "teardown", SLOT_CONTEXT, SLOT_OUT);
    }
    return 0;
}

static int gather_body(lua_State *L)
{
    map_lines(lua_touserdata(L, 1));
    return 0;
}

/* Spilling may run the user's combine function, so it stands under the limits as well. */
static int finish_body(lua_State *L)
{
    struct map *map = lua_touserdata(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    mr_out_flush(map->out, L);
    if (mr_emit_finish(map->emit, &err) != 0)
        (void)mr_task_fail(map->task, &err);
    return 0;
}

static void set_sums(struct map *map)
{
    lua_State *H = map->task->host;
    const struct mr_spill_part *parts = mr_emit_parts(map->emit);
    struct mr_emit_stats stats;
    luaL_Buffer sums;
    luaL_buffinit(H, &sums);
    for (uint32_t i = 0; i < (uint32_t)mr_spec_integer(map->task, "partitions", 1); i++)
        luaL_addlstring(&sums, (const char *)&parts[i].sum, sizeof parts[i].sum);
    luaL_pushresult(&sums);
    lua_setfield(H, -2, "sums");
    mr_emit_stats(map->emit, &stats);
    lua_pushinteger(H, (lua_Integer)stats.records_out);
    lua_setfield(H, -2, "spilled_records");
    lua_pushinteger(H, (lua_Integer)stats.spilled_bytes);
    lua_setfield(H, -2, "spilled_bytes");
}

static int run(struct map *map, struct peri_error *err)
{
    struct mr_task *task = map->task;
    const char *source = mr_spec_string(task, "source", NULL);
    bool is_typed = mr_spec_boolean(task, "typed");
    if (!is_typed) {
        map->function = mr_job_function(task, "map");
        map->partition = mr_job_function(task, "partition");
    }
    int rc = divide_memory(map, source == NULL && !is_typed, err);
    if (rc == 0)
        rc = open_sink(map, err);
    if (rc == 0)
        rc = source != NULL ? open_source(map, source, err) : open_input(map, err);
    if (rc != 0)
        return rc;
    if (mr_job_guard(task, is_typed ? gather_body : map_body, map) != 0)
        return task->failure.code;
    task->where.file = NULL;
    if (map->emit != NULL && mr_job_guard(task, finish_body, map) != 0)
        return task->failure.code;
    rc = mr_out_result(map->out, err);
    if (rc == 0 && map->emit != NULL)
        set_sums(map);
    lua_pushinteger(task->host, (lua_Integer)task->records);
    lua_setfield(task->host, -2, "records_in");
    return rc;
}

int mr_map_run(struct mr_task *task)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct map map = {.task = task, .function = LUA_NOREF, .partition = LUA_NOREF};
    int rc = mr_job_open(task);
    if (rc == 0 && mr_out_create(&map.out, task) != 0)
        rc = peri_fail(&err, PERI_ENOMEM, "the output of a map task");
    if (rc == 0)
        rc = run(&map, &err);
    if (rc != 0)
        (void)mr_task_fail(task, &err);
    mr_combiner_retire(&map.combiner);
    mr_out_retire(map.out);
    mr_job_close(task);
    mr_combiner_close(&map.combiner);
    mr_emit_close(map.emit);
    mr_out_close(map.out);
    mr_reader_close(map.reader);
    mr_spill_reader_close(map.pairs);
    mr_spill_file_close(map.source);
    peri_buffer_deinit(&map.text);
    peri_buffer_deinit(&map.key);
    peri_buffer_deinit(&map.value);
    free(map.bounds);
    return task->failure.code;
}
