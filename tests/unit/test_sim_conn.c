/* Simulated connections: addresses, order, back-pressure, what traces say, ends of processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "env/env.h"
#include "sim/fault.h"
#include "sim/net.h"
#include "sim/node.h"
#include "sim_fixture.h"
#include "sim_pair.h"
#include "wire/message.h"

/* ---- connections ---- */

static void messages_arrive_after_the_latency_in_order(void **state)
{
    (void)state;
    struct pair *pair = pair_create(1);
    pair->server.echoes = true;
    pair_dial(pair, "s:7200");
    assert_string_equal(env_conn_peer(pair->client.conn), "s:7200");
    assert_false(env_conn_is_local(pair->client.conn));
    end_send_all(&pair->client, 50); /* before it is open */
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 200);
    uint64_t begin_us = sim_world_now_us(pair->world);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.opened_us - begin_us, 2 * MS);
    assert_int_equal(pair->server.heard_us - begin_us, 3 * MS);
    assert_int_equal(pair->client.heard_us - begin_us, 4 * MS);
    end_assert_in_order(&pair->server, 50);
    end_assert_in_order(&pair->client, 50);
    assert_int_equal(sim_net_counts(pair->world).delivered, 100);
    sim_world_close(pair->world);
}

static void what_was_sent_comes_before_the_close(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    end_send_all(&pair->client, 10);
    env_conn_close(pair->client.conn);
    pair->client.conn = NULL;
    pair_run_for(pair, SECOND);
    end_assert_in_order(&pair->server, 10);
    assert_int_equal(pair->server.closes, 1);
    assert_int_equal(pair->server.close_status, PERI_ECLOSED);
    char byte = 0;
    struct peri_slice part = {&byte, 1};
    assert_int_equal(env_conn_send(pair->server.conn, &part, 1), PERI_ECLOSED);
    sim_world_close(pair->world);
}

static void an_end_may_close_while_it_hears(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    pair->server.closes_when_heard = true;
    end_send_all(&pair->client, 3);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->server.count, 1);
    assert_int_equal(pair->server.closes, 0);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    sim_world_close(pair->world);
}

static void addresses_name_nodes_and_ports(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        int connect; /* what env_conn_connect says */
        int open;    /* what on_open says */
    } cases[] = {
        {"s:7200", 0, 0},
        {"s:7201", 0, -ECONNREFUSED},
        {"s", 0, -ECONNREFUSED},
        {"c:7200", 0, -ECONNREFUSED},
        {":7200", 0, -ECONNREFUSED},
        {"unix:/run/s", 0, -ECONNREFUSED},
        {"x:7200", PERI_EINVAL, 0},
        {"s:x", PERI_EINVAL, 0},
        {"s:70000", PERI_EINVAL, 0},
        {"unix:s", 0, -ECONNREFUSED},
        {"unix:", PERI_EINVAL, 0},
        {"localhost:7200", 0, -ECONNREFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair *pair = pair_create(1);
        struct env *env = sim_node_env(pair->client_node);
        struct peri_error err = PERI_ERROR_INIT;
        int rc = env_conn_connect(env, cases[i].address, &end_events, &pair->client,
                                  &pair->client.conn, &err);
        assert_int_equal(rc, cases[i].connect);
        pair_run_for(pair, SECOND);
        assert_int_equal(pair->client.opens, rc == 0);
        assert_int_equal(pair->client.open_status, cases[i].open);
        sim_world_close(pair->world);
    }
}

static void listeners_own_their_ports(void **state)
{
    (void)state;
    struct pair *pair = pair_create(1);
    struct env *env = sim_node_env(pair->server_node);
    struct env_listener *any[2] = {NULL, NULL};
    struct env_listener *other = NULL;
    assert_int_equal(env_listener_open(env, ":7200", end_on_connection, NULL, &other, NULL),
                     -EADDRINUSE);
    assert_int_equal(env_listener_open(env, "c:7300", end_on_connection, NULL, &other, NULL),
                     -EADDRNOTAVAIL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(env_listener_open(env, ":0", end_on_connection, NULL, &any[i], NULL), 0);
    assert_string_equal(env_listener_address(any[0]), "s:49152");
    assert_string_equal(env_listener_address(any[1]), "s:49153");
    env_listener_close(pair->server.listener);
    pair->server.listener = NULL;
    pair_dial(pair, "s:7200");
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, -ECONNREFUSED);
    sim_world_close(pair->world);
}

