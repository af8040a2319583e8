#include "mr_hot.h"

#include <lauxlib.h>
#include <string.h>

void mr_hot_open(lua_State *L, struct mr_hot *hot)
{
    size_t size = MR_HOT_SLOTS * sizeof *hot->slots;
    lua_createtable(L, MR_HOT_SLOTS + 1, 0);
    struct mr_hot_slot *slots = lua_newuserdatauv(L, size, 0);
    memset(slots, 0, size);
    lua_rawseti(L, -2, MR_HOT_SLOTS + 1);
    hot->keeper = luaL_ref(L, LUA_REGISTRYINDEX);
    hot->slots = slots;
}

bool mr_hot_take(lua_State *L, struct mr_hot *hot, size_t slot, int64_t *sum)
{
    if (hot->slots[slot].string == NULL)
        return false;
    *sum = hot->slots[slot].sum;
    hot->slots[slot].string = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, hot->keeper);
    (void)lua_rawgeti(L, -1, (lua_Integer)slot + 1);
    lua_remove(L, -2);
    return true;
}

void mr_hot_put(lua_State *L, struct mr_hot *hot, int index, int64_t integer)
{
    const void *string = lua_topointer(L, index);
    size_t slot = mr_hot_index(string);
    lua_rawgeti(L, LUA_REGISTRYINDEX, hot->keeper);
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, (lua_Integer)slot + 1);
    lua_pop(L, 1);
    hot->slots[slot] = (struct mr_hot_slot){string, integer};
}
