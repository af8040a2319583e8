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

void rpc_conn_look(struct rpc_conn *conn)
{
    conn->unlooked_bytes = 0;
    if (conn->is_client || conn->is_paused || !rpc_conn_is_full(conn))
        return;
    conn->is_paused = true;
    env_conn_pause(conn->wire);
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
        rpc_conn_count_sent(conn, size);
    return rc;
}

static inline int send_parts(struct rpc_conn *conn, uint64_t id, const struct peri_slice parts[2],
                             struct peri_buffer *last)
{
    size_t size = parts[0].size + parts[1].size;
    if (size > conn->short_max)
        return send_slowly(conn, id, parts, last);
    int rc = env_conn_send(conn->wire, parts, 2);
    if (rc == PERI_EBUSY)
        return send_slowly(conn, id, parts, NULL);
    if (rc == 0)
        rpc_conn_count_sent(conn, size);
    return rc;
}

int rpc_conn_send(struct rpc_conn *conn, const struct wire_message *message)
{
    struct peri_slice parts[2];
    if (conn->wire == NULL)
        return PERI_ECLOSED;
    conn->head.size = 0;
    int rc = wire_message_encode(message, &conn->head, &parts[1]);
    if (rc != 0)
        return rc;
    parts[0] = peri_buffer_slice(&conn->head);
    return send_parts(conn, message->id, parts, NULL);
}

int rpc_conn_send_value_apart(struct rpc_conn *conn, enum wire_kind kind, uint64_t id,
                              struct peri_slice value, struct peri_buffer *taken)
{
    char head[WIRE_VALUE_HEAD_SIZE];
    const struct peri_slice parts[2] = {{head, sizeof head}, value};
    if (conn->wire == NULL)
        return PERI_ECLOSED;
    PERI_ASSERT(taken == NULL || value.data == taken->data);
    if (value.size > UINT32_MAX)
        return PERI_ETOOBIG;
    wire_value_head(head, kind, id);
    return send_parts(conn, id, parts, taken);
}

void rpc_conn_forget(struct rpc_conn *conn, uint64_t id)
{
    if (conn->out.bytes > 0)
        rpc_outbox_drop(&conn->out, id);
    if (conn->in.count > 0)
        rpc_inbox_drop(&conn->in, id);
}
