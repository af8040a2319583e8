#include "alloc.h"

#include <execinfo.h>
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
static int spared; /* depth; of the one thread that uses it, like what follows */
static uint64_t *noted_places;
static long noted_count, noted_max;

enum { CALLERS = 9, CALLERS_OWN = 2 /* of the callers, ours */ };

static void note_place(void)
{
    void *callers[CALLERS];
    uint64_t hash = 0;
    int depth = noted_count < noted_max ? backtrace(callers, CALLERS) : 0;
    for (int i = CALLERS_OWN; i < depth; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)callers[i]) * UINT64_C(0x9e3779b97f4a7c15);
    if (noted_count < noted_max)
        noted_places[noted_count] = hash;
    noted_count++;
}

static bool fails_now(void)
{
    if (spared > 0)
        return false;
    if (noted_places != NULL)
        note_place();
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

void test_alloc_spare(bool is_spared)
{
    spared += is_spared ? 1 : -1;
}

long test_alloc_note(uint64_t *places, long max)
{
    long count = noted_count;
    noted_places = places;
    noted_max = max;
    noted_count = 0;
    return count;
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
