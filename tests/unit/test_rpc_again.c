/* Calls of one function that leave together, and their answers, say what differs and no more; all
 * others are said in full, and nobody takes one call for another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/server_state.h"
#include "rpc_fixture.h"

enum { EQUAL_CALLS = 32, MIXED_CALLS = 48, LARGE_CALLS = 40 };

struct asked {
    struct rpc_request request;
    struct world *world;
    unsigned number; /* of its arguments */
    bool is_done;
    int code;
};

static struct asked asked[MIXED_CALLS];

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct asked *call = container_of(request, struct asked, request);
    call->is_done = true;
    call->code = result->code;
    if (result->code == 0 && call->number < CALLS)
        assert_int_equal(peri_slice_compare(result->values, arguments(call->world, call->number)),
                         0);
    env_stop(call->world->env);
}

static void ask(struct world *world, unsigned i, const char *name, unsigned number)
{
    asked[i] = (struct asked){.world = world, .number = number};
    asked[i].request.name = peri_slice_of(name, strlen(name));
    asked[i].request.due_us = env_now_us(world->env) + 50000000;
    asked[i].request.on_done = on_answer;
    assert_int_equal(
        rpc_client_call(world->client, &asked[i].request, arguments(world, number), false, NULL),
        0);
}

static void wait_for(struct world *world, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        while (!asked[i].is_done && !world->is_late)
            env_run(world->env);
        assert_true(asked[i].is_done);
    }
}

static struct world *world_open(void)
{
    struct world *world = world_create(1, 0);
    assert_int_equal(open_both(world, NULL), 0);
    env_timer_start(world->limit, 1000);
    while (!world->client->conn.is_ready) {
        env_run(world->env);
        env_timer_start(world->limit, 1000);
    }
    world->is_late = false;
    env_timer_start(world->limit, 60000000);
    return world;
}

static uint64_t bytes_of(const struct world *world)
{
    struct rpc_server_stats stats;
    rpc_server_stats(world->server, &stats);
    return stats.bytes;
}

static void equal_calls_share_a_head(void **state)
{
    (void)state;
    struct world *world = world_open();
    for (unsigned i = 0; i < EQUAL_CALLS; i++) {
        ask(world, 0, "echo", i * 10);
        wait_for(world, 1);
    }
    uint64_t apart = bytes_of(world);
    for (unsigned i = 0; i < EQUAL_CALLS; i++)
        ask(world, i, "echo", i * 10);
    wait_for(world, EQUAL_CALLS);
    uint64_t together = bytes_of(world) - apart;
    size_t bare = arguments(world, 0).size;
    assert_int_equal(apart, EQUAL_CALLS * (2 * bare + 2 * WIRE_VALUE_HEAD_SIZE + sizeof "echo"));
    /* The first two of each burst are said in full. */
    assert_true(together < EQUAL_CALLS * 2 * (bare + WIRE_AGAIN_HEAD_SIZE) + 6 * 32);
    for (unsigned i = 0; i < EQUAL_CALLS; i++) {
        assert_int_equal(asked[i].code, 0);
        assert_int_equal(world->ran[i * 10], 2);
    }
    world_close(world);
}

/* Functions that answer at once, later, or are not there, in any order; and casts between them. */
static void other_calls_are_not_taken_for_them(void **state)
{
    (void)state;
    static const char *const names[] = {"echo", "later", "missing", "echo2"};
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct world *world = world_open();
        const struct rpc_handler later = {.on_call = on_echo, .on_cancel = on_gone, .data = world};
        unsigned casts = 0;
        network.seed = seed;
        assert_int_equal(rpc_server_handle(world->server, "later", &later, NULL), 0);
        assert_int_equal(rpc_server_handle(world->server, "echo2", &later, NULL), 0);
        unsigned which = 0;
        for (unsigned i = 0; i < MIXED_CALLS; i++) {
            which = chance() < 70 ? which : chance() % 4;
            ask(world, i, names[which], 100 + i - i % 10 + i % 9);
            for (; chance() < 10; casts++)
                assert_int_equal(rpc_client_cast(world->client, peri_slice_of("echo", 4),
                                                 arguments(world, 0), UINT64_MAX / 2, false, NULL),
                                 0);
            if (chance() < 5)
                wait_for(world, i);
        }
        wait_for(world, MIXED_CALLS);
        for (unsigned i = 0; i < MIXED_CALLS; i++) {
            bool is_missing = asked[i].request.name.data == names[2];
            assert_int_equal(asked[i].code, is_missing ? PERI_ENOFUNCTION : 0);
        }
        assert_int_equal(world->ran[0], casts);
        world_close(world);
    }
}

