#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/handshake.h"

static const unsigned char client_nonce[RPC_NONCE_SIZE] = "client's nonce";
static const unsigned char server_nonce[RPC_NONCE_SIZE] = "server's nonce";

static struct peri_slice text(const char *string)
{
    return peri_slice_of(string, strlen(string));
}

static struct rpc_identity identity(const char *cluster, const char *node, const char *secret)
{
    return (struct rpc_identity){.cluster = text(cluster),
                                 .node = text(node),
                                 .incarnation = strlen(node),
                                 .secret = text(secret),
                                 .body_max = 1 << 20,
                                 .inflight_max = 77,
                                 .ping_ms = 2000};
}

/* Both sides, and what each said last. */
struct pair {
    struct rpc_identity client_self, server_self;
    struct rpc_handshake client, server;
    struct wire_message hello, challenge, proof, welcome;
    struct peri_error err;
};

static void start(struct pair *p, const char *client_secret, const char *server_secret,
                  bool is_local)
{
    memset(p, 0, sizeof *p);
    p->client_self = identity("blue", "c1", client_secret);
    p->server_self = identity("blue", "server2", server_secret);
    rpc_handshake_accept(&p->server, &p->server_self, is_local, server_nonce);
    rpc_handshake_connect(&p->client, &p->client_self, client_nonce, &p->hello);
    p->client.is_local = is_local;
}

/* Runs to the end; returns the first failure, or 1. */
static int run(struct pair *p)
{
    struct wire_message none;
    int rc = rpc_handshake_step(&p->server, &p->hello, &p->challenge, &p->err);
    if (rc == 0)
        rc = rpc_handshake_step(&p->client, &p->challenge, &p->proof, &p->err);
    if (rc == 0)
        rc = rpc_handshake_step(&p->server, &p->proof, &p->welcome, &p->err);
    if (rc == 1)
        rc = rpc_handshake_step(&p->client, &p->welcome, &none, &p->err);
    return rc;
}

static const char secret[] = "a secret that both sides know";

static void test_both_sides_learn_who_the_other_is(void **state)
{
    (void)state;
    struct pair p;
    start(&p, secret, secret, false);
    assert_int_equal(run(&p), 1);
    assert_int_equal(p.client.state, RPC_HANDSHAKE_DONE);
    assert_int_equal(p.server.state, RPC_HANDSHAKE_DONE);
    assert_string_equal(p.client.peer.node, "server2");
    assert_string_equal(p.server.peer.node, "c1");
    assert_int_equal(p.server.peer.incarnation, strlen("c1"));
    assert_int_equal(p.client.peer.incarnation, strlen("server2"));
    assert_int_equal(p.client.peer.inflight_max, 77);
    assert_int_equal(p.server.peer.ping_ms, 2000);
}

/* Sums with it must not turn round. */
static void test_a_limit_beyond_all_limits_is_the_limit(void **state)
{
    (void)state;
    struct pair p;
    start(&p, secret, secret, false);
    p.client_self.body_max = p.server_self.body_max = UINT64_MAX;
    p.hello.hello.body_max = UINT64_MAX;
    assert_int_equal(run(&p), 1);
    assert_int_equal(p.server.peer.body_max, RPC_BODY_MAX);
    assert_int_equal(p.client.peer.body_max, RPC_BODY_MAX);
}

static void test_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *name, *client, *server;
        bool is_local;
        int code;
    } rows[] = {
        {"the same", secret, secret, false, 1},
        {"the same, on one machine", secret, secret, true, 1},
        {"none, on one machine", "", "", true, 1},
        {"none, over the network", "", "", false, PERI_EAUTH},
        {"another one", "another secret, as long", secret, true, PERI_EAUTH},
        {"the client has none", "", secret, true, PERI_EAUTH},
        {"the server has none", secret, "", true, PERI_EAUTH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pair p;
        start(&p, rows[i].client, rows[i].server, rows[i].is_local);
        int rc = run(&p);
        if (rc != rows[i].code)
            fail_msg("%s: %d, %s", rows[i].name, rc, p.err.text);
    }
}

static bool contains(struct peri_slice bytes, const char *what)
{
    return bytes.size > 0 && memmem(bytes.data, bytes.size, what, strlen(what)) != NULL;
}

static void test_the_secret_does_not_travel(void **state)
{
    (void)state;
    struct pair p;
    start(&p, secret, secret, false);
    assert_int_equal(run(&p), 1);
    assert_int_equal(p.proof.proof.mac.size, RPC_MAC_SIZE);
    assert_int_equal(p.welcome.welcome.mac.size, RPC_MAC_SIZE);
    assert_false(contains(p.proof.proof.mac, "secret"));
    assert_memory_not_equal(p.proof.proof.mac.data, p.welcome.welcome.mac.data, RPC_MAC_SIZE);
}

/* Who does not know the secret sends back what it was sent. */
static void test_a_proof_is_no_use_to_the_other_side(void **state)
{
    (void)state;
    struct pair p;
    struct wire_message none;
    start(&p, secret, secret, false);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &p.proof, &p.err), 0);
    struct wire_message welcome = {.kind = WIRE_WELCOME};
    welcome.welcome.cluster = text("blue");
    welcome.welcome.node = text("server2");
    welcome.welcome.incarnation = strlen("server2");
    welcome.welcome.mac = p.proof.proof.mac;
    assert_int_equal(rpc_handshake_step(&p.client, &welcome, &none, &p.err), PERI_EAUTH);
    assert_int_equal(none.kind, WIRE_REFUSE);
}

