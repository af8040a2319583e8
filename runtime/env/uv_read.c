/* uv_read.c - takes frames from the bytes that arrive.
 *
 * All connections read into one buffer, and messages are lent from there, so that an idle
 * connection costs no buffer and a short message no copy. What is left of a read, an unfinished
 * frame, is kept by the connection: the next read goes behind a copy of it. A frame that is larger
 * than the buffer is collected in the connection's own, which grows with what has really come. */
#include "env/uv_conn.h"

static void end_malformed(struct uv_conn *conn, int rc, const struct peri_error *err)
{
    conn->rest.size = 0;
    uv_conn_end(conn, rc, err->text);
}

static bool is_listening(const struct uv_conn *conn)
{
    return conn->state == CONN_OPEN && !conn->is_paused;
}

/* Delivers the messages of the burst that bytes begin with, as far as the owner wants them, and
 * returns the size of those. */
static size_t deliver_burst(struct uv_conn *conn, struct peri_slice bytes, uint64_t now_us)
{
    struct peri_slice left = peri_slice_of(bytes.data, conn->burst_left);
    struct peri_slice message;
    struct peri_error err;
    conn->base.heard_us = now_us;
    while (left.size > 0 && is_listening(conn)) {
        int rc = wire_burst_next(&left, conn->message_max, &message, &err);
        if (rc == 0)
            conn->events->on_message(conn->data, message);
        else
            end_malformed(conn, rc, &err);
        conn->base.is_in_burst = true;
    }
    size_t used = conn->burst_left - left.size;
    conn->burst_left = left.size;
    return used;
}

/* Delivers what bytes begin with: a frame's message or as many of a burst as the owner wants.
 * Returns the size of that; 0 while there is no whole frame, or after an error. */
static size_t deliver_frame(struct uv_conn *conn, struct peri_slice bytes, uint64_t now_us)
{
    struct wire_frame frame;
    struct peri_error err;
    int rc = wire_frame_decode(bytes, conn->message_max, &frame, &err);
    if (rc < 0)
        end_malformed(conn, rc, &err);
    if (rc <= 0)
        return 0;
    conn->base.is_in_burst = false;
    if (frame.is_burst) {
        conn->burst_left = frame.body.size;
        return WIRE_FRAME_HEADER_SIZE + deliver_burst(conn, frame.body, now_us);
    }
    conn->base.heard_us = now_us;
    conn->events->on_message(conn->data, frame.body);
    return frame.size;
}

/* Delivers bytes that are no frames. */
static size_t deliver_bytes(struct uv_conn *conn, struct peri_slice bytes, uint64_t now_us)
{
    if (bytes.size == 0)
        return 0;
    conn->base.heard_us = now_us;
    conn->events->on_message(conn->data, bytes);
    return bytes.size;
}

/* Delivers the messages at the front of bytes, as far as the owner wants them, and returns their
 * size. */
static size_t deliver(struct uv_conn *conn, struct peri_slice bytes)
{
    uint64_t now_us = env_now_us(conn->base.env); /* once for all of them: it takes a while */
    size_t used = 0;
    if (conn->base.carries_bytes && is_listening(conn))
        return deliver_bytes(conn, bytes, now_us);
    while (is_listening(conn)) {
        struct peri_slice rest = peri_slice_of(bytes.data + used, bytes.size - used);
        size_t size = conn->burst_left > 0 ? deliver_burst(conn, rest, now_us)
                                           : deliver_frame(conn, rest, now_us);
        if (size == 0)
            break;
        used += size;
    }
    return used;
}

/* How many bytes the unfinished frame in rest has; 0 when that is unknown. The header was found to
 * be good when it came, or the limit has been lowered since: then the next read shows it. */
static size_t frame_size_of(const struct uv_conn *conn)
{
    struct wire_frame frame;
    (void)wire_frame_decode(peri_buffer_slice(&conn->rest), SIZE_MAX, &frame, NULL);
    return frame.size;
}

static bool is_collected_apart(const struct uv_conn *conn)
{
    return frame_size_of(conn) > sizeof conn->uv->net->buffer;
}

/* Room for what is left of the frame, but no more than three times what has come. */
static int reserve_apart(struct uv_conn *conn)
{
    size_t left = frame_size_of(conn) - conn->rest.size;
    size_t justified = 3 * conn->rest.size;
    if (justified < sizeof conn->uv->net->buffer)
        justified = sizeof conn->uv->net->buffer;
    return peri_buffer_reserve(&conn->rest, left < justified ? left : justified);
}

