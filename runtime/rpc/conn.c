#include "rpc/conn.h"

#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "rpc/conn_send.h"

enum {
    US_PER_MS = 1000,
    BOXES_FACTOR = 4,        /* long messages under way, in multiples of the longest */
    EXTRA_SILENCE_PINGS = 1, /* of a server's patience: the client gives up first */
};

static void shut(struct rpc_conn *conn)
{
    env_conn_close(conn->wire);
    conn->wire = NULL;
    conn->again.kind = 0;
    conn->is_ready = false;
    rpc_alarm_deinit(&conn->alarm);
    rpc_outbox_deinit(&conn->out);
    rpc_inbox_deinit(&conn->in);
    peri_buffer_deinit(&conn->head);
}

/* The connection has ended by itself. */
static void end(struct rpc_conn *conn, const struct peri_error *why)
{
    struct peri_error copy = *why;
    shut(conn);
    conn->events->on_gone(conn, &copy); /* last: it may free conn */
}

static void end_with(struct rpc_conn *conn, int code, const char *text)
{
    struct peri_error why = PERI_ERROR_INIT;
    (void)peri_fail_plain(&why, code, "%s", text);
    end(conn, &why);
}

/* ---- sending: conn_send.c ---- */

static void on_writable(void *data)
{
    struct rpc_conn *conn = data;
    bool was_waiting = conn->out.bytes > 0;
    int rc = rpc_conn_pump(conn);
    if (rc != 0) {
        end_with(conn, rc, peri_strerror(rc));
        return;
    }
    if (conn->is_paused && !rpc_conn_is_full(conn)) {
        conn->is_paused = false;
        conn->heard_us = env_now_us(conn->env); /* it was us who did not listen */
        env_conn_resume(conn->wire);
    }
    if (was_waiting && conn->out.bytes == 0)
        conn->events->on_room(conn);
}

/* ---- the handshake ---- */

static void become_ready(struct rpc_conn *conn)
{
    struct rpc_peer *peer = &conn->handshake.peer;
    conn->is_ready = true;
    conn->ready_us = conn->heard_us;
    if (peer->body_max + RPC_MESSAGE_EXTRA < conn->short_max)
        conn->short_max = peer->body_max + RPC_MESSAGE_EXTRA;
    env_conn_set_message_max(conn->wire, RPC_CHUNK_MESSAGE_MAX);
    env_conn_set_idle_limit(conn->wire, 0); /* see on_alarm, which can say more */
    uint64_t ping_ms = conn->is_client ? conn->self->ping_ms : peer->ping_ms;
    if (ping_ms < RPC_PING_MS_MIN)
        ping_ms = RPC_PING_MS_MIN;
    if (ping_ms > RPC_PING_MS_MAX)
        ping_ms = RPC_PING_MS_MAX;
    conn->ping_us = ping_ms * US_PER_MS;
    rpc_alarm_by(&conn->alarm, conn->heard_us + conn->ping_us);
    conn->events->on_ready(conn);
}

static void take_handshake(struct rpc_conn *conn, const struct wire_message *message)
{
    struct wire_message answer;
    struct peri_error err = PERI_ERROR_INIT;
    int rc = rpc_handshake_step(&conn->handshake, message, &answer, &err);
    if (answer.kind != 0) {
        int sent = rpc_conn_send(conn, &answer);
        if (sent != 0 && rc >= 0)
            rc = peri_fail(&err, sent, "handshake");
    }
    if (rc < 0)
        end(conn, &err);
    else if (rc > 0)
        become_ready(conn);
}

/* ---- receiving ---- */

static void take_whole(struct rpc_conn *conn, struct peri_buffer *whole)
{
    struct wire_message message;
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_message_decode(peri_buffer_slice(whole), &message, &err) != 0)
        end(conn, &err);
    else if (message.kind == WIRE_CHUNK)
        end_with(conn, PERI_EPROTOCOL, "a chunk inside of chunks");
    else
        conn->events->on_message(conn, &message, whole->size);
    peri_buffer_deinit(whole);
}

static void take_chunk(struct rpc_conn *conn, const struct wire_message *chunk)
{
    if (!rpc_inbox_knows(&conn->in, chunk) &&
        !conn->events->is_wanted(conn, chunk->id, chunk->chunk.total))
        return;
    struct peri_buffer whole = {NULL, 0, 0};
    int rc = rpc_inbox_add(&conn->in, chunk, conn->heard_us, &whole);
    if (rc > 0)
        take_whole(conn, &whole);
    else if (rc == PERI_EPROTOCOL)
        end_with(conn, rc, "chunks that contradict each other");
    /* Without room or memory the message counts as lost: its call ends by its deadline. */
}

static void answer_ping(struct rpc_conn *conn, const struct wire_message *ping)
{
    struct wire_message pong = {.kind = WIRE_PONG};
    pong.pong.sent_us = ping->ping.sent_us;
    (void)rpc_conn_send(conn, &pong); /* a connection that cannot take it ends by itself */
}

