#include "kv/resp_server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "kv/resp_parts.h"

/* ---- calls of a connection ---- */

static void count_call(struct resp_conn *conn, unsigned flags, int more)
{
    conn->call_count += (unsigned)more;
    conn->reads += (unsigned)((flags & RESP_READS) != 0 ? more : 0);
    conn->writes += (unsigned)((flags & RESP_WRITES) != 0 ? more : 0);
    conn->alone += (unsigned)((flags & RESP_ALONE) != 0 ? more : 0);
}

struct resp_call *resp_call_create(struct resp_conn *conn, unsigned flags)
{
    struct resp_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        conn->is_ending = true; /* a reply would be missing: all that follow would be wrong */
        resp_conn_wake(conn);
        return NULL;
    }
    call->conn = conn;
    call->flags = flags;
    peri_list_init(&call->link);
    peri_list_init(&call->queued);
    peri_list_append(&conn->calls, &call->link);
    count_call(conn, flags, 1);
    return call;
}

void resp_call_done(struct resp_call *call)
{
    PERI_ASSERT(!call->is_done);
    call->is_done = true;
    count_call(call->conn, call->flags, -1);
    call->conn->call_count++; /* until its reply has left */
    resp_conn_wake(call->conn);
}

struct resp_writer resp_call_writer(struct resp_call *call)
{
    return (struct resp_writer){&call->reply, call->conn->version, 0};
}

static struct resp_call *first_call(const struct resp_conn *conn)
{
    return peri_list_is_empty(&conn->calls)
               ? NULL
               : container_of(conn->calls.next, struct resp_call, link);
}

static void drop_call(struct resp_call *call)
{
    struct resp_conn *conn = call->conn;
    if (!call->is_done)
        count_call(conn, call->flags, -1);
    else
        conn->call_count--;
    peri_list_remove(&call->link);
    resp_call_free(call);
}

/* ---- connections ---- */

void resp_conn_wake(struct resp_conn *conn)
{
    struct resp_server *server = conn->server;
    if (!peri_list_is_empty(&conn->dirty))
        return;
    if (peri_list_is_empty(&server->dirty))
        env_turn_start(server->turn);
    peri_list_append(&server->dirty, &conn->dirty);
}

static void close_conn(struct resp_conn *conn)
{
    resp_unsubscribe_all(conn);
    resp_writes_cancel(conn);
    while (!peri_list_is_empty(&conn->calls))
        drop_call(first_call(conn));
    resp_discard(conn);
    env_conn_close(conn->conn);
    peri_list_remove(&conn->dirty);
    peri_list_remove(&conn->link);
    conn->server->conn_count--;
    conn->server->in_bytes -= conn->in.size;
    peri_buffer_deinit(&conn->in);
    peri_buffer_deinit(&conn->proposed);
    peri_buffer_deinit(&conn->multi);
    peri_buffer_deinit(&conn->watched);
    free(conn->plans);
    free(conn);
}

void resp_conn_send(struct resp_conn *conn, struct peri_slice bytes)
{
    int rc = bytes.size == 0 || conn->is_broken ? 0 : env_conn_send(conn->conn, &bytes, 1);
    if (rc == 0)
        return;
    if (rc == PERI_EBUSY)
        env_log(conn->server->env, ENV_LOG_WARN, "resp",
                "client %" PRIu64
                " at %s is disconnected: it does not read, and %zu bytes wait for it",
                conn->id, env_conn_peer(conn->conn), env_conn_queued_bytes(conn->conn));
    conn->is_ending = conn->is_broken = true;
    resp_conn_wake(conn);
}

/* How many replies may gather depends on how large they are. */
static void learn_size(struct resp_conn *conn, size_t size)
{
    enum { LARGE = 64 << 10 };
    if (size > LARGE)
        conn->calls_max = RESP_CALLS_LARGE;
    else if (conn->calls_max < RESP_CALLS_MAX)
        conn->calls_max++;
}

static bool is_behind(const struct resp_conn *conn)
{
    return env_conn_queued_bytes(conn->conn) > ENV_CONN_QUEUE_MARK;
}

/* Replies leave in the order of their commands, as fast as the client reads. */
static void send_replies(struct resp_conn *conn)
{
    struct resp_call *call;
    while ((call = first_call(conn)) != NULL && call->is_done && !is_behind(conn)) {
        resp_conn_send(conn, peri_buffer_slice(&call->reply));
        learn_size(conn, call->reply.size);
        drop_call(call);
    }
}

/* ---- commands ---- */

