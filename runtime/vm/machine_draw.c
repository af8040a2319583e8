#include "vm/machine_draw.h"

#include <lauxlib.h>

#include "check/hash.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(struct vm_draw *draw)
{
    uint64_t z = draw->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A number from 0 to limit, each as likely as the others. */
static uint64_t below(struct vm_draw *draw, uint64_t limit)
{
    uint64_t mask = limit;
    for (unsigned shift = 1; shift < 64; shift *= 2)
        mask |= mask >> shift;
    for (;;) {
        uint64_t drawn = next(draw) & mask;
        if (drawn <= limit)
            return drawn;
    }
}

static int l_random(lua_State *L)
{
    struct vm_draw *draw = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, (lua_Number)(next(draw) >> 11) * 0x1p-53);
        return 1;
    }
    lua_Integer low = lua_gettop(L) == 1 ? 1 : luaL_checkinteger(L, 1);
    lua_Integer high = luaL_checkinteger(L, lua_gettop(L) == 1 ? 1 : 2);
    luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
    uint64_t drawn = below(draw, (uint64_t)high - (uint64_t)low);
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + drawn));
    return 1;
}

void vm_draw_seed(struct vm_draw *draw, uint64_t seed, uint64_t index)
{
    draw->state = check_mix(seed, index);
}

void vm_draw_push(lua_State *L, struct vm_draw *draw)
{
    lua_pushlightuserdata(L, draw);
    lua_pushcclosure(L, l_random, 1);
}
