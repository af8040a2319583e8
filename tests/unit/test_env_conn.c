/* Connections and listeners of the libuv environment, over TCP and Unix sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "alloc.h"
#include "base/assert.h"
#include "base/buffer.h"
#include "env/log.h"
#include "env/uv.h"
#include "wire/frame.h"
#include "write.h"

/* One end of a connection, and what happened there. */
struct end {
    struct env *env;
    struct env_conn *conn;
    int opens, closes, writables;
    int open_status, close_status;
    size_t messages;
    struct peri_buffer received; /* all messages, one behind the other */
    size_t pause_at;             /* pauses when so many messages have come; 0: never */
    size_t stop_at;              /* stops the loop when so many messages have come; 0: never */
    bool echoes;
    bool closes_on_message;
    bool has_broken_writes; /* echoes may be refused */
    bool stops_on_writable;
    uint64_t idle_limit_us;
    size_t message_max;
    char failure[512];
};

struct net {
    struct env *env;
    struct env_listener *listener;
    struct end client, server;
    int connections;
    bool closes_at_once;
};

static void on_open(void *data, int status)
{
    struct end *end = data;
    end->opens++;
    end->open_status = status;
    if (status != 0) {
        (void)snprintf(end->failure, sizeof end->failure, "%s", env_conn_failure(end->conn));
        env_stop(end->env);
    }
}

static void on_message(void *data, struct peri_slice message)
{
    struct end *end = data;
    end->messages++;
    assert_int_equal(peri_buffer_append(&end->received, message.data, message.size), 0);
    int rc = end->echoes ? env_conn_send(end->conn, &message, 1) : 0;
    assert_int_equal(rc, end->has_broken_writes && rc != 0 ? PERI_ECLOSED : 0);
    if (end->messages == end->pause_at)
        env_conn_pause(end->conn);
    if (end->closes_on_message) {
        env_conn_close(end->conn);
        end->conn = NULL;
    }
    if (end->messages == end->stop_at)
        env_stop(end->env);
}

static void on_writable(void *data)
{
    struct end *end = data;
    end->writables++;
    if (end->stops_on_writable)
        env_stop(end->env);
}

static void on_close(void *data, int status)
{
    struct end *end = data;
    end->closes++;
    end->close_status = status;
    (void)snprintf(end->failure, sizeof end->failure, "%s", env_conn_failure(end->conn));
    env_stop(end->env);
}

static const struct env_conn_events events = {on_open, on_message, on_writable, on_close};

static void on_connection(void *data, struct env_conn *conn)
{
    struct net *net = data;
    net->connections++;
    if (net->closes_at_once || net->server.conn != NULL) {
        env_conn_close(conn);
        return;
    }
    net->server.conn = conn;
    env_conn_accept(conn, &events, &net->server);
    if (net->server.idle_limit_us > 0)
        env_conn_set_idle_limit(conn, net->server.idle_limit_us);
    if (net->server.message_max > 0)
        env_conn_set_message_max(conn, net->server.message_max);
}

static void net_open(struct net *net, const char *address)
{
    struct peri_error err = PERI_ERROR_INIT;
    *net = (struct net){0};
    assert_int_equal(env_uv_create(&net->env, &err), 0);
    net->client.env = net->env;
    net->server.env = net->env;
    assert_int_equal(env_listener_open(net->env, address, on_connection, net, &net->listener, &err),
                     0);
}

static void net_connect(struct net *net)
{
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_conn_connect(net->env, env_listener_address(net->listener), &events,
                                      &net->client, &net->client.conn, &err),
                     0);
}

static void net_close(struct net *net)
{
    env_conn_close(net->client.conn);
    env_conn_close(net->server.conn);
    env_listener_close(net->listener);
    env_close(net->env);
    peri_buffer_deinit(&net->client.received);
    peri_buffer_deinit(&net->server.received);
}

static int send_text(struct env_conn *conn, const char *text)
{
    struct peri_slice part = peri_slice_of(text, strlen(text));
    return env_conn_send(conn, &part, 1);
}

