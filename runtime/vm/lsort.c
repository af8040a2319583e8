#include <lauxlib.h>

#include <limits.h>
#include <stdint.h>

#include "vm/bounds.h"
#include "vm/ltable.h"
#include "vm/preempt.h"

/* Quicksort as ltablib.c has it, with its recursion as an explicit stack: every comparison is a
 * phase, before which the machine may stop. The stack of a call: */
enum { ARRAY = 1, COMPARATOR, STATE, PIVOT };

enum phase { ENDS, LOW, HIGH, SCAN_UP, SCAN_DOWN };

#define RANDOMIZE_MIN 100u /* shorter ranges always take their middle */
#define DEPTH_MAX 64       /* the shorter half is sorted first, so log2 of the length will do */

struct range {
    uint32_t lo, up;
    uint32_t random; /* 0: the pivot is the middle */
};

struct sort {
    struct range now;
    uint32_t pivot; /* index */
    uint32_t i, j;
    enum phase phase;
    bool has_comparator;
    int depth; /* ranges that wait */
    struct range waiting[DEPTH_MAX];
};

static int continue_compare(lua_State *L, int status, lua_KContext context);
static int continue_attend(lua_State *L, int status, lua_KContext context);

static void swap(lua_State *L, uint32_t a, uint32_t b)
{
    lua_rawgeti(L, ARRAY, a);
    lua_rawgeti(L, ARRAY, b);
    lua_rawseti(L, ARRAY, a);
    lua_rawseti(L, ARRAY, b);
}

static uint32_t choose_pivot(const struct range *range)
{
    uint32_t length = range->up - range->lo;
    if (length < RANDOMIZE_MIN || range->random == 0)
        return range->lo + length / 2;
    uint32_t quarter = length / 4;
    return range->random % (quarter * 2) + range->lo + quarter;
}

/* Takes up the next range of two or more elements; false when none is left. */
static bool next_range(struct sort *sort)
{
    while (sort->now.lo >= sort->now.up) {
        if (sort->depth == 0)
            return false;
        sort->now = sort->waiting[--sort->depth];
    }
    sort->phase = ENDS;
    return true;
}

static bool end_range(struct sort *sort)
{
    sort->now.lo = sort->now.up;
    return next_range(sort);
}

/* The pivot is in its place: the shorter side comes first, the other one waits. */
static bool split(struct sort *sort)
{
    struct range shorter = sort->now;
    struct range longer = sort->now;
    uint32_t p = sort->i;
    bool is_low_shorter = p - sort->now.lo < sort->now.up - p;
    if (is_low_shorter) {
        shorter.up = p - 1;
        longer.lo = p + 1;
    } else {
        shorter.lo = p + 1;
        longer.up = p - 1;
    }
    uint32_t size = is_low_shorter ? p - sort->now.lo : sort->now.up - p;
    if (longer.up > longer.lo && (longer.up - longer.lo) / 128 > size)
        longer.random = (longer.up * 2654435761u) ^ longer.lo ^ (longer.random >> 3);
    sort->waiting[sort->depth++] = longer;
    sort->now = shorter;
    return next_range(sort);
}

/* a[lo] <= a[pivot] <= a[up] holds. */
static bool begin_partition(lua_State *L, struct sort *sort)
{
    if (sort->now.up - sort->now.lo == 2)
        return end_range(sort);
    lua_rawgeti(L, ARRAY, sort->pivot);
    lua_replace(L, PIVOT);
    swap(L, sort->pivot, sort->now.up - 1);
    sort->i = sort->now.lo + 1;
    sort->j = sort->now.up - 1;
    sort->phase = SCAN_UP;
    return true;
}

/* Pushes the two values that the phase compares. */
static void push_operands(lua_State *L, const struct sort *sort)
{
    switch (sort->phase) {
    case ENDS:
        lua_rawgeti(L, ARRAY, sort->now.up);
        lua_rawgeti(L, ARRAY, sort->now.lo);
        break;
    case LOW:
        lua_rawgeti(L, ARRAY, sort->pivot);
        lua_rawgeti(L, ARRAY, sort->now.lo);
        break;
    case HIGH:
        lua_rawgeti(L, ARRAY, sort->now.up);
        lua_rawgeti(L, ARRAY, sort->pivot);
        break;
    case SCAN_UP:
        lua_rawgeti(L, ARRAY, sort->i);
        lua_pushvalue(L, PIVOT);
        break;
    case SCAN_DOWN:
        lua_pushvalue(L, PIVOT);
        lua_rawgeti(L, ARRAY, sort->j);
        break;
    }
}

static bool decide_scan_up(lua_State *L, struct sort *sort, bool less)
{
    if (less) {
        if (sort->i == sort->now.up - 1)
            luaL_error(L, "invalid order function for sorting");
        sort->i++;
    } else {
        sort->j--;
        sort->phase = SCAN_DOWN;
    }
    return true;
}

