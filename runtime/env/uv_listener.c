/* uv_listener.c - waits for others to connect. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "env/log_limit.h"
#include "env/posix_socket.h"
#include "env/uv_conn.h"

enum {
    BACKLOG = 1024,
    FD_WANTED = 65536, /* descriptors that the soft limit is raised to, where allowed */
    FD_RESERVE = 64,   /* descriptors that connections leave to files and pipes */
};

struct uv_listener {
    struct env_listener base;
    struct uv_owned owned;
    struct env_uv *uv;
    union uv_socket socket;
    struct env_address address;
    char name[CONN_NAME_SIZE];
    void (*on_connection)(void *data, struct env_conn *conn);
    void *data;
    union uv_socket refused; /* takes a connection that there is no memory for */
    bool is_refusing;        /* refused is being closed */
    bool is_waiting;         /* a connection waits for refused */
    bool is_closed;
    unsigned references;
    struct env_log_limit log_limit; /* of refused connections */
};

static struct uv_listener *listener_of(const struct env_listener *listener)
{
    return container_of(listener, struct uv_listener, base);
}

static void unref(struct uv_listener *listener)
{
    if (--listener->references == 0)
        free(listener);
}

/* ---- connections that there is no room for ---- */

static void log_refused(struct uv_listener *listener, const char *why)
{
    env_log_limited(&listener->uv->base, &listener->log_limit, peri_slice_of(why, strlen(why)), 0,
                    ENV_LOG_WARN, "env", "%s refused connections: %s", listener->name, why);
}

static void take(struct uv_listener *listener);

static void on_refused_closed(uv_handle_t *handle)
{
    struct uv_listener *listener = container_of(handle, struct uv_listener, refused.any);
    listener->is_refusing = false;
    if (listener->is_waiting && !listener->is_closed)
        take(listener);
    unref(listener);
}

/* libuv hands over no further connection before this one has been accepted. */
static void refuse(struct uv_listener *listener)
{
    listener->is_waiting = listener->is_refusing;
    if (listener->is_refusing)
        return;
    log_refused(listener, "no memory");
    if (listener->address.is_unix)
        (void)uv_pipe_init(&listener->uv->loop, &listener->refused.pipe, 0);
    else
        (void)uv_tcp_init(&listener->uv->loop, &listener->refused.tcp);
    (void)uv_accept(&listener->socket.stream, &listener->refused.stream);
    listener->is_refusing = true;
    listener->references++;
    uv_close(&listener->refused.any, on_refused_closed);
}

/* Descriptors are numbered from below: a high one says that few are left. The store and child
 * processes need some as well. */
static bool is_last_descriptor(const struct uv_conn *conn)
{
    struct rlimit limit;
    uv_os_fd_t fd = -1;
    (void)uv_fileno(&conn->socket.any, &fd);
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           fd >= (int64_t)limit.rlim_cur - FD_RESERVE;
}

/* ---- accepting ---- */

static void name_peer(struct uv_conn *conn, const struct uv_listener *listener)
{
    struct sockaddr_storage there = {0};
    int size = sizeof there;
    if (listener->address.is_unix) {
        memcpy(conn->peer, listener->name, sizeof conn->peer);
        return;
    }
    (void)uv_tcp_getpeername(&conn->socket.tcp, (struct sockaddr *)&there, &size);
    uv_address_print(&there, conn->peer, sizeof conn->peer);
}

static void drop(struct uv_conn *conn)
{
    env_uv_owned_remove(&conn->owned);
    uv_conn_abandon(conn);
}

static void take(struct uv_listener *listener)
{
    struct uv_conn *conn;
    listener->is_waiting = false;
    if (uv_conn_create(listener->uv, CONN_OFFERED, &conn) != 0) {
        refuse(listener);
        return;
    }
    uv_conn_open_socket(conn, listener->address.is_unix);
    int rc = uv_accept(&listener->socket.stream, &conn->socket.stream);
    if (rc != 0 || is_last_descriptor(conn)) {
        log_refused(listener, rc != 0 ? peri_strerror(rc) : "few file descriptors are left");
        drop(conn);
        return;
    }
    conn->address.is_unix = listener->address.is_unix;
    conn->base.is_local = uv_conn_has_local_peer(conn);
    name_peer(conn, listener);
    listener->on_connection(listener->data, &conn->base); /* may close the listener */
    PERI_ASSERT(conn->state != CONN_OFFERED);             /* accepted or closed (env.h) */
}

static void on_connection(uv_stream_t *handle, int status)
{
    struct uv_listener *listener = container_of(handle, struct uv_listener, socket.stream);
    if (status != 0)
        log_refused(listener, peri_strerror(status));
    else if (!listener->is_closed)
        take(listener);
}

/* ---- opening ---- */

