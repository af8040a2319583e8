#include <stdlib.h>

#include "env/uv_internal.h"

struct uv_work {
    struct peri_list link; /* in env_uv.work until done */
    uv_work_t request;
    void (*run)(void *data);
    void (*done)(void *data, int status);
    void *data;
};

static void work_on_run(uv_work_t *request)
{
    struct uv_work *work = container_of(request, struct uv_work, request);
    work->run(work->data);
}

static void work_on_done(uv_work_t *request, int status)
{
    struct uv_work *work = container_of(request, struct uv_work, request);
    void (*done)(void *data, int status) = work->done;
    void *data = work->data;
    peri_list_remove(&work->link);
    free(work);
    done(data, status == UV_ECANCELED ? PERI_ECANCELLED : status);
}

static int work_submit(struct env *env, void (*run)(void *data),
                       void (*done)(void *data, int status), void *data)
{
    struct env_uv *uv = env_uv_of(env);
    if (uv->is_closing)
        return PERI_ECANCELLED;
    struct uv_work *work = calloc(1, sizeof *work);
    if (work == NULL)
        return PERI_ENOMEM;
    work->run = run;
    work->done = done;
    work->data = data;
    int rc = uv_queue_work(&uv->loop, &work->request, work_on_run, work_on_done);
    PERI_ASSERT(rc == 0); /* fails only without a callback */
    peri_list_append(&uv->work, &work->link);
    return 0;
}

void env_uv_work_cancel_all(struct env_uv *uv)
{
    for (struct peri_list *at = uv->work.next; at != &uv->work; at = at->next) {
        struct uv_work *work = container_of(at, struct uv_work, link);
        (void)uv_cancel((uv_req_t *)&work->request); /* refused once it runs: then it completes */
    }
}

const struct env_work_ops env_uv_work_ops = {work_submit};
