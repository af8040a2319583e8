/* model_counter.c - a sum: add n (n may be negative), read. It starts at 0; the state is the value
 * that a read gives. */
#include <stdlib.h>

#include "check/model.h"

enum { ADD, READ };

struct instance {
    struct check_values *values;
};

static int create(struct check_values *values, const struct check_external *external, void **out)
{
    (void)external;
    struct instance *instance = malloc(sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    instance->values = values;
    *out = instance;
    return 0;
}

static int init(void *data, uint32_t *state)
{
    const struct instance *instance = data;
    return check_value_integer(instance->values, 0, state);
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    const struct instance *instance = data;
    const struct check_values *values = instance->values;
    if (check_value_is(values, operation->f, "read")) {
        *effect = (struct check_effect){.kind = READ, .a = operation->output, .is_pure = true};
    } else if (!check_value_is(values, operation->f, "add")) {
        return check_model_refuse(&check_model_counter, values, operation, err);
    } else if (check_value_kind(values, operation->input) != CHECK_KIND_INTEGER) {
        return peri_fail_plain(err, PERI_EFORMAT, "line %u: the value of an add is an integer",
                               operation->call_line);
    } else {
        *effect = (struct check_effect){.kind = ADD, .a = operation->input};
    }
    return operation->outcome == CHECK_FAIL ? CHECK_REJECT : CHECK_ACCEPT;
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    const struct instance *instance = data;
    int64_t sum;
    *next = state;
    if (effect->kind == READ)
        return state == effect->a;
    if (__builtin_add_overflow(check_value_to_integer(instance->values, state),
                               check_value_to_integer(instance->values, effect->a), &sum))
        return CHECK_REJECT;
    int rc = check_value_integer(instance->values, sum, next);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

static int show(void *data, uint32_t state, check_value *out)
{
    (void)data;
    *out = state;
    return 0;
}

static size_t memory(void *data)
{
    const struct instance *instance = data;
    return check_values_memory(instance->values);
}

const struct check_model check_model_counter = {
    .name = "counter",
    .operations = "add, read",
    .create = create,
    .close = free,
    .init = init,
    .compile = compile,
    .step = step,
    .show = show,
    .memory = memory,
};
