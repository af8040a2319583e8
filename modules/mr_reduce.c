/* mr_reduce.c - a reduce attempt: one partition of all map tasks' spills in, one output file out.
 *
 * A named reducer runs in C and never enters Lua. A reduce function is called for each key, in key
 * order; the pairs of cached steps (join) come first among its values. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "mapreduce/merge.h"
#include "mr_datum.h"
#include "mr_job.h"
#include "mr_order.h"
#include "mr_out.h"
#include "mr_task.h"
#include "mr_values.h"

struct reduce {
    struct mr_task *task;
    struct mr_merge_input *inputs;
    struct mr_sum *sums;
    struct mr_merge_options options;
    struct mr_merge *merge;
    struct mr_order *order;
    struct mr_out *out;
    struct mr_group *group;
    struct peri_buffer text; /* scratch: an unescaped key part */
    struct peri_buffer pair; /* scratch: what a ranked key holds */
    const char *ranked_path; /* the partition in the user's order; NULL: in byte order */
    struct mr_merge_input ranked_input;
    uint64_t expected; /* records of all inputs */
    int function;      /* registry references */
    int compare;
    bool is_named; /* the merge gives results, not values */
};

/* ---- the description ---- */

/* The paths and expected summaries of the inputs, lent by the host. */
static int read_inputs(struct reduce *reduce, struct peri_error *err)
{
    lua_State *H = reduce->task->host;
    size_t sums_size = 0;
    int top = lua_gettop(H);
    lua_getfield(H, MR_HOST_SPEC, "sums");
    const char *sums = lua_tolstring(H, -1, &sums_size);
    lua_getfield(H, MR_HOST_SPEC, "inputs");
    size_t count = lua_istable(H, -1) ? lua_rawlen(H, -1) : 0;
    reduce->inputs = calloc(count + 1, sizeof *reduce->inputs);
    reduce->sums = calloc(count + 1, sizeof *reduce->sums);
    if (reduce->inputs == NULL || reduce->sums == NULL) {
        lua_settop(H, top);
        return peri_fail(err, PERI_ENOMEM, "%zu inputs", count);
    }
    int rc = 0;
    if (sums_size != count * sizeof *reduce->sums)
        rc = peri_fail_plain(err, PERI_EINVAL, "the description has no sums for its inputs");
    for (size_t i = 0; rc == 0 && sums != NULL && i < count; i++) {
        memcpy(&reduce->sums[i], sums + i * sizeof *reduce->sums, sizeof *reduce->sums);
        lua_geti(H, -1, (lua_Integer)i + 1);
        reduce->inputs[i] = (struct mr_merge_input){lua_tostring(H, -1), &reduce->sums[i]};
        reduce->expected += reduce->sums[i].records;
        lua_pop(H, 1); /* stays alive in the list */
    }
    lua_settop(H, top);
    reduce->options.inputs = reduce->inputs;
    reduce->options.inputs_count = count;
    return rc;
}

static int read_options(struct reduce *reduce, struct peri_error *err)
{
    struct mr_task *task = reduce->task;
    struct mr_reducer named;
    int rc = read_inputs(reduce, err);
    if (rc == 0)
        rc = mr_spec_reducer(task, "reduce", &named, err);
    if (rc == 0)
        rc = mr_spec_reducer(task, "combine", &reduce->options.reducer, err);
    if (rc != 0)
        return rc;
    reduce->function = named.kind == MR_REDUCE_NONE
                           ? mr_job_function(task, mr_spec_string(task, "function", "reduce"))
                           : LUA_NOREF;
    reduce->is_named = mr_reducer_has_state(&named);
    if (reduce->is_named)
        reduce->options.reducer = named;
    reduce->options.group_parts = reduce->function != LUA_NOREF ? 1 : 0;
    reduce->options.part = (uint32_t)mr_spec_integer(task, "partition", 0);
    reduce->options.memory_bytes = (size_t)mr_spec_integer(task, "emit_bytes", MR_MERGE_MEMORY_MIN);
    reduce->options.temp_path = mr_spec_string(task, "temp", "");
    reduce->ranked_path = mr_spec_string(task, "ranked", NULL);
    reduce->compare = mr_job_function(task, "compare");
    return 0;
}

static int open_sink(struct reduce *reduce, struct peri_error *err)
{
    struct mr_task *task = reduce->task;
    const char *pairs = mr_spec_string(task, "pairs", NULL);
    if (pairs != NULL)
        return mr_out_to_spill(reduce->out, pairs, err);
    return mr_out_to_file(reduce->out, mr_spec_string(task, "part", ""),
                          mr_spec_string(task, "format", "text"), err);
}

