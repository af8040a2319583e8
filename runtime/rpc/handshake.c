#include "rpc/handshake.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "base/assert.h"

enum { INTEGER_SIZE = 8, FIELDS_MAX = 12, LABEL_MAX = 32 };

/* ---- proofs ---- */

/* What a proof covers: each field behind its length, so that no two lists give the same bytes. */
struct transcript {
    unsigned char
        bytes[LABEL_MAX + FIELDS_MAX * INTEGER_SIZE + 4 * RPC_NAME_MAX + 2 * RPC_NONCE_SIZE];
    size_t size;
};

static void put(struct transcript *t, const void *data, size_t size)
{
    PERI_ASSERT(size <= sizeof t->bytes - t->size);
    if (size > 0)
        memcpy(t->bytes + t->size, data, size);
    t->size += size;
}

static void put_integer(struct transcript *t, uint64_t value)
{
    unsigned char bytes[INTEGER_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    put(t, bytes, sizeof bytes);
}

static void put_text(struct transcript *t, struct peri_slice text)
{
    put_integer(t, text.size);
    put(t, text.data, text.size);
}

static void put_name(struct transcript *t, const char *name)
{
    put_text(t, peri_slice_of(name, strlen(name)));
}

static bool is_client(const struct rpc_handshake *h)
{
    return h->state == RPC_AWAITS_CHALLENGE || h->state == RPC_AWAITS_WELCOME;
}

/* The proof that a side gives: the client's covers what it said in HELLO, the server's also what
 * WELCOME says. Both sides call this with the same facts. */
static void prove(const struct rpc_handshake *h, bool by_client, unsigned char mac[RPC_MAC_SIZE])
{
    const struct rpc_identity *self = h->self;
    const struct rpc_peer *peer = &h->peer;
    bool we_call = is_client(h);
    struct transcript t = {.size = 0};
    put_name(&t, by_client ? "perilune rpc 1 client" : "perilune rpc 1 server");
    put(&t, h->client_nonce, RPC_NONCE_SIZE);
    put(&t, h->server_nonce, RPC_NONCE_SIZE);
    put_text(&t, self->cluster); /* the same on both sides, or there is no connection */
    if (we_call)
        put_text(&t, self->node);
    else
        put_name(&t, peer->node);
    put_integer(&t, we_call ? self->incarnation : peer->incarnation);
    if (!by_client) {
        if (we_call)
            put_name(&t, peer->node);
        else
            put_text(&t, self->node);
        put_integer(&t, we_call ? peer->incarnation : self->incarnation);
    }
    unsigned int size = RPC_MAC_SIZE;
    const unsigned char *made =
        HMAC(EVP_sha256(), self->secret.data, (int)self->secret.size, t.bytes, t.size, mac, &size);
    PERI_ASSERT(made != NULL && size == RPC_MAC_SIZE);
}

static bool has_secret(const struct rpc_handshake *h)
{
    return h->self->secret.size > 0;
}

/* Our proof, or nothing where we know no secret. */
static struct peri_slice own_proof(struct rpc_handshake *h, bool by_client)
{
    if (!has_secret(h))
        return peri_slice_of(NULL, 0);
    prove(h, by_client, h->mac);
    return peri_slice_of((const char *)h->mac, RPC_MAC_SIZE);
}

static int check_proof(const struct rpc_handshake *h, bool by_client, struct peri_slice mac,
                       struct peri_error *err)
{
    const char *who = by_client ? "client" : "server";
    unsigned char expected[RPC_MAC_SIZE];
    if (!has_secret(h) && mac.size == 0)
        return 0; /* both are on one machine: see check_local */
    if (!has_secret(h))
        return peri_fail_plain(err, PERI_EAUTH, "the %s has a secret, the %s has none", who,
                               by_client ? "server" : "client");
    if (mac.size == 0)
        return peri_fail_plain(err, PERI_EAUTH, "the %s has no secret, the %s has one", who,
                               by_client ? "server" : "client");
    prove(h, by_client, expected);
    if (mac.size == RPC_MAC_SIZE && CRYPTO_memcmp(mac.data, expected, RPC_MAC_SIZE) == 0)
        return 0;
    return peri_fail_plain(err, PERI_EAUTH, "the %s does not know the secret", who);
}

/* ---- checks ---- */

static int check_local(const struct rpc_handshake *h, struct peri_error *err)
{
    if (has_secret(h) || h->is_local)
        return 0;
    return peri_fail_plain(err, PERI_EAUTH,
                           "without a secret only peers on the same machine are let in; give both "
                           "sides the option secret");
}

static int copy_name(char out[RPC_NAME_MAX + 1], struct peri_slice name, const char *what,
                     struct peri_error *err)
{
    if (name.size > RPC_NAME_MAX)
        return peri_fail_plain(err, PERI_EPROTOCOL, "the %s's name is longer than %d bytes", what,
                               RPC_NAME_MAX);
    if (name.size > 0 && memchr(name.data, '\0', name.size) != NULL)
        return peri_fail_plain(err, PERI_EPROTOCOL, "the %s's name has a zero byte", what);
    if (name.size > 0)
        memcpy(out, name.data, name.size);
    out[name.size] = '\0';
    return 0;
}

static int check_cluster(const struct rpc_handshake *h, struct peri_error *err)
{
    struct peri_slice ours = h->self->cluster;
    if (peri_slice_compare(ours, peri_slice_of(h->peer.cluster, strlen(h->peer.cluster))) == 0)
        return 0;
    return peri_fail_plain(err, PERI_ECLUSTER, "%s is of cluster \"%.64s\", %s of cluster \"%.*s\"",
                           is_client(h) ? "the server" : "the client", h->peer.cluster,
                           is_client(h) ? "the client" : "the server",
                           (int)(ours.size < 64 ? ours.size : 64), ours.data);
}

static int check_nonce(struct peri_slice nonce, unsigned char out[RPC_NONCE_SIZE],
                       struct peri_error *err)
{
    if (nonce.size != RPC_NONCE_SIZE)
        return peri_fail_plain(err, PERI_EPROTOCOL, "a nonce of %zu bytes, not %d", nonce.size,
                               RPC_NONCE_SIZE);
    memcpy(out, nonce.data, RPC_NONCE_SIZE);
    return 0;
}

static uint64_t limited(uint64_t body_max)
{
    return body_max < RPC_BODY_MAX ? body_max : RPC_BODY_MAX;
}

/* ---- steps ---- */

static int take_hello(struct rpc_handshake *h, const struct wire_message *message,
                      struct wire_message *answer, struct peri_error *err)
{
    if (message->hello.version_min > RPC_VERSION_MAX ||
        message->hello.version_max < RPC_VERSION_MIN)
        return peri_fail_plain(err, PERI_EVERSION,
                               "the client speaks versions %" PRIu64 " to %" PRIu64
                               ", the server %d to %d",
                               message->hello.version_min, message->hello.version_max,
                               RPC_VERSION_MIN, RPC_VERSION_MAX);
    int rc = copy_name(h->peer.cluster, message->hello.cluster, "cluster", err);
    if (rc == 0)
        rc = copy_name(h->peer.node, message->hello.node, "node", err);
    if (rc == 0)
        rc = check_nonce(message->hello.nonce, h->client_nonce, err);
    if (rc == 0)
        rc = check_cluster(h, err);
    if (rc == 0)
        rc = check_local(h, err);
    if (rc != 0)
        return rc;
    h->peer.incarnation = message->hello.incarnation;
    h->peer.body_max = limited(message->hello.body_max);
    h->peer.ping_ms = message->hello.ping_ms;
    h->state = RPC_AWAITS_PROOF;
    answer->kind = WIRE_CHALLENGE;
    answer->challenge.version = RPC_VERSION_MAX;
    answer->challenge.nonce = peri_slice_of((const char *)h->server_nonce, RPC_NONCE_SIZE);
    return 0;
}

static int take_challenge(struct rpc_handshake *h, const struct wire_message *message,
                          struct wire_message *answer, struct peri_error *err)
{
    uint64_t version = message->challenge.version;
    if (version < RPC_VERSION_MIN || version > RPC_VERSION_MAX)
        return peri_fail_plain(err, PERI_EVERSION,
                               "the server chose version %" PRIu64 ", which was not offered",
                               version);
    int rc = check_nonce(message->challenge.nonce, h->server_nonce, err);
    if (rc == 0)
        rc = check_local(h, err);
    if (rc != 0)
        return rc;
    answer->kind = WIRE_PROOF;
    answer->proof.mac = own_proof(h, true);
    h->state = RPC_AWAITS_WELCOME;
    return 0;
}

static int take_proof(struct rpc_handshake *h, const struct wire_message *message,
                      struct wire_message *answer, struct peri_error *err)
{
    int rc = check_proof(h, true, message->proof.mac, err);
    if (rc != 0)
        return rc;
    answer->kind = WIRE_WELCOME;
    answer->welcome.cluster = h->self->cluster;
    answer->welcome.node = h->self->node;
    answer->welcome.incarnation = h->self->incarnation;
    answer->welcome.body_max = h->self->body_max;
    answer->welcome.inflight_max = h->self->inflight_max;
    answer->welcome.mac = own_proof(h, false);
    h->state = RPC_HANDSHAKE_DONE;
    return 1;
}

static int take_welcome(struct rpc_handshake *h, const struct wire_message *message,
                        struct peri_error *err)
{
    int rc = copy_name(h->peer.cluster, message->welcome.cluster, "cluster", err);
    if (rc == 0)
        rc = copy_name(h->peer.node, message->welcome.node, "node", err);
    if (rc == 0)
        rc = check_cluster(h, err);
    h->peer.incarnation = message->welcome.incarnation;
    if (rc == 0)
        rc = check_proof(h, false, message->welcome.mac, err);
    if (rc != 0)
        return rc;
    h->peer.body_max = limited(message->welcome.body_max);
    h->peer.inflight_max = message->welcome.inflight_max;
    h->state = RPC_HANDSHAKE_DONE;
    return 1;
}

static int take_refuse(const struct wire_message *message, struct peri_error *err)
{
    struct peri_slice name = message->refuse.code;
    struct peri_slice text = message->refuse.message;
    char code[LABEL_MAX] = "";
    if (name.size < sizeof code)
        memcpy(code, name.data, name.size);
    int known = peri_error_from_name(code);
    return peri_fail_plain(err, known != 0 ? known : PERI_EPROTOCOL,
                           "refused by the other side: %.*s",
                           (int)(text.size < 300 ? text.size : 300), text.data);
}

/* A message that came before, which networks (and the simulator's) may repeat. */
static bool is_repeated(const struct rpc_handshake *h, uint8_t kind)
{
    return (h->state == RPC_AWAITS_PROOF && kind == WIRE_HELLO) ||
           (h->state == RPC_AWAITS_WELCOME && kind == WIRE_CHALLENGE) ||
           h->state == RPC_HANDSHAKE_DONE;
}

static int step(struct rpc_handshake *h, const struct wire_message *message,
                struct wire_message *answer, struct peri_error *err)
{
    if (h->state == RPC_AWAITS_HELLO && message->kind == WIRE_HELLO)
        return take_hello(h, message, answer, err);
    if (h->state == RPC_AWAITS_CHALLENGE && message->kind == WIRE_CHALLENGE)
        return take_challenge(h, message, answer, err);
    if (h->state == RPC_AWAITS_PROOF && message->kind == WIRE_PROOF)
        return take_proof(h, message, answer, err);
    if (h->state == RPC_AWAITS_WELCOME && message->kind == WIRE_WELCOME)
        return take_welcome(h, message, err);
    const char *name = wire_kind_name(message->kind);
    return peri_fail_plain(err, PERI_EPROTOCOL, "%s in the middle of the handshake",
                           name != NULL ? name : "an unknown message");
}

void rpc_handshake_refuse(struct rpc_handshake *h, const struct peri_error *why,
                          struct wire_message *answer)
{
    const char *code = peri_error_name(why->code);
    h->refusal = *why;
    *answer = (struct wire_message){.kind = WIRE_REFUSE};
    answer->refuse.code = peri_slice_of(code, strlen(code));
    answer->refuse.message = peri_slice_of(h->refusal.text, strlen(h->refusal.text));
}

int rpc_handshake_step(struct rpc_handshake *h, const struct wire_message *message,
                       struct wire_message *answer, struct peri_error *err)
{
    *answer = (struct wire_message){.kind = 0};
    if (message->kind == WIRE_REFUSE)
        return take_refuse(message, err);
    if (is_repeated(h, message->kind))
        return 0;
    struct peri_error why = PERI_ERROR_INIT;
    int rc = step(h, message, answer, &why);
    if (rc < 0) {
        rpc_handshake_refuse(h, &why, answer);
        if (err != NULL)
            *err = why;
    }
    return rc;
}

void rpc_handshake_accept(struct rpc_handshake *h, const struct rpc_identity *self, bool is_local,
                          const unsigned char nonce[RPC_NONCE_SIZE])
{
    memset(h, 0, sizeof *h);
    h->self = self;
    h->is_local = is_local;
    h->state = RPC_AWAITS_HELLO;
    memcpy(h->server_nonce, nonce, RPC_NONCE_SIZE);
}

void rpc_handshake_connect(struct rpc_handshake *h, const struct rpc_identity *self,
                           const unsigned char nonce[RPC_NONCE_SIZE], struct wire_message *hello)
{
    memset(h, 0, sizeof *h);
    h->self = self;
    h->state = RPC_AWAITS_CHALLENGE;
    memcpy(h->client_nonce, nonce, RPC_NONCE_SIZE);
    *hello = (struct wire_message){.kind = WIRE_HELLO};
    hello->hello.version_min = RPC_VERSION_MIN;
    hello->hello.version_max = RPC_VERSION_MAX;
    hello->hello.cluster = self->cluster;
    hello->hello.node = self->node;
    hello->hello.incarnation = self->incarnation;
    hello->hello.body_max = self->body_max;
    hello->hello.ping_ms = self->ping_ms;
    hello->hello.nonce = peri_slice_of((const char *)h->client_nonce, RPC_NONCE_SIZE);
}
