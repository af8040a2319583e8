/* barrier.c - what is applied becomes durable, for logs that want to be cut; and what old epochs
 * left behind is removed. */
#include "base/assert.h"
#include "node/rounds.h"
#include "node/snapshot.h"

enum { COLLECT_KEYS = 1000 /* deleted at a time */ };

static void start_barrier(struct node_rounds_job *job)
{
    struct node_rounds *rounds = job->rounds;
    rounds->written_bytes = 0;
    rounds->barrier_us = env_now_us(rounds->node->env);
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next) {
        struct node_keys *keys = container_of(at, struct node_keys, link);
        keys->barrier_index = keys->is_ready ? keys->written_index : 0;
    }
}

static void run_barrier(struct node_rounds_job *job, struct store_state *state)
{
    job->rc = store_state_barrier(state, &job->err);
}

static void on_barrier(struct node_rounds_job *job, int status)
{
    struct node_rounds *rounds = job->rounds;
    if (status != 0 || rounds->is_closing)
        return;
    if (job->rc != 0) {
        node_rounds_fail(rounds, job);
        return;
    }
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups;) {
        struct node_keys *keys = container_of(at, struct node_keys, link);
        at = at->next;
        node_snapshots_durable(keys->group, keys->barrier_index);
    }
    if (rounds->wants_barrier)
        node_rounds_add(rounds, &rounds->barrier_job);
    rounds->wants_barrier = false;
}

/* ---- old epochs ---- */

static void run_collect(struct node_rounds_job *job, struct store_state *state)
{
    job->rc = store_state_collect(state, COLLECT_KEYS, &job->err);
}

static void on_collected(struct node_rounds_job *job, int status)
{
    struct node_rounds *rounds = job->rounds;
    if (status != 0 || rounds->is_closing)
        return;
    if (job->rc < 0)
        node_rounds_fail(rounds, job);
    else if (job->rc > 0)
        node_rounds_collect(rounds);
}

void node_rounds_collect(struct node_rounds *rounds)
{
    if (!rounds->collect_job.is_queued && !rounds->is_closing)
        node_rounds_add(rounds, &rounds->collect_job);
}

void node_rounds_init_barriers(struct node_rounds *rounds)
{
    rounds->barrier_job =
        (struct node_rounds_job){.start = start_barrier, .run = run_barrier, .done = on_barrier};
    rounds->collect_job = (struct node_rounds_job){.run = run_collect, .done = on_collected};
}
