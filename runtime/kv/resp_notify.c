/* resp_notify.c - subscriptions to changes, as Redis' keyspace notifications have them.
 *
 *      SUBSCRIBE __keyspace@0__:a          "set" or "del" whenever a changes
 *      PSUBSCRIBE __keyevent@0__:*         the key, on the channel of "set" or "del"
 *
 * Changes are read from the history of the store, revision by revision, on the node that the client
 * is connected to: none is left out as long as the connection stands. When history was compacted
 * before they could be read, the connections end. Other channels can be subscribed to, and stay
 * silent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kv/command.h"
#include "kv/resp_parts.h"

static const char KEYSPACE[] = "__keyspace@0__:", KEYEVENT[] = "__keyevent@0__:";
static const char SET[] = "set", DEL[] = "del";

/* ---- telling ---- */

static bool is_wanted(const struct resp_subscription *wanted, struct peri_slice channel)
{
    struct peri_slice text = {wanted->text, wanted->size};
    return wanted->is_pattern ? resp_matches(text, channel)
                              : peri_slice_compare(text, channel) == 0;
}

static void tell(struct resp_conn *conn, struct peri_slice channel, struct peri_slice message)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    struct resp_writer writer = {&bytes, conn->version, 0};
    for (struct peri_list *at = conn->subscriptions.next; at != &conn->subscriptions;
         at = at->next) {
        const struct resp_subscription *wanted = container_of(at, struct resp_subscription, link);
        if (!is_wanted(wanted, channel))
            continue;
        resp_push(&writer, wanted->is_pattern ? 4 : 3);
        resp_text(&writer, wanted->is_pattern ? "pmessage" : "message");
        if (wanted->is_pattern)
            resp_bulk(&writer, peri_slice_of(wanted->text, wanted->size));
        resp_bulk(&writer, channel);
        resp_bulk(&writer, message);
    }
    if (writer.rc != 0)
        conn->is_ending = true;
    else if (!conn->is_ending)
        resp_conn_send(conn, peri_buffer_slice(&bytes));
    peri_buffer_deinit(&bytes);
}

static void tell_all(struct resp_server *server, struct peri_slice channel,
                     struct peri_slice message)
{
    for (struct peri_list *at = server->conns.next; at != &server->conns; at = at->next) {
        struct resp_conn *conn = container_of(at, struct resp_conn, link);
        if (conn->subscription_count > 0)
            tell(conn, channel, message);
    }
}

static void tell_change(struct resp_server *server, struct peri_slice key, bool is_delete)
{
    char text[sizeof KEYSPACE + KV_KEY_MAX];
    struct peri_slice what = {is_delete ? DEL : SET, 3};
    memcpy(text, KEYSPACE, sizeof KEYSPACE - 1);
    memcpy(text + sizeof KEYSPACE - 1, key.data, key.size);
    tell_all(server, peri_slice_of(text, sizeof KEYSPACE - 1 + key.size), what);
    memcpy(text, KEYEVENT, sizeof KEYEVENT - 1);
    memcpy(text + sizeof KEYEVENT - 1, what.data, what.size);
    tell_all(server, peri_slice_of(text, sizeof KEYEVENT - 1 + what.size), key);
}

/* ---- asking ---- */

static void end_subscribers(struct resp_server *server)
{
    for (struct peri_list *at = server->conns.next; at != &server->conns; at = at->next) {
        struct resp_conn *conn = container_of(at, struct resp_conn, link);
        if (conn->subscription_count == 0)
            continue;
        conn->is_ending = true;
        resp_conn_wake(conn);
    }
}

static void ask(struct resp_server *server);

