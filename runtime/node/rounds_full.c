/* rounds_full.c - a disk that has no room for the keys.
 *
 *   a job finds no room -> it waits, first in line; commands are refused, another member is asked
 *   to lead (request.c) -> once a second: is there room? -> reads end, and new ones are held
 *   -> the store is opened again -> the job runs again -> all goes on
 *
 * A store whose write failed is of no use until it is opened again, with all that it was given
 * before: this process relies on that, as a start does not. What is applied meanwhile stands in
 * memory, up to a bound, behind which commands wait. Nothing is lost when the process ends while it
 * waits, for the log has it all. */
#include <stdlib.h>

#include "env/log.h"
#include "node/rounds.h"
#include "node/snapshot.h"

enum { LOOK_US = 1000000 };

bool node_rounds_lack_room(const struct node_group *group)
{
    return group->keys != NULL && group->node->rounds->lacks_room;
}

/* ---- reads ---- */

bool node_rounds_hold_read(struct node_rounds *rounds, struct node_rounds_job *job)
{
    if (!rounds->is_reopening)
        return false;
    peri_list_init(&job->link);
    peri_list_append(&rounds->held, &job->link);
    node_hold(rounds->node);
    return true;
}

/* status: as for node_rounds_job.done; 0: they are started. */
static void let_reads_go(struct node_rounds *rounds, int status)
{
    struct node *node = rounds->node;
    while (!peri_list_is_empty(&rounds->held)) {
        struct node_rounds_job *job = container_of(rounds->held.next, struct node_rounds_job, link);
        peri_list_remove(&job->link);
        int rc = status == 0 ? node_rounds_read(rounds, job) : status;
        if (rc != 0 && status == 0)
            job->rc = peri_fail(&job->err, rc, "read of the state");
        if (rc != 0)
            job->done(job, status);
        node_release(node);
    }
}

/* ---- the store ---- */

static void run_reopen(struct node_rounds_job *job, struct store_state *state)
{
    job->rc = store_state_reopen(state, &job->err);
}

/* Jobs run again, the one that found no room first. */
static void go_on(struct node_rounds *rounds)
{
    rounds->is_stuck = rounds->is_reopening = false;
    for (struct peri_list *at = rounds->groups.next; at != &rounds->groups; at = at->next)
        node_streams_renew(container_of(at, struct node_keys, link)->group);
    let_reads_go(rounds, 0);
}

static void on_reopened(struct node_rounds_job *job, int status)
{
    struct node_rounds *rounds = job->rounds;
    if (status != 0 || rounds->is_closing)
        return;
    if (job->rc == 0) {
        go_on(rounds);
    } else if (store_is_want_of_room(job->rc)) {
        env_timer_start(rounds->room, LOOK_US);
        rounds->is_reopening = !store_state_is_open(rounds->state);
        if (!rounds->is_reopening)
            let_reads_go(rounds, 0);
    } else { /* what waits does so until the node is closed */
        node_rounds_fail(rounds, job);
    }
}

void node_rounds_pump_room(struct node_rounds *rounds)
{
    if (!rounds->is_reopening || !rounds->reopening.is_queued || rounds->reads > 0)
        return;
    node_rounds_start_job(rounds, &rounds->reopening);
}

static void on_room_timer(void *data)
{
    struct node_rounds *rounds = data;
    struct node_rounds_job *job = &rounds->reopening;
    if (rounds->is_closing || !rounds->is_stuck || rounds->node->is_fenced)
        return;
    *job = (struct node_rounds_job){.run = run_reopen, .done = on_reopened, .rounds = rounds};
    peri_list_init(&job->link);
    job->is_queued = rounds->is_reopening = true;
    node_rounds_pump(rounds);
}

/* ---- jobs ---- */

static void say_again(struct node_rounds *rounds)
{
    rounds->lacks_room = false;
    env_log(rounds->node->env, ENV_LOG_INFO, "node", "the state store %s has room again",
            rounds->path);
}

bool node_rounds_await_room(struct node_rounds *rounds, struct node_rounds_job *job)
{
    bool is_own = job == &rounds->opening || job == &rounds->reopening || job == &rounds->closing;
    if (rounds->is_closing || is_own)
        return false;
    if (!store_is_want_of_room(job->rc) || rounds->state == NULL) {
        if (job->is_again)
            say_again(rounds);
        return false;
    }
    if (!rounds->lacks_room)
        env_log(rounds->node->env, ENV_LOG_ERROR, "node",
                "the disk has no room for the state store, new commands are refused until there "
                "is some: %s",
                job->err.text);
    rounds->lacks_room = rounds->is_stuck = job->is_again = true;
    job->rc = 0;
    peri_error_clear(&job->err);
    peri_list_init(&job->link);
    peri_list_append(rounds->jobs.next, &job->link); /* in front of the first */
    env_timer_start(rounds->room, LOOK_US);
    return true;
}

int node_rounds_full_open(struct node_rounds *rounds)
{
    peri_list_init(&rounds->held);
    return env_timer_create(rounds->node->env, on_room_timer, rounds, &rounds->room);
}

void node_rounds_full_close(struct node_rounds *rounds)
{
    env_timer_close(rounds->room);
    rounds->room = NULL;
    let_reads_go(rounds, PERI_ECANCELLED);
}
