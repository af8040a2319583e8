#include "rpc/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "rpc/client_state.h"

enum { US_PER_MS = 1000, BACKOFF_DOUBLINGS_MAX = 10 };

static struct rpc_client *client_of(struct rpc_conn *conn)
{
    return container_of(conn, struct rpc_client, conn);
}

static void connect_now(struct rpc_client *client);

/* ---- down: with pauses that grow, and differ so that clients do not come back all at once ---- */

static uint64_t backoff_us(struct rpc_client *client)
{
    uint32_t chance;
    uint64_t doublings = client->attempts > 0 ? client->attempts - 1 : 0;
    if (doublings > BACKOFF_DOUBLINGS_MAX)
        doublings = BACKOFF_DOUBLINGS_MAX;
    uint64_t pause_ms = (uint64_t)RPC_BACKOFF_MIN_MS << doublings;
    if (pause_ms > RPC_BACKOFF_MAX_MS)
        pause_ms = RPC_BACKOFF_MAX_MS;
    uint64_t half_us = pause_ms * US_PER_MS / 2;
    env_random(client->env, &chance, sizeof chance);
    return half_us + chance % (half_us + 1);
}

static bool is_refusal(int code)
{
    return code == PERI_EAUTH || code == PERI_ECLUSTER || code == PERI_EVERSION ||
           code == PERI_EPROTOCOL || code == PERI_EFORMAT || code == PERI_ETOOBIG;
}

/* A refusal is a line in the log, once until it changes; a node that is not there is not. */
static void log_refusal(struct rpc_client *client)
{
    char who[RPC_PEER_TEXT_SIZE];
    if (!is_refusal(client->why.code) || client->why.code == client->logged_code)
        return;
    client->logged_code = client->why.code;
    rpc_client_peer(client, who);
    env_log(client->env, ENV_LOG_WARN, "rpc", "no connection to %s: %s (%s)", who, client->why.text,
            peri_error_name(client->why.code));
}

static void go_down(struct rpc_client *client, const struct peri_error *why)
{
    uint64_t now_us = env_now_us(client->env);
    client->why = *why;
    client->tried_us = now_us;
    client->attempts++;
    client->retry_us = now_us + backoff_us(client);
    rpc_alarm_by(&client->alarm, client->retry_us);
    log_refusal(client);
    rpc_requests_break(client, &client->why, is_refusal(why->code));
}

/* ---- up ---- */

static void on_ready(struct rpc_conn *conn)
{
    struct rpc_client *client = client_of(conn);
    client->attempts = 0;
    client->since_us = conn->ready_us;
    client->logged_code = 0;
    peri_error_clear(&client->why);
    memcpy(client->node, conn->handshake.peer.node, sizeof client->node);
    rpc_requests_flush(client);
}

static void on_gone(struct rpc_conn *conn, const struct peri_error *why)
{
    struct rpc_client *client = client_of(conn);
    if (conn->ready_us != 0)
        client->since_us = env_now_us(client->env);
    client->heard_us = conn->ready_us != 0 ? conn->heard_us : client->heard_us;
    go_down(client, why);
}

static void on_goodbye(struct rpc_client *client, const struct wire_message *message)
{
    struct peri_error why = PERI_ERROR_INIT;
    struct peri_slice reason = message->goodbye.reason;
    (void)peri_fail_plain(&why, PERI_ECLOSED, "the other side said goodbye: %.*s",
                          (int)(reason.size < 200 ? reason.size : 200), reason.data);
    rpc_conn_close(&client->conn, NULL);
    on_gone(&client->conn, &why);
}

static void on_message(struct rpc_conn *conn, const struct wire_message *message, size_t size)
{
    struct rpc_client *client = client_of(conn);
    if (message->kind == WIRE_GOODBYE)
        on_goodbye(client, message);
    else
        rpc_requests_take(client, message, size);
}

