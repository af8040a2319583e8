/* rounds_jobs.c - the jobs of the state store: one after the other, and reads beside them. */
#include "base/assert.h"
#include "node/rounds.h"

void node_rounds_end_job(struct node_rounds_job *job, int status)
{
    job->is_queued = false;
    job->done(job, status);
}

static void on_run(void *data)
{
    struct node_rounds_job *job = data;
    job->run(job, job->rounds->state);
}

static void on_ran(void *data, int status)
{
    struct node_rounds_job *job = data;
    struct node_rounds *rounds = job->rounds;
    struct node *node = rounds->node;
    rounds->running = NULL;
    rounds->has_no_env = rounds->has_no_env || status == PERI_ECANCELLED;
    if (status != 0 || !node_rounds_await_room(rounds, job))
        node_rounds_end_job(job, status);
    node_rounds_pump(rounds);
    node_release(node);
}

void node_rounds_start_job(struct node_rounds *rounds, struct node_rounds_job *job)
{
    peri_list_remove(&job->link);
    rounds->running = job;
    if (job->start != NULL && !job->is_again)
        job->start(job);
    node_hold(rounds->node);
    int rc = env_work(rounds->node->env, on_run, on_ran, job);
    if (rc == PERI_ECANCELLED) {
        on_ran(job, rc);
    } else if (rc != 0) { /* it failed, like one that ran */
        job->rc = peri_fail(&job->err, rc, "work on the state");
        on_ran(job, 0);
    }
}

void node_rounds_pump(struct node_rounds *rounds)
{
    if (rounds->running != NULL)
        return;
    if (rounds->is_closing) {
        if (rounds->reads == 0)
            node_rounds_close_store(rounds);
        return;
    }
    if (rounds->is_stuck)
        node_rounds_pump_room(rounds);
    else if (!peri_list_is_empty(&rounds->jobs))
        node_rounds_start_job(rounds,
                              container_of(rounds->jobs.next, struct node_rounds_job, link));
}

static void add(struct node_rounds *rounds, struct node_rounds_job *job)
{
    job->rounds = rounds;
    job->rc = 0;
    peri_error_clear(&job->err);
    job->is_queued = true;
    job->is_again = false;
    peri_list_init(&job->link);
    peri_list_append(&rounds->jobs, &job->link);
    node_rounds_pump(rounds);
}

void node_rounds_prepare(struct node_rounds *rounds)
{
    if (rounds->state == NULL && !rounds->opening.is_queued && !rounds->is_closing)
        add(rounds, &rounds->opening);
}

void node_rounds_add(struct node_rounds *rounds, struct node_rounds_job *job)
{
    if (rounds->is_closing) {
        job->rounds = rounds;
        node_rounds_end_job(job, PERI_ECANCELLED);
        return;
    }
    node_rounds_prepare(rounds);
    if (rounds->state == NULL && !rounds->opening.is_queued) { /* it could not even begin */
        job->rounds = rounds;
        job->rc = rounds->opening.rc;
        job->err = rounds->opening.err;
        node_rounds_end_job(job, 0);
        return;
    }
    add(rounds, job);
}

static void on_did_read(void *data, int status)
{
    struct node_rounds_job *job = data;
    struct node_rounds *rounds = job->rounds;
    struct node *node = rounds->node;
    rounds->reads--;
    rounds->has_no_env = rounds->has_no_env || status == PERI_ECANCELLED;
    job->done(job, status);
    if (rounds->is_closing || rounds->is_reopening)
        node_rounds_pump(rounds);
    node_release(node);
}

int node_rounds_read(struct node_rounds *rounds, struct node_rounds_job *job)
{
    PERI_ASSERT(rounds->state != NULL);
    if (rounds->is_closing)
        return PERI_ECANCELLED;
    job->rounds = rounds;
    if (node_rounds_hold_read(rounds, job))
        return 0;
    int rc = env_work(rounds->node->env, on_run, on_did_read, job);
    if (rc == 0) {
        rounds->reads++;
        node_hold(rounds->node);
    }
    return rc;
}
