#include "alloc.h"

#include <stdatomic.h>

/* The linker's --wrap gives these their names. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static atomic_long countdown;  /* 0: not armed */
static atomic_bool is_lasting; /* the countdown stops at 1 */
static atomic_bool has_failed;

static bool fails_now(void)
{
    if (atomic_load(&countdown) == 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    if (atomic_load(&is_lasting))
        atomic_store(&countdown, 1);
    atomic_store(&has_failed, true);
    return true;
}

void test_alloc_fail(long n)
{
    atomic_store(&has_failed, false);
    atomic_store(&is_lasting, false);
    atomic_store(&countdown, n);
}

void test_alloc_fail_from(long n)
{
    atomic_store(&has_failed, false);
    atomic_store(&is_lasting, true);
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
