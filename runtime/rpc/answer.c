/* answer.c - how the calls of a server end, and who called. */
#include "base/assert.h"
#include "env/log_limit.h"
#include "rpc/server_state.h"

enum { NAME_SHOWN_MAX = 100 };

static struct peri_slice text_of(const char *text)
{
    return peri_slice_of(text, strlen(text));
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

static inline void release(struct rpc_call *call, struct peri_slice outcome)
{
    struct rpc_guest *guest = call->guest;
    struct rpc_server *server = guest->server;
    if (rpc_trace_is_on(server->self->tracer))
        trace(call, outcome);
    if (outcome.size > 0)
        server->stats.failed++;
    server->stats.bytes += call->size + call->answer_size;
    if (rpc_handler_is_brief(call->handler)) {
        call->guest = NULL; /* run_brief sees it */
        return;
    }
    server->stats.in_flight--;
    guest->in_flight--;
    peri_list_remove(&call->link);
    peri_list_append(&server->free_calls, &call->link);
}

void rpc_call_release(struct rpc_call *call, struct peri_slice outcome)
{
    release(call, outcome);
}

int rpc_guest_send_error(struct rpc_guest *guest, uint64_t id, const struct rpc_failure *failure)
{
    struct wire_message message = {.kind = WIRE_ERROR, .id = id};
    message.error.code = failure->code;
    message.error.message = failure->message;
    message.error.retryable = failure->is_retryable;
    message.error.traceback = failure->traceback;
    return rpc_conn_send(&guest->conn, &message);
}

struct rpc_failure rpc_failure_of(const struct peri_error *err)
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
    int rc = call->kind == RPC_CAST ? 0 : rpc_guest_send_error(call->guest, call->id, &sent);
    if (rc != 0 && call->guest->conn.is_ready)
        log_lost(call, rc);
    rpc_call_release(call, failure->code);
}

void rpc_call_fail_code(struct rpc_call *call, const struct peri_error *err)
{
    struct rpc_failure failure = rpc_failure_of(err);
    rpc_call_fail(call, &failure);
}

void rpc_call_fail_send(struct rpc_call *call, int rc, size_t size)
{
    struct peri_error err = PERI_ERROR_INIT;
    const struct rpc_outbox *out = &call->guest->conn.out;
    if (rc == PERI_ETOOBIG)
        (void)peri_fail_plain(&err, rc,
                              "the answer has %zu bytes, more than the caller's body_max of %zu, "
                              "which is set where it connects",
                              size, rpc_call_body_max(call));
    else if (rc == PERI_EBUSY) /* which as a code says that a call has not run */
        (void)peri_fail_plain(
            &err, PERI_ENOMEM,
            "no room for the answer of %zu bytes: long messages of %zu wait to be "
            "sent, and %zu may, by our body_max, which is set where we serve",
            size, out->bytes, out->bytes_max);
    else
        (void)peri_fail_plain(&err, PERI_ENOMEM, "no room for the answer: %s", peri_strerror(rc));
    rpc_call_fail_code(call, &err);
}

/* values are those of taken, or that is NULL. */
static __attribute__((noinline)) void reply_taking(struct rpc_call *call, struct peri_slice values,
                                                   struct peri_buffer *taken)
{
    struct rpc_conn *conn = &call->guest->conn;
    if (call->kind == RPC_STREAM) {
        rpc_call_end(call);
        return;
    }
    if (call->kind == RPC_PLAIN) {
        int rc = rpc_conn_reply(conn, call->id, values, taken);
        if (rc != 0) {
            rpc_call_fail_send(call, rc, values.size);
            return;
        }
        call->answer_size = conn->sent_size;
    }
    release(call, peri_slice_of(NULL, 0));
}

/* Most answers: of a brief call, in an open burst, like the one before. The copy comes last, so
 * that nothing has to be kept over a call of memcpy. */
void rpc_call_reply(struct rpc_call *call, struct peri_slice values)
{
    struct rpc_guest *guest = call->guest;
    struct rpc_server *server = guest->server;
    bool is_simple = call->kind == RPC_PLAIN && rpc_handler_is_brief(call->handler) &&
                     values.size > 0 && !rpc_trace_is_on(server->self->tracer);
    char *room = is_simple ? rpc_conn_reply_again(&guest->conn, call->id, values.size) : NULL;
    if (room == NULL) {
        reply_taking(call, values, NULL);
        return;
    }
    server->stats.bytes += call->size + guest->conn.sent_size;
    call->guest = NULL; /* run_brief sees it */
    peri_copy(room, values.data, values.size);
}

void rpc_call_reply_taking(struct rpc_call *call, struct peri_buffer *values)
{
    reply_taking(call, peri_buffer_slice(values), values);
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
