/* The simulated network: connections, each fault's effect, shapes of partitions, the labs' preset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "env/env.h"
#include "sim/fault.h"
#include "sim/net.h"
#include "sim/node.h"
#include "sim_fixture.h"
#include "wire/message.h"

enum { SEEDS = 20, MS = 1000, SECOND = 1000000, NUMBERS_MAX = 20000 };

/* One end of a connection, and everything that it has heard. */
struct end {
    struct sim_world *world;
    struct env_conn *conn;
    struct env_listener *listener; /* of the side that listens */
    int opens, open_status;
    int closes, close_status;
    int writables;
    uint64_t opened_us, closed_us, heard_us;
    size_t count;
    uint32_t numbers[NUMBERS_MAX]; /* of the messages, in the order of arrival */
    bool echoes;
    bool closes_when_heard;
    size_t message_max;
};

struct pair {
    struct sim_world *world;
    struct sim_node *server_node, *client_node;
    struct end server, client;
};

static void on_open(void *data, int status)
{
    struct end *end = data;
    end->opens++;
    end->open_status = status;
    end->opened_us = sim_world_now_us(end->world);
}

static void send_number(struct end *end, uint32_t number)
{
    char bytes[4];
    bits_put_le32(bytes, number);
    struct peri_slice parts[2] = {{bytes, 1}, {bytes + 1, 3}};
    assert_int_equal(env_conn_send(end->conn, parts, 2), 0);
}

static void on_message(void *data, struct peri_slice message)
{
    struct end *end = data;
    assert_true(message.size >= 4 && end->count < NUMBERS_MAX);
    uint32_t number = bits_get_le32(message.data);
    end->numbers[end->count++] = number;
    end->heard_us = sim_world_now_us(end->world);
    if (end->echoes)
        send_number(end, number);
    if (end->closes_when_heard) {
        env_conn_close(end->conn);
        end->conn = NULL;
    }
}

static void on_writable(void *data)
{
    ((struct end *)data)->writables++;
}

static void on_close(void *data, int status)
{
    struct end *end = data;
    end->closes++;
    end->close_status = status;
    end->closed_us = sim_world_now_us(end->world);
}

static const struct env_conn_events events = {on_open, on_message, on_writable, on_close};

static void on_connection(void *data, struct env_conn *conn)
{
    struct end *end = data;
    env_conn_accept(conn, &events, end);
    end->conn = conn;
    if (end->message_max != 0)
        env_conn_set_message_max(conn, end->message_max);
}

static int start_server(void *data, struct sim_node *node)
{
    struct end *end = data;
    return env_listener_open(sim_node_env(node), ":7200", on_connection, end, &end->listener, NULL);
}

static int start_client(void *data, struct sim_node *node)
{
    (void)data;
    (void)node;
    return 0;
}

static void on_down(void *data, struct sim_node *node, enum sim_down how)
{
    struct end *end = data;
    (void)node;
    (void)how;
    env_conn_close(end->conn);
    env_listener_close(end->listener);
    end->conn = NULL;
    end->listener = NULL;
}

static struct sim_node *add(struct sim_world *world, const char *name,
                            int (*on_start)(void *data, struct sim_node *node), struct end *end)
{
    struct sim_node *node = NULL;
    struct sim_node_events node_events = {on_start, on_down};
    end->world = world;
    assert_int_equal(sim_node_create(world, name, &node_events, end, &node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), 0);
    return node;
}

/* Two nodes that are up; the latency is 1 ms. */
static struct pair *new_pair(uint64_t seed)
{
    static struct pair pair; /* large */
    struct sim_options options = {.seed = seed};
    struct env_fault_value latency = {.delay = {ENV_DELAY_CONSTANT, MS, 0, 0}};
    memset(&pair, 0, sizeof pair);
    assert_int_equal(sim_world_create(&pair.world, &options, NULL), 0);
    pair.server_node = add(pair.world, "s", start_server, &pair.server);
    pair.client_node = add(pair.world, "c", start_client, &pair.client);
    assert_int_equal(sim_fault_apply(pair.world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL), 0);
    advance(pair.world, 1);
    return &pair;
}

static void dial(struct pair *pair, const char *address)
{
    assert_int_equal(env_conn_connect(sim_node_env(pair->client_node), address, &events,
                                      &pair->client, &pair->client.conn, NULL),
                     0);
}

