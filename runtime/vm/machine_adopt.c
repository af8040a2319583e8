#include "vm/machine_adopt.h"

#include <lauxlib.h>
#include <string.h>

#include "check/hash.h"
#include "vm/budget.h"
#include "vm/machine_tables.h"
#include "vm/stand_in.h"

enum { DEPTH_MAX = 90, STACK_NEEDED = 12 };

/* What a table of the state must not have. Which of several is named must not depend on the order
 * in which tables are looked at. */
enum fault {
    FAULT_KEY,
    FAULT_VALUE,
    FAULT_METATABLE,
    FAULT_PLACES,
    FAULT_DEPTH,
    FAULTS,
};

static const char *const fault_texts[FAULTS] = {
    [FAULT_KEY] = "a key of the state is neither a number nor a string",
    [FAULT_VALUE] = "a value in the state is no data, such as a function",
    [FAULT_METATABLE] = "a table in the state has a metatable: the state is data",
    [FAULT_PLACES] = "a table is in two places of the state: clear the old place, or copy it",
    [FAULT_DEPTH] = "the state is nested too deep",
};

const char vm_stand_in_key = 0;
const char vm_adopt_metatable_key = 0;

/* ---- hashes ---- */

uint64_t vm_hash_bytes(const char *bytes, size_t size)
{
    uint64_t hash = size, word;
    for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = check_mix(hash, word);
    }
    word = 0;
    if (size > 0)
        memcpy(&word, bytes, size);
    return check_mix(hash, word);
}

uint64_t vm_adopt_hash_value(lua_State *L, int index)
{
    int type = lua_type(L, index);
    uint64_t word = 0;
    if (type == LUA_TSTRING) {
        size_t size;
        const char *bytes = lua_tolstring(L, index, &size);
        if (size >= VM_BUDGET_STRING_MIN)
            vm_budget_charge(L, size / VM_BUDGET_BYTES);
        return vm_hash_bytes(bytes, size);
    }
    if (type == LUA_TBOOLEAN) {
        word = (uint64_t)lua_toboolean(L, index);
    } else if (lua_isinteger(L, index)) {
        word = (uint64_t)lua_tointeger(L, index);
        type = LUA_NUMTYPES;
    } else if (type == LUA_TNUMBER) {
        lua_Number number = lua_tonumber(L, index);
        memcpy(&word, &number, sizeof word);
    }
    return check_mix((uint64_t)type + 1, word);
}

/* ---- tables that become part of the state ---- */

bool vm_adopt_is_data(int type)
{
    return type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING ||
           type == LUA_TTABLE;
}

static void note(struct vm_adoption *adoption, enum fault fault)
{
    adoption->faults |= 1u << fault;
}

void vm_adopt_count_place(lua_State *L, struct vm_adoption *adoption, int index, lua_Integer by)
{
    lua_pushvalue(L, index);
    lua_pushvalue(L, index);
    (void)lua_rawget(L, adoption->tally);
    lua_Integer count = lua_tointeger(L, -1) + by;
    lua_pop(L, 1);
    lua_pushinteger(L, count);
    lua_rawset(L, adoption->tally);
    adoption->has_tally = true;
}

bool vm_adopt_is_stand_in(lua_State *L, int index)
{
    bool is_one = lua_rawgetp(L, index, &vm_stand_in_key) == LUA_TTABLE;
    lua_pop(L, 1);
    return is_one;
}

/* A table inside of another one, on top: becomes a stand-in. */
static uint64_t adopt_inner(lua_State *L, struct vm_adoption *adoption, int depth)
{
    if (!vm_adopt_is_stand_in(L, lua_gettop(L)))
        return vm_adopt(L, adoption, depth);
    vm_adopt_count_place(L, adoption, lua_gettop(L), 1);
    return LUA_TTABLE;
}

/* The fields of the plain table at index; their hashes add up, for their order is not defined. */
static uint64_t adopt_fields(lua_State *L, struct vm_adoption *adoption, int table, int depth)
{
    uint64_t hash = 0, count = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        int key = lua_type(L, -2), value = lua_type(L, -1);
        uint64_t inner = 0;
        count++;
        if (key != LUA_TNUMBER && key != LUA_TSTRING)
            note(adoption, FAULT_KEY);
        if (!vm_adopt_is_data(value))
            note(adoption, FAULT_VALUE);
        if (value == LUA_TTABLE) {
            inner = adopt_inner(L, adoption, depth + 1);
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, table);
        } else {
            inner = vm_adopt_hash_value(L, -1);
            lua_pop(L, 1);
        }
        hash += check_mix(vm_adopt_hash_value(L, -1), inner);
    }
    vm_budget_charge(L, count);
    return check_mix(count, hash);
}

uint64_t vm_adopt(lua_State *L, struct vm_adoption *adoption, int depth)
{
    int table = lua_gettop(L);
    luaL_checkstack(L, STACK_NEEDED, NULL);
    lua_pushvalue(L, table);
    bool is_second = lua_rawget(L, adoption->done) != LUA_TNIL;
    lua_pop(L, 1);
    if (is_second)
        note(adoption, FAULT_PLACES);
    if (depth >= DEPTH_MAX)
        note(adoption, FAULT_DEPTH);
    if (lua_getmetatable(L, table)) {
        lua_pop(L, 1);
        note(adoption, FAULT_METATABLE);
    }
    if (adoption->faults != 0)
        return 0;
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, table);
    lua_rawsetp(L, -2, &vm_stand_in_key);
    lua_pushvalue(L, table);
    lua_pushvalue(L, -2);
    lua_rawset(L, adoption->done);
    uint64_t hash = adopt_fields(L, adoption, table, depth);
    lua_pushvalue(L, adoption->metatable);
    lua_setmetatable(L, -2);
    lua_replace(L, table);
    return hash;
}

struct vm_adoption vm_adopt_begin(lua_State *L)
{
    struct vm_adoption adoption = {.faults = 0};
    lua_newtable(L);
    adoption.done = lua_gettop(L);
    lua_newtable(L);
    adoption.tally = lua_gettop(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_adopt_metatable_key);
    adoption.metatable = lua_gettop(L);
    return adoption;
}

void vm_adopt_check(lua_State *L, const struct vm_adoption *adoption)
{
    for (int fault = 0; fault < FAULTS; fault++)
        if ((adoption->faults & 1u << fault) != 0)
            luaL_error(L, "%s", fault_texts[fault]);
}

void vm_adopt_fail_places(struct vm_adoption *adoption)
{
    note(adoption, FAULT_PLACES);
}