static void a_unix_socket_is_this_nodes(void **state)
{
    (void)state;
    struct pair *pair = pair_create(1);
    struct env *env = sim_node_env(pair->client_node);
    assert_int_equal(env_listener_open(env, "unix:/run/c", end_on_connection, &pair->server,
                                       &pair->client.listener, NULL),
                     0);
    assert_string_equal(env_listener_address(pair->client.listener), "unix:/run/c");
    pair_dial(pair, "unix:/run/c");
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, 0);
    assert_true(env_conn_is_local(pair->client.conn));
    env_conn_close(pair->server.conn);
    pair->server.conn = NULL;
    sim_world_close(pair->world);
}

static void messages_beyond_the_limit_end_the_connection(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    static char large[ENV_CONN_MESSAGE_MAX + 1];
    struct peri_slice part = {large, sizeof large};
    env_conn_set_message_max(pair->server.conn, sizeof large);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    pair_run_for(pair, 10 * MS);
    assert_int_equal(pair->server.count, 1);
    env_conn_set_message_max(pair->server.conn, sizeof large - 1);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    pair_run_for(pair, 10 * MS);
    assert_int_equal(pair->server.close_status, PERI_ETOOBIG);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    part.size = 0;
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), PERI_ECLOSED);
    sim_world_close(pair->world);
}

static void paused_ends_push_back(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    env_conn_pause(pair->server.conn);
    int sent = 0;
    while (sent < 30 && env_conn_send(pair->client.conn, &part, 1) == 0) {
        sent++;
        pair_run_for(pair, 10 * MS);
    }
    assert_int_equal(sent, ENV_CONN_QUEUE_MAX / (1 << 20) + 1);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), PERI_EBUSY);
    assert_int_equal(pair->server.count, 0);
    assert_int_equal(pair->client.writables, 0);
    pair_run_for(pair, 60 * SECOND); /* paused time does not count towards the idle limit */
    assert_int_equal(pair->server.closes, 0);
    env_conn_set_idle_limit(pair->client.conn, 0);
    env_conn_resume(pair->server.conn);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->server.count, sent);
    assert_int_equal(pair->client.writables, 0); /* its own idle limit had ended it */
    assert_int_equal(pair->client.close_status, -ETIMEDOUT);
    sim_world_close(pair->world);
}

static void queues_that_shorten_are_told(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    env_conn_pause(pair->server.conn);
    for (int i = 0; i < 3; i++)
        assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    pair_run_for(pair, 10 * MS);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    pair_run_for(pair, 10 * MS);
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 4 << 20);
    assert_int_equal(pair->client.writables, 0);
    env_conn_resume(pair->server.conn);
    pair_run_for(pair, 10 * MS);
    assert_int_equal(pair->client.writables, 1);
    sim_world_close(pair->world);
}

static void what_is_under_way_waits_at_the_sender(void **state)
{
    (void)state;
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    for (int is_held = 0; is_held < 2; is_held++) {
        struct pair *pair = pair_create_connected(1);
        env_conn_set_message_max(pair->server.conn, sizeof bulk);
        if (is_held)
            pair_set(pair, ENV_FAULT_HOLD, 1);
        else
            sim_node_pause(pair->server_node);
        int sent = 0;
        while (env_conn_send(pair->client.conn, &part, 1) == 0)
            sent++;
        assert_int_equal(sent, ENV_CONN_QUEUE_MAX / (1 << 20) + 1);
        pair_run_for(pair, SECOND);
        assert_int_equal(pair->client.writables, 0);
        if (is_held)
            pair_set(pair, ENV_FAULT_HOLD, 0);
        else
            sim_node_resume(pair->server_node);
        pair_run_for(pair, SECOND);
        assert_int_equal(pair->server.count, sent);
        assert_int_equal(pair->client.writables, 1);
        assert_int_equal(env_conn_queued_bytes(pair->client.conn), 0);
        sim_world_close(pair->world);
    }
}

static void silence_ends_at_the_idle_limit(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    env_conn_set_idle_limit(pair->client.conn, 3 * SECOND);
    env_conn_set_idle_limit(pair->server.conn, 0);
    pair_run_for(pair, 2 * SECOND);
    end_send(&pair->server, 1);
    pair_run_for(pair, 2 * SECOND);
    assert_int_equal(pair->client.closes, 0);
    pair_run_for(pair, 2 * SECOND);
    assert_int_equal(pair->client.close_status, -ETIMEDOUT);
    assert_int_equal(pair->client.closed_us, pair->client.heard_us + 3 * SECOND);
    assert_int_equal(pair->server.close_status, PERI_ECLOSED);
    sim_world_close(pair->world);
}

