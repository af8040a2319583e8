/* uv_lane.c - a thread that does one job after another.
 *
 *      env_lane_work ---> waiting ---> the thread ---> finished ---> eventfd ---> done, on the loop
 *
 * Not by uv_async: where the loop wakes on the processor of the thread that woke it, and takes its
 * place, libuv spins for tens of microseconds until that thread has left uv_async_send.
 *
 * The lists change hands under the mutex; everything else belongs to the loop's thread. A lane
 * keeps the loop alive while jobs are under way, and until its thread has been joined. env_close
 * ends the thread; the struct stays, for work of the pool may still end and close it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "env/uv_internal.h"

struct lane_job {
    struct peri_list link;
    void (*run)(void *data);
    void (*done)(void *data, int status); /* NULL: nobody is told */
    void *data;
    int status;
};

struct uv_lane {
    struct env_lane base;
    struct uv_owned owned;
    uv_thread_t thread;
    int bell;       /* eventfd, rung when something finished, or the thread has ended */
    uv_poll_t news; /* hears it */
    size_t job_count;
    struct peri_list link; /* in env_uv.lanes until its owner closes it */
    bool is_ended;         /* no more jobs */
    bool is_closed;        /* by its owner */
    bool is_over;          /* thread and handle are gone */

    /* Guarded by the mutex. */
    uv_mutex_t mutex;
    uv_cond_t changed;
    struct peri_list waiting, finished; /* struct lane_job */
    bool is_ending;                     /* the thread ends once nothing waits */
    bool is_cancelled;                  /* and what waits is not run any more */
    bool has_ended;
};

static struct uv_lane *lane_of(struct env_lane *base)
{
    return container_of(base, struct uv_lane, base);
}

/* ---- the thread ---- */

static void ring(struct uv_lane *lane)
{
    ssize_t put;
    do
        put = write(lane->bell, &(uint64_t){1}, sizeof(uint64_t));
    while (put < 0 && errno == EINTR);
}

static void do_job(struct uv_lane *lane, struct lane_job *job)
{
    bool is_cancelled = lane->is_cancelled, is_silent = job->done == NULL;
    peri_list_remove(&job->link);
    uv_mutex_unlock(&lane->mutex);
    if (is_cancelled)
        job->status = PERI_ECANCELLED;
    else
        job->run(job->data);
    if (is_silent)
        free(job);
    uv_mutex_lock(&lane->mutex);
    if (is_silent)
        return;
    peri_list_append(&lane->finished, &job->link);
    uv_mutex_unlock(&lane->mutex); /* or the loop would wake to wait for it */
    ring(lane);
    uv_mutex_lock(&lane->mutex);
}

static void lane_on_run(void *data)
{
    struct uv_lane *lane = data;
    uv_mutex_lock(&lane->mutex);
    while (!lane->is_ending || !peri_list_is_empty(&lane->waiting)) {
        if (peri_list_is_empty(&lane->waiting))
            uv_cond_wait(&lane->changed, &lane->mutex);
        else
            do_job(lane, container_of(lane->waiting.next, struct lane_job, link));
    }
    lane->has_ended = true;
    ring(lane);
    uv_mutex_unlock(&lane->mutex);
}

/* ---- the loop ---- */

static void lane_free(struct uv_lane *lane)
{
    uv_cond_destroy(&lane->changed);
    uv_mutex_destroy(&lane->mutex);
    free(lane);
}

static void lane_on_closed(uv_handle_t *handle)
{
    struct uv_lane *lane = container_of((uv_poll_t *)handle, struct uv_lane, news);
    (void)close(lane->bell);
    lane->is_over = true;
    if (lane->is_closed)
        lane_free(lane);
}

/* The next job that finished, or NULL; *has_ended: there will be no more. */
static struct lane_job *take_finished(struct uv_lane *lane, bool *has_ended)
{
    struct lane_job *job = NULL;
    uv_mutex_lock(&lane->mutex);
    if (!peri_list_is_empty(&lane->finished)) {
        job = container_of(lane->finished.next, struct lane_job, link);
        peri_list_remove(&job->link);
    }
    *has_ended = lane->has_ended;
    uv_mutex_unlock(&lane->mutex);
    return job;
}

