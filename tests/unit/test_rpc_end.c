/* How calls end that nobody answers or waits for, and peers that do not do their part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc_fixture.h"

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

/* Two share a client: what the one has under way ends when it goes, the other one's goes on. */
static void test_leaving_ends_what_is_ones_own(void **state)
{
    (void)state;
    struct world *world = world_create(1, 0);
    struct outcome held[3] = {{.env = world->env}, {.env = world->env}, {.env = world->env}};
    const void *owners[3] = {&held[0], &held[1], NULL};
    static const char none[] = {'\x90'};
    assert_int_equal(open_both(world, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        held[i].request.name = peri_slice_of("hold", 4);
        held[i].request.due_us = env_now_us(world->env) + 50000000;
        held[i].request.on_done = on_outcome;
        held[i].request.owner = owners[i];
        assert_int_equal(rpc_client_call(world->client, &held[i].request,
                                         peri_slice_of(none, sizeof none), true, NULL),
                         0);
    }
    env_timer_start(world->limit, 50000);
    env_run(world->env);
    rpc_client_leave(world->client, owners[0]);
    assert_true(held[0].is_done);
    assert_int_equal(held[0].code, PERI_ECLOSED);
    assert_false(held[1].is_done);
    assert_false(held[2].is_done);
    rpc_client_leave(world->client, owners[0]);
    struct rpc_client_info info;
    rpc_client_look(world->client, &info);
    assert_true(info.is_up);
    assert_int_equal(info.in_flight, 2);
    rpc_client_close(world->client);
    world->client = NULL;
    assert_true(held[1].is_done && held[2].is_done);
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
        cmocka_unit_test(test_a_cancelled_request_is_silent),
        cmocka_unit_test(test_closing_ends_what_is_under_way),
        cmocka_unit_test(test_leaving_ends_what_is_ones_own),
        cmocka_unit_test(test_answers_that_are_not_taken),
        cmocka_unit_test(test_a_peer_of_another_version_learns_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
