#include "vm/ordered.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vm/border.h"
#include "vm/budget.h"
#include "vm/ordered_key.h"
#include "vm/stand_in.h"

static const char next_key = 0; /* its address names the registry field: the walk of next */

/* One traversal: the keys 1 to sequence, then those of the array. A userdata whose first user value
 * is the table. Strings that only the walk refers to could be collected when their field is cleared
 * on the way: few are kept in further user values, many in a table that is the second. */
struct walk {
    lua_Integer sequence;
    size_t at; /* next of the keys */
    size_t count;
    bool is_small;
    struct vm_key keys[];
};

enum { WALK_TABLE = 1, WALK_STRINGS, SMALL_MAX = 32 };

/* ---- keys of a table ---- */

/* Sets of key types that cannot be walked; booleans by value. Which of several is named must not
 * depend on which is found first. */
enum { REFUSED_TRUE = LUA_NUMTYPES, REFUSED_FALSE };

static unsigned int refusal_of(lua_State *L, int index)
{
    int type = lua_type(L, index);
    if (type == LUA_TNUMBER || type == LUA_TSTRING)
        return 0;
    if (type == LUA_TBOOLEAN)
        type = lua_toboolean(L, index) ? REFUSED_TRUE : REFUSED_FALSE;
    return 1u << type;
}

static void check_refused(lua_State *L, unsigned int refused)
{
    if (refused == 0)
        return;
    int type = __builtin_ctz(refused);
    bool is_boolean = type >= REFUSED_TRUE;
    const char *name =
        is_boolean ? (type == REFUSED_TRUE ? "true" : "false") : lua_typename(L, type);
    luaL_error(L, "a machine's table cannot be walked: %s %s; keys must be numbers or strings",
               is_boolean ? "it has the key" : "a key is a", name);
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
    unsigned int refused = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            census.strings++;
        } else if (lua_isinteger(L, -1)) {
            lua_Integer integer = lua_tointeger(L, -1);
            if (integer >= 1 && integer <= sequence)
                continue;
            census.is_mixed = census.is_mixed || integer < 1;
        } else if (lua_type(L, -1) == LUA_TNUMBER) {
            census.is_mixed = census.is_mixed || lua_tonumber(L, -1) < (lua_Number)sequence;
        } else {
            refused |= refusal_of(L, -1);
        }
        census.count++;
    }
    check_refused(L, refused);
    return census;
}

/* Keeps the string on top of the stack, which is the walk's key. The walk is at index at. */
static void keep_string(lua_State *L, int at, const struct walk *walk, struct vm_key *key,
                        uint32_t slot)
{
    key->slot = slot;
    lua_pushvalue(L, -1);
    if (walk->is_small)
        (void)lua_setiuservalue(L, at, WALK_STRINGS + (int)slot);
    else
        lua_rawseti(L, at + 1, (lua_Integer)slot + 1);
}

/* Fills the walk on top of the stack. */
static void fill(lua_State *L, int table, struct walk *walk, size_t strings)
{
    int at = lua_gettop(L);
    size_t count = 0;
    uint32_t slot = 0;
    if (!walk->is_small) {
        lua_createtable(L, (int)strings, 0);
        lua_pushvalue(L, -1);
        (void)lua_setiuservalue(L, at, WALK_STRINGS);
    }
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 &&
            lua_tointeger(L, -1) <= walk->sequence)
            continue;
        struct vm_key *key = &walk->keys[count++];
        *key = vm_key_read(L, -1);
        if (key->is_string)
            keep_string(L, at, walk, key, slot++);
    }
    vm_keys_sort(walk->keys, count);
    lua_settop(L, at);
}

/* Pushes a walk over the table at stack index table, in front of its first key. */
static struct walk *push_walk(lua_State *L, int table)
{
    lua_Integer sequence = vm_border(L, table);
    struct census census = count_keys(L, table, sequence);
    if (census.is_mixed) { /* rare: all keys are sorted */
        sequence = 0;
        census = count_keys(L, table, 0);
    }
    vm_budget_charge(L, (uint64_t)sequence + census.count);
    if (census.count > INT_MAX / sizeof(struct vm_key))
        luaL_error(L, "table with too many keys");
    bool is_small = census.strings <= SMALL_MAX;
    struct walk *walk = lua_newuserdatauv(L, sizeof *walk + census.count * sizeof(struct vm_key),
                                          WALK_TABLE + (is_small ? (int)census.strings : 1));
    walk->sequence = sequence;
    walk->at = 0;
    walk->count = census.count;
    walk->is_small = is_small;
    if (census.count > 0)
        fill(L, table, walk, census.strings);
    lua_pushvalue(L, table);
    (void)lua_setiuservalue(L, -2, WALK_TABLE);
    return walk;
}

