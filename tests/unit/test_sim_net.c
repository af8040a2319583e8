/* The simulated network: the effect of each fault of links, shapes of partitions. */
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

enum { SEEDS = 20 };

/* ---- faults ---- */

static void latency_is_drawn_and_keeps_the_order(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    struct env_fault_value latency = {.delay = {ENV_DELAY_UNIFORM, MS, 20 * MS, 0}};
    assert_int_equal(
        sim_fault_apply(pair->world, ENV_FAULT_LATENCY, pair->client_node, NULL, &latency, NULL),
        0);
    uint64_t begin_us = sim_world_now_us(pair->world);
    end_send_all(&pair->client, 1000);
    pair_run_for(pair, SECOND);
    end_assert_in_order(&pair->server, 1000);
    assert_in_range(pair->server.heard_us - begin_us, 19 * MS, 20 * MS);
    end_send(&pair->server, 0); /* the way back is another link */
    begin_us = sim_world_now_us(pair->world);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->client.heard_us - begin_us, MS);
    sim_world_close(pair->world);
}

static void some_messages_are_lost(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    pair_set(pair, ENV_FAULT_LOSS, 300000);
    end_send_all(&pair->client, 10000);
    pair_run_for(pair, SECOND);
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
    struct pair *pair = pair_create_connected(1);
    memset(seen, 0, sizeof seen);
    pair_set(pair, ENV_FAULT_DUPLICATE, 200000);
    end_send_all(&pair->client, 10000);
    pair_run_for(pair, SECOND);
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
    struct pair *pair = pair_create_connected(1);
    struct env_fault_value latency = {.delay = {ENV_DELAY_UNIFORM, MS, 20 * MS, 0}};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL),
                     0);
    pair_set(pair, ENV_FAULT_REORDER, 100000);
    end_send_all(&pair->client, 10000);
    pair_run_for(pair, SECOND);
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
    struct pair *pair = pair_create_connected(1);
    pair_set(pair, ENV_FAULT_CORRUPT, 10000);
    end_send_all(&pair->client, 10000);
    pair_run_for(pair, SECOND);
    assert_true(pair->server.count < 10000);
    end_assert_in_order(&pair->server, pair->server.count);
    assert_int_equal(pair->server.close_status, PERI_EFORMAT);
    assert_int_equal(pair->client.close_status, PERI_ECLOSED);
    assert_int_equal(sim_net_counts(pair->world).corrupted, 1);
    sim_world_close(pair->world);
}

static void resets_end_both_ends(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    pair_set(pair, ENV_FAULT_RESET, 1000000);
    end_send(&pair->client, 1);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->server.count, 0);
    assert_int_equal(pair->server.close_status, -ECONNRESET);
    assert_int_equal(pair->client.close_status, -ECONNRESET);
    sim_world_close(pair->world);
}

static void bandwidth_makes_messages_queue(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    static char bulk[100000 - 64]; /* with its header 100 kB */
    struct peri_slice part = {bulk, sizeof bulk};
    env_conn_set_message_max(pair->server.conn, sizeof bulk);
    pair_set(pair, ENV_FAULT_BANDWIDTH, 1000000);
    uint64_t begin_us = sim_world_now_us(pair->world);
    for (int i = 0; i < 20; i++)
        assert_int_equal(env_conn_send(pair->client.conn, &part, 1), 0);
    assert_int_equal(env_conn_queued_bytes(pair->client.conn), 20 * sizeof bulk);
    pair_run_for(pair, 900 * MS);
    assert_int_equal(pair->server.count, 8);
    assert_int_equal(pair->client.writables, 0);
    pair_run_for(pair, 9 * SECOND);
    assert_int_equal(pair->server.count, 20);
    assert_int_equal(pair->server.heard_us - begin_us, 2 * SECOND + MS);
    assert_int_equal(pair->client.writables, 1);
    sim_world_close(pair->world);
}