static void take(struct rpc_conn *conn, const struct wire_message *message, size_t size)
{
    switch (message->kind) {
    case WIRE_HELLO:
    case WIRE_CHALLENGE:
    case WIRE_PROOF:
    case WIRE_WELCOME: /* the network repeats itself */
    case WIRE_PONG:    /* it was heard: that is all */
        return;
    case WIRE_REFUSE:
        take_handshake(conn, message);
        return;
    case WIRE_PING:
        answer_ping(conn, message);
        return;
    case WIRE_CHUNK:
        take_chunk(conn, message);
        return;
    default:
        conn->events->on_message(conn, message, size); /* last */
    }
}

/* Tells the other side of a message that cannot be read, once, and ends the connection. */
static void refuse(struct rpc_conn *conn, struct peri_slice bytes)
{
    struct wire_message answer;
    struct peri_error why = PERI_ERROR_INIT;
    if (wire_is_again(bytes))
        (void)peri_fail_plain(&why, PERI_EFORMAT, "a malformed message, or no other before it");
    else
        (void)wire_message_decode(bytes, &conn->heard, &why); /* again, for the reason */
    rpc_handshake_refuse(&conn->handshake, &why, &answer);
    (void)rpc_conn_send(conn, &answer);
    end(conn, &why);
}

/* Only bursts hold messages that are those before them again. */
static __attribute__((noinline)) void take_bytes(struct rpc_conn *conn, struct peri_slice bytes)
{
    conn->is_again = wire_is_again(bytes) && env_conn_is_in_burst(conn->wire) && conn->is_ready;
    int rc = conn->is_again ? wire_message_decode_again(bytes, &conn->heard)
                            : wire_message_decode(bytes, &conn->heard, NULL);
    if (rc != 0)
        refuse(conn, bytes);
    else if (conn->is_ready)
        take(conn, &conn->heard, bytes.size);
    else
        take_handshake(conn, &conn->heard);
}

/* What follows a message that was said again, is it too, and has a plain value, needs no second
 * look: take_bytes would come to the same end. */
static inline bool is_simple(const struct rpc_conn *conn, struct peri_slice bytes)
{
    return conn->is_again && env_conn_is_in_burst(conn->wire) && wire_is_again(bytes) &&
           wire_is_one_text(wire_again_bytes(bytes)) && conn->heard.id != UINT64_MAX;
}

static void on_message(void *data, struct peri_slice bytes)
{
    struct rpc_conn *conn = data;
    conn->heard_us = env_conn_heard_us(conn->wire);
    if (!is_simple(conn, bytes)) {
        take_bytes(conn, bytes);
        return;
    }
    wire_message_say_again(&conn->heard, wire_again_bytes(bytes));
    conn->events->on_message(conn, &conn->heard, bytes.size);
}

/* ---- life ---- */

/* What went wrong, without "connection with ADDRESS: " in front: whoever says it names the peer. */
static const char *failure_of(const struct env_conn *wire)
{
    const char *failure = env_conn_failure(wire);
    const char *peer = env_conn_peer(wire);
    const char *found = strstr(failure, peer);
    size_t size = strlen(peer);
    return found != NULL && strncmp(found + size, ": ", 2) == 0 ? found + size + 2 : failure;
}

static void on_close(void *data, int status)
{
    struct rpc_conn *conn = data;
    struct peri_error why = PERI_ERROR_INIT;
    const char *failure = failure_of(conn->wire);
    if (status == PERI_ECLOSED)
        (void)peri_fail_plain(&why, status, "the other side closed the connection");
    else if (failure[0] != '\0')
        (void)peri_fail_plain(&why, status, "%s", failure);
    else
        (void)peri_fail_plain(&why, status, "%s", peri_strerror(status));
    end(conn, &why);
}

static void on_open(void *data, int status)
{
    struct rpc_conn *conn = data;
    if (status != 0)
        on_close(data, status);
    else
        conn->handshake.is_local = env_conn_is_local(conn->wire);
}

/* Silence: a client asks, and either side gives up in the end. */
static bool is_silent(struct rpc_conn *conn, uint64_t now_us)
{
    uint64_t heard_us = conn->heard_us > conn->listens_us ? conn->heard_us : conn->listens_us;
    uint64_t silent_us = now_us - heard_us;
    unsigned pings = RPC_SILENCE_PINGS + (conn->is_client ? 0 : EXTRA_SILENCE_PINGS);
    if (silent_us >= pings * conn->ping_us && !conn->is_paused)
        return true;
    struct wire_message ping = {.kind = WIRE_PING};
    ping.ping.sent_us = now_us;
    if (conn->is_client && silent_us >= conn->ping_us)
        (void)rpc_conn_send(conn, &ping);
    return false;
}

