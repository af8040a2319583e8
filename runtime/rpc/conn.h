/* conn.h - one connection between a client and a server: handshake, pings, long messages.
 *
 * What both roles share. Its owner gets whole messages once the other side is who it should be, and
 * is told once when the connection has ended, whoever ended it but the owner. A client pings when
 * it has heard nothing for ping_ms; either side gives up one that stays silent. */
#ifndef PERI_RPC_CONN_H
#define PERI_RPC_CONN_H

#include "base/assert.h"
#include "env/env.h"
#include "rpc/alarm.h"
#include "rpc/chunks.h"
#include "rpc/handshake.h"

#define RPC_HANDSHAKE_LIMIT_US UINT64_C(2000000)

enum {
    RPC_SILENCE_PINGS = 3, /* a server that said nothing for so many pings is gone */
    RPC_PING_MS_MIN = 50,  /* of what a client may announce */
    RPC_PING_MS_MAX = 60000,
    RPC_PEER_TEXT_SIZE = 400,  /* "n2 (127.0.0.1:7110)" */
    RPC_LOOK_BYTES = 32 << 10, /* sent between two looks at whether the other side takes it */
};

struct rpc_conn;

struct rpc_conn_events {
    /* The handshake is done: conn->handshake.peer is who it says. */
    void (*on_ready)(struct rpc_conn *conn);
    /* A message of a call or stream, GOODBYE; lent for the call. size is what it took on the wire.
     * May close the connection. */
    void (*on_message)(struct rpc_conn *conn, const struct wire_message *message, size_t size);
    /* The first chunk of a message of that call, of total bytes in all: is it wanted? */
    bool (*is_wanted)(struct rpc_conn *conn, uint64_t id, uint64_t total);
    /* The time has come that rpc_conn_wake_by named; returns the next, or UINT64_MAX. */
    uint64_t (*on_alarm)(struct rpc_conn *conn, uint64_t now_us);
    /* The long messages that waited are all on their way. */
    void (*on_room)(struct rpc_conn *conn);
    /* The connection has ended, and why; lent for the call. Once; may free conn. */
    void (*on_gone)(struct rpc_conn *conn, const struct peri_error *why);
};

/* Embedded by its owner. Zeroed; then connect or accept; then rpc_conn_close; then again. */
struct rpc_conn {
    struct env *env;
    const struct rpc_identity *self;
    const struct rpc_conn_events *events;
    struct env_conn *wire; /* NULL: closed */
    struct rpc_alarm alarm;
    struct rpc_handshake handshake;
    struct rpc_outbox out;
    struct rpc_inbox in;
    struct peri_buffer head;   /* of the message that is being sent */
    struct wire_again again;   /* the last message in the open burst; kind 0 where there is none */
    struct wire_message heard; /* the last message that came */
    bool is_again;             /* but for id and last field, that was the message before as well */
    char heard_name[WIRE_AGAIN_NAME_MAX]; /* its, when its burst goes on after a pause */
    size_t short_max;      /* messages up to that leave whole, and the other side takes them */
    size_t sent_size;      /* of the message that was sent last */
    size_t unlooked_bytes; /* sent since we looked whether the other side takes them */
    bool is_client;
    bool is_ready;  /* the handshake is done */
    bool is_paused; /* it does not take our answers, so we take no questions */
    uint64_t opened_us;
    uint64_t ready_us;
    uint64_t heard_us;   /* when the last message came; the time, in on_message */
    uint64_t listens_us; /* since when this process has run without standing still */
    uint64_t ping_us;
};

/* Starts to connect to address. self and events are lent until the close. Errors:
 * env_conn_connect's, PERI_ENOMEM; the connection is then closed. */
int rpc_conn_connect(struct rpc_conn *conn, struct env *env, const struct rpc_identity *self,
                     const struct rpc_conn_events *events, const char *address,
                     struct peri_error *err);

/* Takes over wire, inside a listener's on_connection. Errors: PERI_ENOMEM; wire is then closed. */
int rpc_conn_accept(struct rpc_conn *conn, struct env *env, const struct rpc_identity *self,
                    const struct rpc_conn_events *events, struct env_conn *wire,
                    struct peri_error *err);

/* Takes no more questions while the other side does not take our answers. */
void rpc_conn_look(struct rpc_conn *conn);

/* Sends a message, in chunks when it is long. Errors: PERI_ECLOSED; PERI_ETOOBIG when it is longer
 * than the other side takes; PERI_EBUSY when that takes too little; PERI_ENOMEM. Then nothing was
 * sent. */
int rpc_conn_send(struct rpc_conn *conn, const struct wire_message *message);

/* Sends a REPLY with a value of some bytes. A long one takes *taken, unless that is NULL, whose
 * bytes the value is, and copies nothing of it. Errors: rpc_conn_send's. */
int rpc_conn_reply(struct rpc_conn *conn, uint64_t id, struct peri_slice values,
                   struct peri_buffer *taken);

/* Sends the message of conn->again, which has a kind, with the next id: the caller copies a value
 * of that size, its last field, to the place that this returns. NULL when its burst has no room. */
static inline char *rpc_conn_send_again(struct rpc_conn *conn, size_t value_size)
{
    size_t size = WIRE_AGAIN_HEAD_SIZE + value_size;
    char *room = env_conn_room(conn->wire, size);
    if (room == NULL)
        return NULL;
    *room = (char)WIRE_AGAIN;
    conn->again.id++;
    conn->sent_size = size;
    return room + WIRE_AGAIN_HEAD_SIZE;
}

/* The same for a REPLY; NULL also where that is not the last message of the open burst again. */
static inline char *rpc_conn_reply_again(struct rpc_conn *conn, uint64_t id, size_t values_size)
{
    return conn->again.kind == WIRE_REPLY && conn->again.id == id
               ? rpc_conn_send_again(conn, values_size)
               : NULL;
}

/* The call with that id has ended: forgets what was not sent and what arrived of its long messages.
 */
void rpc_conn_forget(struct rpc_conn *conn, uint64_t id);

/* Has on_alarm called at due_us, or before. */
void rpc_conn_wake_by(struct rpc_conn *conn, uint64_t due_us);

/* Ends the connection; a reason that is not NULL is said in GOODBYE. Accepts a closed one. */
void rpc_conn_close(struct rpc_conn *conn, const char *goodbye);

/* Writes who is on the other side: "n2 (127.0.0.1:7110)", or the address alone for one that has no
 * name or has not said it yet. address is what to show while there is no connection. */
void rpc_conn_peer(const struct rpc_conn *conn, const char *address, char out[RPC_PEER_TEXT_SIZE]);

#endif
