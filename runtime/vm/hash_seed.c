#include "vm/hash_seed.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/assert.h"

/* lua_newstate passes nothing on to where the seed is made; a thread makes one state at a time. */
static _Thread_local struct {
    unsigned int value;
    bool is_set;
} chosen;

unsigned int __real_luaS_hash(const char *bytes, size_t size, unsigned int seed);
unsigned int __wrap_luaS_hash(const char *bytes, size_t size, unsigned int seed);

/* Called from outside Lua's own string table by lstate.c alone, which makes the seed with it. */
unsigned int __wrap_luaS_hash(const char *bytes, size_t size, unsigned int seed)
{
    if (!chosen.is_set)
        return __real_luaS_hash(bytes, size, seed);
    chosen.is_set = false;
    return chosen.value;
}

lua_State *vm_newstate_seeded(lua_Alloc alloc, void *data, uint64_t seed)
{
    chosen.value = (unsigned int)(seed ^ seed >> 32);
    chosen.is_set = true;
    lua_State *L = lua_newstate(alloc, data);
    PERI_ASSERT(L == NULL || !chosen.is_set); /* a Lua that makes its seed otherwise */
    chosen.is_set = false;
    return L;
}
