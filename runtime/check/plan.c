/* plan.c - prepares the operations of a part for the search. */
#include <stdlib.h>
#include <string.h>

#include "check/search.h"

enum { GOALS_MAX = 32, RESETS_MIN = 64 };

void check_plan_deinit(struct check_plan *plan)
{
    free(plan->ops);
    free(plan->next);
    free(plan->previous);
    free(plan->resets);
    free(plan->goals);
    free(plan->always);
    *plan = (struct check_plan){0};
}

static int make_room(struct check_plan *plan, const struct check_part *part)
{
    size_t count = part->count + 1;
    plan->ops = calloc(count, sizeof *plan->ops);
    plan->next = malloc(2 * count * sizeof *plan->next);
    plan->previous = malloc(2 * count * sizeof *plan->previous);
    plan->goals = calloc(GOALS_MAX, sizeof *plan->goals);
    plan->always = calloc(part->effect_count + 1, sizeof *plan->always);
    bool is_made = plan->ops != NULL && plan->next != NULL && plan->previous != NULL &&
                   plan->goals != NULL && plan->always != NULL;
    return is_made ? 0 : PERI_ENOMEM;
}

static void add_always(struct check_plan *plan, uint32_t effect)
{
    for (size_t i = 0; i < plan->always_count; i++) {
        if (plan->always[i] == effect)
            return;
    }
    plan->always[plan->always_count++] = effect;
}

static void add_op(struct check_plan *plan, const struct check_part *part, uint32_t index,
                   uint32_t call, uint32_t end)
{
    const struct check_item *item = &part->items[index];
    plan->ops[plan->count++] = (struct check_op){
        .item = index,
        .effect = item->effect,
        .call = call,
        .end = end,
        .twin = CHECK_NEVER,
        .is_pure = part->effects[item->effect].is_pure,
    };
}

/* How an item takes part: CHECK_LEFT_OUT, CHECK_ANYTIME, or CHECK_RECORDED and required or open. */
enum class { LEFT_OUT, ANYTIME, OPEN, REQUIRED };

static enum class class_of(const struct check_part *part, const struct check_limits *limits,
                           size_t item) {
    enum check_role role = limits->roles == NULL ? CHECK_RECORDED
                                                 : (enum check_role)limits->roles[item];
    bool has_ended = part->items[item].end < limits->events;
    bool is_pure = part->effects[part->items[item].effect].is_pure;
    if (role == CHECK_RECORDED && has_ended) return REQUIRED;
    if (role == CHECK_LEFT_OUT || is_pure) return LEFT_OUT;
    return role == CHECK_RECORDED ? OPEN : ANYTIME;
}

/* Adds the ops of the items of a class. */
static void add_ops(struct check_plan *plan, const struct check_part *part,
                    const struct check_limits *limits, enum class class)
{
    for (uint32_t i = 0; i < part->count && part->items[i].call < limits->events; i++) {
        const struct check_item *item = &part->items[i];
        if (class_of(part, limits, i) != class)
            continue;
        if (class == ANYTIME && part->model->is_bounded)
            add_always(plan, item->effect);
        else
            add_op(plan, part, i, class == ANYTIME ? 0 : item->call,
                   class == REQUIRED ? item->end : CHECK_NEVER);
    }
}

/* An entry of the list and the event that it stands for. */
struct entry {
    uint64_t at; /* calls of ops that may come at any time stand in front, in their order */
    uint32_t entry;
};

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    return a->entry < b->entry ? -1 : a->entry > b->entry;
}

static int link_entries(struct check_plan *plan)
{
    struct entry *entries = malloc((2 * plan->count + 1) * sizeof *entries);
    size_t count = 0;
    if (entries == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < plan->count; i++)
        entries[count++] = (struct entry){plan->ops[i].call, (uint32_t)(1 + i)};
    for (size_t i = 0; i < plan->required; i++)
        entries[count++] = (struct entry){plan->ops[i].end, (uint32_t)(1 + plan->count + i)};
    qsort(entries, count, sizeof *entries, compare_entries);
    uint32_t last = 0;
    for (size_t i = 0; i < count; i++) {
        plan->next[last] = entries[i].entry;
        plan->previous[entries[i].entry] = last;
        last = entries[i].entry;
    }
    plan->next[last] = 0;
    plan->previous[0] = last;
    free(entries);
    return 0;
}

