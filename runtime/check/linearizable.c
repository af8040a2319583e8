#include "check/linearizable.h"

#include <stdlib.h>

#include "base/assert.h"
#include "check/search.h"

enum { WORD_BITS = 64, FRAMES_MIN = 64, MEMORY_EVERY = 256 };

/* What the next doubling of tables that grow by themselves takes. */
static size_t growth(const struct check_search *search)
{
    const struct check_model *model = search->part->model;
    return check_transitions_memory(&search->transitions) +
           (model->memory == NULL ? 0 : model->memory(search->part->instance));
}

int check_search_run(struct check_search *search, uint64_t steps)
{
    uint64_t until = search->steps + steps;
    while (search->phase != CHECK_OVER) {
        if (search->steps >= until)
            return CHECK_MORE;
        if (search->until_memory-- == 0) {
            search->until_memory = MEMORY_EVERY;
            if (check_search_memory(search) + growth(search) > search->memory_max) {
                search->phase = CHECK_OVER;
                search->result = CHECK_FULL;
                break;
            }
        }
        int rc = search->phase == CHECK_SETTLE ? check_search_settle(search)
                                               : check_search_choose(search);
        if (rc < 0)
            return rc;
        if (rc == CHECK_ASK)
            return CHECK_ASKS;
    }
    return search->result;
}

void check_search_question(const struct check_search *search, uint32_t *state, uint32_t *effect)
{
    *state = search->asked_state;
    *effect = search->asked_effect;
}

int check_search_answer(struct check_search *search, uint32_t next)
{
    return check_transitions_put(&search->transitions, search->asked_state, search->asked_effect,
                                 next);
}

uint64_t check_search_steps(const struct check_search *search)
{
    return search->steps;
}

size_t check_search_memory(const struct check_search *search)
{
    const struct check_model *model = search->part->model;
    return check_plan_memory(&search->plan) + check_memo_memory(&search->memo) +
           check_transitions_memory(&search->transitions) +
           search->frame_capacity * sizeof *search->frames +
           (model->memory == NULL ? 0 : model->memory(search->part->instance));
}

size_t check_search_order_size(const struct check_search *search)
{
    return search->depth;
}

void check_search_order(const struct check_search *search, size_t i, uint32_t *item,
                        uint32_t *state)
{
    const struct check_frame *frame = &search->frames[i];
    PERI_ASSERT(i < search->depth);
    *item = frame->op == CHECK_NEVER ? CHECK_NEVER : search->plan.ops[frame->op].item;
    *state = i + 1 < search->depth ? frame[1].state : search->state;
}

static int make_room(struct check_search *search)
{
    const struct check_plan *plan = &search->plan;
    search->window_words = (plan->window + WORD_BITS - 1) / WORD_BITS;
    search->open_words = (plan->count - plan->required + WORD_BITS - 1) / WORD_BITS;
    size_t required_words = plan->required / WORD_BITS + search->window_words + 2;
    search->open_at = required_words * WORD_BITS;
    search->frame_capacity = FRAMES_MIN;
    search->frames = malloc(FRAMES_MIN * sizeof *search->frames);
    search->done = calloc(required_words + search->open_words, sizeof *search->done);
    search->key = malloc((1 + search->window_words + search->open_words) * sizeof *search->key);
    bool is_made = search->frames != NULL && search->done != NULL && search->key != NULL;
    return is_made ? 0 : PERI_ENOMEM;
}

static int start(struct check_search *search)
{
    int rc = make_room(search);
    if (rc == 0)
        rc = check_memo_init(&search->memo, 1 + search->window_words + search->open_words);
    if (rc == 0)
        rc = search->part->model->init(search->part->instance, &search->state);
    return rc;
}

int check_search_create(struct check_search **out, struct check_part *part,
                        const struct check_limits *limits)
{
    struct check_search *search = calloc(1, sizeof *search);
    if (search == NULL)
        return PERI_ENOMEM;
    search->part = part;
    search->memory_max = limits->memory_max;
    int rc = check_plan_init(&search->plan, part, limits);
    if (rc == 0)
        rc = start(search);
    if (rc != 0) {
        check_search_close(search);
        return rc;
    }
    *out = search;
    return 0;
}

void check_search_close(struct check_search *search)
{
    if (search == NULL)
        return;
    check_plan_deinit(&search->plan);
    check_memo_deinit(&search->memo);
    check_transitions_deinit(&search->transitions);
    free(search->frames);
    free(search->done);
    free(search->key);
    free(search);
}
