/* model_state.h - what models share whose states are sequences of values. */
#ifndef PERI_CHECK_MODEL_STATE_H
#define PERI_CHECK_MODEL_STATE_H

#include "check/model.h"
#include "check/sequence.h"

/* The instance of such a model. */
struct check_state_instance {
    struct check_values *values;
    struct check_sequences *states;
    uint32_t *words; /* where the next state is put together */
    size_t capacity;
};

/* The functions of such a model's table: the empty sequence comes first, a state is shown as the
 * list of its values. Errors as in model.h. */
int check_state_create(struct check_values *values, const struct check_external *external,
                       void **out);
void check_state_close(void *data);
int check_state_init(void *data, uint32_t *state);
int check_state_show(void *data, uint32_t state, check_value *out);
size_t check_state_memory(void *data);

/* Copies a state to instance->words, with room for one word more, and tells its size. Errors:
 * PERI_ENOMEM. */
int check_state_load(struct check_state_instance *instance, uint32_t state, size_t *count);

/* Gives the number of the state of count words at words. Returns CHECK_ACCEPT. Errors: PERI_ENOMEM,
 * PERI_ETOOBIG. */
int check_state_store(struct check_state_instance *instance, const uint32_t *words, size_t count,
                      uint32_t *state);

#endif
