#include "vm/recent.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    SLOT_BITS = 14,
    SLOTS = 1 << SLOT_BITS,
    CACHED_MAX = 15, /* bytes of a cached string: longer ones do not come often */
    SIZE_SHIFT = 56,
};

/* The string at index i of the keeper, plus one: its bytes and size (image_of). All zeros: none. */
struct slot {
    uint64_t low, high;
};

struct vm_recent {
    struct slot slots[SLOTS];
};

/* Their addresses are keys of the registry. */
static const char keeper_key = 'k';
static const char recent_key = 'r';

void vm_recent_open(lua_State *L, struct vm_recent **out)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &recent_key) == LUA_TNIL) {
        lua_createtable(L, SLOTS, 0);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &keeper_key);
        struct vm_recent *recent = lua_newuserdatauv(L, sizeof *recent, 0);
        memset(recent, 0, sizeof *recent);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &recent_key);
        lua_pop(L, 1);
        (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &recent_key);
    }
    *out = lua_touserdata(L, -1);
    lua_pop(L, 1);
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &keeper_key);
}

static inline uint64_t load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The first eight bytes in low and the others in high, padded with zeros; the last byte of high is
 * the size. first holds the first eight bytes, or what lies there. */
static inline struct slot image_of(struct peri_slice bytes, uint64_t first)
{
    struct slot image = {first, (uint64_t)bytes.size << SIZE_SHIFT};
    if (bytes.size > sizeof image.low)
        image.high |= load(bytes.data + bytes.size - sizeof image.high) >> 8 * (16 - bytes.size);
    else
        image.low &= UINT64_MAX >> (64 - 8 * bytes.size);
    return image;
}

static inline size_t index_of(const struct slot *image)
{
    uint64_t mixed = (image->low ^ image->high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return (size_t)(mixed >> (64 - SLOT_BITS));
}

/* Out of line, like the copy below, so that a string that is there is given without a frame. */
__attribute__((noinline)) static void push_new(lua_State *L, struct vm_recent *recent, int keeper,
                                               struct peri_slice bytes, struct slot image)
{
    size_t index = index_of(&image);
    lua_pushlstring(L, bytes.data, bytes.size);
    lua_pushvalue(L, -1);
    lua_rawseti(L, keeper, (lua_Integer)index + 1);
    recent->slots[index] = image;
}

__attribute__((noinline)) static uint64_t load_some(struct peri_slice bytes)
{
    uint64_t word = 0;
    memcpy(&word, bytes.data, bytes.size < sizeof word ? bytes.size : sizeof word);
    return word;
}

void vm_recent_push(lua_State *L, struct vm_recent *recent, int keeper, struct peri_slice bytes,
                    const char *end)
{
    if (bytes.size == 0 || bytes.size > CACHED_MAX) {
        lua_pushlstring(L, bytes.size == 0 ? "" : bytes.data, bytes.size);
        return;
    }
    /* Reads beyond the bytes where end allows it, which saves branches. */
    bool is_inside = end - bytes.data >= (ptrdiff_t)sizeof(uint64_t);
    struct slot image = image_of(bytes, is_inside ? load(bytes.data) : load_some(bytes));
    size_t index = index_of(&image);
    const struct slot *slot = &recent->slots[index];
    if (slot->low == image.low && slot->high == image.high)
        (void)lua_rawgeti(L, keeper, (lua_Integer)index + 1);
    else
        push_new(L, recent, keeper, bytes, image);
}