/* ---- the loops ---- */

enum { SLOT_HANDLER = 2, SLOT_OUT, SLOT_CONTEXT, SLOT_REDUCE, SLOT_VALUES };

static void report(struct reduce *reduce)
{
    uint64_t expected = reduce->expected;
    mr_task_report(reduce->task,
                   expected == 0 ? 0.0 : (double)reduce->task->records / (double)expected);
}

/* The key of the user's pairs inside a ranked one. */
static int unwrap_key(struct reduce *reduce, struct peri_slice *key, struct peri_error *err)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    size_t count;
    if (reduce->ranked_path == NULL)
        return 0;
    int rc = mr_key_decode(*key, parts, &count, &reduce->text, err);
    if (rc == 0 && count == MR_RANKED_PARTS)
        *key = parts[MR_RANKED_KEY].string;
    return rc;
}

/* Every group's result goes to the output as it is. */
static int put_results(struct reduce *reduce, struct peri_error *err)
{
    struct peri_slice key;
    struct peri_slice value;
    int rc;
    while ((rc = mr_merge_reduce(reduce->merge, &key, &value, err)) == 1) {
        rc = mr_out_put(reduce->out, key, value, err);
        if (rc != 0)
            return rc;
        if (mr_task_breathe(reduce->task))
            report(reduce);
    }
    return rc;
}

/* Every pair goes to the output as it is. */
static int put_pairs(struct reduce *reduce, struct peri_error *err)
{
    struct peri_slice key;
    struct peri_slice value;
    int rc;
    while ((rc = mr_merge_pair(reduce->merge, &key, &value, err)) == 1) {
        rc = unwrap_key(reduce, &key, err);
        if (rc == 0)
            rc = mr_out_put(reduce->out, key, value, err);
        if (rc != 0)
            return rc;
        if (mr_task_breathe(reduce->task))
            report(reduce);
    }
    return rc;
}

static void show_key(lua_State *L, struct mr_task *task)
{
    size_t size;
    const char *text = luaL_tolstring(L, -1, &size);
    task->where.has_record = true;
    task->where.record_full = size;
    task->where.record_size = size < sizeof task->where.record ? size : sizeof task->where.record;
    memcpy(task->where.record, text, task->where.record_size);
    lua_pop(L, 1);
}

static int push_key(struct reduce *reduce, lua_State *L, struct peri_slice key,
                    struct peri_error *err)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    size_t count;
    int rc = 0;
    if (reduce->ranked_path != NULL) {
        rc = mr_key_decode(key, parts, &count, &reduce->pair, err);
        if (rc == 0)
            key = parts[MR_RANKED_GROUP].string;
    }
    if (rc == 0)
        rc = mr_key_decode(key, parts, &count, &reduce->text, err);
    if (rc == 0)
        rc = mr_datum_push(L, &parts[0], err);
    return rc;
}

static int call_reduce(struct reduce *reduce, lua_State *L, struct peri_slice key,
                       struct mr_values *values, struct peri_error *err)
{
    struct mr_task *task = reduce->task;
    lua_pushvalue(L, SLOT_REDUCE);
    int rc = push_key(reduce, L, key, err);
    if (rc != 0)
        return rc;
    lua_pushvalue(L, -1);
    lua_insert(L, -3); /* a copy of the key stays below, for the error */
    lua_pushvalue(L, SLOT_VALUES);
    lua_pushvalue(L, SLOT_OUT);
    lua_pushvalue(L, SLOT_CONTEXT);
    mr_group_begin(reduce->group, values, key, reduce->ranked_path != NULL);
    int status = lua_pcall(L, 4, 0, SLOT_HANDLER);
    mr_group_end(reduce->group);
    if (task->failure.code != 0)
        return task->failure.code;
    if (status != LUA_OK) {
        rc = mr_task_caught(task, L, status, err);
        show_key(L, task);
    }
    lua_pop(L, 1);
    return rc;
}

static int call_groups(struct reduce *reduce, lua_State *L, struct peri_error *err)
{
    struct peri_slice key;
    struct mr_values *values;
    int rc;
    while ((rc = mr_merge_next(reduce->merge, &key, &values, err)) == 1) {
        rc = call_reduce(reduce, L, key, values, err);
        if (rc != 0)
            return rc;
        if (mr_task_breathe(reduce->task))
            report(reduce);
    }
    return rc;
}