static void on_large(struct rpc_call *call)
{
    const struct peri_slice *answer = call->handler->data;
    rpc_call_reply(call, *answer);
}

static unsigned pauses_in_bursts;

static void count_pause(struct env_conn *conn)
{
    pauses_in_bursts += conn->is_in_burst;
    network.real->conn->pause(conn);
}

/* The server stops reading in the middle of a burst, whose bytes are gone when it goes on. */
static void a_pause_forgets_no_name(void **state)
{
    (void)state;
    static char large[LONG_SIZE];
    static struct peri_slice answer = {large, sizeof large};
    struct world *world = world_open();
    struct rpc_handler handler = {.on_cancel = on_gone, .data = &answer};
    static const unsigned char head[] = {
        0x91, 0xc6, 0, (LONG_SIZE - 6) >> 16, (LONG_SIZE - 6) >> 8 & 0xff, (LONG_SIZE - 6) & 0xff};
    memcpy(large, head, sizeof head);
    handler.on_call = on_large;
    network.conn.pause = count_pause;
    assert_int_equal(rpc_server_handle(world->server, "large", &handler, NULL), 0);
    env_conn_pause(world->client->conn.wire);
    for (unsigned i = 0; i < LARGE_CALLS; i++) {
        ask(world, i, i % 8 == 7 ? "echo" : "large", 100);
        if (i % 8 != 7)
            asked[i].number = CALLS; /* not echoed */
    }
    env_timer_start(world->limit, 20000);
    env_run(world->env);
    env_conn_resume(world->client->conn.wire);
    world->is_late = false;
    env_timer_start(world->limit, 60000000);
    wait_for(world, LARGE_CALLS);
    for (unsigned i = 0; i < LARGE_CALLS; i++)
        assert_int_equal(asked[i].code, 0);
    assert_true(pauses_in_bursts > 0);
    world_close(world);
}

/* A message said again where none was before: a refusal, and the end. */
static void nothing_cannot_be_said_again(void **state)
{
    (void)state;
    static const char again[] = {(char)WIRE_AGAIN, '\x90'};
    static const struct {
        const char *before;
        size_t size;
    } cases[] = {
        {"", 0}, /* alone in its frame, after a call in another one */
        {"\3\17\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x91\x01", 18},  /* PING */
        {"\3\12\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x91\xa1x", 19}, /* CANCEL */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *world = world_open();
        struct rpc_server_stats stats;
        struct peri_slice before = peri_slice_of(cases[i].before, cases[i].size);
        struct peri_slice bytes = peri_slice_of(again, sizeof again);
        ask(world, 0, "echo", 0);
        wait_for(world, 1);
        if (before.size > 0)
            assert_int_equal(env_conn_send(world->client->conn.wire, &before, 1), 0);
        assert_int_equal(env_conn_send(world->client->conn.wire, &bytes, 1), 0);
        env_timer_start(world->limit, 20000);
        env_run(world->env);
        assert_non_null(strstr(world->client->why.text, "a malformed message, or no other before"));
        rpc_server_stats(world->server, &stats);
        assert_int_equal(stats.calls, 1);
        world_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_calls_share_a_head),
        cmocka_unit_test(other_calls_are_not_taken_for_them),
        cmocka_unit_test(a_pause_forgets_no_name),
        cmocka_unit_test(nothing_cannot_be_said_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
