#include "vm/machine_tables.h"

#include <lauxlib.h>

#include "check/hash.h"
#include "vm/budget.h"
#include "vm/machine_adopt.h"
#include "vm/machine_shot.h"
#include "vm/stand_in.h"
#include "vm/state.h"

enum { LOG_KEPT_MAX = 4096, LOG_SLOTS = 3 };

static const char log_key = 0; /* addresses name registry fields */
static const char placed_key = 0;

/* ---- assigning ---- */

static struct vm_tables *tables_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* How errors call a field; stays on the stack. */
static const char *name_key(lua_State *L, int key)
{
    if (lua_type(L, key) == LUA_TSTRING)
        return lua_pushfstring(L, "'%s'", lua_tostring(L, key));
    return lua_isinteger(L, key) ? lua_pushfstring(L, "[%I]", (LUAI_UACINT)lua_tointeger(L, key))
                                 : lua_pushfstring(L, "[%f]", (LUAI_UACNUMBER)lua_tonumber(L, key));
}

static void check_field(lua_State *L)
{
    int key = lua_type(L, 2), value = lua_type(L, 3);
    if (key != LUA_TNUMBER && key != LUA_TSTRING)
        luaL_error(L, "a key of the state is a %s: keys are numbers or strings",
                   lua_typename(L, key));
    if (!vm_adopt_is_data(value))
        luaL_error(L, "the state's field %s cannot be a %s: the state is data", name_key(L, 2),
                   lua_typename(L, value));
}

/* The value on top, at the end of a list of threes in the Lua table at index. */
static void append(lua_State *L, int list, size_t at, int slot)
{
    lua_rawseti(L, list, (lua_Integer)(at * LOG_SLOTS + (size_t)slot));
}

/* __newindex of a stand-in: (table, key, value). */
static int l_assign(lua_State *L)
{
    enum { KEY = 2, VALUE = 3, REAL = 4, OLD = 5 };
    struct vm_tables *tables = tables_of(L);
    struct vm_budget *budget = &vm_state_of(L)->budget;
    if (!tables->is_writable)
        return luaL_error(L, "only commands change the state: not a query, nor what outlives a "
                             "command");
    check_field(L);
    (void)lua_rawgetp(L, 1, &vm_stand_in_key);
    lua_pushvalue(L, KEY);
    (void)lua_rawget(L, REAL);
    bool is_table = lua_type(L, VALUE) == LUA_TTABLE;
    if (lua_rawequal(L, OLD, VALUE) &&
        (is_table || vm_adopt_hash_value(L, OLD) ==
                         vm_adopt_hash_value(L, VALUE))) /* 1 and 1.0 are not the same */
        return 0;
    int log = lua_upvalueindex(2);
    budget->is_exempt = true; /* how large lists and tables grow depends on their history */
    lua_pushvalue(L, REAL);
    append(L, log, tables->count, 1);
    lua_pushvalue(L, KEY);
    append(L, log, tables->count, 2);
    append(L, log, tables->count, 3);
    tables->count++;
    if (tables->count > tables->kept_count)
        tables->kept_count = tables->count;
    if (is_table) {
        int placed = lua_upvalueindex(3);
        lua_pushvalue(L, REAL);
        append(L, placed, tables->placed, 1);
        lua_pushvalue(L, KEY);
        append(L, placed, tables->placed, 2);
        lua_pushvalue(L, VALUE);
        append(L, placed, tables->placed, 3);
        tables->placed++;
    }
    lua_pushvalue(L, KEY);
    lua_pushvalue(L, VALUE);
    lua_rawset(L, REAL);
    budget->is_exempt = false;
    tables->pending = check_mix(check_mix(tables->pending, vm_adopt_hash_value(L, KEY)),
                                vm_adopt_hash_value(L, VALUE));
    return 0;
}

/* __index of a stand-in. */
static int l_read(lua_State *L)
{
    (void)lua_rawgetp(L, 1, &vm_stand_in_key);
    lua_pushvalue(L, 2);
    (void)lua_rawget(L, 3);
    return 1;
}

void vm_tables_adopt(lua_State *L, struct vm_tables *tables)
{
    int table = lua_gettop(L);
    struct vm_adoption adoption = vm_adopt_begin(L);
    lua_pushvalue(L, table);
    (void)vm_adopt(L, &adoption, 0);
    if (adoption.has_tally)
        vm_adopt_fail_places(&adoption);
    vm_adopt_check(L, &adoption);
    lua_replace(L, table);
    lua_settop(L, table);
    tables->count = tables->placed = 0;
}

/* ---- commands ---- */

