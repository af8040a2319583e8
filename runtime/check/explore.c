/* explore.c - one move of a search: to do what may be next, to go back. */
#include <stdlib.h>
#include <string.h>

#include "check/search.h"

enum { WORD_BITS = 64, HALF = 32 };

/* The bit of an op. Required ones have whole words to themselves, and a few to read behind. */
static size_t bit_of(const struct check_search *search, uint32_t op)
{
    return op < search->plan.required ? op : op - search->plan.required + search->open_at;
}

static bool is_done(const struct check_search *search, uint32_t op)
{
    size_t bit = bit_of(search, op);
    return (search->done[bit / WORD_BITS] >> (bit % WORD_BITS)) & 1;
}

static void flip(struct check_search *search, uint32_t op)
{
    size_t bit = bit_of(search, op);
    search->done[bit / WORD_BITS] ^= UINT64_C(1) << (bit % WORD_BITS);
}

static uint32_t end_entry(const struct check_search *search, uint32_t op)
{
    return 1 + (uint32_t)search->plan.count + op;
}

static void unlink_entry(struct check_plan *plan, uint32_t entry)
{
    plan->next[plan->previous[entry]] = plan->next[entry];
    plan->previous[plan->next[entry]] = plan->previous[entry];
}

static void relink_entry(struct check_plan *plan, uint32_t entry)
{
    plan->next[plan->previous[entry]] = entry;
    plan->previous[plan->next[entry]] = entry;
}

static void unlink_op(struct check_search *search, uint32_t op)
{
    unlink_entry(&search->plan, 1 + op);
    if (op < search->plan.required)
        unlink_entry(&search->plan, end_entry(search, op));
}

static void relink_op(struct check_search *search, uint32_t op)
{
    if (op < search->plan.required)
        relink_entry(&search->plan, end_entry(search, op));
    relink_entry(&search->plan, 1 + op);
}

/* Moves first behind what is done. */
static void advance_first(struct check_search *search)
{
    while (search->first < search->plan.required && is_done(search, search->first))
        search->first++;
}

/* Tells the state after an op of this effect, or that it cannot be. */
static int step(struct check_search *search, uint32_t state, uint32_t effect, uint32_t *next)
{
    const struct check_model *model = search->part->model;
    search->steps++;
    if (!model->is_remembered)
        return model->step(search->part->instance, state, &search->part->effects[effect], next);
    if (check_transitions_get(&search->transitions, state, effect, next))
        return *next == CHECK_REFUSED ? CHECK_REJECT : CHECK_ACCEPT;
    int rc = model->step(search->part->instance, state, &search->part->effects[effect], next);
    if (rc == CHECK_ASK) {
        search->asked_state = state;
        search->asked_effect = effect;
        return rc;
    }
    if (rc < 0)
        return rc;
    int kept = check_transitions_put(&search->transitions, state, effect,
                                     rc == CHECK_ACCEPT ? *next : CHECK_REFUSED);
    return kept < 0 ? kept : rc;
}

static int push(struct check_search *search, struct check_frame frame)
{
    if (search->depth == search->frame_capacity) {
        size_t capacity = search->frame_capacity * 2;
        struct check_frame *frames = realloc(search->frames, capacity * sizeof *frames);
        if (frames == NULL)
            return PERI_ENOMEM;
        search->frames = frames;
        search->frame_capacity = capacity;
    }
    search->frames[search->depth++] = frame;
    return 0;
}

/* True when some reset of [from, to) is still to come. */
static bool has_reset(const struct check_search *search, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (!is_done(search, search->plan.resets[i]))
            return true;
    }
    return false;
}

/* True when a required op that was refused can never be accepted from here. */
static bool is_lost(const struct check_search *search, uint32_t state, uint32_t op)
{
    const struct check_plan *plan = &search->plan;
    const struct check_part *part = search->part;
    return !plan->ops[op].is_safe &&
           !part->model->may_lead(part->instance, state, &part->effects[plan->ops[op].effect]) &&
           !has_reset(search, plan->ops[op].starts, plan->ops[op + 1].starts);
}

/* True when a goal can never be reached from here. */
static bool misses_goal(const struct check_search *search, uint32_t state)
{
    const struct check_plan *plan = &search->plan;
    const struct check_part *part = search->part;
    for (size_t i = 0; i < plan->goal_count; i++) {
        const struct check_goal *goal = &plan->goals[i];
        if (!is_done(search, goal->op) &&
            !part->model->may_lead(part->instance, state,
                                   &part->effects[plan->ops[goal->op].effect]) &&
            !has_reset(search, goal->from, goal->to))
            return true;
    }
    return false;
}

/* Undoes the last choice, and what followed from it; the one after it is looked at next. */
static void go_back(struct check_search *search)
{
    while (search->depth > 0) {
        struct check_frame frame = search->frames[--search->depth];
        search->state = frame.state;
        search->first = frame.first;
        if (frame.op != CHECK_NEVER) {
            relink_op(search, frame.op);
            flip(search, frame.op);
        }
        if (!frame.is_pure) {
            search->at = frame.op == CHECK_NEVER ? 0 : search->plan.next[1 + frame.op];
            search->always = frame.op == CHECK_NEVER ? frame.always + 1 : 0;
            search->phase = CHECK_CHOOSE;
            return;
        }
    }
    search->phase = CHECK_OVER;
    search->result = CHECK_ILLEGAL;
}

