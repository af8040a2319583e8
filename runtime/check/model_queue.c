/* model_queue.c - first in, first out: enqueue v; dequeue, which gives a value, or nil when there
 * is none. It starts empty; the state is what it holds, the oldest first. */
#include "check/model_state.h"

enum { ENQUEUE, DEQUEUE, DEQUEUE_EMPTY, DEQUEUE_UNKNOWN };

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    const struct check_state_instance *instance = data;
    const struct check_values *values = instance->values;
    if (check_value_is(values, operation->f, "enqueue"))
        *effect = (struct check_effect){.kind = ENQUEUE, .a = operation->input};
    else if (!check_value_is(values, operation->f, "dequeue"))
        return check_model_refuse(&check_model_queue, values, operation, err);
    else if (operation->outcome == CHECK_INFO)
        *effect = (struct check_effect){.kind = DEQUEUE_UNKNOWN};
    else if (operation->output == CHECK_NIL)
        *effect = (struct check_effect){.kind = DEQUEUE_EMPTY, .is_pure = true};
    else
        *effect = (struct check_effect){.kind = DEQUEUE, .a = operation->output};
    return operation->outcome == CHECK_FAIL ? CHECK_REJECT : CHECK_ACCEPT;
}

/* A few values leave in the order in which they came. What may have taken any value concerns
 * them all; what found the queue empty says something of them, but only where nil is in focus. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    if (check_value_is(values, operation->f, "enqueue"))
        return check_focus_has(focus, operation->input);
    return operation->outcome == CHECK_INFO || check_focus_has(focus, operation->output);
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    struct check_state_instance *instance = data;
    size_t count;
    int rc = check_state_load(instance, state, &count);
    if (rc != 0)
        return rc;
    *next = state;
    switch (effect->kind) {
    case ENQUEUE:
        instance->words[count] = effect->a;
        return check_state_store(instance, instance->words, count + 1, next);
    case DEQUEUE_EMPTY:
        return count == 0;
    case DEQUEUE:
        if (count == 0 || instance->words[0] != effect->a)
            return CHECK_REJECT;
        return check_state_store(instance, instance->words + 1, count - 1, next);
    default:
        if (count == 0)
            return CHECK_ACCEPT;
        return check_state_store(instance, instance->words + 1, count - 1, next);
    }
}

const struct check_model check_model_queue = {
    .name = "queue",
    .operations = "enqueue, dequeue",
    .is_remembered = true,
    .create = check_state_create,
    .close = check_state_close,
    .init = check_state_init,
    .compile = compile,
    .project = project,
    .step = step,
    .show = check_state_show,
    .memory = check_state_memory,
};
