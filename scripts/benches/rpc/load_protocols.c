/* load_protocols.c - what the load generator says to bare echoes, to Perilune and to Tarantool. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "load.h"
#include "wire/frame.h"
#include "wire/message.h"

static struct peri_slice payload(void)
{
    return peri_slice_of(load_payload, LOAD_PAYLOAD_SIZE);
}

static void put_message(struct wire_frames *out, struct peri_slice message)
{
    if (wire_frames_add(out, &message, 1) != 0)
        load_fail("no memory");
}

static size_t burst_left; /* of the burst that the bytes in front of us belong to */

/* The message at the front of bytes; returns its size with all that is in front of it, or 0. */
static size_t get_message(const char *bytes, size_t size, struct peri_slice *message)
{
    enum { MESSAGE_MAX = 64 << 10 };
    struct wire_frame frame = {.body = peri_slice_of(bytes, burst_left)};
    struct peri_error err = PERI_ERROR_INIT;
    if (burst_left == 0) {
        int rc = wire_frame_decode(peri_slice_of(bytes, size), MESSAGE_MAX, &frame, &err);
        if (rc < 0)
            load_fail(err.text);
        *message = frame.body;
        if (rc == 0 || !frame.is_burst)
            return rc == 1 ? frame.size : 0;
    }
    if (wire_burst_next(&frame.body, MESSAGE_MAX, message, &err) != 0)
        load_fail(err.text);
    burst_left = frame.body.size;
    return (size_t)(message->data + message->size - bytes);
}

/* ---- bare echoes ---- */

static void raw_request(struct wire_frames *out, uint64_t id)
{
    (void)id;
    load_append(&out->bytes, load_payload, LOAD_PAYLOAD_SIZE);
}

static size_t raw_answer(const char *bytes, size_t size, uint64_t *id)
{
    (void)id;
    if (size < LOAD_PAYLOAD_SIZE)
        return 0;
    if (memcmp(bytes, load_payload, LOAD_PAYLOAD_SIZE) != 0)
        load_fail("the echo differs");
    return LOAD_PAYLOAD_SIZE;
}

/* As long as a CALL of the payload: what the bytes alone cost. */
enum { LONG_SIZE = 97 };

static void long_request(struct wire_frames *out, uint64_t id)
{
    static const char padding[LONG_SIZE - LOAD_PAYLOAD_SIZE];
    raw_request(out, id);
    load_append(&out->bytes, padding, sizeof padding);
}

static size_t long_answer(const char *bytes, size_t size, uint64_t *id)
{
    return size < LONG_SIZE || raw_answer(bytes, size, id) == 0 ? 0 : LONG_SIZE;
}

static void frame_request(struct wire_frames *out, uint64_t id)
{
    (void)id;
    put_message(out, payload());
}

static size_t frame_answer(const char *bytes, size_t size, uint64_t *id)
{
    struct peri_slice message;
    size_t whole = get_message(bytes, size, &message);
    (void)id;
    if (whole > 0 && peri_slice_compare(message, payload()) != 0)
        load_fail("the echo differs");
    return whole;
}

const struct load_protocol load_raw = {"raw", false, NULL, raw_request, raw_answer};
const struct load_protocol load_long = {"long", false, NULL, long_request, long_answer};
const struct load_protocol load_frame = {"frame", true, NULL, frame_request, frame_answer};

/* ---- Perilune ---- */

static struct peri_slice encode(const struct wire_message *message)
{
    static struct peri_buffer bytes;
    struct peri_slice tail;
    bytes.size = 0;
    if (wire_message_encode(message, &bytes, &tail) != 0)
        load_fail("no memory");
    load_append(&bytes, tail.data, tail.size);
    return peri_buffer_slice(&bytes);
}

static size_t decode(const char *bytes, size_t size, struct wire_message *message)
{
    struct peri_slice encoded;
    struct peri_error err = PERI_ERROR_INIT;
    size_t whole = get_message(bytes, size, &encoded);
    if (whole > 0 && wire_message_decode(encoded, message, &err) != 0)
        load_fail(err.text);
    return whole;
}

static void say(int fd, const struct wire_message *message)
{
    struct wire_frames frame = {.open = 0};
    put_message(&frame, encode(message));
    wire_frames_seal(&frame);
    load_write(fd, frame.bytes.data, frame.bytes.size);
    peri_buffer_deinit(&frame.bytes);
}

static void expect(int fd, enum wire_kind kind)
{
    char bytes[1024] = {0};
    char line[512];
    size_t have = 0;
    struct wire_message message;
    while (decode(bytes, have, &message) == 0) {
        if (have == sizeof bytes)
            load_fail("the handshake is too long");
        load_read(fd, bytes + have, 1);
        have++;
    }
    wire_message_print(&message, line, sizeof line);
    if (message.kind != kind)
        load_fail(line);
}

/* Without a secret: both ends are on one machine. */
static void rpc_greet(int fd)
{
    static const char nonce[32] = "not a secret, and never used twi";
    struct wire_message hello = {.kind = WIRE_HELLO};
    struct wire_message proof = {.kind = WIRE_PROOF};
    hello.hello.version_min = hello.hello.version_max = WIRE_VERSION;
    hello.hello.cluster = peri_slice_of("bench", 5);
    hello.hello.node = peri_slice_of("load", 4);
    hello.hello.incarnation = 1;
    hello.hello.body_max = 1 << 20;
    hello.hello.ping_ms = 60000;
    hello.hello.nonce = peri_slice_of(nonce, sizeof nonce);
    say(fd, &hello);
    expect(fd, WIRE_CHALLENGE);
    say(fd, &proof);
    expect(fd, WIRE_WELCOME);
}

