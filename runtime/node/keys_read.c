/* keys_read.c - reads of a machine's keys: from memory, or from the store in the background. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "node/rounds.h"
#include "node/snapshot.h"
#include "store/chunk.h"

/* ---- from memory ---- */

/* Answers from an entry. */
static int answer(struct node_keys_read *read, const struct node_keymap_entry *entry)
{
    struct peri_slice value = node_keymap_value(entry);
    read->count = entry->is_deleted ? 0 : 1;
    return entry->is_deleted ? 0 : peri_buffer_append(&read->found, value.data, value.size);
}

/* The entry that memory has for a key, or NULL; what is used stays longer. */
static struct node_keymap_entry *find(struct node_keys *keys, struct peri_slice key)
{
    struct node_keymap_entry *entry = node_keymap_find(&keys->staged, key);
    if (entry == NULL)
        entry = node_keytable_find(&keys->known, key);
    else
        return entry;
    if (entry != NULL && !entry->is_dirty) {
        peri_list_remove(&entry->link);
        peri_list_append(&keys->clean, &entry->link);
    }
    return entry;
}

/* ---- in the background ---- */

struct node_keys_job {
    struct node_rounds_job job;
    struct peri_list link; /* in keys->reads */
    struct node_group *group;
    struct node_keys_read *read; /* NULL: cancelled */
    struct store_applied of;
    struct peri_buffer from, to; /* copies */
    bool is_range, is_reverse, has_end, is_more;
    uint32_t count_max, size_max, count;
    struct peri_buffer found;
};

static void free_job(struct node_keys_job *job)
{
    peri_buffer_deinit(&job->from);
    peri_buffer_deinit(&job->to);
    peri_buffer_deinit(&job->found);
    free(job);
}

enum { ENOUGH = 1 };

/* True when the range has ended in front of the key. */
static bool is_behind(const struct node_keys_job *job, struct peri_slice key)
{
    if (job->is_reverse)
        return peri_slice_compare(key, peri_buffer_slice(&job->from)) < 0;
    return job->has_end && peri_slice_compare(key, peri_buffer_slice(&job->to)) >= 0;
}

static int take_pair(void *data, struct peri_slice key, struct peri_slice value)
{
    struct node_keys_job *job = data;
    if (is_behind(job, key))
        return ENOUGH;
    job->is_more = job->count == job->count_max || job->found.size >= job->size_max;
    if (job->is_more)
        return ENOUGH;
    job->count++;
    return store_chunk_put(&job->found, key, value);
}

static void run_read(struct node_rounds_job *rounds_job, struct store_state *state)
{
    struct node_keys_job *job = container_of(rounds_job, struct node_keys_job, job);
    struct peri_slice from = peri_buffer_slice(&job->from);
    int rc = 0;
    if (job->is_reverse)
        rc = store_state_scan_back(state, NULL, &job->of, peri_buffer_slice(&job->to), take_pair,
                                   job, &job->job.err);
    else if (job->is_range)
        rc = store_state_scan(state, NULL, &job->of, from, take_pair, job, &job->job.err);
    else
        rc = store_state_get(state, NULL, &job->of, from, &job->found, &job->job.err);
    if (!job->is_range && rc == 1)
        job->count = 1;
    job->job.rc = rc < 0 ? rc : 0;
}

void node_keys_keep(struct node_keys *keys, struct peri_slice key, struct peri_slice value,
                    bool is_absent)
{
    struct node_keymap_entry *entry = node_keymap_entry_create(key, value, is_absent);
    if (entry == NULL)
        return; /* it is read again */
    size_t cost = node_keymap_cost(entry);
    node_keytable_put(&keys->known, entry); /* there is none: the caller has looked */
    peri_list_append(&keys->clean, &entry->link);
    keys->clean_bytes += cost;
    keys->group->node->rounds->clean_bytes += cost;
}

static int answer_get(struct node_keys *keys, struct node_keys_job *job)
{
    struct node_keys_read *read = job->read;
    const struct node_keymap_entry *entry = find(keys, peri_buffer_slice(&job->from));
    if (entry != NULL) /* written since: by this machine, which reads and writes side by side */
        return answer(read, entry);
    node_keys_keep(keys, peri_buffer_slice(&job->from), peri_buffer_slice(&job->found),
                   job->count == 0);
    read->count = job->count;
    return peri_buffer_append(&read->found, job->found.data, job->found.size);
}

/* The three sources of a range, each at its next pair. */
struct merge {
    struct node_keymap_entry *staged, *known;
    struct peri_slice key, value; /* of the store; key.data NULL: none is left */
    size_t at;
    bool is_reverse;
};