static void set(struct pair *pair, enum env_fault fault, int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(pair->world, fault, NULL, NULL, &value, NULL), 0);
}

static void run_for(struct pair *pair, uint64_t us)
{
    advance(pair->world, sim_world_now_us(pair->world) + us);
}

/* A pair that is connected. */
static struct pair *new_connected(uint64_t seed)
{
    struct pair *pair = new_pair(seed);
    dial(pair, "s:7200");
    run_for(pair, 10 * MS);
    assert_int_equal(pair->client.open_status, 0);
    assert_int_equal(pair->client.opens, 1);
    assert_string_equal(env_conn_failure(pair->client.conn), "");
    assert_non_null(pair->server.conn);
    return pair;
}

static void send_numbers(struct end *end, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        send_number(end, i);
}

static void assert_in_order(const struct end *end, size_t count)
{
    assert_int_equal(end->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(end->numbers[i], i);
}

/* ---- connections ---- */

static void messages_arrive_after_the_latency_in_order(void **state)
{
    (void)state;
    struct pair *pair = new_pair(1);
    pair->server.echoes = true;
    dial(pair, "s:7200");
    assert_string_equal(env_conn_peer(pair->client.conn), "s:7200");
    assert_false(env_conn_is_local(pair->client.conn));
    send_numbers(&pair->client, 50); /* before it is open */
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 200);
    uint64_t begin_us = sim_world_now_us(pair->world);
    run_for(pair, SECOND);
    assert_int_equal(pair->client.opened_us - begin_us, 2 * MS);
    assert_int_equal(pair->server.heard_us - begin_us, 3 * MS);
    assert_int_equal(pair->client.heard_us - begin_us, 4 * MS);
    assert_in_order(&pair->server, 50);
    assert_in_order(&pair->client, 50);
    assert_int_equal(sim_net_counts(pair->world).delivered, 100);
    sim_world_close(pair->world);
}

static void what_was_sent_comes_before_the_close(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    send_numbers(&pair->client, 10);
    env_conn_close(pair->client.conn);
    pair->client.conn = NULL;
    run_for(pair, SECOND);
    assert_in_order(&pair->server, 10);
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
    struct pair *pair = new_connected(1);
    pair->server.closes_when_heard = true;
    send_numbers(&pair->client, 3);
    run_for(pair, SECOND);
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
        struct pair *pair = new_pair(1);
        struct env *env = sim_node_env(pair->client_node);
        struct peri_error err = PERI_ERROR_INIT;
        int rc = env_conn_connect(env, cases[i].address, &events, &pair->client, &pair->client.conn,
                                  &err);
        assert_int_equal(rc, cases[i].connect);
        run_for(pair, SECOND);
        assert_int_equal(pair->client.opens, rc == 0);
        assert_int_equal(pair->client.open_status, cases[i].open);
        sim_world_close(pair->world);
    }
}

static void listeners_own_their_ports(void **state)
{
    (void)state;
    struct pair *pair = new_pair(1);
    struct env *env = sim_node_env(pair->server_node);
    struct env_listener *any[2] = {NULL, NULL};
    struct env_listener *other = NULL;
    assert_int_equal(env_listener_open(env, ":7200", on_connection, NULL, &other, NULL),
                     -EADDRINUSE);
    assert_int_equal(env_listener_open(env, "c:7300", on_connection, NULL, &other, NULL),
                     -EADDRNOTAVAIL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(env_listener_open(env, ":0", on_connection, NULL, &any[i], NULL), 0);
    assert_string_equal(env_listener_address(any[0]), "s:49152");
    assert_string_equal(env_listener_address(any[1]), "s:49153");
    env_listener_close(pair->server.listener);
    pair->server.listener = NULL;
    dial(pair, "s:7200");
    run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, -ECONNREFUSED);
    sim_world_close(pair->world);
}

static void a_unix_socket_is_this_nodes(void **state)
{
    (void)state;
    struct pair *pair = new_pair(1);
    struct env *env = sim_node_env(pair->client_node);
    assert_int_equal(env_listener_open(env, "unix:/run/c", on_connection, &pair->server,
                                       &pair->client.listener, NULL),
                     0);
    assert_string_equal(env_listener_address(pair->client.listener), "unix:/run/c");
    dial(pair, "unix:/run/c");
    run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, 0);
    assert_true(env_conn_is_local(pair->client.conn));
    env_conn_close(pair->server.conn);
    pair->server.conn = NULL;
    sim_world_close(pair->world);
}

