#include "alloc.h"

#include <stdatomic.h>
#include <stddef.h>

/* The linker's --wrap gives these their names. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static atomic_long countdown; /* 0: not armed */
static atomic_bool has_failed;

static bool fails_now(void)
{
    if (atomic_load(&countdown) == 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    return true;
}

void test_alloc_fail(long n)
{
    atomic_store(&has_failed, false);
    atomic_store(&countdown, n);
}

bool test_alloc_end(void)
{
    atomic_store(&countdown, 0);
    return atomic_load(&has_failed);
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : __real_realloc(old, size);
}