static const char ARGS_HEAD[] = {'\x91', '\xd9', LOAD_PAYLOAD_SIZE};
enum { ARGS_SIZE = sizeof ARGS_HEAD + LOAD_PAYLOAD_SIZE };

/* All requests are the same but for the id. */
static void rpc_request(struct wire_frames *out, uint64_t id)
{
    enum { ID_AT = 8 };
    static struct peri_buffer call;
    if (call.size == 0) {
        char args[ARGS_SIZE];
        struct wire_message message = {.kind = WIRE_CALL, .budget_ms = 5000};
        memcpy(args, ARGS_HEAD, sizeof ARGS_HEAD);
        memcpy(args + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE);
        message.call.name = peri_slice_of("echo", 4);
        message.call.args = peri_slice_of(args, sizeof args);
        struct peri_slice bytes = encode(&message);
        load_append(&call, bytes.data, bytes.size);
    }
    put_message(out, peri_buffer_slice(&call));
    bits_put_le64(out->bytes.data + out->bytes.size - call.size + ID_AT, id + 1);
}

/* What differs from the one good answer is looked at more closely, and ends the run. */
static size_t rpc_answer(const char *bytes, size_t size, uint64_t *id)
{
    enum { VALUES_AT = WIRE_MESSAGE_HEADER_SIZE + 1, ANSWER_SIZE = VALUES_AT + ARGS_SIZE };
    char line[512];
    struct peri_slice answer;
    struct wire_message reply;
    struct peri_error err = PERI_ERROR_INIT;
    size_t whole = get_message(bytes, size, &answer);
    if (whole == 0)
        return 0;
    if (answer.size == ANSWER_SIZE && answer.data[1] == WIRE_REPLY &&
        memcmp(answer.data + VALUES_AT, ARGS_HEAD, sizeof ARGS_HEAD) == 0 &&
        memcmp(answer.data + VALUES_AT + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE) == 0) {
        *id = bits_get_le64(answer.data + 8) - 1;
        return whole;
    }
    if (wire_message_decode(answer, &reply, &err) != 0)
        load_fail(err.text);
    wire_message_print(&reply, line, sizeof line);
    load_fail(line);
}

const struct load_protocol load_rpc = {"rpc", true, rpc_greet, rpc_request, rpc_answer};

/* ---- Tarantool's iproto (doc: Box protocol): size, header map, body map ---- */

enum {
    IPROTO_GREETING_SIZE = 128,
    IPROTO_SIZE_BYTE = 0xce,
    IPROTO_TYPE = 0x00,
    IPROTO_SYNC = 0x01,
    IPROTO_CALL = 0x0a,
    IPROTO_ARGS = 0x21,
    IPROTO_NAME = 0x22,
};

static void iproto_greet(int fd)
{
    char greeting[IPROTO_GREETING_SIZE];
    load_read(fd, greeting, sizeof greeting);
}

static void put_be32(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(value >> (24 - 8 * i));
}

static uint32_t get_be32(const char *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 8 | (unsigned char)in[i];
    return value;
}

static void iproto_request(struct wire_frames *out, uint64_t id)
{
    static const char head[] = {'\x82', IPROTO_TYPE, IPROTO_CALL, IPROTO_SYNC, '\xce'};
    static const char body[] = {'\x82', IPROTO_NAME, '\xa4', 'e', 'c', 'h', 'o', IPROTO_ARGS};
    enum { SIZE = sizeof head + 4 + sizeof body + ARGS_SIZE };
    char request[5 + sizeof head + 4 + sizeof body];
    request[0] = (char)IPROTO_SIZE_BYTE;
    put_be32(request + 1, SIZE);
    memcpy(request + 5, head, sizeof head);
    put_be32(request + 5 + sizeof head, (uint32_t)id);
    memcpy(request + 5 + sizeof head + 4, body, sizeof body);
    load_append(&out->bytes, request, sizeof request);
    load_append(&out->bytes, ARGS_HEAD, sizeof ARGS_HEAD);
    load_append(&out->bytes, load_payload, LOAD_PAYLOAD_SIZE);
}

/* Answers carry ids as Tarantool writes them: 83 00 ce TYPE 01 cf ID 05 ce SCHEMA. */
static size_t iproto_answer(const char *bytes, size_t size, uint64_t *id)
{
    enum { TYPE_AT = 8, SYNC_AT = 14, HEADER_SIZE = 22 };
    if (size < 5)
        return 0;
    if ((unsigned char)bytes[0] != IPROTO_SIZE_BYTE)
        load_fail("no answer of Tarantool's");
    size_t whole = 5 + (size_t)get_be32(bytes + 1);
    if (size < whole)
        return 0;
    if (whole < HEADER_SIZE + LOAD_PAYLOAD_SIZE || get_be32(bytes + TYPE_AT) != 0 ||
        memcmp(bytes + whole - LOAD_PAYLOAD_SIZE, load_payload, LOAD_PAYLOAD_SIZE) != 0)
        load_fail("Tarantool answers with something else");
    *id = (uint64_t)get_be32(bytes + SYNC_AT) << 32 | get_be32(bytes + SYNC_AT + 4);
    return whole;
}

const struct load_protocol load_iproto = {"iproto", false, iproto_greet, iproto_request,
                                          iproto_answer};
