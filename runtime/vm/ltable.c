#include "vm/ltable.h"

#include <lauxlib.h>

#include "vm/bounds.h"
#include "vm/buffer.h"
#include "vm/preempt.h"

#define RANGE_MIN 10000   /* shorter ranges are left to the stock functions */
#define ELEMENTS_MAX 1000 /* moved between two looks at the clock */

static int call_stock(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

bool vm_table_is_plain(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE)
        return false;
    if (!lua_getmetatable(L, index))
        return true;
    static const char *const names[] = {"__index", "__newindex", "__len"};
    bool is_plain = true;
    for (size_t i = 0; i < sizeof names / sizeof *names && is_plain; i++) {
        lua_pushstring(L, names[i]);
        is_plain = lua_rawget(L, -2) == LUA_TNIL;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return is_plain;
}

/* ---- concat ---- */

/* The stack of a call: 1 table, 2 separator, 3 first, 4 last, then: */
enum { CONCAT_SLOT = 5, CONCAT_STATE };

struct concat {
    lua_Integer next;
    lua_Integer last;
    size_t separator_size;
    const char *separator;
    struct vm_buffer out;
};

static int concat_continue(lua_State *L, int status, lua_KContext context);

/* Appends element i; false when it is an error. */
static bool add_element(lua_State *L, struct concat *concat, lua_Integer i)
{
    size_t size;
    lua_rawgeti(L, 1, i);
    const char *bytes = lua_tolstring(L, -1, &size);
    if (bytes == NULL)
        return false;
    vm_buffer_add(L, &concat->out, bytes, size);
    lua_pop(L, 1);
    return true;
}

static struct concat *concat_to_heap(lua_State *L, struct concat *concat)
{
    if (lua_touserdata(L, CONCAT_STATE) == concat)
        return concat;
    struct concat *moved = lua_newuserdatauv(L, sizeof *moved, 0);
    *moved = *concat;
    lua_replace(L, CONCAT_STATE);
    return moved;
}

static int concat_run(lua_State *L, struct concat *concat)
{
    while (concat->next <= concat->last) {
        lua_Integer i = concat->next;
        if (!add_element(L, concat, i))
            return luaL_error(L, "invalid value (%s) at index %I in table for 'concat'",
                              luaL_typename(L, -1), (LUAI_UACINT)i);
        if (i == concat->last)
            break;
        vm_buffer_add(L, &concat->out, concat->separator, concat->separator_size);
        concat->next++;
        if (!vm_attention(L))
            continue;
        concat = concat_to_heap(L, concat);
        int count = vm_attend(L, (lua_KContext)concat, concat_continue);
        if (count != VM_GO_ON)
            return count;
    }
    vm_buffer_push(L, &concat->out);
    return 1;
}

static int concat_continue(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : concat_run(L, (struct concat *)context);
}

static int l_concat(lua_State *L)
{
    if (!vm_table_is_plain(L, 1))
        return call_stock(L);
    struct concat concat;
    lua_settop(L, 4);
    concat.separator = luaL_optlstring(L, 2, "", &concat.separator_size);
    concat.next = luaL_optinteger(L, 3, 1);
    concat.last = luaL_optinteger(L, 4, (lua_Integer)lua_rawlen(L, 1));
    vm_buffer_init(&concat.out, CONCAT_SLOT);
    lua_settop(L, CONCAT_STATE);
    return concat_run(L, &concat);
}

/* ---- insert, remove, move ---- */

enum { MOVE_SOURCE = 1 };

struct move {
    lua_Integer from;
    lua_Integer to;
    lua_Integer left;
    int step;            /* 1, or -1 from the end */
    int destination;     /* stack index of a table */
    lua_Integer last_at; /* 0, or where the value at last_value goes in the end */
    int last_value;      /* stack index */
    int result;          /* stack index of what is returned, or 0 */
};

static int move_continue(lua_State *L, int status, lua_KContext context);

static int move_finish(lua_State *L, const struct move *move)
{
    if (move->last_at != 0) {
        lua_pushvalue(L, move->last_value);
        lua_rawseti(L, move->destination, move->last_at);
    }
    if (move->result == 0)
        return 0;
    lua_pushvalue(L, move->result);
    return 1;
}

static void move_some(lua_State *L, struct move *move)
{
    lua_Integer count = move->left < ELEMENTS_MAX ? move->left : ELEMENTS_MAX;
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, MOVE_SOURCE, move->from);
        lua_rawseti(L, move->destination, move->to);
        move->from += move->step;
        move->to += move->step;
    }
    move->left -= count;
}