/* Does everything that may be next and changes nothing. */
int check_search_settle(struct check_search *search)
{
    const struct check_plan *plan = &search->plan;
    for (uint32_t entry = plan->next[0]; entry != 0 && entry <= plan->count;
         entry = plan->next[entry]) {
        uint32_t op = entry - 1, next;
        if (!plan->ops[op].is_pure)
            continue;
        int rc = step(search, search->state, plan->ops[op].effect, &next);
        if (rc < 0 || rc == CHECK_ASK)
            return rc;
        if (rc == CHECK_REJECT && is_lost(search, search->state, op)) {
            go_back(search);
            return 0;
        }
        if (rc == CHECK_REJECT)
            continue;
        rc = push(search, (struct check_frame){op, search->state, search->first, 0, true});
        if (rc < 0)
            return rc;
        entry = plan->previous[entry];
        flip(search, op);
        unlink_op(search, op);
        advance_first(search);
    }
    search->phase = search->first == plan->required ? CHECK_OVER : CHECK_CHOOSE;
    search->result = CHECK_LEGAL;
    search->at = plan->next[0];
    search->always = 0;
    return 0;
}

/* True when the last thing done was of use to nobody: without it the state after effect were the
 * same. It had no need to be done now, or ever. */
static int is_undone(struct check_search *search, uint32_t effect, uint32_t next, bool *is)
{
    *is = false;
    if (search->depth == 0)
        return 0;
    const struct check_frame *last = &search->frames[search->depth - 1];
    if (last->is_pure || (last->op != CHECK_NEVER && last->op < search->plan.required))
        return 0;
    uint32_t other;
    int rc = step(search, last->state, effect, &other);
    *is = rc == CHECK_ACCEPT && other == next;
    return rc < 0 || rc == CHECK_ASK ? rc : 0;
}

/* Writes the configuration into the key: state and first, the window behind first, open ops. */
static void make_key(struct check_search *search)
{
    const uint64_t *done = search->done;
    uint64_t *key = search->key;
    size_t from = (size_t)search->first + 1, shift = from % WORD_BITS;
    const uint64_t *word = done + from / WORD_BITS;
    *key++ = ((uint64_t)search->first << HALF) | search->state;
    for (size_t i = 0; i < search->window_words; i++, word++)
        *key++ = shift == 0 ? word[0] : word[0] >> shift | word[1] << (WORD_BITS - shift);
    memcpy(key, done + search->open_at / WORD_BITS, search->open_words * sizeof *key);
}

/* Enters a configuration that marks stand for: 1 when it is new. */
static int remember(struct check_search *search)
{
    if (check_memo_is_full(&search->memo) &&
        check_search_memory(search) + check_memo_memory(&search->memo) > search->memory_max) {
        search->phase = CHECK_OVER;
        search->result = CHECK_FULL;
        return 0;
    }
    make_key(search);
    return check_memo_add(&search->memo, search->key);
}

/* Does frame.op (or an effect) and goes on to `next`, unless that leads where the search has been.
 * Returns 1 when it was done. */
static int enter(struct check_search *search, struct check_frame frame, uint32_t next)
{
    if (frame.op != CHECK_NEVER)
        flip(search, frame.op);
    search->state = next;
    advance_first(search);
    int rc = misses_goal(search, next) ? 0 : remember(search);
    if (rc == 1)
        rc = push(search, frame) == 0 ? 1 : PERI_ENOMEM;
    if (rc == 1) {
        if (frame.op != CHECK_NEVER)
            unlink_op(search, frame.op);
        search->phase = CHECK_SETTLE;
        return 1;
    }
    if (frame.op != CHECK_NEVER)
        flip(search, frame.op);
    search->state = frame.state;
    search->first = frame.first;
    return rc;
}

/* Tries one effect from the state as it is. Returns 1 when something was entered, or the search is
 * lost here (then *lost); 0 when the next may be tried. */
static int try_effect(struct check_search *search, struct check_frame frame, uint32_t effect,
                      bool *lost)
{
    uint32_t next;
    bool is_open = frame.op == CHECK_NEVER || frame.op >= search->plan.required, is_vain;
    int rc = step(search, search->state, effect, &next);
    if (rc < 0 || rc == CHECK_ASK)
        return rc;
    if (rc == CHECK_REJECT) {
        *lost = !is_open && is_lost(search, search->state, frame.op);
        return 0;
    }
    if (is_open && next == search->state)
        return 0;
    rc = is_undone(search, effect, next, &is_vain);
    if (rc != 0 || is_vain)
        return rc;
    return enter(search, frame, next);
}

/* Looks for a thing to do that changes the state. */
int check_search_choose(struct check_search *search)
{
    const struct check_plan *plan = &search->plan;
    bool lost = false;
    int rc = 0;
    while (search->at != 0 && search->at <= plan->count) {
        uint32_t op = search->at - 1;
        const struct check_op *what = &plan->ops[op];
        bool waits = what->is_pure || (what->twin != CHECK_NEVER && !is_done(search, what->twin));
        if (!waits)
            rc =
                try_effect(search, (struct check_frame){op, search->state, search->first, 0, false},
                           what->effect, &lost);
        if (rc != 0 || search->phase != CHECK_CHOOSE)
            return rc;
        if (lost) {
            go_back(search);
            return 0;
        }
        search->at = plan->next[search->at];
    }
    for (; search->always < plan->always_count; search->always++) {
        struct check_frame frame = {CHECK_NEVER, search->state, search->first, search->always,
                                    false};
        rc = try_effect(search, frame, plan->always[search->always], &lost);
        if (rc != 0 || search->phase != CHECK_CHOOSE)
            return rc;
    }
    go_back(search);
    return 0;
}
