#include "vm/alloc.h"

#include <stdlib.h>

#ifdef PERILUNE_MIMALLOC
#include <mimalloc.h>
#define RESIZE mi_realloc
#define RELEASE mi_free
#else
#define RESIZE realloc
#define RELEASE free
#endif

void *vm_alloc_function(void *data, void *block, size_t old_size, size_t new_size)
{
    struct vm_alloc *alloc = data;
    size_t held = block != NULL ? old_size : 0; /* for a new block old_size is its type */
    if (new_size == 0) {
        RELEASE(block);
        alloc->used_bytes -= held;
        return NULL;
    }
    size_t others = alloc->used_bytes - held;
    if (new_size > held && alloc->limit_bytes != 0 &&
        (others > alloc->limit_bytes || new_size > alloc->limit_bytes - others))
        return NULL;
    void *moved = RESIZE(block, new_size);
    if (moved == NULL)
        return NULL;
    alloc->used_bytes = others + new_size;
    if (alloc->used_bytes > alloc->peak_bytes)
        alloc->peak_bytes = alloc->used_bytes;
    return moved;
}
