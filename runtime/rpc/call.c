/* call.c - the calls of a server: each comes once, runs, and ends once. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log_limit.h"
#include "rpc/server_state.h"

enum { US_PER_MS = 1000, STREAM_PATIENCE_PINGS = 4, NAME_SHOWN_MAX = 100 };

static struct peri_slice text_of(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

/* ---- finding ---- */

static struct peri_list *bucket_of(struct rpc_guest *guest, uint64_t id)
{
    return &guest->calls[id % RPC_CALL_BUCKETS];
}

static struct rpc_call *call_of(struct peri_list *link)
{
    return container_of(link, struct rpc_call, link);
}

static struct rpc_call *find(struct rpc_guest *guest, uint64_t id)
{
    struct peri_list *bucket = bucket_of(guest, id);
    for (struct peri_list *link = bucket->next; link != bucket; link = link->next)
        if (call_of(link)->id == id)
            return call_of(link);
    return NULL;
}

static struct rpc_function *find_function(const struct rpc_server *server, struct peri_slice name)
{
    size_t low = 0;
    size_t high = server->function_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct rpc_function *function = server->functions[middle];
        int order = peri_slice_compare(name, peri_slice_of(function->name, function->name_size));
        if (order == 0)
            return function;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- the end of a call ---- */

static void trace(const struct rpc_call *call, struct peri_slice outcome)
{
    static const char *const kinds[] = {"call", "cast", "stream"};
    struct rpc_server *server = call->guest->server;
    char who[RPC_PEER_TEXT_SIZE];
    rpc_call_peer(call, who);
    struct rpc_trace_call line = {
        .is_ours = false,
        .kind = kinds[call->kind],
        .peer = who,
        .name = call->name,
        .request_bytes = call->size,
        .answer_bytes = call->answer_size,
        .duration_us = env_now_us(server->env) - call->started_us,
        .outcome = outcome,
    };
    server->self->tracer->on_call(server->self->tracer, &line);
}

/* Calls of such a handler never outlive on_call: they are in no list. */
static bool is_brief(const struct rpc_handler *handler)
{
    return handler->on_cancel == NULL;
}

static void release(struct rpc_call *call, struct peri_slice outcome)
{
    struct rpc_guest *guest = call->guest;
    struct rpc_server *server = guest->server;
    if (rpc_trace_is_on(server->self->tracer))
        trace(call, outcome);
    if (outcome.size > 0)
        server->stats.failed++;
    server->stats.bytes += call->size + call->answer_size;
    server->stats.in_flight--;
    guest->in_flight--;
    if (is_brief(call->handler)) {
        call->guest = NULL; /* start_brief sees it */
        return;
    }
    peri_list_remove(&call->link);
    peri_list_append(&server->free_calls, &call->link);
}

static int send_error(struct rpc_guest *guest, uint64_t id, const struct rpc_failure *failure)
{
    struct wire_message message = {.kind = WIRE_ERROR, .id = id};
    message.error.code = failure->code;
    message.error.message = failure->message;
    message.error.retryable = failure->is_retryable;
    message.error.traceback = failure->traceback;
    return rpc_conn_send(&guest->conn, &message);
}

static struct rpc_failure failure_of(const struct peri_error *err)
{
    return (struct rpc_failure){.code = text_of(peri_error_name(err->code)),
                                .message = text_of(err->text),
                                .is_retryable = peri_error_is_retryable(err->code)};
}

/* An answer that cannot be sent, not even as an error: the caller waits until its deadline. */
static void log_lost(const struct rpc_call *call, int rc)
{
    struct rpc_server *server = call->guest->server;
    char who[RPC_PEER_TEXT_SIZE];
    rpc_call_peer(call, who);
    env_log_limited(server->env, &server->log_limit, call->name, rc, ENV_LOG_WARN, "rpc",
                    "the answer of %.*s to %s is lost: %s",
                    (int)(call->name.size < NAME_SHOWN_MAX ? call->name.size : NAME_SHOWN_MAX),
                    call->name.data, who, peri_strerror(rc));
}

/* The beginning of a text, and no half of a character. */
static struct peri_slice cut(struct peri_slice text, size_t size_max)
{
    if (text.size <= size_max)
        return text;
    while (size_max > 0 && ((unsigned char)text.data[size_max] & 0xc0) == 0x80)
        size_max--;
    return peri_slice_of(text.data, size_max);
}

/* A failure that any caller can take: a message that is too long would be lost. */
static struct rpc_failure cut_failure(const struct rpc_call *call,
                                      const struct rpc_failure *failure)
{
    size_t size_max = rpc_call_body_max(call) / 4;
    size_max = size_max < RPC_FAILURE_TEXT_MAX ? size_max : RPC_FAILURE_TEXT_MAX;
    return (struct rpc_failure){.code = cut(failure->code, size_max),
                                .message = cut(failure->message, size_max),
                                .is_retryable = failure->is_retryable,
                                .traceback = cut(failure->traceback, size_max)};
}

void rpc_call_fail(struct rpc_call *call, const struct rpc_failure *failure)
{
    struct rpc_failure sent = cut_failure(call, failure);
    int rc = call->kind == RPC_CAST ? 0 : send_error(call->guest, call->id, &sent);
    if (rc != 0 && call->guest->conn.is_ready)
        log_lost(call, rc);
    release(call, failure->code);
}

void rpc_call_fail_code(struct rpc_call *call, const struct peri_error *err)
{
    struct rpc_failure failure = failure_of(err);
    rpc_call_fail(call, &failure);
}

static void fail_send(struct rpc_call *call, int rc, size_t size)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (rc == PERI_ETOOBIG)
        (void)peri_fail_plain(&err, rc, "the answer has %zu bytes, and the caller takes %zu", size,
                              rpc_call_body_max(call));
    else /* not PERI_EBUSY, which says that a call has not run */
        (void)peri_fail_plain(&err, PERI_ENOMEM, "no room for the answer: %s", peri_strerror(rc));
    rpc_call_fail_code(call, &err);
}