static bool take_events(struct resp_server *server, struct wire_unpacker *in)
{
    enum { NUMBERS = 4 };
    struct resp_notify *notify = &server->notify;
    uint32_t count = wire_unpack_array(in);
    for (uint32_t i = 0; i < count && in->rc == 0; i++) {
        (void)wire_unpack_array(in);
        (void)wire_unpack_uint(in);
        bool is_delete = wire_unpack_bool(in);
        struct peri_slice key = wire_unpack_bytes(in);
        (void)wire_unpack_bytes(in);
        for (int n = 0; n < NUMBERS; n++)
            (void)wire_unpack_uint(in);
        if (in->rc == 0)
            tell_change(server, key, is_delete);
    }
    uint64_t revision = wire_unpack_uint(in), number = wire_unpack_uint(in);
    bool has_moved = revision != notify->revision || number != notify->number;
    notify->revision = revision;
    notify->number = number;
    return has_moved;
}

static void on_events(struct node_request *request, const struct node_outcome *outcome)
{
    struct resp_server *server = container_of(request, struct resp_server, notify.request);
    struct resp_notify *notify = &server->notify;
    notify->is_asking = false;
    if (notify->subscriptions == 0)
        return;
    if (outcome->code != 0) {
        if (outcome->code != PERI_EBUSY)
            end_subscribers(server);
        return;
    }
    struct wire_unpacker in = wire_unpack(outcome->result);
    (void)wire_unpack_array(&in);
    uint64_t last = wire_unpack_uint(&in);
    (void)wire_unpack_uint(&in);
    bool has_moved = take_events(server, &in);
    if (notify->is_late || (has_moved && notify->revision <= last))
        ask(server);
}

static void ask(struct resp_server *server)
{
    struct resp_notify *notify = &server->notify;
    struct wire_packer out = {&notify->body, 0};
    notify->is_late = notify->is_asking;
    if (notify->is_asking)
        return;
    notify->body.size = 0;
    wire_pack_array(&out, 7);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    wire_pack_bytes(&out, peri_slice_of("events", 6));
    wire_pack_bytes(&out, peri_slice_of("", 0));
    wire_pack_bytes(&out, peri_slice_of("", 0));
    wire_pack_uint(&out, KV_EVENTS_MAX);
    wire_pack_uint(&out, notify->revision);
    wire_pack_uint(&out, notify->number);
    notify->request = (struct node_request){.kind = NODE_READ,
                                            .consistency = NODE_STALE,
                                            .body = peri_buffer_slice(&notify->body),
                                            .due_us = env_now_us(server->env) + RESP_DEADLINE_US,
                                            .on_done = on_events};
    notify->is_asking =
        out.rc == 0 && node_request_start(server->group, &notify->request, NULL) == 0;
    if (!notify->is_asking)
        end_subscribers(server);
}

void resp_server_applied(struct resp_server *server)
{
    server->applied_us = env_now_us(server->env);
    if (server->notify.subscriptions > 0)
        ask(server);
}

void resp_notify_close(struct resp_server *server)
{
    node_request_cancel(&server->notify.request);
    peri_buffer_deinit(&server->notify.body);
}

/* ---- subscribing ---- */

static struct resp_subscription *find(const struct resp_conn *conn, bool is_pattern,
                                      struct peri_slice text)
{
    for (struct peri_list *at = conn->subscriptions.next; at != &conn->subscriptions;
         at = at->next) {
        struct resp_subscription *one = container_of(at, struct resp_subscription, link);
        if (one->is_pattern == is_pattern && one->size == text.size &&
            memcmp(one->text, text.data, text.size) == 0)
            return one;
    }
    return NULL;
}

static void remove_one(struct resp_conn *conn, struct resp_subscription *one)
{
    peri_list_remove(&one->link);
    free(one);
    conn->subscription_count--;
    conn->server->notify.subscriptions--;
}

static bool add(struct resp_conn *conn, bool is_pattern, struct peri_slice text)
{
    if (find(conn, is_pattern, text) != NULL)
        return true;
    if (conn->subscription_count == RESP_SUBSCRIPTIONS_MAX || text.size > 2 * KV_KEY_MAX)
        return false;
    struct resp_subscription *one = calloc(1, sizeof *one + text.size);
    if (one == NULL)
        return false;
    one->is_pattern = is_pattern;
    one->size = text.size;
    memcpy(one->text, text.data, text.size);
    peri_list_init(&one->link);
    peri_list_append(&conn->subscriptions, &one->link);
    conn->subscription_count++;
    conn->server->notify.subscriptions++;
    return true;
}

