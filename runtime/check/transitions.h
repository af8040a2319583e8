/* transitions.h - what a model answered: state x effect -> state after, or refused. */
#ifndef PERI_CHECK_TRANSITIONS_H
#define PERI_CHECK_TRANSITIONS_H

#include <stddef.h>
#include <stdint.h>

#define CHECK_REFUSED UINT32_MAX

/* Starts zeroed. A slot whose key is 0 is free: keys are stored plus 1. */
struct check_transitions {
    struct check_transition {
        uint64_t key;
        uint32_t next;
    } * slots;
    size_t count, capacity;
};

/* Looks up the answer: 1 and *next (or CHECK_REFUSED) when it is known, else 0. */
int check_transitions_get(const struct check_transitions *transitions, uint32_t state,
                          uint32_t effect, uint32_t *next);

/* Remembers an answer that is not known yet. Errors: PERI_ENOMEM. */
int check_transitions_put(struct check_transitions *transitions, uint32_t state, uint32_t effect,
                          uint32_t next);

/* Bytes that they take. */
size_t check_transitions_memory(const struct check_transitions *transitions);

void check_transitions_deinit(struct check_transitions *transitions);

#endif
