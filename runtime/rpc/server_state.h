/* server_state.h - the insides of a server, for server.c (its connections) and those that serve
 * its calls: call.c, answer.c, call_stream.c. */
#ifndef PERI_RPC_SERVER_STATE_H
#define PERI_RPC_SERVER_STATE_H

#include "env/log_limit.h"
#include "rpc/server.h"
#include "rpc/window.h"

enum { RPC_CALL_BUCKETS = 64, RPC_ADDRESS_SIZE = 128 };

struct rpc_function {
    struct rpc_handler handler;
    size_t name_size;
    char name[];
};

struct rpc_server {
    struct env *env;
    const struct rpc_identity *self;
    struct env_listener *listener;
    struct rpc_function **functions; /* by name */
    size_t function_count, function_capacity;
    struct peri_list guests;
    struct peri_list free_calls;
    struct rpc_server_stats stats;
    struct env_log_limit log_limit; /* of warnings that peers can cause */
};

/* One client's connection. */
struct rpc_guest {
    struct rpc_server *server;
    struct rpc_conn conn;
    char address[RPC_ADDRESS_SIZE];
    struct peri_list link;
    struct rpc_function *recent; /* what was called last, or NULL */
    struct rpc_call brief;       /* the last call, when its handler was brief; handler NULL: not */
    struct rpc_window window;
    size_t in_flight; /* but for those of brief handlers, which are over when anybody looks */
    struct peri_list calls[RPC_CALL_BUCKETS]; /* by id */
};

static inline struct rpc_call *rpc_call_of(struct peri_list *link)
{
    return container_of(link, struct rpc_call, link);
}

/* Calls of such a handler never outlive on_call: they are in no list. */
static inline bool rpc_handler_is_brief(const struct rpc_handler *handler)
{
    return handler->on_cancel == NULL;
}

/* ---- call.c: each call comes once, runs, and ends once ---- */

/* The guest's call of that id, or NULL. */
struct rpc_call *rpc_guest_find(struct rpc_guest *guest, uint64_t id);

/* Takes a message of a call. */
void rpc_calls_take(struct rpc_guest *guest, const struct wire_message *message, size_t size);

/* Says whether the message of a call, which comes in chunks, is wanted; refuses the call if not. */
bool rpc_calls_want(struct rpc_guest *guest, uint64_t id, uint64_t total);

/* Ends those whose time is up; returns when the next one's is, or UINT64_MAX. */
uint64_t rpc_calls_expire(struct rpc_guest *guest, uint64_t now_us);

/* Ends all calls of a guest; tells it why when the connection is still there. */
void rpc_calls_cancel(struct rpc_guest *guest, const struct peri_error *why);

/* Frees what call objects the server keeps for the next calls. */
void rpc_calls_free(struct rpc_server *server);

/* ---- answer.c: how calls end ---- */

/* The call has ended; outcome is the failure's code, or empty. It must not be touched any more. */
void rpc_call_release(struct rpc_call *call, struct peri_slice outcome);

/* Answers with an error that says why the answer, of size bytes, could not be sent. */
void rpc_call_fail_send(struct rpc_call *call, int rc, size_t size);

/* Sends the failure of a call with that id. Errors: rpc_conn_send's. */
int rpc_guest_send_error(struct rpc_guest *guest, uint64_t id, const struct rpc_failure *failure);

/* A failure of ours, lent from err. */
struct rpc_failure rpc_failure_of(const struct peri_error *err);

/* ---- call_stream.c: calls that are streams ---- */

/* When a stream ends unless the caller says before that it is still there. */
uint64_t rpc_guest_stream_due_us(const struct rpc_guest *guest, uint64_t now_us);

/* Takes CREDIT. */
void rpc_guest_take_credit(struct rpc_guest *guest, const struct wire_message *message);

/* Streams that waited for room may go on. */
void rpc_calls_have_room(struct rpc_guest *guest);

#endif
