/* model_register.c - one value that is read, written, and compared and set.
 *
 * It starts without a value (nil). A failed cas says that the value was another one, unless it
 * comes with an error: then it says nothing. The state is the value. */
#include <stdlib.h>

#include "check/model.h"

enum { READ, WRITE, CAS, CAS_FAILED };

struct instance {
    struct check_values *values;
    const struct check_model *model;
};

static int create(struct check_values *values, const struct check_model *model, void **out)
{
    struct instance *instance = malloc(sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    *instance = (struct instance){values, model};
    *out = instance;
    return 0;
}

static int create_register(struct check_values *values, const struct check_external *external,
                           void **out)
{
    (void)external;
    return create(values, &check_model_register, out);
}

static int create_cas_register(struct check_values *values, const struct check_external *external,
                               void **out)
{
    (void)external;
    return create(values, &check_model_cas_register, out);
}

static int init(void *instance, uint32_t *state)
{
    (void)instance;
    *state = CHECK_NIL;
    return 0;
}

static int compile_cas(const struct instance *instance, const struct check_operation *operation,
                       struct check_effect *effect, struct peri_error *err)
{
    const struct check_values *values = instance->values;
    size_t count = 0;
    const check_value *pair = NULL;
    if (check_value_kind(values, operation->input) == CHECK_KIND_LIST)
        pair = check_value_items(values, operation->input, &count);
    if (count != 2)
        return peri_fail_plain(err, PERI_EFORMAT,
                               "line %u: the value of a cas is a pair [old, new]",
                               operation->call_line);
    if (operation->outcome == CHECK_FAIL) {
        *effect = (struct check_effect){.kind = CAS_FAILED, .a = pair[0], .is_pure = true};
        return operation->error == CHECK_NIL ? CHECK_ACCEPT : CHECK_REJECT;
    }
    *effect = (struct check_effect){.kind = CAS, .a = pair[0], .b = pair[1], .is_reset = true};
    return CHECK_ACCEPT;
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    const struct instance *instance = data;
    const struct check_values *values = instance->values;
    if (check_value_is(values, operation->f, "cas") && instance->model->judges_failures)
        return compile_cas(instance, operation, effect, err);
    if (check_value_is(values, operation->f, "read"))
        *effect = (struct check_effect){.kind = READ, .a = operation->output, .is_pure = true};
    else if (check_value_is(values, operation->f, "write"))
        *effect = (struct check_effect){.kind = WRITE, .a = operation->input, .is_reset = true};
    else
        return check_model_refuse(instance->model, values, operation, err);
    return operation->outcome == CHECK_FAIL ? CHECK_REJECT : CHECK_ACCEPT;
}

static int project_cas(struct check_values *values, const struct check_focus *focus,
                       struct check_operation *operation)
{
    size_t count;
    const check_value *pair = check_value_items(values, operation->input, &count);
    check_value old = pair[0], new = pair[1];
    bool has_old = check_focus_has(focus, old), has_new = check_focus_has(focus, new);
    if (operation->outcome == CHECK_FAIL || (!has_old && !has_new))
        return CHECK_REJECT;
    if (has_old && has_new)
        return CHECK_ACCEPT;
    *(has_new ? &operation->input : &operation->output) = has_new ? new : old;
    struct peri_slice f = has_new ? peri_slice_of("write", 5) : peri_slice_of("read", 4);
    int rc = check_value_string(values, f, &operation->f);
    return rc != 0 ? rc : has_new || operation->outcome == CHECK_OK;
}

/* A write of a value that nobody reads can be left out: the value before it stays. A cas to a value
 * in focus is at least a write of it, one from such a value a read. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    if (check_value_is(values, operation->f, "cas"))
        return project_cas(values, focus, operation);
    bool is_read = check_value_is(values, operation->f, "read");
    return check_focus_has(focus, is_read ? operation->output : operation->input);
}

static int step(void *instance, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    (void)instance;
    switch (effect->kind) {
    case WRITE:
        *next = effect->a;
        return CHECK_ACCEPT;
    case CAS:
        *next = effect->b;
        return state == effect->a;
    case CAS_FAILED:
        *next = state;
        return state != effect->a;
    default:
        *next = state;
        return state == effect->a;
    }
}

static int after(void *instance, const struct check_effect *effect, uint32_t *state)
{
    (void)instance;
    *state = effect->kind == CAS ? effect->b : effect->a;
    return 0;
}

static bool may_lead(void *instance, uint32_t state, const struct check_effect *effect)
{
    uint32_t next;
    return effect->kind == CAS_FAILED || step(instance, state, effect, &next) == CHECK_ACCEPT;
}

static int show(void *instance, uint32_t state, check_value *out)
{
    (void)instance;
    *out = state;
    return 0;
}

const struct check_model check_model_register = {
    .name = "register",
    .operations = "read, write",
    .is_bounded = true,
    .create = create_register,
    .close = free,
    .init = init,
    .compile = compile,
    .project = project,
    .step = step,
    .after = after,
    .may_lead = may_lead,
    .show = show,
};

const struct check_model check_model_cas_register = {
    .name = "cas-register",
    .operations = "read, write, cas",
    .judges_failures = true,
    .is_bounded = true,
    .create = create_cas_register,
    .close = free,
    .init = init,
    .compile = compile,
    .project = project,
    .step = step,
    .after = after,
    .may_lead = may_lead,
    .show = show,
};
