#include "rpc/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log_limit.h"
#include "rpc/server_state.h"

static struct rpc_guest *guest_of(struct rpc_conn *conn)
{
    return container_of(conn, struct rpc_guest, conn);
}

/* ---- guests ---- */

static void on_ready(struct rpc_conn *conn)
{
    (void)conn;
}

static void on_message(struct rpc_conn *conn, const struct wire_message *message, size_t size)
{
    rpc_calls_take(guest_of(conn), message, size);
}

static bool is_wanted(struct rpc_conn *conn, uint64_t id, uint64_t total)
{
    return rpc_calls_want(guest_of(conn), id, total);
}

static uint64_t on_alarm(struct rpc_conn *conn, uint64_t now_us)
{
    return rpc_calls_expire(guest_of(conn), now_us);
}

static void on_room(struct rpc_conn *conn)
{
    rpc_calls_have_room(guest_of(conn));
}

static void end_guest(struct rpc_guest *guest, const struct peri_error *why, const char *goodbye)
{
    rpc_calls_cancel(guest, why);
    rpc_conn_close(&guest->conn, goodbye);
    peri_list_remove(&guest->link);
    guest->server->stats.connections--;
    free(guest);
}

/* The part of an address that stays the same when a peer connects again: "127.0.0.1". */
static struct peri_slice host_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return peri_slice_of(address, colon != NULL ? (size_t)(colon - address) : strlen(address));
}

/* A peer that breaks the rules, or is not who it should be, costs one line a second. */
static void log_end(const struct rpc_guest *guest, const struct peri_error *why)
{
    struct rpc_server *server = guest->server;
    char who[RPC_PEER_TEXT_SIZE];
    bool was_ready = guest->conn.ready_us != 0;
    bool is_quiet = why->code == PERI_ECLOSED ||
                    (was_ready && why->code != PERI_EFORMAT && why->code != PERI_EPROTOCOL);
    rpc_conn_peer(&guest->conn, guest->address, who);
    if (is_quiet)
        env_log(server->env, ENV_LOG_DEBUG, "rpc", "the end of %s: %s (%s)", who, why->text,
                peri_error_name(why->code));
    else
        env_log_limited(server->env, &server->log_limit, host_of(guest->address), why->code,
                        ENV_LOG_WARN, "rpc", "%s %s: %s (%s)",
                        was_ready ? "the connection of" : "refused", who, why->text,
                        peri_error_name(why->code));
}

static void on_gone(struct rpc_conn *conn, const struct peri_error *why)
{
    struct rpc_guest *guest = guest_of(conn);
    struct peri_error end = PERI_ERROR_INIT;
    if (conn->ready_us == 0)
        guest->server->stats.refused++;
    log_end(guest, why);
    (void)peri_fail_plain(&end, PERI_EDISCONNECTED, "the caller's connection broke: %.300s",
                          why->text);
    end_guest(guest, &end, NULL);
}

static const struct rpc_conn_events events = {on_ready, on_message, is_wanted,
                                              on_alarm, on_room,    on_gone};

static struct rpc_guest *create_guest(struct rpc_server *server, const char *address)
{
    struct rpc_guest *guest = calloc(1, sizeof *guest);
    if (guest == NULL)
        return NULL;
    guest->server = server;
    (void)snprintf(guest->address, sizeof guest->address, "%s", address);
    for (size_t i = 0; i < RPC_CALL_BUCKETS; i++)
        peri_list_init(&guest->calls[i]);
    return guest;
}

static void on_connection(void *data, struct env_conn *wire)
{
    struct rpc_server *server = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct rpc_guest *guest = NULL;
    if (server->stats.connections < RPC_GUESTS_MAX)
        guest = create_guest(server, env_conn_peer(wire));
    if (guest == NULL) {
        env_log_limited(server->env, &server->log_limit, peri_slice_of("", 0), PERI_EBUSY,
                        ENV_LOG_WARN, "rpc", "refused %s: %" PRIu64 " connections are open",
                        env_conn_peer(wire), server->stats.connections);
        env_conn_close(wire);
        server->stats.refused++;
        return;
    }
    if (rpc_conn_accept(&guest->conn, server->env, server->self, &events, wire, &err) != 0) {
        env_log_limited(server->env, &server->log_limit, peri_slice_of("", 0), err.code,
                        ENV_LOG_WARN, "rpc", "refused %s: %s", guest->address, err.text);
        server->stats.refused++;
        free(guest);
        return;
    }
    peri_list_append(&server->guests, &guest->link);
    server->stats.connections++;
}

/* ---- functions ---- */

int rpc_server_handle(struct rpc_server *server, const char *name,
                      const struct rpc_handler *handler, struct peri_error *err)
{
    struct peri_slice wanted = peri_slice_of(name, strlen(name));
    size_t at = 0;
    int order = 1;
    while (at < server->function_count) {
        const struct rpc_function *other = server->functions[at];
        order = peri_slice_compare(wanted, peri_slice_of(other->name, other->name_size));
        if (order <= 0)
            break;
        at++;
    }
    if (order == 0)
        return peri_fail_plain(err, PERI_EINVAL, "function %s is served already", name);
    if (server->function_count == server->function_capacity) {
        size_t capacity = server->function_capacity * 2 + 8;
        struct rpc_function **functions =
            realloc(server->functions, capacity * sizeof(struct rpc_function *));
        if (functions == NULL)
            return peri_fail(err, PERI_ENOMEM, "function %s", name);
        server->functions = functions;
        server->function_capacity = capacity;
    }
    struct rpc_function *function = malloc(sizeof *function + wanted.size + 1);
    if (function == NULL)
        return peri_fail(err, PERI_ENOMEM, "function %s", name);
    *function = (struct rpc_function){.name_size = wanted.size, .handler = *handler};
    memcpy(function->name, name, wanted.size + 1);
    memmove(server->functions + at + 1, server->functions + at,
            (server->function_count - at) * sizeof(struct rpc_function *));
    server->functions[at] = function;
    server->function_count++;
    return 0;
}

/* ---- life ---- */

int rpc_server_open(struct rpc_server **out, struct env *env, const struct rpc_identity *self,
                    const char *address, struct peri_error *err)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return peri_fail(err, PERI_ENOMEM, "serve %s", address);
    server->env = env;
    server->self = self;
    peri_list_init(&server->guests);
    peri_list_init(&server->free_calls);
    int rc = env_listener_open(env, address, on_connection, server, &server->listener, err);
    if (rc != 0) {
        rpc_server_close(server);
        return rc;
    }
    *out = server;
    return 0;
}

const char *rpc_server_address(const struct rpc_server *server)
{
    return env_listener_address(server->listener);
}

void rpc_server_close(struct rpc_server *server)
{
    if (server == NULL)
        return;
    struct peri_error why = PERI_ERROR_INIT;
    (void)peri_fail_plain(&why, PERI_ECLOSED, "the server closes");
    env_listener_close(server->listener);
    while (!peri_list_is_empty(&server->guests))
        end_guest(container_of(server->guests.next, struct rpc_guest, link), &why,
                  "the server closes");
    env_log_limit_end(server->env, &server->log_limit, ENV_LOG_WARN, "rpc");
    rpc_calls_free(server);
    for (size_t i = 0; i < server->function_count; i++)
        free(server->functions[i]);
    free(server->functions);
    free(server);
}

void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out)
{
    *out = server->stats;
}
