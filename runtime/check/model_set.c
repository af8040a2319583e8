/* model_set.c - a set: add e, remove e, contains e (true or false), read (all of it, in any order).
 * It starts empty; the state is its elements, sorted by their numbers. A read that names an element
 * twice is never right. */
#include <stdlib.h>
#include <string.h>

#include "check/model_state.h"

enum { ADD, REMOVE, HAS, HAS_NOT, READ, NEVER };

static int compare_words(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static int compile_read(struct check_state_instance *instance,
                        const struct check_operation *operation, struct check_effect *effect,
                        struct peri_error *err)
{
    size_t count;
    if (operation->outcome != CHECK_OK)
        return CHECK_REJECT;
    if (check_value_kind(instance->values, operation->output) != CHECK_KIND_LIST)
        return peri_fail_plain(err, PERI_EFORMAT, "line %u: the result of a read is a list",
                               operation->end_line);
    const check_value *items = check_value_items(instance->values, operation->output, &count);
    uint32_t *sorted = malloc((count + 1) * sizeof *sorted);
    if (sorted == NULL)
        return PERI_ENOMEM;
    if (count > 0)
        memcpy(sorted, items, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_words);
    *effect = (struct check_effect){.kind = READ, .is_pure = true};
    for (size_t i = 1; i < count; i++) {
        if (sorted[i] == sorted[i - 1])
            effect->kind = NEVER;
    }
    int rc = check_state_store(instance, sorted, count, &effect->a);
    free(sorted);
    return rc;
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    struct check_state_instance *instance = data;
    const struct check_values *values = instance->values;
    if (check_value_is(values, operation->f, "read"))
        return compile_read(instance, operation, effect, err);
    *effect = (struct check_effect){.a = operation->input};
    if (check_value_is(values, operation->f, "add")) {
        effect->kind = ADD;
    } else if (check_value_is(values, operation->f, "remove")) {
        effect->kind = REMOVE;
    } else if (!check_value_is(values, operation->f, "contains")) {
        return check_model_refuse(&check_model_set, values, operation, err);
    } else {
        if (operation->outcome != CHECK_OK)
            return CHECK_REJECT;
        if (check_value_kind(values, operation->output) != CHECK_KIND_BOOLEAN)
            return peri_fail_plain(err, PERI_EFORMAT,
                                   "line %u: the result of contains is true or false",
                                   operation->end_line);
        effect->kind = check_value_to_boolean(values, operation->output) ? HAS : HAS_NOT;
        effect->is_pure = true;
    }
    return operation->outcome == CHECK_FAIL ? CHECK_REJECT : CHECK_ACCEPT;
}

/* Each element comes and goes by itself. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    if (!check_value_is(values, operation->f, "read"))
        return check_focus_has(focus, operation->input);
    int rc = check_focus_list(focus, values, &operation->output);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

/* Where element stands, or belongs, in sorted words. */
static size_t position(const uint32_t *words, size_t count, uint32_t element)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (words[middle] < element)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    struct check_state_instance *instance = data;
    size_t count;
    *next = state;
    if (effect->kind == READ)
        return state == effect->a;
    int rc = check_state_load(instance, state, &count);
    if (rc != 0)
        return rc;
    uint32_t *words = instance->words;
    size_t at = position(words, count, effect->a);
    bool has = at < count && words[at] == effect->a;
    if (effect->kind == HAS || effect->kind == HAS_NOT)
        return has == (effect->kind == HAS);
    if (effect->kind == NEVER)
        return CHECK_REJECT;
    if (has == (effect->kind == ADD))
        return CHECK_ACCEPT;
    if (has) {
        memmove(words + at, words + at + 1, (count - at - 1) * sizeof *words);
        return check_state_store(instance, words, count - 1, next);
    }
    memmove(words + at + 1, words + at, (count - at) * sizeof *words);
    words[at] = effect->a;
    return check_state_store(instance, words, count + 1, next);
}

const struct check_model check_model_set = {
    .name = "set",
    .operations = "add, remove, contains, read",
    .is_bounded = true,
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
