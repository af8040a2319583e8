#include "vm/arena.h"

#include <sanitizer/asan_interface.h> /* nothing without the sanitizer */
#include <stdbool.h>
#include <string.h>

enum { GRAIN = 16, FINE_MAX = 1024, FINE_CLASSES = FINE_MAX / GRAIN };

#define EXTENT_MIN ((size_t)256 << 10) /* what a state maps at first */
#define EXTENT_MAX ((size_t)8 << 20)
#define DISCARD_MIN ((size_t)1 << 20) /* pages of smaller free blocks stay resident */

struct size_class {
    uint32_t index;
    size_t block_bytes;
};

static struct size_class class_of(size_t size)
{
    if (size <= FINE_MAX) {
        uint32_t index = (uint32_t)((size + GRAIN - 1) / GRAIN);
        return (struct size_class){index - 1, (size_t)index * GRAIN};
    }
    uint32_t top_bit = 63 - (uint32_t)__builtin_clzll(size - 1); /* 10 for 1025 to 2048 */
    uint32_t shift = top_bit - 2;
    size_t step = (size - 1) >> shift; /* 4 to 7 */
    uint32_t index = FINE_CLASSES + (top_bit - 10) * 4 + (uint32_t)step - 4;
    return (struct size_class){index, (step + 1) << shift};
}

static bool extend(struct vm_arena *arena, size_t need_bytes)
{
    size_t mapped = arena->region.mapped_bytes;
    size_t size = mapped < EXTENT_MAX ? mapped : EXTENT_MAX; /* doubles, then grows evenly */
    if (size < need_bytes)
        size = (need_bytes + EXTENT_MIN - 1) / EXTENT_MIN * EXTENT_MIN;
    if (env_region_extend(&arena->region, size) != 0)
        return false;
    ASAN_POISON_MEMORY_REGION(arena->end, size);
    arena->end += size;
    return true;
}

static void *take(struct vm_arena *arena, size_t size)
{
    struct size_class class = class_of(size);
    if (class.index >= VM_ARENA_CLASSES)
        return NULL;
    void *block = arena->free[class.index];
    if (block != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(block, size < sizeof(void *) ? sizeof(void *) : size);
        memcpy(&arena->free[class.index], block, sizeof(void *));
        return block;
    }
    if ((size_t)(arena->end - arena->top) < class.block_bytes && !extend(arena, class.block_bytes))
        return NULL;
    block = arena->top;
    arena->top += class.block_bytes;
    ASAN_UNPOISON_MEMORY_REGION(block, size);
    return block;
}

static void give(struct vm_arena *arena, void *block, size_t size)
{
    struct size_class class = class_of(size);
    ASAN_UNPOISON_MEMORY_REGION(block, sizeof(void *)); /* the block may hold a single byte */
    memcpy(block, &arena->free[class.index], sizeof(void *));
    arena->free[class.index] = block;
    if (class.block_bytes >= DISCARD_MIN)
        env_region_discard((char *)block + sizeof(void *), class.block_bytes - sizeof(void *));
    ASAN_POISON_MEMORY_REGION(block, class.block_bytes);
}

int vm_arena_init(struct vm_arena *arena, uint32_t slot)
{
    *arena = (struct vm_arena){0};
    int rc = env_region_open(&arena->region, slot, EXTENT_MIN);
    if (rc != 0)
        return rc;
    arena->top = arena->region.base;
    arena->end = arena->region.base + EXTENT_MIN;
    ASAN_POISON_MEMORY_REGION(arena->top, EXTENT_MIN);
    return 0;
}

void *vm_arena_resize(struct vm_arena *arena, void *block, size_t old_size, size_t new_size)
{
    if (new_size == 0) {
        if (block != NULL)
            give(arena, block, old_size);
        return NULL;
    }
    if (block == NULL)
        return take(arena, new_size);
    size_t held = class_of(old_size).block_bytes;
    if (held == class_of(new_size).block_bytes) {
        ASAN_POISON_MEMORY_REGION(block, held);
        ASAN_UNPOISON_MEMORY_REGION(block, new_size);
        return block;
    }
    void *moved = take(arena, new_size);
    if (moved == NULL)
        return new_size < old_size ? block : NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    give(arena, block, old_size);
    return moved;
}

void vm_arena_deinit(struct vm_arena *arena)
{
    if (arena->region.base != NULL)
        ASAN_UNPOISON_MEMORY_REGION(arena->region.base, arena->region.mapped_bytes);
    env_region_close(&arena->region);
}
