/* conn_fixture.h - a listener, a client and a server in one loop, and what happened to both. */
#ifndef PERI_TESTS_CONN_FIXTURE_H
#define PERI_TESTS_CONN_FIXTURE_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "env/uv.h"

/* One end of a connection, and what happened there. */
struct end {
    struct env *env;
    struct env_conn *conn;
    int opens, closes, writables;
    int open_status, close_status;
    size_t messages;
    struct peri_buffer received; /* all messages, one behind the other */
    size_t pause_at;             /* pauses when so many messages have come; 0: never */
    size_t stop_at;              /* stops the loop when so many messages have come; 0: never */
    bool echoes;
    bool closes_on_message;
    bool has_broken_writes; /* echoes may be refused */
    bool stops_on_writable;
    uint64_t idle_limit_us;
    size_t message_max;
    char failure[512];
};

struct net {
    struct env *env;
    struct env_listener *listener;
    struct end client, server;
    int connections;
    bool closes_at_once;
};

static inline void on_open(void *data, int status)
{
    struct end *end = data;
    end->opens++;
    end->open_status = status;
    if (status != 0) {
        (void)snprintf(end->failure, sizeof end->failure, "%s", env_conn_failure(end->conn));
        env_stop(end->env);
    }
}

static inline void on_message(void *data, struct peri_slice message)
{
    struct end *end = data;
    end->messages++;
    assert_int_equal(peri_buffer_append(&end->received, message.data, message.size), 0);
    int rc = end->echoes ? env_conn_send(end->conn, &message, 1) : 0;
    assert_int_equal(rc, end->has_broken_writes && rc != 0 ? PERI_ECLOSED : 0);
    if (end->messages == end->pause_at)
        env_conn_pause(end->conn);
    if (end->closes_on_message) {
        env_conn_close(end->conn);
        end->conn = NULL;
    }
    if (end->messages == end->stop_at)
        env_stop(end->env);
}

static inline void on_writable(void *data)
{
    struct end *end = data;
    end->writables++;
    if (end->stops_on_writable)
        env_stop(end->env);
}

static inline void on_close(void *data, int status)
{
    struct end *end = data;
    end->closes++;
    end->close_status = status;
    (void)snprintf(end->failure, sizeof end->failure, "%s", env_conn_failure(end->conn));
    env_stop(end->env);
}

static const struct env_conn_events end_events = {on_open, on_message, on_writable, on_close};

static inline void on_connection(void *data, struct env_conn *conn)
{
    struct net *net = data;
    net->connections++;
    if (net->closes_at_once || net->server.conn != NULL) {
        env_conn_close(conn);
        return;
    }
    net->server.conn = conn;
    env_conn_accept(conn, &end_events, &net->server);
    if (net->server.idle_limit_us > 0)
        env_conn_set_idle_limit(conn, net->server.idle_limit_us);
    if (net->server.message_max > 0)
        env_conn_set_message_max(conn, net->server.message_max);
}

static inline void net_open(struct net *net, const char *address)
{
    struct peri_error err = PERI_ERROR_INIT;
    *net = (struct net){0};
    assert_int_equal(env_uv_create(&net->env, &err), 0);
    net->client.env = net->env;
    net->server.env = net->env;
    assert_int_equal(env_listener_open(net->env, address, on_connection, net, &net->listener, &err),
                     0);
}

static inline void net_connect(struct net *net)
{
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_conn_connect(net->env, env_listener_address(net->listener), &end_events,
                                      &net->client, &net->client.conn, &err),
                     0);
}

static inline void net_close(struct net *net)
{
    env_conn_close(net->client.conn);
    env_conn_close(net->server.conn);
    env_listener_close(net->listener);
    env_close(net->env);
    peri_buffer_deinit(&net->client.received);
    peri_buffer_deinit(&net->server.received);
}

static inline int send_text(struct env_conn *conn, const char *text)
{
    struct peri_slice part = peri_slice_of(text, strlen(text));
    return env_conn_send(conn, &part, 1);
}

static inline uint16_t port_of(const struct net *net)
{
    const char *port = strrchr(env_listener_address(net->listener), ':') + 1;
    return (uint16_t)strtoul(port, NULL, 10);
}

static inline bool has_received(const struct end *end, const char *text)
{
    return end->received.size == strlen(text) &&
           memcmp(end->received.data, text, end->received.size) == 0;
}

/* A client that is not ours. */
static inline int raw_connect(const struct net *net)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port_of(net))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

#endif