static bool decide_scan_down(lua_State *L, struct sort *sort, bool less)
{
    if (less) {
        if (sort->j < sort->i)
            luaL_error(L, "invalid order function for sorting");
        sort->j--;
        return true;
    }
    if (sort->j < sort->i) {
        swap(L, sort->now.up - 1, sort->i);
        return split(sort);
    }
    swap(L, sort->i, sort->j);
    sort->i++;
    sort->phase = SCAN_UP;
    return true;
}

/* Acts on the phase's comparison; false when the array is sorted. */
static bool decide(lua_State *L, struct sort *sort, bool less)
{
    const struct range *now = &sort->now;
    switch (sort->phase) {
    case ENDS:
        if (less)
            swap(L, now->lo, now->up);
        if (now->up - now->lo == 1)
            return end_range(sort);
        sort->pivot = choose_pivot(now);
        sort->phase = LOW;
        return true;
    case LOW:
        sort->phase = HIGH;
        if (!less)
            return true;
        swap(L, sort->pivot, now->lo);
        return begin_partition(L, sort);
    case HIGH:
        if (less)
            swap(L, sort->pivot, now->up);
        return begin_partition(L, sort);
    case SCAN_UP:
        return decide_scan_up(L, sort, less);
    case SCAN_DOWN:
        return decide_scan_down(L, sort, less);
    }
    return false;
}

static bool compare_plain(lua_State *L, const struct sort *sort)
{
    push_operands(L, sort);
    bool less = lua_compare(L, -2, -1, LUA_OPLT);
    lua_pop(L, 2);
    return less;
}

/* Scans up without a comparator and leaves the element that stays on the stack; false when the
 * runtime wants attention: then the stack is as before. */
static bool scan_up_plain(lua_State *L, struct sort *sort)
{
    for (;;) {
        lua_rawgeti(L, ARRAY, sort->i);
        if (!lua_compare(L, -1, PIVOT, LUA_OPLT))
            return true;
        lua_pop(L, 1);
        if (sort->i++ == sort->now.up - 1)
            luaL_error(L, "invalid order function for sorting");
        if (vm_attention(L))
            return false;
    }
}

static bool scan_down_plain(lua_State *L, struct sort *sort)
{
    for (;;) {
        lua_rawgeti(L, ARRAY, sort->j);
        if (!lua_compare(L, PIVOT, -1, LUA_OPLT))
            return true;
        lua_pop(L, 1);
        if (sort->j-- < sort->i)
            luaL_error(L, "invalid order function for sorting");
        if (vm_attention(L))
            return false;
    }
}

/* The two scans and their exchanges in one loop, from SCAN_UP on: the same steps as decide takes,
 * without its detours. Leaves the phase where it must stop; false when the array is sorted. */
static bool partition_plain(lua_State *L, struct sort *sort)
{
    while (scan_up_plain(L, sort)) {
        sort->j--;
        if (!scan_down_plain(L, sort)) {
            lua_pop(L, 1);
            sort->phase = SCAN_DOWN;
            return true;
        }
        if (sort->j < sort->i) {
            lua_pop(L, 2);
            swap(L, sort->now.up - 1, sort->i);
            return split(sort);
        }
        lua_rawseti(L, ARRAY, sort->i);
        lua_rawseti(L, ARRAY, sort->j);
        sort->i++;
    }
    return true;
}

static bool take_verdict(lua_State *L)
{
    bool less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return less;
}

static int run(lua_State *L, struct sort *sort)
{
    for (;;) {
        bool is_unsorted;
        if (sort->has_comparator) {
            lua_pushvalue(L, COMPARATOR);
            push_operands(L, sort);
            lua_callk(L, 2, 1, (lua_KContext)sort, continue_compare);
            is_unsorted = decide(L, sort, take_verdict(L));
        } else if (sort->phase == SCAN_UP) {
            is_unsorted = partition_plain(L, sort);
        } else {
            is_unsorted = decide(L, sort, compare_plain(L, sort));
        }
        if (!is_unsorted)
            return 0;
        if (!vm_attention(L))
            continue;
        int count = vm_attend(L, (lua_KContext)sort, continue_attend);
        if (count != VM_GO_ON)
            return count;
    }
}

static int continue_attend(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : run(L, (struct sort *)context);
}

static int continue_compare(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct sort *sort = (struct sort *)context;
    return decide(L, sort, take_verdict(L)) ? run(L, sort) : 0;
}

int vm_sort(lua_State *L)
{
    if (!vm_table_is_plain(L, ARRAY))
        return lua_tocfunction(L, lua_upvalueindex(1))(L);
    lua_Unsigned length = lua_rawlen(L, ARRAY);
    if (length < 2)
        return 0;
    luaL_argcheck(L, length < INT_MAX, 1, "array too big");
    if (!lua_isnoneornil(L, COMPARATOR))
        luaL_checktype(L, COMPARATOR, LUA_TFUNCTION);
    lua_settop(L, COMPARATOR);
    struct sort *sort = lua_newuserdatauv(L, sizeof *sort, 0);
    *sort = (struct sort){.now = {.lo = 1, .up = (uint32_t)length}, .phase = ENDS};
    sort->has_comparator = !lua_isnil(L, COMPARATOR);
    lua_pushnil(L); /* PIVOT */
    return run(L, sort);
}
