/* write.h - lets a test fail the n-th write of a connection, or make all of them short.
 *
 * The linker sends uv_try_write and uv_write of our own code here. */
#ifndef PERI_TEST_WRITE_H
#define PERI_TEST_WRITE_H

#include <stdbool.h>
#include <stddef.h>

/* From now on the n-th write (1 is the next) fails with code, once. */
void test_write_fail(long n, int code);

/* Ends that; returns true when a write has failed since. */
bool test_write_end(void);

/* A write that is tried takes size bytes at most; 0: all, as usual. */
void test_write_short(size_t size);

#endif
