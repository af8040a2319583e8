#include "vm/ordered.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "vm/border.h"
#include "vm/budget.h"

static const char next_key = 0; /* its address names the registry field: the walk of next */

enum { SHORT_MAX = 16, SHOWN_MAX = 40 };

struct key {
    bool is_string;
    bool is_float;
    union {
        lua_Integer integer;
        lua_Number number;
        struct peri_slice string; /* stays in the table or, cleared, in the walk's keys */
    };
};

/* One traversal: the keys 1 to sequence, then those of the array. A userdata whose user values are
 * the table and a table that keeps the keys that are strings alive. */
struct walk {
    lua_Integer sequence;
    size_t at; /* next of the keys */
    size_t count;
    struct key keys[];
};

enum { WALK_TABLE = 1, WALK_STRINGS, WALK_USER_VALUES = WALK_STRINGS };

/* ---- order ---- */

/* Floats that are whole and fit are integers when they are keys; so no two are equal. */
static int compare_mixed(lua_Integer integer, lua_Number number)
{
    if (number >= 0x1p63)
        return -1;
    if (number < -0x1p63)
        return 1;
    lua_Integer truncated = (lua_Integer)number;
    if (integer != truncated)
        return integer < truncated ? -1 : 1;
    return (lua_Number)truncated < number ? -1 : 1;
}

static int compare(const struct key *a, const struct key *b)
{
    if (a->is_string != b->is_string)
        return a->is_string ? 1 : -1;
    if (a->is_string)
        return peri_slice_compare(a->string, b->string);
    if (a->is_float && b->is_float)
        return a->number < b->number ? -1 : a->number > b->number;
    if (a->is_float)
        return -compare_mixed(b->integer, a->number);
    if (b->is_float)
        return compare_mixed(a->integer, b->number);
    return a->integer < b->integer ? -1 : a->integer > b->integer;
}

static int compare_keys(const void *a, const void *b)
{
    return compare(a, b);
}

static void sort(struct key *keys, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && compare(&keys[sorted - 1], &keys[sorted]) < 0)
        sorted++;
    if (sorted >= count)
        return;
    if (count > SHORT_MAX) {
        qsort(keys, count, sizeof *keys, compare_keys); /* no two are equal */
        return;
    }
    for (size_t i = sorted; i < count; i++) {
        struct key moving = keys[i];
        size_t j = i;
        for (; j > 0 && compare(&moving, &keys[j - 1]) < 0; j--)
            keys[j] = keys[j - 1];
        keys[j] = moving;
    }
}

/* ---- keys of a table ---- */

static void refuse_key(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TBOOLEAN)
        luaL_error(L,
                   "a machine's table cannot be walked: it has the key %s; keys must be numbers "
                   "or strings",
                   lua_toboolean(L, index) ? "true" : "false");
    luaL_error(L,
               "a machine's table cannot be walked: a key is a %s; keys must be numbers or strings",
               luaL_typename(L, index));
}

static struct key read_key(lua_State *L, int index)
{
    struct key key = {0};
    if (lua_type(L, index) == LUA_TSTRING) {
        key.is_string = true;
        key.string.data = lua_tolstring(L, index, &key.string.size);
    } else if (lua_type(L, index) != LUA_TNUMBER) {
        refuse_key(L, index);
    } else if (lua_isinteger(L, index)) {
        key.integer = lua_tointeger(L, index);
    } else {
        key.is_float = true;
        key.number = lua_tonumber(L, index);
    }
    return key;
}

static void push_key(lua_State *L, const struct key *key)
{
    if (key->is_string)
        lua_pushlstring(L, key->string.data, key->string.size);
    else if (key->is_float)
        lua_pushnumber(L, key->number);
    else
        lua_pushinteger(L, key->integer);
}

struct census {
    size_t count;   /* of keys that are not in the sequence */
    size_t strings; /* of them */
    bool is_mixed;  /* a number among them comes before the sequence's end */
};

/* Looks at every key of the table at stack index table. */
static struct census count_keys(lua_State *L, int table, lua_Integer sequence)
{
    struct census census = {0};
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        if (lua_isinteger(L, -1)) {
            lua_Integer integer = lua_tointeger(L, -1);
            if (integer >= 1 && integer <= sequence)
                continue;
            census.is_mixed = census.is_mixed || integer < 1;
        } else if (lua_type(L, -1) == LUA_TSTRING) {
            census.strings++;
        } else if (lua_type(L, -1) == LUA_TNUMBER) {
            census.is_mixed = census.is_mixed || lua_tonumber(L, -1) < (lua_Number)sequence;
        } else {
            refuse_key(L, -1);
        }
        census.count++;
    }
    return census;
}

/* Fills the walk on top of the stack. Strings that only the walk refers to could be collected when
 * their field is cleared on the way, so a table keeps those. */