void rpc_call_reply(struct rpc_call *call, struct peri_slice values)
{
    if (call->kind == RPC_STREAM) {
        rpc_call_end(call);
        return;
    }
    if (call->kind == RPC_PLAIN) {
        struct wire_message message;
        wire_message_start(&message, WIRE_REPLY, call->id);
        message.reply.values = values;
        int rc = rpc_conn_send(&call->guest->conn, &message);
        if (rc != 0) {
            fail_send(call, rc, values.size);
            return;
        }
        call->answer_size = call->guest->conn.sent_size;
    }
    release(call, text_of(""));
}

/* The caller waits for nothing any more, or learns it now. */
static void cancel(struct rpc_call *call, const struct peri_error *why, bool is_told)
{
    struct rpc_failure failure = failure_of(why);
    PERI_ASSERT(call->handler->on_cancel != NULL);
    call->handler->on_cancel(call, why->code, why->text);
    if (is_told) {
        rpc_call_fail(call, &failure);
        return;
    }
    rpc_conn_forget(&call->guest->conn, call->id);
    release(call, failure.code);
}

void rpc_calls_cancel(struct rpc_guest *guest, const struct peri_error *why)
{
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        while (!peri_list_is_empty(&guest->calls[i]))
            cancel(call_of(guest->calls[i].next), why, guest->conn.is_ready);
}

uint64_t rpc_calls_expire(struct rpc_guest *guest, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (size_t i = 0; i < RPC_CALL_BUCKETS && guest->in_flight > 0; i++) {
        struct peri_list *link = guest->calls[i].next;
        while (link != &guest->calls[i]) {
            struct rpc_call *call = call_of(link);
            link = link->next;
            if (call->due_us > now_us) {
                next_us = call->due_us < next_us ? call->due_us : next_us;
                continue;
            }
            struct peri_error why = PERI_ERROR_INIT;
            (void)peri_fail_plain(&why, PERI_EDEADLINE, "%s after %.3g s",
                                  call->kind == RPC_STREAM ? "its caller has gone silent"
                                                           : "it was not done in time",
                                  (double)(now_us - call->started_us) / 1e6);
            cancel(call, &why, true);
        }
    }
    return next_us;
}

/* ---- streams ---- */

int rpc_call_item(struct rpc_call *call, struct peri_slice values)
{
    PERI_ASSERT(call->kind == RPC_STREAM);
    if (call->items == call->granted || call->guest->conn.out.bytes > 0)
        return PERI_EBUSY;
    struct wire_message message;
    wire_message_start(&message, WIRE_ITEM, call->id);
    message.item.number = call->items;
    message.item.values = values;
    int rc = rpc_conn_send(&call->guest->conn, &message);
    if (rc != 0)
        return rc == PERI_EBUSY ? PERI_ENOMEM : rc; /* waiting for credit would not help */
    call->items++;
    call->answer_size += call->guest->conn.sent_size;
    return 0;
}

