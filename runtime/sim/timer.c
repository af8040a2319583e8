/* timer.c - timers, turns and tickers of a simulated node. */
#include <stdlib.h>

#include "sim/internal.h"

/* A turn that goes on takes that long at least, or code that waits by yielding would stop time. */
enum { TURN_MIN_US = 1 };

struct sim_timer {
    struct env_timer base;
    struct sim_handle handle;
    struct sim_event event;
    void (*on_timer)(void *data);
    void *data;
};

static struct sim_timer *timer_of(struct env_timer *timer)
{
    return container_of(timer, struct sim_timer, base);
}

static void timer_free(struct sim_timer *timer)
{
    sim_event_deinit(sim_node_cast(timer->base.env)->world, &timer->event);
    peri_list_remove(&timer->handle.link);
    free(timer);
}

static void timer_end(struct sim_handle *handle)
{
    timer_free(container_of(handle, struct sim_timer, handle));
}

static void timer_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_timer *timer = container_of(event, struct sim_timer, event);
    (void)world;
    timer->on_timer(timer->data); /* last: it may close the timer */
}

static const struct sim_event_kind timer_kind = {SIM_EVENT_TIMER, "timer", timer_on_due,
                                                 sim_event_describe_number};

static int timer_open(struct env *env, void (*on_timer)(void *data), void *data,
                      struct env_timer **out)
{
    struct sim_node *node = sim_node_cast(env);
    struct sim_timer *timer = calloc(1, sizeof *timer);
    if (timer == NULL)
        return PERI_ENOMEM;
    *timer = (struct sim_timer){.base = {env}, .on_timer = on_timer, .data = data};
    if (sim_event_init(node->world, &timer->event, &timer_kind, node, 0) != 0) {
        free(timer);
        return PERI_ENOMEM;
    }
    timer->event.payload = sim_node_add_handle(node, &timer->handle, timer_end);
    *out = &timer->base;
    return 0;
}

static void timer_start(struct env_timer *base, uint64_t delay_us)
{
    struct sim_timer *timer = timer_of(base);
    struct sim_node *node = sim_node_cast(base->env);
    if (sim_node_is_up(node))
        sim_event_schedule(node->world, &timer->event, sim_clock_due_us(node, delay_us));
}

static void timer_stop(struct env_timer *base)
{
    sim_event_cancel(sim_node_cast(base->env)->world, &timer_of(base)->event);
}

static void timer_close(struct env_timer *base)
{
    timer_free(timer_of(base));
}

const struct env_timer_ops sim_timer_ops = {timer_open, timer_start, timer_stop, timer_close};

/* ---- turns ---- */

struct sim_turn {
    struct env_turn base;
    struct sim_handle handle;
    struct sim_event event;
    bool is_started;
    uint32_t row;     /* how often it has gone on at once */
    bool *was_closed; /* while on_turn runs: where to say that it closed the turn */
    void (*on_turn)(void *data);
    void *data;
};

static struct sim_turn *turn_of(struct env_turn *turn)
{
    return container_of(turn, struct sim_turn, base);
}

static void turn_free(struct sim_turn *turn)
{
    if (turn->was_closed != NULL)
        *turn->was_closed = true;
    sim_event_deinit(sim_node_cast(turn->base.env)->world, &turn->event);
    peri_list_remove(&turn->handle.link);
    free(turn);
}

static void turn_end(struct sim_handle *handle)
{
    turn_free(container_of(handle, struct sim_turn, handle));
}

static void turn_schedule(struct sim_turn *turn, uint64_t least_us)
{
    struct sim_node *node = sim_node_cast(turn->base.env);
    uint64_t delay_us = sim_stream_delay(&node->streams[SIM_SCHED], &node->settings.turn_delay);
    if (delay_us < least_us)
        delay_us = least_us;
    turn->row = least_us != 0 && delay_us == least_us ? turn->row + 1 : 0;
    sim_event_schedule(node->world, &turn->event, sim_node_now_us(node) + delay_us);
}

