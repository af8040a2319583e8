/* mr_map.c - a map attempt: records in; a sorted spill, an output file or a sample of keys out.
 *
 * The first step of a job reads records of an input, as map(rec, out, job). A later step reads the
 * typed pairs of a spill file that the step before it wrote, as map(key, value, out, job); without
 * a map they pass through unseen by Lua. Typed lines on standard input are pairs as well, for a
 * reduce under another engine. */
#include "mr_map.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "mr_job.h"

/* ---- sources ---- */

static int open_input(struct mr_map *map, struct peri_error *err)
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

static int open_source(struct mr_map *map, const char *path, struct peri_error *err)
{
    map->file = mr_spec_integer(map->task, "task", 0);
    int rc = mr_spill_file_open(&map->source, map->task->env, path, err);
    if (rc == 0)
        rc = mr_spill_reader_open(&map->pairs, map->source, 0, err);
    if (rc == 0)
        map->total = mr_spill_file_part(map->source, 0)->sum.records;
    return rc;
}

double mr_map_share(uint64_t done, uint64_t total)
{
    return total == 0 || total == MR_SPLIT_TO_END ? 0.0 : (double)done / (double)total;
}

/* ---- the attempt ---- */

static int map_body(lua_State *L)
{
    struct mr_map *map = lua_touserdata(L, 1);
    mr_job_push_handler(L);
    mr_out_push(L, map->out);
    mr_job_push_context(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, map->function); /* nil for none */
    mr_job_hook(L, map->task, "setup", MR_MAP_CONTEXT, MR_MAP_OUT);
    if (map->reader != NULL)
        mr_map_records(map, L);
    else
        mr_map_pairs(map, L);
    if (map->task->failure.code == 0) {
        lua_settop(L, MR_MAP_FUNCTION);
        mr_job_hook(L, map->task, "teardown", MR_MAP_CONTEXT, MR_MAP_OUT);
    }
    return 0;
}

static int gather_body(lua_State *L)
{
    mr_map_lines(lua_touserdata(L, 1));
    return 0;
}

/* Spilling may run the user's combine function, so it stands under the limits as well. */
static int finish_body(lua_State *L)
{
    struct mr_map *map = lua_touserdata(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    mr_out_flush(map->out, L);
    if (mr_emit_finish(map->emit, &err) != 0)
        (void)mr_task_fail(map->task, &err);
    return 0;
}

static void set_sums(struct mr_map *map)
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

static int run(struct mr_map *map, struct peri_error *err)
{
    struct mr_task *task = map->task;
    const char *source = mr_spec_string(task, "source", NULL);
    bool is_typed = mr_spec_boolean(task, "typed");
    if (!is_typed) {
        map->function = mr_job_function(task, "map");
        map->partition = mr_job_function(task, "partition");
    }
    int rc = mr_map_open_sink(map, source == NULL && !is_typed, err);
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
    struct mr_map map = {.task = task, .function = LUA_NOREF, .partition = LUA_NOREF};
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
