#include "vm/ordered_key.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_MAX = 16 };

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

int vm_key_compare(const struct vm_key *a, const struct vm_key *b)
{
    if (a->is_string != b->is_string)
        return a->is_string ? 1 : -1;
    if (a->is_string && a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
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
    return vm_key_compare(a, b);
}

void vm_keys_sort(struct vm_key *keys, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && vm_key_compare(&keys[sorted - 1], &keys[sorted]) < 0)
        sorted++;
    if (sorted >= count)
        return;
    if (count > SHORT_MAX) {
        qsort(keys, count, sizeof *keys, compare_keys); /* no two are equal */
        return;
    }
    for (size_t i = sorted; i < count; i++) {
        struct vm_key moving = keys[i];
        size_t j = i;
        for (; j > 0 && vm_key_compare(&moving, &keys[j - 1]) < 0; j--)
            keys[j] = keys[j - 1];
        keys[j] = moving;
    }
}

/* The first eight bytes as a number that orders as they do; zeros behind a shorter string. */
static uint64_t prefix_of(struct peri_slice string)
{
    unsigned char bytes[sizeof(uint64_t)] = {0};
    uint64_t prefix = 0;
    memcpy(bytes, string.data, string.size < sizeof bytes ? string.size : sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        prefix = prefix << 8 | bytes[i];
    return prefix;
}

struct vm_key vm_key_read(lua_State *L, int index)
{
    struct vm_key key = {0};
    if (lua_type(L, index) == LUA_TSTRING) {
        key.is_string = true;
        key.string.data = lua_tolstring(L, index, &key.string.size);
        key.prefix = prefix_of(key.string);
    } else if (lua_isinteger(L, index)) {
        key.integer = lua_tointeger(L, index);
    } else {
        key.is_float = true;
        key.number = lua_tonumber(L, index);
    }
    return key;
}

void vm_key_push_number(lua_State *L, const struct vm_key *key)
{
    if (key->is_float)
        lua_pushnumber(L, key->number);
    else
        lua_pushinteger(L, key->integer);
}
