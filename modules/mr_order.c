#include "mr_order.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "mapreduce/emit.h"
#include "mr_datum.h"
#include "mr_values.h"

struct mr_order {
    struct mr_task *task;
    const struct mr_merge_options *options;
    struct mr_merge *merge;
    struct mr_emit *emit;
    struct mr_group *group; /* finishes states */
    struct peri_buffer key, text;
    uint32_t *ranks; /* of the groups in byte order; NULL for descending */
    size_t count;
};

/* ---- ranks by a function ---- */

/* Pushes a table of all group keys of the partition, in byte order. */
static int list_keys(struct mr_order *order, lua_State *L, struct peri_error *err)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    struct peri_slice key;
    struct mr_values *values;
    size_t parts_count;
    lua_newtable(L);
    int rc = mr_merge_open(&order->merge, order->task->env, order->options,
                           &order->task->damaged_input, err);
    while (rc == 0 && (rc = mr_merge_next(order->merge, &key, &values, err)) == 1) {
        rc = mr_key_decode(key, parts, &parts_count, &order->text, err);
        if (rc == 0)
            rc = mr_datum_push(L, &parts[0], err);
        if (rc == 0)
            lua_seti(L, -2, (lua_Integer)++order->count);
        (void)mr_task_breathe(order->task);
    }
    if (rc < 0 && order->merge != NULL)
        order->task->damaged_input = mr_merge_failed_input(order->merge);
    mr_merge_close(order->merge);
    order->merge = NULL;
    return rc;
}

/* Compares positions by the user's function over keys; equal ones keep byte order. */
static int compare_positions(lua_State *L)
{
    bool before[2];
    for (int i = 0; i < 2; i++) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushvalue(L, i == 0 ? 1 : 2);
        lua_gettable(L, lua_upvalueindex(2));
        lua_pushvalue(L, i == 0 ? 2 : 1);
        lua_gettable(L, lua_upvalueindex(2));
        lua_call(L, 2, 1);
        before[i] = lua_toboolean(L, -1);
    }
    bool is_less = before[0] != before[1] ? before[0] : lua_tointeger(L, 1) < lua_tointeger(L, 2);
    lua_pushboolean(L, is_less);
    return 1;
}

/* The keys are on top of the stack. */
static int rank_keys(struct mr_order *order, lua_State *L, int compare, struct peri_error *err)
{
    int keys = lua_gettop(L);
    order->ranks = calloc(order->count + 1, sizeof *order->ranks);
    if (order->ranks == NULL)
        return peri_fail(err, PERI_ENOMEM, "the order of %zu keys", order->count);
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_createtable(L, (int)order->count, 0);
    for (size_t i = 1; i <= order->count; i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_seti(L, -2, (lua_Integer)i);
    }
    int positions = lua_gettop(L);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, positions);
    lua_rawgeti(L, LUA_REGISTRYINDEX, compare);
    lua_pushvalue(L, keys);
    lua_pushcclosure(L, compare_positions, 2);
    lua_call(L, 2, 0);
    for (size_t rank = 1; rank <= order->count; rank++) {
        lua_geti(L, positions, (lua_Integer)rank);
        lua_Unsigned position = (lua_Unsigned)lua_tointeger(L, -1);
        lua_pop(L, 1);
        if (position < 1 || position > order->count || order->ranks[position - 1] != 0)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "table.sort was replaced by one that does "
                                   "not sort: compare needs it");
        order->ranks[position - 1] = (uint32_t)rank;
    }
    return 0;
}

/* ---- the ranked copy ---- */

static int add(struct mr_order *order, int64_t rank, struct peri_slice key, struct peri_slice value,
               struct peri_error *err)
{
    struct mr_datum parts[MR_RANKED_PARTS] = {
        {.type = MR_INTEGER, .integer = rank},
        {.type = MR_STRING, .string = mr_key_first_parts(key, 1)},
        {.type = MR_STRING, .string = key},
    };
    order->key.size = 0;
    int rc = mr_key_encode(parts, MR_RANKED_PARTS, &order->key, err);
    if (rc == 0)
        rc = mr_emit_add(order->emit, peri_buffer_slice(&order->key), value, err);
    return rc;
}

/* Copies the group's pairs; a group under a named reducer is one pair, its result. */
static int copy_group(struct mr_order *order, int64_t rank, struct peri_slice key,
                      struct mr_values *values, struct peri_error *err)
{
    struct peri_slice value;
    int rc;
    mr_group_begin(order->group, values, key, false);
    while ((rc = mr_group_next(order->group, &value, err)) == 1) {
        rc = add(order, rank, mr_values_key(values), value, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int copy_groups(struct mr_order *order, struct peri_error *err)
{
    bool is_named =
        mr_reducer_has_state(&order->options->reducer) && order->options->group_parts == 0;
    struct peri_slice key;
    struct peri_slice value;
    struct mr_values *values = NULL;
    int64_t number = 0;
    for (;;) {
        int rc = is_named ? mr_merge_reduce(order->merge, &key, &value, err)
                          : mr_merge_next(order->merge, &key, &values, err);
        if (rc <= 0)
            return rc;
        int64_t rank = order->ranks != NULL ? order->ranks[number] : -number;
        number++;
        rc = is_named ? add(order, rank, key, value, err)
                      : copy_group(order, rank, key, values, err);
        if (rc != 0)
            return rc;
        if (mr_task_breathe(order->task))
            mr_task_report(order->task, 0);
    }
}

static int copy_ranked(struct mr_order *order, const char *path, struct peri_error *err)
{
    struct mr_emit_options options = {.partitioner = {.partitions = 1},
                                      .memory_bytes = order->options->memory_bytes,
                                      .path = path};
    int rc = mr_merge_open(&order->merge, order->task->env, order->options,
                           &order->task->damaged_input, err);
    if (rc == 0)
        rc = mr_emit_create(&order->emit, order->task->env, &options, err);
    if (rc == 0)
        rc = copy_groups(order, err);
    if (rc != 0 && order->merge != NULL)
        order->task->damaged_input = mr_merge_failed_input(order->merge);
    return rc == 0 ? mr_emit_finish(order->emit, err) : rc;
}

int mr_order_create(struct mr_order **out, struct mr_task *task)
{
    struct mr_order *order = calloc(1, sizeof *order);
    if (order == NULL)
        return PERI_ENOMEM;
    order->task = task;
    *out = order;
    return 0;
}

void mr_order_close(struct mr_order *order)
{
    if (order == NULL)
        return;
    mr_merge_close(order->merge);
    mr_emit_close(order->emit);
    if (order->group != NULL)
        mr_group_deinit(order->group);
    peri_buffer_deinit(&order->key);
    peri_buffer_deinit(&order->text);
    free(order->ranks);
    free(order);
}

int mr_order_run(struct mr_order *order, lua_State *L, const struct mr_merge_options *options,
                 int compare, const char *path)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_reducer const *partial =
        mr_reducer_has_state(&options->reducer) ? &options->reducer : NULL;
    order->options = options;
    order->group = mr_group_push(L, order->task, partial);
    int rc = 0;
    if (compare != LUA_NOREF) {
        rc = list_keys(order, L, &err);
        if (rc == 0)
            rc = rank_keys(order, L, compare, &err);
    }
    if (rc == 0)
        rc = copy_ranked(order, path, &err);
    mr_merge_close(order->merge);
    order->merge = NULL;
    return rc == 0 ? 0 : mr_task_fail(order->task, &err);
}