static void messages_beyond_the_limit_end_the_connection(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    static char large[ENV_CONN_MESSAGE_MAX + 1];
    struct peri_slice part = {large, sizeof large};
    env_conn_set_message_max(pair->server.conn, sizeof large);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    run_for(pair, 10 * MS);
    assert_int_equal(pair->server.count, 1);
    env_conn_set_message_max(pair->server.conn, sizeof large - 1);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    run_for(pair, 10 * MS);
    assert_int_equal(pair->server.close_status, PERI_ETOOBIG);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    part.size = 0;
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), PERI_ECLOSED);
    sim_world_close(pair->world);
}

static void paused_ends_push_back(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    env_conn_pause(pair->server.conn);
    int sent = 0;
    while (sent < 30 && env_conn_send(pair->client.conn, &part, 1) == 0) {
        sent++;
        run_for(pair, 10 * MS);
    }
    assert_int_equal(sent, ENV_CONN_QUEUE_MAX / (1 << 20) + 1);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), PERI_EBUSY);
    assert_int_equal(pair->server.count, 0);
    assert_int_equal(pair->client.writables, 0);
    run_for(pair, 60 * SECOND); /* paused time does not count towards the idle limit */
    assert_int_equal(pair->server.closes, 0);
    env_conn_set_idle_limit(pair->client.conn, 0);
    env_conn_resume(pair->server.conn);
    run_for(pair, SECOND);
    assert_int_equal(pair->server.count, sent);
    assert_int_equal(pair->client.writables, 0); /* its own idle limit had ended it */
    assert_int_equal(pair->client.close_status, -ETIMEDOUT);
    sim_world_close(pair->world);
}

static void queues_that_shorten_are_told(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    env_conn_pause(pair->server.conn);
    for (int i = 0; i < 3; i++)
        assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    run_for(pair, 10 * MS);
    assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    run_for(pair, 10 * MS);
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 4 << 20);
    assert_int_equal(pair->client.writables, 0);
    env_conn_resume(pair->server.conn);
    run_for(pair, 10 * MS);
    assert_int_equal(pair->client.writables, 1);
    sim_world_close(pair->world);
}

static void what_is_under_way_waits_at_the_sender(void **state)
{
    (void)state;
    static char bulk[1 << 20];
    struct peri_slice part = {bulk, sizeof bulk};
    for (int is_held = 0; is_held < 2; is_held++) {
        struct pair *pair = new_connected(1);
        env_conn_set_message_max(pair->server.conn, sizeof bulk);
        if (is_held)
            set(pair, ENV_FAULT_HOLD, 1);
        else
            sim_node_pause(pair->server_node);
        int sent = 0;
        while (env_conn_send(pair->client.conn, &part, 1) == 0)
            sent++;
        assert_int_equal(sent, ENV_CONN_QUEUE_MAX / (1 << 20) + 1);
        run_for(pair, SECOND);
        assert_int_equal(pair->client.writables, 0);
        if (is_held)
            set(pair, ENV_FAULT_HOLD, 0);
        else
            sim_node_resume(pair->server_node);
        run_for(pair, SECOND);
        assert_int_equal(pair->server.count, sent);
        assert_int_equal(pair->client.writables, 1);
        assert_int_equal(env_conn_queued_bytes(pair->client.conn), 0);
        sim_world_close(pair->world);
    }
}

static void silence_ends_at_the_idle_limit(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    env_conn_set_idle_limit(pair->client.conn, 3 * SECOND);
    env_conn_set_idle_limit(pair->server.conn, 0);
    run_for(pair, 2 * SECOND);
    send_number(&pair->server, 1);
    run_for(pair, 2 * SECOND);
    assert_int_equal(pair->client.closes, 0);
    run_for(pair, 2 * SECOND);
    assert_int_equal(pair->client.close_status, -ETIMEDOUT);
    assert_int_equal(pair->client.closed_us, pair->client.heard_us + 3 * SECOND);
    assert_int_equal(pair->server.close_status, PERI_ECLOSED);
    sim_world_close(pair->world);
}

/* ---- faults ---- */

