/* Calls between a client and a server of one process, over TCP on this machine: with allocations
 * and sends that fail, and through a network that loses, repeats and reorders messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
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

static unsigned chance(void)
{
    network.seed = network.seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (unsigned)(network.seed >> 33) % 100;
}

static void send_held(void)
{
    struct env_conn *conn = network.held_for;
    struct peri_slice bytes = peri_buffer_slice(&network.held);
    network.held_for = NULL;
    if (conn != NULL)
        (void)network.real->conn->send(conn, &bytes, 1);
    network.held.size = 0;
}

static int faulty_send(struct env_conn *conn, const struct peri_slice *parts, size_t count)
{
    if (network.countdown > 0 && --network.countdown == 0) {
        network.has_failed = true;
        return PERI_ENOMEM;
    }
    unsigned fate = chance();
    unsigned percent = network.faults_percent;
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

static void faulty_close(struct env_conn *conn)
{
    if (network.held_for == conn) {
        network.held_for = NULL;
        network.held.size = 0;
    }
    network.real->conn->close(conn);
}

static void network_init(struct env *env, uint64_t seed, unsigned faults_percent)
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

static void on_limit(void *data)
{
    struct world *world = data;
    world->is_late = true;
    env_stop(world->env);
}

static void on_echo(struct rpc_call *call)
{
    struct world *world = call->handler->data;
    unsigned number = (unsigned char)call->args.data[2] << 8 | (unsigned char)call->args.data[3];
    world->ran[number]++;
    rpc_call_reply(call, call->args);
}

static void yield_items(struct rpc_call *call)
{
    static const char item[] = {'\x91', '\x01'};
    while (call->items < ITEMS)
        if (rpc_call_item(call, peri_slice_of(item, sizeof item)) != 0)
            return; /* on_credit goes on */
    rpc_call_end(call);
}

static void on_gone(struct rpc_call *call, int code, const char *reason)
{
    (void)call;
    (void)code;
    (void)reason;
}

/* Answers never. */
static void on_hold(struct rpc_call *call)
{
    (void)call;
}

static int open_server(struct world *world, const char *address, struct peri_error *err)
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

static int open_both(struct world *world, struct peri_error *err)
{
    int rc = open_server(world, "127.0.0.1:0", err);
    if (rc == 0)
        rc = rpc_client_open(&world->client, world->env, &self, rpc_server_address(world->server),
                             err);
    return rc;
}

static struct world *world_create(uint64_t seed, unsigned faults_percent)
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

static void world_close(struct world *world)
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
static struct peri_slice arguments(struct world *world, unsigned number)
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

static void start_call(struct world *world);

static void on_done(struct rpc_request *request, const struct rpc_result *result)
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

static void start_call(struct world *world)
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

static void test_a_network_with_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *world = world_create(seed, 3);
        assert_int_equal(open_both(world, NULL), 0);
        while (world->started < AT_A_TIME)
            start_call(world);
        env_run(world->env);
        if (world->is_late || world->ended != CALLS)
            fail_msg("seed %u: %u of %u calls ended", (unsigned)seed, world->ended, CALLS);
        for (unsigned i = 0; i < CALLS; i++) {
            assert_int_equal(world->calls[i].ended, 1);
            assert_true(world->ran[i] <= 1); /* at most once */
        }
        assert_true(world->succeeded > CALLS / 4);
        assert_true(world->succeeded < CALLS);
        world_close(world);
    }
}

/* ---- streams ---- */

struct reading {
    struct rpc_stream stream;
    struct env *env;
    unsigned items;
    enum rpc_stream_outcome outcome;
};

static void on_change(struct rpc_stream *stream)
{
    struct reading *reading = container_of(stream, struct reading, stream);
    struct peri_buffer values = {NULL, 0, 0};
    for (;;) {
        reading->outcome = rpc_stream_take(stream, &values);
        if (reading->outcome != RPC_STREAM_ITEM)
            break;
        assert_int_equal(values.size, 2);
        reading->items++;
        peri_buffer_deinit(&values);
    }
    if (reading->outcome == RPC_STREAM_WAIT)
        rpc_stream_expect(stream, env_now_us(reading->env) + DEADLINE_US);
    else
        env_stop(reading->env);
}

