/* mr_map_pairs.c - the typed pairs of a later step, which the step before it wrote. Without a map
 * they pass through unseen by Lua. */
#include <lauxlib.h>

#include "mr_datum.h"
#include "mr_map.h"

static int map_pair(struct mr_map *map, lua_State *L, struct peri_slice key,
                    struct peri_slice value)
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
    lua_pushvalue(L, is_identity ? MR_MAP_OUT : MR_MAP_FUNCTION);
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
    lua_pushvalue(L, MR_MAP_OUT);
    lua_pushvalue(L, MR_MAP_CONTEXT);
    if (is_identity)
        lua_pop(L, 2);
    int status = lua_pcall(L, is_identity ? 2 : 4, 0, MR_MAP_HANDLER);
    if (map->task->failure.code != 0 || status == LUA_OK)
        return map->task->failure.code;
    (void)mr_task_caught(map->task, L, status, &err);
    return mr_task_fail(map->task, &err);
}

void mr_map_pairs(struct mr_map *map, lua_State *L)
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
            mr_task_report(map->task, mr_map_share(map->task->records, map->total));
    }
    if (rc < 0)
        (void)mr_task_fail(map->task, &err);
}