static void latency_is_drawn_and_keeps_the_order(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    struct env_fault_value latency = {.delay = {ENV_DELAY_UNIFORM, MS, 20 * MS, 0}};
    assert_int_equal(
        sim_fault_apply(pair->world, ENV_FAULT_LATENCY, pair->client_node, NULL, &latency, NULL),
        0);
    uint64_t begin_us = sim_world_now_us(pair->world);
    send_numbers(&pair->client, 1000);
    run_for(pair, SECOND);
    assert_in_order(&pair->server, 1000);
    assert_in_range(pair->server.heard_us - begin_us, 19 * MS, 20 * MS);
    send_number(&pair->server, 0); /* the way back is another link */
    begin_us = sim_world_now_us(pair->world);
    run_for(pair, SECOND);
    assert_int_equal(pair->client.heard_us - begin_us, MS);
    sim_world_close(pair->world);
}

static void some_messages_are_lost(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    set(pair, ENV_FAULT_LOSS, 300000);
    send_numbers(&pair->client, 10000);
    run_for(pair, SECOND);
    assert_in_range(pair->server.count, 6850, 7150);
    assert_int_equal(sim_net_counts(pair->world).lost, 10000 - pair->server.count);
    for (size_t i = 1; i < pair->server.count; i++)
        assert_true(pair->server.numbers[i - 1] < pair->server.numbers[i]);
    sim_world_close(pair->world);
}

static void some_messages_arrive_twice(void **state)
{
    (void)state;
    static uint8_t seen[10000];
    struct pair *pair = new_connected(1);
    memset(seen, 0, sizeof seen);
    set(pair, ENV_FAULT_DUPLICATE, 200000);
    send_numbers(&pair->client, 10000);
    run_for(pair, SECOND);
    assert_in_range(pair->server.count, 11850, 12150);
    for (size_t i = 0; i < pair->server.count; i++)
        seen[pair->server.numbers[i]]++;
    for (size_t i = 0; i < 10000; i++)
        assert_in_range(seen[i], 1, 2);
    sim_world_close(pair->world);
}

static void some_messages_overtake(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    struct env_fault_value latency = {.delay = {ENV_DELAY_UNIFORM, MS, 20 * MS, 0}};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL),
                     0);
    set(pair, ENV_FAULT_REORDER, 100000);
    send_numbers(&pair->client, 10000);
    run_for(pair, SECOND);
    size_t inversions = 0;
    assert_int_equal(pair->server.count, 10000);
    for (size_t i = 1; i < pair->server.count; i++)
        inversions += pair->server.numbers[i - 1] > pair->server.numbers[i];
    assert_true(inversions > 100);
    sim_world_close(pair->world);
}

static void damaged_messages_end_the_connection(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    set(pair, ENV_FAULT_CORRUPT, 10000);
    send_numbers(&pair->client, 10000);
    run_for(pair, SECOND);
    assert_true(pair->server.count < 10000);
    assert_in_order(&pair->server, pair->server.count);
    assert_int_equal(pair->server.close_status, PERI_EFORMAT);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    assert_int_equal(sim_net_counts(pair->world).corrupted, 1);
    sim_world_close(pair->world);
}

static void resets_end_both_ends(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    set(pair, ENV_FAULT_RESET, 1000000);
    send_number(&pair->client, 1);
    run_for(pair, SECOND);
    assert_int_equal(pair->server.count, 0);
    assert_int_equal(pair->server.close_status, -ECONNRESET);
    assert_int_equal(pair->client.close_status, -ECONNRESET);
    sim_world_close(pair->world);
}

static void bandwidth_makes_messages_queue(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    static char bulk[100000 - 64]; /* with its header 100 kB */
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    set(pair, ENV_FAULT_BANDWIDTH, 1000000);
    uint64_t begin_us = sim_world_now_us(pair->world);
    for (int i = 0; i < 20; i++)
        assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 20 * sizeof bulk);
    run_for(pair, 900 * MS);
    assert_int_equal(pair->server.count, 8);
    assert_int_equal(pair->client.writables, 0);
    run_for(pair, 9 * SECOND);
    assert_int_equal(pair->server.count, 20);
    assert_int_equal(pair->server.heard_us - begin_us, 2 * SECOND + MS);
    assert_int_equal(pair->client.writables, 1);
    sim_world_close(pair->world);
}

