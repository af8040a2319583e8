#include "mr_recent.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    SLOT_BITS = 12,
    SLOTS = 1 << SLOT_BITS,
    SIZE_MAX_BYTES = 32, /* Lua interns up to 40; longer strings do not repeat much */
};

/* What lies at index i of the keeper, plus one. */
struct slot {
    const char *text; /* lent by the string */
    size_t size;
};

struct mr_recent {
    struct slot slots[SLOTS];
};

/* Their addresses are keys of the registry. */
static const char keeper_key = 'k';
static const char recent_key = 'r';

void mr_recent_open(lua_State *L, struct mr_recent **out)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &recent_key) == LUA_TNIL) {
        lua_createtable(L, SLOTS, 0);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &keeper_key);
        struct mr_recent *recent = lua_newuserdatauv(L, sizeof *recent, 0);
        memset(recent, 0, sizeof *recent);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &recent_key);
        lua_pop(L, 1);
        (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &recent_key);
    }
    *out = lua_touserdata(L, -1);
    lua_pop(L, 1);
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &keeper_key);
}

static uint32_t load32(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t load64(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The slot by the first and last bytes and the size; bytes are 1 to SIZE_MAX_BYTES. */
static uint32_t index_of(struct peri_slice bytes)
{
    uint32_t first;
    uint32_t last = (unsigned char)bytes.data[bytes.size - 1];
    if (bytes.size >= sizeof first) {
        first = load32(bytes.data);
        last = load32(bytes.data + bytes.size - sizeof last);
    } else {
        first = (unsigned char)bytes.data[0] | (uint32_t)(unsigned char)bytes.data[bytes.size / 2]
                                                   << 8;
    }
    uint32_t mixed = first * 0x9E3779B1u ^ (last + (uint32_t)bytes.size) * 0x85EBCA77u;
    return mixed >> (32 - SLOT_BITS);
}

/* Are the size bytes at a and b the same? Without a call for each word. */
static bool is_equal(const char *a, const char *b, size_t size)
{
    if (size > 16)
        return memcmp(a, b, size) == 0;
    if (size >= 8)
        return load64(a) == load64(b) && load64(a + size - 8) == load64(b + size - 8);
    if (size >= 4)
        return load32(a) == load32(b) && load32(a + size - 4) == load32(b + size - 4);
    return a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1];
}

void mr_recent_push(lua_State *L, struct mr_recent *recent, int keeper, struct peri_slice bytes)
{
    if (bytes.size == 0 || bytes.size > SIZE_MAX_BYTES) {
        lua_pushlstring(L, bytes.size == 0 ? "" : bytes.data, bytes.size);
        return;
    }
    uint32_t index = index_of(bytes);
    struct slot *slot = &recent->slots[index];
    if (slot->size == bytes.size && is_equal(slot->text, bytes.data, bytes.size)) {
        (void)lua_rawgeti(L, keeper, (lua_Integer)index + 1);
        return;
    }
    const char *text = lua_pushlstring(L, bytes.data, bytes.size);
    lua_pushvalue(L, -1);
    lua_rawseti(L, keeper, (lua_Integer)index + 1);
    *slot = (struct slot){text, bytes.size};
}
