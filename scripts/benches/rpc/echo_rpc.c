/* echo_rpc.c - the C handler that scripts/bench rpc measures.
 * Usage: echo_rpc; prints "listening at 127.0.0.1:PORT". */
#include <stdio.h>

#include "env/uv.h"
#include "rpc/server.h"

static void on_call(struct rpc_call *call)
{
    rpc_call_reply(call, call->args);
}

int main(void)
{
    static const struct rpc_handler echo = {.on_call = on_call};
    static const struct rpc_identity self = {.cluster = {"bench", 5},
                                             .incarnation = 1,
                                             .body_max = 16 << 20,
                                             .inflight_max = 1024,
                                             .ping_ms = 2000};
    struct env *env;
    struct rpc_server *server;
    struct peri_error err = PERI_ERROR_INIT;
    if (env_uv_create(&env, &err) != 0 ||
        rpc_server_open(&server, env, &self, "127.0.0.1:0", &err) != 0 ||
        rpc_server_handle(server, "echo", &echo, &err) != 0) {
        fprintf(stderr, "echo_rpc: %s\n", err.text);
        return 1;
    }
    printf("listening at %s\n", rpc_server_address(server));
    fflush(stdout);
    env_run(env);
    rpc_server_close(server);
    env_close(env);
    return 0;
}