static void fill(lua_State *L, int table, struct walk *walk, bool has_strings)
{
    int top = lua_gettop(L);
    size_t count = 0;
    if (has_strings)
        lua_createtable(L, (int)walk->count, 0);
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 &&
            lua_tointeger(L, -1) <= walk->sequence)
            continue;
        walk->keys[count++] = read_key(L, -1);
        if (walk->keys[count - 1].is_string) {
            lua_pushvalue(L, -1);
            lua_rawseti(L, top + 1, (lua_Integer)count);
        }
    }
    sort(walk->keys, count);
    if (has_strings)
        (void)lua_setiuservalue(L, top, WALK_STRINGS);
}

/* Pushes a walk over the table at stack index table, in front of its first key. */
static struct walk *push_walk(lua_State *L, int table)
{
    lua_Integer sequence = vm_border(L, table);
    struct census census = count_keys(L, table, sequence);
    size_t total = census.count;
    if (census.is_mixed) { /* rare: all keys are sorted */
        sequence = 0;
        census = count_keys(L, table, 0);
        total = census.count;
    }
    vm_budget_charge(L, (uint64_t)sequence + total);
    if (total > INT_MAX / sizeof(struct key))
        luaL_error(L, "table with too many keys");
    struct walk *walk =
        lua_newuserdatauv(L, sizeof *walk + total * sizeof(struct key), WALK_USER_VALUES);
    walk->sequence = sequence;
    walk->at = 0;
    walk->count = total;
    if (total > 0)
        fill(L, table, walk, census.strings > 0);
    lua_pushvalue(L, table);
    (void)lua_setiuservalue(L, -2, WALK_TABLE);
    return walk;
}

/* ---- steps ---- */

/* Pushes key and value of the first field at or behind keys[walk->at] that is still there. */
static int push_field(lua_State *L, struct walk *walk, int table)
{
    while (walk->at < walk->count) {
        push_key(L, &walk->keys[walk->at++]);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, table) != LUA_TNIL)
            return 2;
        lua_pop(L, 2);
    }
    lua_pushnil(L);
    return 1;
}

/* The same from the sequence's element index on. */
static int push_element(lua_State *L, struct walk *walk, int table, lua_Integer index)
{
    for (; index <= walk->sequence; index++) {
        lua_pushinteger(L, index);
        if (lua_rawgeti(L, table, index) != LUA_TNIL)
            return 2;
        lua_pop(L, 2);
    }
    walk->at = 0;
    return push_field(L, walk, table);
}

/* The iterator of pairs: called with the walk and the previous key. */
static int l_step(lua_State *L)
{
    struct walk *walk = lua_touserdata(L, 1);
    lua_settop(L, 2);
    (void)lua_getiuservalue(L, 1, WALK_TABLE);
    if (lua_isnil(L, 2))
        return push_element(L, walk, 3, 1);
    if (lua_isinteger(L, 2) && lua_tointeger(L, 2) >= 1 && lua_tointeger(L, 2) <= walk->sequence)
        return push_element(L, walk, 3, lua_tointeger(L, 2) + 1);
    return push_field(L, walk, 3);
}

static int l_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushcfunction(L, l_step);
    (void)push_walk(L, 1);
    return 2;
}

/* ---- next ---- */

/* The first key, without a walk: "is it empty" is the most frequent question. */
static int push_first(lua_State *L)
{
    struct key first = {0};
    uint64_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        lua_pop(L, 1);
        struct key key = read_key(L, -1);
        if (count++ == 0 || compare(&key, &first) < 0)
            first = key;
    }
    vm_budget_charge(L, count);
    if (count == 0) {
        lua_pushnil(L);
        return 1;
    }
    push_key(L, &first);
    lua_pushvalue(L, -1);
    (void)lua_rawget(L, 1);
    return 2;
}

/* Pushes the walk of the registry when it is one over the table at index 1, or a new one. */
static struct walk *push_kept_walk(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &next_key);
    struct walk *walk = lua_touserdata(L, -1);
    if (walk != NULL) {
        (void)lua_getiuservalue(L, -1, WALK_TABLE);
        bool is_same = lua_rawequal(L, -1, 1);
        lua_pop(L, 1);
        if (is_same)
            return walk;
    }
    lua_pop(L, 1);
    walk = push_walk(L, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &next_key);
    return walk;
}

/* The first of the walk's keys behind key, by halving. */
static size_t find_behind(const struct walk *walk, const struct key *key)
{
    size_t low = 0;
    size_t high = walk->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&walk->keys[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int l_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_isnil(L, 2))
        return push_first(L);
    struct key key = read_key(L, 2);
    struct walk *walk = push_kept_walk(L);
    bool is_element =
        !key.is_string && !key.is_float && key.integer >= 1 && key.integer <= walk->sequence;
    if (is_element)
        return push_element(L, walk, 1, key.integer + 1);
    walk->at = find_behind(walk, &key);
    return push_field(L, walk, 1);
}

void vm_ordered_reset(lua_State *L)
{
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &next_key);
}

void vm_ordered_open(lua_State *L)
{
    lua_register(L, "pairs", l_pairs);
    lua_register(L, "next", l_next);
}
