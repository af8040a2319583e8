/* conn.h - message connections: what nodes say to each other.
 *
 * Part of the door that env.h is.
 *
 * A connection carries messages, which are byte strings with boundaries, in order, each once or the
 * connection ends. Over TCP and Unix sockets messages travel in frames (wire/frame.h), short ones
 * that leave together in one; in simulation each is an event. Handshakes, ids, deadlines and
 * reconnecting are the caller's (rpc).
 *
 * An address is "host:port", ":port" (this machine only), "host", "[v6 address]:port" or
 * "unix:/path"; the port defaults to ENV_PORT_DEFAULT. In simulation the host is a node's name. */
#ifndef PERI_ENV_CONN_H
#define PERI_ENV_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "wire/frame.h"

struct env;
struct env_listener;

/* What the connections of all environments have in common; the functions below read it. */
struct env_conn {
    struct env *env;
    const char *peer, *failure; /* what env_conn_peer and env_conn_failure lend */
    bool is_local;              /* what env_conn_is_local says */
    bool carries_bytes;         /* env_conn_accept_bytes, env_conn_connect_bytes */
    bool is_in_burst;           /* what env_conn_is_in_burst says */
    uint64_t heard_us;          /* what env_conn_heard_us says */
    /* What leaves in bursts, or NULL where nothing does, or messages may get lost or change places.
     * A burst is open only while messages may be sent and will leave. */
    struct wire_frames *frames;
};

enum { ENV_PORT_DEFAULT = 7100 };

/* Limits of a connection. Bytes queued beyond the mark are a reason to wait for on_writable before
 * sending bulk; a full queue refuses. */
enum {
    ENV_CONN_MESSAGE_MAX = 4 << 10, /* received, until env_conn_set_message_max */
    ENV_CONN_QUEUE_MARK = 1 << 20,
    ENV_CONN_QUEUE_MAX = 16 << 20,
};
#define ENV_CONN_IDLE_LIMIT_US UINT64_C(10000000) /* until env_conn_set_idle_limit */

/* What happens on a connection. No callback runs after env_conn_close or on_close. */
struct env_conn_events {
    /* A connect ended: 0, or an error code, and then the connection is only good for closing. Not
     * called for accepted connections. */
    void (*on_open)(void *data, int status);
    /* A message arrived; lent for the call. May close the connection. */
    void (*on_message)(void *data, struct peri_slice message);
    /* More than ENV_CONN_QUEUE_MARK were queued, and now it is less than half of that. */
    void (*on_writable)(void *data);
    /* The connection ended, and is only good for closing: PERI_ECLOSED when the peer closed it,
     * PERI_EFORMAT or PERI_ETOOBIG when it broke the framing, -ETIMEDOUT when it passed the idle
     * limit, or what the network did. */
    void (*on_close)(void *data, int status);
};

/* Starts to connect; on_open says how that ended, and before it messages may be sent already. A
 * connect takes no longer than the idle limit. The caller owns *out and ends it with
 * env_conn_close. events is lent until then. Errors: PERI_EINVAL for an address that is none,
 * PERI_ENOMEM. */
int env_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                     void *data, struct env_conn **out, struct peri_error *err);

/* The same to a peer that speaks a protocol of its own: see env_conn_accept_bytes. */
int env_conn_connect_bytes(struct env *env, const char *address,
                           const struct env_conn_events *events, void *data, struct env_conn **out,
                           struct peri_error *err);

/* Takes over a connection inside the listener's on_connection; events is lent until the close. */
void env_conn_accept(struct env_conn *conn, const struct env_conn_events *events, void *data);

/* The same for a peer that speaks a protocol of its own: on_message lends bytes as they come, with
 * no boundaries that mean anything, and env_conn_send sends bytes as they are. In simulation they
 * come as they were sent; what a network does to packets makes them late, and a cut ends the
 * connection, as TCP has it. */
void env_conn_accept_bytes(struct env_conn *conn, const struct env_conn_events *events, void *data);

/* Copies the parts, which together are one message, and sends it after those before. What is sent
 * in one round of the loop leaves together. Errors: PERI_ECLOSED once the connection has ended;
 * PERI_EBUSY while more than ENV_CONN_QUEUE_MAX are queued; PERI_EINVAL for an empty message,
 * PERI_ETOOBIG beyond 2^31 - 1 bytes; PERI_ENOMEM. Then nothing was sent. */
int env_conn_send(struct env_conn *conn, const struct peri_slice *parts, size_t count);

/* Sends a message of size bytes that finds room in a burst which is still open: the caller writes
 * it to the place that this returns, before it does anything else with the connection. NULL when
 * there is none: then nothing was sent, and env_conn_send sends it. */
static inline char *env_conn_room(struct env_conn *conn, size_t size)
{
    return conn->frames != NULL ? wire_frames_room(conn->frames, size) : NULL;
}

/* Bytes sent that the network has not taken yet; who sends bulk keeps this small. */
size_t env_conn_queued_bytes(const struct env_conn *conn);

/* Messages longer than size_max end the connection. Starts at ENV_CONN_MESSAGE_MAX, which is for
 * peers that have not proved who they are. */
void env_conn_set_message_max(struct env_conn *conn, size_t size_max);

/* The connection ends when no whole message arrived for limit_us, paused time not counted; 0:
 * never. A peer that is gone without a word, or sends its bytes one by one, costs no more than
 * that. */
void env_conn_set_idle_limit(struct env_conn *conn, uint64_t limit_us);

/* Stops and goes on reading (back-pressure). on_message does not run while paused; on_close may. */
void env_conn_pause(struct env_conn *conn);
void env_conn_resume(struct env_conn *conn);

/* When the message of the running on_message came, on env_now_us's clock; costs nothing. */
static inline uint64_t env_conn_heard_us(const struct env_conn *conn)
{
    return conn->heard_us;
}

/* True when the message of the running on_message follows another one of its burst. Of what is
 * sent, only what goes to env_conn_room follows in a burst. */
static inline bool env_conn_is_in_burst(const struct env_conn *conn)
{
    return conn->is_in_burst;
}

/* True when the peer is on this machine: a loopback address or a Unix socket. */
bool env_conn_is_local(const struct env_conn *conn);

/* The peer's address, for people; lent until the close. */
const char *env_conn_peer(const struct env_conn *conn);

/* What went wrong, for people, once on_open or on_close said that something did; else "". Lent
 * until the close. */
const char *env_conn_failure(const struct env_conn *conn);

/* Ends the connection for its owner. What is queued still leaves while the peer keeps taking it,
 * for ten seconds at most. Accepts NULL. */
void env_conn_close(struct env_conn *conn);

/* ---- listeners ---- */

/* Listens. Port 0 takes a free one. A Unix socket may only be used by this user; one that a dead
 * process left behind is replaced. on_connection owns conn, and accepts or closes it before it
 * returns. A host name is looked up before the call returns. Errors: PERI_EINVAL for an address
 * that is none, -EADDRINUSE and other errno codes, PERI_ENOMEM. */
int env_listener_open(struct env *env, const char *address,
                      void (*on_connection)(void *data, struct env_conn *conn), void *data,
                      struct env_listener **out, struct peri_error *err);

/* Where it listens, with the port that was given for 0; lent until the close. */
const char *env_listener_address(const struct env_listener *listener);

/* Listens no more; connections stay. Accepts NULL. */
void env_listener_close(struct env_listener *listener);

#endif
