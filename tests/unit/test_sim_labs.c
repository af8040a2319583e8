/* The network of the MIT labs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "env/env.h"
#include "sim/net.h"
#include "sim/node.h"
#include "sim_pair.h"
#include "wire/message.h"

enum { SEEDS = 20 };

/* ---- the network of the labs ---- */

static void the_labs_lose_and_delay_as_labrpc_does(void **state)
{
    (void)state;
    enum { CALLS = 5000 };
    static const struct sim_net_labs unreliable = {.is_on = true, .unreliable = true};
    static const struct sim_net_labs late = {.is_on = true, .long_reordering = true};
    struct pair *pair = pair_create_connected(1);
    pair->server.echoes = true;
    sim_net_set_labs(pair->world, &unreliable);
    uint64_t begin_us = sim_world_now_us(pair->world);
    end_send_all(&pair->client, CALLS);
    pair_run_for(pair, SECOND);
    assert_in_range(pair->server.count, CALLS * 89 / 100, CALLS * 91 / 100);
    assert_in_range(pair->client.count, CALLS * 79 / 100, CALLS * 83 / 100); /* 0.9 * 0.9 */
    assert_in_range(pair->server.heard_us - begin_us, 25 * MS, 26 * MS);
    pair->client.count = 0;
    sim_net_set_labs(pair->world, &late);
    begin_us = sim_world_now_us(pair->world);
    end_send_all(&pair->client, CALLS);
    pair_run_for(pair, 199 * MS);
    assert_in_range(pair->client.count, CALLS * 31 / 100, CALLS * 36 / 100); /* 1 of 3 at once */
    pair_run_for(pair, 3 * SECOND);
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
        struct pair *pair = pair_create(seed);
        sim_net_set_labs(pair->world, &labs);
        sim_net_isolate(pair->world, pair->server_node);
        pair_dial(pair, "s:7200");
        pair_run_for(pair, 20 * SECOND);
        assert_int_equal(pair->client.open_status, -EHOSTUNREACH);
        assert_true(pair->client.opened_us <= (labs.long_delays ? 7000 * MS : 100 * MS));
        if (pair->client.opened_us > slowest_us)
            slowest_us = pair->client.opened_us;
        sim_world_close(pair->world);
    }
    assert_true(slowest_us > 3000 * MS);
}

static void send_message(struct end *end, enum wire_kind kind, uint64_t id)
{
    struct wire_message message = {.kind = (uint8_t)kind, .id = id};
    struct peri_buffer bytes = {0};
    struct peri_slice parts[2];
    if (kind == WIRE_CALL)
        message.call.name = peri_slice_of("f", 1);
    assert_int_equal(wire_message_encode(&message, &bytes, &parts[1]), 0);
    parts[0] = peri_buffer_slice(&bytes);
    assert_int_equal(env_conn_send(end->conn, parts, 2), 0);
    peri_buffer_deinit(&bytes);
}

static unsigned kind_of(uint32_t number) /* the first bytes of a message */
{
    return number >> 8 & 0xff;
}

static void the_labs_tell_of_each_lost_call(void **state)
{
    (void)state;
    enum { CALLS = 2000 };
    static const struct sim_net_labs unreliable = {.is_on = true, .unreliable = true};
    struct pair *pair = pair_create_connected(1);
    sim_net_set_labs(pair->world, &unreliable);
    uint64_t begin_us = sim_world_now_us(pair->world);
    for (uint64_t id = 1; id <= CALLS; id++) {
        send_message(&pair->client, WIRE_CALL, id);
        send_message(&pair->client, WIRE_PING, 0); /* what is no call gets through */
    }
    pair_run_for(pair, SECOND);
    size_t lost = pair->client.count;
    assert_in_range(lost, CALLS * 8 / 100, CALLS * 12 / 100);
    for (size_t i = 0; i < lost; i++)
        assert_int_equal(kind_of(pair->client.numbers[i]), WIRE_ERROR);
    assert_true(pair->client.heard_us - begin_us <= 26 * MS);
    assert_int_equal(pair->server.count, 2 * CALLS - lost);
    struct sim_net_counts counts = sim_net_counts(pair->world);
    assert_int_equal(counts.lost, lost);
    assert_int_equal(counts.sent, counts.delivered + counts.lost);
    sim_world_close(pair->world);
}

static void the_labs_tell_of_each_lost_answer(void **state)
{
    (void)state;
    enum { ANSWERS = 2000 };
    static const struct sim_net_labs late = {
        .is_on = true, .unreliable = true, .long_reordering = true};
    struct pair *pair = pair_create_connected(1);
    sim_net_set_labs(pair->world, &late);
    for (uint64_t id = 1; id <= ANSWERS; id++)
        send_message(&pair->server, WIRE_REPLY, id);
    pair_run_for(pair, MS); /* a lost answer is never late */
    size_t lost = 0;
    for (size_t i = 0; i < pair->client.count; i++)
        lost += kind_of(pair->client.numbers[i]) == WIRE_ERROR;
    assert_int_equal(lost, sim_net_counts(pair->world).lost);
    assert_in_range(lost, ANSWERS * 8 / 100, ANSWERS * 12 / 100);
    pair_run_for(pair, 3 * SECOND);
    assert_int_equal(pair->client.count, ANSWERS);
    sim_world_close(pair->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_labs_lose_and_delay_as_labrpc_does),
        cmocka_unit_test(the_labs_tell_of_each_lost_call),
        cmocka_unit_test(the_labs_tell_of_each_lost_answer),
        cmocka_unit_test(the_labs_tell_of_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
