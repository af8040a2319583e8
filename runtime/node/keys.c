#include "node/keys.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "node/rounds.h"
#include "node/snapshot.h"

/* ---- life ---- */

static struct node_keys_part *create_part(struct node_keys *keys)
{
    struct node_keys_part *part = calloc(1, sizeof *part);
    if (part == NULL)
        return NULL;
    part->keys = keys;
    peri_list_init(&part->link);
    peri_list_init(&part->entries);
    peri_list_init(&part->chunks);
    return part;
}

int node_keys_open(struct node_group *group)
{
    struct node *node = group->node;
    int rc = node->rounds == NULL ? node_rounds_open(node) : 0;
    if (rc != 0)
        return rc;
    struct node_keys *keys = calloc(1, sizeof *keys);
    if (keys != NULL)
        keys->part = create_part(keys);
    if (keys == NULL || keys->part == NULL) {
        free(keys);
        return PERI_ENOMEM;
    }
    keys->group = group;
    keys->applied.group = group->id;
    node_keytable_init(&keys->known);
    peri_list_init(&keys->link);
    peri_list_init(&keys->collecting);
    peri_list_init(&keys->clean);
    node_keytail_init(&keys->tail);
    peri_list_init(&keys->sources);
    peri_list_init(&keys->reads);
    peri_list_append(&node->rounds->groups, &keys->link);
    group->keys = group->task.keys = keys;
    node_rounds_prepare(node->rounds); /* while the log has its group */
    return 0;
}

/* A part that is in a round stays there, without us. */
static void leave_part(struct node_keys *keys)
{
    struct node_keys_part *part = keys->part;
    keys->part = NULL;
    node_keys_tail_forget(keys, part);
    if (peri_list_is_empty(&part->link)) {
        free(part);
        return;
    }
    part->keys = NULL;
    for (struct peri_list *at = part->entries.next; at != &part->entries; at = at->next)
        container_of(at, struct node_keymap_entry, link)->is_orphan = true;
}

/* Forgets all that is in memory. */
static void forget(struct node_keys *keys)
{
    struct node_rounds *rounds = keys->group->node->rounds;
    leave_part(keys);
    for (struct peri_list *at = keys->collecting.next; at != &keys->collecting; at = at->next)
        rounds->dirty_bytes -= node_keymap_cost(container_of(at, struct node_keymap_entry, link));
    rounds->clean_bytes -= keys->clean_bytes;
    keys->clean_bytes = 0;
    node_keytable_clear(&keys->known);
    node_keys_discard(keys);
}

void node_keys_close(struct node_group *group)
{
    struct node_keys *keys = group->keys;
    if (keys == NULL)
        return;
    PERI_ASSERT(peri_list_is_empty(&keys->sources));
    forget(keys);
    node_intake_free(keys);
    node_keys_want_free(keys);
    node_keys_sweep_free(keys);
    peri_list_remove(&keys->link);
    peri_buffer_deinit(&keys->extra);
    free(keys);
    group->keys = group->task.keys = NULL;
}

int node_keys_reset(struct node_keys *keys, const struct store_applied *applied)
{
    struct peri_buffer extra = {NULL, 0, 0};
    struct node_keys_part *part = create_part(keys);
    if (part == NULL || peri_buffer_append(&extra, applied->extra.data, applied->extra.size) != 0) {
        free(part);
        return PERI_ENOMEM;
    }
    forget(keys);
    keys->part = part;
    peri_buffer_deinit(&keys->extra);
    keys->extra = extra;
    keys->applied = *applied;
    keys->applied.extra = peri_buffer_slice(&keys->extra);
    keys->written_index = applied->index;
    keys->barrier_index = 0;
    keys->is_ready = true;
    node_keys_sweep(keys);
    return 0;
}

int node_keys_end_replica(struct node_keys *keys, int rc, struct peri_error *err)
{
    struct peri_error own = PERI_ERROR_INIT;
    (void)peri_fail(&own, rc, "keys of group %" PRIu64, keys->group->id);
    if (err != NULL)
        *err = own;
    node_group_fail(keys->group, &own);
    return rc;
}

/* ---- writing ---- */