static void a_cut_is_silence_in_one_direction(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    struct env_fault_value on = {.number = 1};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_CUT, pair->client_node,
                                     pair->server_node, &on, NULL),
                     0);
    end_send_all(&pair->client, 5);
    end_send_all(&pair->server, 5);
    pair_run_for(pair, 5 * SECOND);
    assert_int_equal(pair->server.count, 0);
    end_assert_in_order(&pair->client, 5);
    assert_int_equal(pair->client.closes + pair->server.closes, 0);
    sim_net_heal(pair->world);
    end_send(&pair->client, 5);
    pair_run_for(pair, SECOND);
    assert_int_equal(pair->server.count, 1);
    sim_world_close(pair->world);
}

static void connects_over_a_cut_time_out(void **state)
{
    (void)state;
    struct pair *pair = pair_create(1);
    struct sim_node *const left[] = {pair->client_node};
    struct sim_node *const right[] = {pair->server_node};
    sim_net_partition(pair->world, left, 1, right, 1);
    pair_dial(pair, "s:7200");
    pair_run_for(pair, 60 * SECOND);
    assert_int_equal(pair->client.open_status, -ETIMEDOUT);
    assert_int_equal(pair->client.opened_us, 1 + ENV_CONN_IDLE_LIMIT_US);
    sim_world_close(pair->world);
}

static void what_is_held_arrives_later(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    pair_set(pair, ENV_FAULT_HOLD, 1);
    end_send_all(&pair->client, 10);
    pair_run_for(pair, 5 * SECOND);
    assert_int_equal(pair->server.count, 0);
    pair_set(pair, ENV_FAULT_HOLD, 0);
    pair_run_for(pair, 10 * MS);
    end_assert_in_order(&pair->server, 10);
    pair_set(pair, ENV_FAULT_HOLD, 1);
    end_send_all(&pair->client, 10); /* held when the world ends */
    sim_world_close(pair->world);
}

static void settings_of_a_link_win(void **state)
{
    (void)state;
    struct pair *pair = pair_create_connected(1);
    struct env_fault_value none = {.number = 0};
    pair_set(pair, ENV_FAULT_LOSS, 1000000);
    assert_int_equal(
        sim_fault_apply(pair->world, ENV_FAULT_LOSS, NULL, pair->server_node, &none, NULL), 0);
    end_send_all(&pair->client, 5);
    end_send_all(&pair->server, 5);
    pair_run_for(pair, SECOND);
    end_assert_in_order(&pair->server, 5);
    assert_int_equal(pair->client.count, 0);
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
        shape.nodes[i] = end_add(shape.world, name, end_listen, &shape.ends[i]);
    }
    advance(shape.world, 1);
    return &shape;
}

/* Tries every connection. */
static void look(struct shape *shape, size_t count)
{
    static const struct env_conn_events open_only = {end_on_open, end_on_message, NULL,
                                                     end_on_close};
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

/* ---- a seed decides it ---- */

static uint64_t run_with_everything(uint64_t seed)
{
    struct pair *pair = pair_create(seed);
    struct env_fault_value latency = {.delay = {ENV_DELAY_EXPONENTIAL, 100, 5 * MS, 0}};
    assert_int_equal(sim_fault_apply(pair->world, ENV_FAULT_LATENCY, NULL, NULL, &latency, NULL),
                     0);
    pair_set(pair, ENV_FAULT_LOSS, 50000);
    pair_set(pair, ENV_FAULT_DUPLICATE, 50000);
    pair_set(pair, ENV_FAULT_REORDER, 50000);
    pair_set(pair, ENV_FAULT_RESET, 100);
    pair_set(pair, ENV_FAULT_BANDWIDTH, 1000000);
    pair->server.echoes = true;
    pair_dial(pair, "s:7200");
    end_send_all(&pair->client, 500);
    pair_run_for(pair, SECOND);
    if (pair->client.closes == 0)
        end_send_all(&pair->client, 500);
    sim_node_crash(pair->server_node);
    pair_run_for(pair, SECOND);
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
        cmocka_unit_test(shapes_cut_what_they_say),
        cmocka_unit_test(a_seed_decides_every_fate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
