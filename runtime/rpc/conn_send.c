#include "rpc/conn_send.h"

#include "base/assert.h"

enum { PAUSE_BYTES = 4 << 20 }; /* answers that the other side has not taken */

int rpc_conn_pump(struct rpc_conn *conn)
{
    struct wire_message chunk;
    while (env_conn_queued_bytes(conn->wire) <= ENV_CONN_QUEUE_MARK &&
           rpc_outbox_next(&conn->out, &chunk)) {
        struct peri_slice parts[2];
        conn->head.size = 0;
        int rc = wire_message_encode(&chunk, &conn->head, &parts[1]);
        parts[0] = peri_buffer_slice(&conn->head);
        conn->again.kind = 0;
        if (rc == 0)
            rc = env_conn_send(conn->wire, parts, 2);
        if (rc != 0)
            return rc == PERI_EBUSY ? 0 : rc;
        rpc_outbox_sent(&conn->out);
    }
    return 0;
}

/* A message that is long, or finds the queue full, waits for its turn. */
static int send_later(struct rpc_conn *conn, uint64_t id, const struct peri_slice parts[2],
                      struct peri_buffer *last)
{
    int rc = last != NULL ? rpc_outbox_take(&conn->out, id, parts[0], last)
                          : rpc_outbox_add(&conn->out, id, parts, 2);
    return rc != 0 ? rc : rpc_conn_pump(conn);
}

bool rpc_conn_is_full(const struct rpc_conn *conn)
{
    return env_conn_queued_bytes(conn->wire) > PAUSE_BYTES ||
           conn->out.bytes > conn->out.bytes_max / 2;
}

/* What came last may be said again after the pause, when its bytes have gone. */
static void keep_name(struct rpc_conn *conn)
{
    if (conn->heard.kind != WIRE_CALL && conn->heard.kind != WIRE_CAST)
        return;
    struct peri_slice *name =
        conn->heard.kind == WIRE_CALL ? &conn->heard.call.name : &conn->heard.cast.name;
    if (name->size == 0 || name->size > sizeof conn->heard_name)
        return; /* too long to be said again */
    memmove(conn->heard_name, name->data, name->size);
    name->data = conn->heard_name;
}

void rpc_conn_look(struct rpc_conn *conn)
{
    conn->unlooked_bytes = 0;
    if (conn->is_client || conn->is_paused || !rpc_conn_is_full(conn))
        return;
    keep_name(conn);
    conn->is_paused = true;
    env_conn_pause(conn->wire);
}

/* Looks now and then whether the other side takes what is sent. Messages that follow in the burst
 * are counted before they come. */
static void count_sent(struct rpc_conn *conn, size_t size)
{
    conn->sent_size = size;
    conn->unlooked_bytes += size + WIRE_BURST_MAX;
    if (conn->unlooked_bytes >= RPC_LOOK_BYTES)
        rpc_conn_look(conn);
}

/* A message that does not leave at once, or not as one. */
static int send_slowly(struct rpc_conn *conn, uint64_t id, const struct peri_slice parts[2],
                       struct peri_buffer *last)
{
    size_t size = parts[0].size + parts[1].size;
    if (conn->is_ready && size > conn->handshake.peer.body_max + RPC_MESSAGE_EXTRA)
        return PERI_ETOOBIG;
    int rc = send_later(conn, id, parts, size > RPC_CHUNK_SIZE ? last : NULL);
    if (rc == 0)
        count_sent(conn, size);
    return rc;
}

/* Where nothing leaves in bursts, or what fits into one may be too long for the other side, no
 * message is said again. */
static void note_sent(struct rpc_conn *conn, const struct wire_message *message)
{
    if (conn->wire->frames != NULL && conn->short_max > WIRE_BURST_MAX + WIRE_AGAIN_NAME_MAX)
        wire_again_note(&conn->again, message);
}

/* parts are message, encoded. */
static int send_parts(struct rpc_conn *conn, const struct wire_message *message,
                      const struct peri_slice parts[2], struct peri_buffer *last)
{
    size_t size = parts[0].size + parts[1].size;
    conn->again.kind = 0;
    if (size > conn->short_max)
        return send_slowly(conn, message->id, parts, last);
    int rc = env_conn_send(conn->wire, parts, 2);
    if (rc == PERI_EBUSY)
        return send_slowly(conn, message->id, parts, NULL);
    if (rc != 0)
        return rc;
    note_sent(conn, message);
    count_sent(conn, size);
    return 0;
}

static bool send_again(struct rpc_conn *conn, struct peri_slice value)
{
    char *room = rpc_conn_send_again(conn, value.size);
    if (room != NULL)
        peri_copy(room, value.data, value.size);
    return room != NULL;
}

int rpc_conn_send(struct rpc_conn *conn, const struct wire_message *message)
{
    struct peri_slice parts[2];
    if (conn->wire == NULL)
        return PERI_ECLOSED;
    if (wire_again_fits(&conn->again, message) && send_again(conn, wire_again_value(message)))
        return 0;
    conn->head.size = 0;
    int rc = wire_message_encode(message, &conn->head, &parts[1]);
    if (rc != 0)
        return rc;
    parts[0] = peri_buffer_slice(&conn->head);
    return send_parts(conn, message, parts, NULL);
}

int rpc_conn_reply(struct rpc_conn *conn, uint64_t id, struct peri_slice values,
                   struct peri_buffer *taken)
{
    struct wire_message message;
    char head[WIRE_VALUE_HEAD_SIZE];
    const struct peri_slice parts[2] = {{head, sizeof head}, values};
    PERI_ASSERT(values.size > 0);
    if (conn->again.kind == WIRE_REPLY && conn->again.id == id && send_again(conn, values))
        return 0;
    if (conn->wire == NULL)
        return PERI_ECLOSED;
    PERI_ASSERT(taken == NULL || values.data == taken->data);
    if (values.size > UINT32_MAX)
        return PERI_ETOOBIG;
    wire_message_start(&message, WIRE_REPLY, id);
    message.reply.values = values;
    wire_value_head(head, WIRE_REPLY, id);
    return send_parts(conn, &message, parts, taken);
}

void rpc_conn_forget(struct rpc_conn *conn, uint64_t id)
{
    if (conn->out.bytes > 0)
        rpc_outbox_drop(&conn->out, id);
    if (conn->in.count > 0)
        rpc_inbox_drop(&conn->in, id);
}
