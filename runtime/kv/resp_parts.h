/* resp_parts.h - what the files of the RESP server share; for this folder.
 *
 * resp_server.c  connections: what comes, in which order it is done, what leaves
 * resp_call.c    commands that ask the group: queries, proposals, and their replies
 * resp_write.c   in which order and how many at a time the proposals of a connection leave
 * resp_eval.c    scripts
 * resp_scan.c    those that walk over keys
 * resp_local.c   those that concern the connection alone
 * resp_notify.c  subscriptions to changes */
#ifndef PERI_KV_RESP_PARTS_H
#define PERI_KV_RESP_PARTS_H

#include "env/env.h"
#include "kv/forward.h"
#include "kv/resp_plan.h"
#include "kv/resp_server.h"

enum { RESP_NAME_MAX = 64 };

/* Where a SCAN goes on. */
struct resp_cursor {
    uint64_t id; /* 0: unused */
    size_t size;
    char key[KV_KEY_MAX];
};

/* How far subscribers have been told of changes. */
struct resp_notify {
    struct node_request request;
    struct peri_buffer body;
    bool is_asking, is_late; /* the second: something has happened since it asked */
    size_t subscriptions;    /* of all connections */
    uint64_t revision, number;
};

struct resp_server {
    struct env *env;
    struct node *node;
    struct node_group *group;
    uint64_t group_id;
    struct kv_forwarder *forwarder;
    struct env_listener *listener;
    struct env_turn *turn;
    char *secret;
    struct peri_list conns, dirty;
    size_t conn_count;
    uint64_t last_client, last_cursor, commands, refused, started_us;
    uint64_t applied_us; /* when a command last took effect here, which moves log time */
    struct resp_cursor cursors[RESP_CURSORS_MAX];
    struct resp_notify notify;
    struct peri_list scripts; /* the one that was not used for longest first */
    size_t script_count, script_bytes;
    struct resp_command command; /* that was decoded last */
    size_t in_bytes; /* that connections keep, because commands are unfinished or wait */
};

struct resp_subscription {
    struct peri_list link;
    bool is_pattern;
    size_t size;
    char text[];
};

struct resp_conn {
    struct resp_server *server;
    struct env_conn *conn;
    struct peri_list link, dirty;
    struct peri_buffer in; /* what has come and was not taken */
    struct peri_list calls;
    unsigned calls_max;                        /* at a time: few where replies are large */
    unsigned call_count, reads, writes, alone; /* under way, by what they may be done beside */
    bool is_paused, is_trusted, is_ending;
    bool is_broken; /* nothing leaves any more */
    int version;
    uint64_t id;
    char name[RESP_NAME_MAX + 1];

    struct peri_list waiting; /* calls that are not proposed yet, in their order */
    struct peri_list batched; /* those that are, together */
    struct kv_proposal proposal;
    struct peri_buffer proposed;

    bool in_multi, is_multi_broken;
    struct peri_buffer multi; /* operations */
    uint32_t multi_operations, plan_count;
    struct resp_plan *plans;
    struct peri_buffer watched; /* compares */
    uint32_t watched_count;

    struct peri_list subscriptions;
    size_t subscription_count;
};

/* One command of a connection; its reply leaves when those before it have. */
struct resp_call {
    struct resp_conn *conn;
    struct peri_list link;
    bool is_done;
    unsigned flags; /* of its word */
    void (*on_answer)(struct resp_call *call, struct wire_unpacker *answer);
    struct peri_buffer body, reply;
    struct node_request request;
    struct peri_list queued; /* of a write: in conn->waiting or conn->batched */
    bool is_part;            /* its body can stand in a batch */
    uint64_t due_us;
    struct resp_plan plan;
    struct resp_plan *plans; /* of a transaction; owned */
    uint32_t plan_count;
    struct peri_buffer text;  /* arguments that outlive the command: a pattern, keys, a channel */
    struct peri_buffer found; /* keys, as replies */
    uint64_t found_count, revision;
    bool takes_none; /* of a scan */
};

/* ---- resp_server.c ---- */

