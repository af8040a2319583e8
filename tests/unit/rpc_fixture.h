/* rpc_fixture.h - a client and a server of one process, over TCP on this machine, and a network
 * between them that loses, repeats and reorders messages. Include cmocka first. */
#ifndef PERI_TESTS_RPC_FIXTURE_H
#define PERI_TESTS_RPC_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "env/ops.h"
#include "env/uv.h"
#include "rpc/client_state.h"
#include "rpc/server.h"
#include "rpc/stream.h"

enum { CALLS = 400, AT_A_TIME = 32, LONG_SIZE = 600000, ITEMS = 200, DEADLINE_US = 1000000 };

static const struct rpc_identity self = {.cluster = {"test", 4},
                                         .node = {"n1", 2},
                                         .incarnation = 1,
                                         .body_max = 1 << 20,
                                         .inflight_max = 64,
                                         .ping_ms = 1000};

/* ---- a network with faults: every message that is sent comes by here ---- */

struct network {
    const struct env_ops *real;
    struct env_ops ops;
    struct env_conn_ops conn;
    uint64_t seed;
    unsigned faults_percent; /* of messages, for each kind of fault */
    long countdown;          /* sends until one fails; 0: none does */
    bool has_failed;
    struct env_conn *held_for; /* a message that comes after the next one */
    struct peri_buffer held;
};

static struct network network;

static inline unsigned chance(void)
{
    network.seed = network.seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (unsigned)(network.seed >> 33) % 100;
}

static inline void send_held(void)
{
    struct env_conn *conn = network.held_for;
    struct peri_slice bytes = peri_buffer_slice(&network.held);
    network.held_for = NULL;
    if (conn != NULL)
        (void)network.real->conn->send(conn, &bytes, 1);
    network.held.size = 0;
}

static inline int faulty_send(struct env_conn *conn, const struct peri_slice *parts, size_t count)
{
    if (network.countdown > 0 && --network.countdown == 0) {
        network.has_failed = true;
        return PERI_ENOMEM;
    }
    unsigned fate = chance();
    unsigned percent = network.faults_percent;
    if (percent > 0)
        conn->frames = NULL; /* in bursts nothing gets lost */
    if (fate < percent)
        return 0; /* lost */
    if (fate < 2 * percent && network.held_for == NULL) {
        for (size_t i = 0; i < count; i++)
            assert_int_equal(peri_buffer_append(&network.held, parts[i].data, parts[i].size), 0);
        network.held_for = conn;
        return 0;
    }
    int rc = network.real->conn->send(conn, parts, count);
    if (fate < 3 * percent)
        (void)network.real->conn->send(conn, parts, count);
    send_held();
    return rc;
}

static inline void faulty_close(struct env_conn *conn)
{
    if (network.held_for == conn) {
        network.held_for = NULL;
        network.held.size = 0;
    }
    network.real->conn->close(conn);
}

static inline void network_init(struct env *env, uint64_t seed, unsigned faults_percent)
{
    peri_buffer_deinit(&network.held);
    network = (struct network){.real = env->ops, .ops = *env->ops, .conn = *env->ops->conn};
    network.seed = seed;
    network.faults_percent = faults_percent;
    network.conn.send = faulty_send;
    network.conn.close = faulty_close;
    network.ops.conn = &network.conn;
    env->ops = &network.ops;
}

/* ---- the world ---- */

struct call {
    struct rpc_request request;
    struct world *world;
    unsigned number;
    unsigned ended;
};

struct world {
    struct env *env;
    struct rpc_server *server;
    struct rpc_client *client;
    struct peri_buffer args;
    struct call calls[CALLS];
    unsigned ran[CALLS]; /* how often the function ran for that call */
    unsigned started, ended, succeeded;
    struct env_timer *limit;
    bool is_late;
};

static inline void on_limit(void *data)
{
    struct world *world = data;
    world->is_late = true;
    env_stop(world->env);
}

static inline void on_echo(struct rpc_call *call)
{
    struct world *world = call->handler->data;
    unsigned number = (unsigned char)call->args.data[2] << 8 | (unsigned char)call->args.data[3];
    world->ran[number]++;
    rpc_call_reply(call, call->args);
}

static inline void yield_items(struct rpc_call *call)
{
    static const char item[] = {'\x91', '\x01'};
    while (call->items < ITEMS)
        if (rpc_call_item(call, peri_slice_of(item, sizeof item)) != 0)
            return; /* on_credit goes on */
    rpc_call_end(call);
}