/* Ends the connection with an error; what is queued still leaves. */
static void end_with(struct resp_conn *conn, const char *what)
{
    resp_reply_error(conn, "ERR Protocol error: %s", what);
    conn->is_ending = true;
}

/* True when the command may be done beside those under way. */
static bool may_start(const struct resp_conn *conn, unsigned flags)
{
    if (conn->alone > 0 || ((flags & RESP_ALONE) != 0 && conn->call_count > 0))
        return false;
    return !((flags & RESP_READS) != 0 && conn->writes > 0) &&
           !((flags & RESP_WRITES) != 0 && conn->reads > 0);
}

static void dispatch(struct resp_conn *conn, const struct resp_word *word)
{
    const struct resp_command *command = &conn->server->command;
    conn->server->commands++;
    if (word == NULL) {
        conn->is_multi_broken = true;
        resp_reply_error(conn, "ERR unknown command '%.*s'",
                         (int)(command->args[0].size < 128 ? command->args[0].size : 128),
                         command->args[0].data);
    } else if (!resp_word_takes(word, command->count)) {
        conn->is_multi_broken = true;
        resp_reply_error(conn, "ERR wrong number of arguments for '%.*s' command",
                         (int)command->args[0].size, command->args[0].data);
    } else if (!conn->is_trusted && !resp_is_word(command->args[0], "AUTH") &&
               !resp_is_word(command->args[0], "HELLO") &&
               !resp_is_word(command->args[0], "QUIT")) {
        resp_reply_error(conn, "NOAUTH Authentication required.");
    } else if (word->plan != NULL) {
        resp_do_plan(conn, word);
    } else {
        resp_do_local(conn, word);
    }
}

/* Takes the command at the front of bytes: its size; 0 when it has to wait, or is not all there. */
static size_t take_command(struct resp_conn *conn, struct peri_slice bytes)
{
    struct resp_command *command = &conn->server->command;
    struct peri_error err = PERI_ERROR_INIT;
    size_t size = 0;
    int rc = resp_decode(bytes, command, &size, &err);
    if (rc < 0)
        end_with(conn, err.text);
    if (rc <= 0)
        return 0;
    if (command->count == 0)
        return size;
    const struct resp_word *word = resp_word_find(command->args[0]);
    unsigned flags = word == NULL || conn->in_multi ? 0 : word->flags;
    if (word != NULL && conn->in_multi && resp_is_word(command->args[0], "EXEC"))
        flags = word->flags;
    if (!may_start(conn, flags)) {
        conn->is_paused = true;
        return 0;
    }
    dispatch(conn, word);
    return size;
}

/* True when enough is under way, or waits for the client to read. */
static bool has_enough(const struct resp_conn *conn)
{
    return conn->call_count >= conn->calls_max || is_behind(conn);
}

/* Does what has come, as far as that may be; returns how many bytes it took. */
static size_t take_commands(struct resp_conn *conn, struct peri_slice bytes)
{
    size_t used = 0;
    while (!conn->is_ending && used < bytes.size) {
        conn->is_paused = has_enough(conn);
        size_t size = conn->is_paused
                          ? 0
                          : take_command(conn, peri_slice_of(bytes.data + used, bytes.size - used));
        if (size == 0)
            return used;
        used += size;
    }
    conn->is_paused = has_enough(conn);
    return used;
}

static void keep_rest(struct resp_conn *conn, size_t used)
{
    enum { KEPT = 64 << 10 };
    used = used < conn->in.size ? used : conn->in.size; /* it was emptied meanwhile */
    conn->in.size -= used;
    conn->server->in_bytes -= used;
    if (conn->in.size > 0)
        memmove(conn->in.data, conn->in.data + used, conn->in.size);
    else if (conn->in.capacity > KEPT)
        peri_buffer_deinit(&conn->in);
}

/* Goes on: with what has come before, then with what the peer sends. */
static void advance(struct resp_conn *conn)
{
    bool was_paused = conn->is_paused;
    send_replies(conn);
    if (conn->in.size > 0 && !conn->is_ending)
        keep_rest(conn, take_commands(conn, peri_buffer_slice(&conn->in)));
    else
        conn->is_paused = has_enough(conn);
    resp_writes_go(conn);
    send_replies(conn);
    if (was_paused && !conn->is_paused)
        env_conn_resume(conn->conn);
    else if (conn->is_paused)
        env_conn_pause(conn->conn);
}