/* A long answer that is longer than we take ends its call here, before it has come. */
static bool is_wanted(struct rpc_conn *conn, uint64_t id, uint64_t total)
{
    struct rpc_client *client = client_of(conn);
    struct rpc_request *request = rpc_requests_find(client, id);
    if (request == NULL)
        return false;
    if (total <= client->self->body_max + RPC_CHUNK_MESSAGE_MAX)
        return true;
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(&err, PERI_ETOOBIG,
                          "the answer has %" PRIu64 " bytes, more than our body_max of %" PRIu64
                          ", which is set where we connect",
                          total, client->self->body_max);
    rpc_request_fail(request, &err);
    return false;
}

static uint64_t on_conn_alarm(struct rpc_conn *conn, uint64_t now_us)
{
    (void)now_us;
    rpc_requests_beat(client_of(conn));
    return UINT64_MAX; /* deadlines outlive connections: the client's own alarm keeps them */
}

static void on_room(struct rpc_conn *conn)
{
    (void)conn; /* requests wait for nothing but their answers */
}

static const struct rpc_conn_events events = {on_ready,      on_message, is_wanted,
                                              on_conn_alarm, on_room,    on_gone};

static void connect_now(struct rpc_client *client)
{
    struct peri_error err = PERI_ERROR_INIT;
    client->retry_us = 0;
    if (rpc_conn_connect(&client->conn, client->env, client->self, &events, client->address,
                         &err) != 0)
        go_down(client, &err);
}

static void on_alarm(void *data)
{
    struct rpc_client *client = data;
    uint64_t now_us = rpc_alarm_rings(&client->alarm);
    if (client->retry_us != 0 && client->retry_us <= now_us)
        connect_now(client);
    if (client->retry_us != 0)
        rpc_alarm_by(&client->alarm, client->retry_us);
    uint64_t next_us = rpc_requests_expire(client, now_us);
    if (next_us != UINT64_MAX)
        rpc_alarm_by(&client->alarm, next_us);
}

/* ---- life ---- */

int rpc_client_open(struct rpc_client **out, struct env *env, const struct rpc_identity *self,
                    const char *address, struct peri_error *err)
{
    struct rpc_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return peri_fail(err, PERI_ENOMEM, "connect to %s", address);
    client->env = env;
    client->self = self;
    client->since_us = env_now_us(env);
    peri_list_init(&client->waiting);
    client->address = strdup(address);
    int rc = client->address == NULL ? PERI_ENOMEM
                                     : rpc_alarm_init(&client->alarm, env, on_alarm, client);
    if (rc != 0)
        (void)peri_fail(err, rc, "connect to %s", address);
    else
        rc = rpc_conn_connect(&client->conn, env, self, &events, address, err);
    if (rc != 0) {
        rpc_client_close(client);
        return rc;
    }
    *out = client;
    return 0;
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL)
        return;
    rpc_requests_close(client, NULL);
    rpc_conn_close(&client->conn, "the client closes");
    rpc_alarm_deinit(&client->alarm);
    free(client->slots);
    free(client->address);
    free(client);
}

void rpc_client_leave(struct rpc_client *client, const void *owner)
{
    rpc_requests_close(client, owner);
}

void rpc_client_hurry(struct rpc_client *client)
{
    if (client->retry_us == 0)
        return;
    client->retry_us = env_now_us(client->env);
    rpc_alarm_by(&client->alarm, client->retry_us);
}

void rpc_client_tell(struct rpc_client *client, const struct wire_message *message)
{
    if (client->conn.is_ready)
        (void)rpc_conn_send(&client->conn, message);
}

void rpc_client_look(const struct rpc_client *client, struct rpc_client_info *info)
{
    bool is_up = client->conn.is_ready;
    *info = (struct rpc_client_info){
        .address = client->address,
        .peer = is_up ? &client->conn.handshake.peer : NULL,
        .is_up = is_up,
        .since_us = client->since_us,
        .heard_us = is_up ? client->conn.heard_us : client->heard_us,
        .attempts = client->attempts,
        .calls = client->calls,
        .in_flight = client->in_flight,
        .why = client->why.text,
    };
}

void rpc_client_peer(const struct rpc_client *client, char out[RPC_PEER_TEXT_SIZE])
{
    if (client->node[0] != '\0')
        (void)snprintf(out, RPC_PEER_TEXT_SIZE, "%s (%s)", client->node, client->address);
    else
        (void)snprintf(out, RPC_PEER_TEXT_SIZE, "%s", client->address);
}
