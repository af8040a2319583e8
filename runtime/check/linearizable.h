/* linearizable.h - is there an order of these operations that explains what clients saw?
 *
 * The search of Wing and Gong (1993) with the memory of Lowe (2017): depth first over the order in
 * which operations take effect; an operation may be next when no other ended before it was called;
 * a configuration (operations done, state) is entered once. Five rules keep it small, each because
 * what it leaves out has an equal that stays:
 *  - An operation that never changes the state is put as early as its model accepts it: all others
 *    see the same states as before.
 *  - Of two with the same effect, where one was called and ended before the other was, that one
 *    goes first: in any order they can be exchanged.
 *  - One with an unknown outcome that would not change the state, or whose change the next one
 *    would undo without a trace, stays open: it may still be of use.
 *  - A state from which something required can no longer be accepted is left at once.
 *  - What was done is told by the first operation that was not, a window behind it, and the open
 *    ones: a long history needs no long keys.
 * Deterministic: the same part gives the same steps on every machine. Pure: the caller gives it
 * steps in portions and looks at the clock between them. */
#ifndef PERI_CHECK_LINEARIZABLE_H
#define PERI_CHECK_LINEARIZABLE_H

#include "check/part.h"

struct check_search; /* opaque: defined in search.h */

/* How an item takes part in a search. */
enum check_role {
    CHECK_RECORDED, /* as the history has it: required when it ended, open when it did not */
    CHECK_LEFT_OUT,
    CHECK_ANYTIME, /* perhaps it happened, at any time at all; in a bounded model any number of
                      times. A history that stays illegal so is illegal whatever became of it. */
};

enum check_result {
    CHECK_MORE, /* the portion is used up */
    CHECK_LEGAL,
    CHECK_ILLEGAL,
    CHECK_FULL, /* undecided: the memory is used up */
    CHECK_ASKS, /* the model is the caller's: see check_search_question */
};

struct check_limits {
    const uint8_t *roles; /* an enum check_role an item, copied; NULL: as recorded */
    uint32_t events; /* only what happened before this event of the history; CHECK_NEVER: all */
    size_t memory_max;
};

/* Prepares a search over part, which must outlive it. On success the caller ends *out with
 * check_search_close(). Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int check_search_create(struct check_search **out, struct check_part *part,
                        const struct check_limits *limits);

/* Searches for about `steps` steps of the model more. The result, or an error: PERI_ENOMEM,
 * PERI_ETOOBIG. After any result but CHECK_MORE and CHECK_ASKS another call gives it again. */
int check_search_run(struct check_search *search, uint64_t steps);

/* After CHECK_ASKS: what happens when an effect meets a state? */
void check_search_question(const struct check_search *search, uint32_t *state, uint32_t *effect);

/* Answers the question with the state after, or CHECK_REFUSED (transitions.h). Errors:
 * PERI_ENOMEM. */
int check_search_answer(struct check_search *search, uint32_t next);

/* Steps of the model that were tried so far. */
uint64_t check_search_steps(const struct check_search *search);

/* Bytes that the search takes, with its model's states. */
size_t check_search_memory(const struct check_search *search);

/* After CHECK_LEGAL: how many items the order has; then the index (of the part's items) of the i-th
 * from 0, and the state after it. */
size_t check_search_order_size(const struct check_search *search);
void check_search_order(const struct check_search *search, size_t i, uint32_t *item,
                        uint32_t *state);

void check_search_close(struct check_search *search);

#endif
