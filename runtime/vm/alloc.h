/* alloc.h - Lua's memory, counted and limited.
 *
 * Every lua_State has a struct vm_alloc behind its lua_Alloc. An allocation beyond the limit fails;
 * Lua then collects its garbage, tries once more, and raises "not enough memory". */
#ifndef PERI_VM_ALLOC_H
#define PERI_VM_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

struct vm_arena;
struct vm_budget;

struct vm_alloc {
    size_t used_bytes;        /* what Lua holds now; at most limit_bytes when that is not 0 */
    size_t peak_bytes;        /* the most it ever held */
    size_t limit_bytes;       /* 0: no limit */
    struct vm_arena *arena;   /* where a simulated state's blocks lie (vm/arena.h), or NULL */
    struct vm_budget *budget; /* what long strings are charged to, or NULL */

    bool has_failed;      /* memory was refused since somebody set this to false, not counting
                             the budget's refusals and what Lua got when it tried once more */
    size_t refused_bytes; /* the last request, when it was refused; else 0 */
    const void *refused_block;
};

/* True when memory was refused since vm_alloc_forget, for want of it: whatever came of that, also
 * what a pcall has caught, may be different where there was memory. */
bool vm_alloc_has_failed(const struct vm_alloc *alloc);
void vm_alloc_forget(struct vm_alloc *alloc);

/* A lua_Alloc whose data is a struct vm_alloc. Shrinking never fails. */
void *vm_alloc_function(void *data, void *block, size_t old_size, size_t new_size);

#endif
