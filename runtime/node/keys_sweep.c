/* keys_sweep.c - machines remove from the store what is superfluous, beside their commands.
 *
 * A step reads the store and writes one batch, between two rounds: the loop has nothing to do with
 * it, and commands do not wait for it. */
#include <inttypes.h>
#include <stdlib.h>

#include "node/rounds.h"

struct node_sweeper {
    struct node_rounds_job job;
    struct node_keys_sweep sweep;
    struct node_group *group;
    struct store_applied of;
    struct store_state *state; /* while it runs */
    struct store_round round;
    int (*run)(struct node_keys_sweep *sweep, struct peri_error *err); /* the machine's */
    bool is_more;
};

/* ---- in the background ---- */

static struct node_sweeper *sweeper_of(struct node_keys_sweep *sweep)
{
    return container_of(sweep, struct node_sweeper, sweep);
}

static int get(struct node_keys_sweep *sweep, struct peri_slice key, struct peri_buffer *out,
               struct peri_error *err)
{
    const struct node_sweeper *sweeper = sweeper_of(sweep);
    return store_state_get(sweeper->state, NULL, &sweeper->of, key, out, err);
}

static int scan(struct node_keys_sweep *sweep, struct peri_slice from,
                int (*each)(void *data, struct peri_slice key, struct peri_slice value), void *data,
                struct peri_error *err)
{
    const struct node_sweeper *sweeper = sweeper_of(sweep);
    return store_state_scan(sweeper->state, NULL, &sweeper->of, from, each, data, err);
}

static int put(struct node_keys_sweep *sweep, struct peri_slice key, struct peri_slice value)
{
    struct node_sweeper *sweeper = sweeper_of(sweep);
    return store_round_put(&sweeper->round, &sweeper->of, key, value);
}

static int remove_key(struct node_keys_sweep *sweep, struct peri_slice key)
{
    struct node_sweeper *sweeper = sweeper_of(sweep);
    return store_round_delete(&sweeper->round, &sweeper->of, key);
}

static void run(struct node_rounds_job *job, struct store_state *state)
{
    struct node_sweeper *sweeper = container_of(job, struct node_sweeper, job);
    sweeper->state = state;
    int rc = sweeper->run(&sweeper->sweep, &job->err);
    sweeper->is_more = rc == 1;
    if (rc >= 0 && sweeper->round.changes.count > 0)
        rc = store_state_write(state, &sweeper->round, &job->err);
    store_batch_clear(&sweeper->round.changes);
    job->rc = rc < 0 ? rc : 0;
    if (rc < 0 && job->err.code == 0)
        (void)peri_fail(&job->err, rc, "a sweep of group %" PRIu64, sweeper->of.group);
}

/* ---- on the loop ---- */

static void add(struct node_sweeper *sweeper)
{
    node_group_hold(sweeper->group);
    node_rounds_add(sweeper->group->node->rounds, &sweeper->job);
}

static void on_done(struct node_rounds_job *job, int status)
{
    struct node_sweeper *sweeper = container_of(job, struct node_sweeper, job);
    struct node_group *group = sweeper->group;
    bool goes_on = status == 0 && !group->is_closing && group->raft != NULL;
    if (goes_on && job->rc != 0) {
        node_rounds_fail(group->node->rounds, job);
    } else if (goes_on) {
        node_rounds_wrote(group->node->rounds, sweeper->round.changes.bytes.size);
        if (sweeper->is_more)
            node_keys_sweep(group->keys);
        node_keys_sweep_start(group->keys);
    }
    node_group_release(group);
}

void node_keys_sweep(struct node_keys *keys)
{
    keys->wants_sweep = keys->group->machine->sweep != NULL;
}

static struct node_sweeper *create(struct node_group *group)
{
    struct node_sweeper *sweeper = calloc(1, sizeof *sweeper);
    if (sweeper == NULL)
        return NULL;
    sweeper->group = group;
    sweeper->sweep = (struct node_keys_sweep){get, scan, put, remove_key};
    sweeper->job = (struct node_rounds_job){.run = run, .done = on_done};
    sweeper->run = group->machine->sweep;
    return sweeper;
}

void node_keys_sweep_start(struct node_keys *keys)
{
    if (!keys->wants_sweep || !keys->is_ready ||
        (keys->sweeper != NULL && keys->sweeper->job.is_queued))
        return;
    if (keys->sweeper == NULL)
        keys->sweeper = create(keys->group);
    if (keys->sweeper == NULL)
        return; /* after another round */
    keys->wants_sweep = false;
    keys->sweeper->of = keys->applied;
    add(keys->sweeper);
}

void node_keys_sweep_free(struct node_keys *keys)
{
    if (keys->sweeper == NULL)
        return;
    store_batch_deinit(&keys->sweeper->round.changes);
    free(keys->sweeper);
    keys->sweeper = NULL;
}
