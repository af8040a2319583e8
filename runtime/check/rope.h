/* rope.h - strings that grow by appending, each known by a number.
 *
 * A rope is another one with a piece behind it; its bytes are nowhere in one place, so that a
 * thousand appends to a long string take little. Equal strings have equal numbers, however they
 * were put together: ropes are looked up by length and hash, and then compared byte by byte. */
#ifndef PERI_CHECK_ROPE_H
#define PERI_CHECK_ROPE_H

#include <stdbool.h>

#include "check/value.h"

struct check_ropes; /* opaque: defined in rope.c */

/* Creates a set that holds the empty string, number 0; the strings of pieces stay in values. The
 * caller ends it with check_ropes_close(). Errors: PERI_ENOMEM. */
int check_ropes_create(struct check_ropes **out, const struct check_values *values);

/* Gives the number of rope with the string piece behind it. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int check_rope_append(struct check_ropes *ropes, uint32_t rope, check_value piece, uint32_t *out);

/* Its length in bytes. */
size_t check_rope_size(const struct check_ropes *ropes, uint32_t rope);

/* Writes its bytes, check_rope_size of them. */
void check_rope_copy(const struct check_ropes *ropes, uint32_t rope, char *bytes);

/* A string against whose beginnings ropes are compared. */
struct check_rope_target {
    check_value string;
    uint64_t *hashes; /* of its first 0, 1 x, 2 x ... bytes of a step; owned */
};

/* Prepares a target. Errors: PERI_ENOMEM. */
int check_rope_target_init(struct check_rope_target *target, const struct check_values *values,
                           check_value string);

/* False when rope is no beginning of the target; true when it is, or (hardly ever) only has the
 * hash of one. */
bool check_rope_may_begin(const struct check_ropes *ropes, uint32_t rope,
                          const struct check_rope_target *target);

void check_rope_target_deinit(struct check_rope_target *target);

/* Bytes that the ropes take. */
size_t check_ropes_memory(const struct check_ropes *ropes);

void check_ropes_close(struct check_ropes *ropes);

#endif