/* Of ops with the same effect one goes first when it was called and ended before the other was: it
 * can stand wherever the other can, and the other where it does. */
static int find_twins(struct check_plan *plan, size_t effect_count)
{
    uint32_t *last = malloc((effect_count + 1) * sizeof *last);
    uint32_t *earlier = malloc((plan->count + 1) * sizeof *earlier);
    if (last == NULL || earlier == NULL) {
        free(last);
        free(earlier);
        return PERI_ENOMEM;
    }
    memset(last, 0xff, (effect_count + 1) * sizeof *last);
    for (uint32_t i = 0; i < plan->count; i++) {
        struct check_op *op = &plan->ops[i];
        uint32_t twin = last[op->effect];
        earlier[i] = twin;
        last[op->effect] = i;
        while (twin != CHECK_NEVER && (plan->ops[twin].call > op->call ||
                                       (plan->ops[twin].end > op->end && op->end != CHECK_NEVER)))
            twin = earlier[twin];
        op->twin = op->is_pure ? CHECK_NEVER : twin;
    }
    free(last);
    free(earlier);
    return 0;
}

/* Every op between the first that is not done and one that is was called before the first ended. */
static void find_window(struct check_plan *plan)
{
    size_t reach = 0;
    for (size_t i = 0; i < plan->required; i++) {
        reach = reach < i ? i : reach;
        while (reach + 1 < plan->required && plan->ops[reach + 1].call < plan->ops[i].end)
            reach++;
        plan->window = reach - i > plan->window ? reach - i : plan->window;
    }
}

static int add_reset(struct check_plan *plan, uint32_t op)
{
    if (plan->reset_count == plan->reset_capacity) {
        size_t capacity = plan->reset_capacity == 0 ? RESETS_MIN : plan->reset_capacity * 2;
        uint32_t *resets = realloc(plan->resets, capacity * sizeof *resets);
        if (resets == NULL)
            return PERI_ENOMEM;
        plan->resets = resets;
        plan->reset_capacity = capacity;
    }
    plan->resets[plan->reset_count++] = op;
    return 0;
}

/* What is known of an op while resets are looked for. */
struct looking {
    struct check_plan *plan;
    struct check_part *part;
    const uint32_t *after; /* the state after an effect that is a reset */
};