static inline void on_gone(struct rpc_call *call, int code, const char *reason)
{
    (void)call;
    (void)code;
    (void)reason;
}

/* Answers never. */
static inline void on_hold(struct rpc_call *call)
{
    (void)call;
}

static inline int open_server(struct world *world, const char *address, struct peri_error *err)
{
    const struct rpc_handler echo = {.on_call = on_echo, .data = world};
    const struct rpc_handler items = {
        .on_call = yield_items, .on_cancel = on_gone, .on_credit = yield_items};
    const struct rpc_handler hold = {.on_call = on_hold, .on_cancel = on_gone};
    int rc = rpc_server_open(&world->server, world->env, &self, address, err);
    if (rc == 0)
        rc = rpc_server_handle(world->server, "echo", &echo, err);
    if (rc == 0)
        rc = rpc_server_handle(world->server, "items", &items, err);
    if (rc == 0)
        rc = rpc_server_handle(world->server, "hold", &hold, err);
    return rc;
}

static inline int open_both(struct world *world, struct peri_error *err)
{
    int rc = open_server(world, "127.0.0.1:0", err);
    if (rc == 0)
        rc = rpc_client_open(&world->client, world->env, &self, rpc_server_address(world->server),
                             err);
    return rc;
}

static inline struct world *world_create(uint64_t seed, unsigned faults_percent)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    assert_int_equal(env_uv_create(&world->env, NULL), 0);
    env_log_set_level(world->env, ENV_LOG_ERROR);
    network_init(world->env, seed, faults_percent);
    assert_int_equal(env_timer_create(world->env, on_limit, world, &world->limit), 0);
    env_timer_start(world->limit, 60000000);
    return world;
}

static inline void world_close(struct world *world)
{
    rpc_client_close(world->client);
    rpc_server_close(world->server);
    env_timer_close(world->limit);
    peri_buffer_deinit(&world->args);
    peri_buffer_deinit(&network.held);
    env_close(world->env);
    free(world);
}

/* [number, as many bytes as there is room for]: every tenth is long. */
static inline struct peri_slice arguments(struct world *world, unsigned number)
{
    size_t size = number % 10 == 9 ? LONG_SIZE : 10;
    const unsigned char head[] = {0x92,
                                  0xcd,
                                  (unsigned char)(number >> 8),
                                  (unsigned char)number,
                                  0xc6,
                                  0,
                                  (unsigned char)(size >> 16),
                                  (unsigned char)(size >> 8),
                                  (unsigned char)size};
    world->args.size = 0;
    assert_int_equal(peri_buffer_append(&world->args, head, sizeof head), 0);
    assert_int_equal(peri_buffer_reserve(&world->args, size), 0);
    memset(world->args.data + world->args.size, (int)('a' + number % 26), size);
    world->args.size += size;
    return peri_buffer_slice(&world->args);
}

static inline void start_call(struct world *world);

static inline void on_done(struct rpc_request *request, const struct rpc_result *result)
{
    struct call *call = container_of(request, struct call, request);
    struct world *world = call->world;
    call->ended++;
    world->ended++;
    if (result->code == 0) {
        world->succeeded++;
        assert_int_equal(peri_slice_compare(result->values, arguments(world, call->number)), 0);
        assert_true(world->ran[call->number] > 0);
    } else {
        assert_true(result->message.size > 0);
        assert_true(result->code_name.size > 0);
    }
    if (world->started < CALLS)
        start_call(world);
    else if (world->ended == CALLS)
        env_stop(world->env);
}

static inline void start_call(struct world *world)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct call *call = &world->calls[world->started];
    call->world = world;
    call->number = world->started++;
    call->request.name = peri_slice_of("echo", 4);
    call->request.due_us = env_now_us(world->env) + DEADLINE_US;
    call->request.on_done = on_done;
    assert_int_equal(
        rpc_client_call(world->client, &call->request, arguments(world, call->number), true, &err),
        0);
}

/* ---- how a single call ended ---- */

struct outcome {
    struct rpc_request request;
    struct env *env;
    bool is_done;
    int code;
};

static inline void on_outcome(struct rpc_request *request, const struct rpc_result *result)
{
    struct outcome *outcome = container_of(request, struct outcome, request);
    outcome->is_done = true;
    outcome->code = result->code;
    env_stop(outcome->env);
}

#endif