static void on_alloc_apart(struct uv_conn *conn, uv_buf_t *out)
{
    *out = uv_buf_init(NULL, 0); /* makes libuv report UV_ENOBUFS */
    if (reserve_apart(conn) != 0)
        return;
    size_t left = frame_size_of(conn) - conn->rest.size;
    size_t room = conn->rest.capacity - conn->rest.size;
    out->base = conn->rest.data + conn->rest.size;
    out->len = left < room ? left : room;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct uv_conn *conn = container_of(handle, struct uv_conn, socket.any);
    struct uv_net *net = conn->uv->net;
    conn->offset = 0;
    if (conn->rest.size > 0 && is_collected_apart(conn)) {
        on_alloc_apart(conn, out);
        return;
    }
    if (conn->rest.size > 0)
        memcpy(net->buffer, conn->rest.data, conn->rest.size);
    conn->offset = conn->rest.size;
    *out = (uv_buf_t){net->buffer + conn->offset, sizeof net->buffer - conn->offset};
}

static void free_when_large(struct peri_buffer *buffer)
{
    if (buffer->size == 0 && buffer->capacity > CONN_BUFFER_KEPT)
        peri_buffer_deinit(buffer);
}

static void end_without_memory(struct uv_conn *conn)
{
    uv_conn_end(conn, PERI_ENOMEM, "");
}

/* bytes are in the shared buffer: what is left of them must leave it. */
static void take_shared(struct uv_conn *conn, struct peri_slice bytes)
{
    conn->rest.size = 0;
    size_t used = deliver(conn, bytes);
    if (conn->state == CONN_OPEN &&
        peri_buffer_append(&conn->rest, bytes.data + used, bytes.size - used) != 0)
        end_without_memory(conn);
}

static void take_rest(struct uv_conn *conn)
{
    size_t used = deliver(conn, peri_buffer_slice(&conn->rest));
    if (conn->state != CONN_OPEN || used == 0)
        return;
    conn->rest.size -= used;
    memmove(conn->rest.data, conn->rest.data + used, conn->rest.size);
    free_when_large(&conn->rest);
}

static void end_reading(struct uv_conn *conn, int status)
{
    if (status == UV_EOF)
        uv_conn_end(conn, PERI_ECLOSED,
                    conn->rest.size == 0 ? "closed by the peer"
                                         : "closed by the peer in the middle of a message");
    else
        uv_conn_end(conn, status == UV_ENOBUFS ? PERI_ENOMEM : status, "");
}

static void on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer)
{
    struct uv_conn *conn = container_of(handle, struct uv_conn, socket.stream);
    if (got == 0)
        return; /* libuv's EAGAIN */
    if (got < 0) {
        end_reading(conn, (int)got);
        return;
    }
    conn->is_delivering = true;
    if (conn->rest.size > 0 && buffer->base == conn->rest.data + conn->rest.size) {
        conn->rest.size += (size_t)got;
        take_rest(conn);
    } else {
        take_shared(conn, peri_slice_of(buffer->base - conn->offset, conn->offset + (size_t)got));
    }
    conn->is_delivering = false;
    if (conn->state == CONN_OPEN)
        uv_conn_flush(conn); /* the answers leave together */
}

void uv_conn_read(struct uv_conn *conn)
{
    if (conn->rest.size > 0)
        take_rest(conn);
    if (conn->state != CONN_OPEN || conn->is_paused || conn->is_reading)
        return;
    conn->is_reading = true;
    int rc = uv_read_start(&conn->socket.stream, on_alloc, on_read);
    PERI_ASSERT(rc == 0); /* the socket is connected and not closing */
}

void uv_conn_read_stop(struct uv_conn *conn)
{
    conn->is_reading = false;
    (void)uv_read_stop(&conn->socket.stream);
}

/* ---- lingering ---- */

static void on_alloc_away(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct uv_conn *conn = container_of(handle, struct uv_conn, socket.any);
    *out = (uv_buf_t){conn->uv->net->buffer, sizeof conn->uv->net->buffer};
}

static void on_read_away(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer)
{
    (void)buffer;
    if (got < 0) /* the peer has closed too */
        uv_conn_abandon(container_of(handle, struct uv_conn, socket.stream));
}

void uv_conn_read_away(struct uv_conn *conn)
{
    peri_buffer_deinit(&conn->rest);
    uv_conn_read_stop(conn);
    int rc = uv_read_start(&conn->socket.stream, on_alloc_away, on_read_away);
    PERI_ASSERT(rc == 0); /* the socket is connected and not closing */
}