/* Where a map's part of a range begins, and how it goes on. */
static struct node_keymap_entry *first_in(const struct node_keymap *map,
                                          const struct node_keys_job *job)
{
    return job->is_reverse ? node_keymap_seek_below(map, peri_buffer_slice(&job->to))
                           : node_keymap_seek(map, peri_buffer_slice(&job->from));
}

static struct node_keymap_entry *next_in(const struct node_keymap *map,
                                         const struct node_keymap_entry *entry, bool is_reverse)
{
    return is_reverse ? node_keymap_seek_below(map, node_keymap_key(entry)) : entry->next[0];
}

static void next_stored(struct merge *merge, struct peri_slice pairs)
{
    if (merge->at == pairs.size)
        merge->key = peri_slice_of(NULL, 0);
    else
        (void)store_chunk_next(pairs, &merge->at, &merge->key,
                               &merge->value); /* take_pair made them */
}

static int compare_entry(const struct node_keymap_entry *entry, struct peri_slice key)
{
    return entry == NULL ? 1 : peri_slice_compare(node_keymap_key(entry), key);
}

/* True when the entry comes first. */
static bool comes_before(const struct merge *merge, const struct node_keymap_entry *entry,
                         struct peri_slice key)
{
    if (entry == NULL)
        return false;
    int order = key.data == NULL ? 0 : peri_slice_compare(node_keymap_key(entry), key);
    return key.data == NULL || (merge->is_reverse ? order > 0 : order < 0);
}

/* The first key of the three; data NULL: there is none. */
static struct peri_slice first_of(const struct merge *merge)
{
    struct peri_slice key = merge->key;
    if (comes_before(merge, merge->known, key))
        key = node_keymap_key(merge->known);
    if (comes_before(merge, merge->staged, key))
        key = node_keymap_key(merge->staged);
    return key;
}

/* The range goes on with the key, or behind it. */
static int goes_on(struct node_keys_read *read, struct peri_slice key, bool is_behind_it)
{
    read->is_more = true;
    int rc = peri_buffer_append(&read->next, key.data, key.size);
    return rc == 0 && is_behind_it != read->is_reverse ? peri_buffer_append(&read->next, "", 1)
                                                       : rc;
}

/* Where the store's answer ended early, so does the range: what is in memory behind it may have
 * keys of the store in between. */
static int answer_range(struct node_keys *keys, struct node_keys_job *job)
{
    struct node_keys_read *read = job->read;
    const struct node_keymap *known = node_keytable_ordered(&keys->known);
    struct peri_slice pairs = peri_buffer_slice(&job->found);
    struct merge merge = {.staged = first_in(&keys->staged, job),
                          .known = first_in(known, job),
                          .is_reverse = job->is_reverse};
    struct peri_slice last = peri_buffer_slice(job->is_reverse ? &job->to : &job->from);
    int rc = 0;
    next_stored(&merge, pairs);
    while (rc == 0) {
        struct peri_slice key = first_of(&merge);
        if (job->is_more && merge.key.data == NULL)
            return goes_on(read, last, true); /* behind the store's last one */
        if (key.data == NULL || is_behind(job, key))
            return 0;
        if (read->count == job->count_max || read->found.size >= job->size_max)
            return goes_on(read, key, false);
        bool is_stored = merge.key.data != NULL && peri_slice_compare(merge.key, key) == 0;
        bool is_known = compare_entry(merge.known, key) == 0;
        bool is_staged = compare_entry(merge.staged, key) == 0;
        const struct node_keymap_entry *newest = is_staged  ? merge.staged
                                                 : is_known ? merge.known
                                                            : NULL;
        if (newest == NULL || !newest->is_deleted) {
            rc = store_chunk_put(&read->found, key,
                                 newest != NULL ? node_keymap_value(newest) : merge.value);
            read->count++;
        }
        if (is_stored) {
            last = key;
            next_stored(&merge, pairs);
        }
        if (is_known)
            merge.known = next_in(known, merge.known, job->is_reverse);
        if (is_staged)
            merge.staged = next_in(&keys->staged, merge.staged, job->is_reverse);
    }
    return rc;
}

static int give_answer(struct node_keys *keys, struct node_keys_job *job)
{
    if (job->of.epoch != keys->applied.epoch)
        return PERI_ECANCELLED; /* of the state that a snapshot has replaced */
    return job->is_range ? answer_range(keys, job) : answer_get(keys, job);
}