static uint16_t port_of(const struct net *net)
{
    const char *port = strrchr(env_listener_address(net->listener), ':') + 1;
    return (uint16_t)strtoul(port, NULL, 10);
}

static bool has_received(const struct end *end, const char *text)
{
    return end->received.size == strlen(text) &&
           memcmp(end->received.data, text, end->received.size) == 0;
}

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

static void a_refused_connect_says_so(void **state)
{
    (void)state;
    struct net net;
    char address[64];
    net_open(&net, "127.0.0.1:0");
    (void)snprintf(address, sizeof address, "%s", env_listener_address(net.listener));
    env_listener_close(net.listener);
    net.listener = NULL;
    env_run(net.env); /* the port is free now */
    assert_int_equal(
        env_conn_connect(net.env, address, &events, &net.client, &net.client.conn, NULL), 0);
    assert_int_equal(net.client.opens, 0);
    env_run(net.env);
    assert_int_equal(net.client.open_status, -ECONNREFUSED);
    assert_non_null(strstr(net.client.failure, address));
    assert_non_null(strstr(net.client.failure, "Connection refused"));
    assert_int_equal(net.client.closes, 0);
    assert_int_equal(send_text(net.client.conn, "x"), PERI_ECLOSED);
    net_close(&net);
}

static void unknown_names_and_paths_are_reported(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        int status;
        const char *text;
    } cases[] = {
        {"no-such-host.invalid:1", PERI_EUNREACHABLE, "no address of that name"},
        {"unix:build/no-such-socket", -ENOENT,
         "connect to unix:build/no-such-socket: No such file"},
        {"127.0.0.1:1", -ECONNREFUSED, "connect to 127.0.0.1:1: Connection refused"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net net;
        net_open(&net, ":0");
        assert_int_equal(env_conn_connect(net.env, cases[i].address, &events, &net.client,
                                          &net.client.conn, NULL),
                         0);
        env_run(net.env);
        assert_int_equal(net.client.opens, 1);
        assert_int_equal(net.client.open_status, cases[i].status);
        assert_non_null(strstr(net.client.failure, cases[i].text));
        net_close(&net);
    }
}

static void wrong_addresses_are_refused_at_once(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "",     "host:",     "host:65536", "host:-1", "host:1x",  "a b:1",   "::1:7100",
        "[::1", "[::1]7100", "[]:1",       "unix:",   "host:1:2", "host:+1", "host: 1",
    };
    struct net net;
    net_open(&net, ":0");
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        struct env_listener *listener;
        assert_int_equal(
            env_conn_connect(net.env, addresses[i], &events, &net.client, &net.client.conn, &err),
            PERI_EINVAL);
        assert_non_null(strstr(err.text, "address '"));
        assert_int_equal(
            env_listener_open(net.env, addresses[i], on_connection, &net, &listener, NULL),
            PERI_EINVAL);
    }
    char path[256] = "unix:";
    memset(path + 5, 'x', 108);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_conn_connect(net.env, path, &events, &net.client, &net.client.conn, &err),
                     PERI_EINVAL);
    assert_non_null(strstr(err.text, "107 bytes at most"));
    net_close(&net);
}

/* An address that swallows packets (RFC 5737: nobody's). */
static void a_connect_that_nobody_answers_ends(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, ":0");
    assert_int_equal(
        env_conn_connect(net.env, "192.0.2.1:7", &events, &net.client, &net.client.conn, NULL), 0);
    env_conn_set_idle_limit(net.client.conn, 50000);
    env_run(net.env);
    assert_int_equal(net.client.opens, 1);
    assert_true(net.client.open_status < 0); /* where there is no route, that is said earlier */
    if (net.client.open_status == -ETIMEDOUT)
        assert_string_equal(net.client.failure, "connect to 192.0.2.1:7: no answer for 0.1 s");
    net_close(&net);
}