static void a_cut_is_silence_in_one_direction(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    struct env_fault_value on = {.number = 1};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_CUT, pair->client_node,
                                     pair->server_node, &on, NULL),
                     0);
    send_numbers(&pair->client, 5);
    send_numbers(&pair->server, 5);
    run_for(pair, 5 * SECOND);
    assert_int_equal(pair->server.count, 0);
    assert_in_order(&pair->client, 5);
    assert_int_equal(pair->client.closes + pair->server.closes, 0);
    sim_net_heal(pair->world);
    send_number(&pair->client, 5);
    run_for(pair, SECOND);
    assert_int_equal(pair->server.count, 1);
    sim_world_close(pair->world);
}

static void connects_over_a_cut_time_out(void **state)
{
    (void)state;
    struct pair *pair = new_pair(1);
    struct sim_node *const left[] = {pair->client_node};
    struct sim_node *const right[] = {pair->server_node};
    sim_net_partition(pair->world, left, 1, right, 1);
    dial(pair, "s:7200");
    run_for(pair, 60 * SECOND);
    assert_int_equal(pair->client.open_status, -ETIMEDOUT);
    assert_int_equal(pair->client.opened_us, 1 + ENV_CONN_IDLE_LIMIT_US);
    sim_world_close(pair->world);
}

static void what_is_held_arrives_later(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    set(pair, ENV_FAULT_HOLD, 1);
    send_numbers(&pair->client, 10);
    run_for(pair, 5 * SECOND);
    assert_int_equal(pair->server.count, 0);
    set(pair, ENV_FAULT_HOLD, 0);
    run_for(pair, 10 * MS);
    assert_in_order(&pair->server, 10);
    set(pair, ENV_FAULT_HOLD, 1);
    send_numbers(&pair->client, 10); /* held when the world ends */
    sim_world_close(pair->world);
}

static void settings_of_a_link_win(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    struct env_fault_value none = {.number = 0};
    set(pair, ENV_FAULT_LOSS, 1000000);
    assert_int_equal(
        sim_fault_apply(pair->world, ENV_FAULT_LOSS, NULL, pair->server_node, &none, NULL), 0);
    send_numbers(&pair->client, 5);
    send_numbers(&pair->server, 5);
    run_for(pair, SECOND);
    assert_in_order(&pair->server, 5);
    assert_int_equal(pair->client.count, 0);
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
    static const struct env_conn_events says = {on_dialled, on_message, NULL, on_close};
    struct sim_options options = {.seed = 1, .on_trace = on_trace, .data = lines};
    struct sim_world *world = NULL;
    lines[0] = '\0';
    memset(ends, 0, sizeof ends);
    assert_int_equal(sim_world_create(&world, &options, NULL), 0);
    (void)add(world, "s", start_server, &ends[0]);
    struct sim_node *client = add(world, "c", start_client, &ends[1]);
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
    struct pair *pair = new_connected(1);
    uint64_t begin_us = sim_world_now_us(pair->world);
    sim_node_kill(pair->server_node);
    run_for(pair, SECOND);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    assert_int_equal(pair->client.closed_us - begin_us, MS);
    assert_string_equal(env_conn_failure(pair->client.conn),
                        "s:7200: the peer closed the connection");
    env_conn_close(pair->client.conn);
    dial(pair, "s:7200");
    run_for(pair, SECOND);
    assert_int_equal(pair->client.open_status, -ECONNREFUSED);
    sim_world_close(pair->world);
}

static void peers_of_a_crashed_machine_hear_nothing(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    env_conn_set_idle_limit(pair->client.conn, 0);
    sim_node_crash(pair->server_node);
    send_number(&pair->client, 1);
    run_for(pair, 60 * SECOND);
    assert_int_equal(pair->client.closes, 0);
    assert_int_equal(sim_node_start(pair->server_node, NULL), 0);
    run_for(pair, SECOND);
    assert_int_equal(pair->client.closes, 0);
    send_number(&pair->client, 2); /* its successor knows no such connection */
    run_for(pair, SECOND);
    assert_int_equal(pair->client.close_status, -ECONNRESET);
    sim_world_close(pair->world);
}

static void a_paused_process_answers_later(void **state)
{
    (void)state;
    struct pair *pair = new_connected(1);
    pair->server.echoes = true;
    sim_node_pause(pair->server_node);
    send_numbers(&pair->client, 10);
    run_for(pair, 5 * SECOND);
    assert_int_equal(pair->client.count, 0);
    sim_node_resume(pair->server_node);
    run_for(pair, SECOND);
    assert_in_order(&pair->client, 10);
    sim_world_close(pair->world);
}

