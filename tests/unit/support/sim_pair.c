#include "sim_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/bits.h"
#include "sim/fault.h"
#include "sim_fixture.h"

void end_on_open(void *data, int status)
{
    struct end *end = data;
    end->opens++;
    end->open_status = status;
    end->opened_us = sim_world_now_us(end->world);
}

void end_send(struct end *end, uint32_t number)
{
    char bytes[4];
    bits_put_le32(bytes, number);
    struct peri_slice parts[2] = {{bytes, 1}, {bytes + 1, 3}};
    assert_int_equal(env_conn_send(end->conn, parts, 2), 0);
}

void end_on_message(void *data, struct peri_slice message)
{
    struct end *end = data;
    assert_true(message.size >= 4 && end->count < END_NUMBERS_MAX);
    uint32_t number = bits_get_le32(message.data);
    end->numbers[end->count++] = number;
    end->heard_us = sim_world_now_us(end->world);
    if (end->echoes)
        end_send(end, number);
    if (end->closes_when_heard) {
        env_conn_close(end->conn);
        end->conn = NULL;
    }
}

static void on_writable(void *data)
{
    ((struct end *)data)->writables++;
}

void end_on_close(void *data, int status)
{
    struct end *end = data;
    end->closes++;
    end->close_status = status;
    end->closed_us = sim_world_now_us(end->world);
}

const struct env_conn_events end_events = {end_on_open, end_on_message, on_writable, end_on_close};

void end_on_connection(void *data, struct env_conn *conn)
{
    struct end *end = data;
    env_conn_accept(conn, &end_events, end);
    end->conn = conn;
    if (end->message_max != 0)
        env_conn_set_message_max(conn, end->message_max);
}

int end_listen(void *data, struct sim_node *node)
{
    struct end *end = data;
    return env_listener_open(sim_node_env(node), ":7200", end_on_connection, end, &end->listener,
                             NULL);
}

int end_start(void *data, struct sim_node *node)
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

struct sim_node *end_add(struct sim_world *world, const char *name,
                         int (*on_start)(void *data, struct sim_node *node), struct end *end)
{
    struct sim_node *node = NULL;
    struct sim_node_events node_events = {on_start, on_down};
    end->world = world;
    assert_int_equal(sim_node_create(world, name, &node_events, end, &node, NULL), 0);
    assert_int_equal(sim_node_start(node, NULL), 0);
    return node;
}

struct pair *pair_create(uint64_t seed)
{
    static struct pair pair; /* large */
    struct sim_options options = {.seed = seed};
    struct env_fault_value latency = {.delay = {ENV_DELAY_CONSTANT, MS, 0, 0}};
    memset(&pair, 0, sizeof pair);
    assert_int_equal(sim_world_create(&pair.world, &options, NULL), 0);
    pair.server_node = end_add(pair.world, "s", end_listen, &pair.server);
    pair.client_node = end_add(pair.world, "c", end_start, &pair.client);
    assert_int_equal(sim_fault_apply(pair.world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL), 0);
    advance(pair.world, 1);
    return &pair;
}

void pair_dial(struct pair *pair, const char *address)
{
    assert_int_equal(env_conn_connect(sim_node_env(pair->client_node), address, &end_events,
                                      &pair->client, &pair->client.conn, NULL),
                     0);
}

void pair_set(struct pair *pair, enum env_fault fault, int64_t number)
{
    struct env_fault_value value = {.number = number};
    assert_int_equal(sim_fault_apply(pair->world, fault, NULL, NULL, &value, NULL), 0);
}

void pair_run_for(struct pair *pair, uint64_t us)
{
    advance(pair->world, sim_world_now_us(pair->world) + us);
}

struct pair *pair_create_connected(uint64_t seed)
{
    struct pair *pair = pair_create(seed);
    pair_dial(pair, "s:7200");
    pair_run_for(pair, 10 * MS);
    assert_int_equal(pair->client.open_status, 0);
    assert_int_equal(pair->client.opens, 1);
    assert_string_equal(env_conn_failure(pair->client.conn), "");
    assert_non_null(pair->server.conn);
    return pair;
}

void end_send_all(struct end *end, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        end_send(end, i);
}

void end_assert_in_order(const struct end *end, size_t count)
{
    assert_int_equal(end->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(end->numbers[i], i);
}
