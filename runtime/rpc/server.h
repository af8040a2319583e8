/* server.h - functions by name, and the calls that are being served.
 *
 * A handler answers at once or later, once. Each request runs at most once: one that arrives again
 * is dropped. A call ends without an answer when its deadline passes, the caller cancels, or the
 * connection breaks: then on_cancel runs. */
#ifndef PERI_RPC_SERVER_H
#define PERI_RPC_SERVER_H

#include "env/env.h"
#include "rpc/conn.h"
#include "rpc/request.h"

enum { RPC_GUESTS_MAX = 4096 };                   /* connections of a server */
#define RPC_DEADLINE_DEFAULT_US UINT64_C(5000000) /* of calls that state none */

struct rpc_server;
struct rpc_guest;
struct rpc_call;

struct rpc_handler {
    /* A call has come. call->args is lent until the handler returns. */
    void (*on_call)(struct rpc_call *call);
    /* Nobody waits for the answer any more; call is gone when this returns. NULL: the handler
     * always answers before on_call returns. */
    void (*on_cancel)(struct rpc_call *call, int code, const char *reason);
    /* The stream may be able to send again; may not answer. NULL: the handler yields no items. */
    void (*on_credit)(struct rpc_call *call);
    void *data;
};

enum rpc_call_kind { RPC_PLAIN, RPC_CAST, RPC_STREAM };

/* One call that is being served. Handlers read it, and own data. */
struct rpc_call {
    const struct rpc_handler *handler;
    void *data; /* the handler's own */
    enum rpc_call_kind kind;
    struct peri_slice name; /* lent until the call is gone */
    struct peri_slice args; /* MessagePack array; lent for on_call */
    uint64_t due_us;        /* when nobody waits any more, on env_now_us's clock */
    uint64_t started_us;

    struct rpc_guest *guest;
    uint64_t id;
    uint64_t items;   /* of a stream: sent */
    uint64_t granted; /* of a stream: that may be sent in all */
    size_t size;
    size_t answer_size;
    struct peri_list link;
};

/* Listens. self is lent until the close; the caller owns *out. Errors: env_listener_open's. */
int rpc_server_open(struct rpc_server **out, struct env *env, const struct rpc_identity *self,
                    const char *address, struct peri_error *err);

/* Serves a function; the handler is copied, the name too. Errors: PERI_EINVAL for a name that is
 * served already, PERI_ENOMEM. */
int rpc_server_handle(struct rpc_server *server, const char *name,
                      const struct rpc_handler *handler, struct peri_error *err);

/* Where it listens; lent until the close. */
const char *rpc_server_address(const struct rpc_server *server);

/* Cancels every call with PERI_ECLOSED, says goodbye to every client, frees. Not from inside of
 * on_call. Accepts NULL. */
void rpc_server_close(struct rpc_server *server);

struct rpc_server_stats {
    uint64_t connections; /* now */
    uint64_t in_flight;   /* now */
    uint64_t calls;       /* that came, casts and streams included */
    uint64_t failed;      /* ended in an error or were cancelled */
    uint64_t repeated;    /* dropped, because they had come before */
    uint64_t refused;     /* connections that failed in the handshake */
    uint64_t bytes;       /* of calls that came and of their answers, on the wire */
};

/* Counts. */
void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out);

/* ---- answers: each ends the call, which must not be touched afterwards ---- */

/* Answers with a MessagePack array, which is copied. An answer that cannot be sent becomes an
 * error: PERI_ETOOBIG. */
void rpc_call_reply(struct rpc_call *call, struct peri_slice values);

struct rpc_failure {
    struct peri_slice code; /* a name of base/error.h, or the handler's own */
    struct peri_slice message;
    struct peri_slice traceback;
    bool is_retryable;
};

enum { RPC_FAILURE_TEXT_MAX = 64 << 10 };

/* The same; a long answer takes values, and copies nothing of them. */
void rpc_call_reply_taking(struct rpc_call *call, struct peri_buffer *values);

/* Answers with an error. Of each of its texts at most RPC_FAILURE_TEXT_MAX bytes are sent, and no
 * more than a quarter of what the caller takes. */
void rpc_call_fail(struct rpc_call *call, const struct rpc_failure *failure);

/* Answers with an error of ours. */
void rpc_call_fail_code(struct rpc_call *call, const struct peri_error *err);

/* Ends a stream after its items. */
void rpc_call_end(struct rpc_call *call);

/* ---- while a call is being served ---- */

/* Sends an item of a stream: a MessagePack array, copied. Errors, with nothing sent: PERI_EBUSY
 * while the caller has not asked for more or long messages wait, until on_credit; PERI_ETOOBIG;
 * PERI_ENOMEM. */
int rpc_call_item(struct rpc_call *call, struct peri_slice values);

/* Who calls, what it said of itself, and how long an answer may be. */
void rpc_call_peer(const struct rpc_call *call, char out[RPC_PEER_TEXT_SIZE]);
const struct rpc_peer *rpc_call_caller(const struct rpc_call *call);
const char *rpc_call_address(const struct rpc_call *call);
size_t rpc_call_body_max(const struct rpc_call *call);

#endif
