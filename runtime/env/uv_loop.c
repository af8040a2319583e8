#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/uv.h"
#include "env/uv_internal.h"

void env_uv_owned_add(struct env_uv *uv, struct uv_owned *owned,
                      void (*close)(struct uv_owned *owned))
{
    owned->close = close;
    peri_list_append(&uv->owned, &owned->link);
}

void env_uv_owned_remove(struct uv_owned *owned)
{
    peri_list_remove(&owned->link);
}

static void loop_run(struct env *env)
{
    (void)uv_run(&env_uv_of(env)->loop, UV_RUN_DEFAULT);
}

static void loop_stop(struct env *env)
{
    uv_stop(&env_uv_of(env)->loop);
}

static void close_owned(struct env_uv *uv)
{
    while (!peri_list_is_empty(&uv->owned)) {
        struct uv_owned *owned = container_of(uv->owned.next, struct uv_owned, link);
        env_uv_owned_remove(owned);
        owned->close(owned);
    }
}

/* Completions may open new handles while the loop drains, hence the loop. New work is refused, so
 * it ends. */
static void loop_close(struct env *env)
{
    struct env_uv *uv = env_uv_of(env);
    uv->is_closing = true;
    do {
        env_uv_work_cancel_all(uv);
        close_owned(uv);
        while (uv_run(&uv->loop, UV_RUN_DEFAULT) != 0)
            ; /* an env_stop before, or meanwhile, must not leave handles behind */
        env_uv_process_deinit(uv);
        env_uv_net_close(uv);
    } while (uv_loop_close(&uv->loop) == UV_EBUSY);
    env_uv_lanes_free(uv);
    env_uv_guard_close(uv->guard); /* last: the loop may wait for work that blocks */
    free(uv);
}

static const struct env_loop_ops loop_ops = {loop_run, loop_stop, loop_close};

static const struct env_ops uv_ops = {
    .loop = &loop_ops,
    .clock = &env_posix_clock_ops,
    .timer = &env_uv_timer_ops,
    .turn = &env_uv_turn_ops,
    .signal = &env_uv_signal_ops,
    .ticker = &env_posix_ticker_ops,
    .work = &env_uv_work_ops,
    .lane = &env_uv_lane_ops,
    .file = &env_posix_file_ops,
    .path = &env_posix_path_ops,
    .has_real_files = true,
    .stream_standard = env_uv_stream_standard,
    .conn = &env_uv_conn_ops,
    .listener = &env_uv_listener_ops,
    .process = &env_uv_process_ops,
    .copy = env_posix_copy,
    .self = &env_posix_self_ops,
};

/* https://no-color.org: set and not empty switches colours off. */
static bool colour_is_wanted(struct env *env)
{
    const char *no_color = env_variable(env, "NO_COLOR");
    const char *term = env_variable(env, "TERM");
    return env_file_is_terminal(env_file_stderr(env)) && (no_color == NULL || *no_color == '\0') &&
           term != NULL && strcmp(term, "dumb") != 0;
}

static void init_standard_files(struct env_uv *uv)
{
    static char *const names[3] = {"standard input", "standard output", "standard error"};
    for (int fd = 0; fd < 3; fd++)
        uv->standard[fd] = (struct posix_file){{&uv->base}, fd, names[fd], true, 0};
}

/* A standard descriptor that our parent closed would be the next one that is opened: the loop's, or
 * a file's that then takes in what is printed. */
static int reserve_standard_files(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            return -errno;
    return 0;
}

int env_uv_create(struct env **out, struct peri_error *err)
{
    int rc = reserve_standard_files();
    if (rc != 0)
        return peri_fail(err, rc, "standard streams");
    struct env_uv *uv = calloc(1, sizeof *uv);
    if (uv == NULL)
        return peri_fail(err, PERI_ENOMEM, "event loop");
    rc = uv_loop_init(&uv->loop);
    if (rc != 0) {
        free(uv);
        return peri_fail(err, rc, "event loop");
    }
    (void)signal(SIGPIPE, SIG_IGN);
    env_init(&uv->base, &uv_ops);
    peri_list_init(&uv->owned);
    peri_list_init(&uv->work);
    peri_list_init(&uv->lanes);
    peri_list_init(&uv->children);
    init_standard_files(uv);
    atomic_store(&uv->base.log_colour, colour_is_wanted(&uv->base));
    *out = &uv->base;
    return 0;
}
