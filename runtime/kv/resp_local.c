/* resp_local.c - commands that concern the connection or the server, and ask nobody. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/resp_parts.h"

/* ---- replies at once ---- */

/* Ends a reply that was written at once. */
static void finish(struct resp_call *call, const struct resp_writer *writer)
{
    if (writer->rc != 0)
        call->conn->is_ending = true;
    resp_call_done(call);
}

void resp_reply_error(struct resp_conn *conn, const char *format, ...)
{
    char text[RESP_ERROR_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct resp_call *call = resp_call_create(conn, 0);
    if (call == NULL)
        return;
    struct resp_writer writer = resp_call_writer(call);
    resp_error(&writer, "%s", text);
    finish(call, &writer);
}

void resp_reply_status(struct resp_conn *conn, const char *text)
{
    struct resp_call *call = resp_call_create(conn, 0);
    if (call == NULL)
        return;
    struct resp_writer writer = resp_call_writer(call);
    resp_status(&writer, text);
    finish(call, &writer);
}

/* ---- who is there ---- */

static void ping(struct resp_conn *conn, struct resp_writer *writer)
{
    bool has_text = resp_arg_count(conn) > 1;
    if (conn->version == 2 && conn->subscription_count > 0) {
        resp_array(writer, 2);
        resp_text(writer, "pong");
        resp_bulk(writer, has_text ? resp_arg(conn, 1) : peri_slice_of("", 0));
    } else if (has_text) {
        resp_bulk(writer, resp_arg(conn, 1));
    } else {
        resp_status(writer, "PONG");
    }
}

/* The password takes as long to refuse whatever its first letters are. */
static bool is_secret(const struct resp_server *server, struct peri_slice text)
{
    size_t size = strlen(server->secret);
    unsigned char differs = size != text.size || size == 0;
    for (size_t i = 0; i < size && i < text.size; i++)
        differs |= (unsigned char)(server->secret[i] ^ text.data[i]);
    return differs == 0;
}

/* AUTH [user] password: false when it is refused, and why was said. */
static bool authenticate(struct resp_conn *conn, struct peri_slice password,
                         struct resp_writer *writer)
{
    if (is_secret(conn->server, password)) {
        conn->is_trusted = true;
        return true;
    }
    if (*conn->server->secret == '\0')
        resp_error(writer, "ERR AUTH <password> called without any password configured: the server "
                           "was started without PERILUNE_SECRET");
    else
        resp_error(writer, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

static bool set_name(struct resp_conn *conn, struct peri_slice name, struct resp_writer *writer)
{
    bool is_well = name.size <= RESP_NAME_MAX;
    for (size_t i = 0; i < name.size && is_well; i++)
        is_well = name.data[i] > ' ' && name.data[i] <= '~';
    if (!is_well) {
        resp_error(writer,
                   "ERR Client names have at most %d characters, none of them spaces, "
                   "newlines or special",
                   RESP_NAME_MAX);
        return false;
    }
    memcpy(conn->name, name.data, name.size);
    conn->name[name.size] = '\0';
    return true;
}

static bool is_leader(const struct resp_server *server)
{
    struct node_status status;
    node_group_status(server->group, &status);
    return status.raft.role == RAFT_LEADER;
}

/* HELLO [version [AUTH user password] [SETNAME name]] */
static void hello(struct resp_conn *conn, struct resp_writer *writer)
{
    int64_t version = conn->version;
    if (resp_arg_count(conn) > 1 &&
        (!resp_read_integer(resp_arg(conn, 1), &version) || version < 2 || version > 3)) {
        resp_error(writer, "NOPROTO unsupported protocol version");
        return;
    }
    for (uint32_t at = 2; at < resp_arg_count(conn); at++) {
        if (resp_is_word(resp_arg(conn, at), "AUTH") && at + 2 < resp_arg_count(conn)) {
            if (!authenticate(conn, resp_arg(conn, at + 2), writer))
                return;
            at += 2;
        } else if (resp_is_word(resp_arg(conn, at), "SETNAME") && at + 1 < resp_arg_count(conn)) {
            if (!set_name(conn, resp_arg(conn, at + 1), writer))
                return;
            at++;
        } else {
            resp_error(writer, "ERR Syntax error in HELLO");
            return;
        }
    }
    if (!conn->is_trusted) {
        resp_error(writer, "NOAUTH HELLO must be called with the client already authenticated, "
                           "otherwise the HELLO <proto> AUTH <user> <pass> option can be used");
        return;
    }
    conn->version = writer->version = (int)version;
    resp_map(writer, 7);
    resp_text(writer, "server");
    resp_text(writer, "perilune");
    resp_text(writer, "version");
    resp_text(writer, "7.0.0"); /* of Redis, whose commands these are */
    resp_text(writer, "proto");
    resp_integer(writer, version);
    resp_text(writer, "id");
    resp_integer(writer, (int64_t)conn->id);
    resp_text(writer, "mode");
    resp_text(writer, "standalone");
    resp_text(writer, "role");
    resp_text(writer, "master"); /* every node takes writes */
    resp_text(writer, "modules");
    resp_array(writer, 0);
}

static void client(struct resp_conn *conn, struct resp_writer *writer)
{
    char line[RESP_NAME_MAX + 256];
    struct peri_slice what = resp_arg(conn, 1);
    if (resp_is_word(what, "ID")) {
        resp_integer(writer, (int64_t)conn->id);
    } else if (resp_is_word(what, "GETNAME")) {
        if (*conn->name != '\0')
            resp_text(writer, conn->name);
        else
            resp_nil(writer);
    } else if (resp_is_word(what, "SETNAME") && resp_arg_count(conn) == 3) {
        if (set_name(conn, resp_arg(conn, 2), writer))
            resp_status(writer, "OK");
    } else if (resp_is_word(what, "SETINFO") || resp_is_word(what, "NO-EVICT") ||
               resp_is_word(what, "NO-TOUCH")) {
        resp_status(writer, "OK");
    } else if (resp_is_word(what, "INFO") || resp_is_word(what, "LIST")) {
        (void)snprintf(line, sizeof line,
                       "id=%" PRIu64 " addr=%s name=%s db=0 sub=%zu multi=%d resp=%d\n", conn->id,
                       env_conn_peer(conn->conn), conn->name, conn->subscription_count,
                       conn->in_multi ? (int)conn->plan_count : -1, conn->version);
        resp_text(writer, line);
    } else {
        resp_error(writer, "ERR unknown CLIENT subcommand or wrong number of arguments");
    }
}

/* ---- the server ---- */

static void info(struct resp_conn *conn, struct resp_writer *writer)
{
    const struct resp_server *server = conn->server;
    char text[1024];
    struct node_status status;
    node_group_status(server->group, &status);
    bool leads = is_leader(server);
    (void)snprintf(
        text, sizeof text,
        "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n"
        "server_name:perilune\r\nuptime_in_seconds:%" PRIu64 "\r\n\r\n"
        "# Clients\r\nconnected_clients:%zu\r\nmaxclients:%d\r\n\r\n"
        "# Memory\r\nused_memory_peak_rss:%" PRIu64 "\r\n\r\n"
        "# Persistence\r\nloading:0\r\n\r\n"
        "# Stats\r\ntotal_commands_processed:%" PRIu64 "\r\nrejected_connections:%" PRIu64
        "\r\n\r\n# Replication\r\nrole:master\r\nraft_role:%s\r\nraft_node:%" PRIu64
        "\r\nraft_leader:%" PRIu64 "\r\nraft_term:%" PRIu64 "\r\nraft_members:%zu\r\n"
        "raft_applied:%" PRIu64 "\r\n",
        (env_now_us(server->env) - server->started_us) / 1000000, server->conn_count,
        RESP_CONNECTIONS_MAX, env_max_rss_bytes(server->env), server->commands, server->refused,
        leads ? "leader" : "follower", node_id(server->node), status.raft.leader, status.raft.term,
        (size_t)status.members.count, status.applied_index);
    resp_text(writer, text);
}

static void describe(const struct resp_word *word, struct resp_writer *writer)
{
    char name[32];
    size_t size = strlen(word->name);
    for (size_t i = 0; i < size; i++)
        name[i] = (char)(word->name[i] - 'A' + 'a');
    resp_array(writer, 6);
    resp_bulk(writer, peri_slice_of(name, size));
    resp_integer(writer, word->arity);
    resp_array(writer, 1);
    resp_status(writer, (word->flags & RESP_WRITES) != 0 ? "write" : "readonly");
    resp_integer(writer, word->first);
    resp_integer(writer, word->last);
    resp_integer(writer, word->step);
}

static void commands(struct resp_conn *conn, struct resp_writer *writer)
{
    size_t count;
    const struct resp_word *words = resp_words(&count);
    bool has_more = resp_arg_count(conn) > 1;
    if (has_more && resp_is_word(resp_arg(conn, 1), "COUNT")) {
        resp_integer(writer, (int64_t)count);
    } else if (has_more && resp_is_word(resp_arg(conn, 1), "DOCS")) {
        resp_map(writer, 0);
    } else if (has_more && resp_is_word(resp_arg(conn, 1), "INFO") && resp_arg_count(conn) > 2) {
        resp_array(writer, resp_arg_count(conn) - 2);
        for (uint32_t at = 2; at < resp_arg_count(conn); at++) {
            const struct resp_word *word = resp_word_find(resp_arg(conn, at));
            if (word != NULL)
                describe(word, writer);
            else
                resp_nil_array(writer);
        }
    } else {
        resp_array(writer, count);
        for (size_t i = 0; i < count; i++)
            describe(&words[i], writer);
    }
}

/* What programs ask before they begin. */
static void config(struct resp_conn *conn, struct resp_writer *writer)
{
    static const char *const known[][2] = {
        {"save", ""}, {"appendonly", "yes"}, {"appendfsync", "always"}, {"databases", "1"}};
    size_t found = 0;
    if (!resp_is_word(resp_arg(conn, 1), "GET") || resp_arg_count(conn) != 3) {
        resp_error(writer, "ERR only CONFIG GET is there: a node is configured when it is started");
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        found += resp_matches(resp_arg(conn, 2), peri_slice_of(known[i][0], strlen(known[i][0])));
    resp_map(writer, found);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (resp_matches(resp_arg(conn, 2), peri_slice_of(known[i][0], strlen(known[i][0])))) {
            resp_text(writer, known[i][0]);
            resp_text(writer, known[i][1]);
        }
}

static void tell_time(struct resp_conn *conn, struct resp_writer *writer)
{
    char text[24];
    int64_t wall_us = env_wall_us(conn->server->env);
    resp_array(writer, 2);
    (void)snprintf(text, sizeof text, "%" PRId64, wall_us / 1000000);
    resp_text(writer, text);
    (void)snprintf(text, sizeof text, "%" PRId64, wall_us % 1000000);
    resp_text(writer, text);
}

/* ---- transactions ---- */

static void multi(struct resp_conn *conn, struct resp_writer *writer)
{
    if (conn->in_multi) {
        resp_error(writer, "ERR MULTI calls can not be nested");
        return;
    }
    conn->in_multi = true;
    conn->is_multi_broken = false;
    resp_status(writer, "OK");
}

static void discard(struct resp_conn *conn, struct resp_writer *writer)
{
    if (!conn->in_multi) {
        resp_error(writer, "ERR DISCARD without MULTI");
        return;
    }
    resp_discard(conn);
    resp_status(writer, "OK");
}

static void unwatch(struct resp_conn *conn, struct resp_writer *writer)
{
    conn->watched.size = 0;
    conn->watched_count = 0;
    resp_status(writer, "OK");
}

static void reset(struct resp_conn *conn, struct resp_writer *writer)
{
    resp_discard(conn);
    resp_unsubscribe_all(conn);
    conn->version = writer->version = 2;
    conn->name[0] = '\0';
    resp_status(writer, "RESET");
}

/* ---- the rest ---- */

static void select_database(struct resp_conn *conn, struct resp_writer *writer)
{
    int64_t number = 0;
    if (resp_read_integer(resp_arg(conn, 1), &number) && number == 0)
        resp_status(writer, "OK");
    else
        resp_error(writer, "ERR DB index is out of range");
}

static void auth(struct resp_conn *conn, struct resp_writer *writer)
{
    if (resp_arg_count(conn) > 3)
        resp_error(writer, "ERR syntax error");
    else if (authenticate(conn, resp_arg(conn, resp_arg_count(conn) - 1), writer))
        resp_status(writer, "OK");
}

static void echo(struct resp_conn *conn, struct resp_writer *writer)
{
    resp_bulk(writer, resp_arg(conn, 1));
}

static void quit(struct resp_conn *conn, struct resp_writer *writer)
{
    resp_status(writer, "OK");
    conn->is_ending = true;
}

static const struct {
    const char *name;
    void (*answer)(struct resp_conn *conn, struct resp_writer *writer); /* at once */
    void (*act)(struct resp_conn *conn);                                /* or makes its own call */
} commands_here[] = {
    {"PING", ping, NULL},
    {"ECHO", echo, NULL},
    {"HELLO", hello, NULL},
    {"AUTH", auth, NULL},
    {"SELECT", select_database, NULL},
    {"CLIENT", client, NULL},
    {"COMMAND", commands, NULL},
    {"CONFIG", config, NULL},
    {"INFO", info, NULL},
    {"TIME", tell_time, NULL},
    {"RESET", reset, NULL},
    {"QUIT", quit, NULL},
    {"MULTI", multi, NULL},
    {"DISCARD", discard, NULL},
    {"UNWATCH", unwatch, NULL},
    {"SCRIPT", resp_script, NULL},
    {"EVAL", NULL, resp_do_eval},
    {"EVALSHA", NULL, resp_do_evalsha},
    {"EXEC", NULL, resp_do_exec},
    {"WATCH", NULL, resp_do_watch},
    {"SCAN", NULL, resp_do_scan},
    {"KEYS", NULL, resp_do_keys},
    {"DBSIZE", NULL, resp_do_dbsize},
    {"FLUSHALL", NULL, resp_do_flush},
    {"FLUSHDB", NULL, resp_do_flush},
};

/* Those that say how far a transaction has come, and QUIT; the others cannot be part of one. */
static bool is_for_multi(const struct resp_word *word)
{
    static const char *const names[] = {"EXEC", "DISCARD", "MULTI", "WATCH", "RESET", "QUIT"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(word->name, names[i]) == 0)
            return true;
    return false;
}

static void answer_at_once(struct resp_conn *conn,
                           void (*answer)(struct resp_conn *conn, struct resp_writer *writer))
{
    struct resp_call *call = resp_call_create(conn, 0);
    if (call == NULL)
        return;
    struct resp_writer writer = resp_call_writer(call);
    answer(conn, &writer);
    finish(call, &writer);
}

void resp_do_local(struct resp_conn *conn, const struct resp_word *word)
{
    if (conn->in_multi && !is_for_multi(word)) {
        conn->is_multi_broken = true;
        resp_reply_error(conn, "ERR %s cannot be part of a transaction", word->name);
        return;
    }
    if (strstr(word->name, "SUBSCRIBE") != NULL) {
        bool is_pattern = word->name[0] == 'P';
        if (word->name[is_pattern] == 'S')
            resp_do_subscribe(conn, is_pattern);
        else
            resp_do_unsubscribe(conn, is_pattern);
        return;
    }
    for (size_t i = 0; i < sizeof commands_here / sizeof commands_here[0]; i++)
        if (strcmp(word->name, commands_here[i].name) == 0) {
            if (commands_here[i].answer != NULL)
                answer_at_once(conn, commands_here[i].answer);
            else
                commands_here[i].act(conn);
            return;
        }
}