/* Adds the resets of [from, to) that can lead to what op does. */
static int add_resets(const struct looking *looking, size_t from, size_t to, uint32_t op)
{
    const struct check_part *part = looking->part;
    const struct check_effect *effect = &part->effects[looking->plan->ops[op].effect];
    for (size_t i = from; i < to; i++) {
        uint32_t own = looking->plan->ops[i].effect;
        if (i == op || !part->effects[own].is_reset ||
            !part->model->may_lead(part->instance, looking->after[own], effect))
            continue;
        int rc = add_reset(looking->plan, (uint32_t)i);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static bool is_always_led_to(const struct looking *looking, const struct check_effect *effect)
{
    const struct check_part *part = looking->part;
    for (size_t i = 0; i < looking->plan->always_count; i++) {
        uint32_t own = looking->plan->always[i];
        if (!part->effects[own].is_reset ||
            part->model->may_lead(part->instance, looking->after[own], effect))
            return true;
    }
    return false;
}

/* The resets that can lead to a required op are those that are not done when it may be next: they
 * end behind its call, and are called before its end. */
static int find_starts(const struct looking *looking)
{
    struct check_plan *plan = looking->plan;
    size_t oldest = 0, open_end = plan->required;
    for (size_t i = 0; i < plan->required; i++) {
        struct check_op *op = &plan->ops[i];
        const struct check_effect *effect = &looking->part->effects[op->effect];
        size_t to = i + 1;
        while (to < plan->required && plan->ops[to].call < op->end)
            to++;
        while (oldest < i && plan->ops[oldest].end < op->call)
            oldest++;
        while (open_end < plan->count && plan->ops[open_end].call < op->end)
            open_end++;
        op->is_safe = is_always_led_to(looking, effect);
        op->starts = (uint32_t)plan->reset_count;
        int rc = op->is_safe ? 0 : add_resets(looking, oldest, to, (uint32_t)i);
        if (rc == 0 && !op->is_safe)
            rc = add_resets(looking, plan->required, open_end, (uint32_t)i);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The required pure op that shows most, of those whose weight is below `below`. */
static uint32_t next_goal(const struct looking *looking, uint32_t below)
{
    const struct check_plan *plan = looking->plan;
    uint32_t best = CHECK_NEVER, most = 0;
    for (uint32_t i = 0; i < plan->required; i++) {
        uint32_t weight = looking->part->effects[plan->ops[i].effect].weight;
        if (weight > most && weight < below) {
            most = weight;
            best = i;
        }
    }
    return best;
}

/* True when a goal that was chosen already tells all that op could: op lies on the way to it. */
static int is_on_the_way(const struct looking *looking, uint32_t op, bool *is)
{
    const struct check_plan *plan = looking->plan;
    const struct check_part *part = looking->part;
    uint32_t state;
    int rc = part->model->after(part->instance, &part->effects[plan->ops[op].effect], &state);
    *is = false;
    for (size_t i = 0; rc == 0 && !*is && i < plan->goal_count; i++)
        *is = part->model->may_lead(part->instance, state,
                                    &part->effects[plan->ops[plan->goals[i].op].effect]);
    return rc;
}

static int find_goals(const struct looking *looking)
{
    struct check_plan *plan = looking->plan;
    uint32_t weight = UINT32_MAX, op;
    for (size_t tried = 0; tried < 2 * GOALS_MAX && plan->goal_count < GOALS_MAX; tried++) {
        bool is_known;
        op = next_goal(looking, weight);
        if (op == CHECK_NEVER)
            return 0;
        weight = looking->part->effects[plan->ops[op].effect].weight;
        int rc = is_on_the_way(looking, op, &is_known);
        uint32_t from = (uint32_t)plan->reset_count;
        if (rc == 0 && !is_known)
            rc = add_resets(looking, 0, plan->count, op);
        if (rc != 0)
            return rc;
        if (!is_known)
            plan->goals[plan->goal_count++] =
                (struct check_goal){op, from, (uint32_t)plan->reset_count};
    }
    return 0;
}

/* Finds out what can make an op impossible for good. */
static int look_ahead(struct check_plan *plan, struct check_part *part)
{
    if (part->model->may_lead == NULL) {
        for (size_t i = 0; i < plan->required; i++)
            plan->ops[i].is_safe = true;
        return 0;
    }
    uint32_t *after = calloc(part->effect_count + 1, sizeof *after);
    struct looking looking = {plan, part, after};
    int rc = after == NULL ? PERI_ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < part->effect_count; i++) {
        if (part->effects[i].is_reset)
            rc = part->model->after(part->instance, &part->effects[i], &after[i]);
    }
    if (rc == 0)
        rc = find_starts(&looking);
    /* The resets of the last required op end here. */
    if (rc == 0 && plan->required < plan->count)
        plan->ops[plan->required].starts = (uint32_t)plan->reset_count;
    plan->ops[plan->count].starts = (uint32_t)plan->reset_count;
    if (rc == 0)
        rc = find_goals(&looking);
    free(after);
    return rc;
}

int check_plan_init(struct check_plan *plan, struct check_part *part,
                    const struct check_limits *limits)
{
    *plan = (struct check_plan){0};
    if (part->count > UINT32_MAX / 2 - 2)
        return PERI_ETOOBIG;
    int rc = make_room(plan, part);
    if (rc != 0)
        return rc;
    add_ops(plan, part, limits, REQUIRED);
    plan->required = plan->count;
    add_ops(plan, part, limits, ANYTIME);
    add_ops(plan, part, limits, OPEN);
    rc = link_entries(plan);
    if (rc == 0)
        rc = find_twins(plan, part->effect_count);
    if (rc == 0)
        rc = look_ahead(plan, part);
    find_window(plan);
    return rc;
}

size_t check_plan_memory(const struct check_plan *plan)
{
    return plan->count * (sizeof *plan->ops + 4 * sizeof *plan->next) +
           plan->reset_capacity * sizeof *plan->resets;
}
