/* alloc.h - Lua's memory, counted and limited.
 *
 * Every lua_State has a struct vm_alloc behind its lua_Alloc. An allocation beyond the limit fails;
 * Lua then collects its garbage, tries once more, and raises "not enough memory". */
#ifndef PERI_VM_ALLOC_H
#define PERI_VM_ALLOC_H

#include <stddef.h>

struct vm_arena;
struct vm_budget;

struct vm_alloc {
    size_t used_bytes;        /* what Lua holds now; at most limit_bytes when that is not 0 */
    size_t peak_bytes;        /* the most it ever held */
    size_t limit_bytes;       /* 0: no limit */
    struct vm_arena *arena;   /* where a simulated state's blocks lie (vm/arena.h), or NULL */
    struct vm_budget *budget; /* what long strings are charged to, or NULL */
};

/* A lua_Alloc whose data is a struct vm_alloc. Shrinking never fails. */
void *vm_alloc_function(void *data, void *block, size_t old_size, size_t new_size);

#endif
