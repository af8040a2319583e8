/* check_search.c - searches over parts of histories, seen from Lua. */
#include "check/sequential.h"
#include "check/transitions.h"
#include "check_box.h"

#define SEARCH_TYPE "perilune.check.Search"
#define SEQUENTIAL_TYPE "perilune.check.Sequential"

struct search_box {
    struct check_search *search;
    struct check_part_box *part; /* kept by the user value */
};

struct sequential_box {
    struct check_sequential *search;
    struct check_part_box *part; /* kept by the user value */
};

static struct search_box *check_search_box(lua_State *L)
{
    struct search_box *box = luaL_checkudata(L, 1, SEARCH_TYPE);
    luaL_argcheck(L, box->search != NULL && box->part->part != NULL, 1, "the search is closed");
    return box;
}

/* part:search(memory, events, roles): roles has a byte an item: 0 recorded, 1 left out, 2 any time
 */
int check_part_search(lua_State *L)
{
    struct check_part_box *part = check_part_at(L, 1);
    lua_Integer memory = luaL_checkinteger(L, 2);
    lua_Integer events = luaL_optinteger(L, 3, CHECK_NEVER);
    size_t size = 0;
    const char *roles = luaL_optlstring(L, 4, NULL, &size);
    luaL_argcheck(L, memory > 0, 2, "must be positive");
    luaL_argcheck(L, events >= 0 && events <= CHECK_NEVER, 3, "no number of events");
    luaL_argcheck(L, roles == NULL || size == part->part->count, 4, "must have a byte an item");
    struct check_limits limits = {
        .roles = (const uint8_t *)roles, .events = (uint32_t)events, .memory_max = (size_t)memory};
    struct search_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct search_box){NULL, part};
    luaL_setmetatable(L, SEARCH_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int rc = check_search_create(&box->search, part->part, &limits);
    return rc == 0 ? 1 : box_fail(L, rc, peri_strerror(rc));
}

static int search_close(lua_State *L)
{
    struct search_box *box = luaL_checkudata(L, 1, SEARCH_TYPE);
    check_search_close(box->search);
    box->search = NULL;
    return 0;
}

static const char *const results[] = {"more", "legal", "illegal", "memory", "ask"};

/* search:run(steps): "more", "legal", "illegal", "memory"; or "ask", state, effect */
static int search_run(lua_State *L)
{
    const struct search_box *box = check_search_box(L);
    lua_Integer steps = luaL_checkinteger(L, 2);
    luaL_argcheck(L, steps > 0, 2, "must be positive");
    int rc = check_search_run(box->search, (uint64_t)steps);
    if (rc < 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushstring(L, results[rc]);
    if (rc != CHECK_ASKS)
        return 1;
    uint32_t state, effect;
    check_search_question(box->search, &state, &effect);
    lua_pushinteger(L, state);
    lua_pushinteger(L, effect);
    return 3;
}

/* search:answer(next): the state after, or nil when the model refuses */
static int search_answer(lua_State *L)
{
    const struct search_box *box = check_search_box(L);
    lua_Integer next = luaL_optinteger(L, 2, CHECK_REFUSED);
    luaL_argcheck(L, next >= 0 && next <= CHECK_REFUSED, 2, "no number of a state");
    int rc = check_search_answer(box->search, (uint32_t)next);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushboolean(L, true);
    return 1;
}

/* search:steps(), in bytes and steps: what it has taken */
static int search_effort(lua_State *L)
{
    const struct search_box *box = check_search_box(L);
    lua_pushinteger(L, (lua_Integer)check_search_steps(box->search));
    lua_pushinteger(L, (lua_Integer)check_search_memory(box->search));
    return 2;
}

/* search:order(): after "legal", { { item = index, or nil; state = number of the state after it } }
 */
static int search_order(lua_State *L)
{
    const struct search_box *box = check_search_box(L);
    size_t count = check_search_order_size(box->search);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        uint32_t item, state;
        check_search_order(box->search, i, &item, &state);
        lua_createtable(L, 0, 2);
        if (item != CHECK_NEVER) {
            lua_pushinteger(L, (lua_Integer)item + 1);
            lua_setfield(L, -2, "item");
        }
        lua_pushinteger(L, state);
        lua_setfield(L, -2, "state");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* part:sequential(memory): the search for sequential consistency, of a part with all keys */
int check_part_sequential(lua_State *L)
{
    struct check_part_box *part = check_part_at(L, 1);
    lua_Integer memory = luaL_checkinteger(L, 2);
    luaL_argcheck(L, memory > 0, 2, "must be positive");
    luaL_argcheck(L, part->part->model != &check_model_external, 1, "needs a model of ours");
    struct sequential_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct sequential_box){NULL, part};
    luaL_setmetatable(L, SEQUENTIAL_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int rc = check_sequential_create(&box->search, part->history, part->part, (size_t)memory);
    return rc == 0 ? 1 : box_fail(L, rc, peri_strerror(rc));
}

static struct sequential_box *check_sequential_box(lua_State *L)
{
    struct sequential_box *box = luaL_checkudata(L, 1, SEQUENTIAL_TYPE);
    luaL_argcheck(L, box->search != NULL && box->part->part != NULL, 1, "the search is closed");
    return box;
}

static int sequential_close(lua_State *L)
{
    struct sequential_box *box = luaL_checkudata(L, 1, SEQUENTIAL_TYPE);
    check_sequential_close(box->search);
    box->search = NULL;
    return 0;
}

/* search:run(steps): as above, but it never asks */
static int sequential_run(lua_State *L)
{
    const struct sequential_box *box = check_sequential_box(L);
    lua_Integer steps = luaL_checkinteger(L, 2);
    luaL_argcheck(L, steps > 0, 2, "must be positive");
    int rc = check_sequential_run(box->search, (uint64_t)steps);
    if (rc < 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushstring(L, results[rc]);
    return 1;
}

/* search:effort(): steps, bytes */
static int sequential_effort(lua_State *L)
{
    const struct sequential_box *box = check_sequential_box(L);
    lua_pushinteger(L, (lua_Integer)check_sequential_steps(box->search));
    lua_pushinteger(L, (lua_Integer)check_sequential_memory(box->search));
    return 2;
}

/* search:order(): after "legal", { { item = index }, ... } */
static int sequential_order(lua_State *L)
{
    const struct sequential_box *box = check_sequential_box(L);
    size_t count = check_sequential_order_size(box->search);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 1);
        lua_pushinteger(L, (lua_Integer)check_sequential_order(box->search, i) + 1);
        lua_setfield(L, -2, "item");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void check_define_searches(lua_State *L)
{
    static const luaL_Reg searches[] = {{"run", search_run},       {"answer", search_answer},
                                        {"effort", search_effort}, {"order", search_order},
                                        {"close", search_close},   {NULL, NULL}};
    static const luaL_Reg sequentials[] = {{"run", sequential_run},
                                           {"effort", sequential_effort},
                                           {"order", sequential_order},
                                           {"close", sequential_close},
                                           {NULL, NULL}};
    check_define_type(L, SEARCH_TYPE, searches, search_close);
    check_define_type(L, SEQUENTIAL_TYPE, sequentials, sequential_close);
}