/* Closing in every state, also in the middle of a lookup and of a connect. */
static void a_close_may_come_at_any_time(void **state)
{
    (void)state;
    static const char *const addresses[] = {"localhost:1", "no-such-host.invalid:1", "127.0.0.1:1",
                                            "unix:build/no-such-socket"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct net net;
        net_open(&net, ":0");
        assert_int_equal(
            env_conn_connect(net.env, addresses[i], &events, &net.client, &net.client.conn, NULL),
            0);
        env_conn_close(net.client.conn);
        net.client.conn = NULL;
        assert_int_equal(
            env_conn_connect(net.env, addresses[i], &events, &net.client, &net.client.conn, NULL),
            0); /* env_close closes this one */
        net.client.conn = NULL;
        net_close(&net);
        assert_int_equal(net.client.opens, 0);
    }
}

/* ---- peers that are not ours ---- */

static int raw_connect(const struct net *net)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port_of(net))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static const char HELLO[] = "\5\0\0\0\xfd\xdc\x62\x5c"
                            "hello"; /* a frame */

/* Sends bytes to a server and says how its connection ended. */
static int end_of(struct peri_slice bytes, bool closes, struct net *net)
{
    net_open(net, "127.0.0.1:0");
    env_log_set_level(net->env, ENV_LOG_ERROR);
    net->server.idle_limit_us = 50000;
    int fd = raw_connect(net);
    assert_int_equal(write(fd, bytes.data, bytes.size), bytes.size);
    if (closes)
        assert_int_equal(close(fd), 0);
    env_run(net->env);
    if (!closes)
        assert_int_equal(close(fd), 0);
    assert_int_equal(net->server.closes, 1);
    int status = net->server.close_status;
    net_close(net);
    return status;
}

static void broken_framing_ends_one_connection(void **state)
{
    (void)state;
    struct net net;
    struct peri_buffer frame = {NULL, 0, 0};
    struct peri_slice part = {"message", 7};
    assert_int_equal(wire_frame_encode(&frame, &part, 1), 0);
    assert_int_equal(wire_frame_encode(&frame, &part, 1), 0);
    struct peri_slice good = peri_slice_of(frame.data, frame.size / 2);

    assert_int_equal(end_of(good, true, &net), PERI_ECLOSED);
    assert_int_equal(net.server.messages, 1);
    assert_int_equal(end_of(peri_slice_of(frame.data, frame.size - 1), true, &net), PERI_ECLOSED);
    assert_int_equal(net.server.messages, 1);
    assert_non_null(strstr(net.server.failure, "in the middle of a message"));
    assert_int_equal(end_of(peri_slice_of("GET / HTTP/1.1\r\n\r\n", 18), false, &net),
                     PERI_ETOOBIG);
    assert_int_equal(end_of(peri_slice_of("\0\0\0\0....", 8), false, &net), PERI_EFORMAT);
    assert_int_equal(end_of(peri_slice_of("\1\20\0\0", 4), false, &net), PERI_ETOOBIG);
    assert_string_equal(strstr(net.server.failure, ": ") + 2,
                        "a message of 4097 bytes, more than the limit 4096");
    frame.data[frame.size - 1] ^= 1;
    assert_int_equal(end_of(peri_buffer_slice(&frame), false, &net), PERI_EFORMAT);
    assert_int_equal(net.server.messages, 1); /* the first frame is good */
    assert_int_equal(end_of(peri_slice_of("\5\0\0\0", 4), false, &net), -ETIMEDOUT);
    assert_int_equal(end_of(peri_slice_of("", 0), false, &net), -ETIMEDOUT);
    assert_non_null(strstr(net.server.failure, "no message for 0.1 s"));
    peri_buffer_deinit(&frame);
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct net net;
        char bytes[512];
        unsigned value = seed;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)((value = value * 1103515245U + 12345U) >> 16);
        bytes[1] = bytes[2] = bytes[3] = 0; /* a size that is believed */
        assert_int_equal(end_of(peri_slice_of(bytes, sizeof bytes), false, &net), PERI_EFORMAT);
        assert_int_equal(net.server.messages, 0);
    }
}

