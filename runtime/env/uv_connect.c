/* uv_connect.c - finds the peer: looks its name up, and tries its addresses one after the other. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/uv_conn.h"

bool uv_numeric_address(const struct env_address *address, struct sockaddr_storage *bytes)
{
    return uv_ip4_addr(address->host, address->port, (struct sockaddr_in *)bytes) == 0 ||
           uv_ip6_addr(address->host, address->port, (struct sockaddr_in6 *)bytes) == 0;
}

void uv_address_print(const struct sockaddr_storage *bytes, char *out, size_t size)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)bytes;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)bytes;
    char host[INET6_ADDRSTRLEN] = "?";
    if (bytes->ss_family == AF_INET) {
        (void)uv_ip4_name(v4, host, sizeof host);
        (void)snprintf(out, size, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        (void)uv_ip6_name(v6, host, sizeof host);
        (void)snprintf(out, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}

/* A socket that connects to a free port of this machine may be given that very port, and is then
 * connected with itself. */
static bool is_own_echo(struct uv_conn *conn)
{
    struct sockaddr_storage here = {0};
    struct sockaddr_storage there = {0};
    int here_size = sizeof here;
    int there_size = sizeof there;
    return !conn->address.is_unix &&
           uv_tcp_getsockname(&conn->socket.tcp, (struct sockaddr *)&here, &here_size) == 0 &&
           uv_tcp_getpeername(&conn->socket.tcp, (struct sockaddr *)&there, &there_size) == 0 &&
           memcmp(&here, &there, sizeof here) == 0;
}

/* The next attempt begins when libuv has closed the socket. */
static void fail_attempt(struct uv_conn *conn, int status)
{
    conn->connect_status = status;
    uv_conn_close_socket(conn);
}

static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    if (address->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

bool uv_conn_has_local_peer(const struct uv_conn *conn)
{
    struct sockaddr_storage there;
    int size = sizeof there;
    return conn->address.is_unix ||
           (uv_tcp_getpeername(&conn->socket.tcp, (struct sockaddr *)&there, &size) == 0 &&
            is_loopback((struct sockaddr *)&there));
}

static void on_connect(uv_connect_t *request, int status)
{
    struct uv_conn *conn = container_of(request, struct uv_conn, connect);
    if (conn->state != CONN_OPENING)
        return;
    if (status == 0 && is_own_echo(conn))
        status = UV_ECONNREFUSED;
    if (status != 0) {
        fail_attempt(conn, status);
        return;
    }
    conn->base.is_local = uv_conn_has_local_peer(conn);
    uv_conn_is_up(conn);
    conn->events->on_open(conn->data, 0); /* last: it may close the connection */
}

void uv_conn_try_next(struct uv_conn *conn)
{
    const struct addrinfo *at = conn->next;
    if (at == NULL) {
        uv_conn_end(conn, conn->connect_status, "");
        return;
    }
    conn->next = at->ai_next;
    uv_conn_open_socket(conn, false);
    int rc = uv_tcp_connect(&conn->connect, &conn->socket.tcp, at->ai_addr, on_connect);
    if (rc != 0)
        fail_attempt(conn, rc);
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct uv_conn *conn = container_of(request, struct uv_conn, lookup);
    char what[128];
    conn->found = found; /* NULL after a failure */
    conn->next = found;
    conn->is_looking_up = false;
    if (conn->state == CONN_OPENING && status == 0) {
        uv_conn_try_next(conn);
    } else if (conn->state == CONN_OPENING) {
        (void)snprintf(what, sizeof what, "no address of that name: %s", uv_strerror(status));
        uv_conn_end(conn, PERI_EUNREACHABLE, what);
    }
    uv_conn_unref(conn);
}

static int look_up(struct uv_conn *conn)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    (void)snprintf(port, sizeof port, "%u", conn->address.port);
    int rc =
        uv_getaddrinfo(&conn->uv->loop, &conn->lookup, on_lookup, conn->address.host, port, &hints);
    if (rc == 0) {
        conn->is_looking_up = true;
        conn->references++;
    }
    return rc;
}

static int start(struct uv_conn *conn)
{
    if (conn->address.is_unix) {
        conn->base.is_local = true;
        uv_conn_open_socket(conn, true);
        uv_pipe_connect(&conn->connect, &conn->socket.pipe, conn->address.path, on_connect);
        return 0;
    }
    if (!uv_numeric_address(&conn->address, &conn->bytes))
        return look_up(conn);
    conn->numeric.ai_addr = (struct sockaddr *)&conn->bytes;
    conn->next = &conn->numeric;
    uv_conn_try_next(conn);
    return 0;
}

int uv_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                    void *data, struct env_conn **out, struct peri_error *err)
{
    struct env_address parsed;
    struct uv_conn *conn;
    struct env_uv *uv = env_uv_of(env);
    int rc = env_address_parse(address, &parsed, err);
    if (rc != 0)
        return rc;
    rc = uv_net_get(uv);
    if (rc == 0)
        rc = uv_conn_create(uv, CONN_OPENING, &conn);
    if (rc != 0)
        return peri_fail(err, rc, "connect to %s", address);
    conn->address = parsed;
    conn->events = events;
    conn->data = data;
    (void)snprintf(conn->peer, sizeof conn->peer, "%s", address);
    rc = start(conn);
    if (rc != 0) {
        env_uv_owned_remove(&conn->owned);
        uv_conn_abandon(conn);
        return peri_fail(err, rc, "connect to %s", address);
    }
    *out = &conn->base;
    return 0;
}
