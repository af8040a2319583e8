/* pieces.h - strings as rows of pieces.
 *
 * A string to which clients append is made of what they appended. When no piece is the beginning of
 * another, it can be cut into pieces in one way only, so it says which of them it holds, and in
 * which order. */
#ifndef PERI_CHECK_PIECES_H
#define PERI_CHECK_PIECES_H

#include <stdbool.h>

#include "check/value.h"

struct check_pieces; /* opaque: defined in pieces.c; counted: each holder closes it */

/* Makes the pieces of some strings; the empty one is none. On success the caller ends *out with
 * check_pieces_close(). Errors: PERI_ENOMEM; PERI_EINVAL when one begins another. */
int check_pieces_create(struct check_pieces **out, const struct check_values *values,
                        const check_value *strings, size_t count);

/* Another hold on the same pieces; NULL gives NULL. */
struct check_pieces *check_pieces_share(struct check_pieces *pieces);

/* Takes the first piece off text: its value; CHECK_NIL when text begins with none, or is empty. */
check_value check_pieces_next(struct check_pieces *pieces, struct peri_slice *text);

void check_pieces_close(struct check_pieces *pieces);

#endif
