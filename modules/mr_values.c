#include "mr_values.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "box.h"
#include "mapreduce/value.h"
#include "mr_datum.h"
#include "mr_order.h"

#define GROUP_TYPE "perilune.mapreduce.values"

struct mr_group {
    struct mr_task *task;
    const struct mr_reducer *partial;
    struct mr_values *values; /* NULL between groups */
    size_t key_size;          /* of the group's key: a longer one has a second part */
    bool is_ranked;
    struct mr_state state;     /* scratch: one partial state */
    struct peri_buffer result; /* scratch: its value */
    struct peri_buffer text;   /* scratch: an unescaped key part */
};

static int grow_state(void *data, struct mr_state *state, size_t capacity)
{
    (void)data;
    char *grown = realloc(state->data, capacity);
    if (grown == NULL)
        return PERI_ENOMEM;
    state->data = grown;
    state->capacity = capacity;
    return 0;
}

/* Turns the state in *value into the value that it stands for. */
static int finish_state(struct mr_group *group, struct peri_slice *value, struct peri_error *err)
{
    static const struct mr_room heap = {.grow = grow_state};
    group->state.size = 0;
    group->result.size = 0;
    int rc = mr_reducer_merge(group->partial, &group->state, *value, &heap, err);
    if (rc == 0)
        rc = mr_reducer_finish(group->partial, &group->state, &group->result, err);
    *value = peri_buffer_slice(&group->result);
    return rc;
}

int mr_group_next(struct mr_group *group, struct peri_slice *value, struct peri_error *err)
{
    int rc = mr_values_next(group->values, value, err);
    if (rc == 1 && group->partial != NULL) {
        int failed = finish_state(group, value, err);
        return failed != 0 ? failed : 1;
    }
    return rc;
}

static struct mr_group *check_group(lua_State *L)
{
    struct mr_group *group = luaL_checkudata(L, 1, GROUP_TYPE);
    if (group->values == NULL)
        luaL_error(L, "these values are over: they live until reduce returns");
    return group;
}

/* Moves on; false at the end. Raises what went wrong. */
static bool next_value(lua_State *L, struct mr_group *group, struct peri_slice *value)
{
    struct peri_error err = PERI_ERROR_INIT;
    int rc = mr_group_next(group, value, &err);
    if (rc < 0) {
        if (!mr_task_is_user_error(rc))
            (void)mr_task_fail(group->task, &err);
        luaL_error(L, "%s", err.text);
    }
    return rc == 1;
}

static void push_value(lua_State *L, struct peri_slice value)
{
    int64_t integer;
    if (mr_value_read_integer(value, &integer)) {
        lua_pushinteger(L, integer);
        return;
    }
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_datum datum;
    if (mr_value_decode(value, &datum) != 0)
        luaL_error(L, "a value in the spill file is malformed");
    if (datum.type == MR_NIL)
        datum.type = MR_TRUE; /* nil would end the loop */
    if (mr_datum_push(L, &datum, &err) != 0)
        luaL_error(L, "%s", err.text);
}

/* Pushes the second part of the key of the value that came last. */
static int push_second(lua_State *L, struct mr_group *group)
{
    struct peri_slice key = mr_values_key(group->values);
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    struct peri_error err = PERI_ERROR_INIT;
    size_t count = 0;
    if (group->is_ranked) {
        if (mr_key_decode(key, parts, &count, &group->text, &err) != 0)
            return luaL_error(L, "%s", err.text);
        key = parts[MR_RANKED_KEY].string;
    } else if (key.size == group->key_size) {
        return 0;
    }
    if (mr_key_decode(key, parts, &count, &group->text, &err) != 0)
        return luaL_error(L, "%s", err.text);
    if (count < 2)
        return 0;
    (void)mr_datum_push(L, &parts[1], &err);
    return 1;
}

static int l_next(lua_State *L)
{
    struct mr_group *group = check_group(L);
    struct peri_slice value;
    if (!next_value(L, group, &value)) {
        lua_pushnil(L);
        return 1;
    }
    push_value(L, value);
    return 1 + push_second(L, group);
}

static int l_count(lua_State *L)
{
    struct mr_group *group = check_group(L);
    struct peri_slice value;
    lua_Integer count = 0;
    while (next_value(L, group, &value))
        count++;
    lua_pushinteger(L, count);
    return 1;
}

static int l_array(lua_State *L)
{
    struct mr_group *group = check_group(L);
    struct vm_state *vm = vm_state_of(L);
    size_t most = vm->alloc.limit_bytes / 4;
    size_t before = vm->alloc.used_bytes;
    struct peri_slice value;
    lua_Integer count = 0;
    lua_newtable(L);
    while (next_value(L, group, &value)) {
        push_value(L, value);
        lua_seti(L, -2, ++count);
        if (most > 0 && vm->alloc.used_bytes > before + most)
            return luaL_error(L,
                              "values:array() of more than %d MiB (a quarter of Lua's memory); "
                              "use for value in values do ... end",
                              (int)(most >> 20));
    }
    return 1;
}

/* ipairs, pairs and # would see nothing, or fail without saying what works. Between us and the
 * job's line may stand the function that ipairs gave. */
static int l_no_method(lua_State *L)
{
    luaL_where(L, 1);
    if (lua_rawlen(L, -1) == 0)
        luaL_where(L, 2);
    lua_pushliteral(L, "values are read with for value in values do ... end; "
                       "values:array() makes a table of them, values:count() counts them");
    lua_concat(L, 2);
    return lua_error(L);
}

struct mr_group *mr_group_push(lua_State *L, struct mr_task *task, const struct mr_reducer *partial)
{
    struct mr_group *group = lua_newuserdatauv(L, sizeof *group, 0);
    *group = (struct mr_group){.task = task, .partial = partial};
    if (luaL_newmetatable(L, GROUP_TYPE)) {
        static const luaL_Reg methods[] = {{"array", l_array}, {"count", l_count}, {NULL, NULL}};
        luaL_newlib(L, methods);
        box_set_missing(L, l_no_method);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_no_method);
        lua_setfield(L, -2, "__len");
        lua_pushcfunction(L, l_no_method);
        lua_setfield(L, -2, "__pairs");
        lua_pushcfunction(L, l_next);
        lua_setfield(L, -2, "__call");
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return group;
}

void mr_group_begin(struct mr_group *group, struct mr_values *values, struct peri_slice key,
                    bool is_ranked)
{
    group->values = values;
    group->key_size = key.size;
    group->is_ranked = is_ranked;
}

void mr_group_end(struct mr_group *group)
{
    group->values = NULL;
}

void mr_group_deinit(struct mr_group *group)
{
    group->values = NULL;
    free(group->state.data);
    group->state = (struct mr_state){0};
    peri_buffer_deinit(&group->result);
    peri_buffer_deinit(&group->text);
}
