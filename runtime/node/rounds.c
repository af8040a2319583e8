#include "node/rounds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/snapshot.h"

enum {
    ROUND_US = 2000000,         /* what is applied waits so long for more, as it may be less then */
    ROUND_BYTES = 16 << 20,     /* unless it is so much */
    ROUND_KEYS_BYTES = 2 << 20, /* or that in keys, of which ranges take time */
    DIRTY_MAX_BYTES = 64 << 20, /* in memory; then commands wait */
    CLEAN_MAX_BYTES = 32 << 20, /* in memory, of all groups */
    BARRIER_BYTES = 16 << 20,   /* written since the last one */
    BARRIER_MIN_US = 1000000,   /* between two, when entries alone ask for one */
    REST_US = 500000,           /* nothing is written: what memory has of it becomes a table, */
    REST_BYTES = 1 << 20,       /* when it is so much */
    SETTLED_AT_ONCE = 1000,     /* entries of a round; then the loop turns */
};

/* ---- the store ---- */

/* Keeps a damaged store for people. What it held comes from the log, or from other replicas:
 * resume.c finds out. */
static int set_aside(struct node_rounds *rounds, struct peri_error *err)
{
    struct env *env = rounds->node->env;
    char path[NODE_SNAPSHOT_PATH_MAX];
    if (snprintf(path, sizeof path, "%s.damaged", rounds->path) >= (int)sizeof path)
        return peri_fail(err, -ENAMETOOLONG, "%.200s", rounds->path);
    int rc = store_remove(env, path, err);
    if (rc == 0)
        rc = env_path_rename(env, rounds->path, path, err);
    return rc == 0 ? env_path_sync(env, rounds->node->path, err) : rc;
}

static void run_open(struct node_rounds_job *job, struct store_state *state)
{
    struct node_rounds *rounds = job->rounds;
    struct env *env = rounds->node->env;
    struct store_state_options options;
    (void)state;
    store_state_options_init(&options, rounds->node->cluster, rounds->node->options.id);
    job->rc = store_state_open(&rounds->state, env, rounds->path, &options, &job->err);
    if (job->rc != PERI_ECORRUPT)
        return;
    rounds->was_damaged = true;
    job->rc = set_aside(rounds, &job->err);
    if (job->rc == 0)
        job->rc = store_state_open(&rounds->state, env, rounds->path, &options, &job->err);
}

/* Without a store every job fails as this did. */
static void on_opened(struct node_rounds_job *job, int status)
{
    struct node_rounds *rounds = job->rounds;
    if (status == 0 && rounds->was_damaged)
        env_log(rounds->node->env, ENV_LOG_ERROR, "node",
                "the state store %s is damaged: it is set aside, and its groups are repaired",
                rounds->path);
    rounds->was_damaged = false;
    if (status == 0 && job->rc == 0)
        return;
    while (!peri_list_is_empty(&rounds->jobs)) {
        struct node_rounds_job *next =
            container_of(rounds->jobs.next, struct node_rounds_job, link);
        peri_list_remove(&next->link);
        next->rc = status != 0 ? status : job->rc;
        next->err = job->err;
        node_rounds_end_job(next, status);
    }
}

static void run_close(struct node_rounds_job *job, struct store_state *state)
{
    store_state_close(state);
    if (job->rounds->is_damaged)
        job->rc = set_aside(job->rounds, &job->err); /* else the next start finds it as it is */
}

static void on_closed(struct node_rounds_job *job, int status)
{
    if (status != 0 || job->rc != 0) /* the environment ends, or lacks memory */
        store_state_close(job->rounds->state);
    job->rounds->state = NULL;
}

void node_rounds_close_store(struct node_rounds *rounds)
{
    if (rounds->state == NULL || rounds->closing.is_queued)
        return;
    if (rounds->has_no_env) {
        store_state_close(rounds->state);
        rounds->state = NULL;
        return;
    }
    rounds->closing.rounds = rounds;
    rounds->closing.is_queued = true;
    peri_list_init(&rounds->closing.link);
    node_rounds_start_job(rounds, &rounds->closing);
}

/* ---- rounds ---- */

static void settle(struct node_rounds *rounds, bool is_written, size_t count_max);

static void start_round(struct node_rounds_job *job)
{
    struct node_rounds *rounds = job->rounds;
    if (rounds->is_settling)
        settle(rounds, true, SIZE_MAX);
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next) {
        int rc = node_keys_gather(container_of(at, struct node_keys, link), &rounds->round);
        if (rc != 0 && job->rc == 0)
            job->rc = peri_fail(&job->err, rc, "a round");
    }
}

static void run_round(struct node_rounds_job *job, struct store_state *state)
{
    struct node_rounds *rounds = job->rounds;
    for (struct peri_list *at = rounds->parts.next;
         !job->is_again && job->rc == 0 && at != &rounds->parts; at = at->next) {
        int rc = node_keys_add(container_of(at, struct node_keys_part, link), &rounds->round);
        if (rc != 0)
            job->rc = peri_fail(&job->err, rc, "a round");
    }
    if (job->rc == 0 && rounds->round.changes.count > 0)
        job->rc = store_state_write(state, &rounds->round, &job->err);
}