/* ---- shapes ---- */

enum { SHAPE_NODES_MAX = 11 };

struct shape {
    struct sim_world *world;
    struct sim_node *nodes[SHAPE_NODES_MAX];
    struct end ends[SHAPE_NODES_MAX];
    uint32_t sees[SHAPE_NODES_MAX]; /* bit j: can send to node j and hear it */
};

static struct shape *new_shape(size_t count)
{
    static struct shape shape;
    struct sim_options options = {.seed = count};
    char name[32];
    memset(&shape, 0, sizeof shape);
    assert_int_equal(sim_world_create(&shape.world, &options, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "n%zu", i);
        shape.nodes[i] = add(shape.world, name, start_server, &shape.ends[i]);
    }
    advance(shape.world, 1);
    return &shape;
}

/* Tries every connection. */
static void look(struct shape *shape, size_t count)
{
    static const struct env_conn_events open_only = {on_open, on_message, NULL, on_close};
    static struct end tries[SHAPE_NODES_MAX][SHAPE_NODES_MAX];
    memset(tries, 0, sizeof tries);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            char address[40];
            tries[i][j].world = shape->world;
            (void)snprintf(address, sizeof address, "n%zu:7200", j);
            assert_int_equal(env_conn_connect(sim_node_env(shape->nodes[i]), address, &open_only,
                                              &tries[i][j], &tries[i][j].conn, NULL),
                             0);
        }
    advance(shape->world, sim_world_now_us(shape->world) + SECOND);
    for (size_t i = 0; i < count; i++) {
        shape->sees[i] = 0;
        for (size_t j = 0; j < count; j++) {
            shape->sees[i] |= (uint32_t)(tries[i][j].opens == 1) << j;
            env_conn_close(tries[i][j].conn);
            shape->ends[j].conn = NULL;
        }
    }
}

static size_t count_bits(uint32_t bits)
{
    size_t count = 0;
    for (; bits != 0; bits &= bits - 1)
        count++;
    return count;
}

