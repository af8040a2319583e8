/* check_part.c - parts of histories, seen from Lua. */
#include <string.h>

#include "check_box.h"

enum { PART_HISTORY = 1, PART_NAMES, PART_VALUES = PART_NAMES };

struct check_part_box *check_part_at(lua_State *L, int index)
{
    struct check_part_box *box = luaL_checkudata(L, index, CHECK_PART_TYPE);
    luaL_argcheck(L, box->part != NULL, index, "the part is closed");
    return box;
}

/* Reads { by_process =, pure = { name, ... } } at index into the part at the top. */
static void read_external(lua_State *L, struct check_part_box *box, int index)
{
    (void)lua_getfield(L, index, "by_process");
    box->external.by_process = lua_toboolean(L, -1);
    lua_pop(L, 1);
    (void)lua_getfield(L, index, "pure");
    size_t count = lua_istable(L, -1) ? (size_t)lua_rawlen(L, -1) : 0;
    check_value *names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
    for (size_t i = 0; i < count; i++) {
        (void)lua_rawgeti(L, -2, (lua_Integer)i + 1);
        names[i] = check_read_value(L, box->history->values, -1);
        lua_pop(L, 1);
    }
    box->external.pure = names;
    box->external.pure_count = count;
    lua_setiuservalue(L, -3, PART_NAMES);
    lua_pop(L, 1);
}

/* The list of operations at index as indices from 0, in a userdata at the top. */
static uint32_t *read_operations(lua_State *L, const struct check_history *history, int index,
                                 size_t *count)
{
    luaL_checktype(L, index, LUA_TTABLE);
    *count = (size_t)lua_rawlen(L, index);
    uint32_t *operations = lua_newuserdatauv(L, (*count + 1) * sizeof *operations, 0);
    for (size_t i = 0; i < *count; i++) {
        (void)lua_rawgeti(L, index, (lua_Integer)i + 1);
        lua_Integer operation = lua_tointeger(L, -1);
        luaL_argcheck(L, operation >= 1 && (size_t)operation <= history->count, index,
                      "no such operation");
        operations[i] = (uint32_t)operation - 1;
        lua_pop(L, 1);
    }
    return operations;
}

int check_new_part(lua_State *L)
{
    struct check_history *history = check_history_at(L, 1);
    const struct check_model *model = &check_model_external;
    if (!lua_istable(L, 4)) {
        const char *name = luaL_checkstring(L, 2);
        model = check_model_find(name);
        if (model == NULL)
            return luaL_argerror(L, 2, "no such model");
    }
    size_t count;
    lua_settop(L, 4);
    const uint32_t *operations = read_operations(L, history, 3, &count);
    struct check_part_box *box = lua_newuserdatauv(L, sizeof *box, PART_VALUES);
    *box = (struct check_part_box){.history = history};
    luaL_setmetatable(L, CHECK_PART_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, PART_HISTORY);
    if (lua_istable(L, 4))
        read_external(L, box, 4);
    struct peri_error err = PERI_ERROR_INIT;
    if (check_part_create(&box->part, history, model, &box->external, operations, count, &err) != 0)
        return box_error(L, &err);
    return 1;
}

static int part_close(lua_State *L)
{
    struct check_part_box *box = luaL_checkudata(L, 1, CHECK_PART_TYPE);
    check_part_close(box->part);
    box->part = NULL;
    return 0;
}

/* part:items(): { { operation = index, effect = number }, ... } in the order of calls; what has the
 * same effect has the same number */
