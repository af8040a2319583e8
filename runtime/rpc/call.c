/* call.c - the calls of a server: each comes once, runs, and ends once. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "rpc/server_state.h"

enum { US_PER_MS = 1000, NAME_SHOWN_MAX = 100 };

/* ---- finding ---- */

static struct peri_list *bucket_of(struct rpc_guest *guest, uint64_t id)
{
    return &guest->calls[id % RPC_CALL_BUCKETS];
}

struct rpc_call *rpc_guest_find(struct rpc_guest *guest, uint64_t id)
{
    struct peri_list *bucket = bucket_of(guest, id);
    for (struct peri_list *link = bucket->next; link != bucket; link = link->next)
        if (rpc_call_of(link)->id == id)
            return rpc_call_of(link);
    return NULL;
}

static struct peri_slice name_of(const struct rpc_function *function)
{
    return peri_slice_of(function->name, function->name_size);
}

static struct rpc_function *find_function(const struct rpc_server *server, struct peri_slice name)
{
    size_t low = 0;
    size_t high = server->function_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct rpc_function *function = server->functions[middle];
        int order = peri_slice_compare(name, name_of(function));
        if (order == 0)
            return function;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* A client mostly calls what it called before. */
static inline struct rpc_function *function_of(struct rpc_guest *guest, struct peri_slice name)
{
    if (guest->recent == NULL || !peri_slice_is_same(name_of(guest->recent), name))
        guest->recent = find_function(guest->server, name);
    return guest->recent;
}

/* The caller waits for nothing any more, or learns it now. */
static void cancel(struct rpc_call *call, const struct peri_error *why, bool is_told)
{
    struct rpc_failure failure = rpc_failure_of(why);
    PERI_ASSERT(call->handler->on_cancel != NULL);
    call->handler->on_cancel(call, why->code, why->text);
    if (is_told) {
        rpc_call_fail(call, &failure);
        return;
    }
    rpc_conn_forget(&call->guest->conn, call->id);
    rpc_call_release(call, failure.code);
}

void rpc_calls_cancel(struct rpc_guest *guest, const struct peri_error *why)
{
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        while (!peri_list_is_empty(&guest->calls[i]))
            cancel(rpc_call_of(guest->calls[i].next), why, guest->conn.is_ready);
}

uint64_t rpc_calls_expire(struct rpc_guest *guest, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (size_t i = 0; i < RPC_CALL_BUCKETS && guest->in_flight > 0; i++) {
        struct peri_list *link = guest->calls[i].next;
        while (link != &guest->calls[i]) {
            struct rpc_call *call = rpc_call_of(link);
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

/* ---- the start of a call ---- */

static void refuse(struct rpc_guest *guest, const struct wire_message *message,
                   const struct peri_error *why)
{
    struct rpc_failure failure = rpc_failure_of(why);
    guest->server->stats.failed++;
    if (message->kind == WIRE_CALL)
        (void)rpc_guest_send_error(guest, message->id, &failure);
}

static struct rpc_call *new_call(struct rpc_server *server)
{
    if (peri_list_is_empty(&server->free_calls))
        return malloc(sizeof(struct rpc_call));
    struct rpc_call *call = rpc_call_of(server->free_calls.prev); /* the one used last */
    peri_list_remove(&call->link);
    return call;
}

void rpc_calls_free(struct rpc_server *server)
{
    while (!peri_list_is_empty(&server->free_calls)) {
        struct rpc_call *call = rpc_call_of(server->free_calls.next);
        peri_list_remove(&call->link);
        free(call);
    }
}

static uint64_t due_us(const struct rpc_guest *guest, const struct wire_message *message)
{
    uint64_t now_us = guest->conn.heard_us;
    if ((message->flags & WIRE_FLAG_STREAM) != 0)
        return rpc_guest_stream_due_us(guest, now_us);
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
}

static inline void run_brief(struct rpc_call *call)
{
    call->handler->on_call(call);
    PERI_ASSERT(call->guest == NULL); /* it has been answered */
}

/* Runs the last call again, for a message that is the one before it again. */
static inline void run_brief_again(struct rpc_guest *guest, const struct wire_message *message,
                                   size_t size)
{
    struct rpc_call *call = &guest->brief;
    call->due_us += guest->conn.heard_us - call->started_us;
    call->started_us = guest->conn.heard_us;
    call->args = wire_again_value(message);
    call->id = message->id;
    call->size = size;
    call->guest = guest;
    call->data = NULL;
    call->items = 0;
    call->answer_size = 0;
    run_brief(call);
}

static int start(struct rpc_guest *guest, struct rpc_function *function,
                 const struct wire_message *message, size_t size)
{
    struct rpc_call *call = new_call(guest->server);
    if (call == NULL)
        return PERI_ENOMEM;
    init_call(call, guest, function, message, size);
    guest->in_flight++;
    guest->server->stats.in_flight++;
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

static __attribute__((noinline)) void take_new(struct rpc_guest *guest,
                                               const struct wire_message *message, size_t size)
{
    struct peri_slice name = message->kind == WIRE_CAST ? message->cast.name : message->call.name;
    struct rpc_function *function = function_of(guest, name);
    bool is_possible = function != NULL && guest->in_flight < guest->server->self->inflight_max;
    if (is_possible && rpc_handler_is_brief(&function->handler)) {
        init_call(&guest->brief, guest, function, message, size);
        run_brief(&guest->brief); /* last */
    } else if (!is_possible || start(guest, function, message, size) != 0) {
        refuse_start(guest, message, function, name);
    }
}

static __attribute__((noinline)) void take_call(struct rpc_guest *guest,
                                                const struct wire_message *message, size_t size)
{
    guest->brief.handler = NULL;
    if (!rpc_window_is_new(&guest->window, message->id)) {
        guest->server->stats.repeated++;
        return;
    }
    guest->server->stats.calls++;
    take_new(guest, message, size); /* last */
}

static __attribute__((noinline)) void take_cancel(struct rpc_guest *guest,
                                                  const struct wire_message *message)
{
    struct rpc_call *call = rpc_guest_find(guest, message->id);
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

static __attribute__((noinline)) void take_message(struct rpc_guest *guest,
                                                   const struct wire_message *message, size_t size)
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
        rpc_guest_take_credit(guest, message);
        return;
    default:
        return; /* GOODBYE: the end of the connection follows */
    }
}

void rpc_calls_take(struct rpc_guest *guest, const struct wire_message *message, size_t size)
{
    struct rpc_server *server = guest->server;
    if (guest->conn.is_again && guest->brief.handler != NULL &&
        guest->in_flight < server->self->inflight_max &&
        rpc_window_is_new(&guest->window, message->id)) {
        server->stats.calls++;
        run_brief_again(guest, message, size); /* last */
        return;
    }
    take_message(guest, message, size); /* last */
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
                          "the request has %" PRIu64 " bytes, more than our body_max of %" PRIu64
                          ", which is set where we serve",
                          total, body_max);
    refuse(guest, &call, &why);
    return false;
}
