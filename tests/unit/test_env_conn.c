/* Messages between two connections of the libuv environment, over TCP and Unix sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "alloc.h"
#include "conn_fixture.h"
#include "env/log.h"
#include "write.h"

/* ---- there and back ---- */

static void check_echo(const char *address)
{
    struct net net;
    net_open(&net, address);
    net_connect(&net);
    net.server.echoes = true;
    net.client.stop_at = 3;
    struct peri_slice parts[] = {{"in ", 3}, {NULL, 0}, {"parts", 5}};
    assert_int_equal(send_text(net.client.conn, "early"), 0); /* before the connection is open */
    assert_int_equal(env_conn_send(net.client.conn, parts, 3), 0);
    assert_int_equal(send_text(net.client.conn, "!"), 0);
    assert_int_equal(net.client.opens, 0); /* never inside the call */
    env_run(net.env);
    assert_int_equal(net.client.opens, 1);
    assert_int_equal(net.client.open_status, 0);
    assert_int_equal(net.server.opens, 0);
    assert_true(has_received(&net.client, "earlyin parts!"));
    assert_true(env_conn_is_local(net.client.conn));
    assert_true(env_conn_is_local(net.server.conn));
    assert_string_equal(env_conn_peer(net.client.conn), env_listener_address(net.listener));
    assert_string_equal(env_conn_failure(net.client.conn), "");
    net_close(&net);
}

static bool has_room(struct env_conn *conn, const char *text)
{
    char *room = env_conn_room(conn, strlen(text));
    if (room != NULL)
        memcpy(room, text, strlen(text));
    return room != NULL;
}

static void short_messages_are_written_into_an_open_burst(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.echoes = true;
    net.client.stop_at = 4;
    assert_false(has_room(net.client.conn, "one")); /* nothing has been sent */
    assert_int_equal(send_text(net.client.conn, "one"), 0);
    assert_false(has_room(net.client.conn, "two")); /* one message is no burst */
    assert_int_equal(send_text(net.client.conn, "two"), 0);
    assert_true(has_room(net.client.conn, "three"));
    assert_null(env_conn_room(net.client.conn, 0));
    assert_null(env_conn_room(net.client.conn, WIRE_BURST_MAX));
    assert_null(env_conn_room(net.client.conn, SIZE_MAX));
    assert_int_equal(send_text(net.client.conn, "four"), 0);
    env_run(net.env);
    assert_true(has_received(&net.client, "onetwothreefour"));
    assert_false(has_room(net.client.conn, "five")); /* the burst has left */
    net_close(&net);
}

static void a_connection_that_has_ended_has_no_room(void **state)
{
    (void)state;
    struct net net;
    struct peri_error err = PERI_ERROR_INIT;
    net_open(&net, "127.0.0.1:0");
    assert_int_equal(
        env_conn_connect(net.env, "127.0.0.1:1", &end_events, &net.client, &net.client.conn, &err),
        0);
    assert_int_equal(send_text(net.client.conn, "one"), 0);
    assert_int_equal(send_text(net.client.conn, "two"), 0);
    assert_true(has_room(net.client.conn, "three"));
    env_run(net.env);
    assert_int_not_equal(net.client.open_status, 0);
    assert_false(has_room(net.client.conn, "four"));
    assert_int_equal(send_text(net.client.conn, "four"), PERI_ECLOSED);
    net_close(&net);
}

static void messages_travel_over_tcp(void **state)
{
    (void)state;
    check_echo("127.0.0.1:0");
    check_echo(":0");
    check_echo("localhost:0");
    check_echo("[::1]:0");
}

static void messages_travel_over_a_unix_socket(void **state)
{
    (void)state;
    check_echo("unix:build/test_env_conn.socket");
    assert_int_equal(access("build/test_env_conn.socket", F_OK), -1); /* gone with the listener */
}

static void a_listener_says_where_it_is(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    assert_memory_equal(env_listener_address(net.listener), "127.0.0.1:", 10);
    assert_int_not_equal(port_of(&net), 0);
    net_close(&net);
}