/* A name is looked up on the spot: this happens once, when a node starts. */
static int resolve(struct env_uv *uv, const struct env_address *address,
                   struct sockaddr_storage *out, struct peri_error *err)
{
    uv_getaddrinfo_t request;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    if (uv_numeric_address(address, out))
        return 0;
    int rc = uv_getaddrinfo(&uv->loop, &request, NULL, address->host, NULL, &hints);
    if (rc != 0)
        return peri_fail_plain(err, PERI_EUNREACHABLE, "listen at %s: no address of that name: %s",
                               address->host, uv_strerror(rc));
    memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    if (out->ss_family == AF_INET)
        ((struct sockaddr_in *)out)->sin_port = htons(address->port);
    else
        ((struct sockaddr_in6 *)out)->sin6_port = htons(address->port);
    uv_freeaddrinfo(request.addrinfo);
    return 0;
}

/* Programs ask for 1024 descriptors unless told otherwise; a node may have more connections. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FD_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max < FD_WANTED ? limit.rlim_max : FD_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int listen_tcp(struct uv_listener *listener, const struct sockaddr_storage *at)
{
    struct sockaddr_storage bound = {0};
    int size = sizeof bound;
    int rc = uv_tcp_bind(&listener->socket.tcp, (const struct sockaddr *)at, 0);
    if (rc == 0)
        rc = uv_listen(&listener->socket.stream, BACKLOG, on_connection);
    if (rc == 0)
        rc = uv_tcp_getsockname(&listener->socket.tcp, (struct sockaddr *)&bound, &size);
    uv_address_print(&bound, listener->name, sizeof listener->name);
    return rc;
}

/* Nobody else opens or replaces the path meanwhile, nobody can connect before the mode is set. */
static int listen_unix(struct uv_listener *listener)
{
    struct posix_socket_lock lock;
    const char *path = listener->address.path;
    (void)snprintf(listener->name, sizeof listener->name, "unix:%s", path);
    int rc = posix_socket_lock(&lock, path);
    if (rc != 0)
        return rc;
    rc = uv_pipe_bind(&listener->socket.pipe, path);
    if (rc == UV_EADDRINUSE && posix_socket_remove_stale(path))
        rc = uv_pipe_bind(&listener->socket.pipe, path);
    if (rc == 0)
        rc = posix_socket_make_private(path);
    if (rc == 0)
        rc = uv_listen(&listener->socket.stream, BACKLOG, on_connection);
    posix_socket_unlock(&lock);
    return rc;
}

static void on_closed(uv_handle_t *handle)
{
    unref(container_of(handle, struct uv_listener, socket.any));
}

/* libuv removes the file of a Unix socket. */
static void close_owned(struct uv_owned *owned)
{
    struct uv_listener *listener = container_of(owned, struct uv_listener, owned);
    listener->is_closed = true;
    uv_close(&listener->socket.any, on_closed);
}

static void listener_close(struct env_listener *base)
{
    struct uv_listener *listener = listener_of(base);
    env_uv_owned_remove(&listener->owned);
    close_owned(&listener->owned);
}

static struct uv_listener *create(struct env_uv *uv, const struct env_address *address)
{
    struct uv_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return NULL;
    listener->base.env = &uv->base;
    listener->uv = uv;
    listener->address = *address;
    listener->references = 1;
    if (address->is_unix)
        (void)uv_pipe_init(&uv->loop, &listener->socket.pipe, 0); /* neither can fail */
    else
        (void)uv_tcp_init(&uv->loop, &listener->socket.tcp);
    env_uv_owned_add(uv, &listener->owned, close_owned);
    return listener;
}

static int listener_open(struct env *env, const char *text,
                         void (*callback)(void *data, struct env_conn *conn), void *data,
                         struct env_listener **out, struct peri_error *err)
{
    struct env_uv *uv = env_uv_of(env);
    struct env_address address;
    struct sockaddr_storage at = {0};
    int rc = env_address_parse(text, &address, err);
    if (rc == 0 && !address.is_unix)
        rc = resolve(uv, &address, &at, err);
    if (rc != 0)
        return rc;
    struct uv_listener *listener = uv_net_get(uv) == 0 ? create(uv, &address) : NULL;
    if (listener == NULL)
        return peri_fail(err, PERI_ENOMEM, "listen at %s", text);
    listener->on_connection = callback;
    listener->data = data;
    raise_descriptor_limit();
    rc = address.is_unix ? listen_unix(listener) : listen_tcp(listener, &at);
    if (rc != 0) {
        listener_close(&listener->base);
        return peri_fail(err, rc, "listen at %s", text);
    }
    *out = &listener->base;
    return 0;
}

static const char *listener_address(const struct env_listener *base)
{
    return listener_of(base)->name;
}

const struct env_listener_ops env_uv_listener_ops = {listener_open, listener_address,
                                                     listener_close};
