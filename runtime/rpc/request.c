#include "rpc/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "rpc/client_state.h"

enum {
    US_PER_MS = 1000,
    SLOTS_MIN = 16,
    NAME_SHOWN_MAX = 100,
    MESSAGE_TEXT_SIZE = 2048, /* longer messages of the other side are cut */
    CODE_NAME_SIZE = 32,
};

static struct peri_slice text_of(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

/* ---- how a call is spoken of ---- */

static const char *kind_of(const struct rpc_request *request)
{
    if (request->is_cast)
        return "cast";
    return request->on_item != NULL ? "stream" : "call";
}

static int name_size(struct peri_slice name)
{
    return (int)(name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX);
}

int rpc_requests_say(const struct rpc_request *request, struct peri_error *err)
{
    char who[RPC_PEER_TEXT_SIZE];
    struct peri_error bare = *err;
    rpc_client_peer(request->client, who);
    return peri_fail_plain(err, bare.code, "%s %.*s to %.160s: %.240s", kind_of(request),
                           name_size(request->name), request->name.data, who, bare.text);
}

/* Why the time was over: what the connection did meanwhile. */
static void say_deadline(const struct rpc_request *request, uint64_t now_us, struct peri_error *err)
{
    const struct rpc_client *client = request->client;
    bool is_stream = request->on_item != NULL;
    double waited_s = seconds(request->due_us - (is_stream && request->waiting_since_us != 0
                                                     ? request->waiting_since_us
                                                     : request->started_us));
    if (request->state == RPC_REQUEST_SENT) {
        (void)peri_fail_plain(
            err, PERI_EDEADLINE, "no %s within %.3g s; connected for %.1f s, last heard %.1f s ago",
            is_stream ? "item" : "reply", waited_s, seconds(now_us - client->since_us),
            seconds(now_us - client->conn.heard_us));
    } else if (client->attempts == 0) {
        (void)peri_fail_plain(err, PERI_EUNREACHABLE, "not connected within %.3g s", waited_s);
    } else {
        (void)peri_fail_plain(
            err, PERI_EUNREACHABLE,
            "not connected within %.3g s: %.200s (%" PRIu64 " attempts, the last %.1f s ago)",
            waited_s, client->why.text, client->attempts, seconds(now_us - client->tried_us));
    }
}

/* ---- slots ---- */

static size_t inflight_max(const struct rpc_client *client)
{
    uint64_t ours = client->self->inflight_max;
    uint64_t theirs = client->conn.is_ready ? client->conn.handshake.peer.inflight_max : ours;
    uint64_t least = theirs < ours ? theirs : ours;
    return least < RPC_INFLIGHT_MAX ? (size_t)least : RPC_INFLIGHT_MAX;
}

/* Ids that differ modulo count differ modulo twice that as well. */
static int grow_slots(struct rpc_client *client)
{
    size_t count = client->slot_count == 0 ? SLOTS_MIN : client->slot_count * 2;
    struct rpc_request **slots = calloc(count, sizeof(struct rpc_request *));
    if (slots == NULL)
        return PERI_ENOMEM;
    for (size_t slot = 0; slot < client->slot_count; slot++)
        if (client->slots[slot] != NULL)
            slots[client->slots[slot]->id % count] = client->slots[slot];
    free(client->slots);
    client->slots = slots;
    client->slot_count = count;
    return 0;
}

int rpc_requests_enter(struct rpc_client *client, struct rpc_request *request,
                       struct peri_error *err)
{
    if (client->in_flight >= inflight_max(client))
        return peri_fail_plain(err, PERI_EBUSY, "%zu calls are under way already",
                               client->in_flight);
    if (client->in_flight * 2 >= client->slot_count && grow_slots(client) != 0)
        return peri_fail(err, PERI_ENOMEM, "no room for it");
    do
        client->last_id++;
    while (client->slots[client->last_id & (client->slot_count - 1)] != NULL);
    request->client = client;
    request->id = client->last_id;
    client->slots[request->id & (client->slot_count - 1)] = request;
    client->in_flight++;
    return 0;
}

void rpc_requests_leave(struct rpc_request *request)
{
    struct rpc_client *client = request->client;
    size_t slot = request->id & (client->slot_count - 1);
    PERI_ASSERT(client->slots[slot] == request);
    client->slots[slot] = NULL;
    client->in_flight--;
    if (request->state == RPC_REQUEST_WAITS)
        peri_list_remove(&request->link);
    else
        rpc_conn_forget(&client->conn, request->id);
    client->waiting_bytes -= request->waiting.size;
    peri_buffer_deinit(&request->waiting);
    request->state = RPC_REQUEST_IDLE;
}

struct rpc_request *rpc_requests_find(const struct rpc_client *client, uint64_t id)
{
    if (client->slot_count == 0)
        return NULL;
    struct rpc_request *request = client->slots[id & (client->slot_count - 1)];
    return request != NULL && request->id == id ? request : NULL;
}

/* ---- the end of a call ---- */

static void trace(const struct rpc_request *request, const struct rpc_result *result, size_t size)
{
    struct rpc_tracer *tracer = request->client->self->tracer;
    char who[RPC_PEER_TEXT_SIZE];
    rpc_client_peer(request->client, who);
    struct rpc_trace_call call = {
        .is_ours = true,
        .kind = kind_of(request),
        .peer = who,
        .name = request->name,
        .request_bytes = request->size,
        .answer_bytes = size,
        .duration_us = env_now_us(request->client->env) - request->started_us,
        .outcome = result->code_name,
    };
    tracer->on_call(tracer, &call);
}

void rpc_requests_finish(struct rpc_request *request, const struct rpc_result *result, size_t size)
{
    if (rpc_trace_is_on(request->client->self->tracer))
        trace(request, result, size);
    rpc_requests_leave(request);
    request->on_done(request, result); /* last: it may reuse the request */
}

struct rpc_result rpc_result_of(const struct peri_error *err)
{
    return (struct rpc_result){
        .code = err->code,
        .is_retryable = peri_error_is_retryable(err->code),
        .code_name = text_of(peri_error_name(err->code)),
        .message = text_of(err->text),
    };
}

void rpc_request_fail(struct rpc_request *request, const struct peri_error *err)
{
    struct peri_error said = *err;
    (void)rpc_requests_say(request, &said);
    struct rpc_result result = rpc_result_of(&said);
    if (request->state == RPC_REQUEST_SENT && request->client->conn.is_ready) {
        struct wire_message cancel = {.kind = WIRE_CANCEL, .id = request->id};
        cancel.cancel.reason = result.code_name;
        rpc_client_tell(request->client, &cancel);
    }
    rpc_requests_finish(request, &result, 0);
}

void rpc_request_cancel(struct rpc_request *request, const char *reason)
{
    if (request->state == RPC_REQUEST_IDLE)
        return;
    const struct rpc_result cancelled = {.code = PERI_ECANCELLED,
                                         .code_name = text_of("ECANCELLED")};
    struct wire_message cancel = {.kind = WIRE_CANCEL, .id = request->id};
    cancel.cancel.reason = text_of(reason);
    if (request->state == RPC_REQUEST_SENT)
        rpc_client_tell(request->client, &cancel);
    if (rpc_trace_is_on(request->client->self->tracer))
        trace(request, &cancelled, 0);
    rpc_requests_leave(request);
}

void rpc_request_end(struct rpc_request *request)
{
    static const struct rpc_result ended = {.code = 0};
    if (rpc_trace_is_on(request->client->self->tracer))
        trace(request, &ended, 0);
    rpc_requests_leave(request);
}

static void take_error(struct rpc_request *request, const struct wire_message *message, size_t size)
{
    char who[RPC_PEER_TEXT_SIZE];
    char text[MESSAGE_TEXT_SIZE];
    char code[CODE_NAME_SIZE] = "";
    rpc_client_peer(request->client, who);
    struct peri_slice said = message->error.message;
    int length = snprintf(text, sizeof text, "%s %.*s to %s: %.*s", kind_of(request),
                          name_size(request->name), request->name.data, who,
                          (int)(said.size < sizeof text ? said.size : sizeof text), said.data);
    if (message->error.code.size < sizeof code)
        memcpy(code, message->error.code.data, message->error.code.size);
    int known = peri_error_from_name(code);
    struct rpc_result result = {
        .code = known != 0 ? known : PERI_ELUA,
        .is_remote = true,
        .is_retryable = message->error.retryable,
        .code_name = message->error.code,
        .message =
            peri_slice_of(text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1),
        .traceback = message->error.traceback,
    };
    rpc_requests_finish(request, &result, size);
}

void rpc_requests_take(struct rpc_client *client, const struct wire_message *message, size_t size)
{
    struct rpc_request *request = rpc_requests_find(client, message->id);
    if (request == NULL || request->state != RPC_REQUEST_SENT)
        return; /* it has ended here, or the network repeats itself */
    struct rpc_result result = {.code = 0};
    switch (message->kind) {
    case WIRE_REPLY:
        if (request->on_item != NULL)
            return;
        result.values = message->reply.values;
        rpc_requests_finish(request, &result, size);
        return;
    case WIRE_ERROR:
        take_error(request, message, size);
        return;
    case WIRE_ITEM:
    case WIRE_END:
        if (request->on_item != NULL)
            request->on_item(request, message);
        return;
    default:
        return;
    }
}

/* ---- streams ---- */

void rpc_request_set_due(struct rpc_request *request, uint64_t due_us)
{
    request->waiting_since_us = env_now_us(request->client->env);
    request->due_us = due_us;
    if (due_us != UINT64_MAX)
        rpc_alarm_by(&request->client->alarm, due_us);
}

void rpc_request_say_credit(struct rpc_request *request)
{
    struct wire_message credit = {.kind = WIRE_CREDIT, .id = request->id};
    credit.credit.items = request->granted;
    if (request->state == RPC_REQUEST_SENT)
        rpc_client_tell(request->client, &credit);
}

void rpc_requests_beat(struct rpc_client *client)
{
    for (size_t slot = 0; slot < client->slot_count; slot++)
        if (client->slots[slot] != NULL && client->slots[slot]->on_item != NULL)
            rpc_request_say_credit(client->slots[slot]);
}

/* ---- what happens to the connection, and time ---- */

static void fail_disconnected(struct rpc_request *request, const struct peri_error *why)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(
        &err, PERI_EDISCONNECTED, "the connection broke, after %.3f s without a reply: %.200s",
        seconds(env_now_us(request->client->env) - request->started_us), why->text);
    rpc_request_fail(request, &err);
}

