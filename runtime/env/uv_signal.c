#include <signal.h>
#include <stdlib.h>

#include "env/uv_internal.h"

struct uv_watch {
    struct env_signal base;
    struct uv_owned owned;
    uv_signal_t handle;
    void (*on_signal)(void *data, int signum);
    void *data;
};

static void watch_on_closed(uv_handle_t *handle)
{
    free(container_of((uv_signal_t *)handle, struct uv_watch, handle));
}

static void watch_close_owned(struct uv_owned *owned)
{
    struct uv_watch *watch = container_of(owned, struct uv_watch, owned);
    uv_close((uv_handle_t *)&watch->handle, watch_on_closed);
}

static void watch_on_signal(uv_signal_t *handle, int signum)
{
    struct uv_watch *watch = container_of(handle, struct uv_watch, handle);
    watch->on_signal(watch->data, signum); /* last: it may close the watch */
}

static void watch_close(struct env_signal *base)
{
    struct uv_watch *watch = container_of(base, struct uv_watch, base);
    env_uv_owned_remove(&watch->owned);
    watch_close_owned(&watch->owned);
}

bool env_uv_signal_is_ignored(int signum)
{
    struct sigaction action;
    return signum == SIGHUP && sigaction(SIGHUP, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

static int watch_signal(struct env *env, int signum, void (*on_signal)(void *data, int signum),
                        void *data, struct env_signal **out)
{
    struct env_uv *uv = env_uv_of(env);
    struct uv_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return PERI_ENOMEM;
    watch->base.env = env;
    watch->on_signal = on_signal;
    watch->data = data;
    int rc = uv_signal_init(&uv->loop, &watch->handle);
    if (rc != 0) {
        free(watch);
        return rc;
    }
    env_uv_owned_add(uv, &watch->owned, watch_close_owned);
    if (!env_uv_signal_is_ignored(signum))
        rc = uv_signal_start(&watch->handle, watch_on_signal, signum);
    if (rc != 0) {
        watch_close(&watch->base);
        return rc;
    }
    uv_unref((uv_handle_t *)&watch->handle);
    *out = &watch->base;
    return 0;
}

const struct env_signal_ops env_uv_signal_ops = {watch_signal, watch_close, env_uv_signal_guard,
                                                 env_uv_signal_guard_limit};
