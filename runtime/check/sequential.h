/* sequential.h - is there an order that explains what clients saw, each client's operations in its
 * own order, whatever the clock says?
 *
 * Sequential consistency (Lamport 1979) is linearizability without real time. It does not hold key
 * by key, so all objects are searched at once; deciding it is NP-hard. Depth first over what each
 * client has done, a configuration (how far each client is, states) entered once; operations that
 * never change the state are done as early as they are accepted. */
#ifndef PERI_CHECK_SEQUENTIAL_H
#define PERI_CHECK_SEQUENTIAL_H

#include "check/linearizable.h"

struct check_sequential; /* opaque: defined in sequential.c */

/* Prepares a search over a part that holds a whole history, each key an object of its own. The
 * model must not be check_model_external. Both must outlive the search. On success the caller ends
 * *out with check_sequential_close(). Errors: PERI_ENOMEM. */
int check_sequential_create(struct check_sequential **out, const struct check_history *history,
                            struct check_part *part, size_t memory_max);

/* Searches for about `steps` steps more: CHECK_MORE, CHECK_LEGAL (sequentially consistent),
 * CHECK_ILLEGAL, CHECK_FULL, or an error: PERI_ENOMEM, PERI_ETOOBIG. */
int check_sequential_run(struct check_sequential *search, uint64_t steps);

/* Steps that were tried so far, and bytes that it takes. */
uint64_t check_sequential_steps(const struct check_sequential *search);
size_t check_sequential_memory(const struct check_sequential *search);

/* After CHECK_LEGAL: how many items the order has, and the
 * index (of the part's items) of the i-th from 0. */
size_t check_sequential_order_size(const struct check_sequential *search);
uint32_t check_sequential_order(const struct check_sequential *search, size_t i);

void check_sequential_close(struct check_sequential *search);

#endif
