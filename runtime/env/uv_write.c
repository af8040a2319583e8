/* uv_write.c - queues what is sent, and writes it once per round of the loop.
 *
 * Frames gather in out. Writing them is tried directly; what the kernel does not take becomes
 * flight, which libuv writes when it can, while out gathers the next frames. */
#include <stdlib.h>

#include "env/uv_conn.h"

/* ---- due connections ---- */

static void take_all(struct peri_list *from, struct peri_list *to)
{
    peri_list_init(to);
    if (peri_list_is_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    peri_list_init(from);
}

static void serve(struct uv_conn *conn)
{
    if (conn->state == CONN_OPEN && !conn->is_paused && !conn->is_reading)
        uv_conn_read(conn);
    if (conn->state == CONN_OPEN)
        uv_conn_flush(conn);
}

/* What becomes due meanwhile is served in the next round, after the others had theirs. */
static void on_idle(uv_idle_t *idle)
{
    struct uv_net *net = container_of(idle, struct uv_net, idle);
    struct peri_list batch;
    take_all(&net->due, &batch);
    while (!peri_list_is_empty(&batch)) {
        struct uv_conn *conn = container_of(batch.next, struct uv_conn, due);
        peri_list_remove(&conn->due);
        serve(conn); /* may close any connection, also one of the batch */
    }
    if (peri_list_is_empty(&net->due))
        (void)uv_idle_stop(idle);
}

void uv_conn_make_due(struct uv_conn *conn)
{
    struct uv_net *net = conn->uv->net;
    if (!peri_list_is_empty(&conn->due))
        return;
    if (peri_list_is_empty(&net->due))
        (void)uv_idle_start(&net->idle, on_idle);
    peri_list_append(&net->due, &conn->due);
}

int uv_net_get(struct env_uv *uv)
{
    if (uv->net != NULL)
        return 0;
    uv->net = malloc(sizeof *uv->net);
    if (uv->net == NULL)
        return PERI_ENOMEM;
    (void)uv_idle_init(&uv->loop, &uv->net->idle); /* cannot fail */
    peri_list_init(&uv->net->due);
    uv->net->spare = (struct peri_buffer){0};
    return 0;
}

static void on_idle_closed(uv_handle_t *handle)
{
    struct uv_net *net = container_of((uv_idle_t *)handle, struct uv_net, idle);
    peri_buffer_deinit(&net->spare);
    free(net);
}

void env_uv_net_close(struct env_uv *uv)
{
    if (uv->net == NULL)
        return;
    uv_close((uv_handle_t *)&uv->net->idle, on_idle_closed);
    uv->net = NULL;
}

/* ---- queue ---- */

static inline size_t flying_bytes(const struct uv_conn *conn)
{
    return conn->flight.size > 0 ? uv_stream_get_write_queue_size(&conn->socket.stream) : 0;
}

size_t uv_conn_queued_bytes(const struct env_conn *base)
{
    const struct uv_conn *conn = uv_conn_of(base);
    return conn->out.bytes.size + flying_bytes(conn);
}

/* Connections that answer one after the other write from one buffer, which stays in the processor's
 * cache; those that have nothing to send need none. */
static void take_spare(struct uv_conn *conn)
{
    struct uv_net *net = conn->uv->net;
    conn->out = (struct wire_frames){.bytes = net->spare};
    net->spare = (struct peri_buffer){0};
}

static void leave_spare(struct uv_conn *conn)
{
    struct uv_net *net = conn->uv->net;
    if (net->spare.capacity > 0)
        return;
    net->spare = conn->out.bytes;
    conn->out = (struct wire_frames){0};
}

/* Bytes that are no frames: nothing is open, nothing will be sealed. */
static int add_bytes(struct wire_frames *out, const struct peri_slice *parts, size_t count)
{
    int rc = peri_buffer_reserve(&out->bytes, wire_parts_size(parts, count));
    if (rc != 0)
        return rc;
    wire_parts_copy(out->bytes.data + out->bytes.size, parts, count);
    out->bytes.size += wire_parts_size(parts, count);
    return 0;
}

int uv_conn_send(struct env_conn *base, const struct peri_slice *parts, size_t count)
{
    struct uv_conn *conn = uv_conn_of(base);
    if ((conn->state != CONN_OPEN && conn->state != CONN_OPENING) || conn->write_status != 0)
        return PERI_ECLOSED;
    size_t flying = flying_bytes(conn);
    if (conn->out.bytes.size + flying > ENV_CONN_QUEUE_MAX)
        return PERI_EBUSY;
    if (conn->out.bytes.capacity == 0)
        take_spare(conn);
    int rc = base->carries_bytes ? add_bytes(&conn->out, parts, count)
                                 : wire_frames_add(&conn->out, parts, count);
    if (rc != 0)
        return rc;
    if (conn->out.bytes.size + flying > ENV_CONN_QUEUE_MARK - WIRE_BURST_MAX)
        conn->is_above_mark = true; /* or will be: env_conn_room does not look */
    if (conn->state == CONN_OPEN && !conn->is_delivering)
        uv_conn_make_due(conn);
    return 0;
}

static void empty_out(struct uv_conn *conn)
{
    peri_buffer_reset(&conn->out.bytes, CONN_BUFFER_KEPT);
    conn->out = (struct wire_frames){.bytes = conn->out.bytes};
}

/* ---- writing ---- */

/* The peer may have said why before it went: what it sent is read first, for a bounded time. */
static void fail(struct uv_conn *conn, int status)
{
    if (conn->state == CONN_LINGERING) {
        uv_conn_abandon(conn);
        return;
    }
    empty_out(conn);
    conn->write_status = status;
    uv_conn_end_soon(conn);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request; /* uv_conn_read_away or the timer sees what comes of it */
    (void)status;
}

/* Tells the peer of a lingering connection that no more will come. */
static void shut_down(struct uv_conn *conn)
{
    if (conn->is_shut)
        return;
    conn->is_shut = true;
    if (uv_shutdown(&conn->shutdown, &conn->socket.stream, on_shutdown) != 0)
        uv_conn_abandon(conn);
}

static void after_write(struct uv_conn *conn)
{
    size_t queued = uv_conn_queued_bytes(&conn->base);
    if (conn->state == CONN_LINGERING) {
        if (queued == 0)
            shut_down(conn);
    } else if (conn->is_above_mark && queued < ENV_CONN_QUEUE_MARK / 2) {
        conn->is_above_mark = false;
        if (conn->events->on_writable != NULL)
            conn->events->on_writable(conn->data); /* last: it may close the connection */
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct uv_conn *conn = container_of(request, struct uv_conn, write);
    peri_buffer_reset(&conn->flight, CONN_BUFFER_KEPT);
    if (conn->state != CONN_OPEN && conn->state != CONN_LINGERING)
        return; /* closing the socket has cancelled it */
    if (status != 0)
        fail(conn, status);
    else
        uv_conn_flush(conn);
}

/* The kernel has taken written bytes of out. */
static int fly(struct uv_conn *conn, size_t written)
{
    struct peri_buffer empty_buffer = conn->flight;
    conn->flight = conn->out.bytes;
    conn->out = (struct wire_frames){.bytes = empty_buffer};
    uv_buf_t rest = {conn->flight.data + written, conn->flight.size - written};
    int rc = uv_write(&conn->write, &conn->socket.stream, &rest, 1, on_written);
    if (rc != 0)
        peri_buffer_reset(&conn->flight, CONN_BUFFER_KEPT);
    return rc;
}

static int write_out(struct uv_conn *conn)
{
    if (!conn->base.carries_bytes)
        wire_frames_seal(&conn->out);
    uv_buf_t bytes = {conn->out.bytes.data, conn->out.bytes.size};
    int written = uv_try_write(&conn->socket.stream, &bytes, 1);
    if (written < 0 && written != UV_EAGAIN)
        return written;
    if (written == (int64_t)bytes.len) {
        empty_out(conn);
        leave_spare(conn);
        return 0;
    }
    return fly(conn, written < 0 ? 0 : (size_t)written);
}

void uv_conn_flush(struct uv_conn *conn)
{
    peri_list_remove(&conn->due);
    if (conn->flight.size > 0)
        return;
    int rc = conn->out.bytes.size > 0 ? write_out(conn) : 0;
    if (rc != 0)
        fail(conn, rc);
    else
        after_write(conn);
}