void node_rounds_suspect(struct node_rounds *rounds, int rc)
{
    rounds->is_damaged = rounds->is_damaged || rc == PERI_ECORRUPT;
}

bool node_rounds_remember_too_much(const struct node_rounds *rounds)
{
    return rounds->clean_bytes > CLEAN_MAX_BYTES + CLEAN_MAX_BYTES / 4;
}

/* Groups take turns in letting go of what they remember. */
static void evict(struct node_rounds *rounds)
{
    for (struct peri_list *at = rounds->groups.next;
         rounds->clean_bytes > CLEAN_MAX_BYTES && at != &rounds->groups; at = at->next) {
        struct node_keys *keys = container_of(at, struct node_keys, link);
        size_t too_many = rounds->clean_bytes - CLEAN_MAX_BYTES;
        node_keys_evict(keys, keys->clean_bytes > too_many ? keys->clean_bytes - too_many : 0);
    }
}

/* Commands that waited for room go on. */
static void wake_groups(struct node_rounds *rounds)
{
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next) {
        struct node_group *group = container_of(at, struct node_keys, link)->group;
        if (group->window.is_set)
            node_group_wake(group);
    }
}

void node_rounds_let_go(struct node_rounds *rounds, size_t bytes)
{
    bool was_full = node_rounds_are_full(rounds);
    rounds->dirty_bytes -= bytes;
    rounds->told_bytes -= bytes;
    if (was_full && !node_rounds_are_full(rounds))
        wake_groups(rounds);
}

static bool has_entries_for_barrier(const struct node_rounds *rounds)
{
    uint64_t entries = rounds->node->options.snapshot_entries;
    for (const struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next) {
        const struct node_keys *keys = container_of(at, struct node_keys, link);
        if (entries > 0 && keys->is_ready &&
            keys->written_index >= keys->group->snapshots->index + entries)
            return true;
    }
    return false;
}

static void arm(struct node_rounds *rounds, uint64_t delay_us)
{
    if (rounds->is_armed || rounds->is_closing)
        return;
    rounds->is_armed = true;
    env_timer_start(rounds->timer, delay_us);
}

/* Has a barrier come when one is due, or be looked for when it may be. */
static void look_for_barrier(struct node_rounds *rounds)
{
    uint64_t now_us = env_now_us(rounds->node->env);
    bool is_due = rounds->written_bytes >= BARRIER_BYTES;
    if (!is_due && has_entries_for_barrier(rounds)) {
        is_due = now_us >= rounds->barrier_us + BARRIER_MIN_US;
        if (!is_due)
            arm(rounds, rounds->barrier_us + BARRIER_MIN_US - now_us);
    }
    if (is_due && !rounds->barrier_job.is_queued)
        node_rounds_add(rounds, &rounds->barrier_job);
}

void node_rounds_wrote(struct node_rounds *rounds, uint64_t bytes)
{
    rounds->written_bytes += bytes;
    look_for_barrier(rounds);
    if (bytes > 0 && rounds->written_bytes >= REST_BYTES && !rounds->is_closing)
        env_timer_start(rounds->rest, REST_US);
}

static void on_rest(void *data)
{
    struct node_rounds *rounds = data;
    if (rounds->written_bytes >= REST_BYTES && !rounds->barrier_job.is_queued)
        node_rounds_add(rounds, &rounds->barrier_job);
}

void node_rounds_fail(struct node_rounds *rounds, const struct node_rounds_job *job)
{
    node_rounds_suspect(rounds, job->rc);
    env_log(rounds->node->env, ENV_LOG_ERROR, "node", "the state store: %s", job->err.text);
    node_fence(rounds->node, job->rc);
}

/* What a large round has taken is given back in pieces: it may be tens of thousands of entries. */
static void settle(struct node_rounds *rounds, bool is_written, size_t count_max)
{
    bool was_full = node_rounds_are_full(rounds);
    while (count_max > 0 && !peri_list_is_empty(&rounds->parts))
        count_max = node_keys_settle(container_of(rounds->parts.next, struct node_keys_part, link),
                                     rounds, is_written, count_max);
    if (is_written)
        evict(rounds);
    if (was_full && !node_rounds_are_full(rounds))
        wake_groups(rounds);
    bool was_settling = rounds->is_settling;
    rounds->is_settling = !peri_list_is_empty(&rounds->parts);
    if (rounds->is_settling && !was_settling)
        env_turn_start(rounds->settling);
    else if (was_settling && !rounds->is_settling)
        env_turn_stop(rounds->settling);
}

static void on_settling(void *data)
{
    struct node_rounds *rounds = data;
    settle(rounds, true, SETTLED_AT_ONCE);
    if (!rounds->is_settling)
        node_rounds_applied(rounds); /* perhaps something was, since the round was gathered */
}

