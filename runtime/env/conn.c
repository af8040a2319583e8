/* conn.c - the door for connections and listeners: hands each call to the environment behind it. */
#include "base/assert.h"
#include "env/ops.h"

static const struct env_conn_ops *ops_of(const struct env_conn *conn)
{
    return conn->env->ops->conn;
}

static bool are_complete(const struct env_conn_events *events)
{
    return events->on_message != NULL && events->on_close != NULL;
}

int env_conn_connect(struct env *env, const char *address, const struct env_conn_events *events,
                     void *data, struct env_conn **out, struct peri_error *err)
{
    PERI_ASSERT(are_complete(events) && events->on_open != NULL);
    return env->ops->conn->connect(env, address, events, data, out, err);
}

/* Before anything comes or leaves. */
static void carry_bytes(struct env_conn *conn)
{
    conn->carries_bytes = true;
    env_conn_set_message_max(conn, ENV_CONN_QUEUE_MAX);
}

int env_conn_connect_bytes(struct env *env, const char *address,
                           const struct env_conn_events *events, void *data, struct env_conn **out,
                           struct peri_error *err)
{
    int rc = env_conn_connect(env, address, events, data, out, err);
    if (rc == 0)
        carry_bytes(*out);
    return rc;
}

void env_conn_accept(struct env_conn *conn, const struct env_conn_events *events, void *data)
{
    PERI_ASSERT(are_complete(events));
    ops_of(conn)->accept(conn, events, data);
}

void env_conn_accept_bytes(struct env_conn *conn, const struct env_conn_events *events, void *data)
{
    carry_bytes(conn);
    env_conn_accept(conn, events, data);
}

int env_conn_send(struct env_conn *conn, const struct peri_slice *parts, size_t count)
{
    return ops_of(conn)->send(conn, parts, count);
}

size_t env_conn_queued_bytes(const struct env_conn *conn)
{
    return ops_of(conn)->queued_bytes(conn);
}

void env_conn_set_message_max(struct env_conn *conn, size_t size_max)
{
    ops_of(conn)->set_message_max(conn, size_max);
}

void env_conn_set_idle_limit(struct env_conn *conn, uint64_t limit_us)
{
    ops_of(conn)->set_idle_limit(conn, limit_us);
}

void env_conn_pause(struct env_conn *conn)
{
    ops_of(conn)->pause(conn);
}

void env_conn_resume(struct env_conn *conn)
{
    ops_of(conn)->resume(conn);
}

bool env_conn_is_local(const struct env_conn *conn)
{
    return conn->is_local;
}

const char *env_conn_peer(const struct env_conn *conn)
{
    return conn->peer;
}

const char *env_conn_failure(const struct env_conn *conn)
{
    return conn->failure;
}

void env_conn_close(struct env_conn *conn)
{
    if (conn != NULL)
        ops_of(conn)->close(conn);
}

int env_listener_open(struct env *env, const char *address,
                      void (*on_connection)(void *data, struct env_conn *conn), void *data,
                      struct env_listener **out, struct peri_error *err)
{
    PERI_ASSERT(on_connection != NULL);
    return env->ops->listener->open(env, address, on_connection, data, out, err);
}

const char *env_listener_address(const struct env_listener *listener)
{
    return listener->env->ops->listener->address(listener);
}

void env_listener_close(struct env_listener *listener)
{
    if (listener != NULL)
        listener->env->ops->listener->close(listener);
}
