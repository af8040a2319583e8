/* model.h - what the objects are that clients use: the sequential specification.
 *
 * A model is a table of functions over states that are numbers: the search compares, hashes and
 * stores nothing else. One instance serves the operations of one key. */
#ifndef PERI_CHECK_MODEL_H
#define PERI_CHECK_MODEL_H

#include "check/focus.h"
#include "check/history.h"

/* What compile and step answer, besides negative error codes. */
enum { CHECK_REJECT = 0, CHECK_ACCEPT = 1, CHECK_ASK = 2 };

/* What an operation does, as its model sees it. Operations with equal effects can stand for each
 * other. */
struct check_effect {
    uint32_t kind, a, b; /* the model's own */
    uint32_t is_pure;    /* it never changes the state, in whatever state it is accepted */
    uint32_t is_reset;   /* where it is accepted, the state after it is always the same */
    uint32_t weight;     /* of a pure one whose state is always the same: how much it shows of what
                            led there; 0 where that is no help to a search */
};

/* What a model that is not one of ours needs to know. */
struct check_external {
    bool by_process;         /* its steps look at who did it */
    const check_value *pure; /* names of operations that never change the state */
    size_t pure_count;
};

struct check_model {
    const char *name;
    const char *operations; /* for people: "read, write" */
    bool judges_failures;   /* a failed operation can be information (a cas that did not match) */
    bool is_bounded;        /* repeating operations leads to finitely many states */
    bool is_remembered;     /* step is dear: the search remembers what it answered */

    /* Makes an instance over values, which stay the caller's, as external (lent for as long as the
     * instance lives; NULL except for check_model_external). Errors: PERI_ENOMEM. */
    int (*create)(struct check_values *values, const struct check_external *external,
                  void **instance);
    void (*close)(void *instance);

    /* The state before every operation. Errors: PERI_ENOMEM. */
    int (*init)(void *instance, uint32_t *state);

    /* CHECK_ACCEPT and the effect of an operation (which is unknown or successful, or failed where
     * judges_failures), or CHECK_REJECT when it says nothing. Errors: PERI_EFORMAT when the model
     * has no such operation, err saying what it has; PERI_ENOMEM. */
    int (*compile)(void *instance, const struct check_operation *operation,
                   struct check_effect *effect, struct peri_error *err);

    /* May be NULL: clients append to no strings. Makes *out the pieces of the strings that
     * operations (count indices) append and put, and leaves it where none appends. Errors:
     * PERI_ENOMEM; PERI_EINVAL when they could be cut in several ways. */
    int (*cut)(const struct check_values *values, const struct check_operation *operations,
               const uint32_t *indices, size_t count, struct check_pieces **out);

    /* May be NULL: this model cannot be seen through a few values. Makes of an operation what it is
     * for the values in focus: CHECK_ACCEPT, or CHECK_REJECT when it is nothing. Every order of
     * operations that is legal must stay legal. Errors: PERI_ENOMEM, PERI_ETOOBIG; PERI_EINVAL when
     * the operation mixes values. */
    int (*project)(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation);

    /* CHECK_ACCEPT and the state after the operation, or CHECK_REJECT; CHECK_ASK when only the
     * caller of the search can tell (check_search_answer). Errors: PERI_ENOMEM, PERI_ETOOBIG. */
    int (*step)(void *instance, uint32_t state, const struct check_effect *effect, uint32_t *next);

    /* NULL together with may_lead. The state after a reset; the state in which one with a weight is
     * accepted. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
    int (*after)(void *instance, const struct check_effect *effect, uint32_t *state);

    /* May be NULL. False when no operations but resets can lead from state to one where effect is
     * accepted. */
    bool (*may_lead)(void *instance, uint32_t state, const struct check_effect *effect);

    /* The state as a value, for people. Errors: PERI_ENOMEM. */
    int (*show)(void *instance, uint32_t state, check_value *out);

    /* Bytes that the instance takes. May be NULL: next to nothing. */
    size_t (*memory)(void *instance);
};

/* The model of a name ("cas-register"), or NULL. */
const struct check_model *check_model_find(const char *name);

/* The i-th model, or NULL past the last. */
const struct check_model *check_model_at(size_t i);

/* Fills err with "<operation> is no operation of the model NAME, which has ...". Returns
 * PERI_EFORMAT. */
int check_model_refuse(const struct check_model *model, const struct check_values *values,
                       const struct check_operation *operation, struct peri_error *err);

/* For models: the init of those whose first state is 0, and the after of those whose effects have
 * the state in a. */
int check_model_init_zero(void *instance, uint32_t *state);
int check_model_after_a(void *instance, const struct check_effect *effect, uint32_t *state);

extern const struct check_model check_model_register, check_model_cas_register, check_model_kv,
    check_model_append, check_model_counter, check_model_set, check_model_queue, check_model_lock;

/* The model whose steps the caller of the search computes; its name is not found by
 * check_model_find. The effect's a is the list { f, input, output, is unknown, process }. */
extern const struct check_model check_model_external;

#endif
