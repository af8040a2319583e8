/* request.h - one call that a client has under way, and how it ended.
 *
 * Whoever calls embeds a struct rpc_request and keeps it in place until on_done has run or
 * rpc_request_cancel was called. Exactly one of the two ends it, and no request outlives its
 * deadline. */
#ifndef PERI_RPC_REQUEST_H
#define PERI_RPC_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"
#include "base/slice.h"
#include "wire/message.h"

struct rpc_client;
struct rpc_request;

/* How a call ended; everything is lent for the call of on_done.
 *
 * code 0: values is the MessagePack array of what the function returned. Else code_name names the
 * failure, and code is its number where base/error.h knows it, PERI_ELUA otherwise:
 *   EUNREACHABLE            never sent, so it has not run
 *   EDEADLINE, EDISCONNECTED  sent and not answered: it may have run
 *   is_remote               what the other side answered */
struct rpc_result {
    int code;
    bool is_remote;
    bool is_retryable;
    struct peri_slice values;
    struct peri_slice code_name;
    struct peri_slice message; /* "call echo to n2 (127.0.0.1:7110): ..." */
    struct peri_slice traceback;
};

enum rpc_request_state { RPC_REQUEST_IDLE, RPC_REQUEST_WAITS, RPC_REQUEST_SENT };

/* The first members, up to owner, are the caller's to fill; name is lent until the end. */
struct rpc_request {
    struct peri_slice name;
    uint64_t due_us; /* on env_now_us's clock */
    /* Runs once, on the loop, never inside rpc_client_call; may start calls, must not close the
     * client. */
    void (*on_done)(struct rpc_request *request, const struct rpc_result *result);
    /* Of a stream: an ITEM or END came, in any order, perhaps again. NULL: a plain call. */
    void (*on_item)(struct rpc_request *request, const struct wire_message *message);
    const void *owner; /* for rpc_client_leave; may be NULL */

    struct rpc_client *client;
    enum rpc_request_state state;
    bool is_cast; /* ends when it was sent */
    uint64_t id;
    uint64_t started_us;
    uint64_t waiting_since_us;  /* of a stream: when somebody began to wait for an item */
    uint64_t granted;           /* of a stream: items that the other side may send in all */
    size_t size;                /* on the wire */
    struct peri_buffer waiting; /* arguments, until there is a connection */
    struct peri_list link;      /* among those that wait */
};

enum {
    RPC_STREAM_WINDOW = 32
}; /* items of a stream that may come before the caller asks for more */

/* Ends a request that nobody waits for any more: on_done will not run, and the other side is told
 * when it was sent. No effect on one that is not under way. */
void rpc_request_cancel(struct rpc_request *request, const char *reason);

/* The request ends with a failure of this side's; on_done runs before the call returns. */
void rpc_request_fail(struct rpc_request *request, const struct peri_error *err);

/* A failure of this side's as a result, lent from err. */
struct rpc_result rpc_result_of(const struct peri_error *err);

/* Ends a stream that has come to its end: on_done will not run. */
void rpc_request_end(struct rpc_request *request);

/* Moves the deadline of a request under way: of a stream, whose reader waits now or does not. */
void rpc_request_set_due(struct rpc_request *request, uint64_t due_us);

/* Tells the other side what is granted, or that somebody is still there. */
void rpc_request_say_credit(struct rpc_request *request);

#endif
