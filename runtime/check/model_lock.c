/* model_lock.c - a lock: acquire, release by who holds it. It starts free.
 *
 * An acquire may give a fencing token, an integer: each is greater than all before. A failed
 * acquire says nothing (it may have been given up). The state is { holder, last token }. */
#include "check/model_state.h"

enum { ACQUIRE, RELEASE, STATE_WORDS = 2 };

static int init(void *data, uint32_t *state)
{
    static const uint32_t words[STATE_WORDS] = {CHECK_NIL, CHECK_NIL};
    struct check_state_instance *instance = data;
    return check_sequences_add(instance->states, words, STATE_WORDS, state);
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    const struct check_state_instance *instance = data;
    const struct check_values *values = instance->values;
    if (operation->outcome == CHECK_FAIL)
        return CHECK_REJECT;
    if (check_value_is(values, operation->f, "release")) {
        *effect = (struct check_effect){.kind = RELEASE, .a = operation->process};
        return CHECK_ACCEPT;
    }
    if (!check_value_is(values, operation->f, "acquire"))
        return check_model_refuse(&check_model_lock, values, operation, err);
    if (operation->output != CHECK_NIL &&
        check_value_kind(values, operation->output) != CHECK_KIND_INTEGER)
        return peri_fail_plain(err, PERI_EFORMAT, "line %u: a fencing token is an integer",
                               operation->end_line);
    *effect =
        (struct check_effect){.kind = ACQUIRE, .a = operation->process, .b = operation->output};
    return CHECK_ACCEPT;
}

/* True when a token may follow another; nil: there is none. */
static bool may_follow(const struct check_values *values, check_value token, check_value last)
{
    return token == CHECK_NIL || last == CHECK_NIL ||
           check_value_to_integer(values, token) > check_value_to_integer(values, last);
}

/* The clients in focus still hold it one at a time, with growing tokens. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    (void)values;
    return check_focus_has(focus, operation->process);
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    struct check_state_instance *instance = data;
    size_t count;
    int rc = check_state_load(instance, state, &count);
    if (rc != 0)
        return rc;
    check_value holder = instance->words[0], last = instance->words[1];
    bool is_right = effect->kind == RELEASE
                        ? holder == effect->a
                        : holder == CHECK_NIL && may_follow(instance->values, effect->b, last);
    if (!is_right)
        return CHECK_REJECT;
    uint32_t words[STATE_WORDS] = {effect->kind == RELEASE ? CHECK_NIL : effect->a,
                                   effect->b == CHECK_NIL ? last : effect->b};
    return check_state_store(instance, words, STATE_WORDS, next);
}

const struct check_model check_model_lock = {
    .name = "lock",
    .operations = "acquire, release",
    .is_bounded = true,
    .is_remembered = true,
    .create = check_state_create,
    .close = check_state_close,
    .init = init,
    .compile = compile,
    .project = project,
    .step = step,
    .show = check_state_show,
    .memory = check_state_memory,
};