void rpc_call_end(struct rpc_call *call)
{
    struct wire_message message = {.kind = WIRE_END, .id = call->id};
    message.end.items = call->items;
    int rc = rpc_conn_send(&call->guest->conn, &message);
    if (rc != 0)
        fail_send(call, rc, 0);
    else
        release(call, text_of(""));
}

void rpc_calls_have_room(struct rpc_guest *guest)
{
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        for (struct peri_list *link = guest->calls[i].next; link != &guest->calls[i];
             link = link->next)
            if (call_of(link)->kind == RPC_STREAM && call_of(link)->handler->on_credit != NULL)
                call_of(link)->handler->on_credit(call_of(link));
}

/* A caller that is still there says so with CREDIT, also when that grants nothing new. */
static uint64_t stream_due_us(const struct rpc_guest *guest, uint64_t now_us)
{
    return now_us + STREAM_PATIENCE_PINGS * guest->conn.ping_us;
}

static void take_credit(struct rpc_guest *guest, const struct wire_message *message)
{
    struct rpc_call *call = find(guest, message->id);
    if (call == NULL || call->kind != RPC_STREAM)
        return;
    call->due_us = stream_due_us(guest, guest->conn.heard_us);
    if (message->credit.items <= call->granted)
        return;
    call->granted = message->credit.items;
    if (call->handler->on_credit != NULL)
        call->handler->on_credit(call);
}

/* ---- the start of a call ---- */

static void refuse(struct rpc_guest *guest, const struct wire_message *message,
                   const struct peri_error *why)
{
    struct rpc_failure failure = failure_of(why);
    guest->server->stats.failed++;
    if (message->kind == WIRE_CALL)
        (void)send_error(guest, message->id, &failure);
}

static struct rpc_call *new_call(struct rpc_server *server)
{
    if (peri_list_is_empty(&server->free_calls))
        return malloc(sizeof(struct rpc_call));
    struct rpc_call *call = call_of(server->free_calls.prev); /* the one used last */
    peri_list_remove(&call->link);
    return call;
}

void rpc_calls_free(struct rpc_server *server)
{
    while (!peri_list_is_empty(&server->free_calls)) {
        struct rpc_call *call = call_of(server->free_calls.next);
        peri_list_remove(&call->link);
        free(call);
    }
}

static uint64_t due_us(const struct rpc_guest *guest, const struct wire_message *message)
{
    uint64_t now_us = guest->conn.heard_us;
    if ((message->flags & WIRE_FLAG_STREAM) != 0)
        return stream_due_us(guest, now_us);
    if (message->budget_ms == 0)
        return now_us + RPC_DEADLINE_DEFAULT_US;
    return now_us + (uint64_t)message->budget_ms * US_PER_MS;
}

/* Names every member, which is faster than zeroing first. */
static inline void init_call(struct rpc_call *call, struct rpc_guest *guest,
                             struct rpc_function *function, const struct wire_message *message,
                             size_t size)
{
    bool is_cast = message->kind == WIRE_CAST;
    bool is_stream = !is_cast && (message->flags & WIRE_FLAG_STREAM) != 0;
    *call = (struct rpc_call){
        .handler = &function->handler,
        .data = NULL,
        .kind = is_cast     ? RPC_CAST
                : is_stream ? RPC_STREAM
                            : RPC_PLAIN,
        .name = peri_slice_of(function->name, function->name_size),
        .args = is_cast ? message->cast.args : message->call.args,
        .due_us = due_us(guest, message),
        .started_us = guest->conn.heard_us,
        .guest = guest,
        .id = message->id,
        .items = 0,
        .granted = RPC_STREAM_WINDOW,
        .size = size,
        .answer_size = 0,
        .link = {&call->link, &call->link},
    };
    guest->in_flight++;
    guest->server->stats.in_flight++;
}

static void start_brief(struct rpc_guest *guest, struct rpc_function *function,
                        const struct wire_message *message, size_t size)
{
    struct rpc_call call;
    init_call(&call, guest, function, message, size);
    function->handler.on_call(&call);
    PERI_ASSERT(call.guest == NULL); /* it has been answered */
}

