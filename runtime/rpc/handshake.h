/* handshake.h - who is on the other side, and does it know the secret?
 *
 *   client                                               server
 *     | HELLO      versions, cluster, node, nonce c -------> |
 *     | <------- CHALLENGE   version, nonce s                |
 *     | PROOF      HMAC(secret, "client" c s ...) ---------> |  checks it, or says REFUSE
 *     | <------- WELCOME     node, HMAC(secret, "server" c s ...)
 *     |  checks it, or says REFUSE
 *
 * Both proofs cover both nonces, what both sides said of themselves, and the role of who makes
 * them, so a proof is of no use in another connection or from the other side. The secret never
 * travels; whoever poses as a server can still try guesses on a client's proof, so secrets are
 * random and at least RPC_SECRET_MIN bytes. What follows is neither encrypted nor signed. A node
 * without a secret talks to its own machine only.
 *
 * Pure: messages in, messages out. One that comes twice is ignored, one that is lost ends in the
 * connection's handshake timeout. */
#ifndef PERI_RPC_HANDSHAKE_H
#define PERI_RPC_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "rpc/trace.h"
#include "wire/message.h"

enum {
    RPC_VERSION_MIN = WIRE_VERSION,
    RPC_VERSION_MAX = WIRE_VERSION,
    RPC_NONCE_SIZE = 32,
    RPC_MAC_SIZE = 32,
    RPC_SECRET_MIN = 16,
    RPC_NAME_MAX = 255,     /* bytes of a cluster's or a node's name */
    RPC_BODY_MAX = 1 << 30, /* of rpc_identity.body_max; a peer that states more means this */
};

/* What a node says of itself. Lent for the life of whoever gets it. */
struct rpc_identity {
    struct peri_slice cluster;
    struct peri_slice node;    /* may be empty */
    uint64_t incarnation;      /* another one after each start */
    struct peri_slice secret;  /* empty: none */
    uint64_t body_max;         /* bytes of the longest message that it takes */
    uint64_t inflight_max;     /* calls of one connection at a time */
    uint64_t ping_ms;          /* a client says something at least so often */
    struct rpc_tracer *tracer; /* is told of every call, or NULL */
};

/* What the other side said of itself; names end with a NUL. */
struct rpc_peer {
    char cluster[RPC_NAME_MAX + 1];
    char node[RPC_NAME_MAX + 1];
    uint64_t incarnation;
    uint64_t body_max;
    uint64_t inflight_max; /* of a server */
    uint64_t ping_ms;      /* of a client */
};

enum rpc_handshake_state {
    RPC_AWAITS_HELLO,
    RPC_AWAITS_CHALLENGE,
    RPC_AWAITS_PROOF,
    RPC_AWAITS_WELCOME,
    RPC_HANDSHAKE_DONE
};

struct rpc_handshake {
    const struct rpc_identity *self;
    enum rpc_handshake_state state;
    bool is_local; /* the other side is on this machine */
    unsigned char client_nonce[RPC_NONCE_SIZE];
    unsigned char server_nonce[RPC_NONCE_SIZE];
    unsigned char mac[RPC_MAC_SIZE]; /* the one that we send */
    struct rpc_peer peer;
    struct peri_error refusal; /* lends REFUSE its text */
};

/* Starts a server's side, which waits for HELLO. nonce is fresh and random. */
void rpc_handshake_accept(struct rpc_handshake *handshake, const struct rpc_identity *self,
                          bool is_local, const unsigned char nonce[RPC_NONCE_SIZE]);

/* Starts a client's side; *hello is to be sent. nonce is fresh and random. The caller sets is_local
 * before the first step, as soon as it knows. */
void rpc_handshake_connect(struct rpc_handshake *handshake, const struct rpc_identity *self,
                           const unsigned char nonce[RPC_NONCE_SIZE], struct wire_message *hello);

/* Takes what the other side said. Returns 0 while more must follow, 1 once both sides are who they
 * should be, or why there will be no connection: PERI_EVERSION, PERI_ECLUSTER, PERI_EAUTH,
 * PERI_EPROTOCOL, or what the other side gave as its reason. answer->kind is not 0 when *answer is
 * to be sent, also with an error; its slices are lent until the next step. */
int rpc_handshake_step(struct rpc_handshake *handshake, const struct wire_message *message,
                       struct wire_message *answer, struct peri_error *err);

/* The REFUSE that tells the other side of a failure in which no step answers: a message that could
 * not be read. Lent like an answer. */
void rpc_handshake_refuse(struct rpc_handshake *handshake, const struct peri_error *why,
                          struct wire_message *answer);

#endif
