/* perilune.core.check: histories and searches; lua/perilune/check stands in front. */
#include <string.h>

#include "check_box.h"

#define READING_TYPE "perilune.check.Reading"

struct check_history *check_history_at(lua_State *L, int index)
{
    struct check_history_box *box = luaL_checkudata(L, index, CHECK_HISTORY_TYPE);
    luaL_argcheck(L, box->is_open, index, "the history is closed");
    return &box->history;
}

/* history(): an empty one */
static int l_history(lua_State *L)
{
    struct check_history_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->is_open = false;
    luaL_setmetatable(L, CHECK_HISTORY_TYPE);
    int rc = check_history_init(&box->history);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    box->is_open = true;
    return 1;
}

static int history_close(lua_State *L)
{
    struct check_history_box *box = luaL_checkudata(L, 1, CHECK_HISTORY_TYPE);
    if (box->is_open)
        check_history_deinit(&box->history);
    box->is_open = false;
    return 0;
}

/* User values keep what it borrows: the history and the text. */
struct reading_box {
    struct check_history *history;
    struct check_reading reading;
};

/* history:read(format, text): a reading of it, to run */
static int history_read(lua_State *L)
{
    static const char *const formats[] = {"auto", "jsonl", "jepsen", "edn", NULL};
    struct check_history *history = check_history_at(L, 1);
    enum check_format format = (enum check_format)luaL_checkoption(L, 2, "auto", formats);
    struct peri_slice text;
    text.data = luaL_checklstring(L, 3, &text.size);
    struct reading_box *box = lua_newuserdatauv(L, sizeof *box, 2);
    box->history = history;
    check_reading_init(&box->reading, history, format, text);
    luaL_setmetatable(L, READING_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, 2);
    return 1;
}

/* reading:run(bytes): reads about so much more; whether all is read, or nil and why, which names
 * the line */