/* Has the connection looked at in this round of the loop. */
void resp_conn_wake(struct resp_conn *conn);
/* Sends bytes; ends the connection when its queue is full. */
void resp_conn_send(struct resp_conn *conn, struct peri_slice bytes);
/* Makes a call, the connection's last; NULL without memory. */
struct resp_call *resp_call_create(struct resp_conn *conn, unsigned flags);
/* Its reply is complete. */
void resp_call_done(struct resp_call *call);
/* Writes to the reply of a call, in the version of its connection. */
struct resp_writer resp_call_writer(struct resp_call *call);

/* ---- resp_call.c ---- */

/* Cancels what is under way, and frees. The call is in no list any more. */
void resp_call_free(struct resp_call *call);
/* A command on keys: at once, or as part of the transaction that the connection collects. */
void resp_do_plan(struct resp_conn *conn, const struct resp_word *word);
void resp_do_exec(struct resp_conn *conn);
void resp_do_watch(struct resp_conn *conn);
/* Forgets the transaction that is collected, and what is watched. */
void resp_discard(struct resp_conn *conn);
/* Begins a query in the call's empty body: [1, kind, ...], count parts behind the kind. */
struct wire_packer resp_query_begin(struct resp_call *call, const char *kind, uint32_t count);
/* Begins a command in it: [1, log time, 0, 0, kind, ...], so many parts behind the kind. */
struct wire_packer resp_command_begin(struct resp_call *call, const char *kind, uint32_t parts);
/* Asks what the body says; on_answer gets what comes behind revision and clock. */
void resp_call_ask(struct resp_call *call, const struct wire_packer *body);
/* How a call's query or command ended. */
void resp_call_take(struct resp_call *call, const struct node_outcome *outcome);
/* The same for what stands behind revision and clock, of a command that happened. */
void resp_call_answer(struct resp_call *call, struct wire_unpacker *answer);
/* The call's reply is an error. */
void resp_call_fail(struct resp_call *call, const char *code, const char *text);

/* ---- resp_write.c ---- */

/* Proposes what the body says, behind the connection's writes before; on_answer as of
 * resp_call_ask. */
void resp_call_propose(struct resp_call *call, const struct wire_packer *body);
/* The same for a body that is three values without a head: compares and two branches of a KV_DO.
 * Many of these leave together. */
void resp_call_propose_part(struct resp_call *call, const struct wire_packer *body);
/* Proposes what waits, unless something is under way. Asked for whenever the connection has taken
 * what came. */
void resp_writes_go(struct resp_conn *conn);
/* Forgets what is under way. */
void resp_writes_cancel(struct resp_conn *conn);

/* ---- resp_eval.c ---- */

/* Each answers the command that was decoded last; SCRIPT in the reply that is given. */
void resp_do_eval(struct resp_conn *conn);
void resp_do_evalsha(struct resp_conn *conn);
void resp_script(struct resp_conn *conn, struct resp_writer *writer);
/* Forgets all scripts. */
void resp_scripts_clear(struct resp_server *server);

/* ---- resp_scan.c ---- */

/* Each answers the command that was decoded last; see that command in Redis' documentation. */
void resp_do_scan(struct resp_conn *conn);
void resp_do_keys(struct resp_conn *conn);
void resp_do_dbsize(struct resp_conn *conn);
void resp_do_flush(struct resp_conn *conn);

/* ---- resp_local.c ---- */

/* Answers at once, or hands over to one of the others here. */
void resp_do_local(struct resp_conn *conn, const struct resp_word *word);
/* An answer that is an error, at once. */
void resp_reply_error(struct resp_conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* An argument of the command that was decoded last. */
static inline struct peri_slice resp_arg(const struct resp_conn *conn, uint32_t at)
{
    return conn->server->command.args[at];
}
static inline uint32_t resp_arg_count(const struct resp_conn *conn)
{
    return conn->server->command.count;
}
/* Milliseconds of the wall clock. */
int64_t resp_wall_ms(const struct resp_conn *conn);
/* A status, at once. */
void resp_reply_status(struct resp_conn *conn, const char *text);

/* ---- resp_notify.c ---- */

/* Each answers the command that was decoded last. */
void resp_do_subscribe(struct resp_conn *conn, bool is_pattern);
void resp_do_unsubscribe(struct resp_conn *conn, bool is_pattern);
void resp_unsubscribe_all(struct resp_conn *conn);
void resp_notify_close(struct resp_server *server);

#endif