/* Ends, with every item or with an error: never with a hole. */
static void test_streams_have_no_holes(void **state)
{
    (void)state;
    unsigned whole = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static const char none[] = {'\x90'};
        struct world *world = world_create(seed, seed <= 2 ? 0 : 1);
        struct reading reading = {.env = world->env};
        assert_int_equal(open_both(world, NULL), 0);
        rpc_stream_open(&reading.stream, world->client, peri_slice_of("items", 5),
                        peri_slice_of(none, sizeof none), env_now_us(world->env) + 2 * DEADLINE_US,
                        true, NULL, on_change);
        env_run(world->env);
        assert_false(world->is_late);
        if (reading.outcome == RPC_STREAM_END)
            assert_int_equal(reading.items, ITEMS);
        else
            assert_int_equal(reading.outcome, RPC_STREAM_FAILED);
        whole += reading.outcome == RPC_STREAM_END;
        rpc_stream_close(&reading.stream);
        world_close(world);
    }
    assert_true(whole >= 2);
}

/* ---- failures of our own side ---- */

struct outcome {
    struct rpc_request request;
    struct env *env;
    bool is_done;
    int code;
};

static void on_outcome(struct rpc_request *request, const struct rpc_result *result)
{
    struct outcome *outcome = container_of(request, struct outcome, request);
    outcome->is_done = true;
    outcome->code = result->code;
    env_stop(outcome->env);
}

/* One call of a fresh client and server; whatever fails, it ends. Returns how, or what opening
 * gave.
 */
static int one_call(struct world *world, unsigned number, uint64_t deadline_us)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct outcome outcome = {.env = world->env};
    struct peri_slice args = peri_buffer_slice(&world->args);
    int rc = open_both(world, &err);
    outcome.request.name = peri_slice_of("echo", 4);
    outcome.request.due_us = env_now_us(world->env) + deadline_us;
    outcome.request.on_done = on_outcome;
    if (rc == 0)
        rc = rpc_client_call(world->client, &outcome.request, args, true, &err);
    if (rc != 0) {
        assert_true(err.text[0] != '\0');
        return rc;
    }
    env_run(world->env);
    assert_true(outcome.is_done);
    assert_true(world->ran[number] <= 1);
    return outcome.code;
}

/* Runs a long call with the n-th of something failing, for every n until nothing is left to fail;
 * then it must succeed, given time enough. Returns how often something failed. */
static long fail_each(void (*start_failing)(long n), bool (*end_failing)(void))
{
    unsigned number = 9; /* in chunks */
    uint64_t deadline_us = 200000;
    for (long n = 1;; n++) {
        struct world *world = world_create(1, 0);
        (void)arguments(world, number);
        start_failing(n);
        int rc = one_call(world, number, deadline_us);
        bool has_failed = end_failing();
        world_close(world);
        if (!has_failed && rc == 0)
            return n - 1;
        if (!has_failed) { /* the machine was busy */
            assert_int_equal(rc, PERI_EDEADLINE);
            assert_true(deadline_us < 10000000);
            deadline_us *= 4;
            n--;
        }
    }
}

static void test_allocations_that_fail(void **state)
{
    (void)state;
    assert_true(fail_each(test_alloc_fail, test_alloc_end) > 20);
}

static void start_failing_sends(long n)
{
    network.countdown = n;
}

static bool end_failing_sends(void)
{
    return network.has_failed;
}

static void test_sends_that_fail(void **state)
{
    (void)state;
    assert_true(fail_each(start_failing_sends, end_failing_sends) > 6);
}

/* ---- ends ---- */

static void test_a_cancelled_request_is_silent(void **state)
{
    (void)state;
    struct world *world = world_create(1, 0);
    struct outcome held = {.env = world->env};
    struct rpc_server_stats stats;
    static const char none[] = {'\x90'};
    assert_int_equal(open_both(world, NULL), 0);
    held.request.name = peri_slice_of("hold", 4);
    held.request.due_us = env_now_us(world->env) + 50000000;
    held.request.on_done = on_outcome;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(
        rpc_client_call(world->client, &held.request, peri_slice_of(none, sizeof none), true, &err),
        0);
    env_timer_start(world->limit, 50000);
    env_run(world->env);
    rpc_server_stats(world->server, &stats);
    assert_int_equal(stats.in_flight, 1);
    rpc_request_cancel(&held.request, "enough");
    env_timer_start(world->limit, 50000);
    env_run(world->env);
    rpc_server_stats(world->server, &stats);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.failed, 1);
    assert_false(held.is_done);
    world_close(world);
}

static void test_closing_ends_what_is_under_way(void **state)
{
    (void)state;
    struct world *world = world_create(1, 0);
    struct outcome held = {.env = world->env};
    static const char none[] = {'\x90'};
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(open_both(world, NULL), 0);
    held.request.name = peri_slice_of("hold", 4);
    held.request.due_us = env_now_us(world->env) + 50000000;
    held.request.on_done = on_outcome;
    assert_int_equal(
        rpc_client_call(world->client, &held.request, peri_slice_of(none, sizeof none), true, &err),
        0);
    env_timer_start(world->limit, 50000);
    env_run(world->env);
    rpc_client_close(world->client);
    world->client = NULL;
    assert_true(held.is_done);
    assert_int_equal(held.code, PERI_ECLOSED);
    world_close(world);
}