static int reading_run(lua_State *L)
{
    struct reading_box *box = luaL_checkudata(L, 1, READING_TYPE);
    lua_Integer bytes = luaL_checkinteger(L, 2);
    struct peri_error err = PERI_ERROR_INIT;
    luaL_argcheck(L, bytes > 0, 2, "must be positive");
    if (check_history_read_some(box->history, &box->reading, (size_t)bytes, &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, box->reading.text.size == 0);
    return 1;
}

static check_value field(lua_State *L, struct check_history *history, const char *name)
{
    (void)lua_getfield(L, 2, name);
    check_value value = check_read_value(L, history->values, -1);
    lua_pop(L, 1);
    return value;
}

static int64_t time_of(lua_State *L)
{
    (void)lua_getfield(L, 2, "time");
    int64_t time_us = lua_isnumber(L, -1) ? (int64_t)lua_tonumber(L, -1) : CHECK_NO_TIME;
    lua_pop(L, 1);
    return time_us;
}

/* history:add(event, number): true, or nil and why, which names the event */
static int history_add(lua_State *L)
{
    static const char *const types[] = {"invoke", "ok", "fail", "info"};
    struct check_history *history = check_history_at(L, 1);
    lua_Integer number = luaL_checkinteger(L, 3);
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checktype(L, 2, LUA_TTABLE);
    struct check_event event = {.line = (uint32_t)number};
    const char *where = lua_pushfstring(L, "event %I", number);
    (void)lua_getfield(L, 2, "type");
    const char *type = lua_tostring(L, -1);
    size_t i = 0;
    while (i < 4 && (type == NULL || strcmp(type, types[i]) != 0))
        i++;
    if (i == 4)
        return box_fail(L, PERI_EFORMAT,
                        lua_pushfstring(L, "%s: type must be invoke, ok, fail or info", where));
    event.type = (enum check_event_type)i;
    event.process = field(L, history, "process");
    event.f = field(L, history, "f");
    event.key = field(L, history, "key");
    event.value = field(L, history, "value");
    event.node = field(L, history, "node");
    event.error = field(L, history, "error");
    event.time_us = time_of(L);
    if (check_history_add(history, &event, where, &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

/* history:counts(): operations, those of unknown outcome, events */
static int history_counts(lua_State *L)
{
    const struct check_history *history = check_history_at(L, 1);
    size_t unknown = 0;
    for (size_t i = 0; i < history->count; i++)
        unknown += history->operations[i].outcome == CHECK_INFO;
    lua_pushinteger(L, (lua_Integer)history->count);
    lua_pushinteger(L, (lua_Integer)unknown);
    lua_pushinteger(L, history->event_count);
    return 3;
}

static void set_number(lua_State *L, const char *name, int64_t number, int64_t none)
{
    if (number == none)
        return;
    lua_pushinteger(L, number);
    lua_setfield(L, -2, name);
}

static void set_value(lua_State *L, const char *name, const struct check_values *values,
                      check_value value)
{
    check_push_value(L, values, value);
    lua_setfield(L, -2, name);
}

/* history:operation(i): the i-th operation from 1, as a table */
static int history_operation(lua_State *L)
{
    static const char *const outcomes[] = {"", "ok", "fail", "unknown"};
    const struct check_history *history = check_history_at(L, 1);
    lua_Integer index = luaL_checkinteger(L, 2);
    luaL_argcheck(L, index >= 1 && (size_t)index <= history->count, 2, "no such operation");
    const struct check_operation *operation = &history->operations[index - 1];
    lua_createtable(L, 0, 16);
    set_value(L, "process", history->values, operation->process);
    set_value(L, "f", history->values, operation->f);
    set_value(L, "key", history->values, operation->key);
    set_value(L, "node", history->values, operation->node);
    set_value(L, "value", history->values, operation->input);
    set_value(L, "result", history->values, operation->output);
    set_value(L, "error", history->values, operation->error);
    set_number(L, "index", index, 0);
    set_number(L, "call", operation->call, CHECK_NEVER);
    set_number(L, "finish", operation->end, CHECK_NEVER);
    set_number(L, "call_line", operation->call_line, 0);
    set_number(L, "finish_line", operation->end_line, 0);
    set_number(L, "call_us", operation->call_us, CHECK_NO_TIME);
    set_number(L, "finish_us", operation->end_us, CHECK_NO_TIME);
    lua_pushstring(L, outcomes[operation->outcome]);
    lua_setfield(L, -2, "outcome");
    return 1;
}

/* The table of a key's group { key =, operations = { index, ... } } at the top; by_key, at index 2,
 * has the groups by number, and groups, at 3, in the order of first appearance. */
static void push_group(lua_State *L, const struct check_history *history, check_value key)
{
    if (lua_rawgeti(L, 2, (lua_Integer)key + 1) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    set_value(L, "key", history->values, key);
    lua_newtable(L);
    lua_setfield(L, -2, "operations");
    lua_pushvalue(L, -1);
    lua_rawseti(L, 2, (lua_Integer)key + 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
}

/* history:groups(): the operations by key, { { key =, operations = { index, ... } }, ... } */
static int history_groups(lua_State *L)
{
    const struct check_history *history = check_history_at(L, 1);
    lua_settop(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < history->count; i++) {
        push_group(L, history, history->operations[i].key);
        (void)lua_getfield(L, -1, "operations");
        lua_pushinteger(L, (lua_Integer)i + 1);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        lua_pop(L, 2);
    }
    return 1;
}

/* models(): { { name =, operations = }, ... } */
static int l_models(lua_State *L)
{
    lua_newtable(L);
    for (size_t i = 0; check_model_at(i) != NULL; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, check_model_at(i)->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, check_model_at(i)->operations);
        lua_setfield(L, -2, "operations");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void define_history(lua_State *L)
{
    static const luaL_Reg methods[] = {{"read", history_read},
                                       {"add", history_add},
                                       {"counts", history_counts},
                                       {"operation", history_operation},
                                       {"groups", history_groups},
                                       {"part", check_new_part},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", history_close}, {NULL, NULL}};
    static const luaL_Reg reading[] = {{"run", reading_run}, {NULL, NULL}};
    if (luaL_newmetatable(L, CHECK_HISTORY_TYPE) != 0) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
    }
    if (luaL_newmetatable(L, READING_TYPE) != 0) {
        luaL_newlib(L, reading);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 2);
}

int luaopen_perilune_check(lua_State *L);

int luaopen_perilune_check(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"history", l_history}, {"models", l_models}, {NULL, NULL}};
    define_history(L);
    check_define_parts(L);
    luaL_newlib(L, functions);
    return 1;
}
