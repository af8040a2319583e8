/* uv_conn.c - a connection's life.
 *
 *   OPENING --> OPEN --> ENDED (peer or network) ---> CLOSED
 *   OFFERED -->   '----> LINGERING (owner closed) --------'
 *
 * Whoever closes a socket with bytes unread makes the kernel reset it, and the peer may then lose
 * what was sent to it last. So closing sends what is queued, then says that no more will come, and
 * waits for the peer to say the same, for a bounded time. */
#include <stdio.h>
#include <stdlib.h>

#include "env/uv_conn.h"

enum { LINGER_PERIOD_US = 1000000, LINGER_PERIODS_MAX = 10, US_PER_MS = 1000 };

static void on_timer(uv_timer_t *timer);

/* libuv counts whole milliseconds from when the loop last looked: who is woken early waits again.
 */
static void start_timer(struct uv_conn *conn, uint64_t delay_us)
{
    (void)uv_timer_start(&conn->timer, on_timer, delay_us / US_PER_MS + 1, 0);
}

/* ---- memory ---- */

static void free_buffers(struct uv_conn *conn)
{
    peri_buffer_deinit(&conn->rest);
    peri_buffer_deinit(&conn->out.bytes);
    peri_buffer_deinit(&conn->flight);
}

static void free_when_forgotten(struct uv_conn *conn)
{
    if (conn->state != CONN_CLOSED || conn->references > 0)
        return;
    free_buffers(conn);
    if (conn->found != NULL)
        uv_freeaddrinfo(conn->found);
    free(conn);
}

void uv_conn_unref(struct uv_conn *conn)
{
    conn->references--;
    free_when_forgotten(conn);
}

static void on_timer_closed(uv_handle_t *handle)
{
    uv_conn_unref(container_of((uv_timer_t *)handle, struct uv_conn, timer));
}

static void on_socket_closed(uv_handle_t *handle)
{
    struct uv_conn *conn = container_of(handle, struct uv_conn, socket.any);
    if (conn->state == CONN_OPENING)
        uv_conn_try_next(conn);
    uv_conn_unref(conn);
}

void uv_conn_close_socket(struct uv_conn *conn)
{
    if (!conn->is_socket_open)
        return;
    conn->is_socket_open = false;
    uv_close(&conn->socket.any, on_socket_closed);
}

static void close_handles(struct uv_conn *conn)
{
    peri_list_remove(&conn->due);
    uv_conn_close_socket(conn);
    if (conn->is_looking_up)
        (void)uv_cancel((uv_req_t *)&conn->lookup);
    if (!conn->is_timer_open)
        return;
    conn->is_timer_open = false;
    uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
}

void uv_conn_abandon(struct uv_conn *conn)
{
    conn->state = CONN_CLOSED;
    close_handles(conn);
    free_when_forgotten(conn);
}

/* ---- made, up, ended ---- */

static void conn_close_owned(struct uv_owned *owned);

int uv_conn_create(struct env_uv *uv, enum uv_conn_state state, struct uv_conn **out)
{
    struct uv_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return PERI_ENOMEM;
    conn->base = (struct env_conn){
        .env = &uv->base, .peer = conn->peer, .failure = conn->failure, .frames = &conn->out};
    conn->uv = uv;
    conn->state = state;
    conn->message_max = ENV_CONN_MESSAGE_MAX;
    conn->idle_limit_us = ENV_CONN_IDLE_LIMIT_US;
    peri_list_init(&conn->due);
    (void)uv_timer_init(&uv->loop, &conn->timer); /* cannot fail */
    conn->is_timer_open = true;
    conn->references = 1;
    conn->base.heard_us = env_now_us(&uv->base);
    start_timer(conn, conn->idle_limit_us);
    env_uv_owned_add(uv, &conn->owned, conn_close_owned);
    *out = conn;
    return 0;
}

void uv_conn_open_socket(struct uv_conn *conn, bool is_unix)
{
    if (is_unix) {
        (void)uv_pipe_init(&conn->uv->loop, &conn->socket.pipe, 0); /* neither can fail */
    } else {
        (void)uv_tcp_init(&conn->uv->loop, &conn->socket.tcp);
        (void)uv_tcp_nodelay(&conn->socket.tcp, 1); /* once there is a descriptor */
    }
    conn->is_socket_open = true;
    conn->references++;
}

void uv_conn_is_up(struct uv_conn *conn)
{
    conn->state = CONN_OPEN;
    conn->base.heard_us = env_now_us(conn->base.env);
    if (!conn->is_paused)
        uv_conn_read(conn);
    if (conn->out.bytes.size > 0)
        uv_conn_make_due(conn);
}