static int start(struct rpc_guest *guest, struct rpc_function *function,
                 const struct wire_message *message, size_t size)
{
    struct rpc_call *call = new_call(guest->server);
    if (call == NULL)
        return PERI_ENOMEM;
    init_call(call, guest, function, message, size);
    peri_list_append(bucket_of(guest, call->id), &call->link);
    rpc_conn_wake_by(&guest->conn, call->due_us);
    function->handler.on_call(call); /* last: it may answer */
    return 0;
}

/* A call that is not even started. */
static void refuse_start(struct rpc_guest *guest, const struct wire_message *message,
                         const struct rpc_function *function, struct peri_slice name)
{
    struct peri_error why = PERI_ERROR_INIT;
    if (function == NULL)
        (void)peri_fail_plain(&why, PERI_ENOFUNCTION, "there is no function %.*s",
                              (int)(name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX),
                              name.data);
    else if (guest->in_flight >= guest->server->self->inflight_max)
        (void)peri_fail_plain(&why, PERI_EBUSY, "%zu calls of this connection are being served",
                              guest->in_flight);
    else
        (void)peri_fail(&why, PERI_ENOMEM, "no room for it");
    refuse(guest, message, &why);
}

static void take_call(struct rpc_guest *guest, const struct wire_message *message, size_t size)
{
    struct rpc_server *server = guest->server;
    struct peri_slice name = message->kind == WIRE_CAST ? message->cast.name : message->call.name;
    if (!rpc_window_is_new(&guest->window, message->id)) {
        server->stats.repeated++;
        return;
    }
    server->stats.calls++;
    struct rpc_function *function = find_function(server, name);
    bool is_possible = function != NULL && guest->in_flight < server->self->inflight_max;
    if (is_possible && is_brief(&function->handler))
        start_brief(guest, function, message, size); /* last */
    else if (!is_possible || start(guest, function, message, size) != 0)
        refuse_start(guest, message, function, name);
}

static void take_cancel(struct rpc_guest *guest, const struct wire_message *message)
{
    struct rpc_call *call = find(guest, message->id);
    struct peri_error why = PERI_ERROR_INIT;
    struct peri_slice reason = message->cancel.reason;
    /* One that comes before its call keeps that from running at all. */
    (void)rpc_window_is_new(&guest->window, message->id);
    rpc_conn_forget(&guest->conn, message->id);
    if (call == NULL)
        return;
    (void)peri_fail_plain(&why, PERI_ECANCELLED, "the caller does not wait any more: %.*s",
                          (int)(reason.size < NAME_SHOWN_MAX ? reason.size : NAME_SHOWN_MAX),
                          reason.data);
    cancel(call, &why, false);
}

void rpc_calls_take(struct rpc_guest *guest, const struct wire_message *message, size_t size)
{
    switch (message->kind) {
    case WIRE_CALL:
    case WIRE_CAST:
        take_call(guest, message, size); /* last */
        return;
    case WIRE_CANCEL:
        take_cancel(guest, message);
        return;
    case WIRE_CREDIT:
        take_credit(guest, message);
        return;
    default:
        return; /* GOODBYE: the end of the connection follows */
    }
}

bool rpc_calls_want(struct rpc_guest *guest, uint64_t id, uint64_t total)
{
    uint64_t body_max = guest->server->self->body_max;
    if (total <= body_max + RPC_CHUNK_MESSAGE_MAX)
        return !rpc_window_has(&guest->window, id);
    struct wire_message call = {.kind = WIRE_CALL, .id = id};
    struct peri_error why = PERI_ERROR_INIT;
    if (!rpc_window_is_new(&guest->window, id))
        return false;
    (void)peri_fail_plain(&why, PERI_ETOOBIG,
                          "the request has %" PRIu64 " bytes, and body_max is %" PRIu64, total,
                          body_max);
    refuse(guest, &call, &why);
    return false;
}

/* ---- who calls ---- */

void rpc_call_peer(const struct rpc_call *call, char out[RPC_PEER_TEXT_SIZE])
{
    rpc_conn_peer(&call->guest->conn, call->guest->address, out);
}

const struct rpc_peer *rpc_call_caller(const struct rpc_call *call)
{
    return &call->guest->conn.handshake.peer;
}

const char *rpc_call_address(const struct rpc_call *call)
{
    return call->guest->address;
}

size_t rpc_call_body_max(const struct rpc_call *call)
{
    return (size_t)call->guest->conn.handshake.peer.body_max;
}
