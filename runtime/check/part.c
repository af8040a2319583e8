#include "check/part.h"

#include <stdlib.h>
#include <string.h>

#include "check/sequence.h"

void check_part_close(struct check_part *part)
{
    if (part == NULL)
        return;
    if (part->instance != NULL)
        part->model->close(part->instance);
    check_focus_deinit(&part->focus);
    free(part->items);
    free(part->effects);
    free(part);
}

static int make_room(struct check_part *part, size_t count)
{
    /* One more than needed: malloc(0) may be NULL. */
    part->items = malloc((count + 1) * sizeof *part->items);
    part->effects = malloc((count + 1) * sizeof *part->effects);
    return part->items == NULL || part->effects == NULL ? PERI_ENOMEM : 0;
}

/* Adds the effect unless an equal one is there. */
static int add_effect(struct check_part *part, struct check_sequences *known,
                      const struct check_effect *effect, uint32_t *index)
{
    uint32_t words[sizeof *effect / sizeof(uint32_t)];
    memcpy(words, effect, sizeof words);
    int rc = check_sequences_add(known, words, sizeof words / sizeof *words, index);
    if (rc == 0 && *index == part->effect_count)
        part->effects[part->effect_count++] = *effect;
    return rc;
}

/* What a part is made from. focus may be NULL: all values. */
struct source {
    const struct check_history *history;
    const struct check_focus *focus;
    const uint32_t *operations;
    size_t count;
};

static int compile(struct check_part *part, const struct source *source, uint32_t index,
                   struct check_sequences *known, struct peri_error *err)
{
    struct check_operation operation = source->history->operations[index];
    struct check_item *item = &part->items[part->count];
    struct check_effect effect;
    int rc = source->focus == NULL
                 ? CHECK_ACCEPT
                 : part->model->project(source->history->values, source->focus, &operation);
    if (rc == CHECK_ACCEPT)
        rc = part->model->compile(part->instance, &operation, &effect, err);
    if (rc != CHECK_ACCEPT)
        return rc;
    if (operation.outcome == CHECK_INFO && effect.is_pure)
        return 0;
    *item = (struct check_item){index, 0, operation.call, operation.end};
    rc = add_effect(part, known, &effect, &item->effect);
    part->count += rc == 0;
    return rc;
}

static int compile_all(struct check_part *part, const struct source *source, struct peri_error *err)
{
    struct check_sequences *known;
    int rc = check_sequences_create(&known);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < source->count; i++)
        rc = compile(part, source, source->operations[i], known, err);
    check_sequences_close(known);
    return rc;
}

static int create(struct check_part **out, const struct source *source,
                  const struct check_model *model, const struct check_external *external,
                  struct peri_error *err)
{
    struct check_part *part = calloc(1, sizeof *part);
    if (part == NULL)
        return peri_fail(err, PERI_ENOMEM, "compile %zu operations", source->count);
    part->model = model;
    struct peri_error why;
    peri_error_clear(&why);
    int rc = make_room(part, source->count);
    if (rc == 0)
        rc = model->create(source->history->values, external, &part->instance);
    if (rc == 0)
        rc = compile_all(part, source, &why);
    if (rc == 0) {
        *out = part;
        return 0;
    }
    check_part_close(part);
    return why.code != 0 ? peri_fail_plain(err, rc, "%s", why.text)
                         : peri_fail(err, rc, "compile %zu operations", source->count);
}

int check_part_create(struct check_part **out, const struct check_history *history,
                      const struct check_model *model, const struct check_external *external,
                      const uint32_t *operations, size_t count, struct peri_error *err)
{
    struct source source = {history, NULL, operations, count};
    return create(out, &source, model, external, err);
}

/* Finds out how the strings of a whole part are cut. */
static int cut(struct check_part *part, const struct check_history *history,
               const uint32_t *operations)
{
    if (part->is_cut || part->focus.bits != NULL || part->model->cut == NULL)
        return 0;
    int rc = part->model->cut(history->values, history->operations, operations, part->count,
                              &part->focus.pieces);
    part->is_cut = rc == 0;
    return rc;
}

static int focus_on(struct check_part **out, const struct check_history *history,
                    struct check_part *part, struct check_focus *focus, struct peri_error *err)
{
    uint32_t *operations = malloc((part->count + 1) * sizeof *operations);
    if (operations == NULL)
        return peri_fail(err, PERI_ENOMEM, "look at %zu operations", part->count);
    for (size_t i = 0; i < part->count; i++)
        operations[i] = part->items[i].operation;
    int rc = cut(part, history, operations);
    if (rc != 0) {
        free(operations);
        return peri_fail(err, rc, "cut the strings of %zu operations into pieces", part->count);
    }
    focus->pieces = check_pieces_share(part->focus.pieces);
    struct source source = {history, focus, operations, part->count};
    rc = create(out, &source, part->model, NULL, err);
    free(operations);
    return rc;
}

int check_part_focus(struct check_part **out, const struct check_history *history,
                     struct check_part *part, struct check_focus *focus, struct peri_error *err)
{
    if (part->model->project == NULL)
        return peri_fail(err, PERI_EINVAL, "the model %s has no focus", part->model->name);
    if (part->focus.bits != NULL)
        check_focus_narrow(focus, &part->focus);
    int rc = focus_on(out, history, part, focus, err);
    if (rc == 0)
        (*out)->focus = *focus;
    return rc;
}

int check_part_operation(const struct check_part *part, const struct check_history *history,
                         size_t item, struct check_operation *operation)
{
    *operation = history->operations[part->items[item].operation];
    if (part->focus.bits == NULL)
        return 0;
    int rc = part->model->project(history->values, &part->focus, operation);
    return rc < 0 ? rc : 0;
}

static int compare_ends(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

int check_part_widest(const struct check_part *part, size_t *most, size_t *item)
{
    uint32_t *ends = malloc((part->count + 1) * sizeof *ends);
    if (ends == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < part->count; i++)
        ends[i] = part->items[i].end;
    qsort(ends, part->count, sizeof *ends, compare_ends);
    *most = *item = 0;
    size_t ended = 0;
    for (size_t i = 0; i < part->count; i++) {
        while (ends[ended] < part->items[i].call)
            ended++;
        if (i + 1 - ended > *most) {
            *most = i + 1 - ended;
            *item = i;
        }
    }
    free(ends);
    return 0;
}