static void lane_on_news(uv_poll_t *news, int status, int events)
{
    struct uv_lane *lane = container_of(news, struct uv_lane, news);
    struct lane_job *job;
    bool has_ended = false;
    uint64_t rung;
    (void)status;
    (void)events;
    if (read(lane->bell, &rung, sizeof rung) < 0)
        return; /* interrupted: it still rings */
    while ((job = take_finished(lane, &has_ended)) != NULL) {
        struct lane_job it = *job;
        free(job);
        lane->job_count--;
        it.done(it.data, it.status);
    }
    if (has_ended) {
        (void)uv_thread_join(&lane->thread);
        uv_close((uv_handle_t *)&lane->news, lane_on_closed);
    } else if (lane->job_count == 0 && !lane->is_ended) {
        uv_unref((uv_handle_t *)&lane->news);
    }
}

static void lane_end(struct uv_lane *lane, bool is_cancelled)
{
    lane->is_ended = true;
    uv_ref((uv_handle_t *)&lane->news);
    uv_mutex_lock(&lane->mutex);
    lane->is_ending = true;
    lane->is_cancelled = lane->is_cancelled || is_cancelled;
    uv_cond_signal(&lane->changed);
    uv_mutex_unlock(&lane->mutex);
}

static void lane_close_owned(struct uv_owned *owned)
{
    lane_end(container_of(owned, struct uv_lane, owned), true);
}

static int init_lane(struct env_uv *uv, struct uv_lane *lane)
{
    int rc = uv_mutex_init(&lane->mutex);
    if (rc != 0)
        return rc;
    rc = uv_cond_init(&lane->changed);
    if (rc != 0) {
        uv_mutex_destroy(&lane->mutex);
        return rc;
    }
    lane->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = lane->bell < 0 ? -errno : uv_poll_init(&uv->loop, &lane->news, lane->bell);
    if (rc == 0) {
        (void)uv_poll_start(&lane->news, UV_READABLE, lane_on_news); /* cannot fail */
        return 0;
    }
    if (lane->bell >= 0)
        (void)close(lane->bell);
    uv_cond_destroy(&lane->changed);
    uv_mutex_destroy(&lane->mutex);
    return rc;
}

static int lane_create(struct env *env, struct env_lane **out)
{
    struct env_uv *uv = env_uv_of(env);
    struct uv_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return PERI_ENOMEM;
    lane->base.env = env;
    peri_list_init(&lane->link);
    peri_list_init(&lane->waiting);
    peri_list_init(&lane->finished);
    int rc = init_lane(uv, lane);
    if (rc != 0) {
        free(lane);
        return rc;
    }
    rc = uv_thread_create(&lane->thread, lane_on_run, lane);
    if (rc != 0) {
        lane->is_closed = true;
        uv_close((uv_handle_t *)&lane->news, lane_on_closed);
        return rc;
    }
    uv_unref((uv_handle_t *)&lane->news);
    env_uv_owned_add(uv, &lane->owned, lane_close_owned);
    peri_list_append(&uv->lanes, &lane->link);
    *out = &lane->base;
    return 0;
}

static int lane_submit(struct env_lane *base, void (*run)(void *data),
                       void (*done)(void *data, int status), void *data)
{
    struct uv_lane *lane = lane_of(base);
    if (env_uv_of(base->env)->is_closing)
        return PERI_ECANCELLED;
    PERI_ASSERT(!lane->is_ended);
    struct lane_job *job = malloc(sizeof *job);
    if (job == NULL)
        return PERI_ENOMEM;
    *job = (struct lane_job){.run = run, .done = done, .data = data};
    if (done != NULL && lane->job_count++ == 0)
        uv_ref((uv_handle_t *)&lane->news);
    uv_mutex_lock(&lane->mutex);
    peri_list_append(&lane->waiting, &job->link);
    uv_mutex_unlock(&lane->mutex); /* or the thread would wake to wait for it */
    uv_cond_signal(&lane->changed);
    return 0;
}

static void lane_close(struct env_lane *base)
{
    struct uv_lane *lane = lane_of(base);
    lane->is_closed = true;
    peri_list_remove(&lane->link);
    env_uv_owned_remove(&lane->owned);
    if (lane->is_over)
        lane_free(lane);
    else if (!lane->is_ended)
        lane_end(lane, false);
}

void env_uv_lanes_free(struct env_uv *uv)
{
    while (!peri_list_is_empty(&uv->lanes)) {
        struct uv_lane *lane = container_of(uv->lanes.next, struct uv_lane, link);
        peri_list_remove(&lane->link);
        lane_free(lane);
    }
}

const struct env_lane_ops env_uv_lane_ops = {lane_create, lane_submit, lane_close};
