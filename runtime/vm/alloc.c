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

bool vm_alloc_has_failed(const struct vm_alloc *alloc)
{
    return alloc->has_failed || alloc->refused_bytes != 0;
}

void vm_alloc_forget(struct vm_alloc *alloc)
{
    alloc->has_failed = false;
    alloc->refused_bytes = 0;
}

static void *refuse(struct vm_alloc *alloc, const void *block, size_t size)
{
    alloc->has_failed = vm_alloc_has_failed(alloc);
    alloc->refused_block = block;
    alloc->refused_bytes = size;
    return NULL;
}

/* The request was granted: if the one before was refused and is not this one, it is lost. */
static void grant(struct vm_alloc *alloc, const void *block, size_t size)
{
    bool is_again = alloc->refused_block == block && alloc->refused_bytes == size;
    alloc->has_failed = alloc->has_failed || !is_again;
    alloc->refused_bytes = 0;
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
        return refuse(alloc, block, new_size);
    if (block == NULL && alloc->budget != NULL && alloc->budget->is_counting &&
        !vm_budget_take(alloc->budget, old_size, new_size))
        return NULL;
    void *moved = alloc->arena != NULL ? vm_arena_resize(alloc->arena, block, held, new_size)
                                       : RESIZE(block, new_size);
    if (moved == NULL)
        return refuse(alloc, block, new_size);
    if (alloc->refused_bytes != 0 && new_size > held)
        grant(alloc, block, new_size);
    alloc->used_bytes = others + new_size;
    if (alloc->used_bytes > alloc->peak_bytes)
        alloc->peak_bytes = alloc->used_bytes;
    return moved;
}
