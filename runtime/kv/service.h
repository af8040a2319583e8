/* service.h - the store for its own clients: commands and queries that come by RPC, without a
 * fiber for each.
 *
 *      kv.command  [session, sequence, kind, ...]   a command without version and time
 *      kv.query    [consistency, kind, ...]         a query without version
 *
 * Both answer [node, true, result], a stale read with its age in seconds behind; or
 * [node, false, message, code, certainty, leader or nil]. lua/perilune/kv/client.lua asks, and
 * kv/server.lua answers the same where functions of Lua have to see what comes. */
#ifndef PERI_KV_SERVICE_H
#define PERI_KV_SERVICE_H

#include "kv/command.h"
#include "kv/machine.h"
#include "rpc/server.h"

/* One a group, embedded; started by kv_service_init, ended by kv_service_deinit, after which it
 * refuses what still comes. It has to be there as long as the server that it is served by. */
struct kv_service {
    struct env *env;
    uint64_t node_id;
    struct node_group *group; /* NULL: none, or it was closed */
    struct kv_machine *machine;
    struct peri_list idle; /* calls that are over, for the next ones */
    size_t idle_count;
    struct peri_buffer answer; /* empty between calls */
    union {
        struct kv_command command; /* that is looked at */
        struct kv_query query;
    };
};

/* group, of that node, and its machine are lent until the end. */
void kv_service_init(struct kv_service *service, const struct node *node, struct node_group *group,
                     struct kv_machine *machine);
/* All its calls have ended: the group is closed. Accepts one that is all zero. */
void kv_service_deinit(struct kv_service *service);

/* Serves queries, and has_commands commands, too. Errors: rpc_server_handle's. */
int kv_service_serve(struct kv_service *service, struct rpc_server *server, bool has_commands,
                     struct peri_error *err);

#endif
