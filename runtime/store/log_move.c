/* log_move.c - what keeps old generations: a few records move forward, so that the rest can go.
 *
 * A record that moves is written again as it is, under its own key, into the generation that is
 * written at the time: serial, chain and check stay what they were, and where both copies are found
 * the newer one counts. The old generation goes when nothing in it is needed any more, which is
 * after the copy was synced.
 *
 *  - When a generation is sealed, groups with little in it move, the smallest first, up to a part
 * of a generation: its file was just written, so this costs no reading of the disk. Groups that
 *    turn over quickly are passed over: what they have goes by itself.
 *  - A generation that is some generations old, and of which little is needed, is opened again and
 *    emptied.
 *
 * So the log takes at most about MOVE_PART times what is needed and MOVE_AGE generations, and is
 * written at most 1 / MOVE_PART more for it. */
#include <stdlib.h>

#include "store/log_internal.h"

enum {
    MOVE_PART = 8,               /* of a generation may move, or one eighth be left of it */
    MOVE_AGE = 4,                /* so many were begun since: it is not waited for any longer */
    MOVE_BATCH_BYTES = 256 << 10 /* in one batch */
};

/* ---- choosing ---- */

struct candidate {
    const struct log_group *group;
    uint64_t bytes;
};

static uint64_t bytes_in(const struct log_group *group, uint64_t generation)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->records[group->start + i].generation == generation)
            bytes += group->records[group->start + i].size;
    return bytes;
}

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? -1 : 1;
    return left->group->group < right->group->group ? -1 : 1;
}

/* True when most of what the group wrote into the generation is not needed any more. */
static bool turns_over(const struct candidate *candidate, uint64_t generation)
{
    return candidate->group->written_to == generation &&
           candidate->group->written_bytes > 2 * candidate->bytes;
}

static int add_copy(const struct log_group *group, uint64_t serial, struct peri_list *copies)
{
    struct log_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return PERI_ENOMEM;
    *item = (struct log_item){
        .kind = LOG_ITEM_COPY, .group = group->group, .replica = group->replica, .serial = serial};
    peri_list_init(&item->link);
    peri_list_append(copies, &item->link);
    return 0;
}

static int add_copies(const struct log_group *group, uint64_t generation, struct peri_list *copies)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < group->count; i++)
        if (group->records[group->start + i].generation == generation)
            rc = add_copy(group, log_group_first_serial(group) + i, copies);
    return rc;
}

bool log_move_is_due(const struct store_log *log, size_t at)
{
    const struct log_generation *generation = log->generations[at];
    if (!generation->is_sealed || generation->is_moving || generation->is_doomed ||
        generation->live == 0)
        return false;
    return generation->is_heavy ||
           (log->newest_generation - generation->number >= MOVE_AGE && !log->is_full &&
            generation->live_bytes <= log->options.generation_max_bytes / MOVE_PART);
}

int log_move_choose(struct store_log *log, struct log_generation *generation,
                    struct peri_list *copies)
{
    uint64_t left = log->options.generation_max_bytes / MOVE_PART;
    struct candidate *candidates = calloc(log->group_count + 1, sizeof *candidates);
    size_t count = 0;
    int rc = candidates == NULL ? PERI_ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < log->group_count; i++) {
        struct candidate one = {log->groups[i], bytes_in(log->groups[i], generation->number)};
        if (one.bytes > 0 && (!generation->is_heavy || !turns_over(&one, generation->number)))
            candidates[count++] = one;
    }
    if (count > 0)
        qsort(candidates, count, sizeof *candidates, compare_candidates);
    for (size_t i = 0; rc == 0 && i < count && candidates[i].bytes <= left; i++) {
        left -= candidates[i].bytes;
        rc = add_copies(candidates[i].group, generation->number, copies);
    }
    free(candidates);
    generation->is_moving = !generation->is_heavy; /* once; a heavy one gets another chance later */
    return rc;
}

static uint64_t last_in(const struct log_group *group, uint64_t generation)
{
    uint64_t last = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->records[group->start + i].generation == generation)
            last = group->records[group->start + i].last;
    return last;
}

