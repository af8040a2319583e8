#include "vm/machine_tables.h"

#include <lauxlib.h>
#include <string.h>

#include "check/hash.h"
#include "vm/budget.h"
#include "vm/stand_in.h"
#include "vm/state.h"

enum { DEPTH_MAX = 90, LOG_KEPT_MAX = 4096, LOG_SLOTS = 3, STACK_NEEDED = 12 };

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
static const char log_key = 0; /* addresses name registry fields */
static const char placed_key = 0;
static const char metatable_key = 0; /* of stand-ins of the state */

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

/* The hash of a value; a table has one of its own (adopt). Charges for long strings. */
static uint64_t hash_value(lua_State *L, int index)
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

/* ---- assigning ---- */

static struct vm_tables *tables_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static bool is_data(int type)
{
    return type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING ||
           type == LUA_TTABLE;
}

static void check_field(lua_State *L)
{
    int key = lua_type(L, 2), value = lua_type(L, 3);
    if (key != LUA_TNUMBER && key != LUA_TSTRING)
        luaL_error(L, "a key of the state is a %s: keys are numbers or strings",
                   lua_typename(L, key));
    if (!is_data(value))
        luaL_error(L, "the state's field '%s' cannot be a %s: the state is data",
                   key == LUA_TSTRING ? lua_tostring(L, 2) : "?", lua_typename(L, value));
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
        (is_table || hash_value(L, OLD) == hash_value(L, VALUE))) /* 1 and 1.0 are not the same */
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
    tables->pending =
        check_mix(check_mix(tables->pending, hash_value(L, KEY)), hash_value(L, VALUE));
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

/* ---- adopting ---- */

/* What is under way; indexes are of the stack. */
struct adoption {
    int done;  /* table: plain table -> its stand-in */
    int tally; /* table: stand-in -> in how many more places it is than before */
    int metatable;
    unsigned faults; /* a bit each */
    bool has_tally;
};

static void note(struct adoption *adoption, enum fault fault)
{
    adoption->faults |= 1u << fault;
}

static void count_place(lua_State *L, struct adoption *adoption, int index, lua_Integer by)
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

static bool is_stand_in(lua_State *L, int index)
{
    bool is_one = lua_rawgetp(L, index, &vm_stand_in_key) == LUA_TTABLE;
    lua_pop(L, 1);
    return is_one;
}

static uint64_t adopt(lua_State *L, struct adoption *adoption, int depth);

/* A table inside of another one, on top: becomes a stand-in. */
static uint64_t adopt_inner(lua_State *L, struct adoption *adoption, int depth)
{
    if (!is_stand_in(L, lua_gettop(L)))
        return adopt(L, adoption, depth);
    count_place(L, adoption, lua_gettop(L), 1);
    return LUA_TTABLE;
}

/* The fields of the plain table at index; their hashes add up, for their order is not defined. */
static uint64_t adopt_fields(lua_State *L, struct adoption *adoption, int table, int depth)
{
    uint64_t hash = 0, count = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        int key = lua_type(L, -2), value = lua_type(L, -1);
        uint64_t inner = 0;
        count++;
        if (key != LUA_TNUMBER && key != LUA_TSTRING)
            note(adoption, FAULT_KEY);
        if (!is_data(value))
            note(adoption, FAULT_VALUE);
        if (value == LUA_TTABLE) {
            inner = adopt_inner(L, adoption, depth + 1);
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, table);
        } else {
            inner = hash_value(L, -1);
            lua_pop(L, 1);
        }
        hash += check_mix(hash_value(L, -1), inner);
    }
    vm_budget_charge(L, count);
    return check_mix(count, hash);
}

/* The plain table on top, and what hangs in it. Returns the hash of what it holds. */
static uint64_t adopt(lua_State *L, struct adoption *adoption, int depth)
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

/* Pushes what an adoption needs. */
static struct adoption begin_adoption(lua_State *L)
{
    struct adoption adoption = {.faults = 0};
    lua_newtable(L);
    adoption.done = lua_gettop(L);
    lua_newtable(L);
    adoption.tally = lua_gettop(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
    adoption.metatable = lua_gettop(L);
    return adoption;
}

static void check_faults(lua_State *L, const struct adoption *adoption)
{
    for (int fault = 0; fault < FAULTS; fault++)
        if ((adoption->faults & 1u << fault) != 0)
            luaL_error(L, "%s", fault_texts[fault]);
}

void vm_tables_adopt(lua_State *L, struct vm_tables *tables)
{
    int table = lua_gettop(L);
    struct adoption adoption = begin_adoption(L);
    lua_pushvalue(L, table);
    (void)adopt(L, &adoption, 0);
    if (adoption.has_tally)
        note(&adoption, FAULT_PLACES);
    check_faults(L, &adoption);
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

/* One entry of a list on the stack: pushes table, key, value. */
static void push_entry(lua_State *L, int list, size_t at)
{
    for (int slot = 1; slot <= LOG_SLOTS; slot++)
        (void)lua_rawgeti(L, list, (lua_Integer)(at * LOG_SLOTS + (size_t)slot));
}

/* A table that was assigned, unless something else was later. */
static void adopt_placed(lua_State *L, struct vm_tables *tables, struct adoption *adoption,
                         int placed, size_t at)
{
    int base = lua_gettop(L);
    push_entry(L, placed, at);
    int real = base + 1, key = base + 2, value = base + 3;
    if (is_stand_in(L, value)) {
        count_place(L, adoption, value, 1);
    } else {
        lua_pushvalue(L, key);
        (void)lua_rawget(L, real);
        bool is_there = lua_rawequal(L, -1, value);
        lua_pop(L, 1);
        if (is_there) {
            tables->pending = check_mix(tables->pending, adopt(L, adoption, 1));
            lua_rawset(L, real); /* an entry that is there: no new memory */
        }
    }
    lua_settop(L, base);
}

/* Stand-ins that have moved must have left their old place. */
static void check_places(lua_State *L, const struct vm_tables *tables, struct adoption *adoption)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    int log = lua_gettop(L);
    for (size_t at = 0; at < tables->count; at++) {
        push_entry(L, log, at);
        if (lua_type(L, -1) == LUA_TTABLE && is_stand_in(L, lua_gettop(L)))
            count_place(L, adoption, lua_gettop(L), -1);
        lua_settop(L, log);
    }
    lua_pushnil(L);
    while (lua_next(L, adoption->tally) != 0) {
        if (lua_tointeger(L, -1) > 0)
            note(adoption, FAULT_PLACES);
        lua_pop(L, 1);
    }
}

void vm_tables_commit(lua_State *L, struct vm_tables *tables)
{
    int top = lua_gettop(L);
    if (tables->placed > 0) {
        struct vm_budget *budget = &vm_state_of(L)->budget;
        struct adoption adoption = begin_adoption(L);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &placed_key);
        int placed = lua_gettop(L);
        budget->is_exempt = true;
        for (size_t at = 0; at < tables->placed; at++)
            adopt_placed(L, tables, &adoption, placed, at);
        if (adoption.has_tally)
            check_places(L, tables, &adoption);
        budget->is_exempt = false;
        check_faults(L, &adoption);
    }
    tables->is_writable = false;
    tables->hash = check_mix(tables->hash, tables->pending);
    lua_settop(L, top);
}

void vm_tables_undo(lua_State *L, struct vm_tables *tables)
{
    int top = lua_gettop(L);
    tables->is_writable = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &log_key);
    int log = lua_gettop(L);
    for (size_t at = tables->count; at > 0; at--) {
        push_entry(L, log, at - 1);
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
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}