/* The peer neither reads nor closes: the close gives up, and env_close with it. */
static void a_close_waits_for_nobody_for_ever(void **state)
{
    (void)state;
    enum { SIZE = 12 << 20 };
    struct net net;
    char *bytes = calloc(1, SIZE);
    struct peri_slice part = {bytes, SIZE};
    net_open(&net, "127.0.0.1:0");
    net.server.stop_at = 1;
    int fd = raw_connect(&net);
    assert_int_equal(write(fd, HELLO, sizeof HELLO - 1), sizeof HELLO - 1);
    env_run(net.env);
    assert_int_equal(env_conn_send(net.server.conn, &part, 1), 0);
    struct env *env = net.env;
    uint64_t before_us = env_now_us(env);
    env_conn_close(net.server.conn);
    env_listener_close(net.listener);
    env_run(env); /* until the connection is gone */
    assert_in_range(env_now_us(env) - before_us, 500000, 5000000);
    env_close(env);
    assert_int_equal(close(fd), 0);
    peri_buffer_deinit(&net.server.received);
    free(bytes);
}

struct dripping {
    struct env_timer *timer;
    struct peri_slice bytes;
    int fd;
};

static void on_drip(void *data)
{
    struct dripping *drip = data;
    if (drip->bytes.size == 0)
        return;
    assert_int_equal(write(drip->fd, drip->bytes.data, 1), 1);
    drip->bytes = peri_slice_of(drip->bytes.data + 1, drip->bytes.size - 1);
    env_timer_start(drip->timer, 1000);
}

/* A message byte by byte is a message; but one that takes longer than the idle limit is none. */
static void drip_ends_with(size_t size, uint64_t limit_us, int closes)
{
    struct net net;
    struct peri_buffer frame = {NULL, 0, 0};
    char bytes[1024] = "slow";
    struct peri_slice part = {bytes, size};
    struct dripping drip = {0};
    assert_int_equal(wire_frame_encode(&frame, &part, 1), 0);
    net_open(&net, "127.0.0.1:0");
    net.server.idle_limit_us = limit_us;
    net.server.stop_at = 1;
    drip.bytes = peri_buffer_slice(&frame);
    drip.fd = raw_connect(&net);
    assert_int_equal(env_timer_create(net.env, on_drip, &drip, &drip.timer), 0);
    env_timer_start(drip.timer, 0);
    env_run(net.env);
    assert_int_equal(net.server.closes, closes);
    assert_int_equal(net.server.messages, 1 - closes);
    env_timer_close(drip.timer);
    assert_int_equal(close(drip.fd), 0);
    peri_buffer_deinit(&frame);
    net_close(&net);
}

static void slow_senders_have_a_limit(void **state)
{
    (void)state;
    drip_ends_with(20, 10000000, 0);
    drip_ends_with(1000, 50000, 1);
}

/* ---- listeners ---- */

static void connections_may_be_turned_away(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net.closes_at_once = true;
    net_connect(&net);
    env_run(net.env);
    assert_int_equal(net.client.closes, 1);
    assert_int_equal(net.client.close_status, PERI_ECLOSED);
    net_close(&net);
}

static void a_used_port_is_refused(void **state)
{
    (void)state;
    struct net net;
    struct env_listener *second = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    net_open(&net, "127.0.0.1:0");
    assert_int_equal(env_listener_open(net.env, env_listener_address(net.listener), on_connection,
                                       &net, &second, &err),
                     -EADDRINUSE);
    assert_non_null(strstr(err.text, "listen at 127.0.0.1:"));
    assert_non_null(strstr(err.text, "Address already in use"));
    net_close(&net);
}