void rpc_requests_break(struct rpc_client *client, const struct peri_error *why, bool is_final)
{
    uint64_t last_id = client->last_id; /* what on_done starts meanwhile is not touched */
    for (size_t slot = 0; slot < client->slot_count; slot++) {
        struct rpc_request *request = client->slots[slot];
        if (request == NULL || request->id > last_id)
            continue;
        if (request->state == RPC_REQUEST_SENT)
            fail_disconnected(request, why);
        else if (is_final)
            rpc_request_fail(request, why);
    }
}

uint64_t rpc_requests_expire(struct rpc_client *client, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (size_t slot = 0; slot < client->slot_count; slot++) {
        struct rpc_request *request = client->slots[slot];
        if (request != NULL && request->due_us <= now_us) {
            struct peri_error err = PERI_ERROR_INIT;
            say_deadline(request, now_us, &err);
            rpc_request_fail(request, &err);
        } else if (request != NULL && request->due_us < next_us) {
            next_us = request->due_us;
        }
    }
    return next_us;
}

void rpc_requests_close(struct rpc_client *client, const void *owner)
{
    struct peri_error why = PERI_ERROR_INIT;
    (void)peri_fail_plain(&why, PERI_ECLOSED, "the client was closed");
    for (size_t slot = 0; slot < client->slot_count; slot++) {
        struct rpc_request *request = client->slots[slot];
        if (request != NULL && (owner == NULL || request->owner == owner))
            rpc_request_fail(request, &why);
    }
}
