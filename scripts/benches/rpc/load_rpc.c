/* load_rpc.c - Perilune's messages and its handshake, for load generators. */
#include <string.h>

#include "load.h"

void load_rpc_put(struct wire_frames *out, struct peri_slice message)
{
    if (wire_frames_add(out, &message, 1) != 0)
        load_fail("no memory");
}

size_t load_rpc_burst_left;

size_t load_rpc_get_frame(const char *bytes, size_t size, struct peri_slice *message)
{
    struct wire_frame frame;
    int rc = wire_frame_decode(peri_slice_of(bytes, size), LOAD_RPC_MESSAGE_MAX, &frame, NULL);
    if (rc < 0)
        load_fail(peri_strerror(rc));
    *message = frame.body;
    if (rc == 0 || !frame.is_burst)
        return rc == 1 ? frame.size : 0;
    load_rpc_burst_left = frame.body.size;
    return WIRE_FRAME_HEADER_SIZE + load_rpc_get(frame.body.data, frame.body.size, message);
}

struct peri_slice load_rpc_encode(const struct wire_message *message)
{
    static struct peri_buffer bytes;
    struct peri_slice tail;
    bytes.size = 0;
    if (wire_message_encode(message, &bytes, &tail) != 0)
        load_fail("no memory");
    load_append(&bytes, tail.data, tail.size);
    return peri_buffer_slice(&bytes);
}

void load_rpc_fail(const struct wire_message *message)
{
    char line[512];
    wire_message_print(message, line, sizeof line);
    load_fail(line);
}

void load_rpc_decode(struct peri_slice encoded, struct wire_message *message)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_message_decode(encoded, message, &err) != 0)
        load_fail(err.text);
}

void load_rpc_decode_next(struct peri_slice encoded, struct wire_message *message)
{
    if (!wire_is_again(encoded))
        load_rpc_decode(encoded, message);
    else if (wire_message_decode_again(encoded, message) != 0)
        load_fail("a malformed repetition");
}

static size_t decode(const char *bytes, size_t size, struct wire_message *message)
{
    struct peri_slice encoded;
    size_t whole = load_rpc_get(bytes, size, &encoded);
    if (whole > 0)
        load_rpc_decode(encoded, message);
    return whole;
}

static void say(int fd, const struct wire_message *message)
{
    struct wire_frames frame = {.open = 0};
    load_rpc_put(&frame, load_rpc_encode(message));
    wire_frames_seal(&frame);
    load_write(fd, frame.bytes.data, frame.bytes.size);
    peri_buffer_deinit(&frame.bytes);
}

struct wire_message load_rpc_ask(int fd, const struct wire_message *message, enum wire_kind kind)
{
    static char bytes[1024];
    size_t have = 0;
    struct wire_message answer;
    say(fd, message);
    while (decode(bytes, have, &answer) == 0) {
        if (have == sizeof bytes)
            load_fail("the handshake is too long");
        load_read(fd, bytes + have, 1);
        have++;
    }
    if (answer.kind != kind)
        load_rpc_fail(&answer);
    return answer;
}

void load_rpc_greet(int fd)
{
    static const char nonce[32] = "not a secret, and never used twi";
    struct wire_message hello = {.kind = WIRE_HELLO};
    struct wire_message proof = {.kind = WIRE_PROOF};
    hello.hello.version_min = hello.hello.version_max = WIRE_VERSION;
    hello.hello.cluster = peri_slice_of(load_cluster, strlen(load_cluster));
    hello.hello.node = peri_slice_of("load", 4);
    hello.hello.incarnation = 1;
    hello.hello.body_max = 1 << 20;
    hello.hello.ping_ms = 60000;
    hello.hello.nonce = peri_slice_of(nonce, sizeof nonce);
    (void)load_rpc_ask(fd, &hello, WIRE_CHALLENGE);
    (void)load_rpc_ask(fd, &proof, WIRE_WELCOME);
}