static void unix_sockets_are_private(void **state)
{
    (void)state;
    struct net net;
    struct stat found;
    net_open(&net, "unix:build/test_env_conn.socket");
    assert_int_equal(stat("build/test_env_conn.socket", &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    net_close(&net);
}

/* Leaves a socket that nobody listens on, as a process does that was killed. */
static void leave_stale_socket(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(close(fd), 0);
}

static void stale_sockets_are_replaced(void **state)
{
    (void)state;
    struct env_listener *second = NULL;
    (void)unlink("build/test_env_conn.socket");
    leave_stale_socket("build/test_env_conn.socket");
    struct net net;
    net_open(&net, "unix:build/test_env_conn.socket");
    /* But not one that is alive, nor a file. */
    assert_int_equal(env_listener_open(net.env, "unix:build/test_env_conn.socket", on_connection,
                                       &net, &second, NULL),
                     -EADDRINUSE);
    assert_int_equal(access("build/test_env_conn.socket", F_OK), 0);
    net_close(&net);
    int fd = open("build/test_env_conn.socket", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(close(fd), 0);
    net_open(&net, ":0");
    assert_int_equal(env_listener_open(net.env, "unix:build/test_env_conn.socket", on_connection,
                                       &net, &second, NULL),
                     -EADDRINUSE);
    net_close(&net);
    assert_int_equal(unlink("build/test_env_conn.socket"), 0);
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
    int rc = env_conn_connect(net.env, env_listener_address(net.listener), &events, &net.client,
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

struct crowd {
    struct env *env;
    struct end ends[64];
    int accepted;
};

static void on_crowd_connection(void *data, struct env_conn *conn)
{
    struct crowd *crowd = data;
    struct end *end = &crowd->ends[crowd->accepted++];
    *end = (struct end){.env = crowd->env, .conn = conn};
    env_conn_accept(conn, &events, end);
    env_conn_set_idle_limit(conn, 100000);
}

/* With few descriptors left, connections are refused while files can still be opened. */
static void connections_leave_descriptors_to_others(void **state)
{
    (void)state;
    enum { LIMIT = 150, ATTEMPTS = 60 };
    struct net net;
    struct rlimit before;
    struct rlimit low;
    struct crowd crowd = {0};
    struct env_listener *listener;
    int fds[ATTEMPTS];
    net_open(&net, "127.0.0.1:0");
    env_log_set_level(net.env, ENV_LOG_ERROR);
    crowd.env = net.env;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    env_listener_close(net.listener);
    assert_int_equal(env_listener_open(net.env, ":0", on_crowd_connection, &crowd, &listener, NULL),
                     0);
    net.listener = listener;
    low = before;
    low.rlim_cur = LIMIT;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < ATTEMPTS; i++)
        fds[i] = raw_connect(&net);
    env_run(net.env); /* until the first connection is idle for too long */
    assert_in_range(crowd.accepted, 1, ATTEMPTS - 1);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(close(file), 0);
    for (int i = 0; i < ATTEMPTS; i++)
        assert_int_equal(close(fds[i]), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_travel_over_tcp),
        cmocka_unit_test(messages_travel_over_a_unix_socket),
        cmocka_unit_test(a_listener_says_where_it_is),
        cmocka_unit_test(large_messages_arrive_whole),
        cmocka_unit_test(many_small_messages_keep_their_order),
        cmocka_unit_test(a_pause_holds_back_whole_messages),
        cmocka_unit_test(a_pause_inside_a_resumed_batch_holds_too),
        cmocka_unit_test(a_slow_reader_fills_the_queue),
        cmocka_unit_test(a_close_is_seen_by_the_peer),
        cmocka_unit_test(what_is_queued_leaves_after_a_close),
        cmocka_unit_test(last_words_survive_unread_bytes),
        cmocka_unit_test(a_close_waits_for_nobody_for_ever),
        cmocka_unit_test(a_refused_connect_says_so),
        cmocka_unit_test(unknown_names_and_paths_are_reported),
        cmocka_unit_test(wrong_addresses_are_refused_at_once),
        cmocka_unit_test(a_connect_that_nobody_answers_ends),
        cmocka_unit_test(a_close_may_come_at_any_time),
        cmocka_unit_test(broken_framing_ends_one_connection),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(slow_senders_have_a_limit),
        cmocka_unit_test(connections_may_be_turned_away),
        cmocka_unit_test(a_used_port_is_refused),
        cmocka_unit_test(unix_sockets_are_private),
        cmocka_unit_test(stale_sockets_are_replaced),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(short_writes_lose_nothing),
        cmocka_unit_test(every_write_may_fail),
        cmocka_unit_test(connections_leave_descriptors_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