static int check_write(const struct node_keys *keys, struct peri_slice key, size_t value_size,
                       struct peri_error *err)
{
    if (keys->group->task_kind != NODE_TASK_APPLY || keys->group->is_task_done)
        return peri_fail_plain(err, PERI_EINVAL, "keys are written while a command is applied");
    if (key.size > NODE_KEY_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a key has at most %d bytes, not %zu",
                               NODE_KEY_MAX, key.size);
    if (value_size > NODE_VALUE_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a value has at most %d bytes, not %zu",
                               NODE_VALUE_MAX, value_size);
    if (keys->staged_bytes + key.size + value_size > NODE_EFFECT_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a command writes at most %d bytes",
                               NODE_EFFECT_MAX);
    return 0;
}

static int stage(struct node_keys *keys, struct peri_slice key, struct peri_slice value,
                 bool is_deleted, struct peri_error *err)
{
    int rc = check_write(keys, key, value.size, err);
    if (rc != 0)
        return rc;
    struct node_keymap_entry *entry = node_keymap_entry_create(key, value, is_deleted);
    if (entry == NULL)
        return node_keys_end_replica(keys, PERI_ENOMEM, err);
    keys->staged_bytes += node_keymap_cost(entry);
    struct node_keymap_entry *old = node_keymap_put(&keys->staged, entry);
    if (old != NULL)
        keys->staged_bytes -= node_keymap_cost(old);
    free(old);
    return 0;
}

int node_keys_put(struct node_keys *keys, struct peri_slice key, struct peri_slice value,
                  struct peri_error *err)
{
    return stage(keys, key, value, false, err);
}

int node_keys_delete(struct node_keys *keys, struct peri_slice key, struct peri_error *err)
{
    return stage(keys, key, peri_slice_of(NULL, 0), true, err);
}

int node_keys_write(struct node_keys *keys, struct node_keymap *written, struct peri_error *err)
{
    int rc = 0;
    PERI_ASSERT(keys->staged.heads[0] == NULL);
    for (const struct node_keymap_entry *entry = written->heads[0]; entry != NULL && rc == 0;
         entry = entry->next[0]) {
        rc = check_write(keys, node_keymap_key(entry), entry->value_size, err);
        keys->staged_bytes += node_keymap_cost(entry);
    }
    keys->staged = *written;
    *written = (struct node_keymap){.heads = {NULL}};
    if (rc != 0)
        node_keys_discard(keys);
    return rc;
}

/* Takes what was known of a key off the books, and out of its list. */
static void take_off(struct node_keys *keys, struct node_keymap_entry *entry)
{
    struct node_rounds *rounds = keys->group->node->rounds;
    size_t cost = node_keymap_cost(entry);
    if (entry->is_dirty) {
        rounds->dirty_bytes -= cost;
    } else {
        rounds->clean_bytes -= cost;
        keys->clean_bytes -= cost;
    }
    peri_list_remove(&entry->link);
}

static void drop(struct node_keys *keys, struct node_keymap_entry *entry)
{
    take_off(keys, entry);
    free(entry);
}

/* A round takes it: until that ends its bytes and its place in the part are for the background. */
static bool is_being_written(const struct node_keys *keys, const struct node_keymap_entry *entry)
{
    return entry->is_dirty && entry->round != keys->round;
}

/* What was written is what is known of its key. Returns the entry of it. */
static struct node_keymap_entry *learn(struct node_keys *keys, struct node_keymap_entry *entry)
{
    struct node_keymap_entry *known = node_keytable_find(&keys->known, node_keymap_key(entry));
    bool is_fixed = known != NULL && is_being_written(keys, known);
    if (known != NULL && !is_fixed && node_keymap_overwrite(known, entry)) {
        take_off(keys, known);
        free(entry);
        return known;
    }
    if (known != NULL)
        node_keytable_remove(&keys->known, known);
    node_keytable_put(&keys->known, entry);
    if (is_fixed)
        known->is_orphan = true;
    else if (known != NULL)
        drop(keys, known);
    return entry;
}

void node_keys_commit(struct node_keys *keys)
{
    struct node_keymap_entry *entry = keys->staged.heads[0];
    keys->staged = (struct node_keymap){.heads = {NULL}};
    keys->staged_bytes = 0;
    while (entry != NULL) {
        struct node_keymap_entry *next = entry->next[0], *known = learn(keys, entry);
        known->is_dirty = true;
        known->round = keys->round;
        node_keytable_order(&keys->known, known); /* ranges of the store do not have it */
        peri_list_append(&keys->collecting, &known->link);
        keys->group->node->rounds->dirty_bytes += node_keymap_cost(known);
        entry = next;
    }
    node_keys_tail_commit(keys);
}