/* ---- the attempt ---- */

/* Copies the partition into the user's order and makes the copy the merge's only input. */
static int rank(struct reduce *reduce, lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    reduce->options.memory_bytes /= 2; /* a merge and an emit table at the same time */
    if (mr_order_create(&reduce->order, reduce->task) != 0) {
        (void)peri_fail(&err, PERI_ENOMEM, "the order of keys");
        return mr_task_fail(reduce->task, &err);
    }
    int rc = mr_order_run(reduce->order, L, &reduce->options, reduce->compare, reduce->ranked_path);
    mr_order_close(reduce->order);
    reduce->order = NULL;
    reduce->ranked_input = (struct mr_merge_input){reduce->ranked_path, NULL};
    reduce->options.inputs = &reduce->ranked_input;
    reduce->options.inputs_count = 1;
    reduce->options.part = 0;
    reduce->options.reducer = (struct mr_reducer){.kind = MR_REDUCE_NONE};
    reduce->options.group_parts = MR_RANKED_GROUP + 1;
    return rc;
}

static int run_groups(struct reduce *reduce, lua_State *L, struct peri_error *err)
{
    int rc = mr_merge_open(&reduce->merge, reduce->task->env, &reduce->options,
                           &reduce->task->damaged_input, err);
    if (rc != 0)
        return rc;
    if (reduce->function != LUA_NOREF)
        return call_groups(reduce, L, err);
    return reduce->is_named && reduce->ranked_path == NULL ? put_results(reduce, err)
                                                           : put_pairs(reduce, err);
}

static int reduce_body(lua_State *L)
{
    struct reduce *reduce = lua_touserdata(L, 1);
    struct mr_task *task = reduce->task;
    struct peri_error err = PERI_ERROR_INIT;
    mr_job_push_handler(L);
    mr_out_push(L, reduce->out);
    mr_job_push_context(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, reduce->function);
    if (reduce->ranked_path != NULL && rank(reduce, L) != 0)
        return 0;
    lua_settop(L, SLOT_REDUCE);
    bool is_partial = mr_reducer_has_state(&reduce->options.reducer) && !reduce->is_named;
    reduce->group = mr_group_push(L, task, is_partial ? &reduce->options.reducer : NULL);
    mr_job_hook(L, task, "setup", SLOT_CONTEXT, SLOT_OUT);
    if (run_groups(reduce, L, &err) != 0) {
        bool is_input = task->damaged_input < 0 && reduce->ranked_path == NULL;
        if (reduce->merge != NULL && is_input)
            task->damaged_input = mr_merge_failed_input(reduce->merge);
        (void)mr_task_fail(task, &err);
        return 0;
    }
    lua_settop(L, SLOT_VALUES);
    mr_job_hook(L, task, "teardown", SLOT_CONTEXT, SLOT_OUT);
    return 0;
}

static int run(struct reduce *reduce, struct peri_error *err)
{
    struct mr_task *task = reduce->task;
    int rc = read_options(reduce, err);
    if (rc == 0)
        rc = open_sink(reduce, err);
    if (rc != 0)
        return rc;
    if (mr_job_guard(task, reduce_body, reduce) != 0)
        return task->failure.code;
    rc = mr_out_result(reduce->out, err);
    lua_pushinteger(task->host, (lua_Integer)reduce->expected);
    lua_setfield(task->host, -2, "records_in");
    return rc;
}

int mr_reduce_run(struct mr_task *task)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct reduce reduce = {.task = task, .function = LUA_NOREF, .compare = LUA_NOREF};
    int rc = mr_job_open(task);
    if (rc == 0 && mr_out_create(&reduce.out, task) != 0)
        rc = peri_fail(&err, PERI_ENOMEM, "the output of a reduce task");
    if (rc == 0)
        rc = run(&reduce, &err);
    if (rc != 0)
        (void)mr_task_fail(task, &err);
    if (reduce.group != NULL)
        mr_group_deinit(reduce.group);
    mr_out_retire(reduce.out);
    mr_order_close(reduce.order);
    mr_job_close(task);
    mr_merge_close(reduce.merge);
    mr_out_close(reduce.out);
    if (reduce.ranked_path != NULL)
        (void)env_path_remove(task->env, reduce.ranked_path, NULL);
    peri_buffer_deinit(&reduce.text);
    peri_buffer_deinit(&reduce.pair);
    free(reduce.inputs);
    free(reduce.sums);
    return task->failure.code;
}