/* ---- traces ---- */

static void on_trace(void *data, const struct sim_trace *line)
{
    char *lines = data;
    size_t used = strlen(lines);
    (void)snprintf(lines + used, 4000 - used, "%s %s\n", line->kind, line->detail);
}

static void on_dialled(void *data, int status)
{
    struct end *end = data;
    struct wire_message message = {.kind = WIRE_CANCEL, .id = 7};
    struct peri_buffer bytes = {0};
    struct peri_slice parts[2];
    assert_int_equal(status, 0);
    message.cancel.reason = peri_slice_of("enough", 6);
    assert_int_equal(wire_message_encode(&message, &bytes, &parts[1]), 0);
    parts[0] = peri_buffer_slice(&bytes);
    assert_int_equal(env_conn_send(end->conn, parts, 2), 0);
    assert_int_equal(env_conn_send(end->conn, parts, 1), 0);
    peri_buffer_deinit(&bytes);
}

static void traces_show_what_rpc_says(void **state)
{
    (void)state;
    static char lines[4000];
    static struct end ends[2];
    static const struct env_conn_events says = {on_dialled, end_on_message, NULL, end_on_close};
    struct sim_options options = {.seed = 1, .on_trace = on_trace, .data = lines};
    struct sim_world *world = NULL;
    lines[0] = '\0';
    memset(ends, 0, sizeof ends);
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    (void)end_add(world, "s", end_listen, &ends[0]);
    struct sim_node *client = end_add(world, "c", end_start, &ends[1]);
    advance(world, 1);
    assert_int_equal(
        env_conn_connect(sim_node_env(client), "s:7200", &says, &ends[1], &ends[1].conn, NULL), 0);
    advance(world, SECOND);
    assert_non_null(strstr(lines, "packet connect c -> s #1 0 bytes\n"));
    assert_non_null(
        strstr(lines, "packet message c -> s #2 24 bytes: CANCEL id=7 reason=enough\n"));
    sim_world_close(world);
}

/* ---- processes ---- */

static void peers_of_a_killed_process_are_told(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    uint64_t begin_us = sim_world_now_us(pair->world);
    sim_node_kill(pair->server_node);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    assert_int_equal(pair->client.closed_us - begin_us, MS);
    assert_string_equal(env_conn_failure(pair->client.conn),
                        "s:7200: the peer closed the connection");
    env_conn_close(pair->client.conn);
    pair_dial(pair, "s:7200");
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, -ECONNREFUSED);
    sim_world_close(pair->world);
}

static void peers_of_a_crashed_machine_hear_nothing(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    env_conn_set_idle_limit(pair->client.conn, 0);
    sim_node_crash(pair->server_node);
    end_send(&pair->client, 1);
    pair_run_for(pair, 60 * SECOND);
    assert_int_equal(pair->client.closes, 0);
    assert_int_equal(sim_node_start(pair->server_node, NULL), 0);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.closes, 0);
    end_send(&pair->client, 2); /* its successor knows no such connection */
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.close_status, -ECONNRESET);
    sim_world_close(pair->world);
}

static void a_paused_process_answers_later(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    pair->server.echoes = true;
    sim_node_pause(pair->server_node);
    end_send_all(&pair->client, 10);
    pair_run_for(pair, 5 * SECOND);
    assert_int_equal(pair->client.count, 0);
    sim_node_resume(pair->server_node);
    pair_run_for(pair, SECOND);
    end_assert_in_order(&pair->client, 10);
    sim_world_close(pair->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_after_the_latency_in_order),
        cmocka_unit_test(what_was_sent_comes_before_the_close),
        cmocka_unit_test(an_end_may_close_while_it_hears),
        cmocka_unit_test(addresses_name_nodes_and_ports),
        cmocka_unit_test(listeners_own_their_ports),
        cmocka_unit_test(a_unix_socket_is_this_nodes),
        cmocka_unit_test(messages_beyond_the_limit_end_the_connection),
        cmocka_unit_test(paused_ends_push_back),
        cmocka_unit_test(queues_that_shorten_are_told),
        cmocka_unit_test(what_is_under_way_waits_at_the_sender),
        cmocka_unit_test(silence_ends_at_the_idle_limit),
        cmocka_unit_test(traces_show_what_rpc_says),
        cmocka_unit_test(peers_of_a_killed_process_are_told),
        cmocka_unit_test(peers_of_a_crashed_machine_hear_nothing),
        cmocka_unit_test(a_paused_process_answers_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
