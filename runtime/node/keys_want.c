/* keys_want.c - keys that commands to come will want, read while their entries become durable.
 *
 *      an entry is handed to the disk --foresee--> its keys --one job--> memory ... the entry is
 * applied
 *
 * Commands are applied one after the other, and each would wait for its own keys. Reading in
 * advance changes nothing but when that is: what is not here in time is read again, and whatever a
 * command wrote meanwhile is newer. */
#include <stdlib.h>

#include "node/rounds.h"
#include "store/chunk.h"

enum {
    NAMES_MAX_BYTES = 1 << 20, /* of a batch: keys, */
    FOUND_MAX_BYTES = 4 << 20, /* and what was found, about */
};

/* One batch is read, and the next one gathers. */
struct node_keys_want {
    struct node_rounds_job job;
    bool is_reading;
    struct node_group *group;
    struct store_applied of;
    struct peri_buffer names;   /* wanted, as in store/chunk.h, with nothing behind them */
    struct peri_buffer reading; /* the same, of the batch */
    struct peri_buffer found;   /* name; is there, value */
};

bool node_keys_want_reads(const struct node_keys *keys)
{
    return keys->want != NULL && keys->want->is_reading;
}

void node_keys_want_free(struct node_keys *keys)
{
    struct node_keys_want *want = keys->want;
    keys->want = NULL;
    if (want == NULL)
        return;
    peri_buffer_deinit(&want->names);
    peri_buffer_deinit(&want->reading);
    peri_buffer_deinit(&want->found);
    free(want);
}

void node_keys_want(struct node_keys *keys, struct peri_slice key)
{
    struct node_keys_want *want = keys->want;
    if (want->names.size + key.size < NAMES_MAX_BYTES &&
        node_keytable_find(&keys->known, key) == NULL)
        (void)store_chunk_put(&want->names, key, peri_slice_of(NULL, 0)); /* or it is read later */
}

/* ---- in the background ---- */

static int find(struct node_keys_want *want, struct store_state *state, struct peri_slice name,
                struct peri_buffer *value)
{
    value->size = 0;
    int rc = peri_buffer_append(value, "", 1);
    if (rc == 0)
        rc = store_state_get(state, NULL, &want->of, name, value, &want->job.err);
    if (rc < 0)
        return rc;
    value->data[0] = (char)rc;
    return store_chunk_put(&want->found, name, peri_buffer_slice(value));
}

static void run(struct node_rounds_job *job, struct store_state *state)
{
    struct node_keys_want *want = container_of(job, struct node_keys_want, job);
    struct peri_slice names = peri_buffer_slice(&want->reading), name, nothing;
    struct peri_buffer value = {NULL, 0, 0};
    for (size_t at = 0; at < names.size && job->rc == 0 && want->found.size < FOUND_MAX_BYTES;) {
        (void)store_chunk_next(names, &at, &name, &nothing); /* node_keys_want made them */
        job->rc = find(want, state, name, &value);
    }
    peri_buffer_deinit(&value);
}

/* ---- on the loop ---- */

static void keep_all(struct node_keys *keys, struct peri_slice found)
{
    struct peri_slice name, value;
    for (size_t at = 0; at < found.size;) {
        (void)store_chunk_next(found, &at, &name, &value);
        if (node_keytable_find(&keys->known, name) == NULL)
            node_keys_keep(keys, name, peri_slice_of(value.data + 1, value.size - 1),
                           value.data[0] == 0);
    }
}

static void start(struct node_keys_want *want);

static void on_done(struct node_rounds_job *job, int status)
{
    struct node_keys_want *want = container_of(job, struct node_keys_want, job);
    struct node_group *group = want->group;
    struct node_keys *keys = group->keys;
    want->is_reading = false;
    if (status == 0 && !group->is_closing && group->raft != NULL) {
        if (want->of.epoch ==
            keys->applied.epoch) /* else of a state that a snapshot has replaced */
            keep_all(keys, peri_buffer_slice(&want->found));
        start(want);
    }
    node_group_release(group);
}

static void start(struct node_keys_want *want)
{
    struct node_keys *keys = want->group->keys;
    struct node_rounds *rounds = want->group->node->rounds;
    if (want->names.size == 0 || want->is_reading)
        return;
    struct peri_buffer names = want->names;
    want->names = want->reading;
    want->reading = names;
    want->names.size = want->found.size = 0;
    want->of = keys->applied;
    want->job = (struct node_rounds_job){.run = run, .done = on_done};
    /* While anything is read nothing is let go of: now and then there has to be a gap. */
    if (!node_rounds_remember_too_much(rounds) && node_rounds_read(rounds, &want->job) == 0) {
        want->is_reading = true;
        node_group_hold(want->group);
    }
}

static struct node_keys_want *create(struct node_group *group)
{
    struct node_keys_want *want = calloc(1, sizeof *want);
    if (want == NULL)
        return NULL;
    want->group = group;
    return want;
}

void node_keys_foresee(struct node_group *group, const struct store_log_entry *entries,
                       size_t count)
{
    struct node_keys *keys = group->keys;
    if (keys == NULL || group->machine->foresee == NULL || !keys->is_ready ||
        group->node->rounds->state == NULL)
        return;
    if (keys->want == NULL)
        keys->want = create(group);
    if (keys->want == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (entries[i].type == RAFT_COMMAND)
            group->machine->foresee(group->machine, keys, entries[i].payload);
    start(keys->want);
}
