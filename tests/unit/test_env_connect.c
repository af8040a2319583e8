/* How connecting ends: refused, unknown, too late, given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "conn_fixture.h"

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
        env_conn_connect(net.env, address, &end_events, &net.client, &net.client.conn, NULL), 0);
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
        assert_int_equal(env_conn_connect(net.env, cases[i].address, &end_events, &net.client,
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
        assert_int_equal(env_conn_connect(net.env, addresses[i], &end_events, &net.client,
                                          &net.client.conn, &err),
                         PERI_EINVAL);
        assert_non_null(strstr(err.text, "address '"));
        assert_int_equal(
            env_listener_open(net.env, addresses[i], on_connection, &net, &listener, NULL),
            PERI_EINVAL);
    }
    char path[256] = "unix:";
    memset(path + 5, 'x', 108);
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(
        env_conn_connect(net.env, path, &end_events, &net.client, &net.client.conn, &err),
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
        env_conn_connect(net.env, "192.0.2.1:7", &end_events, &net.client, &net.client.conn, NULL),
        0);
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
        assert_int_equal(env_conn_connect(net.env, addresses[i], &end_events, &net.client,
                                          &net.client.conn, NULL),
                         0);
        env_conn_close(net.client.conn);
        net.client.conn = NULL;
        assert_int_equal(env_conn_connect(net.env, addresses[i], &end_events, &net.client,
                                          &net.client.conn, NULL),
                         0); /* env_close closes this one */
        net.client.conn = NULL;
        net_close(&net);
        assert_int_equal(net.client.opens, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_connect_says_so),
        cmocka_unit_test(unknown_names_and_paths_are_reported),
        cmocka_unit_test(wrong_addresses_are_refused_at_once),
        cmocka_unit_test(a_connect_that_nobody_answers_ends),
        cmocka_unit_test(a_close_may_come_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