static void shapes_cut_what_they_say(void **state)
{
    (void)state;
    for (size_t count = 3; count <= SHAPE_NODES_MAX; count += 2) {
        struct shape *shape = new_shape(count);
        uint32_t all = (1U << count) - 1;
        uint32_t low = (1U << count / 2) - 1;
        uint32_t middle = 1U << count / 2;
        sim_net_partition(shape->world, shape->nodes, count / 2, shape->nodes + count / 2,
                          count - count / 2);
        look(shape, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(shape->sees[i], i < count / 2 ? low : all & ~low);
        sim_net_heal(shape->world);
        sim_net_isolate(shape->world, shape->nodes[0]);
        look(shape, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(shape->sees[i], i == 0 ? 1 : all & ~1U);
        sim_net_heal(shape->world);
        sim_net_bridge(shape->world, shape->nodes, count);
        look(shape, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(shape->sees[i], i == count / 2  ? all
                                             : i < count / 2 ? low | middle
                                                             : all & ~low);
        sim_net_heal(shape->world);
        sim_net_ring(shape->world, shape->nodes, count);
        look(shape, count);
        for (size_t i = 0; i < count; i++) {
            assert_true(count_bits(shape->sees[i]) > count / 2);
            for (size_t j = 0; j < i; j++)
                assert_true(shape->sees[i] != shape->sees[j]);
        }
        sim_net_heal(shape->world);
        look(shape, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(shape->sees[i], all);
        sim_world_close(shape->world);
    }
}

/* ---- the network of the labs ---- */

static void the_labs_lose_and_delay_as_labrpc_does(void **state)
{
    (void)state;
    enum { CALLS = 5000 };
    static const struct sim_net_labs unreliable = {.is_on = true, .unreliable = true};
    static const struct sim_net_labs late = {.is_on = true, .long_reordering = true};
    struct pair *pair = new_connected(1);
    pair->server.echoes = true;
    sim_net_set_labs(pair->world, &unreliable);
    uint64_t begin_us = sim_world_now_us(pair->world);
    send_numbers(&pair->client, CALLS);
    run_for(pair, SECOND);
    assert_in_range(pair->server.count, CALLS * 89 / 100, CALLS * 91 / 100);
    assert_in_range(pair->client.count, CALLS * 79 / 100, CALLS * 83 / 100); /* 0.9 * 0.9 */
    assert_in_range(pair->server.heard_us - begin_us, 25 * MS, 26 * MS);
    pair->client.count = 0;
    sim_net_set_labs(pair->world, &late);
    begin_us = sim_world_now_us(pair->world);
    send_numbers(&pair->client, CALLS);
    run_for(pair, 199 * MS);
    assert_in_range(pair->client.count, CALLS * 31 / 100, CALLS * 36 / 100); /* 1 of 3 at once */
    run_for(pair, 3 * SECOND);
    assert_int_equal(pair->client.count, CALLS);
    assert_in_range(pair->client.heard_us - begin_us, 2000 * MS, 2200 * MS);
    sim_world_close(pair->world);
}

static void the_labs_tell_of_cuts(void **state)
{
    (void)state;
    uint64_t slowest_us = 0;
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct sim_net_labs labs = {.is_on = true, .long_delays = seed >= SEEDS};
        struct pair *pair = new_pair(seed);
        sim_net_set_labs(pair->world, &labs);
        sim_net_isolate(pair->world, pair->server_node);
        dial(pair, "s:7200");
        run_for(pair, 20 * SECOND);
        assert_int_equal(pair->client.open_status, -EHOSTUNREACH);
        assert_true(pair->client.opened_us <= (labs.long_delays ? 7000 * MS : 100 * MS));
        if (pair->client.opened_us > slowest_us)
            slowest_us = pair->client.opened_us;
        sim_world_close(pair->world);
    }
    assert_true(slowest_us > 3000 * MS);
}

/* ---- a seed decides it ---- */

static uint64_t run_with_everything(uint64_t seed)
{
    struct pair *pair = new_pair(seed);
    struct env_fault_value latency = {.delay = {ENV_DELAY_EXPONENTIAL, 100, 5 * MS, 0}};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL),
                     0);
    set(pair, ENV_FAULT_LOSS, 50000);
    set(pair, ENV_FAULT_DUPLICATE, 50000);
    set(pair, ENV_FAULT_REORDER, 50000);
    set(pair, ENV_FAULT_RESET, 100);
    set(pair, ENV_FAULT_BANDWIDTH, 1000000);
    pair->server.echoes = true;
    dial(pair, "s:7200");
    send_numbers(&pair->client, 500);
    run_for(pair, SECOND);
    if (pair->client.closes == 0)
        send_numbers(&pair->client, 500);
    sim_node_crash(pair->server_node);
    run_for(pair, SECOND);
    uint64_t hash = sim_world_hash(pair->world);
    sim_world_close(pair->world);
    return hash;
}

static void a_seed_decides_every_fate(void **state)
{
    (void)state;
    uint64_t hashes[SEEDS];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        hashes[seed] = run_with_everything(seed);
        assert_int_equal(run_with_everything(seed), hashes[seed]);
        for (uint64_t other = 0; other < seed; other++)
            assert_true(hashes[other] != hashes[seed]);
    }
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
        cmocka_unit_test(latency_is_drawn_and_keeps_the_order),
        cmocka_unit_test(some_messages_are_lost),
        cmocka_unit_test(some_messages_arrive_twice),
        cmocka_unit_test(some_messages_overtake),
        cmocka_unit_test(damaged_messages_end_the_connection),
        cmocka_unit_test(resets_end_both_ends),
        cmocka_unit_test(bandwidth_makes_messages_queue),
        cmocka_unit_test(a_cut_is_silence_in_one_direction),
        cmocka_unit_test(connects_over_a_cut_time_out),
        cmocka_unit_test(what_is_held_arrives_later),
        cmocka_unit_test(settings_of_a_link_win),
        cmocka_unit_test(traces_show_what_rpc_says),
        cmocka_unit_test(peers_of_a_killed_process_are_told),
        cmocka_unit_test(peers_of_a_crashed_machine_hear_nothing),
        cmocka_unit_test(a_paused_process_answers_later),
        cmocka_unit_test(shapes_cut_what_they_say),
        cmocka_unit_test(the_labs_lose_and_delay_as_labrpc_does),
        cmocka_unit_test(the_labs_tell_of_cuts),
        cmocka_unit_test(a_seed_decides_every_fate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