/* Lists that a large command has filled do not stay. */
static void shrink_log(lua_State *L, struct vm_tables *tables)
{
    if (tables->kept_count <= LOG_KEPT_MAX)
        return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &placed_key);
    for (size_t at = tables->kept_count * LOG_SLOTS; at > 0; at--) {
        lua_pushnil(L);
        lua_rawseti(L, -3, (lua_Integer)at);
        lua_pushnil(L);
        lua_rawseti(L, -2, (lua_Integer)at);
    }
    lua_pop(L, 2);
    tables->kept_count = 0;
}

void vm_tables_begin(lua_State *L, struct vm_tables *tables, bool is_writable)
{
    shrink_log(L, tables);
    tables->count = tables->placed = 0;
    tables->pending = 0;
    tables->is_writable = is_writable;
}

void vm_tables_mix(struct vm_tables *tables, uint64_t word)
{
    tables->hash = check_mix(tables->hash, word);
}

void vm_tables_push_entry(lua_State *L, int log, size_t at)
{
    for (int slot = 1; slot <= LOG_SLOTS; slot++)
        (void)lua_rawgeti(L, log, (lua_Integer)(at * LOG_SLOTS + (size_t)slot));
}

/* A snapshot is being written: this replica's alone, so that the command does not pay for it. */
static void tell_shot(lua_State *L, const struct vm_tables *tables, bool is_undone)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    if (tables->shot == NULL || !tables->shot->is_open || tables->count == 0)
        return;
    bool is_counting = budget->is_counting;
    budget->is_counting = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    vm_shot_note(L, tables->shot, lua_gettop(L), tables->count, is_undone);
    lua_pop(L, 1);
    budget->is_counting = is_counting;
}

/* A table that was assigned, unless something else was later. */
static void adopt_placed(lua_State *L, struct vm_tables *tables, struct vm_adoption *adoption,
                         int placed, size_t at)
{
    int base = lua_gettop(L);
    vm_tables_push_entry(L, placed, at);
    int real = base + 1, key = base + 2, value = base + 3;
    if (vm_adopt_is_stand_in(L, value)) {
        vm_adopt_count_place(L, adoption, value, 1);
    } else {
        lua_pushvalue(L, key);
        (void)lua_rawget(L, real);
        bool is_there = lua_rawequal(L, -1, value);
        lua_pop(L, 1);
        if (is_there) {
            tables->pending = check_mix(tables->pending, vm_adopt(L, adoption, 1));
            lua_rawset(L, real); /* an entry that is there: no new memory */
        }
    }
    lua_settop(L, base);
}

/* Stand-ins that have moved must have left their old place. */
static void check_places(lua_State *L, const struct vm_tables *tables, struct vm_adoption *adoption)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    int log = lua_gettop(L);
    for (size_t at = 0; at < tables->count; at++) {
        vm_tables_push_entry(L, log, at);
        if (lua_type(L, -1) == LUA_TTABLE && vm_adopt_is_stand_in(L, lua_gettop(L)))
            vm_adopt_count_place(L, adoption, lua_gettop(L), -1);
        lua_settop(L, log);
    }
    lua_pushnil(L);
    while (lua_next(L, adoption->tally) != 0) {
        if (lua_tointeger(L, -1) > 0)
            vm_adopt_fail_places(adoption);
        lua_pop(L, 1);
    }
}

void vm_tables_commit(lua_State *L, struct vm_tables *tables)
{
    int top = lua_gettop(L);
    if (tables->placed > 0) {
        struct vm_budget *budget = &vm_state_of(L)->budget;
        struct vm_adoption adoption = vm_adopt_begin(L);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &placed_key);
        int placed = lua_gettop(L);
        budget->is_exempt = true;
        for (size_t at = 0; at < tables->placed; at++)
            adopt_placed(L, tables, &adoption, placed, at);
        if (adoption.has_tally)
            check_places(L, tables, &adoption);
        budget->is_exempt = false;
        vm_adopt_check(L, &adoption);
    }
    tell_shot(L, tables, false);
    tables->is_writable = false;
    tables->hash = check_mix(tables->hash, tables->pending);
    lua_settop(L, top);
}

void vm_tables_undo(lua_State *L, struct vm_tables *tables)
{
    int top = lua_gettop(L);
    tables->is_writable = false;
    tell_shot(L, tables, true);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    int log = lua_gettop(L);
    for (size_t at = tables->count; at > 0; at--) {
        vm_tables_push_entry(L, log, at - 1);
        lua_rawset(L, log + 1);
        lua_settop(L, log);
    }
    tables->count = tables->placed = 0;
    lua_settop(L, top);
}

void vm_tables_open(lua_State *L, struct vm_tables *tables)
{
    lua_newtable(L); /* the metatable */
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &log_key);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &placed_key);
    lua_pushlightuserdata(L, tables);
    lua_insert(L, -3);
    lua_pushcclosure(L, l_assign, 3);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, l_read);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false); /* what getmetatable shows */
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &vm_adopt_metatable_key);
}
