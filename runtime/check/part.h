/* part.h - the operations of one object, compiled for its model.
 *
 * A history is linearizable exactly if the part of every object is (Herlihy and Wing 1990, theorem
 * 1; Horn and Kroening 2015), so each is searched alone. */
#ifndef PERI_CHECK_PART_H
#define PERI_CHECK_PART_H

#include "check/model.h"

/* One operation that its model has something to say about. */
struct check_item {
    uint32_t operation; /* its index in the history */
    uint32_t effect;    /* index of effects */
    uint32_t call, end; /* as the operation's */
};

struct check_part {
    const struct check_model *model;
    void *instance;           /* of the model */
    struct check_item *items; /* in the order of calls */
    size_t count;
    struct check_effect *effects; /* no two are equal */
    size_t effect_count;
    struct check_focus focus; /* without bits: it is no part of a part */
    bool is_cut;              /* focus.pieces is known */
};

/* Compiles the operations of a history (count indices in ascending order) for a model. What says
 * nothing is left out: failed operations, and reads without an answer. Both history and external
 * stay the caller's and must outlive the part. On success the caller ends *out with
 * check_part_close(). Errors: PERI_ENOMEM, PERI_ETOOBIG; PERI_EFORMAT naming the line of an
 * operation that the model does not have. */
int check_part_create(struct check_part **out, const struct check_history *history,
                      const struct check_model *model, const struct check_external *external,
                      const uint32_t *operations, size_t count, struct peri_error *err);

/* Makes the part that remains of one when only the values in focus count (focus.h): illegal only if
 * the whole is. Takes focus; of a part that was made so itself, what both have in focus remains. On
 * success the caller ends *out with check_part_close(). Errors: as above;
 * PERI_EINVAL when the model, or the history with this model, cannot be seen so. What part finds
 * out for this it keeps. */
int check_part_focus(struct check_part **out, const struct check_history *history,
                     struct check_part *part, struct check_focus *focus, struct peri_error *err);

/* The operation of an item, as the part sees it. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int check_part_operation(const struct check_part *part, const struct check_history *history,
                         size_t item, struct check_operation *operation);

/* The most items that are open at one time, and the index of the first whose call makes it so.
 * Errors: PERI_ENOMEM. */
int check_part_widest(const struct check_part *part, size_t *most, size_t *item);

void check_part_close(struct check_part *part);

#endif