/* Messages of all sizes around those of the buffers, in both directions at once. */
static void large_messages_arrive_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 65527, 65528, 65529, 131072, 1 << 20, 3, 5 << 20, 65536, 7};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    struct net net;
    struct peri_buffer all = {NULL, 0, 0};
    char *bytes = malloc(5 << 20);
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.echoes = true;
    net.server.message_max = 8 << 20;
    net.client.stop_at = COUNT;
    env_conn_set_message_max(net.client.conn, 8 << 20);
    for (size_t i = 0; i < COUNT; i++) {
        struct peri_slice part = {bytes, sizes[i]};
        for (size_t at = 0; at < sizes[i]; at++)
            bytes[at] = (char)((at * 7 + i) >> 3);
        assert_int_equal(env_conn_send(net.client.conn, &part, 1), 0);
        assert_int_equal(peri_buffer_append(&all, bytes, sizes[i]), 0);
    }
    env_run(net.env);
    assert_int_equal(net.client.messages, COUNT);
    assert_int_equal(
        peri_slice_compare(peri_buffer_slice(&net.client.received), peri_buffer_slice(&all)), 0);
    free(bytes);
    peri_buffer_deinit(&all);
    net_close(&net);
}

static void many_small_messages_keep_their_order(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.echoes = true;
    net.client.stop_at = COUNT;
    for (uint32_t i = 0; i < COUNT; i++) {
        struct peri_slice part = {(const char *)&i, sizeof i};
        assert_int_equal(env_conn_send(net.client.conn, &part, 1), 0);
    }
    env_run(net.env);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_memory_equal(net.client.received.data + i * sizeof i, &i, sizeof i);
    net_close(&net);
}

/* ---- back-pressure ---- */

static void a_pause_holds_back_whole_messages(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.pause_at = 2;
    net.server.stop_at = 2;
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_text(net.client.conn, i % 2 == 0 ? "ping " : "pong "), 0);
    env_run(net.env);
    assert_true(has_received(&net.server, "ping pong "));
    net.server.stop_at = 5;
    env_conn_resume(net.server.conn);
    assert_int_equal(net.server.messages, 2); /* never inside the call */
    env_run(net.env);
    assert_true(has_received(&net.server, "ping pong ping pong ping "));
    net_close(&net);
}

static void a_pause_inside_a_resumed_batch_holds_too(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    for (int i = 0; i < 4; i++)
        assert_int_equal(send_text(net.client.conn, "x"), 0);
    for (size_t i = 1; i <= 4; i++) {
        net.server.pause_at = i;
        net.server.stop_at = i;
        env_run(net.env);
        assert_int_equal(net.server.messages, i);
        env_conn_resume(net.server.conn);
    }
    net_close(&net);
}

/* A reader that stops fills the sender's queue, which refuses at its limit and tells when there is
 * room again. */
static void a_slow_reader_fills_the_queue(void **state)
{
    (void)state;
    enum { PART = 64 << 10 };
    static const char bytes[PART];
    struct net net;
    struct peri_slice part = {bytes, PART};
    size_t sent = 0;
    int rc = 0;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.pause_at = 1;
    net.server.stop_at = 1;
    net.server.message_max = PART;
    assert_int_equal(env_conn_send(net.client.conn, &part, 1), 0);
    env_run(net.env);
    while ((rc = env_conn_send(net.client.conn, &part, 1)) == 0)
        sent++;
    assert_int_equal(rc, PERI_EBUSY);
    size_t queued = env_conn_queued_bytes(net.client.conn);
    assert_true(queued > ENV_CONN_QUEUE_MAX && queued < ENV_CONN_QUEUE_MAX + 2 * PART);
    net.client.stops_on_writable = true;
    net.server.stop_at = 0;
    env_conn_resume(net.server.conn);
    env_run(net.env);
    assert_int_equal(net.client.writables, 1);
    assert_true(env_conn_queued_bytes(net.client.conn) < ENV_CONN_QUEUE_MARK / 2);
    net.server.stop_at = 1 + sent;
    env_run(net.env);
    assert_int_equal(net.server.messages, 1 + sent);
    net_close(&net);
}

/* ---- how connections end ---- */

static void a_close_is_seen_by_the_peer(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.closes_on_message = true;
    assert_int_equal(send_text(net.client.conn, "go"), 0);
    env_run(net.env);
    assert_int_equal(net.client.closes, 1);
    assert_int_equal(net.client.close_status, PERI_ECLOSED);
    assert_int_equal(net.server.closes, 0);
    assert_int_equal(send_text(net.client.conn, "late"), PERI_ECLOSED);
    assert_non_null(strstr(net.client.failure, "closed by the peer"));
    net_close(&net);
}

