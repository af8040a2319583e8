/* mr_hot.h - sums of the strings that map emits most often, on their way to the emit table.
 *
 * Lua has a short string only once, and it stays where it is while something keeps it. So for the
 * strings kept here the address says which one it is: nothing is hashed or compared, not even
 * looked at, and the few that make up most of a text stay in the processor's caches, which the
 * table of all keys does not. A string takes the place of another one, whose sum then goes to the
 * table. */
#ifndef PERI_MODULES_MR_HOT_H
#define PERI_MODULES_MR_HOT_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_HOT_BITS = 13, MR_HOT_SLOTS = 1 << MR_HOT_BITS, MR_HOT_STRING_MAX = 40 };

/* A string and what was added for it; the string is NULL in an empty slot. */
struct mr_hot_slot {
    const void *string; /* lua_topointer's */
    int64_t sum;        /* wraps, as in Lua */
};

/* Starts zeroed; closed it has no string. Lives as long as the state that opened it. */
struct mr_hot {
    struct mr_hot_slot *slots; /* NULL when closed */
    int keeper;                /* registry reference of the table that keeps slots and strings */
};

/* Allocates in Lua's memory. Raises when it is short. */
void mr_hot_open(lua_State *L, struct mr_hot *hot);

static inline size_t mr_hot_index(const void *string)
{
    return (size_t)((uint64_t)(uintptr_t)string * 0x9E3779B97F4A7C15u >> (64 - MR_HOT_BITS));
}

/* Adds integer to the value that lua_topointer gave, if that is one of the strings. */
static inline bool mr_hot_add(struct mr_hot *hot, const void *string, int64_t integer)
{
    if (hot->slots == NULL || string == NULL)
        return false;
    struct mr_hot_slot *slot = &hot->slots[mr_hot_index(string)];
    if (slot->string != string)
        return false;
    slot->sum = (int64_t)((uint64_t)slot->sum + (uint64_t)integer);
    return true;
}

/* Takes the string of a slot out, pushes it and sets *sum; false when the slot is empty. */
bool mr_hot_take(lua_State *L, struct mr_hot *hot, size_t slot, int64_t *sum);

/* Puts the string at stack index, which mr_hot_add did not know, into its slot, which is empty.
 * Allocates nothing, so it never raises. */
void mr_hot_put(lua_State *L, struct mr_hot *hot, int index, int64_t integer);

#endif