static void confirm(const struct resp_conn *conn, struct resp_writer *writer, const char *what,
                    struct peri_slice text)
{
    resp_push(writer, 3);
    resp_text(writer, what);
    if (text.data != NULL)
        resp_bulk(writer, text);
    else
        resp_nil(writer);
    resp_integer(writer, (int64_t)conn->subscription_count);
}

/* The store's revision is known: changes after it are told. */
static void on_revision(struct resp_call *call, struct wire_unpacker *answer)
{
    struct resp_conn *conn = call->conn;
    struct resp_notify *notify = &conn->server->notify;
    struct resp_writer writer = resp_call_writer(call);
    struct wire_unpacker names = wire_unpack(peri_buffer_slice(&call->text));
    (void)answer;
    if (notify->subscriptions == 0) {
        notify->revision = call->revision + 1;
        notify->number = 0;
    }
    while (names.at < names.end) {
        struct peri_slice name = wire_unpack_bytes(&names);
        if (add(conn, call->takes_none, name))
            confirm(conn, &writer, call->takes_none ? "psubscribe" : "subscribe", name);
        else
            resp_error(&writer,
                       "ERR a connection has at most %d subscriptions, of at most %d bytes",
                       RESP_SUBSCRIPTIONS_MAX, 2 * KV_KEY_MAX);
    }
    if (writer.rc != 0)
        conn->is_ending = true;
    resp_call_done(call);
}

void resp_do_subscribe(struct resp_conn *conn, bool is_pattern)
{
    const struct resp_command *command = &conn->server->command;
    struct resp_call *call = resp_call_create(conn, RESP_ALONE);
    if (call == NULL)
        return;
    struct wire_packer names = {&call->text, 0};
    for (uint32_t at = 1; at < command->count; at++)
        wire_pack_bytes(&names, command->args[at]);
    call->takes_none = is_pattern;
    call->on_answer = on_revision;
    struct wire_packer body = resp_query_begin(call, "status", 0);
    body.rc = body.rc != 0 ? body.rc : names.rc;
    resp_call_ask(call, &body);
}

void resp_do_unsubscribe(struct resp_conn *conn, bool is_pattern)
{
    const char *what = is_pattern ? "punsubscribe" : "unsubscribe";
    const struct resp_command *command = &conn->server->command;
    struct resp_call *call = resp_call_create(conn, 0);
    if (call == NULL)
        return;
    struct resp_writer writer = resp_call_writer(call);
    bool was_any = command->count > 1;
    for (uint32_t at = 1; at < command->count; at++) {
        struct resp_subscription *one = find(conn, is_pattern, command->args[at]);
        if (one != NULL)
            remove_one(conn, one);
        confirm(conn, &writer, what, command->args[at]);
    }
    struct peri_list *at = conn->subscriptions.next;
    while (command->count == 1 && at != &conn->subscriptions) {
        struct resp_subscription *one = container_of(at, struct resp_subscription, link);
        at = at->next;
        if (one->is_pattern != is_pattern)
            continue;
        peri_list_remove(&one->link);
        conn->subscription_count--;
        conn->server->notify.subscriptions--;
        confirm(conn, &writer, what, peri_slice_of(one->text, one->size));
        free(one);
        was_any = true;
    }
    if (!was_any)
        confirm(conn, &writer, what, peri_slice_of(NULL, 0));
    if (writer.rc != 0)
        conn->is_ending = true;
    resp_call_done(call);
}

void resp_unsubscribe_all(struct resp_conn *conn)
{
    while (!peri_list_is_empty(&conn->subscriptions))
        remove_one(conn, container_of(conn->subscriptions.next, struct resp_subscription, link));
}
