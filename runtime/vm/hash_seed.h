/* hash_seed.h - the seed of a new state's string hashes, chosen by us.
 *
 * lua_newstate makes it from the time and three addresses, by luaS_hash; the linker hands us that
 * one call (--wrap=luaS_hash). Then neither the stack, nor the heap, nor the build decides the
 * order of pairs over strings, only the seed does: a run replays on another build, too, and other
 * seeds show other orders. */
#ifndef PERI_VM_HASH_SEED_H
#define PERI_VM_HASH_SEED_H

#include <lua.h>
#include <stdint.h>

/* lua_newstate, but the state's string hashes start from seed. NULL without memory. */
lua_State *vm_newstate_seeded(lua_Alloc alloc, void *data, uint64_t seed);

#endif
