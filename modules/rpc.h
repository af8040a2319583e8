/* rpc.h - what the files of perilune.core.rpc share.
 *
 * rpc.c         the module: identities from options, the trace, addresses
 * rpc_link.c    calling: connections, and the peers that share them
 * rpc_peer.c    calling: calls and casts
 * rpc_stream.c  calling: streams
 * rpc_serve.c   serving: servers, and what served functions can ask
 * rpc_worker.c  serving: a fiber for each call */
#ifndef PERI_MODULES_RPC_H
#define PERI_MODULES_RPC_H

#include <lua.h>

#include "base/buffer.h"
#include "env/env.h"
#include "rpc/client.h"
#include "vm/state.h"

#define RPC_PEER_METATABLE "perilune.rpc.peer"
#define RPC_HANDLE_METATABLE "perilune.rpc.handle"
#define RPC_LINK_METATABLE "perilune.rpc.link"
#define RPC_STREAM_METATABLE "perilune.rpc.stream"
#define RPC_SERVER_METATABLE "perilune.rpc.server"
#define RPC_WORKER_METATABLE "perilune.rpc.worker"

/* One a Lua state, in its registry. */
struct rpc_context {
    struct vm_state *vm;
    struct env *env;
    struct rpc_tracer tracer;
    uint64_t incarnation;
    struct peri_buffer scratch; /* arguments or results on their way out; empty between calls */
};

/* The context of the state; its user value 1 is a weak table of links by what identifies them. */
struct rpc_context *rpc_context_of(lua_State *L);

/* Pushes that table. */
void rpc_push_links(lua_State *L);

/* The connection behind peers, one for all of the state that call the same address as the same node
 * with the same limits; lives in a userdata whose user value 1 is the table of options, which keeps
 * the identity's strings. */
struct rpc_link {
    struct rpc_context *context;
    struct rpc_client *client; /* NULL once closed: with the last handle */
    size_t handle_count;       /* that are open */
    struct rpc_identity self;
    struct peri_list free_ops; /* rpc_peer.c */
};

/* What one rpc.connect made, and closes; user value 1 is the link. */
struct rpc_handle {
    struct rpc_link *link;
    bool is_open;
};

/* What Lua calls a peer: a handle and how to use it; user value 1 is the handle. */
struct rpc_peer_box {
    struct rpc_handle *handle;
    struct rpc_link *link;
    uint64_t deadline_us; /* of each call */
    bool may_wait;
};

/* Reads the table of options at the index into an identity that is lent from it. All options are
 * there: lua/perilune/rpc.lua has checked them. Raises. */
void rpc_read_identity(lua_State *L, int index, struct rpc_context *context,
                       struct rpc_identity *out);

/* The peer at index 1; raises when it is something else. */
struct rpc_peer_box *rpc_check_peer(lua_State *L);

/* Pushes nil, message, "ECLOSED". */
int rpc_fail_closed(lua_State *L);

/* Frees what the link keeps for the next calls. */
void rpc_free_ops(struct rpc_link *link);

/* Until when a call of the current fiber may take: the peer's deadline, or what is left of the
 * fiber's own. */
uint64_t rpc_due_us(lua_State *L, const struct rpc_peer_box *peer);

/* The limit of what is encoded here, for messages: of arguments as well as of answers. */
#define RPC_CALLERS_LIMIT "the caller's body_max, which is an option of its rpc.connect"

/* Appends the values from index first on to the context's scratch, as an array; the caller empties
 * that. Raises "NAME: argument 1.x is a function" for what is no data. Other errors are returned.
 */
int rpc_encode(lua_State *L, struct rpc_context *context, const char *name, int first,
               const char *what, size_t size_max, struct peri_error *err);

/* Pushes nil, message, code, details, as a call that has failed looks in Lua. Raises. */
void rpc_push_failure(lua_State *L, const struct rpc_client *client,
                      const struct rpc_result *result);

/* The parts of the module: each pushes its functions into the table on top and makes its
 * metatables. Raise. */
void rpc_open_peer(lua_State *L);
void rpc_open_link(lua_State *L); /* after rpc_open_peer */
void rpc_open_stream(lua_State *L);
void rpc_open_serve(lua_State *L);

#endif
