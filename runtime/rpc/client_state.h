/* client_state.h - the insides of a client, for client.c (its connection) and request.c (its
 * calls).
 */
#ifndef PERI_RPC_CLIENT_STATE_H
#define PERI_RPC_CLIENT_STATE_H

#include "rpc/client.h"

enum { RPC_WAITING_FACTOR = 4 };

struct rpc_client {
    struct env *env;
    const struct rpc_identity *self;
    char *address;
    struct rpc_conn conn;
    struct rpc_alarm alarm;      /* deadlines of requests, and when to connect again */
    uint64_t retry_us;           /* when to connect again; 0: not down */
    uint64_t since_us;           /* up or down since */
    uint64_t heard_us;           /* by the last connection */
    uint64_t tried_us;           /* when the last attempt to connect ended */
    uint64_t attempts;           /* that failed since it was last up */
    struct peri_error why;       /* why it is down; code 0: it is just connecting */
    int logged_code;             /* a refusal that the log has seen */
    char node[RPC_NAME_MAX + 1]; /* who answered last */

    struct rpc_request **slots; /* by id modulo slot_count; NULL where free, as half of them are */
    size_t slot_count;          /* a power of two, or 0 */
    size_t in_flight;
    uint64_t last_id; /* never starts again, so that no answer is taken for another call's */
    uint64_t calls;
    struct peri_list waiting; /* requests that wait for a connection, oldest first */
    size_t waiting_bytes;     /* of their arguments; at most RPC_WAITING_FACTOR times body_max */
};

/* ---- request.c; client_call.c has the flush ---- */

/* Takes a message of a call. */
void rpc_requests_take(struct rpc_client *client, const struct wire_message *message, size_t size);

/* The request that an answer with that id is for, or NULL. */
struct rpc_request *rpc_requests_find(const struct rpc_client *client, uint64_t id);

/* Gives the request an id and a slot. Errors: PERI_EBUSY, PERI_ENOMEM. */
int rpc_requests_enter(struct rpc_client *client, struct rpc_request *request,
                       struct peri_error *err);

/* The request is not under way any more. */
void rpc_requests_leave(struct rpc_request *request);

/* Prepends "call echo to n2 (127.0.0.1:7110): " to what err says; returns its code. */
int rpc_requests_say(const struct rpc_request *request, struct peri_error *err);

/* Ends the request with an answer that took size bytes on the wire: on_done runs. */
void rpc_requests_finish(struct rpc_request *request, const struct rpc_result *result, size_t size);

/* There is a connection: sends what waited. */
void rpc_requests_flush(struct rpc_client *client);

/* The connection has ended: ends those that were sent, and with is_final those that wait as well.
 */
void rpc_requests_break(struct rpc_client *client, const struct peri_error *why, bool is_final);

/* Tells the server of every stream that somebody still reads it. */
void rpc_requests_beat(struct rpc_client *client);

/* Ends those whose time is up; returns when the next one's is, or UINT64_MAX. */
uint64_t rpc_requests_expire(struct rpc_client *client, uint64_t now_us);

/* Ends with PERI_ECLOSED those of the owner, or all when that is NULL. */
void rpc_requests_close(struct rpc_client *client, const void *owner);

#endif
