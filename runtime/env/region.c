/* region.c - large memory, in huge pages and kept for who asks next. */
#include <stdlib.h>
#include <sys/mman.h>

#include "env/ops.h"

enum { HUGE_PAGE = 2 << 20, HEADER_SIZE = 64 };

/* What stands in front of a region's bytes. */
struct env_region {
    size_t size; /* as asked for */
};

/* A hint; without huge pages everything stays right, only slower. */
static void ask_for_huge_pages(char *memory, size_t size)
{
    uintptr_t first = ((uintptr_t)memory + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    size_t before = (size_t)(first - (uintptr_t)memory);
    if (before + HUGE_PAGE <= size)
        (void)madvise(memory + before, (size - before) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
}

void *env_region_take(struct env *env, size_t size)
{
    struct env_region *region = atomic_exchange(&env->region, NULL);
    if (region == NULL || region->size != size) {
        free(region);
        region = malloc(HEADER_SIZE + size);
        if (region == NULL)
            return NULL;
        region->size = size;
        ask_for_huge_pages((char *)region, HEADER_SIZE + size);
    }
    return (char *)region + HEADER_SIZE;
}

void env_region_give(struct env *env, void *memory)
{
    if (memory != NULL)
        free(atomic_exchange(&env->region, (struct env_region *)((char *)memory - HEADER_SIZE)));
}

void env_region_trim(struct env *env)
{
    free(atomic_exchange(&env->region, NULL));
}
