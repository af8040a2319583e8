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

/* As long as a CALL of the payload that is said again: what the bytes alone cost. */
enum { LONG_SIZE = 70 };

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

/* A burst that may be open ends with the CALL of that id. */
static uint64_t rpc_sent_id;

/* A CALL in full: all are the same but for the id. */
static void rpc_first_request(struct wire_frames *out, uint64_t id)
{
    char args[ARGS_SIZE];
    struct wire_message message = {.kind = WIRE_CALL, .budget_ms = 5000, .id = id};
    memcpy(args, ARGS_HEAD, sizeof ARGS_HEAD);
    memcpy(args + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE);
    message.call.name = peri_slice_of("echo", 4);
    message.call.args = peri_slice_of(args, sizeof args);
    load_rpc_put(out, load_rpc_encode(&message));
}

static void rpc_request(struct wire_frames *out, uint64_t id)
{
    enum { SIZE = WIRE_AGAIN_HEAD_SIZE + ARGS_SIZE };
    char *room = id == rpc_sent_id ? wire_frames_room(out, SIZE) : NULL;
    rpc_sent_id = id + 1;
    if (room == NULL) {
        rpc_first_request(out, id + 1);
        return;
    }
    *room = (char)WIRE_AGAIN;
    memcpy(room + WIRE_AGAIN_HEAD_SIZE, ARGS_HEAD, sizeof ARGS_HEAD);
    memcpy(room + WIRE_AGAIN_HEAD_SIZE + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE);
}

static bool is_payload(const char *values, size_t size)
{
    return size == ARGS_SIZE && memcmp(values, ARGS_HEAD, sizeof ARGS_HEAD) == 0 &&
           memcmp(values + sizeof ARGS_HEAD, load_payload, LOAD_PAYLOAD_SIZE) == 0;
}

static uint64_t rpc_heard_id; /* of the message that may be said again */

/* Looks at an answer that is not the one before it again. */
static void rpc_first_answer(struct peri_slice answer)
{
    struct wire_message reply;
    load_rpc_decode(answer, &reply);
    if (reply.kind != WIRE_REPLY || !is_payload(reply.reply.values.data, reply.reply.values.size))
        load_rpc_fail(&reply);
    rpc_heard_id = reply.id;
}

static size_t rpc_answer(const char *bytes, size_t size, uint64_t *id)
{
    struct peri_slice answer;
    size_t whole = load_rpc_get(bytes, size, &answer);
    if (whole == 0)
        return 0;
    if (!wire_is_again(answer))
        rpc_first_answer(answer);
    else if (!is_payload(answer.data + WIRE_AGAIN_HEAD_SIZE, answer.size - WIRE_AGAIN_HEAD_SIZE))
        load_fail("an answer differs");
    else
        rpc_heard_id++;
    *id = rpc_heard_id - 1;
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