static int move_run(lua_State *L, struct move *move)
{
    while (move->left > 0) {
        move_some(L, move);
        if (!vm_attention(L))
            continue;
        int results = vm_attend(L, (lua_KContext)move, move_continue);
        if (results != VM_GO_ON)
            return results;
    }
    return move_finish(L, move);
}

static int move_continue(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : move_run(L, (struct move *)context);
}

static int move_start(lua_State *L, struct move move)
{
    struct move *heap = lua_newuserdatauv(L, sizeof *heap, 0);
    *heap = move;
    return move_run(L, heap);
}

static int l_insert(lua_State *L)
{
    int is_integer;
    int count = lua_gettop(L);
    if (count == 2 && lua_type(L, 1) == LUA_TTABLE && !lua_getmetatable(L, 1)) {
        lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
        return 0;
    }
    lua_settop(L, count); /* without the metatable */
    if (count != 3 || !vm_table_is_plain(L, 1))
        return call_stock(L);
    lua_Integer position = lua_tointegerx(L, 2, &is_integer);
    lua_Integer end = (lua_Integer)lua_rawlen(L, 1) + 1;
    if (!is_integer || position < 1 || position > end - RANGE_MIN)
        return call_stock(L);
    return move_start(L, (struct move){.from = end - 1,
                                       .to = end,
                                       .left = end - position,
                                       .step = -1,
                                       .destination = 1,
                                       .last_at = position,
                                       .last_value = 3});
}

static int l_remove(lua_State *L)
{
    int is_integer;
    if (lua_gettop(L) != 2 || !vm_table_is_plain(L, 1))
        return call_stock(L);
    lua_Integer position = lua_tointegerx(L, 2, &is_integer);
    lua_Integer length = (lua_Integer)lua_rawlen(L, 1);
    if (!is_integer || position < 1 || position > length - RANGE_MIN)
        return call_stock(L);
    lua_rawgeti(L, 1, position);
    lua_pushnil(L);
    return move_start(L, (struct move){.from = position + 1,
                                       .to = position,
                                       .left = length - position,
                                       .step = 1,
                                       .destination = 1,
                                       .last_at = length,
                                       .last_value = 4,
                                       .result = 3});
}

static int l_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2);
    lua_Integer last = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int destination = lua_isnoneornil(L, 5) ? 1 : 5;
    bool is_short = last < first || (first > 0 && last - first < RANGE_MIN);
    if (is_short || !vm_table_is_plain(L, 1) || !vm_table_is_plain(L, destination))
        return call_stock(L);
    luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3, "too many elements to move");
    lua_Integer count = last - first + 1;
    luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
    bool is_upward =
        to > last || to <= first || (destination != 1 && !lua_rawequal(L, 1, destination));
    return move_start(L, (struct move){.from = is_upward ? first : last,
                                       .to = is_upward ? to : to + (count - 1),
                                       .left = count,
                                       .step = is_upward ? 1 : -1,
                                       .destination = destination,
                                       .result = destination});
}

void vm_table_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"concat", l_concat}, {"insert", l_insert},
                                         {"remove", l_remove}, {"move", l_move},
                                         {"sort", vm_sort},    {NULL, NULL}};
    lua_getglobal(L, "table");
    for (const luaL_Reg *entry = functions; entry->name != NULL; entry++) {
        lua_getfield(L, -1, entry->name);
        lua_pushcclosure(L, entry->func, 1);
        lua_setfield(L, -2, entry->name);
    }
    lua_pop(L, 1);
}
