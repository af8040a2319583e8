/* mr_map_sink.c - where the pairs of a map attempt go: a sorted spill, the next step's file, an
 * output file, or a sample of keys. */
#include <stdlib.h>
#include <string.h>

#include "mr_map.h"

/* The boundary keys of the description; lent by the host. */
static int read_bounds(struct mr_map *map, struct mr_partitioner *partitioner,
                       struct peri_error *err)
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

static int open_emit(struct mr_map *map, const char *path, struct peri_error *err)
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
static int divide_memory(struct mr_map *map, bool has_records, struct peri_error *err)
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

int mr_map_open_sink(struct mr_map *map, bool has_records, struct peri_error *err)
{
    struct mr_task *task = map->task;
    const char *path;
    int rc = divide_memory(map, has_records, err);
    if (rc != 0)
        return rc;
    if ((path = mr_spec_string(task, "spill", NULL)) != NULL)
        return open_emit(map, path, err);
    if ((path = mr_spec_string(task, "pairs", NULL)) != NULL)
        return mr_out_to_spill(map->out, path, err);
    if ((path = mr_spec_string(task, "part", NULL)) != NULL)
        return mr_out_to_file(map->out, path, mr_spec_string(task, "format", "text"), err);
    mr_out_to_sample(map->out, mr_spec_integer(task, "sample", 0));
    return 0;
}