/* 8 MiB are queued when the sender closes and forgets the connection. The reader takes its time. */
static void what_is_queued_leaves_after_a_close(void **state)
{
    (void)state;
    enum { SIZE = 8 << 20 };
    struct net net;
    char *bytes = malloc(SIZE);
    struct peri_slice part = {bytes, SIZE};
    memset(bytes, 'x', SIZE);
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.message_max = SIZE;
    net.server.pause_at = 1;
    net.server.stop_at = 1;
    assert_int_equal(send_text(net.client.conn, "first"), 0);
    env_run(net.env);
    assert_int_equal(env_conn_send(net.client.conn, &part, 1), 0);
    assert_int_equal(send_text(net.client.conn, "last"), 0);
    env_conn_close(net.client.conn);
    net.client.conn = NULL;
    env_conn_resume(net.server.conn);
    env_run(net.env); /* until the server sees the close */
    assert_int_equal(net.server.closes, 1);
    assert_int_equal(net.server.messages, 3);
    assert_memory_equal(net.server.received.data + net.server.received.size - 4, "last", 4);
    free(bytes);
    net_close(&net);
}

/* The last words of a server that does not read what its client still sends. */
static void last_words_survive_unread_bytes(void **state)
{
    (void)state;
    static const char bytes[1 << 20];
    struct net net;
    struct peri_slice part = {bytes, sizeof bytes};
    net_open(&net, "127.0.0.1:0");
    net_connect(&net);
    net.server.echoes = true;
    net.server.closes_on_message = true;
    assert_int_equal(send_text(net.client.conn, "last words"), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(env_conn_send(net.client.conn, &part, 1), 0);
    env_run(net.env);
    assert_int_equal(net.client.closes, 1);
    assert_true(has_received(&net.client, "last words"));
    net_close(&net);
}

/* ---- limits of the machine ---- */

static void echo_with_faults(long n, bool *has_failed)
{
    struct net net;
    struct peri_error err = PERI_ERROR_INIT;
    net_open(&net, "127.0.0.1:0");
    env_log_set_level(net.env, ENV_LOG_ERROR);
    net.server.echoes = false;
    net.server.stop_at = 1;
    assert_int_equal(peri_buffer_reserve(&net.server.received, 1 << 10), 0);
    test_alloc_fail(n);
    int rc = env_conn_connect(net.env, env_listener_address(net.listener), &end_events, &net.client,
                              &net.client.conn, &err);
    if (rc == 0)
        rc = send_text(net.client.conn, "message");
    if (rc == 0)
        env_run(net.env);
    *has_failed = test_alloc_end();
    assert_true(rc == 0 || (*has_failed && rc == PERI_ENOMEM));
    if (!*has_failed)
        assert_int_equal(net.server.messages, 1);
    net_close(&net);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool has_failed = true;
    for (long n = 1; has_failed; n++)
        echo_with_faults(n, &has_failed);
}

/* The kernel takes a few bytes at a time: the order stays, and the rest follows. */
static void short_writes_lose_nothing(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 100, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        test_write_short(sizes[i]);
        check_echo("127.0.0.1:0");
        large_messages_arrive_whole(NULL);
        what_is_queued_leaves_after_a_close(NULL);
        test_write_short(0);
    }
}

/* The n-th write fails: that connection ends, once, with the status of the write. */
static void every_write_may_fail(void **state)
{
    (void)state;
    bool has_failed = true;
    for (long n = 1; has_failed; n++) {
        struct net net;
        net_open(&net, "127.0.0.1:0");
        net_connect(&net);
        test_write_short(20);
        test_write_fail(n, -ECONNRESET);
        net.server.echoes = true;
        net.server.has_broken_writes = true;
        net.client.stop_at = 3;
        for (int i = 0; i < 3; i++)
            assert_int_equal(send_text(net.client.conn, "a message of some bytes"), 0);
        env_run(net.env);
        has_failed = test_write_end();
        test_write_short(0);
        assert_true(net.client.closes <= 1 && net.server.closes <= 1);
        assert_int_equal(net.client.close_status == -ECONNRESET ||
                             net.server.close_status == -ECONNRESET,
                         has_failed);
        assert_int_equal(net.client.messages, has_failed ? net.client.messages : 3);
        net_close(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_travel_over_tcp),
        cmocka_unit_test(messages_travel_over_a_unix_socket),
        cmocka_unit_test(short_messages_are_written_into_an_open_burst),
        cmocka_unit_test(a_connection_that_has_ended_has_no_room),
        cmocka_unit_test(a_listener_says_where_it_is),
        cmocka_unit_test(large_messages_arrive_whole),
        cmocka_unit_test(many_small_messages_keep_their_order),
        cmocka_unit_test(a_pause_holds_back_whole_messages),
        cmocka_unit_test(a_pause_inside_a_resumed_batch_holds_too),
        cmocka_unit_test(a_slow_reader_fills_the_queue),
        cmocka_unit_test(a_close_is_seen_by_the_peer),
        cmocka_unit_test(what_is_queued_leaves_after_a_close),
        cmocka_unit_test(last_words_survive_unread_bytes),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(short_writes_lose_nothing),
        cmocka_unit_test(every_write_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