/* A proof recorded in one connection does not open another, whose nonces differ. */
static void test_a_proof_is_no_use_later(void **state)
{
    (void)state;
    struct pair p;
    struct pair later;
    static const unsigned char fresh[RPC_NONCE_SIZE] = "another nonce";
    start(&p, secret, secret, false);
    assert_int_equal(run(&p), 1);
    start(&later, secret, secret, false);
    rpc_handshake_accept(&later.server, &later.server_self, false, fresh);
    assert_int_equal(rpc_handshake_step(&later.server, &p.hello, &later.challenge, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&later.server, &p.proof, &later.welcome, &p.err),
                     PERI_EAUTH);
}

static void test_what_a_proof_covers(void **state)
{
    (void)state;
    struct pair p;
    struct wire_message none;
    start(&p, secret, secret, false);
    p.hello.hello.incarnation++; /* somebody in between changes what the client says of itself */
    assert_int_equal(run(&p), PERI_EAUTH);
    start(&p, secret, secret, false);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &p.proof, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&p.server, &p.proof, &p.welcome, &p.err), 1);
    p.welcome.welcome.node = text("server3");
    assert_int_equal(rpc_handshake_step(&p.client, &p.welcome, &none, &p.err), PERI_EAUTH);
}

static void test_clusters_differ(void **state)
{
    (void)state;
    struct pair p;
    start(&p, "", "", true);
    p.client_self.cluster = text("red");
    rpc_handshake_connect(&p.client, &p.client_self, client_nonce, &p.hello);
    assert_int_equal(run(&p), PERI_ECLUSTER);
    assert_string_equal(p.err.text,
                        "the client is of cluster \"red\", the server of cluster \"blue\"");
    assert_int_equal(p.challenge.kind, WIRE_REFUSE);
    assert_memory_equal(p.challenge.refuse.code.data, "ECLUSTER", strlen("ECLUSTER"));
    struct wire_message none;
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &none, &p.err), PERI_ECLUSTER);
    assert_string_equal(p.err.text, "refused by the other side: the client is of cluster \"red\", "
                                    "the server of cluster \"blue\"");
}

static void test_versions(void **state)
{
    (void)state;
    static const struct {
        uint64_t min, max;
        int rc;
    } rows[] = {
        {3, 3, 0}, {0, 9, 0}, {4, 5, PERI_EVERSION}, {0, 2, PERI_EVERSION}, {5, 1, PERI_EVERSION}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pair p;
        start(&p, "", "", true);
        p.hello.hello.version_min = rows[i].min;
        p.hello.hello.version_max = rows[i].max;
        assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), rows[i].rc);
    }
    struct pair p;
    start(&p, "", "", true);
    p.challenge.kind = WIRE_CHALLENGE;
    p.challenge.challenge.version = 4;
    p.challenge.challenge.nonce = peri_slice_of((const char *)server_nonce, RPC_NONCE_SIZE);
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &p.proof, &p.err), PERI_EVERSION);
}

static void test_names_and_nonces_have_limits(void **state)
{
    (void)state;
    struct pair p;
    char longer[RPC_NAME_MAX + 2];
    memset(longer, 'x', sizeof longer);
    start(&p, "", "", true);
    p.hello.hello.node = peri_slice_of(longer, RPC_NAME_MAX);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), 0);
    start(&p, "", "", true);
    p.hello.hello.node = peri_slice_of(longer, RPC_NAME_MAX + 1);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), PERI_EPROTOCOL);
    start(&p, "", "", true);
    p.hello.hello.nonce.size--;
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), PERI_EPROTOCOL);
}

/* Networks repeat messages: the second one says nothing new. */
static void test_repeated_messages_are_ignored(void **state)
{
    (void)state;
    struct pair p;
    struct wire_message again;
    start(&p, secret, secret, false);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &p.challenge, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&p.server, &p.hello, &again, &p.err), 0);
    assert_int_equal(again.kind, 0);
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &p.proof, &p.err), 0);
    assert_int_equal(rpc_handshake_step(&p.client, &p.challenge, &again, &p.err), 0);
    assert_int_equal(again.kind, 0);
    assert_int_equal(rpc_handshake_step(&p.server, &p.proof, &p.welcome, &p.err), 1);
    assert_int_equal(rpc_handshake_step(&p.server, &p.proof, &again, &p.err), 0);
    assert_int_equal(again.kind, 0);
}

static void test_other_messages_break_the_protocol(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {WIRE_CALL, WIRE_PROOF, WIRE_WELCOME, WIRE_GOODBYE, 200};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct pair p;
        struct wire_message message = {.kind = kinds[i]};
        start(&p, "", "", true);
        assert_int_equal(rpc_handshake_step(&p.server, &message, &p.challenge, &p.err),
                         PERI_EPROTOCOL);
        assert_int_equal(p.challenge.kind, WIRE_REFUSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides_learn_who_the_other_is),
        cmocka_unit_test(test_a_limit_beyond_all_limits_is_the_limit),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_the_secret_does_not_travel),
        cmocka_unit_test(test_a_proof_is_no_use_to_the_other_side),
        cmocka_unit_test(test_a_proof_is_no_use_later),
        cmocka_unit_test(test_what_a_proof_covers),
        cmocka_unit_test(test_clusters_differ),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_names_and_nonces_have_limits),
        cmocka_unit_test(test_repeated_messages_are_ignored),
        cmocka_unit_test(test_other_messages_break_the_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
