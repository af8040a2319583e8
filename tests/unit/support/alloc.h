/* alloc.h - lets a test fail the n-th allocation.
 *
 * The linker sends malloc, calloc and realloc of our own code (and of the static Lua) here; those
 * inside shared libraries go their usual way. Counts the allocations of all threads. */
#ifndef PERI_TEST_ALLOC_H
#define PERI_TEST_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on the n-th allocation (1 is the next) fails, once. */
void test_alloc_fail(long n);

/* The same, and all after it: Lua collects garbage and tries again when one fails. */
void test_alloc_fail_from(long n);

/* Ends that; returns true when an allocation has failed since. */
bool test_alloc_end(void);

/* Allocations of the test's own: from true to false nothing fails and nothing counts. Calls nest.
 */
void test_alloc_spare(bool is_spared);

/* Notes from now on in places[i] where allocation i + 1 was asked for (a hash of the callers), for
 * the first max ones; NULL ends that. Returns how many there were. */
long test_alloc_note(uint64_t *places, long max);

/* realloc that never fails for the test's sake. */
void *__real_realloc(void *old, size_t size);

#endif
