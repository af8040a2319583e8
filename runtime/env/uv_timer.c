/* uv_timer.c - timers and turns. */
#include <stdlib.h>

#include "env/uv_internal.h"

enum { US_PER_MS = 1000 };

struct uv_env_timer {
    struct env_timer base;
    struct uv_owned owned;
    uv_timer_t handle;
    void (*on_timer)(void *data);
    void *data;
};

static struct uv_env_timer *timer_of(struct env_timer *timer)
{
    return container_of(timer, struct uv_env_timer, base);
}

static void timer_on_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct uv_env_timer, handle));
}

static void timer_close_owned(struct uv_owned *owned)
{
    struct uv_env_timer *timer = container_of(owned, struct uv_env_timer, owned);
    uv_close((uv_handle_t *)&timer->handle, timer_on_closed);
}

static int timer_create_(struct env *env, void (*on_timer)(void *data), void *data,
                         struct env_timer **out)
{
    struct env_uv *uv = env_uv_of(env);
    struct uv_env_timer *timer = calloc(1, sizeof *timer);
    if (timer == NULL)
        return PERI_ENOMEM;
    timer->base.env = env;
    timer->on_timer = on_timer;
    timer->data = data;
    (void)uv_timer_init(&uv->loop, &timer->handle); /* cannot fail */
    env_uv_owned_add(uv, &timer->owned, timer_close_owned);
    *out = &timer->base;
    return 0;
}

static void timer_on_due(uv_timer_t *handle)
{
    struct uv_env_timer *timer = container_of(handle, struct uv_env_timer, handle);
    timer->on_timer(timer->data); /* last: it may close the timer */
}

/* libuv counts whole milliseconds of the same clock, from the moment the loop last looked at it.
 * Rounding the due time up makes no timer early; the distance of at least one keeps a timer that
 * restarts itself from running for ever inside one round of the loop. */
static void timer_start(struct env_timer *base, uint64_t delay_us)
{
    struct uv_env_timer *timer = timer_of(base);
    uint64_t now_us = env_now_us(base->env);
    uint64_t due_us = delay_us > UINT64_MAX / 2 - now_us ? UINT64_MAX / 2 : now_us + delay_us;
    uint64_t due_ms = (due_us + US_PER_MS - 1) / US_PER_MS;
    uint64_t loop_ms = uv_now(timer->handle.loop);
    uint64_t distance_ms = due_ms > loop_ms ? due_ms - loop_ms : 1;
    (void)uv_timer_start(&timer->handle, timer_on_due, distance_ms,
                         0); /* fails only when closing */
}

static void timer_stop(struct env_timer *base)
{
    (void)uv_timer_stop(&timer_of(base)->handle);
}

static void timer_close(struct env_timer *base)
{
    struct uv_env_timer *timer = timer_of(base);
    env_uv_owned_remove(&timer->owned);
    timer_close_owned(&timer->owned);
}

const struct env_timer_ops env_uv_timer_ops = {timer_create_, timer_start, timer_stop, timer_close};

/* A turn is a check handle, which runs after timers and I/O; the idle handle beside it keeps the
 * loop from sleeping in between. */
struct uv_turn {
    struct env_turn base;
    struct uv_owned owned;
    uv_check_t check;
    uv_idle_t idle;
    void (*on_turn)(void *data);
    void *data;
};

static struct uv_turn *turn_of(struct env_turn *turn)
{
    return container_of(turn, struct uv_turn, base);
}

static void turn_on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void turn_on_check(uv_check_t *handle)
{
    struct uv_turn *turn = container_of(handle, struct uv_turn, check);
    turn->on_turn(turn->data); /* last: it may close the turn */
}

static void turn_on_check_closed(uv_handle_t *handle)
{
    free(container_of((uv_check_t *)handle, struct uv_turn, check));
}

static void turn_on_idle_closed(uv_handle_t *handle)
{
    struct uv_turn *turn = container_of((uv_idle_t *)handle, struct uv_turn, idle);
    uv_close((uv_handle_t *)&turn->check, turn_on_check_closed);
}

static void turn_close_owned(struct uv_owned *owned)
{
    struct uv_turn *turn = container_of(owned, struct uv_turn, owned);
    (void)uv_check_stop(&turn->check);
    uv_close((uv_handle_t *)&turn->idle, turn_on_idle_closed);
}

static int turn_create(struct env *env, void (*on_turn)(void *data), void *data,
                       struct env_turn **out)
{
    struct env_uv *uv = env_uv_of(env);
    struct uv_turn *turn = calloc(1, sizeof *turn);
    if (turn == NULL)
        return PERI_ENOMEM;
    turn->base.env = env;
    turn->on_turn = on_turn;
    turn->data = data;
    (void)uv_check_init(&uv->loop, &turn->check); /* neither can fail */
    (void)uv_idle_init(&uv->loop, &turn->idle);
    env_uv_owned_add(uv, &turn->owned, turn_close_owned);
    *out = &turn->base;
    return 0;
}

static void turn_start(struct env_turn *base)
{
    struct uv_turn *turn = turn_of(base);
    (void)uv_check_start(&turn->check, turn_on_check);
    (void)uv_idle_start(&turn->idle, turn_on_idle);
}

static void turn_stop(struct env_turn *base)
{
    struct uv_turn *turn = turn_of(base);
    (void)uv_check_stop(&turn->check);
    (void)uv_idle_stop(&turn->idle);
}

static void turn_close(struct env_turn *base)
{
    struct uv_turn *turn = turn_of(base);
    env_uv_owned_remove(&turn->owned);
    turn_close_owned(&turn->owned);
}

const struct env_turn_ops env_uv_turn_ops = {turn_create, turn_start, turn_stop, turn_close};
