/* client.h - calls to one address.
 *
 * The client keeps one connection, opens it again with growing pauses when it breaks, and carries
 * any number of calls at a time up to inflight_max. A call that was sent is never sent again. What
 * it says when a call fails names who, since when and why. */
#ifndef PERI_RPC_CLIENT_H
#define PERI_RPC_CLIENT_H

#include "env/env.h"
#include "rpc/conn.h"
#include "rpc/request.h"

enum { RPC_INFLIGHT_MAX = 65535, RPC_BACKOFF_MIN_MS = 50, RPC_BACKOFF_MAX_MS = 2000 };

/* Makes a client that starts to connect to address. self is lent until the close. The caller owns
 * *out. Errors: PERI_EINVAL for an address that is none, PERI_ENOMEM. */
int rpc_client_open(struct rpc_client **out, struct env *env, const struct rpc_identity *self,
                    const char *address, struct peri_error *err);

/* Ends every call with PERI_ECLOSED, then the connection. Accepts NULL. */
void rpc_client_close(struct rpc_client *client);

/* Ends with PERI_ECLOSED the calls under way whose request->owner is owner, which is not NULL: one
 * of several who share the client goes. Casts that wait for a connection stay. */
void rpc_client_leave(struct rpc_client *client, const void *owner);

/* Tries to connect soon, not after the pause that follows a failed attempt: somebody new asks. */
void rpc_client_hurry(struct rpc_client *client);

/* Calls the function request->name with args, a MessagePack array that is copied. While there is no
 * connection the call waits for one when may_wait, and fails with PERI_EUNREACHABLE otherwise.
 * Errors, with nothing started: PERI_EBUSY when inflight_max calls are under way or the queue is
 * full; PERI_ETOOBIG beyond what the server takes; PERI_EUNREACHABLE; PERI_ENOMEM. */
int rpc_client_call(struct rpc_client *client, struct rpc_request *request, struct peri_slice args,
                    bool may_wait, struct peri_error *err);

/* Has the function run without an answer: success means that it was sent, or will be once there is
 * a connection before due_us. Errors as of rpc_client_call. */
int rpc_client_cast(struct rpc_client *client, struct peri_slice name, struct peri_slice args,
                    uint64_t due_us, bool may_wait, struct peri_error *err);

/* Sends a message that belongs to a request under way (CREDIT). What cannot be sent is lost. */
void rpc_client_tell(struct rpc_client *client, const struct wire_message *message);

struct rpc_client_info {
    const char *address;         /* lent until the close */
    const struct rpc_peer *peer; /* while it is up, else NULL; lent until the next callback */
    bool is_up;
    uint64_t since_us; /* up or down since */
    uint64_t heard_us; /* when the last message came; 0: never */
    uint64_t attempts; /* to connect, since it was last up */
    uint64_t calls;    /* started so far */
    size_t in_flight;
    const char *why; /* it is down; lent until the next callback */
};

/* Looks at the client. */
void rpc_client_look(const struct rpc_client *client, struct rpc_client_info *info);

/* Writes who is called: "n2 (127.0.0.1:7110)". */
void rpc_client_peer(const struct rpc_client *client, char out[RPC_PEER_TEXT_SIZE]);

#endif