/* All that the store gave has been deleted since: on to what comes behind. */
static int read_on(struct node_keys *keys, struct node_keys_job *job)
{
    struct peri_slice next = peri_buffer_slice(&job->read->next);
    struct peri_buffer *place = job->is_reverse ? &job->to : &job->from;
    place->size = job->found.size = 0;
    job->count = 0;
    job->is_more = job->read->is_more = false;
    int rc = peri_buffer_append(place, next.data, next.size);
    job->read->next.size = 0;
    return rc == 0 ? node_rounds_read(keys->group->node->rounds, &job->job) : rc;
}

static void on_read(struct node_rounds_job *rounds_job, int status)
{
    struct node_keys_job *job = container_of(rounds_job, struct node_keys_job, job);
    struct node_group *group = job->group;
    struct node_keys *keys = group->keys;
    struct node_keys_read *read = job->read;
    if (read != NULL && status == 0 && !group->is_closing && group->raft != NULL) {
        int rc = job->job.rc == 0 ? give_answer(keys, job) : job->job.rc;
        if (rc == 0 && job->is_range && read->count == 0 && read->is_more) {
            rc = read_on(keys, job);
            if (rc == 0)
                return;
        }
        read->job = NULL;
        peri_list_remove(&job->link);
        node_rounds_suspect(group->node->rounds, job->job.rc);
        if (rc == PERI_ENOMEM || job->job.rc != 0)
            node_group_fail(group, job->job.err.code != 0
                                       ? &job->job.err
                                       : &(struct peri_error){.code = rc, .text = "a range"});
        read->on_done(read, rc);
    } else if (read != NULL) {
        read->job = NULL;
    }
    peri_list_remove(&job->link);
    free_job(job);
    node_group_release(group);
}

static int copy_bounds(struct node_keys_job *job, const struct node_keys_read *read)
{
    int rc = peri_buffer_append(&job->from, read->from.data, read->from.size);
    if (rc == 0 && job->has_end)
        rc = peri_buffer_append(&job->to, read->to.data, read->to.size);
    return rc;
}

static int start_read(struct node_keys *keys, struct node_keys_read *read, bool is_range,
                      struct peri_error *err)
{
    struct node_keys_job *job = calloc(1, sizeof *job);
    int rc = PERI_ENOMEM;
    if (job != NULL) {
        job->job = (struct node_rounds_job){.run = run_read, .done = on_read};
        job->group = keys->group;
        job->read = read;
        job->of = keys->applied;
        job->is_range = is_range;
        job->is_reverse = is_range && read->is_reverse;
        job->has_end = read->to.data != NULL;
        job->count_max = read->count_max;
        job->size_max = read->size_max;
        rc = copy_bounds(job, read);
    }
    if (rc == 0)
        rc = node_rounds_read(keys->group->node->rounds, &job->job);
    if (rc == 0) {
        read->job = job;
        peri_list_init(&job->link);
        peri_list_append(&keys->reads, &job->link);
        node_group_hold(keys->group);
        return 0;
    }
    if (job != NULL)
        free_job(job);
    return node_keys_end_replica(keys, rc, err);
}

int node_keys_peek(struct node_keys *keys, struct peri_slice key, struct peri_slice *value)
{
    const struct node_keymap_entry *entry = find(keys, key);
    if (entry == NULL)
        return -1;
    *value = node_keymap_value(entry);
    return !entry->is_deleted;
}

int node_keys_get(struct node_keys *keys, struct node_keys_read *read, struct peri_error *err)
{
    const struct node_keymap_entry *entry = find(keys, read->from);
    read->count = 0;
    read->job = NULL;
    if (entry == NULL)
        return start_read(keys, read, false, err);
    int rc = answer(read, entry);
    return rc == 0 ? 1 : node_keys_end_replica(keys, rc, err);
}

int node_keys_range(struct node_keys *keys, struct node_keys_read *read, struct peri_error *err)
{
    read->count = 0;
    read->is_more = false;
    read->job = NULL;
    read->next.size = 0;
    return start_read(keys, read, true, err);
}

void node_keys_cancel(struct node_keys_read *read)
{
    if (read->job != NULL)
        read->job->read = NULL;
    read->job = NULL;
}

void node_keys_abandon(struct node_keys *keys)
{
    for (struct peri_list *at = keys->reads.next; at != &keys->reads; at = at->next) {
        struct node_keys_job *job = container_of(at, struct node_keys_job, link);
        if (job->read != NULL)
            node_keys_cancel(job->read);
    }
}
