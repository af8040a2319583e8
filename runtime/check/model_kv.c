/* model_kv.c - one key of a map: get, put, append, delete.
 *
 * It starts absent; a get of what is absent gives nil or "" (stores differ), and append to it
 * starts a string. Values that are no strings can be put and got, but not appended to. States:
 * 0 is absent, odd ones are strings (ropes), the other even ones are other values. */
#include <stdlib.h>
#include <string.h>

#include "check/model.h"
#include "check/rope.h"
#include "check/transitions.h"

enum { GET, PUT, APPEND, DELETE, ABSENT = 0, TARGETS_MIN = 16 };
#define NO_TARGET UINT32_MAX

struct instance {
    struct check_values *values;
    struct check_ropes *ropes;
    struct check_transitions appended; /* rope x piece -> rope */
    struct check_rope_target *targets; /* the strings that gets gave */
    size_t target_count, target_capacity;
};

static void close(void *data)
{
    struct instance *instance = data;
    for (size_t i = 0; i < instance->target_count; i++)
        check_rope_target_deinit(&instance->targets[i]);
    free(instance->targets);
    check_transitions_deinit(&instance->appended);
    check_ropes_close(instance->ropes);
    free(instance);
}

static int create(struct check_values *values, const struct check_external *external, void **out)
{
    (void)external;
    struct instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    instance->values = values;
    int rc = check_ropes_create(&instance->ropes, values);
    if (rc != 0) {
        close(instance);
        return rc;
    }
    *out = instance;
    return 0;
}

static bool is_string(uint32_t state)
{
    return state % 2 == 1;
}

static uint32_t state_of_rope(uint32_t rope)
{
    return rope * 2 + 1;
}

/* The state that holds a value. */
static int state_of(struct instance *instance, check_value value, uint32_t *state)
{
    uint32_t rope = 0;
    if (check_value_kind(instance->values, value) != CHECK_KIND_STRING) {
        *state = value * 2; /* nil, which is 0, is absent */
        return value > UINT32_MAX / 2 - 1 ? PERI_ETOOBIG : 0;
    }
    int rc = check_rope_append(instance->ropes, 0, value, &rope);
    *state = state_of_rope(rope);
    return rc;
}

static int add_target(struct instance *instance, check_value string)
{
    if (instance->target_count == instance->target_capacity) {
        size_t capacity =
            instance->target_capacity == 0 ? TARGETS_MIN : instance->target_capacity * 2;
        struct check_rope_target *targets =
            realloc(instance->targets, capacity * sizeof *instance->targets);
        if (targets == NULL)
            return PERI_ENOMEM;
        instance->targets = targets;
        instance->target_capacity = capacity;
    }
    int rc = check_rope_target_init(&instance->targets[instance->target_count], instance->values,
                                    string);
    instance->target_count += rc == 0;
    return rc;
}

/* The index of the target of a string; equal strings share one when they come in a row. */
static int target_of(struct instance *instance, check_value string, uint32_t *target)
{
    size_t count = instance->target_count;
    int rc = 0;
    if (count == 0 || instance->targets[count - 1].string != string)
        rc = add_target(instance, string);
    *target = (uint32_t)instance->target_count - 1;
    return rc;
}

static int compile_get(struct instance *instance, const struct check_operation *operation,
                       struct check_effect *effect)
{
    uint32_t state, target = NO_TARGET;
    if (operation->outcome != CHECK_OK)
        return CHECK_REJECT;
    int rc = state_of(instance, operation->output, &state);
    size_t size = rc == 0 && is_string(state) ? check_rope_size(instance->ropes, state / 2) : 0;
    if (size > 0)
        rc = target_of(instance, operation->output, &target);
    *effect = (struct check_effect){.kind = GET, .a = state, .b = target, .is_pure = true};
    effect->weight = size < UINT32_MAX ? (uint32_t)size : 0;
    return rc == 0 ? CHECK_ACCEPT : rc;
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    struct instance *instance = data;
    const struct check_values *values = instance->values;
    if (check_value_is(values, operation->f, "get"))
        return compile_get(instance, operation, effect);
    if (operation->outcome == CHECK_FAIL)
        return CHECK_REJECT;
    if (check_value_is(values, operation->f, "put")) {
        *effect = (struct check_effect){.kind = PUT, .is_reset = true};
        int rc = state_of(instance, operation->input, &effect->a);
        return rc == 0 ? CHECK_ACCEPT : rc;
    }
    if (check_value_is(values, operation->f, "delete")) {
        *effect = (struct check_effect){.kind = DELETE, .a = ABSENT, .is_reset = true};
        return CHECK_ACCEPT;
    }
    if (!check_value_is(values, operation->f, "append"))
        return check_model_refuse(&check_model_kv, values, operation, err);
    if (check_value_kind(values, operation->input) != CHECK_KIND_STRING)
        return peri_fail_plain(err, PERI_EFORMAT, "line %u: the value of an append is a string",
                               operation->call_line);
    *effect = (struct check_effect){.kind = APPEND, .a = operation->input};
    return CHECK_ACCEPT;
}