static void on_round(struct node_rounds_job *job, int status)
{
    struct node_rounds *rounds = job->rounds;
    size_t bytes = rounds->round.changes.bytes.size;
    store_batch_clear(&rounds->round.changes);
    if (status != 0 || rounds->is_closing || job->rc != 0) {
        settle(rounds, false, SIZE_MAX);
        if (status == 0 && !rounds->is_closing)
            node_rounds_fail(rounds, job);
        return;
    }
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next) {
        struct node_keys *keys = container_of(at, struct node_keys, link);
        keys->written_index = keys->applied.index;
        node_keys_sweep_start(keys);
    }
    settle(rounds, true, SETTLED_AT_ONCE);
    node_rounds_wrote(rounds, bytes);
    if (bytes > 0 && !rounds->is_settling)
        node_rounds_applied(rounds);
}

static void want_round(struct node_rounds *rounds)
{
    if (!rounds->node->is_fenced && !rounds->round_job.is_queued)
        node_rounds_add(rounds, &rounds->round_job);
}

static void on_timer(void *data)
{
    struct node_rounds *rounds = data;
    rounds->is_armed = false;
    if (!rounds->is_settling)
        want_round(rounds);
}

void node_rounds_applied(struct node_rounds *rounds)
{
    if (rounds->is_closing || rounds->is_settling) /* which ends here */
        return;
    if (rounds->dirty_bytes >= ROUND_BYTES ||
        rounds->dirty_bytes - rounds->told_bytes >= ROUND_KEYS_BYTES)
        want_round(rounds);
    else
        arm(rounds, ROUND_US);
}

void node_rounds_hurry(struct node_rounds *rounds)
{
    if (!rounds->is_closing && !rounds->is_settling)
        want_round(rounds);
}

bool node_rounds_are_full(const struct node_rounds *rounds)
{
    return rounds->dirty_bytes >= DIRTY_MAX_BYTES;
}

void node_rounds_settle(struct node_rounds *rounds)
{
    want_round(rounds);
    if (!rounds->barrier_job.is_queued)
        node_rounds_add(rounds, &rounds->barrier_job);
    else
        rounds->wants_barrier = true; /* the one that waits or runs may be too early */
}

/* ---- life ---- */

int node_rounds_open(struct node *node)
{
    struct node_rounds *rounds = calloc(1, sizeof *rounds);
    size_t size = strlen(node->path) + sizeof "/state";
    int rc = PERI_ENOMEM;
    if (rounds != NULL) {
        rounds->node = node;
        rounds->path = malloc(size);
        peri_list_init(&rounds->groups);
        peri_list_init(&rounds->jobs);
        peri_list_init(&rounds->parts);
        rounds->opening = (struct node_rounds_job){.run = run_open, .done = on_opened};
        rounds->closing = (struct node_rounds_job){.run = run_close, .done = on_closed};
        rounds->round_job =
            (struct node_rounds_job){.start = start_round, .run = run_round, .done = on_round};
        node_rounds_init_barriers(rounds);
        rc = rounds->path != NULL ? env_timer_create(node->env, on_timer, rounds, &rounds->timer)
                                  : PERI_ENOMEM;
        if (rc == 0)
            rc = env_timer_create(node->env, on_rest, rounds, &rounds->rest);
        if (rc == 0)
            rc = env_turn_create(node->env, on_settling, rounds, &rounds->settling);
        if (rc == 0)
            rc = node_rounds_full_open(rounds);
    }
    if (rc != 0) {
        if (rounds != NULL) {
            env_turn_close(rounds->settling);
            env_timer_close(rounds->timer);
            env_timer_close(rounds->rest);
            free(rounds->path);
        }
        free(rounds);
        return rc;
    }
    (void)snprintf(rounds->path, size, "%s/state", node->path);
    env_return_memory(node->env); /* values go through many threads */
    node->rounds = rounds;
    return 0;
}

void node_rounds_close(struct node *node)
{
    struct node_rounds *rounds = node->rounds;
    if (rounds == NULL || rounds->is_closing)
        return;
    rounds->is_closing = true;
    if (rounds->is_settling)
        settle(rounds, true, SIZE_MAX);
    env_turn_close(rounds->settling);
    env_timer_close(rounds->timer);
    env_timer_close(rounds->rest);
    rounds->settling = NULL;
    rounds->timer = rounds->rest = NULL;
    node_rounds_full_close(rounds);
    while (!peri_list_is_empty(&rounds->jobs)) {
        struct node_rounds_job *job = container_of(rounds->jobs.next, struct node_rounds_job, link);
        peri_list_remove(&job->link);
        node_rounds_end_job(job, PERI_ECANCELLED);
    }
    node_rounds_pump(rounds);
}

void node_rounds_free(struct node *node)
{
    struct node_rounds *rounds = node->rounds;
    if (rounds == NULL)
        return;
    PERI_ASSERT(rounds->state == NULL && rounds->running == NULL &&
                peri_list_is_empty(&rounds->parts));
    store_batch_deinit(&rounds->round.changes);
    free(rounds->path);
    free(rounds);
    node->rounds = NULL;
}