void uv_conn_end(struct uv_conn *conn, int status, const char *what)
{
    bool was_opening = conn->state == CONN_OPENING;
    PERI_ASSERT(was_opening || conn->state == CONN_OPEN);
    conn->state = CONN_ENDED;
    wire_frames_finish(&conn->out); /* no more of it is sent */
    (void)snprintf(conn->failure, sizeof conn->failure, "%s %s: %s",
                   was_opening ? "connect to" : "connection with", conn->peer,
                   *what != '\0' ? what : peri_strerror(status));
    close_handles(conn);
    if (was_opening)
        conn->events->on_open(conn->data, status);
    else
        conn->events->on_close(conn->data, status);
}

/* ---- time ---- */

static void end_idle(struct uv_conn *conn)
{
    char what[64];
    (void)snprintf(what, sizeof what, "%s for %.1f s",
                   conn->state == CONN_OPENING ? "no answer" : "no message",
                   (double)conn->idle_limit_us / 1e6);
    uv_conn_end(conn, UV_ETIMEDOUT, what);
}

/* Messages only note when they came; the timer looks at that when it is due. */
static void check_idle(struct uv_conn *conn)
{
    uint64_t now_us = env_now_us(conn->base.env);
    if (conn->is_paused)
        conn->base.heard_us = now_us;
    uint64_t silent_us = now_us - conn->base.heard_us;
    if (silent_us < conn->idle_limit_us)
        start_timer(conn, conn->idle_limit_us - silent_us);
    else
        end_idle(conn);
}

static void check_lingering(struct uv_conn *conn)
{
    size_t queued = uv_conn_queued_bytes(&conn->base);
    bool is_stuck = queued == conn->lingering_bytes;
    conn->lingering_bytes = queued;
    if (is_stuck || ++conn->lingering_periods == LINGER_PERIODS_MAX)
        uv_conn_abandon(conn);
    else
        start_timer(conn, LINGER_PERIOD_US);
}

void uv_conn_end_soon(struct uv_conn *conn)
{
    start_timer(conn, LINGER_PERIOD_US);
}

static void on_timer(uv_timer_t *timer)
{
    struct uv_conn *conn = container_of(timer, struct uv_conn, timer);
    if (conn->state == CONN_LINGERING)
        check_lingering(conn);
    else if (conn->write_status != 0 && conn->state == CONN_OPEN)
        uv_conn_end(conn, conn->write_status, "");
    else if (conn->state == CONN_OPENING || conn->state == CONN_OPEN)
        check_idle(conn);
}

static void set_idle_limit(struct env_conn *base, uint64_t limit_us)
{
    struct uv_conn *conn = uv_conn_of(base);
    if (conn->state == CONN_ENDED || conn->write_status != 0)
        return;
    conn->idle_limit_us = limit_us;
    conn->base.heard_us = env_now_us(conn->base.env);
    if (limit_us == 0)
        (void)uv_timer_stop(&conn->timer);
    else
        start_timer(conn, limit_us);
}

/* ---- closing ---- */

static void linger(struct uv_conn *conn)
{
    conn->state = CONN_LINGERING;
    conn->lingering_bytes = uv_conn_queued_bytes(&conn->base);
    start_timer(conn, LINGER_PERIOD_US);
    uv_conn_read_away(conn);
    uv_conn_flush(conn);
}

static void conn_close_owned(struct uv_owned *owned)
{
    struct uv_conn *conn = container_of(owned, struct uv_conn, owned);
    if (conn->state == CONN_OPEN && conn->write_status == 0)
        linger(conn);
    else
        uv_conn_abandon(conn);
}

static void conn_close(struct env_conn *base)
{
    struct uv_conn *conn = uv_conn_of(base);
    env_uv_owned_remove(&conn->owned);
    conn_close_owned(&conn->owned);
}

/* ---- the rest of the door ---- */

static void conn_accept(struct env_conn *base, const struct env_conn_events *events, void *data)
{
    struct uv_conn *conn = uv_conn_of(base);
    PERI_ASSERT(conn->state == CONN_OFFERED);
    conn->events = events;
    conn->data = data;
    uv_conn_is_up(conn);
}

static void set_message_max(struct env_conn *base, size_t size_max)
{
    uv_conn_of(base)->message_max = size_max;
}

static void conn_pause(struct env_conn *base)
{
    struct uv_conn *conn = uv_conn_of(base);
    conn->is_paused = true;
    if (conn->state == CONN_OPEN)
        uv_conn_read_stop(conn);
}

/* What came before the pause is delivered when the loop serves the connection. */
static void conn_resume(struct env_conn *base)
{
    struct uv_conn *conn = uv_conn_of(base);
    if (!conn->is_paused)
        return;
    conn->is_paused = false;
    conn->base.heard_us = env_now_us(conn->base.env);
    if (conn->state == CONN_OPEN)
        uv_conn_make_due(conn);
}

const struct env_conn_ops env_uv_conn_ops = {
    .connect = uv_conn_connect,
    .accept = conn_accept,
    .send = uv_conn_send,
    .queued_bytes = uv_conn_queued_bytes,
    .set_message_max = set_message_max,
    .set_idle_limit = set_idle_limit,
    .pause = conn_pause,
    .resume = conn_resume,
    .close = conn_close,
};