/* ---- a client that does not read ---- */

static void run_for(struct world *world, uint64_t us)
{
    env_timer_start(world->limit, us);
    env_run(world->env);
}

/* A client that calls and does not read: the server stops reading too, so that the client's own
 * queue fills and it is told so. Nothing that was accepted is lost. */
static void test_answers_that_are_not_taken(void **state)
{
    (void)state;
    enum { LONG_CALLS = 60 };
    static struct outcome outcomes[LONG_CALLS];
    struct world *world = world_create(1, 0);
    struct peri_error err = PERI_ERROR_INIT;
    unsigned started = 0;
    unsigned refused = 0;
    assert_int_equal(open_both(world, NULL), 0);
    while (!world->client->conn.is_ready)
        run_for(world, 1000);
    env_conn_pause(world->client->conn.wire);
    for (unsigned round = 0; round < 20; round++) {
        int rc = 0;
        while (rc == 0 && started < LONG_CALLS) {
            struct outcome *outcome = &outcomes[started];
            *outcome = (struct outcome){.env = world->env};
            outcome->request.name = peri_slice_of("echo", 4);
            outcome->request.due_us = env_now_us(world->env) + 60000000;
            outcome->request.on_done = on_outcome;
            rc = rpc_client_call(world->client, &outcome->request,
                                 arguments(world, 9 + started % 30 * 10), true, &err);
            started += rc == 0;
        }
        refused += rc == PERI_EBUSY;
        run_for(world, 2000); /* not long enough to be taken for dead */
    }
    assert_true(started > 5 && started < LONG_CALLS);
    assert_true(refused > 0);
    env_conn_resume(world->client->conn.wire);
    world->is_late = false;
    env_timer_start(world->limit, 60000000);
    for (unsigned i = 0; i < started; i++) {
        while (!outcomes[i].is_done && !world->is_late)
            env_run(world->env);
        assert_true(outcomes[i].is_done);
        assert_int_equal(outcomes[i].code, 0);
    }
    world_close(world);
}

/* ---- a peer of another version ---- */

struct stranger {
    struct env *env;
    struct env_conn *conn;
    char code[32];
    bool is_closed;
};

static void on_stranger_open(void *data, int status)
{
    struct stranger *stranger = data;
    static const char hello[20] = {9, 1}; /* version 9, kind HELLO */
    struct peri_slice bytes = peri_slice_of(hello, sizeof hello);
    assert_int_equal(status, 0);
    assert_int_equal(env_conn_send(stranger->conn, &bytes, 1), 0);
}

static void on_stranger_message(void *data, struct peri_slice bytes)
{
    struct stranger *stranger = data;
    struct wire_message message;
    assert_int_equal(wire_message_decode(bytes, &message, NULL), 0);
    assert_int_equal(message.kind, WIRE_REFUSE);
    memcpy(stranger->code, message.refuse.code.data, message.refuse.code.size);
}

static void on_stranger_close(void *data, int status)
{
    struct stranger *stranger = data;
    (void)status;
    stranger->is_closed = true;
    env_stop(stranger->env);
}

static void test_a_peer_of_another_version_learns_why(void **state)
{
    (void)state;
    static const struct env_conn_events stranger_events = {on_stranger_open, on_stranger_message,
                                                           NULL, on_stranger_close};
    struct world *world = world_create(1, 0);
    struct stranger stranger = {.env = world->env};
    struct rpc_server_stats stats;
    assert_int_equal(open_server(world, "127.0.0.1:0", NULL), 0);
    assert_int_equal(env_conn_connect(world->env, rpc_server_address(world->server),
                                      &stranger_events, &stranger, &stranger.conn, NULL),
                     0);
    env_run(world->env);
    assert_true(stranger.is_closed);
    assert_string_equal(stranger.code, "EVERSION");
    rpc_server_stats(world->server, &stats);
    assert_int_equal(stats.refused, 1);
    env_conn_close(stranger.conn);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_network_with_faults),
        cmocka_unit_test(test_streams_have_no_holes),
        cmocka_unit_test(test_allocations_that_fail),
        cmocka_unit_test(test_sends_that_fail),
        cmocka_unit_test(test_a_cancelled_request_is_silent),
        cmocka_unit_test(test_closing_ends_what_is_under_way),
        cmocka_unit_test(test_answers_that_are_not_taken),
        cmocka_unit_test(test_a_peer_of_another_version_learns_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