static int part_items(lua_State *L)
{
    const struct check_part *part = check_part_at(L, 1)->part;
    lua_createtable(L, (int)part->count, 0);
    for (size_t i = 0; i < part->count; i++) {
        lua_createtable(L, 0, 2);
        lua_pushinteger(L, (lua_Integer)part->items[i].operation + 1);
        lua_setfield(L, -2, "operation");
        lua_pushinteger(L, part->items[i].effect);
        lua_setfield(L, -2, "effect");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* part:item(i): the i-th item from 1: its operation, call and end; count when i is left out */
static int part_item(lua_State *L)
{
    const struct check_part *part = check_part_at(L, 1)->part;
    if (lua_isnoneornil(L, 2)) {
        lua_pushinteger(L, (lua_Integer)part->count);
        return 1;
    }
    lua_Integer index = luaL_checkinteger(L, 2);
    luaL_argcheck(L, index >= 1 && (size_t)index <= part->count, 2, "no such item");
    const struct check_item *item = &part->items[index - 1];
    lua_pushinteger(L, (lua_Integer)item->operation + 1);
    lua_pushinteger(L, item->call);
    lua_pushinteger(L, item->end);
    return 3;
}

/* part:focus({ value, ... }): the part that remains of it when only these values count; or nil and
 * why */
static int part_focus(lua_State *L)
{
    struct check_part_box *whole = check_part_at(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t count = (size_t)lua_rawlen(L, 2);
    check_value *values = lua_newuserdatauv(L, (count + 1) * sizeof *values, 0);
    for (size_t i = 0; i < count; i++) {
        (void)lua_rawgeti(L, 2, (lua_Integer)i + 1);
        values[i] = check_read_value(L, whole->history->values, -1);
        lua_pop(L, 1);
    }
    struct check_part_box *box = lua_newuserdatauv(L, sizeof *box, PART_VALUES);
    *box = (struct check_part_box){.history = whole->history};
    luaL_setmetatable(L, CHECK_PART_TYPE);
    (void)lua_getiuservalue(L, 1, PART_HISTORY);
    lua_setiuservalue(L, -2, PART_HISTORY);
    struct check_focus focus;
    struct peri_error err = PERI_ERROR_INIT;
    int rc = check_focus_init(&focus, whole->history->values, values, count);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    rc = check_part_focus(&box->part, whole->history, whole->part, &focus, &err);
    if (rc != 0)
        check_focus_deinit(&focus);
    return rc == 0 ? 1 : box_error(L, &err);
}

/* part:seen(i): value and result of the i-th item, as far as the part sees them */
static int part_seen(lua_State *L)
{
    const struct check_part_box *box = check_part_at(L, 1);
    lua_Integer index = luaL_checkinteger(L, 2);
    luaL_argcheck(L, index >= 1 && (size_t)index <= box->part->count, 2, "no such item");
    struct check_operation operation;
    int rc = check_part_operation(box->part, box->history, (size_t)index - 1, &operation);
    if (rc != 0)
        return luaL_error(L, "history: %s", peri_strerror(rc));
    check_push_value(L, box->history->values, operation.input);
    check_push_value(L, box->history->values, operation.output);
    return 2;
}

/* part:cut(text): the pieces that clients appended, once part:focus was asked; nil when text cannot
 * be cut, or nobody appends */
static int part_cut(lua_State *L)
{
    const struct check_part *part = check_part_at(L, 1)->part;
    size_t size;
    const char *bytes = luaL_checklstring(L, 2, &size);
    struct peri_slice text = peri_slice_of(bytes, size);
    if (part->focus.pieces == NULL)
        return 0;
    lua_newtable(L);
    for (lua_Integer count = 1; text.size > 0; count++) {
        const char *from = text.data;
        if (check_pieces_next(part->focus.pieces, &text) == CHECK_NIL)
            return 0;
        lua_pushlstring(L, from, (size_t)(text.data - from));
        lua_rawseti(L, -2, count);
    }
    return 1;
}

/* part:widest(): the most operations open at a time, and the index of the one that makes it so */
static int part_widest(lua_State *L)
{
    const struct check_part *part = check_part_at(L, 1)->part;
    size_t most, item;
    int rc = check_part_widest(part, &most, &item);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushinteger(L, (lua_Integer)most);
    if (part->count == 0)
        return 1;
    lua_pushinteger(L, (lua_Integer)part->items[item].operation + 1);
    return 2;
}

/* part:effect(number): what an external model has to step: { f, input, output, is unknown, process
 * } */
static int part_effect(lua_State *L)
{
    const struct check_part_box *box = check_part_at(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    luaL_argcheck(L, number >= 0 && (size_t)number < box->part->effect_count, 2, "no such effect");
    check_push_value(L, box->history->values, box->part->effects[number].a);
    return 1;
}

/* part:state(number): a state that an order gave, as a value */
static int part_state(lua_State *L)
{
    const struct check_part_box *box = check_part_at(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    luaL_argcheck(L, number >= 0 && number < CHECK_NEVER, 2, "no number of a state");
    check_value shown;
    int rc = box->part->model->show(box->part->instance, (uint32_t)number, &shown);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    check_push_value(L, box->history->values, shown);
    return 1;
}

void check_define_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction close)
{
    if (luaL_newmetatable(L, type) != 0) {
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__close");
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

void check_define_parts(lua_State *L)
{
    static const luaL_Reg parts[] = {
        {"items", part_items},         {"widest", part_widest},
        {"item", part_item},           {"focus", part_focus},
        {"seen", part_seen},           {"cut", part_cut},
        {"effect", part_effect},       {"state", part_state},
        {"search", check_part_search}, {"sequential", check_part_sequential},
        {"close", part_close},         {NULL, NULL}};
    check_define_type(L, CHECK_PART_TYPE, parts, part_close);
    check_define_searches(L);
}
