/* resp_server.h - the store for Redis' clients: connections, and what they ask.
 *
 *      bytes --resp_decode--> command --resp_plan--> operations --+-- read: a query here
 *                                                                 '-- write: kv_propose, to the
 * leader replies leave in the order of the commands
 *
 * Commands of one connection take effect in their order: reads go on side by side, writes that were
 * sent ahead are one batch, and a read waits for the writes before it and a write for the reads.
 * Reads are linearizable, on any node. MULTI and EXEC are one command of the group: all of it
 * happens, or an error and nothing. What a client sends ahead is bounded, and so is what it does
 * not read. */
#ifndef PERI_KV_RESP_SERVER_H
#define PERI_KV_RESP_SERVER_H

#include "node/node.h"

struct resp_server;

enum {
    RESP_CONNECTIONS_MAX = 20000,
    RESP_CALLS_MAX = 256,    /* commands of a connection under way */
    RESP_CALLS_LARGE = 4,    /* where replies are not short, and until that is known */
    RESP_IN_MAX = 256 << 20, /* bytes of commands that have come in part, of all connections */
    RESP_CURSORS_MAX = 256,
    RESP_SCRIPTS_MAX = 256, /* that a node remembers for EVALSHA */
    RESP_SCRIPTS_BYTES_MAX = 8 << 20,
    RESP_SUBSCRIPTIONS_MAX = 1024, /* of a connection */
};
#define RESP_DEADLINE_US UINT64_C(5000000) /* of a command */

struct resp_options {
    struct node *node;
    struct node_group *group; /* whose machine is the store; lent until the close */
    uint64_t group_id;
    const char *listen;
    const char *secret; /* that clients of other machines say with AUTH; "": these are refused */
};

/* Listens. On success the caller owns *out, and closes it before the group. Errors:
 * env_listener_open's, node_serve's. */
int resp_server_open(struct resp_server **out, const struct resp_options *options,
                     struct peri_error *err);
/* Ends all connections. Not from inside of a callback of the server. Accepts NULL. */
void resp_server_close(struct resp_server *server);

/* Where it listens; lent until the close. */
const char *resp_server_address(const struct resp_server *server);

/* A command has taken effect on this replica: who has subscribed may hear of it. Cheap. */
void resp_server_applied(struct resp_server *server);

#endif