static void turn_on_due(struct sim_world *world, struct sim_event *event)
{
    struct sim_turn *turn = container_of(event, struct sim_turn, event);
    bool was_closed = false;
    turn->was_closed = &was_closed;
    turn->on_turn(turn->data);
    if (was_closed)
        return;
    turn->was_closed = NULL;
    if (!turn->is_started || sim_event_is_scheduled(event))
        return;
    turn_schedule(turn, TURN_MIN_US);
    if (turn->row >= world->options.turns_max)
        world->is_spinning = true;
}

static const struct sim_event_kind turn_kind = {SIM_EVENT_TURN, "turn", turn_on_due,
                                                sim_event_describe_number};

static int turn_open(struct env *env, void (*on_turn)(void *data), void *data,
                     struct env_turn **out)
{
    struct sim_node *node = sim_node_cast(env);
    struct sim_turn *turn = calloc(1, sizeof *turn);
    if (turn == NULL)
        return PERI_ENOMEM;
    *turn = (struct sim_turn){.base = {env}, .on_turn = on_turn, .data = data};
    if (sim_event_init(node->world, &turn->event, &turn_kind, node, 0) != 0) {
        free(turn);
        return PERI_ENOMEM;
    }
    turn->event.payload = sim_node_add_handle(node, &turn->handle, turn_end);
    *out = &turn->base;
    return 0;
}

static void turn_start(struct env_turn *base)
{
    struct sim_turn *turn = turn_of(base);
    if (turn->is_started || !sim_node_is_up(sim_node_cast(base->env)))
        return;
    turn->is_started = true;
    turn->row = 0;
    if (turn->was_closed == NULL) /* else turn_on_due does it, when on_turn is over */
        turn_schedule(turn, 0);
}

static void turn_stop(struct env_turn *base)
{
    struct sim_turn *turn = turn_of(base);
    turn->is_started = false;
    sim_event_cancel(sim_node_cast(base->env)->world, &turn->event);
}

static void turn_close(struct env_turn *base)
{
    turn_free(turn_of(base));
}

const struct env_turn_ops sim_turn_ops = {turn_open, turn_start, turn_stop, turn_close};

/* ---- tickers: never tick, but for the watchdog ---- */

struct sim_ticker {
    struct env_ticker base;
    struct sim_handle handle;
    struct peri_list running; /* in sim_node.tickers while started */
    void (*tick)(void *data);
    void *data;
};

static void ticker_free(struct sim_ticker *ticker)
{
    peri_list_remove(&ticker->running);
    peri_list_remove(&ticker->handle.link);
    free(ticker);
}

static void ticker_end(struct sim_handle *handle)
{
    ticker_free(container_of(handle, struct sim_ticker, handle));
}

static int ticker_open(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                       struct env_ticker **out)
{
    struct sim_ticker *ticker = calloc(1, sizeof *ticker);
    (void)period_us; /* real time does not pass here */
    if (ticker == NULL)
        return PERI_ENOMEM;
    *ticker = (struct sim_ticker){.base = {env}, .tick = tick, .data = data};
    peri_list_init(&ticker->running);
    (void)sim_node_add_handle(sim_node_cast(env), &ticker->handle, ticker_end);
    *out = &ticker->base;
    return 0;
}

static void ticker_start(struct env_ticker *base)
{
    struct sim_ticker *ticker = container_of(base, struct sim_ticker, base);
    peri_list_remove(&ticker->running);
    peri_list_append(&sim_node_cast(base->env)->tickers, &ticker->running);
}

static void ticker_stop(struct env_ticker *base)
{
    peri_list_remove(&container_of(base, struct sim_ticker, base)->running);
}

static void ticker_close(struct env_ticker *base)
{
    ticker_free(container_of(base, struct sim_ticker, base));
}

void sim_node_interrupt(struct sim_node *node)
{
    enum { TICKS = 16 }; /* more than any slice has */
    for (struct peri_list *at = node->tickers.next; at != &node->tickers; at = at->next) {
        struct sim_ticker *ticker = container_of(at, struct sim_ticker, running);
        for (int i = 0; i < TICKS; i++)
            ticker->tick(ticker->data);
    }
}

const struct env_ticker_ops sim_ticker_ops = {ticker_open, ticker_start, ticker_stop, ticker_close};