/* Absent and "" read alike. */
static bool is_in_focus(const struct check_values *values, const struct check_focus *focus,
                        check_value value)
{
    bool is_void = value == CHECK_NIL || check_value_is(values, value, "");
    return is_void ? focus->has_void : check_focus_has(focus, value);
}

static bool has_append(const struct check_values *values, const struct check_operation *operations,
                       const uint32_t *indices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (check_value_is(values, operations[indices[i]].f, "append"))
            return true;
    }
    return false;
}

static int cut(const struct check_values *values, const struct check_operation *operations,
               const uint32_t *indices, size_t count, struct check_pieces **out)
{
    if (!has_append(values, operations, indices, count))
        return 0;
    check_value *strings = malloc((count + 1) * sizeof *strings);
    if (strings == NULL)
        return PERI_ENOMEM;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct check_operation *operation = &operations[indices[i]];
        if (!check_value_is(values, operation->f, "get") &&
            check_value_kind(values, operation->input) == CHECK_KIND_STRING)
            strings[kept++] = operation->input;
    }
    int rc = check_pieces_create(out, values, strings, kept);
    free(strings);
    return rc;
}

/* As a list of pieces: a put leaves one, or none where that is not in focus. */
static int project_pieces(struct check_values *values, const struct check_focus *focus,
                          struct check_operation *operation)
{
    if (check_value_is(values, operation->f, "append"))
        return check_focus_has(focus, operation->input);
    bool is_get = check_value_is(values, operation->f, "get");
    int rc = check_focus_string(focus, values, is_get ? &operation->output : &operation->input);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

/* As a register, where nobody appends. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    if (focus->pieces != NULL)
        return project_pieces(values, focus, operation);
    if (check_value_is(values, operation->f, "get"))
        return is_in_focus(values, focus, operation->output);
    bool is_put = check_value_is(values, operation->f, "put");
    return is_in_focus(values, focus, is_put ? operation->input : CHECK_NIL);
}

static int append(struct instance *instance, uint32_t state, check_value piece, uint32_t *next)
{
    uint32_t rope = state == ABSENT ? 0 : state / 2;
    if (state != ABSENT && !is_string(state))
        return CHECK_REJECT;
    if (!check_transitions_get(&instance->appended, rope, piece, next)) {
        int rc = check_rope_append(instance->ropes, rope, piece, next);
        if (rc == 0)
            rc = *next > UINT32_MAX / 2 - 1
                     ? PERI_ETOOBIG
                     : check_transitions_put(&instance->appended, rope, piece, *next);
        if (rc != 0)
            return rc;
    }
    *next = state_of_rope(*next);
    return CHECK_ACCEPT;
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    *next = state;
    switch (effect->kind) {
    case GET:
        return state == effect->a || (state == ABSENT && effect->a == state_of_rope(0));
    case APPEND:
        return append(data, state, effect->a, next);
    default:
        *next = effect->a;
        return CHECK_ACCEPT;
    }
}

static bool may_lead(void *data, uint32_t state, const struct check_effect *effect)
{
    const struct instance *instance = data;
    uint32_t next;
    if (effect->kind != GET)
        return true;
    if (effect->b == NO_TARGET || (state != ABSENT && !is_string(state)))
        return step(data, state, effect, &next) == CHECK_ACCEPT ||
               (state == ABSENT && effect->a == state_of_rope(0));
    return check_rope_may_begin(instance->ropes, state / 2, &instance->targets[effect->b]);
}

static int show(void *data, uint32_t state, check_value *out)
{
    const struct instance *instance = data;
    if (!is_string(state)) {
        *out = state / 2;
        return 0;
    }
    size_t size = check_rope_size(instance->ropes, state / 2);
    char *bytes = malloc(size + 1);
    if (bytes == NULL)
        return PERI_ENOMEM;
    check_rope_copy(instance->ropes, state / 2, bytes);
    int rc = check_value_string(instance->values, peri_slice_of(bytes, size), out);
    free(bytes);
    return rc;
}

static size_t memory(void *data)
{
    const struct instance *instance = data;
    return check_ropes_memory(instance->ropes) + check_transitions_memory(&instance->appended);
}

const struct check_model check_model_kv = {
    .name = "kv",
    .operations = "get, put, append, delete",
    .create = create,
    .close = close,
    .init = check_model_init_zero,
    .compile = compile,
    .cut = cut,
    .project = project,
    .step = step,
    .after = check_model_after_a,
    .may_lead = may_lead,
    .show = show,
    .memory = memory,
};