/* ---- steps ---- */

/* Where the walk and its table are on the stack. */
struct place {
    struct walk *walk;
    int at;
    int table;
};

static void push_walk_key(lua_State *L, struct place place, const struct vm_key *key)
{
    if (!key->is_string) {
        vm_key_push_number(L, key);
    } else if (place.walk->is_small) {
        (void)lua_getiuservalue(L, place.at, WALK_STRINGS + (int)key->slot);
    } else {
        (void)lua_getiuservalue(L, place.at, WALK_STRINGS);
        lua_rawgeti(L, -1, (lua_Integer)key->slot + 1);
        lua_remove(L, -2);
    }
}

/* Pushes key and value of the first field at or behind keys[walk->at] that is still there. */
static int push_field(lua_State *L, struct place place)
{
    struct walk *walk = place.walk;
    while (walk->at < walk->count) {
        push_walk_key(L, place, &walk->keys[walk->at++]);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, place.table) != LUA_TNIL)
            return 2;
        lua_pop(L, 2);
    }
    lua_pushnil(L);
    return 1;
}

/* The same from the sequence's element index on. */
static int push_element(lua_State *L, struct place place, lua_Integer index)
{
    for (; index <= place.walk->sequence; index++) {
        lua_pushinteger(L, index);
        if (lua_rawgeti(L, place.table, index) != LUA_TNIL)
            return 2;
        lua_pop(L, 2);
    }
    place.walk->at = 0;
    return push_field(L, place);
}

/* The iterator of pairs: called with the walk and the previous key. */
static int l_step(lua_State *L)
{
    struct place place = {lua_touserdata(L, 1), 1, 3};
    lua_settop(L, 2);
    (void)lua_getiuservalue(L, 1, WALK_TABLE);
    if (lua_isnil(L, 2))
        return push_element(L, place, 1);
    if (lua_isinteger(L, 2) && lua_tointeger(L, 2) >= 1 &&
        lua_tointeger(L, 2) <= place.walk->sequence)
        return push_element(L, place, lua_tointeger(L, 2) + 1);
    return push_field(L, place);
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
    (void)vm_stand_in(L, 1);
    lua_pushcfunction(L, l_step);
    (void)push_walk(L, 1);
    return 2;
}

/* ---- next ---- */

/* The first key, without a walk: "is it empty" is the most frequent question. */
static int push_first(lua_State *L)
{
    enum { TABLE = 1, FIRST = 2 }; /* stack */
    struct vm_key first = {0};
    unsigned int refused = 0;
    uint64_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, TABLE) != 0) {
        lua_pop(L, 1);
        refused |= refusal_of(L, -1);
        struct vm_key key = vm_key_read(L, -1);
        if (count++ == 0 || vm_key_compare(&key, &first) < 0) {
            first = key;
            lua_copy(L, -1, FIRST);
        }
    }
    check_refused(L, refused);
    vm_budget_charge(L, count);
    lua_settop(L, FIRST); /* nil when there was none */
    if (count == 0)
        return 1;
    lua_pushvalue(L, FIRST);
    (void)lua_rawget(L, TABLE);
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
static size_t find_behind(const struct walk *walk, const struct vm_key *key)
{
    size_t low = 0;
    size_t high = walk->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (vm_key_compare(&walk->keys[middle], key) <= 0)
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
    (void)vm_stand_in(L, 1);
    if (lua_isnil(L, 2))
        return push_first(L);
    check_refused(L, refusal_of(L, 2));
    struct vm_key key = vm_key_read(L, 2);
    struct place place = {push_kept_walk(L), 3, 1};
    bool is_element =
        !key.is_string && !key.is_float && key.integer >= 1 && key.integer <= place.walk->sequence;
    if (is_element)
        return push_element(L, place, key.integer + 1);
    place.walk->at = find_behind(place.walk, &key);
    return push_field(L, place);
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