bool store_log_blocker(const struct store_log *log, uint64_t *group, uint64_t *index)
{
    struct candidate most = {NULL, 0};
    uint64_t oldest = log->generations[0]->number;
    if (log->newest_generation - oldest <= MOVE_AGE)
        return false;
    for (size_t i = 0; i < log->group_count; i++) {
        struct candidate one = {log->groups[i], bytes_in(log->groups[i], oldest)};
        if (one.bytes > most.bytes)
            most = one;
    }
    if (most.group == NULL)
        return false; /* it is on its way out */
    *group = most.group->group;
    *index = last_in(most.group, oldest);
    return true;
}

void log_copies_free(struct peri_list *copies)
{
    while (!peri_list_is_empty(copies)) {
        struct log_item *item = container_of(copies->next, struct log_item, link);
        peri_list_remove(&item->link);
        log_item_free(item);
    }
}

/* ---- in the background ---- */

static int read_copy(struct store *store, struct log_item *item, struct peri_error *err)
{
    char name[LOG_KEY_MAX];
    struct log_key key = {LOG_KEY_RECORD, item->group, item->replica, item->serial};
    struct log_record_info info = {
        .group = item->group, .replica = item->replica, .serial = item->serial};
    size_t at = 0;
    int rc = store_get(store, NULL, log_key_write(&key, name), &item->bytes, err);
    if (rc <= 0)
        return rc == 0 ? peri_fail(err, PERI_ECORRUPT, "a record that moves") : rc;
    rc = log_record_decode(peri_buffer_slice(&item->bytes), &info, &at);
    return rc == 0 ? 0 : peri_fail(err, rc, "a record that moves");
}

void log_copies_read(struct store *store, struct peri_list *copies, struct peri_error *err)
{
    struct peri_list kept;
    peri_list_init(&kept);
    while (!peri_list_is_empty(copies)) {
        struct log_item *item = container_of(copies->next, struct log_item, link);
        peri_list_remove(&item->link);
        if (read_copy(store, item, err) == 0)
            peri_list_append(&kept, &item->link);
        else
            log_item_free(item); /* it stays where it is: who wants it is told */
    }
    while (!peri_list_is_empty(&kept)) {
        struct peri_list *link = kept.next;
        peri_list_remove(link);
        peri_list_append(copies, link);
    }
}

/* ---- into batches ---- */

void log_move_begin(struct store_log *log, struct peri_list *copies)
{
    while (!peri_list_is_empty(copies)) {
        struct peri_list *link = copies->next;
        PERI_ASSERT(container_of(link, struct log_item, link)->bytes.size > 0);
        peri_list_remove(link);
        peri_list_append(&log->moving, link);
    }
    if (!peri_list_is_empty(&log->moving) && !log->is_writing)
        env_turn_start(log->turn);
}

static struct log_record *record_of(const struct store_log *log, const struct log_item *item)
{
    const struct log_group *group = log_group_find(log, item->group);
    return group != NULL && group->replica == item->replica ? log_group_serial(group, item->serial)
                                                            : NULL;
}

void log_move_into_batch(struct store_log *log)
{
    size_t bytes = 0;
    while (!peri_list_is_empty(&log->moving) && bytes < MOVE_BATCH_BYTES) {
        struct log_item *item = container_of(log->moving.next, struct log_item, link);
        peri_list_remove(&item->link);
        if (record_of(log, item) == NULL) { /* cut, or dropped, meanwhile */
            log_item_free(item);
            continue;
        }
        bytes += item->bytes.size;
        item->asked_us = env_now_us(log->env);
        peri_list_append(&log->batch.items, &item->link);
    }
}

void log_move_settle(struct store_log *log, const struct log_item *item,
                     struct log_generation *generation)
{
    struct log_record *record = record_of(log, item);
    log->stats.moved_bytes += item->bytes.size;
    if (record == NULL || record->generation == generation->number)
        return;
    struct log_generation *old = log_generation_find(log, record->generation);
    PERI_ASSERT(old != NULL);
    log_generation_lose(old, record);
    record->generation = generation->number;
    log_generation_gain(generation, record);
}
