/* arena.h - memory of one simulated Lua state, at addresses that depend on its own history alone.
 *
 * Tables, functions and userdata hash by address, so the order of pairs over them is the order of
 * their addresses: malloc's depend on the process, an arena's on what this state allocated and
 * freed before. Blocks have size classes (multiples of 16 bytes up to 1 KiB, then four to each
 * doubling: at most a quarter is lost), carved off the end of the region one after the other, as
 * Lua asks for them; a freed block waits in its class's list, latest first. Nothing is ever moved
 * between classes; of freed blocks of 1 MiB or more only the addresses are kept. No headers: Lua
 * knows the sizes of its blocks. */
#ifndef PERI_VM_ARENA_H
#define PERI_VM_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "env/pin.h"

enum { VM_ARENA_CLASSES = 64 + 24 * 4 + 1 };

struct vm_arena {
    struct env_region region;
    char *top; /* where the next fresh block begins */
    char *end; /* of what is mapped */
    void *free[VM_ARENA_CLASSES];
};

/* Opens the arena of a slot (1 to ENV_REGION_SLOTS_MAX). On success the caller ends it with
 * vm_arena_deinit. Errors: those of env_region_open. */
int vm_arena_init(struct vm_arena *arena, uint32_t slot);

/* realloc, for who knows the old size; block is NULL or one of this arena's with old_size bytes. A
 * new_size of 0 frees. NULL without memory: then block is unchanged. Never fails to shrink. */
void *vm_arena_resize(struct vm_arena *arena, void *block, size_t old_size, size_t new_size);

/* Ends all blocks. Accepts an arena of zeros. */
void vm_arena_deinit(struct vm_arena *arena);

#endif