static void on_turn(void *data)
{
    struct resp_server *server = data;
    struct peri_list *last = server->dirty.prev;
    env_turn_stop(server->turn);
    for (bool is_last = peri_list_is_empty(&server->dirty); !is_last;) {
        struct resp_conn *conn = container_of(server->dirty.next, struct resp_conn, dirty);
        is_last = &conn->dirty == last;
        peri_list_remove(&conn->dirty);
        advance(conn);
        if (conn->is_broken || (conn->is_ending && peri_list_is_empty(&conn->calls)))
            close_conn(conn);
    }
    if (!peri_list_is_empty(&server->dirty))
        env_turn_start(server->turn);
}

/* Keeps bytes until they can be taken. */
static void keep(struct resp_conn *conn, struct peri_slice bytes)
{
    struct resp_server *server = conn->server;
    if (bytes.size == 0)
        return;
    if (server->in_bytes + bytes.size > RESP_IN_MAX ||
        peri_buffer_append(&conn->in, bytes.data, bytes.size) != 0)
        end_with(conn, "there is no room for unfinished commands");
    else
        server->in_bytes += bytes.size;
}

static void on_message(void *data, struct peri_slice bytes)
{
    struct resp_conn *conn = data;
    if (conn->is_ending)
        return;
    if (conn->in.size == 0 && !conn->is_paused) {
        size_t used = take_commands(conn, bytes);
        resp_writes_go(conn);
        bytes = peri_slice_of(bytes.data + used, bytes.size - used);
    }
    if (!conn->is_ending)
        keep(conn, bytes);
    resp_conn_wake(conn);
}

static void on_writable(void *data)
{
    resp_conn_wake(data);
}

static void on_close(void *data, int status)
{
    (void)status;
    close_conn(data);
}

static const struct env_conn_events events = {
    .on_message = on_message, .on_writable = on_writable, .on_close = on_close};

/* ---- the server ---- */

static void refuse_conn(struct resp_server *server, struct env_conn *env_conn)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    struct peri_slice bytes = {text, sizeof text - 1};
    server->refused++;
    env_conn_accept_bytes(env_conn, &events, NULL);
    (void)env_conn_send(env_conn, &bytes, 1);
    env_conn_close(env_conn);
}

static void on_connection(void *data, struct env_conn *env_conn)
{
    struct resp_server *server = data;
    struct resp_conn *conn =
        server->conn_count < RESP_CONNECTIONS_MAX ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL) {
        refuse_conn(server, env_conn);
        return;
    }
    conn->server = server;
    conn->conn = env_conn;
    conn->version = 2;
    conn->calls_max = RESP_CALLS_LARGE;
    conn->id = ++server->last_client;
    conn->is_trusted = env_conn_is_local(env_conn);
    peri_list_init(&conn->link);
    peri_list_init(&conn->dirty);
    peri_list_init(&conn->calls);
    peri_list_init(&conn->waiting);
    peri_list_init(&conn->batched);
    peri_list_init(&conn->subscriptions);
    peri_list_append(&server->conns, &conn->link);
    server->conn_count++;
    env_conn_accept_bytes(env_conn, &events, conn);
    env_conn_set_idle_limit(env_conn, 0);
}

int resp_server_open(struct resp_server **out, const struct resp_options *options,
                     struct peri_error *err)
{
    struct resp_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return peri_fail(err, PERI_ENOMEM, "no memory for the RESP server");
    server->env = node_env(options->node);
    server->node = options->node;
    server->group = options->group;
    server->group_id = options->group_id;
    server->started_us = server->applied_us = env_now_us(server->env);
    peri_list_init(&server->conns);
    peri_list_init(&server->dirty);
    peri_list_init(&server->scripts);
    server->secret = strdup(options->secret);
    int rc = server->secret == NULL ? PERI_ENOMEM : 0;
    if (rc == 0)
        rc = env_turn_create(server->env, on_turn, server, &server->turn);
    if (rc == 0)
        rc = kv_forwarder_create(&server->forwarder, options->node, options->group_id,
                                 options->group);
    if (rc != 0)
        (void)peri_fail(err, rc, "no memory for the RESP server");
    if (rc == 0)
        rc = env_listener_open(server->env, options->listen, on_connection, server,
                               &server->listener, err);
    if (rc != 0) {
        resp_server_close(server);
        return rc;
    }
    *out = server;
    return 0;
}

void resp_server_close(struct resp_server *server)
{
    if (server == NULL)
        return;
    env_listener_close(server->listener);
    while (!peri_list_is_empty(&server->conns))
        close_conn(container_of(server->conns.next, struct resp_conn, link));
    resp_notify_close(server);
    resp_scripts_clear(server);
    kv_forwarder_close(server->forwarder);
    env_turn_close(server->turn);
    free(server->secret);
    free(server);
}

const char *resp_server_address(const struct resp_server *server)
{
    return env_listener_address(server->listener);
}