static void on_alarm(void *data)
{
    struct rpc_conn *conn = data;
    uint64_t due_us = conn->alarm.due_us;
    uint64_t now_us = rpc_alarm_rings(&conn->alarm);
    struct peri_error why = PERI_ERROR_INIT;
    if (now_us > due_us + conn->ping_us / 2)
        conn->listens_us = now_us; /* what came while this process stood still is not read yet */
    if (!conn->is_ready && now_us - conn->opened_us >= RPC_HANDSHAKE_LIMIT_US) {
        (void)peri_fail_plain(&why, PERI_EUNREACHABLE, "no handshake within %g s",
                              (double)RPC_HANDSHAKE_LIMIT_US / 1e6);
        end(conn, &why);
    } else if (!conn->is_ready) {
        rpc_alarm_by(&conn->alarm, conn->opened_us + RPC_HANDSHAKE_LIMIT_US);
    } else if (is_silent(conn, now_us)) {
        (void)peri_fail_plain(&why, PERI_EDISCONNECTED, "it has been silent for %.1f s",
                              (double)(now_us - conn->heard_us) / 1e6);
        end(conn, &why);
    } else {
        rpc_inbox_expire(&conn->in, now_us);
        rpc_alarm_by(&conn->alarm, now_us + conn->ping_us);
        rpc_alarm_by(&conn->alarm, conn->events->on_alarm(conn, now_us));
    }
}

static const struct env_conn_events wire_events = {on_open, on_message, on_writable, on_close};

static int init(struct rpc_conn *conn, struct env *env, const struct rpc_identity *self,
                const struct rpc_conn_events *events)
{
    *conn =
        (struct rpc_conn){.env = env, .self = self, .events = events, .short_max = RPC_CHUNK_SIZE};
    size_t bytes_max = (size_t)self->body_max * BOXES_FACTOR;
    rpc_outbox_init(&conn->out, bytes_max);
    rpc_inbox_init(&conn->in, bytes_max);
    conn->opened_us = conn->heard_us = env_now_us(env);
    int rc = rpc_alarm_init(&conn->alarm, env, on_alarm, conn);
    if (rc == 0)
        rpc_alarm_by(&conn->alarm, conn->opened_us + RPC_HANDSHAKE_LIMIT_US);
    return rc;
}

int rpc_conn_connect(struct rpc_conn *conn, struct env *env, const struct rpc_identity *self,
                     const struct rpc_conn_events *events, const char *address,
                     struct peri_error *err)
{
    unsigned char nonce[RPC_NONCE_SIZE];
    struct wire_message hello;
    int rc = init(conn, env, self, events);
    conn->is_client = true;
    if (rc == 0)
        rc = env_conn_connect(env, address, &wire_events, conn, &conn->wire, err);
    if (rc == 0) {
        env_random(env, nonce, sizeof nonce);
        rpc_handshake_connect(&conn->handshake, self, nonce, &hello);
        rc = rpc_conn_send(conn, &hello);
    }
    if (rc != 0) {
        shut(conn);
        return err != NULL && err->code == rc ? rc : peri_fail(err, rc, "connect to %s", address);
    }
    return 0;
}

int rpc_conn_accept(struct rpc_conn *conn, struct env *env, const struct rpc_identity *self,
                    const struct rpc_conn_events *events, struct env_conn *wire,
                    struct peri_error *err)
{
    unsigned char nonce[RPC_NONCE_SIZE];
    int rc = init(conn, env, self, events);
    conn->wire = wire;
    if (rc != 0) {
        shut(conn);
        return peri_fail(err, rc, "a connection");
    }
    env_random(env, nonce, sizeof nonce);
    rpc_handshake_accept(&conn->handshake, self, env_conn_is_local(wire), nonce);
    env_conn_accept(wire, &wire_events, conn);
    return 0;
}

void rpc_conn_wake_by(struct rpc_conn *conn, uint64_t due_us)
{
    rpc_alarm_by(&conn->alarm, due_us);
}

void rpc_conn_close(struct rpc_conn *conn, const char *goodbye)
{
    if (conn->wire == NULL)
        return;
    struct wire_message message = {.kind = WIRE_GOODBYE};
    if (goodbye != NULL && conn->is_ready) {
        message.goodbye.reason = peri_slice_of(goodbye, strlen(goodbye));
        (void)rpc_conn_send(conn, &message);
    }
    shut(conn);
}

void rpc_conn_peer(const struct rpc_conn *conn, const char *address, char out[RPC_PEER_TEXT_SIZE])
{
    if (conn->handshake.peer.node[0] != '\0')
        (void)snprintf(out, RPC_PEER_TEXT_SIZE, "%s (%s)", conn->handshake.peer.node, address);
    else
        (void)snprintf(out, RPC_PEER_TEXT_SIZE, "%s", address);
}
