/* What an unknown peer can say before it has proved anything: frames of any bytes, to both sides of
 * a handshake, with and without a secret. Nothing may crash, and nobody without the secret gets in.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "rpc/handshake.h"
#include "wire/frame.h"

static const unsigned char nonce[RPC_NONCE_SIZE] = "the same for every run";

static struct rpc_identity identity(bool has_secret)
{
    static const char secret[] = "not to be found by trying";
    return (struct rpc_identity){.cluster = {"default", 7},
                                 .node = {"n1", 2},
                                 .incarnation = 1,
                                 .secret = {secret, has_secret ? sizeof secret - 1 : 0},
                                 .body_max = 1 << 20,
                                 .inflight_max = 16,
                                 .ping_ms = 2000};
}

/* What a side answers must be a message that the other side can read. */
static void check_answer(const struct wire_message *answer)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    struct peri_slice tail;
    struct wire_message again;
    if (answer->kind == 0)
        return;
    PERI_ASSERT(wire_message_encode(answer, &bytes, &tail) == 0);
    PERI_ASSERT(peri_buffer_append(&bytes, tail.data, tail.size) == 0);
    PERI_ASSERT(wire_message_decode(peri_buffer_slice(&bytes), &again, NULL) == 0);
    PERI_ASSERT(again.kind == answer->kind);
    peri_buffer_deinit(&bytes);
}

/* Bytes are messages of two bytes of length each; a side's handshake ends at its first error. */
static void feed(struct rpc_handshake *handshake, struct peri_slice bytes, bool has_secret)
{
    while (bytes.size >= 2) {
        size_t size = (size_t)(unsigned char)bytes.data[0] << 8 | (unsigned char)bytes.data[1];
        bytes = peri_slice_of(bytes.data + 2, bytes.size - 2);
        if (size > bytes.size)
            size = bytes.size;
        struct wire_message message;
        struct wire_message answer;
        struct peri_error err = PERI_ERROR_INIT;
        if (wire_message_decode(peri_slice_of(bytes.data, size), &message, &err) != 0) {
            rpc_handshake_refuse(handshake, &err, &answer);
            check_answer(&answer);
            return;
        }
        int rc = rpc_handshake_step(handshake, &message, &answer, &err);
        check_answer(&answer);
        PERI_ASSERT(rc != 1 || !has_secret);
        if (rc < 0)
            return;
        bytes = peri_slice_of(bytes.data + size, bytes.size - size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpc_handshake handshake;
    struct wire_message hello;
    if (size < 1)
        return 0;
    bool has_secret = (data[0] & 1) != 0;
    struct rpc_identity self = identity(has_secret);
    struct peri_slice bytes = peri_slice_of((const char *)data + 1, size - 1);
    if ((data[0] & 2) != 0) {
        rpc_handshake_accept(&handshake, &self, (data[0] & 4) != 0, nonce);
    } else {
        rpc_handshake_connect(&handshake, &self, nonce, &hello);
        handshake.is_local = (data[0] & 4) != 0;
        check_answer(&hello);
    }
    feed(&handshake, bytes, has_secret);
    return 0;
}
