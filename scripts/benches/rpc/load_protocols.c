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
    load_rpc_put(out, payload());
}

static size_t frame_answer(const char *bytes, size_t size, uint64_t *id)
{
    struct peri_slice message;
    size_t whole = load_rpc_get(bytes, size, &message);
    (void)id;
    if (whole > 0 && peri_slice_compare(message, payload()) != 0)
        load_fail("the echo differs");
    return whole;
}

static const struct load_protocol load_raw = {"raw", false, NULL, raw_request, raw_answer};
static const struct load_protocol load_long = {"long", false, NULL, long_request, long_answer};
static const struct load_protocol load_frame = {"frame", true, NULL, frame_request, frame_answer};

/* ---- Perilune ---- */

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
        struct peri_slice bytes = load_rpc_encode(&message);
        load_append(&call, bytes.data, bytes.size);
    }
    char *room = wire_frames_room(out, call.size);
    if (room != NULL)
        peri_copy(room, call.data, call.size);
    else
        load_rpc_put(out, peri_buffer_slice(&call));
    bits_put_le64(out->bytes.data + out->bytes.size - call.size + ID_AT, id + 1);
}

/* Says what came in place of the one good answer. */
static _Noreturn void fail_answer(struct peri_slice answer)
{
    struct wire_message reply;
    load_rpc_decode(answer, &reply);
    load_rpc_fail(&reply);
}

static size_t rpc_answer(const char *bytes, size_t size, uint64_t *id)
{
    enum { VALUES_AT = WIRE_MESSAGE_HEADER_SIZE + 1, ANSWER_SIZE = VALUES_AT + ARGS_SIZE };
    struct peri_slice answer;
    size_t whole = load_rpc_get(bytes, size, &answer);
    if (whole == 0)
        return 0;
    if (answer.size != ANSWER_SIZE || answer.data[1] != WIRE_REPLY ||
        memcmp(answer.data + VALUES_AT, ARGS_HEAD, sizeof ARGS_HEAD) != 0 ||
        memcmp(answer.data + VALUES_AT + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE) != 0)
        fail_answer(answer);
    *id = bits_get_le64(answer.data + 8) - 1;
    return whole;
}

const char load_cluster[] = "bench";

static const struct load_protocol load_rpc = {"rpc", true, load_rpc_greet, rpc_request, rpc_answer};

/* ---- Tarantool ---- */

static void iproto_request(struct wire_frames *out, uint64_t id)
{
    enum { CALL = 0x0a, ARGS = 0x21, NAME = 0x22 };
    static const char head[] = {'\x82', NAME, '\xa4', 'e', 'c', 'h', 'o', ARGS};
    char body[sizeof head + ARGS_SIZE];
    memcpy(body, head, sizeof head);
    memcpy(body + sizeof head, ARGS_HEAD, sizeof ARGS_HEAD);
    memcpy(body + sizeof head + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE);
    load_iproto_put(&out->bytes, CALL, id, peri_slice_of(body, sizeof body));
}

static size_t iproto_answer(const char *bytes, size_t size, uint64_t *id)
{
    size_t whole = load_iproto_get(bytes, size, id);
    if (whole > 0 &&
        (whole < LOAD_IPROTO_HEADER_SIZE + LOAD_PAYLOAD_SIZE ||
         memcmp(bytes + whole - LOAD_PAYLOAD_SIZE, load_payload, LOAD_PAYLOAD_SIZE) != 0))
        load_fail("Tarantool answers with something else");
    return whole;
}

static const struct load_protocol load_iproto = {"iproto", false, load_iproto_greet, iproto_request,
                                                 iproto_answer};

const struct load_protocol *const load_protocols[] = {&load_raw, &load_long,   &load_frame,
                                                      &load_rpc, &load_iproto, NULL};
