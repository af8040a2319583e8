/* rpc_serve.h - what the two files of the serving half share.
 *
 * rpc_serve.c   servers, and what the functions that they serve can ask
 * rpc_worker.c  the fibers that serve calls */
#ifndef PERI_MODULES_RPC_SERVE_H
#define PERI_MODULES_RPC_SERVE_H

#include "rpc.h"
#include "rpc/server.h"
#include "vm/scheduler.h"

struct rpc_server_box;

/* One Lua function that is served. */
struct rpc_lua_function {
    struct rpc_server_box *box;
    int reference;                    /* in the registry */
    char fiber_name[FIBER_NAME_SIZE]; /* "rpc echo" */
};

/* Lives in a userdata whose user value 1 is the table of options. */
struct rpc_server_box {
    struct rpc_context *context;
    struct rpc_server *server; /* NULL once closed */
    struct rpc_identity self;
    struct rpc_lua_function *functions;
    size_t function_count;
    struct peri_list idle; /* workers without a call */
    size_t idle_count;
    struct fiber_wait closing; /* the fiber that waits for the end of the server */
    bool is_lent;              /* the server is a node's, and ends with that */
    struct peri_list link;     /* lent: among those of the node */
};

/* A fiber that serves one call after the other. Lives in a userdata at the bottom of the fiber's
 * stack. A call that is cancelled takes its fiber with it. */
struct rpc_worker {
    struct rpc_server_box *box;
    struct fiber *fiber;
    struct rpc_call *call; /* NULL: idle, or nobody waits for the answer any more */
    struct rpc_lua_function *function;
    struct peri_list link; /* among the idle ones */
    struct fiber_wait wait;
    bool is_idle;
    struct fiber_wait credit; /* rpc.yield waits in it */
};

/* Serves calls of Lua functions: handler.data is the struct rpc_lua_function. */
extern const struct rpc_handler rpc_worker_handler;

/* Pushes a server that adds the functions of the table at the index to one that listens already,
 * lent until rpc_serve_end. The caller keeps what is pushed until then. Errors, with something that
 * is no server pushed or nothing: PERI_EINVAL for a name that is served already, PERI_ENOMEM. */
int rpc_serve_lent(lua_State *L, int index, struct rpc_server *server, struct rpc_server_box **out,
                   struct peri_error *err);

/* The server of such a box has been closed. */
void rpc_serve_end(lua_State *L, struct rpc_server_box *box);

/* Ends the workers without a call: the server was closed. */
void rpc_workers_end(struct rpc_server_box *box);

/* Makes the workers' metatable. Raises. */
void rpc_open_worker(lua_State *L);

#endif