void node_keys_discard(struct node_keys *keys)
{
    node_keymap_clear(&keys->staged);
    keys->staged_bytes = 0;
    node_keys_tail_discard(keys);
}

/* ---- rounds ---- */

int node_keys_gather(struct node_keys *keys, struct store_round *round)
{
    const struct node_group *group = keys->group;
    struct node_keys_part *part = keys->part;
    PERI_ASSERT(peri_list_is_empty(&part->link));
    if (!keys->is_ready || group->raft == NULL || group->is_closing ||
        group->applied_index <= keys->applied.index)
        return 0;
    const struct raft_configuration *members = raft_members_at(group->raft, group->applied_index);
    if (members == NULL)
        return 0; /* a snapshot has been accepted: it takes the place of all this */
    keys->extra.size = 0;
    int rc = node_members_put(group->node, members, &keys->extra);
    if (rc != 0)
        return rc;
    keys->applied.members = *members;
    keys->applied.index = group->applied_index;
    keys->applied.term = group->applied_term;
    keys->applied.extra = peri_buffer_slice(&keys->extra);
    rc = store_round_applied(round, &keys->applied);
    part->of = keys->applied;
    part->of.extra = peri_slice_of(NULL, 0);
    peri_list_append_all(&part->entries, &keys->collecting);
    node_keys_tail_gather(keys);
    keys->round++;
    peri_list_append(&group->node->rounds->parts, &part->link);
    return rc;
}

int node_keys_add(const struct node_keys_part *part, struct store_round *round)
{
    int rc = 0;
    for (const struct peri_list *at = part->entries.next; rc == 0 && at != &part->entries;
         at = at->next) {
        const struct node_keymap_entry *entry = container_of(at, struct node_keymap_entry, link);
        struct peri_slice key = node_keymap_key(entry);
        rc = entry->is_deleted ? store_round_delete(round, &part->of, key)
                               : store_round_put(round, &part->of, key, node_keymap_value(entry));
    }
    return rc == 0 ? node_keys_tail_add(part, round) : rc;
}

/* Forgets a clean entry. */
static void let_go(struct node_keys *keys, struct node_keymap_entry *entry)
{
    node_keytable_remove(&keys->known, entry);
    drop(keys, entry);
}

/* The store has an entry. What reads under way find may be older than that. */
static void make_clean(struct node_keys *keys, struct node_keymap_entry *entry)
{
    struct node_rounds *rounds = keys->group->node->rounds;
    size_t cost = node_keymap_cost(entry);
    entry->is_dirty = false;
    rounds->dirty_bytes -= cost;
    rounds->clean_bytes += cost;
    keys->clean_bytes += cost;
    peri_list_append(&keys->clean, &entry->link);
    if (!peri_list_is_empty(&keys->reads))
        return;
    if (entry->is_brief && !node_keys_want_reads(keys))
        let_go(keys, entry);
    else
        node_keytable_unorder(&keys->known, entry);
}

size_t node_keys_settle(struct node_keys_part *part, struct node_rounds *rounds, bool is_written,
                        size_t count_max)
{
    struct node_keys *keys = part->keys;
    for (; count_max > 0 && !peri_list_is_empty(&part->entries); count_max--) {
        struct node_keymap_entry *entry =
            container_of(part->entries.next, struct node_keymap_entry, link);
        peri_list_remove(&entry->link);
        if (entry->is_orphan) {
            rounds->dirty_bytes -= node_keymap_cost(entry);
            free(entry);
        } else if (is_written) {
            make_clean(keys, entry);
        } else {
            entry->round = keys->round;
            peri_list_append(&keys->collecting, &entry->link);
        }
    }
    if (peri_list_is_empty(&part->entries)) {
        node_keys_tail_settle(part, is_written);
        peri_list_remove(&part->link);
        if (keys == NULL)
            free(part);
    }
    return count_max;
}

void node_keys_evict(struct node_keys *keys, size_t bytes_max)
{
    if (!peri_list_is_empty(&keys->reads) || node_keys_want_reads(keys))
        return; /* what they find may be older than an entry that goes */
    while (keys->clean_bytes > bytes_max) {
        struct node_keymap_entry *entry =
            container_of(keys->clean.next, struct node_keymap_entry, link);
        let_go(keys, entry);
    }
}
