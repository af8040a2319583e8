/* model_external.c - a model whose steps the caller of the search computes: a Lua table. */
#include <stdlib.h>

#include "check/model.h"

struct instance {
    struct check_values *values;
    const struct check_external *external;
};

static int create(struct check_values *values, const struct check_external *external, void **out)
{
    struct instance *instance = malloc(sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    *instance = (struct instance){values, external};
    *out = instance;
    return 0;
}

/* The caller calls its first state 0. */
static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    const struct instance *instance = data;
    const struct check_external *external = instance->external;
    (void)err;
    if (operation->outcome == CHECK_FAIL)
        return CHECK_REJECT;
    check_value is_unknown;
    int rc = check_value_boolean(instance->values, operation->outcome == CHECK_INFO, &is_unknown);
    const check_value what[] = {operation->f, operation->input, operation->output, is_unknown,
                                external->by_process ? operation->process : CHECK_NIL};
    *effect = (struct check_effect){0};
    for (size_t i = 0; i < external->pure_count; i++)
        effect->is_pure |= external->pure[i] == operation->f;
    if (rc == 0)
        rc = check_value_list(instance->values, CHECK_KIND_LIST, what, sizeof what / sizeof *what,
                              &effect->a);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    (void)data;
    (void)effect;
    *next = state;
    return CHECK_ASK;
}

static int show(void *data, uint32_t state, check_value *out)
{
    (void)data;
    (void)state;
    *out = CHECK_NIL; /* the caller knows its states */
    return 0;
}

const struct check_model check_model_external = {
    .name = "external",
    .operations = "what the caller says",
    .is_remembered = true,
    .create = create,
    .close = free,
    .init = check_model_init_zero,
    .compile = compile,
    .step = step,
    .show = show,
};
