/* client_call.c - how calls and casts of a client start, at once or when there is a connection. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/client_state.h"

enum { US_PER_MS = 1000 };

static uint32_t budget_ms(const struct rpc_request *request, uint64_t now_us)
{
    uint64_t left_ms = (request->due_us - now_us + US_PER_MS - 1) / US_PER_MS;
    return left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX;
}

static int explain_send(const struct rpc_client *client, int rc, size_t size,
                        struct peri_error *err)
{
    if (rc == PERI_ETOOBIG)
        return peri_fail_plain(err, rc,
                               "%zu bytes are more than its body_max of %" PRIu64
                               ", which is set where it serves",
                               size, client->conn.handshake.peer.body_max);
    if (rc == PERI_EBUSY)
        return peri_fail_plain(err, rc, "it does not take what was sent before");
    return peri_fail_plain(err, rc, "%s", peri_strerror(rc));
}

static int send_call(struct rpc_client *client, struct rpc_request *request, struct peri_slice args,
                     uint64_t now_us, struct peri_error *err)
{
    struct wire_message message = {.kind = request->is_cast ? WIRE_CAST : WIRE_CALL,
                                   .id = request->id,
                                   .flags = request->on_item != NULL ? WIRE_FLAG_STREAM : 0,
                                   .budget_ms = budget_ms(request, now_us)};
    if (request->is_cast) {
        message.cast.name = request->name;
        message.cast.args = args;
    } else {
        message.call.name = request->name;
        message.call.args = args;
    }
    int rc = rpc_conn_send(&client->conn, &message);
    if (rc != 0)
        return explain_send(client, rc, args.size, err);
    request->size = client->conn.sent_size;
    request->state = RPC_REQUEST_SENT;
    return 0;
}

static int wait_for_connection(struct rpc_client *client, struct rpc_request *request,
                               struct peri_slice args, bool may_wait, struct peri_error *err)
{
    if (!may_wait)
        return peri_fail_plain(err, PERI_EUNREACHABLE, "not connected: %s",
                               client->why.text[0] != '\0' ? client->why.text
                                                           : "it is just connecting");
    if (args.size > client->self->body_max)
        return peri_fail_plain(err, PERI_ETOOBIG,
                               "%zu bytes are more than our body_max of %" PRIu64
                               ", which is set where we connect",
                               args.size, client->self->body_max);
    if (args.size > client->self->body_max * RPC_WAITING_FACTOR - client->waiting_bytes)
        return peri_fail_plain(err, PERI_EBUSY, "%zu bytes wait for a connection already",
                               client->waiting_bytes);
    int rc = peri_buffer_append(&request->waiting, args.data, args.size);
    if (rc != 0)
        return peri_fail(err, rc, "no room for it");
    client->waiting_bytes += args.size;
    request->state = RPC_REQUEST_WAITS;
    peri_list_append(&client->waiting, &request->link);
    return 0;
}

static int start(struct rpc_client *client, struct rpc_request *request, struct peri_slice args,
                 bool may_wait, struct peri_error *err)
{
    uint64_t now_us = env_now_us(client->env);
    request->client = client;
    request->started_us = now_us;
    request->state = RPC_REQUEST_IDLE;
    request->waiting = (struct peri_buffer){NULL, 0, 0};
    int rc = rpc_requests_enter(client, request, err);
    if (rc != 0)
        return rc;
    if (request->due_us <= now_us)
        rc = peri_fail_plain(err, PERI_EDEADLINE, "its deadline is over already");
    else if (client->conn.is_ready)
        rc = send_call(client, request, args, now_us, err);
    else
        rc = wait_for_connection(client, request, args, may_wait, err);
    if (rc != 0)
        rpc_requests_leave(request);
    return rc;
}

int rpc_client_call(struct rpc_client *client, struct rpc_request *request, struct peri_slice args,
                    bool may_wait, struct peri_error *err)
{
    int rc = start(client, request, args, may_wait, err);
    if (rc != 0)
        return err != NULL ? rpc_requests_say(request, err) : rc;
    client->calls++;
    rpc_alarm_by(&client->alarm, request->due_us);
    return 0;
}

static void finish_cast(struct rpc_request *request)
{
    static const struct rpc_result sent = {.code = 0};
    rpc_requests_finish(request, &sent, 0);
}

static void on_cast_sent(struct rpc_request *request, const struct rpc_result *result)
{
    (void)request; /* the caller's */
    (void)result;
}

static void on_cast_done(struct rpc_request *request, const struct rpc_result *result)
{
    (void)result;
    free(request);
}

/* A cast that waits for a connection outlives its caller. */
static int cast_later(struct rpc_client *client, const struct rpc_request *cast,
                      struct peri_slice args, struct peri_error *err)
{
    struct rpc_request *request = malloc(sizeof *request + cast->name.size);
    if (request == NULL)
        return peri_fail(err, PERI_ENOMEM, "cast");
    char *name = (char *)(request + 1);
    memcpy(name, cast->name.data, cast->name.size);
    *request = *cast;
    request->name.data = name;
    request->on_done = on_cast_done;
    int rc = rpc_client_call(client, request, args, true, err);
    if (rc != 0)
        free(request);
    return rc;
}

int rpc_client_cast(struct rpc_client *client, struct peri_slice name, struct peri_slice args,
                    uint64_t due_us, bool may_wait, struct peri_error *err)
{
    struct rpc_request request = {
        .name = name, .due_us = due_us, .on_done = on_cast_sent, .is_cast = true};
    if (may_wait && !client->conn.is_ready)
        return cast_later(client, &request, args, err);
    int rc = rpc_client_call(client, &request, args, false, err);
    if (rc == 0)
        finish_cast(&request);
    return rc;
}

void rpc_requests_flush(struct rpc_client *client)
{
    uint64_t now_us = env_now_us(client->env);
    while (client->conn.is_ready && !peri_list_is_empty(&client->waiting)) {
        struct rpc_request *request = container_of(client->waiting.next, struct rpc_request, link);
        struct peri_error err = PERI_ERROR_INIT;
        struct peri_buffer args = request->waiting;
        request->waiting = (struct peri_buffer){NULL, 0, 0};
        client->waiting_bytes -= args.size;
        peri_list_remove(&request->link);
        int rc = request->due_us <= now_us
                     ? peri_fail_plain(&err, PERI_EUNREACHABLE, "connected too late")
                     : send_call(client, request, peri_buffer_slice(&args), now_us, &err);
        peri_buffer_deinit(&args);
        if (rc != 0)
            rpc_request_fail(request, &err);
        else if (request->is_cast)
            finish_cast(request);
    }
}
