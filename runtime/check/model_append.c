/* model_append.c - a list: append v, read (all of it, in order). It starts empty.
 *
 * A state is a node of a tree: a list is the path to it. The tree is cut into chains (a node and
 * its first child are in one), so that "is this list the beginning of that one?" looks at a few
 * chains instead of at every element: reads of one list mostly lie on one chain. */
#include <stdlib.h>

#include "check/model.h"
#include "check/transitions.h"

enum { APPEND, READ, NODES_MIN = 64 };

struct node {
    uint32_t parent, depth;
    uint32_t chain; /* its first node */
    check_value value;
    bool has_child;
};

struct instance {
    struct check_values *values;
    struct check_transitions children; /* node x value -> node */
    struct node *nodes;                /* 0 is the empty list */
    size_t count, capacity;
};

static void close(void *data)
{
    struct instance *instance = data;
    check_transitions_deinit(&instance->children);
    free(instance->nodes);
    free(instance);
}

static int create(struct check_values *values, const struct check_external *external, void **out)
{
    (void)external;
    struct instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    instance->values = values;
    instance->nodes = malloc(NODES_MIN * sizeof *instance->nodes);
    if (instance->nodes == NULL) {
        close(instance);
        return PERI_ENOMEM;
    }
    instance->capacity = NODES_MIN;
    instance->nodes[0] = (struct node){0};
    instance->count = 1;
    *out = instance;
    return 0;
}

/* The list of a node with one value more. */
static int child_of(struct instance *instance, uint32_t parent, check_value value, uint32_t *child)
{
    if (check_transitions_get(&instance->children, parent, value, child))
        return 0;
    if (instance->count == instance->capacity) {
        struct node *nodes = realloc(instance->nodes, instance->capacity * 2 * sizeof *nodes);
        if (nodes == NULL)
            return PERI_ENOMEM;
        instance->nodes = nodes;
        instance->capacity *= 2;
    }
    if (instance->count == CHECK_REFUSED)
        return PERI_ETOOBIG;
    uint32_t node = (uint32_t)instance->count;
    int rc = check_transitions_put(&instance->children, parent, value, node);
    if (rc != 0)
        return rc;
    struct node *above = &instance->nodes[parent];
    instance->nodes[instance->count++] = (struct node){
        .parent = parent,
        .depth = above->depth + 1,
        .chain = above->has_child ? node : above->chain,
        .value = value,
    };
    above->has_child = true;
    *child = node;
    return 0;
}

static int compile_read(struct instance *instance, const struct check_operation *operation,
                        struct check_effect *effect, struct peri_error *err)
{
    if (operation->outcome != CHECK_OK)
        return CHECK_REJECT;
    size_t count = 0;
    const check_value *items = NULL;
    if (check_value_kind(instance->values, operation->output) == CHECK_KIND_LIST)
        items = check_value_items(instance->values, operation->output, &count);
    else if (operation->output != CHECK_NIL)
        return peri_fail_plain(err, PERI_EFORMAT, "line %u: the result of a read is a list",
                               operation->end_line);
    uint32_t node = 0;
    for (size_t i = 0; i < count; i++) {
        int rc = child_of(instance, node, items[i], &node);
        if (rc != 0)
            return rc;
    }
    *effect = (struct check_effect){
        .kind = READ, .a = node, .is_pure = true, .weight = (uint32_t)count + 1};
    return CHECK_ACCEPT;
}

static int compile(void *data, const struct check_operation *operation, struct check_effect *effect,
                   struct peri_error *err)
{
    struct instance *instance = data;
    if (check_value_is(instance->values, operation->f, "read"))
        return compile_read(instance, operation, effect, err);
    if (!check_value_is(instance->values, operation->f, "append"))
        return check_model_refuse(&check_model_append, instance->values, operation, err);
    *effect = (struct check_effect){.kind = APPEND, .a = operation->input};
    return operation->outcome == CHECK_FAIL ? CHECK_REJECT : CHECK_ACCEPT;
}

/* The elements of a few values stand in the list in the order in which they were appended. */
static int project(struct check_values *values, const struct check_focus *focus,
                   struct check_operation *operation)
{
    if (!check_value_is(values, operation->f, "read"))
        return check_focus_has(focus, operation->input);
    int rc = check_focus_list(focus, values, &operation->output);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

static int step(void *data, uint32_t state, const struct check_effect *effect, uint32_t *next)
{
    *next = state;
    if (effect->kind == READ)
        return state == effect->a;
    int rc = child_of(data, state, effect->a, next);
    return rc == 0 ? CHECK_ACCEPT : rc;
}

/* Appending goes down the tree, and never up. */
static bool may_lead(void *data, uint32_t state, const struct check_effect *effect)
{
    const struct node *nodes = ((const struct instance *)data)->nodes;
    if (effect->kind != READ)
        return true;
    uint32_t node = effect->a, depth = nodes[state].depth;
    if (nodes[node].depth < depth)
        return false;
    while (nodes[nodes[node].chain].depth > depth)
        node = nodes[nodes[node].chain].parent;
    return nodes[node].chain == nodes[state].chain;
}

static int show(void *data, uint32_t state, check_value *out)
{
    const struct instance *instance = data;
    size_t count = instance->nodes[state].depth;
    check_value *items = malloc((count + 1) * sizeof *items);
    if (items == NULL)
        return PERI_ENOMEM;
    for (size_t i = count; i > 0; i--) {
        items[i - 1] = instance->nodes[state].value;
        state = instance->nodes[state].parent;
    }
    int rc = check_value_list(instance->values, CHECK_KIND_LIST, items, count, out);
    free(items);
    return rc;
}

static size_t memory(void *data)
{
    const struct instance *instance = data;
    return instance->capacity * sizeof *instance->nodes +
           check_transitions_memory(&instance->children);
}

const struct check_model check_model_append = {
    .name = "append",
    .operations = "append, read",
    .create = create,
    .close = close,
    .init = check_model_init_zero,
    .compile = compile,
    .project = project,
    .step = step,
    .after = check_model_after_a,
    .may_lead = may_lead,
    .show = show,
    .memory = memory,
};
