/* focus.h - a history seen through a few values.
 *
 * What remains when all but the operations about some values are forgotten (projection): a read of
 * a whole list sees only those of its elements, a cas becomes what it means for them. Each model
 * forgets so (check_model.project) that every legal order stays legal; where the rest is illegal,
 * so is all. A few operations are then a proof. */
#ifndef PERI_CHECK_FOCUS_H
#define PERI_CHECK_FOCUS_H

#include <stdbool.h>
#include <stdint.h>

#include "check/pieces.h"

struct check_focus {
    uint64_t *bits;              /* one a value */
    size_t size;                 /* values that have a bit */
    bool has_void;               /* no value, or the empty string, is in focus */
    struct check_pieces *pieces; /* of strings; NULL: a string is a value like others */
};

/* Makes the focus of some values; the caller deinits it. Errors: PERI_ENOMEM. */
int check_focus_init(struct check_focus *focus, const struct check_values *values,
                     const check_value *list, size_t count);
void check_focus_deinit(struct check_focus *focus);

/* Takes out of focus what is not in by as well. */
void check_focus_narrow(struct check_focus *focus, const struct check_focus *by);

/* True when the value is in focus. */
bool check_focus_has(const struct check_focus *focus, check_value value);

/* Replaces a list by those of its items that are in focus; what is no list stays. Errors:
 * PERI_ENOMEM, PERI_ETOOBIG. */
int check_focus_list(const struct check_focus *focus, struct check_values *values,
                     check_value *list);

/* Replaces a string by those of its pieces that are in focus; what is no string, or cannot be cut,
 * stays. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int check_focus_string(const struct check_focus *focus, struct check_values *values,
                       check_value *string);

#endif
