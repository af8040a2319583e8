/* echo_env.c - an echo of messages on env_conn_*, without rpc: what frames and the door cost.
 * Usage: echo_env; prints "listening at 127.0.0.1:PORT". */
#include <stdio.h>
#include <stdlib.h>

#include "env/uv.h"

static void on_message(void *data, struct peri_slice message)
{
    struct env_conn **conn = data;
    if (env_conn_send(*conn, &message, 1) != 0)
        abort();
}

static void on_close(void *data, int status)
{
    struct env_conn **conn = data;
    (void)status;
    env_conn_close(*conn);
    free(conn);
}

static const struct env_conn_events events = {.on_message = on_message, .on_close = on_close};

static void on_connection(void *data, struct env_conn *conn)
{
    struct env_conn **kept = malloc(sizeof(struct env_conn *));
    (void)data;
    if (kept == NULL)
        abort();
    *kept = conn;
    env_conn_accept(conn, &events, kept);
}

int main(void)
{
    struct env *env;
    struct env_listener *listener;
    struct peri_error err = PERI_ERROR_INIT;
    if (env_uv_create(&env, &err) != 0 ||
        env_listener_open(env, "127.0.0.1:0", on_connection, NULL, &listener, &err) != 0) {
        fprintf(stderr, "echo_env: %s\n", err.text);
        return 1;
    }
    printf("listening at %s\n", env_listener_address(listener));
    fflush(stdout);
    env_run(env);
    env_close(env);
    return 0;
}
