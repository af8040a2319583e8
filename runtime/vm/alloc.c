#include "vm/alloc.h"

#include <lua.h>
#include <stdlib.h>

#include "vm/arena.h"
#include "vm/budget.h"

#ifdef PERILUNE_MIMALLOC
#include <mimalloc.h>
#define RESIZE mi_realloc
#define RELEASE mi_free
#else
#define RESIZE realloc
#define RELEASE free
#endif

static void release(struct vm_alloc *alloc, void *block, size_t held)
{
    if (alloc->arena != NULL)
        (void)vm_arena_resize(alloc->arena, block, held, 0);
    else
        RELEASE(block);
}

void *vm_alloc_function(void *data, void *block, size_t old_size, size_t new_size)
{
    struct vm_alloc *alloc = data;
    size_t held = block != NULL ? old_size : 0; /* for a new block old_size is its type */
    if (new_size == 0) {
        release(alloc, block, held);
        alloc->used_bytes -= held;
        return NULL;
    }
    size_t others = alloc->used_bytes - held;
    if (new_size > held && alloc->limit_bytes != 0 &&
        (others > alloc->limit_bytes || new_size > alloc->limit_bytes - others))
        return NULL;
    if (block == NULL && alloc->budget != NULL && alloc->budget->is_counting &&
        !vm_budget_take(alloc->budget, old_size, new_size))
        return NULL;
    void *moved = alloc->arena != NULL ? vm_arena_resize(alloc->arena, block, held, new_size)
                                       : RESIZE(block, new_size);
    if (moved == NULL)
        return NULL;
    alloc->used_bytes = others + new_size;
    if (alloc->used_bytes > alloc->peak_bytes)
        alloc->peak_bytes = alloc->used_bytes;
    return moved;
}
